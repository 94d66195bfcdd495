"""The plain sentences are true, whole and readable: they are what a shopper gets when no model helps."""

from __future__ import annotations

import pytest

from agent import plain
from agent.outcome import Looked, Request
from agent.record import fact_to_json
from eval.claims import unsupported
from retrieval.reasons import Change, Step, Verdict, change_facts
from retrieval.records import Fact, Item, Part, Recommendation
from retrieval.wish import Wish

CHIPS = Item(item_id="1", title="Corn chips, 9 oz, store brand", price=3.29, categories=("Snacks", "Chips"))
SALSA = Item(item_id="2", title="Salsa, 16 oz", price=2.0)
FACTS = {
    "bought_trips": (Fact(kind="bought_trips", count=6, of=10), "you bought it on 6 of your last 10 trips"),
    "bought_times": (Fact(kind="bought_times", count=2), "you bought it twice before"),
    "not_bought": (Fact(kind="not_bought"), "you have never bought it here"),
    "under_price": (Fact(kind="under_price", amount=1.71, limit=5), "it is $1.71 under your $5"),
    "over_price": (Fact(kind="over_price", amount=0.29, limit=3), "it is above your $3"),
    "matches": (Fact(kind="matches", words=("corn", "chips")), "it matches corn chips"),
    "goes_with": (Fact(kind="goes_with", count=14, words=("Salsa, 16 oz",)), "it was in 14 baskets with salsa"),
    "because_of": (Fact(kind="because_of", words=("Salsa, 16 oz",)), "it fits with salsa, which you chose before"),
    "popular": (Fact(kind="popular", count=120), "120 shoppers buy it"),
    "promotion": (Fact(kind="promotion", words=("in this week's ad",)), "it is in this week's ad"),
    "coupon": (Fact(kind="coupon"), "you have a coupon for it"),
    "brand_tier": (Fact(kind="brand_tier", words=("Private",)), "it is store brand"),
    "size": (Fact(kind="size", words=("9 OZ",)), "it is 9 oz"),
    "cheaper": (Fact(kind="cheaper", amount=1, words=("Salsa, 16 oz",)), "it is $1 cheaper than salsa"),
    "dearer": (Fact(kind="dearer", amount=0.5, words=("Salsa, 16 oz",)), "it is $0.50 dearer than salsa"),
    "bigger": (Fact(kind="bigger", words=("Salsa, 16 oz",)), "it is bigger than salsa"),
    "smaller": (Fact(kind="smaller", words=("Salsa, 16 oz",)), "it is smaller than salsa"),
    "cheapest": (Fact(kind="cheapest"), "it is the cheapest here"),
    "liked": (Fact(kind="liked"), "you liked it"),
    "attribute": (Fact(kind="attribute", words=("skin_type", "Oily")), "its skin type is oily"),
}


def shown(item: Item, *facts: Fact) -> Recommendation:
    return Recommendation(item=item, score=1.0, parts=(Part(name="match", value=1.0, facts=facts),))


@pytest.mark.parametrize("kind", plain.CLAUSES)
def test_every_kind_of_fact_has_its_sentence(kind: str) -> None:
    """Promise: each fact is worded from its own values; a new kind needs its sentence here."""
    fact, said = FACTS[kind]
    assert plain.clause(fact) == said


def test_a_card_gives_its_two_strongest_reasons() -> None:
    """Promise: one sentence, told from the record, and one that claims nothing where there is no fact."""
    chips = shown(CHIPS, *(FACTS[kind][0] for kind in ("matches", "bought_trips", "bought_times", "under_price")))
    assert plain.reason(chips) == "You bought it on 6 of your last 10 trips; $1.71 under your $5."
    assert plain.reason(shown(CHIPS)) == "It fits what you asked for."


def test_a_row_is_cut_at_the_limit() -> None:
    """Promise: at `chars` a title enters the prompt whole, one past it is cut; price and facts always stay."""
    chips = shown(CHIPS, FACTS["popular"][0])
    whole = len(CHIPS.title)
    assert plain.row(chips, position=2, chars=whole) == f"2. {CHIPS.title} $3.29; 120 shoppers buy it"
    assert plain.row(chips, position=2, chars=whole - 1) == f"2. {CHIPS.title[:-1]} $3.29; 120 shoppers buy it"


