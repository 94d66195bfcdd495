"""Shoppers who buy alike: user-kNN over tf-idf weighted purchases, with cosine similarity."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from retrieval.history import History

Scores = NDArray[np.float32]
NEAREST = 100


@dataclass(frozen=True, eq=False, kw_only=True)
class Neighbours:
    """All shoppers as unit vectors over the items, and what each of them bought."""

    vectors: sparse.csr_array  # [shoppers, items], float32, rows of length 1
    rarity: Scores  # [items], log(1 + shoppers / buyers)
    user_rows: dict[str, int]

    @classmethod
    def of(cls, history: History) -> Neighbours:
        """Lay out the shoppers of a log; the weight of an item is log(1 + trips) times its rarity."""
        users, items, times = history.pairs()
        rarity = np.log1p(len(history.users) / np.maximum(history.buyers_by_row, 1)).astype(np.float32)
        weights = np.log1p(times).astype(np.float32) * rarity[items]
        lengths = np.sqrt(np.bincount(users, weights.astype(np.float64) ** 2, minlength=len(history.users)))
        weights /= np.maximum(lengths, 1e-9)[users].astype(np.float32)
        shape = (len(history.users), len(history.item_ids))
        vectors = sparse.csr_array((weights, (users, items)), shape=shape)
        return cls(vectors=vectors, rarity=rarity, user_rows=dict(history.user_rows))

    def score(self, rows: NDArray[np.int64], weights: NDArray[np.float64], *, but: str | None = None) -> Scores:
        """Score every item by the nearest shoppers who bought it: the share of their squared similarities, 0..1.

        Args:
            rows: The items that a shopper bought or likes.
            weights: How much of each, before rarity; those not above 0 are left out.
            but: The shopper who asks, who is nobody's neighbour here.
        """
        out = np.zeros(self.vectors.shape[1], np.float32)
        held = weights > 0
        vector = np.zeros(self.vectors.shape[1], np.float32)
        vector[rows[held]] = weights[held] * self.rarity[rows[held]]
        length = float(np.linalg.norm(vector))
        if not length or not self.vectors.nnz:
            return out
        alike = self.vectors @ (vector / length)
        if but in self.user_rows:
            alike[self.user_rows[but]] = 0.0
        nearest = _largest(alike, NEAREST)
        shares = alike[nearest].astype(np.float64) ** 2
        if not shares.sum():
            return out
        near = self.vectors[nearest]
        each = np.repeat(shares / shares.sum(), np.diff(near.indptr))
        scores: Scores = np.bincount(near.indices, each, minlength=len(out)).astype(np.float32)
        return scores


def _largest(values: NDArray[np.float32], most: int) -> NDArray[np.int64]:
    """Give the places of the largest values, in order of place; ties at the edge by place."""
    if len(values) <= most:
        return np.arange(len(values))
    edge = np.partition(values, -most)[-most]
    above = np.flatnonzero(values > edge)
    level = np.flatnonzero(values == edge)[: most - len(above)]
    return np.sort(np.concatenate([above, level]))
