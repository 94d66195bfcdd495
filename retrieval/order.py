"""What is bought next after what: first-order transitions between a shopper's trips, newest counting most."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from retrieval.history import History

KEPT = 300  # items kept that may follow each item
AHEAD = 5  # trips looked ahead, the n-th counting 1 / n
RARER = 0.2  # 0: how often it follows; 1: how much more often than by chance
WIDEST = 3.0  # items a trip, on average: on wider trips the order says what being together says already
DAMP = 3.0


def carries_order(history: History) -> bool:
    """Say whether trips are small enough for their order to tell something."""
    return bool(len(history.trip_sizes)) and float(history.trip_sizes.mean()) <= WIDEST


def transitions(history: History) -> sparse.csr_array:
    """Count, damped, how often an item follows another on the next trips: [before, after], diagonal 0.

    The value is count / (trips that held the item before + `DAMP`) / (trips that held the item after) ** `RARER`; the
    strongest `KEPT` of each item are kept. Settings: of six tried on second-last films of MovieLens-100K the best.
    """
    size, trips = len(history.item_ids), len(history.basket_time)
    total: Any = sparse.csr_array((size, size), dtype=np.float64)
    if not trips:
        return total
    shape = (trips, size)
    ones = np.ones(len(history.basket_items))
    held: Any = sparse.csr_array((ones, history.basket_items, history.basket_start), shape=shape)
    user = np.repeat(np.arange(len(history.users)), np.diff(history.user_baskets))
    for ahead in range(1, AHEAD + 1):
        same = np.flatnonzero(user[:-ahead] == user[ahead:]) if trips > ahead else np.zeros(0, np.int64)
        if len(same):
            total = total + (held[same].T @ held[same + ahead]) * (1.0 / ahead)
    total = sparse.csr_array(total)
    counts = np.bincount(history.basket_items, minlength=size).astype(np.float64)
    before = np.repeat(np.arange(size), np.diff(total.indptr))
    total.data /= (counts[before] + DAMP) * np.maximum(counts[total.indices], 1.0) ** RARER
    total.data[before == total.indices] = 0.0
    return strongest(total, KEPT)


def strongest(matrix: sparse.csr_array, most: int) -> sparse.csr_array:
    """Keep the `most` values of each row that are furthest from 0; float32, indices sorted."""
    for row in np.flatnonzero(np.diff(matrix.indptr) > most):
        data: NDArray[np.float32] = matrix.data[matrix.indptr[row] : matrix.indptr[row + 1]]
        data[np.argsort(-np.abs(data), kind="stable")[most:]] = 0.0
    matrix.eliminate_zeros()
    matrix.sort_indices()
    kept: sparse.csr_array = matrix.astype(np.float32)
    return kept
