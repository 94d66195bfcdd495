"""Peers of next-basket research that look at a shopper's trips and at those of shoppers alike: TIFU-KNN and UP-CF."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from eval.ranking_peers_profile import Known, Table, lines, of_lines, popular, profiles
from eval.ranking_tasks import Ask
from eval.ranking_tuning import Score, Scores
from retrieval.history import History
from retrieval.records import Item


def fit_tifu_knn(
    past: History, *, items: Sequence[Item], k: int, r_b: float, r_g: float, alpha: float, m: int
) -> Score:
    """Rank by the shopper's faded frequencies and those of the nearest shoppers (TIFU-KNN, Hu et al., SIGIR 2020).

    A shopper's trips are cut in `m` groups, newer ones take what is over; a trip counts `r_b ** age` in its group, a
    group `r_g ** age`, both averaged: v_u. The score is `alpha * v_u + (1 - alpha) *` the mean of the `k` nearest v.
    """
    held = lines(past)
    short = held.trips // m  # trips of an older group
    older = (m - held.trips % m) * short  # trips in such groups
    first = held.number < older
    size = np.where(first, short, short + 1)
    group = np.where(first, 0, m - held.trips % m)
    inside = np.where(first, held.number, held.number - older)
    group, place = group + inside // np.maximum(size, 1), inside % np.maximum(size, 1)
    few = held.trips <= m  # then each trip is a group
    size, group, place = np.where(few, 1, size), np.where(few, held.number, group), np.where(few, 0, place)
    groups = np.minimum(held.trips, m)
    weights = np.power(float(r_b), size - 1 - place) / np.maximum(size, 1)
    weights *= np.power(float(r_g), groups - 1 - group) / np.maximum(groups, 1)
    vectors = of_lines(past, held, weights)
    lengths = np.asarray(vectors.multiply(vectors).sum(axis=1)).ravel()
    bought = np.diff(vectors.indptr) > 0
    turned = vectors.T.tocsr()

    def of(start: int, end: int) -> Table:
        own = vectors[start:end]
        far = lengths[None, :] - 2.0 * (own @ turned).toarray()  # squared distance, less the shopper's own length
        far[:, ~bought] = np.inf
        far[np.arange(end - start), np.arange(start, end)] = np.inf
        near = np.argsort(far, axis=1, kind="stable")[:, :k]
        use = np.isfinite(np.take_along_axis(far, near, axis=1))
        share = use / np.maximum(use.sum(axis=1, keepdims=True), 1)
        picked = np.zeros((end - start, len(lengths)), np.float32)
        np.put_along_axis(picked, near, share.astype(np.float32), axis=1)
        return ((1.0 - alpha) * (picked @ vectors) + alpha * own.toarray()).astype(np.float32)

    return _or_popular(past, Known(past, of, widest=len(past.users)))


def fit_up_cf(past: History, *, items: Sequence[Item], r: int | None, q: float, a: float) -> Score:
    """Rank by what the trips of shoppers alike hold, the shopper's own among them (UP-CF, Faggioli et al., UMAP 2020).

    `score_u(i) = sum over v of s(u, v) ** q * p_v(i)`, where `p_v(i)` is the share of v's last `r` trips that held i and
    `s = |S_u & S_v| / (|S_u| ** a * |S_v| ** (1 - a))` over all that each ever bought.
    """
    shares = profiles(past, last=r)
    trips = np.diff(past.user_baskets)
    trips = np.maximum(trips if r is None else np.minimum(trips, r), 1)
    shares.data /= np.repeat(trips, np.diff(shares.indptr)).astype(np.float32)
    bought = profiles(past, weight="newest")
    turned = bought.T.tocsr()
    sizes = np.maximum(np.diff(bought.indptr), 1).astype(np.float32)

    def of(start: int, end: int) -> Table:
        both = (bought[start:end] @ turned).toarray()
        alike = both / (sizes[start:end, None] ** a * sizes[None, :] ** (1.0 - a))
        scores: Table = (alike**q).astype(np.float32) @ shares
        return scores

    return _or_popular(past, Known(past, of, widest=len(past.users)))


def fit_user_knn(
    past: History, *, items: Sequence[Item], k: int, rarity: bool, decay: float = 1.0, q: float = 1.0
) -> Score:
    """Rank by what the `k` shoppers with the nearest purchases bought, by cosine ** q; of tf-idf weights with `rarity`.

    A shopper is no neighbour of their own. Liked items stand for a shopper whom nobody knows.
    """
    weighed = profiles(past, decay=decay, weight="log")
    bought = profiles(past, weight="newest")
    rare = np.ones(len(past.item_ids), np.float32)
    if rarity:
        rare = np.log(len(past.users) / np.maximum(past.buyers_by_row, 1) + 1.0).astype(np.float32)
    weighed.data *= rare[weighed.indices]
    lengths = np.sqrt(np.asarray(weighed.multiply(weighed).sum(axis=1)).ravel())
    weighed.data /= np.repeat(np.maximum(lengths, 1e-9), np.diff(weighed.indptr)).astype(np.float32)
    turned = weighed.T.tocsr()
    everybody = popular(past)

    def near(alike: Table) -> Table:
        if alike.shape[1] > k:
            edge = np.partition(alike, -k, axis=1)[:, [-k]]
            alike = np.where(alike >= edge, alike, np.float32(0.0))
        scores: Table = np.maximum(alike, 0.0) ** np.float32(q) @ bought
        return scores

    def of(start: int, end: int) -> Table:
        alike = (weighed[start:end] @ turned).toarray()
        alike[np.arange(end - start), np.arange(start, end)] = 0.0
        return near(alike)

    known = Known(past, of, widest=len(past.users))

    def score(ask: Ask) -> Scores:
        found = known(ask)
        if found is None and ask.liked:
            vector = np.zeros(len(past.item_ids), np.float32)
            vector[list(ask.liked)] = rare[list(ask.liked)]
            found = near((weighed @ vector)[None, :])[0]
        return everybody if found is None or not found.any() else found

    return score


def _or_popular(past: History, known: Known) -> Score:
    """Rank by what is popular where a shopper has no scores."""
    everybody = popular(past)

    def score(ask: Ask) -> Scores:
        found = known(ask)
        return everybody if found is None or not found.any() else found

    return score


__all__ = ["fit_tifu_knn", "fit_up_cf", "fit_user_knn"]
