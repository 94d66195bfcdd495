"""The catalogue finds what is meant, keeps to every hard wish, and says nothing fits where nothing does."""

from __future__ import annotations

import json
import re
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.catalog import spoken
from retrieval.keeps import Keeps
from retrieval.kinds import Kinds, vocabulary
from retrieval.records import Item
from retrieval.wish import Wish, broken
from tests.shops import twelve_items

if TYPE_CHECKING:
    from retrieval.shop import Shop

PAIRS = [
    json.loads(line)
    for line in (Path(__file__).parent / "data" / "search_pairs.jsonl").read_text(encoding="utf-8").splitlines()
]
ALL = Wish(age_restricted=True)


def titles(shop: Shop, query: str, wish: Wish = ALL, **options: object) -> list[str]:
    found = shop.catalog.search([query], wish=wish, **options)  # type: ignore[arg-type]
    return [shop.catalog.items[candidate.item_id].title for candidate in found]


# What is meant


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("pop", ["Soda, 2 litre bottle, name brand"]),
        ("steak", ["Beef steak, 12 oz"]),
        ("steak sauce", ["Steak sauce, 10 oz, name brand"]),
        ("sauce for steak", ["Steak sauce, 10 oz, name brand"]),
        ("ice cream", ["Vanilla ice cream, 48 oz, store brand"]),
        ("cat food", ["Dry cat food, 16 oz, name brand"]),
        ("food for my cat", ["Dry cat food, 16 oz, name brand"]),
        ("kitty litter", ["Cat litter, 20 lb, store brand"]),
        ("catfood", ["Dry cat food, 16 oz, name brand"]),
        ("milk, please", ["Whole milk, gallon, store brand"]),
        ("beer", ["Beer, 12 x 12 oz, name brand"]),
    ],
)
def test_the_thing_itself_is_found_and_not_its_namesakes(small_shop: Shop, query: str, expected: list[str]) -> None:
    assert titles(small_shop, query) == expected


def test_typos_are_put_right(small_shop: Shop) -> None:
    assert set(titles(small_shop, "shreded chese")) == {
        "Shredded cheese, 8 oz, store brand",
        "Shredded cheese, 8 oz, name brand",
    }


@pytest.mark.parametrize("query", ["laptop", "snow tires", "wedding dress", "tennis racket", "", "!?", "the"])
def test_nothing_is_found_where_nothing_fits(small_shop: Shop, query: str) -> None:
    assert titles(small_shop, query) == []


def test_what_an_occasion_needs_is_found_by_mention(small_shop: Shop) -> None:
    assert {title.split(",")[0] for title in titles(small_shop, "something for tacos")} == {"Shredded cheese"}


def test_focus_is_the_kind_that_is_named_or_none(small_shop: Shop) -> None:
    assert small_shop.catalog.focus(["shredded cheese"]) == {"i06", "i07"}
    assert small_shop.catalog.focus(["gibberish", "pop"]) == {"i00"}
    assert small_shop.catalog.focus(["something nice"]) is None


def test_kinds_come_best_first_with_their_items(small_shop: Shop) -> None:
    kinds = small_shop.catalog.kinds("cheese")
    assert [(kind.name, kind.item_ids) for kind in kinds[:1]] == [("Shredded cheese", ("i06", "i07"))]
    assert all(0 <= kind.score <= 1 for kind in kinds)


def test_the_first_query_that_names_a_thing_decides(small_shop: Shop) -> None:
    found = small_shop.catalog.search(["milk", "something for my cat"], wish=ALL)
    assert [candidate.item_id for candidate in found] == ["i08"]


def test_several_needs_in_one_query_are_each_met(small_shop: Shop) -> None:
    assert small_shop.catalog.focus(["milk, cat litter and popcorn"]) == {"i08", "i03", "i02"}


def test_what_is_not_wanted_stays_away(small_shop: Shop) -> None:
    assert titles(small_shop, "cheese, no store brand")[0] == "Shredded cheese, 8 oz, name brand"


def test_candidates_say_where_they_come_from(small_shop: Shop) -> None:
    candidate = small_shop.catalog.search(["steak"], wish=ALL)[0]
    assert set(candidate.sources) == {"match", "dense", "bm25", "rrf"}
    assert 0 < candidate.sources["match"] <= 1


