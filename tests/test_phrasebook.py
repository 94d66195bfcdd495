"""The bank of phrasings keeps its promises: readable, known slots, no text with two meanings, enough of each kind."""

from __future__ import annotations

import re
from random import Random

import pytest

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
from finetune.spoken import price_forms, roughen

MINIMUM = {
    "search": 200, "occasion": 200, "max_price": 120, "min_price": 40, "between": 20, "sort": 50, "brand": 60,
    "size": 60, "with_words": 80, "without": 100, "combo": 120, "several": 80, "again": 60, "new": 50, "recommend": 80,
    "refine": 120, "similar": 150, "goes_with": 80, "why": 80, "why_not": 80, "compare": 80, "details": 60, "cart": 200,
    "remember": 150, "forget": 60, "ask": 40, "nothing_fits": 80, "chat": 120, "off_topic": 120, "hostile": 60,
    "age_restricted": 30, "not_english": 30, "two_acts": 60,
}  # fmt: skip

TOOLS = {
    "search_catalog": {
        "query", "max_price", "min_price", "brand", "size", "with", "without", "bought", "sort",
    },
    "recommend": {"bought", "max_price", "brand", "without"},
    "similar_items": {"position", "than", "brand", "query"},
    "goes_with": {"position", "query"},
    "lookup_catalog": {"positions", "query"},
    "explain": {"position", "query", "why_not"},
    "update_cart": {"action", "positions", "query", "quantity"},
    "remember": {"kind", "position", "text"},
    "forget": {"text", "position"},
    "ask_shopper": {"query"},
    "chat": {"topic"},
}  # fmt: skip

ENUMS = {
    "bought": {"again", "new"},
    "sort": {"cheapest", "dearest", "biggest", "smallest"},
    "than": {"cheaper", "dearer", "bigger", "smaller"},
    "action": {"add", "remove", "show", "clear"},
    "kind": {"like", "dislike", "avoid", "note", "show"},
    "topic": {"hello", "thanks", "bye", "help", "off_topic", "hostile"},
    "why_not": {True},
}

VALUES = {
    "thing": "frozen pizza", "thing2": "milk", "thing3": "eggs", "thing4": "rice", "price": 4.5, "price2": 9,
    "brand": "store brand", "size": "12 oz", "quality": "organic", "quality2": "sliced", "ingredient": "raisins",
    "without": "peanuts", "without2": "ham", "unquality": "spicy", "position": 2, "position2": 4, "positions": [1, 3],
    "all": [1, 2, 3, 4, 5], "it": 3, "name": "cheddar cheese", "name2": "rye bread", "other": "pepsi", "quantity": 2,
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


def test_no_text_has_two_meanings_or_stands_twice() -> None:
    """The same words with two plans cannot be learned, and a duplicate is no variety."""
    seen: dict[str, Phrase] = {}
    for phrase in PHRASES:
        for text in {fold(text) for text in expansions(phrase.text)}:
            assert text not in seen, f"{where(phrase)} and {where(seen[text])}"
            seen[text] = phrase


def test_every_phrase_can_be_filled() -> None:
    """No slot, bracket or gap is left in what the shopper types, and the plan holds the values, not their words."""
    rng = Random(5)
    for phrase in PHRASES:
        filled = phrase.fill(VALUES, rng, count=5)
        assert filled.text and not re.search(r"[{}\[\]|]|  | => ", filled.text), where(phrase)
        assert "{" not in "".join(str(dict(call.arguments).values()) for call in filled.calls), where(phrase)


def test_the_words_may_differ_from_the_plan() -> None:
    """Everyday words are heard as the thing that is meant."""
    book = load_phrases()
    phrase = next(phrase for phrase in book.phrases["max_price"] if phrase.text == "{things} under {price}")
    filled = phrase.fill({"thing": Spoken(text="pop", value="soda"), "price": 5}, Random(1))
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
            assert form.lower().rstrip(".") in rough, (form, rough)


def test_roughen_can_leave_a_text_alone() -> None:
    """Every rate is a parameter."""
    rates = {
        "typo": 0, "apostrophe": 0, "lower": 0, "upper": 0, "bare": 0, "short": 0, "opener": 0, "tail": 0,
    }  # fmt: skip
    assert all(roughen(phrase.text, Random(1), **rates) == phrase.text for phrase in PHRASES)


@pytest.mark.parametrize("name", ["things", "qualities", "ingredients", "unwanted", "unqualities", "avoid"])
def test_word_lists_read(name: str) -> None:
    """Every head word of a list has words."""
    words = load_lists(name)
    assert words and all(words.values())
