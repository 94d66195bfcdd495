"""SVD++ of Surprise (Hug, JOSS 2020)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from eval.library_peers.purchases import Floats, Purchases, empty_scores


def svd_pp(past: Purchases, *, settings: Mapping[str, Any], seed: int) -> Floats:
    """Score by SVD++ (Koren, KDD 2008), from its fitted factors.

    What it takes as a user's items are all that are rated, so that zeros, where they are drawn, are among them.
    """
    from surprise import SVDpp, Trainset

    own = dict(settings)
    user, item, rating = past.ratings(
        counted=bool(own.pop("counted")), zeros=int(own.pop("zeros")), rng=np.random.default_rng(seed)
    )
    by_user: dict[int, list[tuple[int, float]]] = {row: [] for row in range(past.users)}
    by_item: dict[int, list[tuple[int, float]]] = {row: [] for row in range(past.items)}
    for one, other, value in zip(user.tolist(), item.tolist(), rating.tolist(), strict=True):
        by_user[one].append((other, value))
        by_item[other].append((one, value))
    rows = [{row: row for row in range(size)} for size in (past.users, past.items)]
    train = Trainset(by_user, by_item, past.users, past.items, len(rating), (0.0, float(rating.max())), *rows)
    model = SVDpp(random_state=seed, cache_ratings=True, **own).fit(train)
    out = empty_scores(past)
    for row in np.unique(past.user):
        rated = [other for other, _ in by_user[int(row)]]
        factors = model.pu[row] + np.asarray(model.yj)[rated].sum(axis=0) / np.sqrt(len(rated))
        out[row] = np.asarray(model.bi) + np.asarray(model.qi) @ factors
    return out
