"""Which items come first, and why: a score that is the exact sum of named parts, each with its facts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from retrieval.deals import Deals
from retrieval.evidence import Evidence, gather, part_facts
from retrieval.history import History
from retrieval.records import Candidate, Item, Part, Recommendation, ShopError
from retrieval.scorer import CollaborativeScorer
from retrieval.shelf import Shelf
from retrieval.signals import signals
from retrieval.trees import Trees
from retrieval.wish import Wish, broken

Task = Literal["search", "again", "new", "next_basket", "goes_with", "similar"]
PARTS = ("match", "collaborative", "bought_before", "kind", "goes_with", "popularity", "price_fit", "deal", "taste")
TASKS: tuple[Task, ...] = ("search", "again", "new", "next_basket", "goes_with", "similar")

# Where no purchases say better. A shop's own are fitted at prepare (`retrieval.weights`); `taste` never is: the log
# of a shop says little about likes, and what a shopper dislikes has to sink below everything else, so it weighs 1
# where the others add up to 1.
# A task followed by "_cold" is the same for a shopper who never bought anything.
DEFAULT_WEIGHTS: Mapping[str, Mapping[str, float]] = {
    "search": {"match": 0.6, "collaborative": 0.1, "bought_before": 0.2, "popularity": 0.05, "price_fit": 0.05},
    "again": {"collaborative": 0.05, "bought_before": 0.7, "goes_with": 0.2, "popularity": 0.05},
    "new": {"collaborative": 0.6, "goes_with": 0.1, "popularity": 0.3},
    "next_basket": {"collaborative": 0.1, "bought_before": 0.65, "goes_with": 0.2, "popularity": 0.05},
    "goes_with": {"collaborative": 0.05, "bought_before": 0.1, "goes_with": 0.75, "popularity": 0.1},
    "similar": {"match": 0.6, "collaborative": 0.15, "bought_before": 0.15, "popularity": 0.1},
    "search_cold": {"match": 0.7, "collaborative": 0.15, "popularity": 0.15},
    "again_cold": {"collaborative": 0.5, "popularity": 0.5},
    "new_cold": {"collaborative": 0.4, "goes_with": 0.25, "popularity": 0.35},
    "next_basket_cold": {"collaborative": 0.4, "goes_with": 0.25, "popularity": 0.35},
    "goes_with_cold": {"collaborative": 0.1, "goes_with": 0.75, "popularity": 0.15},
    "similar_cold": {"match": 0.7, "collaborative": 0.15, "popularity": 0.15},
}
TASTE_WEIGHT = 1.0
TOLD_SHARE = 0.05  # of what speaks for an item: a part that adds less is no reason to tell
PER_KIND = 2  # most items of one kind in a proposal, as long as other kinds are left


@dataclass(frozen=True, slots=True, kw_only=True)
class RankContext:
    """For whom, for what and beside what a list is ranked; `named` are the items asked about.

    `at` is when it is asked, in seconds since 1970, for looking back; None: after everything in the log.
    """

    user_id: str | None = None
    cart: tuple[str, ...] = ()
    liked: tuple[str, ...] = ()
    disliked: tuple[str, ...] = ()
    wish: Wish = field(default_factory=Wish)
    named: tuple[str, ...] = ()
    task: Task = "search"
    limit: int = 5
    at: float | None = None


class Shelved(Protocol):
    """What ranking needs of a catalogue: its items, in a stable order."""

    @property
    def items(self) -> Mapping[str, Item]:
        """Give the items by id."""


@dataclass(frozen=True, kw_only=True)
class Ranker:
    """Weights per task, trees for some, and how they were fitted (`fitted`: split, sizes, figures; empty for the defaults).

    Where a task has trees and the shopper has a history, the trees' parts make the score; else the weighted sum does.
    """

    weights: Mapping[str, Mapping[str, float]] = field(default_factory=lambda: DEFAULT_WEIGHTS)
    trees: Mapping[str, Trees] = field(default_factory=dict)
    fitted: Mapping[str, Any] = field(default_factory=dict)
    _shelves: list[Shelf] = field(default_factory=list, init=False, repr=False, compare=False)

    def weight(self, task: str, part: str) -> float:
        """Give the weight of a part for a task; `task` may end in "_cold"."""
        if part == "taste":
            return TASTE_WEIGHT
        return float(self.weights[task].get(part, 0.0))

    def save(self, path: Path) -> None:
        """Write the weights and how they were fitted as JSON."""
        record = {
            "weights": {task: dict(held) for task, held in self.weights.items()},
            "trees": {task: held.record() for task, held in self.trees.items()},
            "fitted": dict(self.fitted),
        }
        path.write_text(json.dumps(record, indent=1), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Ranker:
        """Read what `save` wrote.

        Raises:
            ShopError: when the file is missing or damaged.
        """
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            weights: dict[str, dict[str, float]] = {
                task: {part: float(record["weights"][task].get(part, 0.0)) for part in PARTS if part != "taste"}
                for task in DEFAULT_WEIGHTS
            }
            trees = {task: Trees.of_record(held) for task, held in record["trees"].items()}
            fitted = dict(record["fitted"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ShopError(f"Cannot read the ranking weights at {path} ({error}). Prepare the shop again.") from error
        return cls(weights=weights, trees=trees, fitted=fitted)

    def rank(
        self,
        candidates: Sequence[Candidate],
        *,
        context: RankContext,
        catalog: Shelved,
        history: History,
        scorer: CollaborativeScorer,
        deals: Deals | None = None,
        limit: int | None = None,
        diverse: bool | None = None,
    ) -> list[Recommendation]:
        """Order candidates by the sum of their parts and keep the best; ties go by item id.

        Candidates that break a hard wish or that the shop does not have are left out.

        Args:
            candidates: What the retrievers proposed; of an item proposed twice the first counts.
            context: For whom and for what.
            catalog: The shop's items.
            history: The shop's log.
            scorer: The models fitted on it.
            deals: What is on offer.
            limit: How many to keep; by default the context's.
            diverse: Keep at most two of a kind while other kinds are left; by default in
                proposals that nobody searched for; what a shopper buys again is theirs, however much of a kind.
        """
        shelf = self.shelf(catalog, scorer)
        found = np.array([shelf.rows.get(c.item_id, -1) for c in candidates], np.int64)
        known = np.flatnonzero(found >= 0)
        rows, first = np.unique(found[known], return_index=True)
        held = [candidates[at] for at in known[first]]
        evidence = gather(context, shelf=shelf, history=history, scorer=scorer, deals=deals)
        values = self.values(evidence, rows, held)
        scores = np.zeros(len(rows))
        for part in PARTS:  # added in this order, as the recommendation's own parts are
            scores = scores + values[part]
        order = np.lexsort((shelf.place[rows], -scores))
        diverse = context.task in ("new", "next_basket", "goes_with") if diverse is None else diverse
        chosen = self._choose(order, rows, context, shelf, history, most=limit or context.limit, diverse=diverse)
        return [
            self._recommendation(held[at], {part: float(values[part][at]) for part in PARTS}, evidence, shelf)
            for at in chosen
        ]

    def values(
        self, evidence: Evidence, rows: NDArray[np.int64], candidates: Sequence[Candidate]
    ) -> dict[str, NDArray[np.float64]]:
        """Give every part's share of the score, for the candidates at these rows: [rows] each."""
        task, known = evidence.context.task, bool(evidence.habits.trips)
        if known and task in self.trees:
            found = self.trees[task].parts(signals(evidence, rows))
            found["taste"] = TASTE_WEIGHT * evidence.taste[rows]
            return {part: found.get(part, np.zeros(len(rows))) for part in PARTS}
        features = evidence.features(rows, candidates)
        name = task if known else f"{task}_cold"
        return {
            part: self.weight(name, part) * features[part] if part in features else np.zeros(len(rows))
            for part in PARTS
        }

    def _choose(
        self,
        order: NDArray[np.int64],
        rows: NDArray[np.int64],
        context: RankContext,
        shelf: Shelf,
        history: History,
        *,
        most: int,
        diverse: bool,
    ) -> list[int]:
        chosen: list[int] = []
        spare: list[int] = []
        kinds: dict[int, int] = {}
        for at in order.tolist():
            if len(chosen) == most:
                break
            row = int(rows[at])
            item = shelf.items[row]
            if broken(item, context.wish, bought=history.bought(context.user_id, item.item_id)):
                continue
            kind = int(shelf.kind[row])
            if diverse and kinds.get(kind, 0) >= PER_KIND:
                if len(spare) < most:
                    spare.append(at)
                continue
            kinds[kind] = kinds.get(kind, 0) + 1
            chosen.append(at)
        return chosen + spare[: most - len(chosen)]

    def _recommendation(
        self, candidate: Candidate, values: Mapping[str, float], evidence: Evidence, shelf: Shelf
    ) -> Recommendation:
        parts, score = [], 0.0
        least = TOLD_SHARE * sum(value for value in values.values() if value > 0)
        for part in PARTS:
            score += values[part]
            facts = part_facts(part, candidate.item_id, counts=values[part] > least, evidence=evidence)
            if values[part] or facts:
                parts.append(Part(name=part, value=values[part], facts=facts))
        item = shelf.items[shelf.rows[candidate.item_id]]
        return Recommendation(item=item, score=score, parts=tuple(parts), sources=candidate.sources)

    def candidates(
        self,
        context: RankContext,
        *,
        catalog: Shelved,
        history: History,
        scorer: CollaborativeScorer,
        deals: Deals | None = None,
        limit: int = 300,
    ) -> list[Candidate]:
        """Propose items where there is no query: what is bought again, fits, goes with the cart, is popular.

        Each candidate's `sources` name the pools it came from, with that pool's own score. Items in the cart,
        named items, what breaks the wish, age-restricted items nobody asked for and what the shopper dislikes
        are left out. The pools take turns, so that `limit` cuts all of them alike.
        """
        shelf = self.shelf(catalog, scorer)
        return propose(gather(context, shelf=shelf, history=history, scorer=scorer, deals=deals), limit=limit)

    def shelf(self, catalog: Shelved, scorer: CollaborativeScorer) -> Shelf:
        """Give the catalogue's fields as arrays; made once for each opened shop."""
        for shelf in self._shelves:
            if shelf.of is catalog.items:
                return shelf
        shelf = Shelf.of_items(catalog.items, item_ids=scorer.item_ids, buyers=scorer.history.buyers_by_row)
        self._shelves[:] = [shelf]
        return shelf


