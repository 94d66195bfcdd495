"""The time of one request: what the assistant asks of the ranking, task by task, over an opened shop or a synthetic one."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from eval.metrics import percentile
from eval.synthetic_shop import Size, synthetic_items
from retrieval.ranking import TASKS, RankContext, Task
from retrieval.records import Candidate, Item, Recommendation, ShopError
from retrieval.shelf import kind_of
from retrieval.wish import Wish

if TYPE_CHECKING:
    from retrieval.shop import Shop

GIB = 2**30
RETRIEVED = 300  # candidates of a request, as the assistant has
LISTED = 15  # it ranks three times the five that it shows
MOST_IN_CART = 4
WARMING = 5  # requests of a task that are not counted
# Propose and rank: what is timed of one request.
Answer = Callable[[RankContext], Sequence[Recommendation]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """Milliseconds of one request of a task: on the clock, and (p95) of this process's own computing."""

    n: int
    p50_ms: float
    p95_ms: float
    cpu_p95_ms: float


@dataclass(slots=True, kw_only=True)
class Stages:
    """Seconds of each stage, and the most memory that the process ever held when it ended, in GiB."""

    seconds: dict[str, float] = field(default_factory=dict)
    peak_gib: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the block."""
        started = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - started, 3)
        self.peak_gib[name] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIB, 3)


def timed(answer: Answer, contexts: Sequence[RankContext]) -> Speed:
    """Answer requests one after the other, the first few uncounted.

    Raises:
        ShopError: when there is nothing to count.
    """
    wall, cpu = [], []
    for context in contexts:
        clock, own = time.perf_counter(), time.process_time()
        answer(context)
        wall.append(1e3 * (time.perf_counter() - clock))
        cpu.append(1e3 * (time.process_time() - own))
    wall, cpu = wall[WARMING:], cpu[WARMING:]
    if not wall:
        raise ShopError(f"A speed needs more than {WARMING} requests: give more with --requests")
    p50, p95, own95 = (round(percentile(*of), 2) for of in ((wall, 50), (wall, 95), (cpu, 95)))
    return Speed(n=len(wall), p50_ms=p50, p95_ms=p95, cpu_p95_ms=own95)


def contexts_of(
    task: Task,
    *,
    count: int,
    users: Sequence[str],
    items: Sequence[Item],
    weights: Sequence[float],
    rng: np.random.Generator,
) -> list[RankContext]:
    """Draw requests of a task: shoppers at random, carts and items asked about by `weights`, each query once.

    Half of the requests come with a cart; a search is for the kind of an item, by its name.
    """
    share = np.array(weights, np.float64) + 1e-9
    drawn = rng.choice(len(items), size=(count, MOST_IN_CART + 1), p=share / share.sum())
    kinds = list(dict.fromkeys(kind_of(item) for item in items))
    queries = cycle([kinds[at] for at in rng.permutation(len(kinds))])
    out = []
    for number in range(count):
        named, *cart = dict.fromkeys(items[at].item_id for at in drawn[number])
        cart = cart[: int(rng.integers(1, MOST_IN_CART + 1))] if rng.random() < 0.5 or task == "goes_with" else []
        out.append(
            RankContext(
                user_id=users[int(rng.integers(len(users)))],
                task=task,
                cart=tuple(cart),
                named=(named,) if task in ("goes_with", "similar") else (),
                wish=Wish(query=next(queries)) if task == "search" else Wish(),
                limit=LISTED,
            )
        )
    return out


def measure_shop(shop: Shop, *, requests: int, seed: int) -> dict[Task, Speed]:
    """Time each task over an opened shop as the assistant asks it; what is embedded is embedded before."""
    items = list(shop.catalog.items.values())
    rng = np.random.default_rng(seed)

    def answer(context: RankContext) -> list[Recommendation]:
        found: list[Candidate]
        if context.task == "search":
            found = shop.catalog.search([context.wish.query], wish=context.wish, limit=RETRIEVED)
        elif context.task == "similar":
            found = shop.catalog.similar(context.named[0], wish=context.wish, limit=RETRIEVED)
        else:
            found = shop.candidates(context, limit=RETRIEVED)
        return shop.rank(found, context=context)

    speeds: dict[Task, Speed] = {}
    for task in TASKS:
        contexts = contexts_of(
            task,
            count=requests + WARMING,
            users=shop.history.users,
            items=items,
            weights=shop.history.buyers_by_row.tolist(),
            rng=rng,
        )
        for context in contexts if task == "search" else []:
            answer(context)  # the embedder remembers queries; the catalogue has long forgotten what it read in them
        speeds[task] = timed(answer, contexts)
    return speeds


def fit_shop(shop: Shop, *, stages: Stages) -> None:
    """Fit the models and the ranking of an opened shop once more, as preparing it does."""
    from retrieval.scorer import CollaborativeScorer
    from retrieval.weights import fit_weights

    with stages.stage("fit the models"):
        CollaborativeScorer.fit(shop.history)
    with stages.stage("fit the ranking"):
        fit_weights(
            list(shop.catalog.items.values()),
            shop.history,
            search=lambda query: shop.catalog.search([query], wish=Wish(query=query), limit=RETRIEVED),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Laid:
    """Items by id: what ranking needs of a catalogue."""

    items: Mapping[str, Item]


def measure_size(size: Size, *, file: Path, requests: int, seed: int, user_id: str | None = None) -> dict[str, Any]:
    """Load a synthetic log, fit everything on it and time each task.

    Args:
        size: Of the shop; its items are made anew from the seed.
        file: The log, as `History.save` wrote it; the fitted models are saved beside it to see their size.
        requests: How many to time of each task. A search's candidates are given: there is no catalogue to search.
        seed: Draws the items and the requests.
        user_id: Who asks; by default shoppers at random.
    """
    from retrieval.history import History
    from retrieval.scorer import CollaborativeScorer
    from retrieval.weights import fit_weights

    stages, rng = Stages(), np.random.default_rng(seed + 2)
    items = synthetic_items(size, rng=np.random.default_rng(seed))
    with stages.stage("load the log"):
        history = History.load(file)
    with stages.stage("fit the models"):
        scorer = CollaborativeScorer.fit(history)
    with stages.stage("fit the ranking"):
        ranker = fit_weights(items, history)
    saved = file.with_name("models")
    scorer.save(saved)
    shop: dict[str, Any] = {
        "catalog": Laid(items={item.item_id: item for item in items}),
        "history": history,
        "scorer": scorer,
    }
    given: list[Candidate] = []

    def answer(context: RankContext) -> list[Recommendation]:
        searched = context.task in ("search", "similar")
        found = given if searched else ranker.candidates(context, limit=RETRIEVED, **shop)
        return ranker.rank(found, context=context, **shop)

    speeds: dict[Task, Speed] = {}
    for task in TASKS:
        contexts = contexts_of(
            task,
            count=requests + WARMING,
            users=[user_id] if user_id else history.users,
            items=items,
            weights=history.buyers_by_row.tolist(),
            rng=rng,
        )
        rows = rng.choice(len(items), size=min(RETRIEVED, len(items)), replace=False).tolist()
        source = "similar" if task == "similar" else "match"
        given[:] = [Candidate(item_id=items[row].item_id, sources={source: float(rng.random())}) for row in rows]
        if not speeds:
            with stages.stage("first request"):  # lays the items out as arrays
                answer(RankContext(user_id=contexts[0].user_id, task="next_basket"))
        speeds[task] = timed(answer, contexts)
    with stages.stage("requests"):
        pass
    return {
        "speeds": {task: asdict(speed) for task, speed in speeds.items()},
        "stages": asdict(stages),
        "models_gib": round(sum(path.stat().st_size for path in saved.rglob("*") if path.is_file()) / GIB, 3),
        "items": len(items),
        "shoppers": len(history.users),
        "trips": len(history.basket_time),
        "lines": len(history.basket_items),
    }