def test_a_list_is_told_with_its_count_and_first_reason() -> None:
    """Promise: how many for what, and why the first is first."""
    milk = Request(task="search", wish=Wish(), label="chips")
    assert plain.listed([shown(CHIPS, FACTS["popular"][0]), shown(SALSA)], requests=[milk]) == [
        "Here are 2 items for chips.",
        "[1] comes first: 120 shoppers buy it.",
    ]
    assert plain.listed([shown(CHIPS)], requests=[]) == ["Here is one item.", "[1] costs $3.29."]


def test_that_it_matches_what_was_asked_for_is_no_news() -> None:
    """As in "5 items for milk. Milk comes first: it matches milk": where nothing else speaks for it, what it all costs."""
    chips = Request(task="search", wish=Wish(), label="chips")
    shown_chips = shown(CHIPS, FACTS["matches"][0])
    assert plain.listed([shown_chips, shown(SALSA)], requests=[chips])[1:] == ["Prices go from $2 to $3.29."]
    assert plain.listed([shown_chips, shown(CHIPS)], requests=[chips]) == ["Here are 2 items for chips."]


def test_items_are_compared_by_price_first() -> None:
    """Promise: the difference adds up, equal prices are called equal, and no price is compared with none."""

    def told(*items: Item) -> str:
        rows = tuple(shown(item) for item in items)
        return " ".join(plain.compared(Looked(kind="compare", recommendations=rows, positions=(1, 2))))

    assert told(CHIPS, SALSA) == "[2] is the cheapest at $2, $1.29 less than [1]."
    assert told(SALSA, SALSA) == "They cost the same, $2."
    assert told(Item(item_id="3", title="Dip"), SALSA) == ""


@pytest.mark.parametrize("word", plain.BROKEN)
def test_why_not_names_the_wish_that_is_broken(word: str) -> None:
    """Promise: one exact sentence a broken wish; the item is called by its name, as it has no number."""
    verdict = Verdict(broken=(word,))
    looked = Looked(kind="why_not", recommendations=(shown(CHIPS),), positions=(0,), verdict=verdict)
    assert plain.explained(looked) == [f"I left out corn chips at $3.29: {plain.BROKEN[word]}."]


def absent(*facts: Fact, change: Change | None = None, **verdict: tuple[object, ...]) -> str:
    looked = Looked(
        kind="why_not",
        recommendations=(shown(CHIPS, *facts),),
        positions=(0,),
        verdict=Verdict(**verdict),  # type: ignore[arg-type]
        change=change,
    )
    return " ".join(plain.explained(looked))


def test_why_not_counts_what_an_item_lacks() -> None:
    """Promise: beside the item shown last, with both numbers where the record has them."""
    rarely, last = Fact(kind="bought_trips", count=1, of=10), ("bought_trips", "Salsa, 16 oz")
    often = Fact(kind="last_shown", words=last, count=6, of=10)
    popular = Fact(kind="last_shown", words=("popular", "Salsa, 16 oz"), count=312)
    before, few = (("bought_before", 0.2), ("popularity", 0.1)), (("popularity", 0.2),)
    start = "Corn chips at $3.29 ranked lower: "
    assert (
        absent(rarely, often, weaker=before)
        == f"{start}you bought it on 1 of your last 10 trips, the last one shown on 6."
    )
    never = f"{start}you have never bought it here, and the last one shown on 6 of your last 10 trips."
    assert absent(Fact(kind="not_bought"), often, weaker=before) == never
    assert absent(weaker=before) == f"{start}you buy it less often."
    assert (
        absent(Fact(kind="popular", count=40), popular, weaker=few)
        == f"{start}40 shoppers buy it, 312 the last one shown."
    )
    assert absent(weaker=(("unheard_of", 0.1),)) == f"{start}it scored less."
    assert absent(popular, Fact(kind="popular", count=1), broken=("text_none",), weaker=few) == (
        "I left out corn chips at $3.29: it has what you asked to leave out. "
        "Besides, one shopper buys it, 312 the last one shown."
    )


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (Step(name="max_price", bound=3.29), "allowed up to $3.29"),
        (Step(name="max_price", bound=3.29, more=True), "asked for at most $3.29"),
        (Step(name="max_price"), "set no bound of price"),
        (Step(name="min_price", bound=3), "allowed from $3"),
        (Step(name="brand_tier", value="National"), "did not ask for name brand"),
        (Step(name="brands", value="Acme", more=True), "asked for acme"),
        (Step(name="without", value="nuts"), "did not leave out nuts"),
        (Step(name="label", value="organic"), "did not ask for organic"),
        (Step(name="bought", value="again"), "did not ask for what you bought before"),
        (Step(name="bought", value="new", more=True), "asked for what is new to you"),
        (Step(name="size", value="9 oz", more=True), "asked for 9 oz"),
        (Step(name="size"), "took any size"),
        (Step(name="seen"), "took what you have seen already"),
        (Step(name="deal"), "did not ask for what is on offer"),
        (Step(name="query", value="corn chips", more=True), "asked for corn chips"),
    ],
)
def test_what_would_change_it_is_worded_step_by_step(step: Step, said: str) -> None:
    """Promise: the whole change is told, each step in plain words; and the grader finds it in the record, or not."""
    change = Change(wish=Wish(), steps=(step, Step(name="max_price", bound=9.5)), place=2, of=5)
    facts = change_facts(change)
    sentence = absent(*facts, change=change, broken=("brands",)).partition(". ")[2]
    assert sentence == f"It would be number 2 if you {said} and allowed up to $9.50."
    record = {
        "about": ["1"],
        "looked": [{"item_id": "1", "position": 0, "facts": [fact_to_json(fact) for fact in facts]}],
    }

    def lies(text: str) -> bool:
        return bool(unsupported(text, record, items={"1": CHIPS}))

    assert not lies(sentence)
    others = {"number 2": "number 1", "$9.50": "$9.40", " and allowed up to $9.50": "", "if you": "if you paid and"}
    assert all(lies(sentence.replace(old, new)) for old, new in others.items())
    if step.value:
        assert (
            lies(sentence.replace("did not ask for", "asked for").replace("did not leave", "asked to leave"))
            != step.more
        )
        assert lies(sentence.replace(said.split()[-1], "cheese"))


