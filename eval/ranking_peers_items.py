"""Peers that hold a weight from every item to every other: item-kNN, EASE, what follows what, what lifts what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from eval.ranking_peers_profile import Known, Table, Weight, popular, profiles, trips_by_items
from eval.ranking_tasks import Ask
from eval.ranking_tuning import Score, Scores
from retrieval.history import History
from retrieval.records import Item, ShopError

MOST_ITEMS = 20_000  # of EASE: its matrix is then 1.6 GB
KEPT = 500  # items kept that may follow an item, or be in its basket
_BLOCK = 64 * 2**20


def fit_item_knn(
    past: History, *, items: Sequence[Item], k: int, shrink: float = 0.0, decay: float = 1.0, weight: Weight = "newest"
) -> Score:
    """Rank by the cosine to what the shopper bought, of each item's `k` nearest.

    Args:
        past: The log.
        items: Not looked at.
        k: Items kept for each.
        shrink: Added to the product of the lengths: what few shoppers say counts less.
        decay: What a trip counts of the one after it, of what the shopper bought.
        weight: What an item counts for a shopper, where likeness is measured.
    """
    bought = profiles(past, weight=weight)
    lengths = np.sqrt(np.asarray(bought.multiply(bought).sum(axis=0)).ravel()).astype(np.float32)

    def of(start: int, end: int, both: Table) -> Table:
        alike: Table = both / (lengths[start:end, None] * lengths[None, :] + np.float32(shrink) + np.float32(1e-9))
        alike[np.arange(end - start), np.arange(start, end)] = 0.0
        return alike

    return by_items(past, profiles(past, decay=decay, weight=weight), _nearest(bought, of, keep=k))


class Ease:
    """EASE (Steck, "Embarrassingly Shallow Autoencoders", WWW 2019), exact; the last weights are held for other decays."""

    def __init__(self) -> None:
        self._past: History | None = None
        self._of: tuple[float, Weight] | None = None
        self._weights: Table = np.zeros((0, 0), np.float32)

    def fit(
        self, past: History, *, items: Sequence[Item], ridge: float, decay: float = 1.0, weight: Weight = "newest"
    ) -> Score:
        """Rank by the weights of what the shopper bought, `decay ** age` of each.

        Raises:
            ShopError: when there are more than `MOST_ITEMS` items.
        """
        size = len(past.item_ids)
        if size > MOST_ITEMS:
            raise ShopError(
                f"EASE is exact here up to {MOST_ITEMS:,} items, as its time grows with their cube: there are {size:,}"
            )
        if self._past is not past or self._of != (ridge, weight):
            self._weights = np.zeros((0, 0), np.float32)  # two at once may not fit
            self._weights = ease_weights(profiles(past, weight=weight), ridge)
            self._past, self._of = past, (ridge, weight)
        return by_items(past, profiles(past, decay=decay, weight=weight), self._weights)


def ease_weights(bought: sparse.csr_array, ridge: float) -> Table:
    """Fit EASE's weights: [evidence, scored], diagonal 0.

    The Gram matrix plus the ridge is positive definite, so its inverse is of Cholesky's factors, in place and in
    float32: a third of the time of a general inverse, and less than 1e-4 of a weight away from it.
    """
    from scipy.linalg import lapack

    size = bought.shape[1]
    gram = np.zeros((size, size), np.float32, order="F")
    turned = bought.T.tocsr()
    rows = max(1, _BLOCK // (4 * max(size, 1)))
    for start in range(0, size, rows):
        gram[start : start + rows] = (turned[start : start + rows] @ bought).toarray()
    if not size:
        return gram
    gram[np.diag_indices(size)] += np.float32(ridge)
    factor, failed = lapack.spotrf(gram, lower=0, clean=1, overwrite_a=1)
    if failed:
        raise ShopError(f"EASE cannot be fitted with ridge {ridge}: the matrix is not positive definite")
    inverse, _ = lapack.spotri(factor, lower=0, overwrite_c=1)
    diagonal = np.diag(inverse).copy()
    for start in range(0, size, rows):  # only the upper triangle is filled
        end = min(start + rows, size)
        inverse[end:, start:end] = inverse[start:end, end:].T
        corner = np.triu(inverse[start:end, start:end])
        inverse[start:end, start:end] = corner + np.triu(corner, 1).T
    inverse /= -diagonal[None, :]
    np.fill_diagonal(inverse, 0.0)
    weights: Table = np.ascontiguousarray(inverse)
    return weights


def fit_transitions(
    past: History, *, items: Sequence[Item], ahead: int = 1, decay: float = 0.5, power: float = 0.5
) -> Score:
    """Rank by what others bought on the trips after one with an item that the shopper bought lately.

    Args:
        past: The log.
        items: Not looked at.
        ahead: How many trips after one are counted; the n-th counts 1 / n.
        decay: What a trip of the shopper counts of the one after it.
        power: Counts are over (trips with the later item) ** power: 0 is a chance, 1 a lift.
    """
    held = trips_by_items(past)
    user = np.repeat(np.arange(len(past.users)), np.diff(past.user_baskets))
    counts = np.maximum(popular(past), 1.0)
    steps = [(step, np.flatnonzero(user[:-step] == user[step:])) for step in range(1, ahead + 1) if len(user) > step]

    def of(start: int, end: int, _both: Table) -> Table:
        total = np.zeros((end - start, len(counts)), np.float32)
        for step, same in steps:
            total += (columns[step][start:end] @ held[same + step]).toarray() / np.float32(step)
        return (total / (counts[start:end, None] * counts[None, :] ** np.float32(power))).astype(np.float32, copy=False)

    columns = {step: held[same].T.tocsr() for step, same in steps}
    return by_items(past, profiles(past, decay=decay), _nearest(held, of, keep=KEPT, together=False))


def fit_lift(past: History, *, items: Sequence[Item], power: float = 1.0, damp: float = 0.0, fewest: int = 1) -> Score:
    """Rank by how much likelier an item is in a basket with each of the cart's than by chance, added up.

    The weight is `n_ij / ((n_i + damp) * (n_j + damp) ** power)` over trips: 1 is lift, 0 the chance of j given i, 1/2
    between. Without a cart, what the shopper bought stands for it.

    Args:
        past: The log.
        items: Not looked at.
        power: See above.
        damp: What few trips say counts less.
        fewest: Trips that held both, or nothing is said.
    """
    held = trips_by_items(past)
    counts = np.maximum(popular(past), 1.0) + np.float32(damp)

    def of(start: int, end: int, both: Table) -> Table:
        both[both < fewest] = 0.0
        both[np.arange(end - start), np.arange(start, end)] = 0.0
        return (both / (counts[start:end, None] * counts[None, :] ** np.float32(power))).astype(np.float32, copy=False)

    return by_items(past, profiles(past, weight="newest"), _nearest(held, of, keep=KEPT))


def by_items(past: History, bought: sparse.csr_array, weights: Any) -> Score:
    """Add up the weights of what a shopper bought, of the cart (goes_with), or of what is liked; the popular where all is 0.

    Args:
        past: The log.
        bought: [shoppers, items].
        weights: [evidence, scored], sparse or dense.
    """
    everybody = popular(past)
    known = Known(past, lambda start, end: _dense(bought[start:end] @ weights))

    def score(ask: Ask) -> Scores:
        rows = list(ask.cart or ask.liked)
        if rows:
            found: Scores | None = np.asarray(weights[rows].sum(axis=0), np.float32).ravel()
        else:
            found = known(ask)
        return everybody if found is None or not found.any() else found

    return score


def _nearest(held: sparse.csr_array, of: Any, *, keep: int, together: bool = True) -> sparse.csr_array:
    """Work out the weights of a block of items at a time, and keep the largest of each column's or row's item.

    Args:
        held: [shoppers or trips, items].
        of: Makes the weights of the rows from one to before another from how much they are held together.
        keep: Items kept for each.
        together: Give `of` the products; else zeros, as it needs none.
    """
    size = held.shape[1]
    turned = held.T.tocsr()
    rows = max(1, _BLOCK // (4 * max(size, 1)))
    parts = []
    for start in range(0, size, rows):
        end = min(start + rows, size)
        both = (turned[start:end] @ held).toarray() if together else np.zeros((0, 0), np.float32)
        parts.append(_kept(of(start, end, both), keep))
    stacked: Any = sparse.vstack(parts, format="csr", dtype=np.float32) if parts else held.T
    return sparse.csr_array(stacked)


def _kept(values: Table, most: int) -> sparse.csr_array:
    if values.shape[1] > most:
        edge = np.partition(values, -most, axis=1)[:, [-most]]
        values = np.where(values >= edge, values, np.float32(0.0))
    rows, columns = np.nonzero(values)
    return sparse.csr_array((values[rows, columns], (rows, columns)), shape=values.shape)


def _dense(found: Any) -> NDArray[np.float32]:
    return np.asarray(found if isinstance(found, np.ndarray) else found.toarray(), np.float32)


__all__ = ["MOST_ITEMS", "Ease", "by_items", "ease_weights", "fit_item_knn", "fit_lift", "fit_transitions"]
