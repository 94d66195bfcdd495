"""Fit a ranker's weights on what shoppers bought on the trip after the ones it knows."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from retrieval.deals import Deals
from retrieval.evidence import gather
from retrieval.grow import DEPTH, GAINS, grow
from retrieval.history import History, Trip
from retrieval.ranking import DEFAULT_WEIGHTS, PARTS, RankContext, Ranker, Task, propose
from retrieval.records import Candidate, Item
from retrieval.scorer import CollaborativeScorer, ScorerSettings
from retrieval.shelf import Shelf, kind_of
from retrieval.wish import Wish, stems

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]
Search = Callable[[str], Sequence[Candidate]]
Progress = Callable[[str, float], None]

FITTED_PARTS = tuple(part for part in PARTS if part not in ("taste", "kind"))  # kind: read by the trees alone
# Fitted tasks, and which others take their weights; "_cold": the same shopper, as if nobody knew them.
FITTED_TASKS: Mapping[str, tuple[str, ...]] = {
    "search": ("search", "similar"),
    "again": ("again",),
    "new": ("new",),
    "next_basket": ("next_basket",),
    "goes_with": ("goes_with",),
    "search_cold": ("search_cold", "similar_cold"),
    "next_basket_cold": ("next_basket_cold", "new_cold", "again_cold"),
    "goes_with_cold": ("goes_with_cold",),
}
FEWEST_TRIPS = 5  # a shopper's newest trip is a target where there are at least this many
FEWEST_REQUESTS = 40  # below this a task keeps the default weights
POOL = 300
STEPS = (0.0, 0.5, 0.8, 1.25, 2.0)
CART_SHARE = 0.6  # of the past requests are made with a few of the trip's items in the cart already
MOST_IN_CART = 4
# The least share of each part, whatever the log teaches. A search is for what was asked, so that no other part may
# outweigh the words; what goes with an item is asked of that item, and staples that go with everything are not the
# answer; a like or a full cart must change the list at once, though the next trip of most shoppers is staples anyway.
LEASTS: Mapping[str, Mapping[str, float]] = {
    "search": {"match": 0.5, "collaborative": 0.02, "bought_before": 0.02, "popularity": 0.02},
    "again": {"collaborative": 0.01, "goes_with": 0.01},
    "new": {"collaborative": 0.1, "goes_with": 0.1, "popularity": 0.01},
    "next_basket": {"collaborative": 0.01, "bought_before": 0.1, "goes_with": 0.05, "popularity": 0.01},
    "goes_with": {"goes_with": 0.75, "popularity": 0.01},
    "search_cold": {"match": 0.5, "collaborative": 0.1, "popularity": 0.02},
    "next_basket_cold": {"collaborative": 0.1, "goes_with": 0.1, "popularity": 0.1},
    "goes_with_cold": {"goes_with": 0.75, "popularity": 0.01},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One past request: the candidates' parts (candidates, parts), which were bought, and how many could be."""

    features: Floats
    bought: NDArray[np.bool_]
    targets: int


def fit_ranker(
    items: Sequence[Item],
    interactions: pd.DataFrame,
    *,
    seed: int = 0,
    search: Search | None = None,
    progress: Progress | None = None,
    most: int = 500,
) -> Ranker:
    """Hold out each shopper's newest trip, fit the models on the rest, and the weights on the trips held out.

    The figures in `Ranker.fitted` are of shoppers that took no part in the fit they measure (two halves, each
    measured by the other's weights). A task with too few requests keeps the default weights.

    Args:
        items: The shop's items, in the catalogue's order.
        interactions: Its log, as `formats.md` §1 has it.
        seed: Chooses the shoppers and the queries.
        search: The catalogue's search for a query without wishes; words are matched plainly where it is missing.
        progress: Told what is being done, and the share that is done.
        most: How many shoppers to take; more take longer.
    """
    history = History.from_interactions(interactions, item_ids=[item.item_id for item in items])
    return fit_weights(items, history, seed=seed, search=search, progress=progress, most=most)


