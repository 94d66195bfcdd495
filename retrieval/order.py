"""What is bought next after what: first-order transitions between a shopper's trips, newest counting most."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from retrieval.history import History

KEPT = 100  # items kept that may follow each item
AHEAD = (1.0, 0.5, 0.25)  # what the next trip counts, and the two after it
WIDEST = 3.0  # items a trip, on average: on wider trips the order says what being together says already
DAMP = 3.0


def carries_order(history: History) -> bool:
    """Say whether trips are small enough for their order to tell something."""
    return bool(len(history.trip_sizes)) and float(history.trip_sizes.mean()) <= WIDEST


def transitions(history: History) -> sparse.csr_array:
    """Count, damped, how often an item follows another on the next three trips: [before, after], diagonal 0.

    The value is count / (trips that held the item before + `DAMP`); the strongest `KEPT` of each item are kept.
    """
    size, trips = len(history.item_ids), len(history.basket_time)
    total = sparse.csr_array((size, size), dtype=np.float64)
    if not trips:
        return total
    shape = (trips, size)
    ones = np.ones(len(history.basket_items))
    held = sparse.csr_array((ones, history.basket_items, history.basket_start), shape=shape)
    user = np.repeat(np.arange(len(history.users)), np.diff(history.user_baskets))
    for ahead, weight in enumerate(AHEAD, start=1):
        same = np.flatnonzero(user[:-ahead] == user[ahead:]) if trips > ahead else np.zeros(0, np.int64)
        if len(same):
            pairs = sparse.csr_array(held[same].T @ held[same + ahead])
            pairs.data = np.multiply(pairs.data, weight)
            total = sparse.csr_array(total + pairs)
    counts = np.asarray(held.sum(axis=0)).ravel() + DAMP
    total = sparse.csr_array(total.multiply(1.0 / counts[:, None]))
    total.setdiag(0.0)
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