def test_similar_items_are_of_the_same_kind_first(small_shop: Shop) -> None:
    found = small_shop.catalog.similar("i06", wish=Wish())
    assert found[0].item_id == "i07"
    assert "i06" not in {candidate.item_id for candidate in found}
    assert small_shop.catalog.similar("nobody", wish=Wish()) == []


def test_bought_before_is_asked_of_the_shopper(small_shop: Shop) -> None:
    def bought(item_id: str) -> bool:
        return item_id == "i06"

    again, new = replace(ALL, bought="again"), replace(ALL, bought="new")
    assert titles(small_shop, "cheese", again, bought=bought) == ["Shredded cheese, 8 oz, store brand"]
    assert titles(small_shop, "cheese", new, bought=bought) == ["Shredded cheese, 8 oz, name brand"]
    assert titles(small_shop, "cheese", again) == []


# Words for fields


def test_brand_words_resolve_to_the_field_that_holds_them(small_shop: Shop) -> None:
    resolve = small_shop.catalog.resolve_brand
    assert [resolve(words) for words in ("store brand", "Generic", "own brands", "name brand", "Acme")] == [
        ("brand_tier", "Private"),
        ("brand_tier", "Private"),
        ("brand_tier", "Private"),
        ("brand_tier", "National"),
        None,
    ]


def test_attribute_values_resolve_by_their_exact_words(small_shop: Shop) -> None:
    assert small_shop.catalog.resolve_attribute("cat foods") == [("category", "CAT FOOD")]
    assert small_shop.catalog.resolve_attribute("cat") == []


def test_sizes_resolve_to_the_raw_sizes_that_are_as_much(small_shop: Shop) -> None:
    assert small_shop.catalog.sizes("two litres") == ("2 LTR",)
    assert set(small_shop.catalog.sizes("1 lb")) == {"16 OZ"}
    assert small_shop.catalog.sizes("huge") == ()


def test_a_shop_of_product_names_has_kinds_too() -> None:
    titles = [
        "ACME 3000 Heavy Duty Desktop Stapler for Offices, Black",
        "Bostitch Premium Executive Full Strip Stapler, Silver",
        "Swingline Classic Commercial Grade Stapler (S7071101)",
        "Pilot G2 Retractable Premium Rolling Ball Gel Pens, Blue",
        "Paper Mate InkJoy Comfortable Smooth Gel Pens, Assorted",
        "Uni-ball Signo Fine Point Archival Gel Pens - Black",
    ]
    kinds = Kinds([Item(item_id=str(number), title=title) for number, title in enumerate(titles)])
    asked = vocabulary(kinds).read("gel pens")
    assert (kinds.named(asked).match > 0.8).tolist() == [False] * 3 + [True] * 3


def test_words_that_shoppers_say_lead_to_a_kind_and_stay_out_of_the_items() -> None:
    kinds = Kinds(twelve_items(), said={"kibbles 'n bits": "cat food", "coke": "soda"})
    match = kinds.named(vocabulary(kinds).read("coke")).match
    assert [item.item_id for item, score in zip(twelve_items(), match, strict=True) if score > 0.9] == ["i00"]


def test_what_is_embedded_leaves_size_and_tier_out() -> None:
    first = twelve_items()[6]
    item = replace(first, brand="Store brand", attributes={**first.attributes, "size": "8 oz"})
    assert spoken(item) == "Shredded cheese. Deli. Cheese. Shredded cheese. For tacos and pizza."


# Hard wishes