def fit_weights(
    items: Sequence[Item],
    history: History,
    *,
    seed: int = 0,
    search: Search | None = None,
    progress: Progress | None = None,
    most: int = 500,
    settings: ScorerSettings | None = None,
    deals: Deals | None = None,
) -> Ranker:
    """Do the same as `fit_ranker`, for a history that is already open."""
    tell = progress or (lambda _what, _share: None)
    started = time.monotonic()
    tell("fitting the models without the newest trips", 0.0)
    past, held = history.without_last(fewest=FEWEST_TRIPS)
    rng = np.random.default_rng(seed)
    trips = [held[at] for at in rng.permutation(len(held))[:most]]
    if len(trips) < FEWEST_REQUESTS:
        return Ranker()
    catalog = _Items(items={item.item_id: item for item in items})
    trees, grown = grow(
        catalog.items,
        history,
        ranker=Ranker(),
        deals=deals,
        seed=seed,
        settings=settings,
        progress=lambda what, share: tell(what, 0.7 * share),
    )
    ranker = Ranker(trees=trees)
    scorer = CollaborativeScorer.fit(past, settings=settings)
    search = search or _plain_search(ranker.shelf(catalog, scorer))
    drawer = _Drawer(catalog=catalog, history=past, scorer=scorer, search=search, ranker=ranker, rng=rng, deals=deals)
    weights: dict[str, dict[str, float]] = {}
    figures: dict[str, Any] = {}
    for number, (task, takers) in enumerate(FITTED_TASKS.items()):
        if all(taker in trees for taker in takers):
            continue
        tell(f"fitting the weights for {task}", 0.7 + 0.3 * number / len(FITTED_TASKS))
        requests = [request for trip in trips if (request := drawer.draw(task, trip)) is not None]
        if len(requests) < FEWEST_REQUESTS:
            continue
        fitted = dict(zip(FITTED_PARTS, _fit(requests, task=task).tolist(), strict=True))
        figures[task] = _figures(requests, task=task)
        weights.update(dict.fromkeys(takers, fitted))
    tell("fitting the weights", 1.0)
    how = {
        "split": "newest trip of shoppers with five or more; figures: fitted on one half of them, measured on the other",
        "shoppers": len(trips),
        "seed": seed,
        "seconds": round(time.monotonic() - started, 1),
        "figures": figures,
        "trees": grown,
    }
    found = Ranker(weights={**DEFAULT_WEIGHTS, **weights}, trees=trees, fitted=how)
    return found if weights or trees else Ranker()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Items:
    items: Mapping[str, Item]