def test_comparing_tells_what_sets_the_first_apart() -> None:
    """Promise: the largest difference of parts in favour of the higher score, with its fact; not what both have."""

    def row(item: Item, popularity: float, *facts: Fact) -> Recommendation:
        match = Part(name="match", value=0.5, facts=(Fact(kind="matches", words=("dip",)),))
        rest = Part(name="popularity", value=popularity, facts=facts)
        return Recommendation(item=item, score=0.5 + popularity, parts=(match, rest))

    looked = Looked(
        kind="compare",
        recommendations=(row(SALSA, 0.1), row(CHIPS, 0.3, FACTS["popular"][0])),
        positions=(1, 2),
    )
    assert "What sets [2] apart: 120 shoppers buy it." in plain.compared(looked)
    alike = Looked(kind="compare", recommendations=(row(SALSA, 0.1), row(CHIPS, 0.1)), positions=(1, 2))
    assert not any("apart" in sentence for sentence in plain.compared(alike))


def test_why_tells_the_strongest_part_first() -> None:
    """Promise: in the order of the parts' values; a part that speaks against the item is no reason."""
    parts = (
        Part(name="popularity", value=0.1, facts=(FACTS["popular"][0],)),
        Part(name="match", value=0.6, facts=(FACTS["matches"][0],)),
        Part(name="bought_before", value=-0.2, facts=(FACTS["bought_times"][0],)),
    )
    chips = Recommendation(item=CHIPS, score=0.5, parts=parts)
    told = plain.explained(Looked(kind="explain", recommendations=(chips,), positions=(1,)))
    assert told == ["[1] is here because it matches corn chips.", "Also, 120 shoppers buy it."]


def test_details_say_title_price_and_shelf() -> None:
    """Promise: the item's own record, and "no price" where it has none."""
    looked = Looked(kind="details", recommendations=(shown(CHIPS),), positions=(1,))
    assert plain.detailed(looked) == ["[1] is Corn chips, 9 oz, store brand, $3.29.", "It is in Snacks > Chips."]
    bare = Looked(kind="details", recommendations=(shown(Item(item_id="3", title="Dip")),), positions=(1,))
    assert plain.detailed(bare) == ["[1] is Dip, no price."]


def test_a_cart_adds_up() -> None:
    """Promise: pieces and total, in the singular where it is one."""
    assert plain.cart_text([]) == "Your cart is empty."
    assert plain.cart_text([(SALSA, 1)]) == "Your cart holds one item, $2 in all."
    assert plain.cart_text([(SALSA, 2), (CHIPS, 1)]) == "Your cart holds 3 items, $7.29 in all."
