"""What a message says in so many words is read by code, and a planned call that says otherwise is mended by it."""

from __future__ import annotations

from typing import Any

import pytest

from agent.conversation import ToolCall
from agent.heard import LAST, hear
from agent.mend import mend_call
from agent.plan import check_call


@pytest.mark.parametrize(
    ("message", "most", "least"),
    [
        ("milk under $4", 4.0, None),
        ("nothing over five bucks", 5.0, None),
        ("chips w/o salt below 2 dollars", 2.0, None),
        ("not over $4", 4.0, None),
        ("a buck fifty or less", 1.5, None),
        ("5 bucks max im broke", 5.0, None),
        ("i dont want to pay more than 75c", 0.75, None),
        ("twenty-five bucks max", 25.0, None),
        ("at least 10 bucks", None, 10.0),
        ("more than 3 though", None, 3.0),
        ("nothing under a fiver", None, 5.0),
        ("nothing under a fiver?", None, None),
        ("i dont want dip under a dollar", None, None),
        ("hide everything over $4.50", None, None),
        ("these are all over $5", None, None),
        ("chips no salt over 2", None, None),
        ("stop showing me stuff over 5", None, None),
        ("under " + "1" * 400 + " 50", None, None),
        ("under 1.5 liter", None, None),
        ("4 and up", None, 4.0),
        ("over 2 but under 4", 4.0, 2.0),
        ("a dozen eggs", None, None),
        ("under 16 oz", None, None),
        ("for more than 6 people", None, None),
        ("budget 3 to 4", None, None),
        ("2+2", None, None),
        ("what costs 5 dollars", None, None),
    ],
)
def test_bounds_on_the_price(message: str, most: float | None, least: float | None) -> None:
    heard = hear(message)
    assert (heard.most, heard.least) == (most, least)


@pytest.mark.parametrize(
    ("message", "places"),
    [
        ("whys the 2nd there", (2,)),
        ("add 2 of the first", (1,)),
        ("the last one please", (LAST,)),
        ("number three", (3,)),
        ("#4 in the cart", (4,)),
        ("add the first and the third", (1, 3)),
        ("why is the top one on top", ()),
        ("the second last one", ()),
        ("the first two", ()),
        ("compare #2 with the others", ()),
        ("first aid kit", ()),
        ("put in first and third for me", ()),
        ("add first thru third", ()),
        ("skip the first, add the second", ()),
        ("add that and the second one", ()),
        ("add a second bag", ()),
        ("add everything in the first row", ()),
        ("like last time", ()),
        ("at first i wanted tea", ()),
    ],
)
def test_places_in_the_list(message: str, places: tuple[int, ...]) -> None:
    assert hear(message).places == places


@pytest.mark.parametrize(
    ("message", "tier"),
    [
        ("generic peanut butter", "store brand"),
        ("wipes, not the store one", "name brand"),
        ("anything but the name brand", "store brand"),
        ("i want the name brand", "name brand"),
        ("store brand or name brand", None),
        ("in which store", None),
        ("no sugar generic ketchup", None),
        ("isn't there a generic", None),
        ("i forget the brand name", None),
        ("generic tastes bad", None),
        ("dont mind store brand", None),
    ],
)
def test_brand_tiers(message: str, tier: str | None) -> None:
    assert hear(message).tier == tier