WORDS = (
    "ham",
    "cheese",
    "name brand",
    "store",
    "oz",
    "steak",
    "Steak Sauce",
    "pop",
    "ice creams",
    "",
    "ch",
    "taco",
    "%",
)
NAMES = st.sampled_from(("brand_tier", "size", "category", "colour"))
VALUES = st.lists(st.sampled_from(("private", "National", "8 OZ", "CHEESE", "red", "1.5")), min_size=1, max_size=2)
PRICES = st.one_of(st.none(), st.sampled_from((0.0, 1.25, 2.0, 2.5, 3.0, 8.5, 11.0, 50.0)))
WISHES = st.builds(
    Wish,
    max_price=PRICES,
    min_price=PRICES,
    below_price=PRICES,
    above_price=PRICES,
    brands=st.lists(st.sampled_from(("", "acme", "ACME", "zeta")), max_size=2).map(tuple),
    categories=st.lists(st.sampled_from(("Cheese", "meat", "nowhere")), max_size=2).map(tuple),
    attributes=st.dictionaries(NAMES, VALUES.map(tuple), max_size=2),
    not_attributes=st.dictionaries(NAMES, VALUES.map(tuple), max_size=2),
    text_all=st.lists(st.sampled_from(WORDS), max_size=2).map(tuple),
    text_none=st.lists(st.sampled_from(WORDS), max_size=2).map(tuple),
    item_ids=st.one_of(st.none(), st.frozensets(st.sampled_from(("i00", "i06", "i11", "x")))),
    exclude_ids=st.frozensets(st.sampled_from(("i00", "i07", "x"))),
    age_restricted=st.booleans(),
)
ITEMS = [
    *(
        replace(item, brand=("", "Acme", "zeta")[number % 3], price=None if number == 9 else item.price)
        for number, item in enumerate(twelve_items())
    ),
    Item(item_id="x", title="Hamburger buns", attributes={"colour": ("red", "blue"), "size": 1.5}),
]
KEEPS = Keeps(ITEMS, rows_with=Kinds(ITEMS).rows_with)


@settings(max_examples=300, deadline=None)
@given(wish=WISHES)
def test_filters_over_the_catalogue_say_exactly_what_broken_says_of_each_item(wish: Wish) -> None:
    expected = [not broken(item, wish) for item in ITEMS]
    assert KEEPS.mask(wish).tolist() == expected


@settings(max_examples=60, deadline=None)
@given(wish=WISHES, query=st.sampled_from(("cheese", "something for tacos", "drinks", "steak")))
def test_no_item_that_breaks_a_wish_comes_out(small_shop: Shop, wish: Wish, query: str) -> None:
    items = small_shop.catalog.items
    for candidate in small_shop.catalog.search([query], wish=wish):
        assert broken(items[candidate.item_id], wish) == ()
    for candidate in small_shop.catalog.similar("i06", wish=wish):
        assert broken(items[candidate.item_id], wish) == ()


# The default shop


@pytest.mark.slow
def test_nine_in_ten_of_what_is_shown_is_what_was_asked_for(default_shop: Shop) -> None:
    """Precision at 5 over words, everyday words, typos, sizes, sentences and occasions written by hand."""
    shares, missed = defaultdict(list), []
    for pair in PAIRS:
        found = default_shop.catalog.search([pair["query"]], wish=ALL, limit=5)
        if pair.get("none"):
            shares["none"].append(float(not found))
            continue
        fitting = 0
        for candidate in found:
            attributes = default_shop.catalog.items[candidate.item_id].attributes
            fitting += bool(re.search(pair["any"], f"{attributes['category']} | {attributes['type']}"))
        share = fitting / len(found) if found else 0.0
        shares[pair["sort"]].append(share)
        if share < 1:
            missed.append((pair["query"], share))
    means = {sort: sum(held) / len(held) for sort, held in shares.items()}
    asked = [share for sort, held in shares.items() if sort != "none" for share in held]
    assert sum(asked) / len(asked) >= 0.95, missed
    assert min(value for sort, value in means.items() if sort != "none") >= 0.9, (means, missed)
    assert means["none"] >= 0.8, means


@pytest.mark.slow
def test_kinds_that_bear_every_word_leave_the_others_out(default_shop: Shop) -> None:
    """Canned fish is no fresh fish; fruit is apples before it is fruit in a jar."""
    assert not any("fresh" in title for title in titles(default_shop, "canned fish"))
    fruit = titles(default_shop, "fruit", limit=30)
    assert any("apples" in title.lower() for title in fruit)
    assert not any("jar" in title.lower() or "dried" in title.lower() for title in fruit)


@pytest.mark.slow
def test_a_search_takes_milliseconds(default_shop: Shop) -> None:
    """A search over 8,200 items, its query's vector known, costs less than 15 ms of processor time (median)."""
    queries = [pair["query"] for pair in PAIRS[:60]]
    wish = Wish(max_price=6, text_none=("nut",), attributes={"brand_tier": ("Private",)})
    taken = []
    for query in queries:
        default_shop.catalog.understand(query)
    for query in queries:
        started = time.process_time()
        default_shop.catalog.search([query], wish=wish, limit=80)
        taken.append(time.process_time() - started)
    assert sorted(taken)[len(taken) // 2] < 0.015
