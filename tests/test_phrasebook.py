"""The bank of phrasings keeps its promises: readable, known slots, no text with two meanings, enough of each kind."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from random import Random

import pytest

from agent import grounding
from agent.amounts import numbers_in
from agent.context import money
from agent.wordings import load_replies
from finetune.dialogues import LOOKS, folded, messages_of
from finetune.phrasebook import (
    NEEDS,
    SLOTS,
    UNSPOKEN,
    Phrase,
    Spoken,
    expansions,
    load_lists,
    load_phrases,
    parse_phrases,
    slots_in,
    value_name,
)
from finetune.spoken import price_forms, roughen, size_forms
from retrieval.quantity import parse_quantity
from retrieval.records import Fact, Item, Part, Recommendation
from retrieval.wish import Wish

MINIMUM = {
    "and_that": 20, "answers": 80,
    "search": 200, "occasion": 200, "max_price": 120, "min_price": 40, "between": 20, "sort": 50, "brand": 60,
    "size": 60, "with_words": 80, "without": 100, "combo": 120, "several": 80, "again": 60, "new": 50, "recommend": 80,
    "refine": 120, "similar": 150, "goes_with": 80, "why": 80, "why_not": 80, "compare": 80, "details": 60, "cart": 200,
    "remember": 150, "forget": 60, "ask": 40, "nothing_fits": 80, "chat": 120, "off_topic": 120, "hostile": 60,
    "age_restricted": 30, "not_english": 30, "two_acts": 60, "deals": 150,
}  # fmt: skip

TOOLS: dict[str, set[str]] = {
    "search_catalog": {
        "query", "max_price", "min_price", "brand", "size", "having", "without", "bought", "sort", "more",
    },
    "recommend": {"bought", "max_price", "brand", "without"},
    "similar_items": {"position", "than", "brand", "query"},
    "goes_with": {"position", "query"},
    "deals": {"query", "max_price"},
    "lookup_catalog": {"positions", "query"},
    "explain": {"position", "query", "why_not"},
    "update_cart": {"action", "positions", "query", "quantity"},
    "remember": {"kind", "position", "text"},
    "forget": {"text", "position"},
    "ask_shopper": {"query"},
    "chat": {"topic"},
}  # fmt: skip

ENUMS: dict[str, set[object]] = {
    "bought": {"again", "new"},
    "sort": {"cheapest", "dearest", "biggest", "smallest"},
    "than": {"cheaper", "dearer", "bigger", "smaller"},
    "action": {"add", "remove", "set", "show", "clear"},
    "kind": {"like", "dislike", "avoid", "note", "show"},
    "topic": {"hello", "thanks", "bye", "help", "off_topic", "hostile"},
    "why_not": {True},
    "more": {True},
}

VALUES: dict[str, object] = {
    "thing": "frozen pizza", "thing2": "milk", "thing3": "eggs", "thing4": "rice", "price": 4.5, "price2": 9,
    "brand": "store brand", "size": "12 oz", "quality": "organic", "quality2": "sliced", "ingredient": "raisins",
    "without": "peanuts", "without2": "ham", "unquality": "spicy", "position": 2, "position2": 4, "positions": [1, 3],
    "all": [1, 2, 3, 4, 5], "it": 3, "option": "toilet bowl cleaner", "name": "cheddar cheese", "name2": "rye bread", "other": "pepsi", "quantity": 2,
}  # fmt: skip

PHRASES = list(load_phrases())


def fold(text: str) -> str:
    """Forget case, punctuation and spacing."""
    plain = re.sub(r"[.,!?;:()\"]", " ", text.casefold().replace("'", ""))
    return re.sub(r"\s+", " ", plain).strip() or text


def where(phrase: Phrase) -> str:
    """Say where a phrase stands."""
    return f"{phrase.kind}.txt, line {phrase.line}: {phrase.text}"


@pytest.mark.parametrize("kind", MINIMUM)
def test_each_kind_has_enough_phrasings(kind: str) -> None:
    """A model of 135M parameters knows the language it was shown, so no kind may run thin."""
    assert len({fold(phrase.text) for phrase in load_phrases().phrases[kind]}) >= MINIMUM[kind]


def test_there_are_no_kinds_beside_these() -> None:
    """A new kind needs a minimum."""
    assert set(load_phrases().kinds) == set(MINIMUM)


def test_plans_use_the_protocol_s_tools_and_arguments() -> None:
    """A plan that the tools do not accept would teach the model nonsense."""
    for phrase in PHRASES:
        assert 1 <= len(phrase.calls) <= 4, where(phrase)
        for call in phrase.calls:
            assert set(call.arguments) <= TOOLS[call.name], where(phrase)
            for name in set(call.arguments) & set(ENUMS):
                assert call.arguments[name] in ENUMS[name], where(phrase)


def test_every_slot_is_known_and_said() -> None:
    """What the plan holds must be readable from the words; a number that nobody said is no bound."""
    for phrase in PHRASES:
        said = {value_name(slot) for slot in slots_in(phrase.text)}
        assert {re.sub(r"\d$", "", name) for name in phrase.slots} <= set(SLOTS), where(phrase)
        assert set(phrase.slots) - said <= set(UNSPOKEN), where(phrase)
        planned = Phrase(kind="", text="", calls=phrase.calls).slots
        assert said <= set(planned), where(phrase)
        assert phrase.needs in NEEDS, where(phrase)


def test_no_phrasing_is_a_message_of_an_evaluation_set() -> None:
    """Promise: the sets are not trained on; what is said in one or two words ("thanks") is everybody's."""
    apart = messages_of(sorted((Path(__file__).parents[1] / "eval" / "sets").glob("*.jsonl")))
    assert len(apart) > 500
    for phrase in PHRASES:
        assert not apart & {folded(text) for text in expansions(phrase.text)}, where(phrase)


