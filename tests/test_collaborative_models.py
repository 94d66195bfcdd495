"""Shoppers who buy alike, EASE and transitions: each against a log whose right answer is obvious."""

from __future__ import annotations

import numpy as np
import pytest

from retrieval.ease import ease
from retrieval.history import History
from retrieval.neighbours import Neighbours
from retrieval.order import carries_order, strongest, transitions
from tests.test_history import log

IDS = [f"i{n:02d}" for n in range(8)]


def checkerboard() -> History:
    """Shoppers of even number buy even items, the others odd ones; each misses one."""
    rows = [(f"u{u}", f"i{i:02d}", i) for u in range(8) for i in range(8) if i % 2 == u % 2 and i != u]
    return History.from_interactions(log(*rows), item_ids=IDS)


def test_neighbours_propose_what_is_missing_of_the_same_colour() -> None:
    history = checkerboard()
    rows, times = history.bought_rows("u2")
    scores = Neighbours.of(history).score(rows, np.log1p(times), but="u2")
    assert scores[2] > 0 and not scores[1::2].any() and scores.max() <= 1 + 1e-6


def test_the_shopper_who_asks_is_nobodys_neighbour() -> None:
    history = History.from_interactions(log(("a", "i00", 0), ("a", "i01", 1), ("b", "i02", 2)), item_ids=IDS)
    near = Neighbours.of(history)
    assert near.score(np.array([0]), np.array([1.0]), but=None)[1] > 0
    assert not near.score(np.array([0]), np.array([1.0]), but="a").any()
    assert not near.score(np.zeros(0, np.int64), np.zeros(0)).any()


def test_ease_is_its_closed_form() -> None:
    history = checkerboard()
    held = np.zeros((8, 8))
    users, items, _ = history.pairs()
    held[users, items] = 1.0
    inverse = np.linalg.inv(held.T @ held + 2.0 * np.eye(8))
    expected = -inverse / np.diag(inverse)
    np.fill_diagonal(expected, 0.0)
    found = ease(history, ridge=2.0).toarray()
    assert found == pytest.approx(expected, abs=1e-6)


def test_what_follows_is_counted_within_one_shopper_and_damped() -> None:
    rows = [(f"u{u}", item, u * 100 + day) for u in range(6) for day, item in enumerate(["i00", "i01", "i02"])]
    found = transitions(History.from_interactions(log(*rows), item_ids=IDS)).toarray()
    assert found[0, 1] == pytest.approx(6 / (6 + 3) / 6**0.2)
    assert found[0, 2] == pytest.approx(0.5 * 6 / (6 + 3) / 6**0.2), "two trips later counts half"
    assert found[2, 0] == 0, "the last trip of one shopper is not followed by the next shopper's"
    assert not np.diag(found).any()


def test_wide_trips_carry_no_order() -> None:
    wide = [("a", item, day) for day in range(4) for item in IDS]
    assert not carries_order(History.from_interactions(log(*wide), item_ids=IDS))
    assert not carries_order(History.from_interactions(log(), item_ids=IDS))


def test_the_strongest_are_kept_whatever_their_sign() -> None:
    from scipy import sparse

    kept = strongest(sparse.csr_array(np.array([[0.1, -3.0, 2.0], [0.0, 1.0, 0.0]])), 2).toarray()
    assert kept.tolist() == [[0, -3, 2], [0, 1, 0]]


@pytest.mark.parametrize("rows", [[], [("a", "i00", 0)]], ids=["empty", "one line"])
def test_any_log_can_be_fitted(rows: list[tuple[str, str, float]]) -> None:
    history = History.from_interactions(log(*rows), item_ids=IDS)
    assert not transitions(history).nnz and np.isfinite(ease(history).toarray()).all()
    assert np.isfinite(Neighbours.of(history).score(np.array([0]), np.array([1.0]))).all()