@dataclass(frozen=True, kw_only=True)
class _Drawer:
    """Turns a trip into the request that it would have answered."""

    catalog: _Items
    history: History
    scorer: CollaborativeScorer
    search: Search
    ranker: Ranker
    rng: np.random.Generator
    deals: Deals | None = None

    def draw(self, name: str, trip: Trip) -> Request | None:
        """Make the candidates and targets of one task; None where the trip says nothing about it."""
        shelf = self.ranker.shelf(self.catalog, self.scorer)
        task = cast(Task, name.removesuffix("_cold"))
        cold = name.endswith("_cold")
        held = [item_id for item_id in trip.item_ids if not self.catalog.items[item_id].age_restricted]
        held = [held[at] for at in self.rng.permutation(len(held))]
        context = RankContext(user_id=None if cold else trip.user_id, task=task, at=trip.time)
        if len(held) > 1 and task != "goes_with" and self.rng.random() < CART_SHARE:
            cut = int(self.rng.integers(1, min(MOST_IN_CART, len(held) - 1) + 1))
            taken, held = tuple(held[:cut]), held[cut:]
            context = (
                replace(context, liked=taken) if cold and self.rng.random() < 0.5 else replace(context, cart=taken)
            )
        if not held:
            return None
        own = {item_id for item_id in held if self.history.bought(trip.user_id, item_id)}
        kinds = {item_id: kind_of(self.catalog.items[item_id]) for item_id in held}
        targets = set(held)
        if task == "again":
            targets = own
        elif task == "new":
            targets -= own
        elif task == "goes_with":
            context = replace(context, named=(held[0],))
            targets = {item_id for item_id in held if kinds[item_id] != kinds[held[0]]}
        elif task == "search":
            context = replace(context, wish=Wish(query=kinds[held[0]]))
            targets = {item_id for item_id in held if kinds[item_id] == kinds[held[0]]}
        if not targets:
            return None
        evidence = gather(context, shelf=shelf, history=self.history, scorer=self.scorer, deals=self.deals)
        if task == "search":
            candidates = [c for c in self.search(context.wish.query) if c.item_id in shelf.rows]
        else:
            candidates = propose(evidence, limit=POOL)
        rows = np.array([shelf.rows[c.item_id] for c in candidates], np.int64)
        parts = evidence.features(rows, candidates)
        return Request(
            features=np.stack([parts[part] for part in FITTED_PARTS], axis=1),
            bought=np.array([c.item_id in targets for c in candidates], bool),
            targets=len(targets),
        )


def _plain_search(shelf: Shelf) -> Search:
    """Match a query's words with the words of each kind: the share that both have."""
    words = [frozenset(stems(kind)) for kind in shelf.kinds]

    def search(query: str) -> list[Candidate]:
        asked = frozenset(stems(query))
        match = np.array([len(asked & held) / max(len(asked | held), 1) for held in words])[shelf.kind]
        rows = np.flatnonzero((match > 0) & ~shelf.restricted)
        rows = rows[np.argsort(-match[rows], kind="stable")][:POOL]
        return [Candidate(item_id=shelf.items[row].item_id, sources={"match": float(match[row])}) for row in rows]

    return search


def _fit(requests: Sequence[Request], *, task: str) -> Floats:
    """Fit weights that are not negative and add up to 1: by likelihood, then in steps that surely help nDCG.

    A step is taken where it helps by more than a standard error over the requests. Steps that help by less
    made the weights of two halves of the shoppers differ widely, and gained nothing on the other half.
    """
    useful = [request for request in requests if request.bought.any()]
    if not useful:
        return np.array([DEFAULT_WEIGHTS[task].get(part, 0.0) for part in FITTED_PARTS])
    stacked = _Stacked.of(useful)
    weights = _shared(_by_likelihood(useful), task)
    best = stacked.ndcg(weights)
    for part in range(len(weights)):
        for step in STEPS:
            tried = weights.copy()
            tried[part] *= step
            tried = _shared(tried, task)
            gain = stacked.ndcg(tried) - best
            if gain.mean() > gain.std() / np.sqrt(len(gain)):
                weights, best = tried, best + gain
    return np.round(weights, 4)


def _shared(weights: Floats, task: str) -> Floats:
    """Make the weights add up to 1, each part having at least the share that the task asks of it."""
    least = np.array([LEASTS[task].get(part, 0.0) for part in FITTED_PARTS])
    out = weights / max(float(weights.sum()), 1e-9)
    raised = out < least
    while raised.any() and not raised.all():
        # What is raised is taken from the others in proportion; they are raised too where that lowers them too far.
        rest = weights * ((1.0 - least[raised].sum()) / max(float(weights[~raised].sum()), 1e-9))
        out = np.where(raised, least, rest)
        if not (out < least - 1e-12).any():
            break
        raised |= out < least
    total: Floats = out / max(float(out.sum()), 1e-9)
    return total


