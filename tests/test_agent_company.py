"""A word that names several things means the one that goes with what was said or shown, and else all of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from retrieval.records import Item
from retrieval.shop import Shop
from tests.scripted_model import call
from tests.shops import DAY, START, SmallSource
from tests.small_shop import Talk

TITLES = {
    "d": "Diapers, 30 count",
    "b": "Baby wipes, 80 count",
    "c": "Cleaning wipes, 35 count",
    "x": "Bleach, 1 gallon",
    "m": "Milk, 1 gallon",
    "f": "Baby milk, 12 oz",
    "j": "Jar candles, 12 oz",
    "k": "Cake candles, 24 count",
    "t": "Tea, 20 count",
}
TRIPS = ("dbf", "xc", *["mt"] * 6, "mj", "mk")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """Open a shop whose log has thirty trips each of diapers and what babies need, of what cleans, and of others."""
    from retrieval.prepare import prepare

    items = [
        Item(item_id=item_id, title=title, categories=("All", title.split(",")[0]), price=2.0)
        for item_id, title in TITLES.items()
    ]
    rows = [
        {
            "user_id": f"u{number % 7}",
            "item_id": item_id,
            "timestamp": START + number * DAY,
            "event": "purchase",
            "quantity": 1.0,
            "price": 2.0,
            "basket_id": f"b{number}",
        }
        for number, trip in enumerate(trip for trip in TRIPS for _ in range(30))
        for item_id in trip
    ]
    folder = tmp_path_factory.mktemp("company")
    prepare(SmallSource(items=items, interactions=pd.DataFrame(rows)), shop=folder)
    with Shop.open(folder) as opened:
        yield opened


@pytest.fixture
def talk(tmp_path: Path, shop: Shop) -> Talk:
    return Talk(tmp_path, shop=shop)


@pytest.mark.parametrize(("before", "meant"), [("diapers", ["b"]), ("bleach", ["c"])])
def test_a_word_means_what_goes_with_the_list_on_the_table(talk: Talk, before: str, meant: list[str]) -> None:
    talk.say(before, call("search_catalog", query=before))
    told = talk.say("and wipes", call("search_catalog", query="wipes"))
    assert told.items == meant
    assert told.reply.evidence["wish"]["query"] == f"{'baby' if meant == ['b'] else 'cleaning'} wipes"


def test_a_word_means_what_goes_with_the_other_wishes_of_the_message(talk: Talk) -> None:
    told = talk.say("wipes and diapers", call("search_catalog", query="wipes"), call("search_catalog", query="diapers"))
    assert set(told.items) == {"b", "d"}


def test_a_word_means_what_goes_with_what_else_the_message_names(talk: Talk) -> None:
    """As in "wipes, pampers or huggies", planned as wipes alone."""
    assert talk.say("diapers. wipes, 2 packs", call("search_catalog", query="wipes")).items == ["b"]


def test_a_word_means_what_goes_with_the_cart(talk: Talk) -> None:
    talk.say("diapers", call("search_catalog", query="diapers"))
    talk.say("add 1", call("update_cart", action="add", positions=[1]))
    talk.say("tea", call("search_catalog", query="tea"))
    assert talk.say("and wipes", call("search_catalog", query="wipes")).items == ["b"]


def test_a_word_alone_keeps_all_its_meanings(talk: Talk) -> None:
    assert set(talk.say("wipes", call("search_catalog", query="wipes")).items) == {"b", "c"}


def test_what_goes_with_neither_settles_nothing(talk: Talk) -> None:
    """Tea is bought with no wipes at all."""
    talk.say("tea", call("search_catalog", query="tea"))
    assert set(talk.say("and wipes", call("search_catalog", query="wipes")).items) == {"b", "c"}


def test_a_thing_called_just_so_is_meant_whatever_it_stands_beside(talk: Talk) -> None:
    """Diapers go with baby milk, and yet "milk" is milk."""
    talk.say("diapers", call("search_catalog", query="diapers"))
    assert talk.say("and milk", call("search_catalog", query="milk")).items[0] == "m"


@pytest.mark.parametrize(
    ("message", "meant"),
    [
        ("candles for the cake", {"k"}),
        ("kids bday!! candles to put on a cake please", {"k"}),
        ("candles for grandma", {"j", "k"}),
        ("cake and candles", {"j", "k"}),
    ],
)
def test_what_a_thing_is_for_joins_its_name(talk: Talk, message: str, meant: set[str]) -> None:
    assert set(talk.say(message, call("search_catalog", query="candles")).items) == meant