def test_no_text_has_two_meanings_or_stands_twice() -> None:
    """The same words with two plans cannot be learned, and a duplicate is no variety.

    What only takes up the message before ("and the second?") means what that one meant, and "the usual" is
    another thing at the start of a talk than after a list.
    """
    seen: dict[tuple[str, str], Phrase] = {}
    later = ("later", *LOOKS.values())
    for phrase in PHRASES:
        contexts = {"nothing": ("start", *later), "start": ("start",), **{look: (look,) for look in LOOKS.values()}}
        for text in {fold(text) for text in expansions(phrase.text)}:
            for context in contexts.get(phrase.needs, later):
                assert (text, context) not in seen, f"{where(phrase)} and {where(seen[text, context])}"
                seen[text, context] = phrase


def test_every_phrase_can_be_filled() -> None:
    """No slot, bracket or gap is left in what the shopper types, and the plan holds the values, not their words."""
    rng = Random(5)
    for phrase in PHRASES:
        filled = phrase.fill(VALUES, rng, count=5, story=0.5)
        assert filled.text and not re.search(r"[{}\[\]|]|  | => ", filled.text), where(phrase)
        assert "{" not in "".join(str(dict(call.arguments).values()) for call in filled.calls), where(phrase)


def test_the_words_may_differ_from_the_plan() -> None:
    """Everyday words are heard as the thing that is meant."""
    book = load_phrases()
    phrase = next(phrase for phrase in book.phrases["max_price"] if phrase.text == "{things} under {price}")
    filled = phrase.fill({"thing": Spoken(text="pop", value="soda"), "price": 5}, Random(1), story=0)
    assert filled.text.startswith("pop under ")
    assert filled.calls[0].arguments == {"query": "soda", "max_price": 5}


def test_a_bad_line_is_named() -> None:
    """Whoever edits the bank is told which line is wrong."""
    with pytest.raises(ValueError, match=r"x\.txt, line 2"):
        parse_phrases("# About\nmilk please", kind="x")
    with pytest.raises(ValueError, match=r"x\.txt, line 2"):
        parse_phrases("> search_catalog(query={meant})\nmy cat is hungry", kind="x")


