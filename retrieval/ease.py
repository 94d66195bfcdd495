"""EASE: the linear item-item model with a closed form (Steck, "Embarrassingly Shallow Autoencoders", 2019)."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from retrieval.history import History
from retrieval.order import strongest

MOST_ITEMS = 5_000  # the inverse takes time with the cube of the items: 5 s for so many on two cores
RIDGE = 500.0
KEPT = 300


def ease(history: History, *, ridge: float = RIDGE) -> sparse.csr_array:
    """Fit the weights of every bought item for every other, the strongest kept: [evidence, scored].

    Empty where the catalogue has more than `MOST_ITEMS` items.
    """
    users, items, times = history.pairs()
    size = len(history.item_ids)
    if not 2 <= size <= MOST_ITEMS or not len(users):
        none: sparse.csr_array = sparse.csr_array(sparse.coo_array((size, size), dtype=np.float32))
        return none
    held = sparse.csr_array((np.log1p(times) / np.log(2.0), (users, items)), shape=(len(history.users), size))
    gram = np.asarray((held.T @ held).todense(), np.float64)
    gram[np.diag_indices(size)] += ridge
    inverse = np.linalg.inv(gram)
    weights = inverse / -np.diag(inverse)[None, :]
    np.fill_diagonal(weights, 0.0)
    return strongest(sparse.csr_array(weights.astype(np.float32)), KEPT)
