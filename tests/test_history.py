"""The history's counts are the log's counts: every fact that is told rests on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.history import History, Trip
from retrieval.records import ShopError
from tests.shops import DAY, START, history, twelve_items

ITEM_IDS = [item.item_id for item in twelve_items()]


def log(*rows: tuple[str, str, float], **columns: Any) -> pd.DataFrame:
    """Make a log of (user, item, day); other columns as given."""
    table = pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"]).assign(
        event="purchase", quantity=1.0, price=1.0, basket_id=""
    )
    table["timestamp"] = table["timestamp"] * DAY
    return table.assign(**columns)


@pytest.fixture
def small() -> History:
    return History.from_interactions(history(), item_ids=ITEM_IDS)


def test_counts_are_those_of_the_log(small: History) -> None:
    assert small.items("u0") == {"i00": 6, "i02": 4, "i04": 4, "i06": 4, "i08": 3, "i10": 3}
    assert small.bought("u0", "i00") and not small.bought("u0", "i01")
    assert small.trips("u0", "i08") == (3, 6) and small.trips("u0", "i08", last=2) == (0, 2)
    assert small.buyers("i00") == 4
    assert small.together("i00", "i02") == sum(
        {"i00", "i02"} <= held for u in small.users for _, held in small.baskets(u)
    )
    assert small.together("i00", "i01") == 0


def test_trips_are_oldest_first_whatever_the_order_of_the_log(small: History) -> None:
    shuffled = history().sample(frac=1, random_state=3)
    assert History.from_interactions(shuffled, item_ids=ITEM_IDS).baskets("u3") == small.baskets("u3")
    times = [time for time, _ in small.baskets("u3")]
    assert times == sorted(times) and times[0] == START + 3 * DAY


def test_unknown_shoppers_and_items_have_no_history(small: History) -> None:
    for user_id in (None, "nobody"):
        assert small.items(user_id) == {} and small.baskets(user_id) == [] and small.events(user_id) == []
        assert small.trips(user_id, "i00") == (0, 0) and not small.bought(user_id, "i00")
    assert small.buyers("nothing") == 0 and small.together("nothing", "i00") == 0
    assert small.trips("u0", "nothing") == (0, 6)


def test_without_basket_ids_a_day_is_a_trip() -> None:
    held = History.from_interactions(log(("a", "i00", 1.1), ("a", "i01", 1.9), ("a", "i00", 2.0)), item_ids=ITEM_IDS)
    assert held.baskets("a") == [(1.1 * DAY, frozenset({"i00", "i01"})), (2.0 * DAY, frozenset({"i00"}))]
    bare = log(("a", "i00", 1.1), ("a", "i01", 1.9)).drop(columns=["basket_id", "event", "quantity", "price"])
    assert len(History.from_interactions(bare, item_ids=ITEM_IDS).baskets("a")) == 1
    missing = log(("a", "i00", 1.1), ("a", "i01", 1.9), basket_id=None)
    assert len(History.from_interactions(missing, item_ids=ITEM_IDS).baskets("a")) == 1


def test_the_same_basket_id_of_two_shoppers_is_two_trips() -> None:
    held = History.from_interactions(log(("a", "i00", 1), ("b", "i01", 1), basket_id="7"), item_ids=ITEM_IDS)
    assert held.together("i00", "i01") == 0 and len(held.baskets("a")) == len(held.baskets("b")) == 1


def test_an_item_counts_once_a_trip() -> None:
    held = History.from_interactions(log(*[("a", "i00", 1.0)] * 5, basket_id="7"), item_ids=ITEM_IDS)
    assert held.items("a") == {"i00": 1} and held.trips("a", "i00") == (1, 1)


def test_the_last_word_on_an_item_is_what_counts() -> None:
    table = log(("a", "i00", 1), ("a", "i00", 2), ("a", "i01", 1), ("a", "i02", 3), ("b", "i00", 1))
    table["event"] = ["like", "dislike", "like", "view", "purchase"]
    held = History.from_interactions(table, item_ids=ITEM_IDS)
    assert held.liked("a") == ("i01",) and held.disliked("a") == ("i00",) and held.liked("b") == ()
    assert [(item_id, event) for _, item_id, event in held.events("a")] == [
        ("i00", "like"), ("i01", "like"), ("i00", "dislike"), ("i02", "view"),
    ]  # fmt: skip
    assert held.items("a") == {} and held.buyers("i00") == 1


def test_items_that_no_line_describes_are_left_out() -> None:
    held = History.from_interactions(log(("a", "i00", 1), ("a", "gone", 1)), item_ids=ITEM_IDS)
    assert held.baskets("a") == [(DAY, frozenset({"i00"}))]


def test_a_cut_in_time_leaves_out_what_came_at_or_after_it(small: History) -> None:
    early = History.from_interactions(history(), item_ids=ITEM_IDS, until=START + 14 * DAY)
    assert len(early.baskets("u0")) == 2 and early.now < START + 14 * DAY


def test_holding_out_the_newest_trip_leaves_the_others(small: History) -> None:
    past, held = small.without_last()
    assert [trip.user_id for trip in held] == list(small.users)
    for trip in held:
        assert small.baskets(trip.user_id) == [*past.baskets(trip.user_id), (trip.time, frozenset(trip.item_ids))]
    same, none = small.without_last(fewest=7)
    assert none == [] and same.baskets("u0") == small.baskets("u0")
    _, second = small.without_last(2)
    assert isinstance(second[0], Trip) and second[0].time == small.baskets("u0")[-2][0]


def test_a_saved_history_is_the_same(small: History, tmp_path: Path) -> None:
    small.save(tmp_path / "history.npz")
    loaded = History.load(tmp_path / "history.npz")
    assert loaded.users == small.users and loaded.item_ids == small.item_ids
    assert all(loaded.baskets(user) == small.baskets(user) for user in small.users)
    with np.load(tmp_path / "history.npz", allow_pickle=False) as held:
        assert all(held[name].dtype != object for name in held)


def test_names_of_any_kind_survive_saving(tmp_path: Path) -> None:
    names = ["", "é\n", "a\0b", "x" * 3000]
    held = History.from_interactions(log(*[(name, name, 1.0) for name in names]), item_ids=names)
    held.save(tmp_path / "h.npz")
    assert History.load(tmp_path / "h.npz").item_ids == tuple(names)


@pytest.mark.parametrize("content", [None, b"", b"not a zip", b"PK\x03\x04 half"])
def test_a_damaged_file_is_told_plainly(content: bytes | None, tmp_path: Path) -> None:
    file = tmp_path / "history.npz"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ShopError, match="Prepare the shop again"):
        History.load(file)


def test_an_empty_log_is_a_history_too(tmp_path: Path) -> None:
    held = History.from_interactions(log(), item_ids=ITEM_IDS)
    held.save(tmp_path / "h.npz")
    loaded = History.load(tmp_path / "h.npz")
    assert loaded.users == () and loaded.now == 0.0 and loaded.without_last()[1] == [] and loaded.buyers("i00") == 0


def test_a_shopper_with_100_000_events_and_an_item_everyone_buys() -> None:
    rng = np.random.default_rng(0)
    heavy = pd.DataFrame(
        {
            "user_id": "heavy",
            "item_id": [ITEM_IDS[n] for n in rng.integers(12, size=100_000)],
            "timestamp": rng.random(100_000) * 365 * DAY,
        }
    )
    many = pd.DataFrame({"user_id": [f"u{n}" for n in range(20_000)], "item_id": "i00", "timestamp": 0.0})
    held = History.from_interactions(pd.concat([heavy, many]).assign(event="purchase", basket_id=""), item_ids=ITEM_IDS)
    assert len(held.baskets("heavy")) == 365 and held.trips("heavy", "i00") == (10, 10)
    assert held.buyers("i00") == 20_001 and held.together("i00", "i01") > 300


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(ITEM_IDS[:4]), st.integers(0, 5)), max_size=40))
def test_any_log_is_counted_as_by_hand(rows: list[tuple[str, str, int]]) -> None:
    held = History.from_interactions(log(*rows), item_ids=ITEM_IDS)
    trips: dict[tuple[str, int], set[str]] = {}
    for user_id, item_id, day in rows:
        trips.setdefault((user_id, day), set()).add(item_id)
    for item_id in ITEM_IDS[:4]:
        assert held.buyers(item_id) == len({user for user, item, _ in rows if item == item_id})
        assert held.together(item_id, "i00") == sum({item_id, "i00"} <= kept for kept in trips.values())
        assert held.times("a", item_id) == sum(item_id in kept for (user, _), kept in trips.items() if user == "a")
