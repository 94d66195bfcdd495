"""Grow the ranking's trees on what shoppers bought on their newest trips, each seen from the moment it began."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from retrieval.evidence import gather
from retrieval.ranking import RankContext, Ranker, Task, proposed
from retrieval.records import Candidate
from retrieval.scorer import CollaborativeScorer, ScorerSettings
from retrieval.signals import COLUMNS, CONTEXT, signals
from retrieval.trees import Trees, fit_trees

if TYPE_CHECKING:
    from retrieval.deals import Deals
    from retrieval.history import History
    from retrieval.records import Item

Progress = Callable[[str, float], None]
Floats = NDArray[np.float64]

# Trees by the task that they are grown for, and the tasks that use them.
GROWN: Mapping[Task, tuple[Task, ...]] = {"next_basket": ("next_basket", "again"), "new": ("new",)}
# What to aim at: first purchases are so rare that pairs of one list teach less than their plain odds (nDCG@10 .0384
# and .0355, n = 1,826 second-last trips of the default shop); of a whole basket the pairs teach more (.227 and .223).
OBJECTIVES: Mapping[str, str] = {"next_basket": "lambdarank", "new": "binary"}
TRIPS = 5  # of each shopper's newest: the last to check on, those before it to learn from
FEWEST_BEFORE = 4  # trips that a shopper has before them
MOST_LEARNT: Mapping[str, int] = {"next_basket": 4_500, "new": 4_500}  # requests
MOST_CHECKED = 600
FEWEST = 100  # requests to learn from and to check on; below this a task keeps its weights
POOL = 300
CART_SHARE = 0.3  # of the requests for a next basket are made with some of it in the cart already
SPARED = 0.3  # of the rows of `new` that were not bought are learnt from: with fewer, more requests fit into the time
HOURLESS = 0.5  # of the requests do not tell the hour, as a request made now does not
DEPTH = 10  # nDCG at this depth is what trees and weights are for
GAINS: Floats = 1.0 / np.log2(np.arange(2, DEPTH + 2))
_CLOCK = [COLUMNS.index("hour"), COLUMNS.index("weekday")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Grown:
    """One request: the candidates' signals, how the weights score them, which were bought, and how many could be."""

    table: NDArray[np.float32]
    plain: Floats
    bought: NDArray[np.bool_]
    targets: int


@dataclass(frozen=True, kw_only=True)
class Ground:
    """What requests are made from: the whole log, and models that do not know its newest trips."""

    items: Mapping[str, Item]
    history: History
    scorer: CollaborativeScorer
    ranker: Ranker
    rng: np.random.Generator
    deals: Deals | None = None
    asked: list[str] = field(default_factory=list)  # shoppers whose newest trips are held out


def grow(
    items: Mapping[str, Item],
    history: History,
    *,
    ranker: Ranker,
    deals: Deals | None = None,
    seed: int = 0,
    settings: ScorerSettings | None = None,
    progress: Progress | None = None,
) -> tuple[dict[str, Trees], dict[str, Any]]:
    """Fit trees for the tasks in which they beat the weights and every single signal.

    They learn from earlier trips than those they are checked on. There they must reach a higher nDCG@10 than the
    weights and than each signal by itself, else the task keeps its weights.

    Args:
        items: The shop's items by id.
        history: Its whole log; the newest trips are held out here.
        ranker: The weights that the trees must beat; it has no trees yet.
        deals: What was on offer when.
        seed: Chooses requests, carts, and what each tree sees.
        settings: Of the models that are fitted without the newest trips.
        progress: Told what is being done, and the share that is done.

    Returns:
        The trees by task, and what was measured.
    """
    tell = progress or (lambda _what, _share: None)
    settings = settings or ScorerSettings()
    tell("fitting the models without the newest trips", 0.0)
    count = TRIPS if _typical_trips(history) >= 4 * TRIPS else 2
    older, held = history.without_last(count=count, fewest=min(FEWEST_BEFORE, count) + count)
    if len(held) < FEWEST:
        return {}, {}
    ground = Ground(
        items=items,
        history=history,
        scorer=replace(CollaborativeScorer.fit(older, settings=settings), sales=history),
        ranker=ranker,
        rng=np.random.default_rng(seed),
        deals=deals,
        asked=[trip.user_id for trip in held],
    )
    trees: dict[str, Trees] = {}
    figures: dict[str, Any] = {}
    for number, (task, takers) in enumerate(GROWN.items()):
        share = number / len(GROWN)
        tell(f"looking at past trips for {task}", share + 0.05)
        learn = list(islice(_requests(ground, task, count=count, newest=False), MOST_LEARNT[task]))
        check = list(islice(_requests(ground, task, count=count, newest=True), MOST_CHECKED))
        if min(len(learn), len(check)) < FEWEST:
            continue
        tell(f"fitting the ranking for {task}", share + 0.3)
        found = fit_trees(
            [one.table for one in learn],
            [one.bought for one in learn],
            objective=OBJECTIVES[task],
            seed=seed,
            threads=settings.threads,
        )
        figures[task] = {"learnt": len(learn), **_compared(found, check)}
        if figures[task]["kept"]:
            trees.update(dict.fromkeys(takers, found))
    return trees, figures


