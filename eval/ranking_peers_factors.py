"""Peers of the library `implicit`: alternating least squares, BPR, and its BM25-weighted items."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import sparse

from eval.ranking_peers_items import by_items
from eval.ranking_peers_profile import Known, Table, Weight, popular, profiles
from eval.ranking_tasks import Ask
from eval.ranking_tuning import Score, Scores
from retrieval.history import History
from retrieval.records import Item


def fit_als(
    past: History,
    *,
    items: Sequence[Item],
    factors: int,
    regularization: float,
    alpha: float,
    iterations: int = 15,
    weight: Weight = "log",
    decay: float = 1.0,
    seed: int = 0,
) -> Score:
    """Rank by alternating least squares (Hu, Koren, Volinsky 2008); what is liked, or in a cart, is folded in."""
    bought = _matrix(profiles(past, weight=weight, decay=decay))
    everybody = popular(past)
    if not bought.nnz:
        return lambda _ask: everybody
    from implicit.cpu.als import AlternatingLeastSquares

    model = _fitted(
        AlternatingLeastSquares,
        bought,
        factors=factors,
        regularization=regularization,
        alpha=alpha,
        iterations=iterations,
        num_threads=1,
        random_state=seed,
    )
    known = Known(past, lambda start, end: _product(model.user_factors[start:end], model.item_factors))

    def score(ask: Ask) -> Scores:
        rows = list(ask.cart or ask.liked)
        if rows:
            ones = np.ones(len(rows), np.float32)
            row = sparse.csr_matrix((ones, (np.zeros(len(rows), int), rows)), shape=(1, len(everybody)))
            found: Scores | None = _product(model.recalculate_user(np.array([0]), row), model.item_factors)[0]
        else:
            found = known(ask)
        return everybody if found is None or not found.any() else found

    return score


def fit_bpr(
    past: History,
    *,
    items: Sequence[Item],
    factors: int,
    learning_rate: float,
    regularization: float,
    iterations: int = 50,
    seed: int = 0,
) -> Score:
    """Rank by Bayesian personalised ranking (Rendle et al., UAI 2009); one thread, so that a seed gives the same again."""
    bought = _matrix(profiles(past, weight="newest"))
    everybody = popular(past)
    if not bought.nnz or min(bought.shape) < 2:  # BPR learns from what was not bought beside what was
        return lambda _ask: everybody
    from implicit.cpu.bpr import BayesianPersonalizedRanking

    model = _fitted(
        BayesianPersonalizedRanking,
        bought,
        factors=factors,
        learning_rate=learning_rate,
        regularization=regularization,
        iterations=iterations,
        num_threads=1,
        random_state=seed,
    )
    known = Known(past, lambda start, end: _product(model.user_factors[start:end], model.item_factors))

    def score(ask: Ask) -> Scores:
        found = known(ask)
        return everybody if found is None else found

    return score


def fit_bm25_item(
    past: History, *, items: Sequence[Item], k: int, k1: float, b: float, weight: Weight = "count", decay: float = 1.0
) -> Score:
    """Rank by implicit's item neighbours over BM25-weighted purchases."""
    bought = profiles(past, weight=weight)
    size = len(past.item_ids)
    if not bought.nnz:
        return by_items(past, bought, sparse.csr_array((size, size), dtype=np.float32))
    from implicit.nearest_neighbours import BM25Recommender

    model = _fitted(BM25Recommender, _matrix(bought), K=k, K1=k1, B=b, num_threads=1)
    return by_items(
        past,
        profiles(past, weight=weight, decay=decay),
        sparse.csr_array(model.similarity.astype(np.float32)),
    )


def _matrix(bought: sparse.csr_array) -> Any:
    return sparse.csr_matrix(bought)  # implicit asks for a matrix, and for 32-bit indices


def _product(users: Table, items: Table) -> Table:
    scores: Table = users @ items.T
    return scores


def _fitted(make: Any, bought: Any, **settings: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of BLAS threads, and of conversions that implicit makes itself
        model = make(**settings)
        model.fit(bought, show_progress=False)
    return model


__all__ = ["fit_als", "fit_bm25_item", "fit_bpr"]