def _by_likelihood(requests: Sequence[Request]) -> Floats:
    """Fit the choice model in which each bought item was drawn from the candidates by softmax of the score."""
    from scipy.optimize import minimize

    features = np.concatenate([request.features for request in requests])
    bought = np.concatenate([request.bought for request in requests])
    starts = np.cumsum([0] + [len(request.bought) for request in requests[:-1]])
    sizes = np.array([len(request.bought) for request in requests])
    group = np.repeat(np.arange(len(requests)), sizes)
    share = bought / np.add.reduceat(bought.astype(float), starts)[group]

    def loss(weights: Floats) -> tuple[float, Floats]:
        scores = features @ weights
        scores = scores - np.maximum.reduceat(scores, starts)[group]
        odds = np.exp(scores)
        sums = np.add.reduceat(odds, starts)
        chance = odds / sums[group]
        value = -float(share @ (scores - np.log(sums)[group]))
        slope = -((share - chance) @ features)
        return value / len(requests) + 1e-3 * float(weights @ weights), slope / len(requests) + 2e-3 * weights

    start = np.ones(features.shape[1])
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(0.0, 50.0)] * len(start))
    weights: Floats = found.x
    return weights


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stacked:
    """Requests as one padded array, to measure all at once."""

    features: Floats  # requests, candidates, parts
    bought: NDArray[np.bool_]
    absent: NDArray[np.bool_]  # padding
    targets: NDArray[np.int64]

    @classmethod
    def of(cls, requests: Sequence[Request]) -> _Stacked:
        """Pad every request to the longest, and to the depth that is measured."""
        longest = max(DEPTH, *(len(request.bought) for request in requests))
        features = np.zeros((len(requests), longest, len(FITTED_PARTS)))
        bought, absent = np.zeros(features.shape[:2], bool), np.ones(features.shape[:2], bool)
        for at, request in enumerate(requests):
            size = len(request.bought)
            features[at, :size], bought[at, :size], absent[at, :size] = request.features, request.bought, False
        targets = np.array([request.targets for request in requests])
        return cls(features=features, bought=bought, absent=absent, targets=targets)

    def hits(self, weights: Floats) -> NDArray[np.bool_]:
        """Say of each request's first places which held something that was bought."""
        scores = np.where(self.absent, -np.inf, self.features @ weights)
        order = np.argpartition(-scores, DEPTH - 1, axis=1)[:, :DEPTH]
        order = np.take_along_axis(order, np.argsort(-np.take_along_axis(scores, order, 1), axis=1, kind="stable"), 1)
        return np.take_along_axis(self.bought, order, 1)

    def ndcg(self, weights: Floats) -> Floats:
        """Measure nDCG of each request; the best possible list holds every target."""
        ideal = np.cumsum(GAINS)[np.minimum(self.targets, DEPTH) - 1]
        out: Floats = (self.hits(weights) @ GAINS) / ideal
        return out

    def recall(self, weights: Floats) -> Floats:
        """Measure the share of each request's targets that were found."""
        out: Floats = self.hits(weights).sum(axis=1) / self.targets
        return out


def _figures(requests: Sequence[Request], *, task: str) -> dict[str, float | int]:
    """Fit on each half of the requests and measure on the other; a target that no pool proposed is a miss."""
    halves = requests[::2], requests[1::2]
    fits = [_fit(half, task=task) for half in halves]
    default = np.array([DEFAULT_WEIGHTS[task].get(part, 0.0) for part in FITTED_PARTS])
    out: dict[str, float | int] = {"n": len(requests)}
    for name, weights in (("", fits), ("_default", [default, default])):
        measured = [(_Stacked.of(half), held) for half, held in zip(halves, reversed(weights), strict=True)]
        for metric, values in (
            ("ndcg@10", np.concatenate([half.ndcg(held) for half, held in measured])),
            ("recall@10", np.concatenate([half.recall(held) for half, held in measured])),
        ):
            out[metric + name] = round(float(values.mean()), 4)
            out[f"{metric}{name}_stderr"] = round(float(values.std() / np.sqrt(len(values))), 4)
    return out