def _typical_trips(history: History) -> float:
    sizes = np.diff(history.user_baskets)
    return float(np.median(sizes[sizes > 0])) if (sizes > 0).any() else 0.0


def _requests(ground: Ground, task: Task, *, count: int, newest: bool) -> Iterator[Grown]:
    """Make the requests of the newest trips, or of those before them, in an order drawn by chance."""
    ends = [ground.history.trip_rows(user)[1] for user in ground.asked]
    ages = [1] if newest else range(2, count + 1)
    trips = [(user, end - age) for user, end in zip(ground.asked, ends, strict=True) for age in ages]
    for at in ground.rng.permutation(len(trips)):
        request = _request(ground, task, *trips[at], learnt=not newest)
        if request is not None:
            yield request


def _request(ground: Ground, task: Task, user_id: str, trip: int, *, learnt: bool) -> Grown | None:
    """Make the request that a trip would have answered; None where the trip says nothing of the task.

    To be learnt from, something proposed must have been bought, and of `new` only some of the other rows are taken.
    """
    history, rng = ground.history, ground.rng
    shelf = ground.ranker.shelf(ground, ground.scorer)
    rows = history.basket_items[history.basket_start[trip] : history.basket_start[trip + 1]]
    rows = rows[~shelf.restricted[rows]]
    cart = rows[:0]
    if task == "next_basket" and len(rows) > 3 and rng.random() < CART_SHARE:
        rows = rng.permutation(rows)
        cart, rows = np.split(rows, [int(rng.integers(1, len(rows) // 2 + 1))])
    context = RankContext(
        user_id=user_id,
        cart=tuple(shelf.items[row].item_id for row in cart),
        task=task,
        at=float(history.basket_time[trip]),
    )
    evidence = gather(context, shelf=shelf, history=history, scorer=ground.scorer, deals=ground.deals)
    targets = rows[~evidence.bought[rows]] if task == "new" else rows
    if not len(targets) or not evidence.habits.trips:
        return None
    at = np.array(list(proposed(evidence, limit=POOL)), np.int64)
    bought = np.isin(at, targets)
    if learnt and not bought.any():
        return None
    if learnt and task == "new":
        kept = bought | (rng.random(len(at)) < SPARED)
        at, bought = at[kept], bought[kept]
    if not len(at):
        return None
    table = signals(evidence, at)
    if rng.random() < HOURLESS:
        table[:, _CLOCK] = np.nan
    plain = np.zeros(len(at))
    if not learnt:
        candidates = [Candidate(item_id=shelf.items[row].item_id, sources={}) for row in at]
        plain = sum(ground.ranker.values(evidence, at, candidates).values(), plain)
    return Grown(table=table, plain=plain, bought=bought, targets=len(targets))


def _compared(trees: Trees, requests: Sequence[Grown]) -> dict[str, Any]:
    """Measure trees, weights and every signal by itself on the same requests; keep the trees where they are best."""
    ours = _ndcg([sum(trees.parts(one.table).values(), np.zeros(len(one.table))) for one in requests], requests)
    plain = _ndcg([one.plain for one in requests], requests).mean()
    names = COLUMNS[len(CONTEXT) :]
    alone = {name: _ndcg([_by_itself(one, name) for one in requests], requests).mean() for name in names}
    best = max(alone, key=lambda name: float(alone[name]))
    return {
        "n": len(requests),
        "ndcg@10": round(float(ours.mean()), 4),
        "ndcg@10_stderr": round(float(ours.std() / np.sqrt(len(ours))), 4),
        "ndcg@10_weights": round(float(plain), 4),
        "ndcg@10_best_signal": round(float(alone[best]), 4),
        "best_signal": best,
        "kept": bool(ours.mean() > max(plain, alone[best])),
    }


def _by_itself(request: Grown, name: str) -> Floats:
    column = request.table[:, COLUMNS.index(name)].astype(np.float64)
    return np.nan_to_num(column, nan=-1e9)


def _ndcg(scores: Sequence[Floats], requests: Sequence[Grown]) -> Floats:
    """Measure nDCG@10 of each request; the best possible list holds every target."""
    out = np.zeros(len(requests))
    for number, (held, request) in enumerate(zip(scores, requests, strict=True)):
        hits = request.bought[np.argsort(-held, kind="stable")[:DEPTH]]
        out[number] = (hits * GAINS[: len(hits)]).sum() / GAINS[: min(DEPTH, request.targets)].sum()
    return out