@pytest.mark.parametrize(
    ("message", "planned", "made"),
    [
        ("wine, at least 10 bucks", {"query": "wine", "max_price": 10.0}, {"query": "wine", "min_price": 10.0}),
        ("nothing over 2", {"min_price": 2.0}, {"max_price": 2.0}),
        ("over 2 under 4", {"min_price": 2.0, "max_price": 4.0}, {"min_price": 2.0, "max_price": 4.0}),
        ("tea under 20 cents", {"query": "tea", "max_price": 20.0}, {"query": "tea", "max_price": 0.2}),
        ("tea under 20 dollars", {"query": "tea", "max_price": 20.0}, {"query": "tea", "max_price": 20.0}),
        ("generic peanut butter", {"query": "peanut butter"}, {"query": "peanut butter"}),
        ("nuggets, frozen", {"query": "nuggets", "without": ["frozen"]}, {"query": "nuggets frozen"}),
        ("DRY", {"without": ["dry"]}, {"having": ["dry"]}),
        ("cookies, my kid reacts to peanuts", {"query": "cookies", "without": ["peanuts"]},
         {"query": "cookies", "without": ["peanuts"]}),
        ("decaf tho", {"without": ["decaf"]}, {"having": ["decaf"]}),
        ("yogurt but not the multi packs", {"query": "yogurt", "having": ["multi packs"]},
         {"query": "yogurt", "without": ["multi packs"]}),
        ("not too sweet, with nuts", {"having": ["nuts"]}, {"having": ["nuts"]}),
        ("also peanuts", {"without": ["peanuts"]}, {"without": ["peanuts"]}),
        ("laptop under 99999", {"query": "laptop"}, {"query": "laptop"}),
        ("milk no sugar", {"query": "milk", "without": ["sugar"]}, {"query": "milk", "without": ["sugar"]}),
        ("not the store brand", {"brand": "store brand"}, {"brand": "name brand"}),
        ("Heinz, not store brand", {"brand": "Heinz"}, {"brand": "Heinz"}),
        ("tea", {"query": "tea"}, {"query": "tea"}),
    ],
)  # fmt: skip
def test_a_search_is_mended(message: str, planned: dict[str, Any], made: dict[str, Any]) -> None:
    call = ToolCall(name="search_catalog", arguments=planned)
    assert mend_call(call, hear(message), shown=5, focus=None).arguments == made


@pytest.mark.parametrize(
    ("message", "tool", "planned", "made"),
    [
        ("whys the top one first", "explain", {"position": 5}, {"position": 1}),
        ("why these", "explain", {}, {}),
        ("is the first in oil or water", "lookup_catalog", {"positions": [1, 2, 3]}, {"positions": [1]}),
        ("k add that", "update_cart", {"action": "add", "positions": [1, 2, 3]}, {"action": "add", "positions": [3]}),
        ("add 2 of the first", "update_cart", {"action": "add", "positions": [1, 2], "quantity": 2},
         {"action": "add", "positions": [1], "quantity": 2}),
        ("add 2", "update_cart", {"action": "add", "positions": [2], "quantity": 2}, {"action": "add", "positions": [2]}),
        ("2 of those", "update_cart", {"action": "add", "positions": [2], "quantity": 2},
         {"action": "add", "positions": [2], "quantity": 2}),
        ("add 2 of number 2", "update_cart", {"action": "add", "positions": [2], "quantity": 2},
         {"action": "add", "positions": [2], "quantity": 2}),
        ("whats in it, the last one", "update_cart", {"action": "show"}, {"action": "show"}),
        ("add the rest, thats it", "update_cart", {"action": "add", "positions": [2, 3]},
         {"action": "add", "positions": [2, 3]}),
        ("why not the second", "explain", {"query": "tea", "why_not": True}, {"query": "tea", "why_not": True}),
    ],
)  # fmt: skip
def test_a_reference_is_mended(message: str, tool: str, planned: dict[str, Any], made: dict[str, Any]) -> None:
    call = ToolCall(name=tool, arguments=planned)
    assert mend_call(call, hear(message), shown=5, focus=3).arguments == made


def test_a_bare_word_after_a_refusal_is_refused_too() -> None:
    call = ToolCall(name="search_catalog", arguments={"without": ["peanuts"]})
    assert mend_call(call, hear("peanuts"), shown=5, focus=None, refused=True) == call


def test_what_measures_or_counts_is_no_price() -> None:
    for message, amount in (("how about a dozen", 12.0), ("16 oz please", 16.0), ("im 15, vodka", 15.0)):
        call = ToolCall(name="search_catalog", arguments={"max_price": amount})
        assert check_call(call, message=message, said=())[0].arguments == {}
