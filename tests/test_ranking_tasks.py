"""What the ranking is asked: only of trips held out, only by what may be known, and the same for the same seed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest

from eval.ranking_tasks import LIKES, TASKS, Ask, Exam, allowed, best, draw
from retrieval.history import History
from retrieval.records import Item
from tests.shops import DAY, START, history, twelve_items

ITEMS = twelve_items()
IDS = [item.item_id for item in ITEMS]


def the_log(**more: Any) -> History:
    return History.from_interactions(history(**more), item_ids=IDS)


def drawn(past: History | None = None, *, items: Sequence[Item] = ITEMS, **more: Any) -> dict[str, Exam]:
    return {exam.round: exam for exam in draw(past or the_log(shoppers=20), items=items, **more)}


def ids(rows: Sequence[int]) -> set[str]:
    return {IDS[row] for row in rows}


def test_the_newest_trip_is_asked_for_and_not_known() -> None:
    log = the_log()
    exam = drawn(log)["known"]
    for ask in exam.of("next_basket"):
        trips = log.baskets(ask.user_id)
        assert (ask.at, ids(ask.targets)) == trips[-1]
        assert exam.past.baskets(ask.user_id) == trips[:-1]
    assert {ask.user_id for ask in exam.of("next_basket")} == set(log.users)


def test_drawing_from_the_past_asks_for_the_trip_before_for_validation() -> None:
    log = the_log()
    exam = drawn(drawn(log)["known"].past)["known"]
    for ask in exam.of("next_basket"):
        assert (ask.at, ids(ask.targets)) == log.baskets(ask.user_id)[-2]
        assert exam.past.baskets(ask.user_id) == log.baskets(ask.user_id)[:-2]


def test_a_shopper_with_four_trips_is_asked_nothing() -> None:
    assert draw(the_log(weeks=4), items=ITEMS) == []
    log = pd.concat([history(shoppers=2, weeks=4), history(shoppers=3, weeks=6).query("user_id == 'u2'")])
    exam = drawn(History.from_interactions(log, item_ids=IDS), tasks=["next_basket"])["known"]
    assert [ask.user_id for ask in exam.asks] == ["u2"]
    assert len(exam.past.baskets("u0")) == 4


@pytest.mark.parametrize("seed", [0, 1])
def test_every_target_is_allowed_and_what_a_shopper_knows_parts_again_from_new(seed: int) -> None:
    asked = set()
    new = [{"user_id": "u0", "item_id": "i11", "timestamp": START + 99 * DAY, "basket_id": "late"}]
    log = History.from_interactions(pd.concat([history(shoppers=20), pd.DataFrame(new)]), item_ids=IDS)
    for exam in draw(log, items=ITEMS, seed=seed):
        for ask in exam.asks:
            asked.add(ask.task)
            may = allowed(ask, past=exam.past)
            assert ask.targets
            assert may[list(ask.targets)].all()
            before = {IDS[row] for row in exam.past.bought_rows(ask.user_id)[0]}
            if ask.task == "again":
                assert {IDS[row] for row in np.flatnonzero(may)} == before
            elif ask.task == "new":
                assert {IDS[row] for row in np.flatnonzero(~may)} == before
            else:
                assert set(np.flatnonzero(~may)) == {*ask.cart, *ask.liked}
    assert asked == set(TASKS)


def test_again_and_new_part_the_basket() -> None:
    late = [
        {"user_id": "u0", "item_id": item_id, "timestamp": START + 99 * DAY, "basket_id": "late"}
        for item_id in ("i00", "i01", "i03")
    ]
    log = History.from_interactions(pd.concat([history(), pd.DataFrame(late)]), item_ids=IDS)
    found = {ask.task: ids(ask.targets) for ask in drawn(log)["known"].asks if ask.user_id == "u0"}
    assert (found["again"], found["new"]) == ({"i00"}, {"i01", "i03"})
    assert "goes_with" not in found  # three items are too few to be cut


def test_a_cart_is_half_of_the_basket_and_the_rest_is_asked_for() -> None:
    exam = drawn()["known"]
    baskets = {ask.user_id: set(ask.targets) for ask in exam.of("next_basket")}
    for ask in exam.of("goes_with"):
        assert len(ask.cart) == len(ask.targets) == 2
        assert {*ask.cart, *ask.targets} == baskets[ask.user_id]


def test_words_are_the_kind_and_for_some_what_the_title_says_of_size_or_brand() -> None:
    said = {(ask.words, IDS[ask.targets[0]]) for seed in range(20) for ask in drawn(seed=seed)["known"].of("search")}
    assert {words for words, item_id in said if item_id == "i06"} == {"shredded cheese", "shredded cheese, 8 oz"}
    branded = [
        Item(item_id=item.item_id, title=item.title, brand="Store brand", attributes={"shown_size": "none"})
        for item in ITEMS
    ]
    said = {
        (ask.words, IDS[ask.targets[0]])
        for seed in range(20)
        for ask in drawn(items=branded, seed=seed)["known"].of("search")
    }
    assert {words for words, item_id in said if item_id == "i06"} == {"shredded cheese", "shredded cheese, store brand"}
    assert {words for words, item_id in said if item_id == "i07"} == {
        "shredded cheese"
    }  # "name brand" is not its brand


def test_a_cold_shopper_is_nowhere_in_the_past_and_its_likes_are_of_earlier_trips() -> None:
    log = the_log(shoppers=20)
    exam = drawn(log)["cold_shopper"]
    cold = {ask.ask_id.split(".")[0] for ask in exam.asks}
    assert len(cold) == 4
    assert all(not exam.past.baskets(user_id) for user_id in cold)
    assert all(exam.past.baskets(user_id) for user_id in set(log.users) - cold)
    assert {len(ask.liked) for ask in exam.asks} == set(LIKES)
    for ask in exam.asks:
        *earlier, (_, newest) = log.baskets(ask.ask_id.split(".")[0])
        assert ask.user_id is None
        assert ids(ask.liked) <= {item_id for _, basket in earlier for item_id in basket}
        assert ids(ask.targets) == newest - ids(ask.liked)


def test_a_cold_item_lost_its_purchases_and_no_other_did() -> None:
    log = the_log(shoppers=20)
    known, exam = drawn(log)["known"].past, drawn(log)["cold_item"]
    (cold,) = {row for ask in exam.asks for row in ask.targets}
    assert exam.past.buyers_by_row[cold] == 0
    assert known.buyers_by_row[cold] > 0
    np.testing.assert_array_equal(np.delete(exam.past.buyers_by_row, cold), np.delete(known.buyers_by_row, cold))
    assert {ask.words.split(",")[0] for ask in exam.asks} == {ITEMS[cold].title.split(",")[0].lower()}
    for user_id in log.users:
        assert exam.past.baskets(user_id) == [(at, held - {IDS[cold]}) for at, held in known.baskets(user_id)]


def test_a_trip_that_held_only_cold_items_is_gone() -> None:
    alone = [
        {"user_id": "u0", "item_id": item_id, "timestamp": START + n, "basket_id": f"b{n}"}
        for n, item_id in enumerate(IDS)
    ]
    log = History.from_interactions(pd.concat([pd.DataFrame(alone), history(shoppers=20)]), item_ids=IDS)
    known, exam = drawn(log)["known"].past, drawn(log)["cold_item"].past
    assert len(known.baskets("u0")) - len(exam.baskets("u0")) == 1
    assert all(held for _, held in exam.baskets("u0"))


def test_what_was_liked_since_the_trip_held_out_began_is_not_known() -> None:
    newest = the_log().baskets("u0")[-1][0]
    likes = [
        {"user_id": "u0", "item_id": "i02", "timestamp": newest - 1, "event": "like"},
        {"user_id": "u0", "item_id": "i04", "timestamp": newest, "event": "like"},
        {"user_id": "u1", "item_id": "i03", "timestamp": newest - DAY, "event": "like"},
    ]
    log = History.from_interactions(pd.concat([history(), pd.DataFrame(likes)]), item_ids=IDS)
    past = drawn(log, tasks=["next_basket"])["known"].past
    assert (past.liked("u0"), past.liked("u1")) == (("i02",), ("i03",))
    assert log.liked("u0") == ("i02", "i04")


def test_the_same_seed_asks_the_same_and_whoever_else_is_asked_changes_nothing() -> None:
    def asks(**more: Any) -> dict[tuple[str, str], Ask]:
        return {(ask.task, ask.ask_id): ask for exam in drawn(**more).values() for ask in exam.asks}

    every = asks(seed=3)
    assert asks(seed=3) == every
    assert asks(seed=4) != every
    few = asks(seed=3, shoppers=5)
    assert len({ask_id for task, ask_id in few if task == "next_basket"}) == 5
    assert few.items() <= every.items()


def test_the_best_rows_are_allowed_finite_and_in_a_stable_order() -> None:
    scores = np.array([1.0, 3.0, 3.0, -np.inf, np.nan, 2.0, 3.0])
    every = np.ones(7, bool)
    assert best(scores, every, 2).tolist() == [1, 2]
    assert best(scores, every, 20).tolist() == [1, 2, 6, 5, 0]
    assert best(scores, ~every, 20).tolist() == []
    assert best(scores, np.arange(7) != 1, 3).tolist() == [2, 6, 5]
