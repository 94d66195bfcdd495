"""The statement checker finds what is false and lets pass what is true."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.claims import claims, unknown_names, unsupported, vocabulary
from tests.shops import twelve_items

ITEMS = {item.item_id: item for item in twelve_items()}
# The list that was shown: soda $1.25 (bought on 6 of 10 trips), dry cat food $3.49, popcorn $2.50 (store brand).
EVIDENCE: dict[str, Any] = {
    "wish": {"query": "snacks", "max_price": 5},
    "labels": ["snacks under $5"],
    "items": [
        {
            "position": 1,
            "item_id": "i00",
            "facts": [
                {"kind": "bought_trips", "count": 6, "of": 10},
                {"kind": "under_price", "amount": 3.75, "limit": 5},
                {"kind": "popular", "count": 41},
            ],
        },
        {
            "position": 2,
            "item_id": "i01",
            "facts": [
                {"kind": "goes_with", "count": 12, "words": ["Cat litter"], "item_id": "i03"},
                {"kind": "because_of", "words": ["Steak sauce"], "item_id": "i05"},
            ],
        },
        {
            "position": 3,
            "item_id": "i02",
            "facts": [{"kind": "not_bought"}, {"kind": "because_of", "words": ["Soda"], "item_id": "i00"}],
        },
    ],
    "about": [],
    "cart": [["i03", 2]],
    "notes": [],
}

TRUE = [
    "You bought Soda (#1) 6 times.",
    "Dry cat food (#2) is close to steak sauce, which you bought.",
    "Here are 3 items for snacks under $5.",
    "Soda (#1) is on 6 of your last 10 trips.",
    "Soda (#1) is in 6 of your past 10 trips.",
    "Soda costs $1.25, which is $3.75 under your $5.",
    "Soda is the cheapest.",
    "Here are 3 items for snacks. Prices go from $1.25 to $3.49.",
    "Dry cat food (#2) costs $3.49 and goes well with cat litter.",
    "It is in 12 baskets with cat litter.",
    "Popcorn, microwave, 10 oz, store brand is the store brand.",
    "You have never bought the popcorn.",
    "The third one is new to you.",
    "41 shoppers buy the soda.",
    "Soda is $1.25 cheaper than popcorn.",
    "Dry cat food is dearer than popcorn.",
    "The second one is 16 oz.",
    "Your cart holds 2 items, $13.98 in all.",
    "There is no number 9: the last list has 3 items.",
    "I can't filter by organic.",
    "Would you like it fresh?",
    "You asked for something healthy.",
    "Nothing here is organic.",
    "What are you shopping for today?",
    "Nothing in this shop fits something cheaper and organic.",
    "Here are 3 items for snacks under 5.",
]
FALSE = [
    ("You bought Soda (#1) 9 times.", "times"),
    ("Popcorn (#3) is close to soda, and you bought dry cat food before.", "bought"),
    ("Soda (#1) is on 7 of your last 10 trips.", "trips"),
    ("Soda (#1) is on 6 of your last 9 trips.", "trips"),
    ("Popcorn (#3) is on 6 of your last 10 trips.", "trips"),
    ("Soda costs $3.49.", "price"),
    ("Soda (#1) is in 5 of your past 10 trips.", "trips"),
    ("Prices go from $1.25 to $2.50.", "price range"),
    ("Prices range from $2.50 to $3.49.", "price range"),
    ("Dry cat food costs $1.25.", "price"),
    ("Soda costs $1.52.", "price"),
    ("Popcorn is the cheapest.", "cheapest"),
    ("Soda is the most expensive.", "dearest"),
    ("Popcorn goes well with soda.", "goes with"),
    ("Dry cat food is in 13 baskets with cat litter.", "baskets"),
    ("Soda is the store brand.", "store brand"),
    ("Popcorn is a name brand.", "name brand"),
    ("You always buy the popcorn.", "bought"),
    ("You have never bought the soda.", "never bought"),
    ("Soda is healthy.", "attribute"),
    ("The popcorn is organic.", "attribute"),
    ("Popcorn is on sale.", "never recorded"),
    ("Soda has great reviews.", "never recorded"),
    ("42 shoppers buy the soda.", "shoppers"),
    ("Popcorn is popular.", "popular"),
    ("The second one is 32 oz.", "size"),
    ("The ninth one is for you.", "reference"),
    ("Here are 7 items.", "how many"),
    ("Dry cat food is cheaper than everything.", "cheaper"),
    ("Your cart holds 2 items, $15.98 in all.", "price"),
    ("Soda is $2.25 cheaper than popcorn.", "price"),
]


@pytest.mark.parametrize("text", TRUE)
def test_a_true_sentence_passes(text: str) -> None:
    """Promise: the rate counts lies, not wordings."""
    assert [(c.kind, c.words) for c in unsupported(text, EVIDENCE, items=ITEMS, said="snacks under 5")] == []


@pytest.mark.parametrize(("text", "kind"), FALSE)
def test_a_false_sentence_is_found(text: str, kind: str) -> None:
    """Promise: a number, a claim or a reference that the evidence does not hold is found, and named."""
    assert kind in [c.kind for c in unsupported(text, EVIDENCE, items=ITEMS, said="snacks under 5")]


@given(st.floats(min_value=0.01, max_value=99, allow_nan=False))
def test_no_wrong_price_passes(amount: float) -> None:
    """Promise: of all the prices that could be said of an item, only its own passes."""
    said = f"${amount:.2f}"
    wrong = unsupported(f"Dry cat food is {said}.", EVIDENCE, items=ITEMS)
    assert bool(wrong) == (said not in ("$3.49", "$5.00"))


def test_a_wish_is_matched_by_its_telling_words() -> None:
    """Promise: "matches 10 oz of popcorn" is no lie because the record has no "of"."""
    evidence = {**EVIDENCE, "wish": {"query": "bag of popcorn"}, "labels": ["bag of popcorn"]}
    assert unsupported("Popcorn (#3) matches popcorn of a microwave.", evidence, items=ITEMS) == []
    assert unsupported("Popcorn (#3) matches popcorn (without ham).", evidence, items=ITEMS) == []
    assert unsupported("Popcorn (#3) matches popcorn of a cat.", evidence, items=ITEMS) != []


def test_words_of_the_wish_that_are_an_items_name_too_are_not_what_a_reason_is_about() -> None:
    """Promise: "you bought it …; it matches cookies" is about what the sentence before named, not about Cookies."""
    soda = {**EVIDENCE, "items": [], "about": ["i00"], "looked": EVIDENCE["items"]}
    text = "Soda (#1) is here. Also, you bought it on 6 of your last 10 trips; it matches popcorn."
    assert "bought" not in [c.kind for c in unsupported(text, soda, items=ITEMS, previous=["i00", "i01", "i02"])]


@given(st.text(max_size=200))
def test_any_text_can_be_read(text: str) -> None:
    """Promise: whatever a model writes, the checker answers."""
    claims(text, EVIDENCE, items=ITEMS, said=text)


def test_the_shoppers_own_words_are_no_claim() -> None:
    """Promise: saying the wish back is not counted as a statement about an item."""
    evidence = {**EVIDENCE, "wish": {"query": "organic popcorn"}, "labels": ["organic popcorn"]}
    assert unsupported("Here are 3 items for organic popcorn.", evidence, items=ITEMS) == []
    assert unsupported("Popcorn (#3) is organic.", evidence, items=ITEMS) != []


def test_a_name_the_catalogue_does_not_know_is_found() -> None:
    """Promise: a made-up product or brand counts as off the catalogue, unless the shopper named it first."""
    words = vocabulary(ITEMS)
    assert unknown_names("Try the Folgers one instead.", items=ITEMS, words=words) == ["Folgers"]
    assert unknown_names('You may like "Golden Crunch Flakes".', items=ITEMS, words=words) == ["Golden Crunch Flakes"]
    assert unknown_names("I have no Folgers here.", items=ITEMS, words=words, said="why not folgers") == []
    assert unknown_names("Soda (#1) and Popcorn (#3) fit.", items=ITEMS, words=words) == []


def test_what_is_said_of_the_item_shown_last_is_checked() -> None:
    """Promise: its trips, its buyers and its price are those of the record; of no other item."""
    last = [
        {"kind": "bought_trips", "count": 0, "of": 10},
        {"kind": "popular", "count": 40},
        {"kind": "last_shown", "words": ["bought_trips", "Soda"], "count": 6, "of": 10, "item_id": "i00"},
        {"kind": "last_shown", "words": ["popular", "Soda"], "count": 312, "item_id": "i00"},
        {"kind": "last_shown", "words": ["price", "Soda"], "amount": 1.25, "item_id": "i00"},
    ]
    looked = [{"item_id": "i03", "position": 0, "facts": last}]
    evidence = {**EVIDENCE, "items": [], "about": ["i03"], "looked": looked}

    def lies(text: str) -> bool:
        return bool(unsupported(f"Cat litter at $6.99 ranked lower: {text}.", evidence, items=ITEMS, previous=["i00"]))

    told = (
        "you bought it on none of your last {10} trips, the last one shown on {6}",
        "it is dear, and the last one shown on {6} of your last {10} trips",
        "{40} shoppers buy it, {312} the last one shown",
        "the last one shown costs ${1.25}",
    )
    for text in told:
        numbers = re.findall(r"{(.+?)}", text)
        plain = text.replace("{", "").replace("}", "")
        assert not lies(plain), plain
        for number in numbers:
            other = text.replace(f"{{{number}}}", f"{float(number) + 1:g}").replace("{", "").replace("}", "")
            assert lies(other), other


def test_a_wish_that_nothing_fits_is_said_back() -> None:
    """No item is said to be crunchy where none is shown; of a list it is a claim."""
    evidence = {
        "wish": {"query": "popcorn", "max_price": 2, "text_all": ["crunchy"]},
        "items": [],
        "cart": [],
        "notes": [],
    }
    text = "Nothing in this shop fits popcorn (under $2, crunchy)."
    assert not unsupported(text, evidence, items=ITEMS, said="crunchy? under $2")
    assert [one.kind for one in unsupported("Popcorn (#3) is crunchy.", EVIDENCE, items=ITEMS)] == ["attribute"]
