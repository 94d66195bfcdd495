"""Peers that count: what everybody buys, what a shopper buys, and how much of an item's buyers buy it again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from eval.ranking_peers_profile import Known, lines, of_lines, profiles
from eval.ranking_tasks import Ask
from eval.ranking_tuning import Score, Scores
from retrieval.history import History
from retrieval.records import Item

_DAY = 86_400.0


def fit_popularity(
    past: History, *, items: Sequence[Item], of: Literal["trips", "shoppers"] = "trips", days: float | None = None
) -> Score:
    """Rank by how many trips, or shoppers, bought an item (G-TopFreq), over all time or the last days of the log."""
    held = lines(past)
    late = past.basket_time[held.trip] >= (past.now - days * _DAY if days is not None else -np.inf)
    user, item = held.user[late], held.item[late]
    if of == "shoppers":
        item = np.unique(user * max(len(past.item_ids), 1) + item) % max(len(past.item_ids), 1)
    scores: Scores = np.bincount(item, minlength=len(past.item_ids)).astype(np.float32)
    return lambda _ask: scores


def fit_p_topfreq(
    past: History, *, items: Sequence[Item], last: int | None = None, ties: Literal["first", "last"] = "first"
) -> Score:
    """Rank by how many of the shopper's (last) trips held an item (P-TopFreq); what was not bought is left out.

    Args:
        past: The log.
        items: Not looked at.
        last: Count so many of the newest trips only.
        ties: Of items bought as often, the one first bought comes first, or the one bought last.
    """
    counts = profiles(past, last=last)
    held = lines(past)
    place = np.arange(len(held.user)) - np.searchsorted(held.user, held.user)
    size = np.maximum(np.searchsorted(held.user, held.user, side="right") - np.searchsorted(held.user, held.user), 1)
    pair = held.user * max(len(past.item_ids), 1) + held.item
    if ties == "last":
        _, line = np.unique(pair[::-1], return_index=True)
        line, share = len(pair) - 1 - line, place / size
    else:
        _, line = np.unique(pair, return_index=True)
        share = 1.0 - (place + 1) / size
    chosen = np.zeros(len(pair), bool)
    chosen[line] = True
    # Always less than one purchase, so that it parts nothing but ties.
    order = of_lines(past, held, np.where(chosen, 0.01 + 0.98 * share, 0.0))
    return _only_bought(past, Known(past, lambda first, end: (counts[first:end] + order[first:end]).toarray()))


def fit_gp_topfreq(
    past: History, *, items: Sequence[Item], last: int | None = None, of: Literal["trips", "shoppers"] = "trips"
) -> Score:
    """Rank by the shopper's own count, then by everybody's (GP-TopFreq)."""
    counts = profiles(past, last=last)
    others = fit_popularity(past, items=items, of=of)(_NOBODY)
    share = others / (others.max(initial=0.0) + 1.0)
    known = Known(past, lambda first, end: counts[first:end].toarray() + share[None, :])

    def score(ask: Ask) -> Scores:
        found = known(ask)
        return share if found is None else found

    return score


def fit_trex(past: History, *, items: Sequence[Item], a: float = 0.7, beta: float = 0.95) -> Score:
    """Rank by TREx's repetition part (Li et al., "Next basket recommendation with intersection-aware modelling", 2023).

    `score_u(i) = rho(i) * sum over u's trips with i of beta ** age`, where `rho(i)` is the sum over buyers with n >= 2 trips
    of (n - 1) ** a, over buyers, plus the mean over items of that, over buyers + 1. What was not bought is left out.
    """
    _, item, times = past.pairs()
    buyers = past.buyers_by_row
    again = np.where(times >= 2, np.power(np.maximum(times - 1, 0).astype(np.float64), a), 0.0)
    own = np.bincount(item, again, minlength=len(buyers)) / np.maximum(buyers, 1)
    mean = float(own[buyers > 0].mean()) if (buyers > 0).any() else 0.0
    rho = (own + mean / (buyers + 1)).astype(np.float32)
    recent = profiles(past, decay=beta)
    return _only_bought(past, Known(past, lambda first, end: recent[first:end].toarray() * rho[None, :]))


_NOBODY = Ask(ask_id="", task="next_basket", user_id=None, at=0.0, targets=())


def _only_bought(past: History, known: Known) -> Score:
    """Leave out what the shopper never bought."""

    def score(ask: Ask) -> Scores:
        out = np.full(len(past.item_ids), -np.inf, np.float32)
        rows, _ = past.bought_rows(ask.user_id)
        found = known(ask)
        if found is not None:
            out[rows] = found[rows]
        return out

    return score


__all__ = ["fit_gp_topfreq", "fit_p_topfreq", "fit_popularity", "fit_trex"]
