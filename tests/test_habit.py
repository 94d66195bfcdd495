"""A shopper's own habits: what the fitted ranking reads of them is what the log says, as of the moment asked for."""

from __future__ import annotations

import numpy as np
import pytest

from retrieval.habit import habits, spread_out
from retrieval.history import History
from tests.test_history import log

DAY = 86_400.0
IDS = ["i00", "i01", "i02", "i03"]
LOG = log(("a", "i00", 0), ("a", "i01", 0), ("a", "i00", 10), ("a", "i02", 20), ("a", "i00", 30), ("b", "i03", 40))


def test_items_are_measured_as_the_log_has_them() -> None:
    history = History.from_interactions(LOG, item_ids=IDS)
    held = habits(history, "a", at=history.now)
    assert held.trips == 4 and held.rows.tolist() == [0, 1, 2] and held.times.tolist() == [3, 1, 1]
    found = held.of_items()
    assert found["days"] == pytest.approx([10, 40, 20]) and found["trips_since"].tolist() == [0, 3, 1]
    assert found["mean_gap"][0] == pytest.approx(15) and np.isnan(found["mean_gap"][1:]).all()
    assert found["due"][0] == pytest.approx(10 / 15) and found["share"].tolist() == [0.75, 0.25, 0.25]
    assert found["decay_90"] == pytest.approx([0.9**3 + 0.9**2 + 1, 0.9**3, 0.9])
    assert found["last_5"].tolist() == [3, 1, 1]


def test_nothing_after_the_moment_is_seen() -> None:
    history = History.from_interactions(LOG, item_ids=IDS)
    first, end = history.trip_rows("a")
    held = habits(history, "a", at=float(history.basket_time[end - 1]))
    assert held.trips == 3 and held.times.tolist() == [2, 1, 1]
    assert habits(history, "a", at=float(history.basket_time[first])).trips == 0


def test_kinds_count_a_trip_once_and_know_when_they_are_due() -> None:
    history = History.from_interactions(LOG, item_ids=IDS)
    found = habits(history, "a", at=history.now).of_groups(np.array([0, 0, 1, 1]), 2)
    assert found["times"].tolist() == [3, 1] and found["days"] == pytest.approx([10, 20])
    assert found["due"][0] == pytest.approx(10 / 15) and np.isnan(found["due"][1])


@pytest.mark.parametrize("user_id", [None, "nobody"])
def test_a_stranger_has_no_habits(user_id: str | None) -> None:
    held = habits(History.from_interactions(LOG, item_ids=IDS), user_id)
    assert not held.trips and held.of_items() == {} and held.context() == {}
    assert held.of_groups(np.zeros(4, np.int64), 1)["times"].tolist() == [0]


def test_values_stand_at_the_rows_asked_for() -> None:
    out = spread_out({"n": np.array([5.0, 7.0])}, np.array([1, 3]), np.array([3, 0, 1, 9]), ["n"], none=-1.0)
    assert out[:, 0].tolist() == [7, -1, 5, -1]