def test_roughened_text_keeps_its_numbers() -> None:
    """A price bound must be readable from the message whatever the typing."""
    rng = Random(2)
    for amount in (0.99, 1, 2.5, 4.79, 5, 12):
        for form in price_forms(amount):
            rough = roughen(f"some of the spaghetti under {form}", rng, typo=1, apostrophe=1, lower=1, upper=0)
            assert form.replace(" bill", "").lower() in rough, (form, rough)


def test_every_spoken_amount_is_read_back() -> None:
    """The plan's bound must be found in the message, or the turn drops it as made up."""
    for cents in (*range(5, 1300, 13), 99, 199, 250, 450, 999, 1000, 2500, 3599, 11000):
        amount = cents / 100
        for form in price_forms(amount):
            assert any(abs(found - amount) < 0.005 for found in numbers_in(f"milk under {form} please")), form


def test_roughen_can_leave_a_text_alone() -> None:
    """Every rate is a parameter."""
    calm = partial(roughen, typo=0, apostrophe=0, lower=0, upper=0, bare=0, short=0, opener=0, tail=0)
    assert all(calm(phrase.text, Random(1)) == phrase.text for phrase in PHRASES)


@pytest.mark.parametrize("name", ["things", "qualities", "ingredients", "unwanted", "unqualities", "avoid"])
def test_word_lists_read(name: str) -> None:
    """Every head word of a list has words."""
    words = load_lists(name)
    assert words and all(words.values())


def test_spoken_sizes_are_read_as_the_size_meant() -> None:
    """What a shopper types for a size must reach the filter as that size."""
    for size in ("12 oz", "64 fl oz", "1 gal", "0.5 gal", "2 l", "12 ct", "24 ct", "3 lb", "1 lb", "1 qt"):
        meant = parse_quantity(size)
        assert meant is not None
        for form in size_forms(size):
            heard = parse_quantity(form)
            # Shoppers say "64 oz" of a liquid: the shop tells weight from volume by the item.
            assert heard is not None and abs(heard.amount - meant.amount) < 0.01 * meant.amount, (size, form)


FACTS: dict[str, Fact] = {
    "under_price": Fact(kind="under_price", amount=1.71, limit=5),
    "at_limit": Fact(kind="under_price", amount=0, limit=3.29),
    "over_price": Fact(kind="over_price", amount=0.29, limit=3),
    "bought_trips": Fact(kind="bought_trips", count=6, of=10),
    "bought_once": Fact(kind="bought_times", count=1),
    "bought_twice": Fact(kind="bought_times", count=2),
    "bought_times": Fact(kind="bought_times", count=7),
    "not_bought": Fact(kind="not_bought"),
    "matches": Fact(kind="matches", words=("corn", "chips")),
    "goes_with": Fact(kind="goes_with", words=("Bean dip",), count=14),
    "because_of": Fact(kind="because_of", words=("Tortillas",)),
    "popular": Fact(kind="popular", count=120),
    "promotion": Fact(kind="promotion", words=("in this week's ad",)),
    "coupon": Fact(kind="coupon"),
    "brand_tier": Fact(kind="brand_tier", words=("Store brand",)),
    "size": Fact(kind="size", words=("9 oz",)),
    "cheaper": Fact(kind="cheaper", amount=1, words=("Potato chips, 10 oz",)),
    "dearer": Fact(kind="dearer", amount=1, words=("Pretzels",)),
    "bigger": Fact(kind="bigger", words=("Pretzels",)),
    "smaller": Fact(kind="smaller", words=("Pretzels",)),
    "cheapest": Fact(kind="cheapest"),
    "liked": Fact(kind="liked"),
    "attribute": Fact(kind="attribute", words=("flavor", "lime")),
}