def propose(evidence: Evidence, *, limit: int) -> list[Candidate]:
    """Do what `Ranker.candidates` does, for evidence that is gathered already."""
    items = evidence.shelf.items
    found = proposed(evidence, limit=limit)
    return [Candidate(item_id=items[row].item_id, sources=sources) for row, sources in found.items()]


def proposed(evidence: Evidence, *, limit: int) -> dict[int, dict[str, float]]:
    """Give the rows of the shelf that are proposed, in the pools' turns, each with the pools' own scores."""
    allowed = _allowed(evidence)
    named = {name: getattr(evidence, pool) for name, (pool, tasks) in _POOLS.items() if evidence.context.task in tasks}
    pools: dict[str, NDArray[Any]] = {name: scores for name, scores in named.items() if scores.any()}
    found: dict[int, dict[str, float]] = {}
    orders = {name: iter(_best(scores, allowed, evidence.shelf, limit)) for name, scores in pools.items()}
    while orders and len(found) < limit:
        for name in list(orders):
            row = next(orders[name], None)
            if row is None:
                del orders[name]
                continue
            if len(found) < limit or row in found:
                found.setdefault(row, {})[name] = float(pools[name][row])
    return found


# Each pool: which of the evidence's scores it goes by, and for which tasks.
_POOLS: Mapping[str, tuple[str, tuple[Task, ...]]] = {
    "again": ("again", ("again", "next_basket", "search", "similar")),
    "goes_with": ("goes_with", ("goes_with", "new", "next_basket", "search", "similar")),
    "collaborative": ("collaborative", ("new", "next_basket", "search", "similar")),
    "shoppers": ("shoppers", ("new", "next_basket")),
    "linear": ("linear", ("new", "next_basket")),
    "follows": ("follows", ("new", "next_basket")),
    "kind": ("kind_habit", ("new", "next_basket")),
    "deal": ("deal_pull", ("new", "next_basket")),
    "popular": ("popularity", ("new", "next_basket", "search", "similar")),
}


