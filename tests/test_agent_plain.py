"""The plain sentences are true, whole and readable: they are what a shopper gets when no model helps."""

from __future__ import annotations

import pytest

from agent import plain
from agent.outcome import Looked, Request
from retrieval.reasons import Verdict
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
