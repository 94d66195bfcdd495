"""What shoppers bought as sparse matrices, and the scores of known shoppers made from them a block at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from eval.ranking_tasks import Ask
from eval.ranking_tuning import Scores
from retrieval.history import History

Ints = NDArray[np.int64]
Table = NDArray[np.float32]  # [shoppers of a block, items]
Weight = Literal["count", "log", "newest"]

BLOCK_BYTES = 64 * 2**20  # of one block of scores; a fit holds one


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines:
    """Every (trip, item) of a log, in its order: shopper, item, trip, the trip's number and its age (0: the newest)."""

    user: Ints
    item: Ints
    trip: Ints
    number: Ints  # of the trip among its shopper's, from 0, the oldest
    age: Ints
    trips: Ints  # of the line's shopper


def lines(past: History) -> Lines:
    """Lay out the lines of a log."""
    sizes = np.diff(past.user_baskets)
    user_of_trip = np.repeat(np.arange(len(past.users)), sizes)
    number_of_trip = np.arange(len(past.basket_time)) - past.user_baskets[:-1][user_of_trip]
    trip = np.repeat(np.arange(len(past.basket_time)), past.trip_sizes)
    user, number = user_of_trip[trip], number_of_trip[trip]
    return Lines(
        user=user,
        item=past.basket_items,
        trip=trip,
        number=number,
        age=sizes[user] - 1 - number,
        trips=sizes[user],
    )


def of_lines(past: History, held: Lines, weights: NDArray[np.floating]) -> sparse.csr_array:
    """Add up weights of lines by shopper and item: [shoppers, items], float32."""
    shape = (len(past.users), len(past.item_ids))
    out = sparse.coo_array((weights.astype(np.float64), (held.user, held.item)), shape=shape).tocsr()
    out.eliminate_zeros()
    return sparse.csr_array(out.astype(np.float32))


def profiles(
    past: History, *, decay: float = 1.0, last: int | None = None, weight: Weight = "count"
) -> sparse.csr_array:
    """Weigh what each shopper bought: [shoppers, items], float32.

    Args:
        past: The log.
        decay: What a trip counts of the one after it.
        last: Look at so many of the newest trips only.
        weight: `count` adds `decay ** age` over the trips with the item, `log` is log2(1 + that), `newest` takes the
            newest such trip alone (without decay: 1).
    """
    held = lines(past)
    weights = np.power(float(decay), held.age)
    if last is not None:
        weights = np.where(held.age < last, weights, 0.0)
    if weight == "newest":
        pair = held.user * max(len(past.item_ids), 1) + held.item
        # Lines are in the order of the trips: turned round, the first of a pair is its newest.
        _, first = np.unique(pair[::-1], return_index=True)
        newest = np.zeros(len(pair), bool)
        newest[len(pair) - 1 - first] = True
        weights = np.where(newest, weights, 0.0)
    out = of_lines(past, held, weights)
    if weight == "log":
        out.data = np.log2(1.0 + out.data).astype(np.float32)
    return out


def trips_by_items(past: History) -> sparse.csr_array:
    """Mark what each trip held: [trips, items], float32."""
    shape = (len(past.basket_time), len(past.item_ids))
    ones = np.ones(len(past.basket_items), np.float32)
    return sparse.csr_array((ones, past.basket_items, past.basket_start), shape=shape)


def popular(past: History) -> Scores:
    """Count the trips that held each item: what is listed where nothing is known of a shopper."""
    return np.bincount(past.basket_items, minlength=len(past.item_ids)).astype(np.float32)


class Known:
    """Scores of known shoppers, by row, worked out for a block of neighbouring rows at a time; the last block is held.

    Asks come in the order of the shoppers, so that each block is worked out once a task.

    Args:
        past: The log.
        of: Gives the scores of the rows from one to before another: [rows, items].
        widest: Columns of the widest table that `of` makes; by default the items.
    """

    def __init__(self, past: History, of: Callable[[int, int], Table], *, widest: int = 0) -> None:
        self._past = past
        self._of = of
        self._rows = max(1, min(512, BLOCK_BYTES // (4 * max(len(past.item_ids), widest, 1))))
        self._first = -1
        self._block: Table = np.zeros((0, len(past.item_ids)), np.float32)

    def __call__(self, ask: Ask) -> Scores | None:
        """Give the scores of an ask's shopper; None where nobody knows the shopper."""
        row = self._past.user_rows.get(ask.user_id) if ask.user_id is not None else None
        if row is None:
            return None
        first = row - row % self._rows
        if first != self._first:
            self._block = self._of(first, min(first + self._rows, len(self._past.users)))
            self._first = first
        return self._block[row - first]


def largest(values: Table, most: int) -> Table:
    """Keep the `most` largest values of each row above 0, the others 0."""
    if not 0 < most < values.shape[1]:
        return np.maximum(values, 0.0)
    edge = np.partition(values, -most, axis=1)[:, -most][:, None]
    return np.where((values >= edge) & (values > 0), values, np.float32(0.0))


__all__ = ["Known", "Lines", "Table", "Weight", "largest", "lines", "of_lines", "popular", "profiles", "trips_by_items"]