def _best(scores: NDArray[np.floating[Any]], allowed: NDArray[np.bool_], shelf: Shelf, limit: int) -> Iterable[int]:
    """List the rows with a positive score, best first, ties by item id."""
    rows = np.flatnonzero((scores > 0) & allowed)
    if len(rows) > limit:
        edge = np.partition(scores[rows], -limit)[-limit]
        rows = rows[scores[rows] >= edge]
    order: list[int] = rows[np.lexsort((shelf.place[rows], -scores[rows]))][:limit].tolist()
    return order


def _allowed(evidence: Evidence) -> NDArray[np.bool_]:
    """Mark the rows that may be proposed: those that keep to the wish and are not at hand already."""
    context, shelf, bought = evidence.context, evidence.shelf, evidence.bought
    wish = context.wish
    allowed = shelf.keeping(wish, bought=bought)
    if context.task == "again":
        allowed &= bought
    if context.task == "new":
        allowed &= ~bought
    allowed &= ~shelf.mask({*context.cart, *context.named, *evidence.disliked})
    if context.task == "goes_with":
        # What goes with spaghetti is not more spaghetti.
        anchors = [shelf.rows[item_id] for item_id in context.named or context.cart if item_id in shelf.rows]
        allowed &= ~np.isin(shelf.kind, shelf.kind[anchors])
    return allowed