def chips(*facts: Fact, price: float = 3.29, size: str = "9 oz") -> Recommendation:
    """Make a shown item with these facts."""
    item = Item(
        item_id="1",
        title=f"Corn chips, {size}, store brand",
        price=price,
        categories=("Snacks", "Chips"),
        attributes={"size": size},
    )
    return Recommendation(item=item, score=1.0, parts=(Part(name="match", value=1.0, facts=facts),))


@pytest.mark.parametrize("kind", FACTS)
def test_wordings_of_a_fact_say_no_more_than_the_fact(kind: str) -> None:
    """Gold answers pass the same checker as served ones, or the model would learn what is then thrown away."""
    fact = FACTS[kind]
    spoken = grounding.Spoken(rows={1: chips(), 2: chips(fact), 3: chips()}, labels=("corn chips",))
    for wording in load_replies()[f"fact.{kind}"]:
        sentence = wording.format(
            item="[2]",
            amount=money(fact.amount or 0),
            limit=money(fact.limit or 0),
            count=fact.count,
            of=fact.of,
            words=", ".join(word.split(",")[0].lower() for word in fact.words),
            name=fact.words[0] if fact.words else "",
            value=fact.words[-1] if fact.words else "",
        )
        assert grounding.supported(sentence, spoken), sentence


def test_wordings_of_lists_looks_and_comparisons_pass_the_checker() -> None:
    """The sentences around the facts claim nothing by themselves."""
    clause = "you bought it on 6 of your last 10 trips"
    under = FACTS["under_price"]
    extra = {
        "list.again": (FACTS["bought_times"],), "list.for_you": (FACTS["bought_times"],), "list.new": (FACTS["not_bought"],),
        "list.goes_with": (FACTS["goes_with"],), "list.similar": (FACTS["cheaper"],),
        "list.on_offer": (FACTS["coupon"],), "list.cheapest_first": (FACTS["cheapest"],), "list.first": (FACTS["bought_trips"],),
    }  # fmt: skip
    dear = chips(Fact(kind="bigger", words=("Corn chips",)), price=4.29, size="18 oz")
    for kind, wordings in load_replies().items():
        if kind.startswith("fact."):
            continue
        count = 1 if kind.startswith("list.one") else 5
        rows = {place: chips(under, *extra.get(kind, ())) for place in range(1, count + 1)}
        labels = {"list.similar": "cheaper than potato chips", "list.on_offer": "on offer"}
        label = labels.get(kind, "corn chips")
        if kind.startswith(("explain.", "details.")):
            rows = {2: chips(FACTS["bought_trips"])}
        elif kind.startswith("compare."):
            cheap = chips(FACTS["cheapest"], FACTS["bought_trips"])
            small = chips(Fact(kind="smaller", words=("Potato chips",)))
            rows = {1: dear, 3: small} if kind == "compare.bigger" else {1: cheap, 3: dear}
            rows = {1: cheap, 3: cheap} if kind == "compare.same_price" else rows
        item = "[1]" if kind.startswith("compare.") else "[2]"
        spoken = grounding.Spoken(rows=rows, wishes=(Wish(max_price=5),), labels=(label, "goes with bean dip"))
        for wording in wordings:
            sentence = wording.format(
                item=item, other="[3]", count=count, label=label, limit="$5", anchor="bean dip", clause=clause,
                amount="$1", price="$3.29", price2="$4.29", size="9 oz", category="chips",
            )  # fmt: skip
            assert grounding.supported(sentence, spoken), f"{kind}: {sentence}"


def test_replies_are_many_and_short() -> None:
    """Replies vary and stay short: fifteen wordings of each, about eighteen words a sentence."""
    for kind, wordings in load_replies().items():
        assert len(set(wordings)) == len(wordings) >= 15, kind
        for wording in wordings:
            assert all(len(sentence.split()) <= 20 for sentence in re.split(r"(?<=[.!?]) ", wording)), wording
