"""The peers that our ranking is set beside, with the settings each is tried with on validation: six for every one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from eval.ranking_peers_baskets import fit_tifu_knn, fit_up_cf, fit_user_knn
from eval.ranking_peers_factors import fit_als, fit_bm25_item, fit_bpr
from eval.ranking_peers_frequency import fit_gp_topfreq, fit_p_topfreq, fit_popularity, fit_trex
from eval.ranking_peers_items import Ease, fit_item_knn, fit_lift, fit_transitions
from eval.ranking_peers_text import Dense, Fused, fit_bm25
from eval.ranking_tasks import System
from eval.ranking_tuning import Fit, Peer, Settings

_KNOWN = ("again", "new", "next_basket")  # the shopper is
_OWN = ("again", "next_basket")  # only what the shopper bought before is ranked
_CART = "goes_with"  # the cart alone is looked at, or (frequencies) the shopper alone: whichever a peer is of
_COLD = "cold_shopper"
_WORDS = ("search", "cold_item")

# Published settings come first; where a paper has several data sets, those of groceries.
GRID: Mapping[str, Sequence[Settings]] = {
    "popularity": [{"of": of, "days": days} for of in ("trips", "shoppers") for days in (None, 90.0, 28.0)],
    "p-topfreq": [{"last": last, "ties": ties} for last in (None, 50, 25) for ties in ("first", "last")],
    "gp-topfreq": [{"last": last, "of": of} for last in (None, 50, 25) for of in ("trips", "shoppers")],
    "tifu-knn": [
        {"k": 300, "m": 7, "r_b": 0.9, "r_g": 0.7, "alpha": 0.7},  # of Ta-Feng
        {"k": 900, "m": 3, "r_b": 0.9, "r_g": 0.6, "alpha": 0.2},  # of Dunnhumby
        {"k": 300, "m": 7, "r_b": 1.0, "r_g": 0.6, "alpha": 0.7},  # of ValuedShopper
        {"k": 900, "m": 3, "r_b": 0.9, "r_g": 0.7, "alpha": 0.9},  # of Instacart
        {"k": 100, "m": 7, "r_b": 0.98, "r_g": 0.7, "alpha": 0.5},
        {"k": 300, "m": 7, "r_b": 0.98, "r_g": 0.8, "alpha": 0.7},
    ],
    "up-cf": [
        {"r": 25, "q": 5.0, "a": 0.25},
        {"r": 25, "q": 10.0, "a": 0.5},
        {"r": 100, "q": 10.0, "a": 0.25},
        {"r": 10, "q": 5.0, "a": 0.25},
        {"r": 25, "q": 50.0, "a": 0.25},
        {"r": 25, "q": 2.0, "a": 0.5},
    ],
    "trex": [
        {"a": 0.7, "beta": 0.95},
        {"a": 0.7, "beta": 0.98},
        {"a": 0.7, "beta": 0.9},
        {"a": 0.4, "beta": 0.95},
        {"a": 1.0, "beta": 0.95},
        {"a": 0.4, "beta": 0.98},
    ],
    "item-knn": [
        {"k": 100},
        {"k": 20},
        {"k": 300},
        {"k": 100, "shrink": 20.0},
        {"k": 300, "weight": "log", "shrink": 20.0},
        {"k": 300, "decay": 0.9, "shrink": 20.0},
    ],
    "user-knn": [
        {"k": 100, "rarity": False},
        {"k": 100, "rarity": True},
        {"k": 50, "rarity": True, "q": 2.0},
        {"k": 300, "rarity": True, "q": 2.0},
        {"k": 300, "rarity": False, "q": 3.0},
        {"k": 100, "rarity": True, "q": 2.0, "decay": 0.95},
    ],
    "als": [
        {"factors": 64, "regularization": 0.01, "alpha": 1.0},
        {"factors": 64, "regularization": 1.0, "alpha": 10.0},
        {"factors": 32, "regularization": 10.0, "alpha": 5.0},
        {"factors": 128, "regularization": 10.0, "alpha": 5.0},
        {"factors": 128, "regularization": 50.0, "alpha": 1.0, "weight": "count"},
        {"factors": 64, "regularization": 10.0, "alpha": 5.0, "weight": "count", "decay": 0.95},
    ],
    "bpr": [
        {"factors": 64, "learning_rate": 0.01, "regularization": 0.01},
        {"factors": 64, "learning_rate": 0.05, "regularization": 0.01},
        {"factors": 32, "learning_rate": 0.05, "regularization": 0.02},
        {"factors": 64, "learning_rate": 0.02, "regularization": 0.05},
        {"factors": 128, "learning_rate": 0.02, "regularization": 0.01},
        {"factors": 64, "learning_rate": 0.1, "regularization": 0.01},
    ],
    "bm25-item": [
        {"k": 20, "k1": 1.2, "b": 0.75},
        {"k": 100, "k1": 1.2, "b": 0.75},
        {"k": 100, "k1": 100.0, "b": 0.8},
        {"k": 300, "k1": 1.2, "b": 0.2},
        {"k": 300, "k1": 1.2, "b": 0.75, "weight": "newest"},
        {"k": 300, "k1": 1.2, "b": 0.75, "decay": 0.95},
    ],
    "ease": [
        {"ridge": 500.0},
        {"ridge": 500.0, "decay": 0.9},
        {"ridge": 200.0},
        {"ridge": 2000.0},
        {"ridge": 2000.0, "weight": "log"},
        {"ridge": 1000.0, "weight": "log", "decay": 0.95},
    ],
    "transitions": [
        {"ahead": 1, "decay": 0.1, "power": 0.0},
        {"ahead": 1, "decay": 0.5, "power": 0.0},
        {"ahead": 3, "decay": 0.8, "power": 0.0},
        {"ahead": 3, "decay": 0.8, "power": 0.5},
        {"ahead": 3, "decay": 0.8, "power": 0.35},
        {"ahead": 5, "decay": 0.9, "power": 0.2},
    ],
    "lift": [
        {"power": 1.0},
        {"power": 1.0, "damp": 50.0, "fewest": 3},
        {"power": 0.5},
        {"power": 0.35, "damp": 20.0},
        {"power": 0.25, "damp": 20.0},
        {"power": 0.1},
    ],
    "bm25": [{"k1": k1, "b": b, "titles": titles} for titles in (2, 1) for k1, b in ((1.5, 0.75), (0.9, 0.4), (1.2, 0.3))],
    "dense": [{"text": text, "without": without} for text in ("spoken", "title", "text") for without in (0, 3)],
    "rrf": [{"k": k, "text": text} for text in ("spoken", "title") for k in (60.0, 20.0, 5.0)],
}  # fmt: skip


def _peer(name: str, fit: Fit, *tasks: str) -> Peer:
    return Peer(name=name, tasks=tasks, fit=fit, grid=GRID[name])


PEERS: Mapping[str, Callable[[], System]] = {
    "popularity": lambda: _peer("popularity", fit_popularity, *_KNOWN, _CART, _COLD),
    "p-topfreq": lambda: _peer("p-topfreq", fit_p_topfreq, *_OWN),
    "gp-topfreq": lambda: _peer("gp-topfreq", fit_gp_topfreq, *_KNOWN, _CART),
    "tifu-knn": lambda: _peer("tifu-knn", fit_tifu_knn, *_KNOWN, _CART),
    "up-cf": lambda: _peer("up-cf", fit_up_cf, *_KNOWN, _CART),
    "trex": lambda: _peer("trex", fit_trex, *_OWN),
    "item-knn": lambda: _peer("item-knn", fit_item_knn, *_KNOWN, _CART, _COLD),
    "user-knn": lambda: _peer("user-knn", fit_user_knn, *_KNOWN, _COLD),
    "als": lambda: _peer("als", fit_als, *_KNOWN, _CART, _COLD),
    "bpr": lambda: _peer("bpr", fit_bpr, *_KNOWN),
    "bm25-item": lambda: _peer("bm25-item", fit_bm25_item, *_KNOWN, _CART, _COLD),
    "ease": lambda: _peer("ease", Ease().fit, *_KNOWN, _CART, _COLD),
    "transitions": lambda: _peer("transitions", fit_transitions, *_KNOWN),
    "lift": lambda: _peer("lift", fit_lift, _CART),
    "bm25": lambda: _peer("bm25", fit_bm25, *_WORDS),
    "dense": lambda: _peer("dense", Dense().fit, *_WORDS),
    "rrf": lambda: _peer("rrf", Fused().fit, *_WORDS),
}

__all__ = ["GRID", "PEERS"]
