"""What the purchases of all shoppers say about one: similar items, what is bought again, what goes together.

Sums over the log, each with terms that can be taken out again: item-item models, so that "because you buy X" is
the term of X; the next-basket model of repeats; what shares trips with the cart; and, where trips are small, what
follows what. Beside them, the shoppers who buy alike.
"""

from __future__ import annotations

import json
import warnings
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from retrieval.ease import ease
from retrieval.habit import Habits
from retrieval.history import History
from retrieval.neighbours import Neighbours
from retrieval.order import carries_order, strongest, transitions
from retrieval.records import ShopError

Scores = NDArray[np.float32]

_LIKE = 1.0  # a like weighs as much as one and a half purchases: log1p(1) = 0.69
_VIEW = 0.1
_DAY = 86_400.0
_LATELY_DAYS = 28
_DAYS_KEPT = 1_600
_MATRICES = ("similarity", "goes_with", "linear", "order")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScorerSettings:
    """How a `CollaborativeScorer` is fitted; the defaults were chosen on second-last trips of the default shop.

    On 2,009 shoppers' new items there, tf-idf, BM25 and cosine item-kNN with 50 to 800 neighbours are within one
    standard error (recall@10 .031 to .034, popularity .033), so the smaller model is taken.
    """

    neighbours: int = 200  # similar items kept for each item
    together: int = 100  # items kept that each item goes with
    rho_power: float = 0.7  # TREx a
    age_decay: float = 0.95  # TREx beta: a trip counts this much of the one after it
    widest_trip: int = 300  # larger trips say nothing about what goes together
    widest_shopper: int = 2_000  # of a shopper with more items, those bought most
    threads: int = 2


@dataclass(frozen=True, eq=False, kw_only=True)
class CollaborativeScorer:
    """Scores for every item of the shop, aligned with `item_ids`; higher is better, 0 means no evidence."""

    item_ids: Sequence[str]
    history: History
    settings: ScorerSettings
    similarity: sparse.csr_array = field(repr=False)  # [evidence item, scored item], diagonal 0
    goes_with: sparse.csr_array = field(repr=False)  # [cart item, scored item], diagonal 0
    linear: sparse.csr_array = field(repr=False)  # EASE, [evidence item, scored item]; empty in a large catalogue
    order: sparse.csr_array = field(repr=False)  # [item before, item after]; empty where order carries no signal
    repeat: NDArray[np.float64] = field(repr=False)  # TREx rho: how much an item is bought again by those who try it
    sales: History | None = field(default=None, repr=False)  # the log to count sales in, where it is a longer one
    _popular: dict[float, Scores] = field(default_factory=dict, init=False, repr=False)
    _sold: dict[tuple[float, int | None], Scores] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def fit(cls, history: History, *, settings: ScorerSettings | None = None) -> CollaborativeScorer:
        """Fit every model on the whole history; about 10 s for 1.3 million purchases on two cores."""
        settings = settings or ScorerSettings()
        return cls(
            item_ids=history.item_ids,
            history=history,
            settings=settings,
            similarity=_similarity(history, settings),
            goes_with=_goes_with(history, settings),
            linear=ease(history) if carries_order(history) else _empty(len(history.item_ids)),
            order=transitions(history) if carries_order(history) else _empty(len(history.item_ids)),
            repeat=_repeat(history, settings),
        )

    def save(self, folder: Path) -> None:
        """Write the models (npz) and settings (JSON) into a folder; the history is saved apart."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in _MATRICES:
            matrix = getattr(self, name)
            np.savez(
                folder / f"{name}.npz",
                data=matrix.data.astype(np.float32),
                indices=matrix.indices.astype(np.int32),
                indptr=matrix.indptr.astype(np.int64),
            )
        np.savez(folder / "repeat.npz", repeat=self.repeat)
        settings = {name: getattr(self.settings, name) for name in ScorerSettings.__dataclass_fields__}
        (folder / "scorer.json").write_text(json.dumps(settings, indent=1), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, *, history: History) -> CollaborativeScorer:
        """Read what `save` wrote.

        Raises:
            ShopError: when a file is missing, damaged, or of another catalogue than the history.
        """
        size = len(history.item_ids)
        try:
            settings = ScorerSettings(**json.loads((folder / "scorer.json").read_text(encoding="utf-8")))
            matrices = {name: _load_matrix(folder / f"{name}.npz", size) for name in _MATRICES}
            with np.load(folder / "repeat.npz", allow_pickle=False) as held:
                repeat = held["repeat"]
            if len(repeat) != size:
                raise ValueError(f"{len(repeat)} items where the catalogue has {size}")
        except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile, zlib.error) as error:
            raise ShopError(f"Cannot read the scorer in {folder} ({error}). Prepare the shop again.") from error
        return cls(
            item_ids=history.item_ids,
            history=history,
            settings=settings,
            similarity=matrices["similarity"],
            goes_with=matrices["goes_with"],
            linear=matrices["linear"],
            order=matrices["order"],
            repeat=repeat,
        )

    @cached_property
    def popularity(self) -> Scores:
        """Count the trips that held each item lately, as of the log's end; see `popular`."""
        return self.popular()

    def popular(self, *, at: float | None = None) -> Scores:
        """Count the trips of the last four weeks that held each item, and half its usual count in four weeks.

        On shoppers' new items of the default shop, what sold in the last weeks says more than the whole year
        (nDCG@10 .037 and .033, n = 429); the usual count keeps the order where little was sold lately. `at`
        leaves out what was bought since that day began.
        """
        day = np.inf if at is None else at // _DAY * _DAY
        if day not in self._popular:
            if len(self._popular) >= _DAYS_KEPT:
                self._popular.clear()
            self._popular[day] = self._popular_before(day)
        return self._popular[day]

    def _popular_before(self, day: float) -> Scores:
        at = None if np.isinf(day) else day
        late, ever = (self.sold(days, at=at).astype(np.float64) for days in (_LATELY_DAYS, None))
        if not ever.any():
            return ever.astype(np.float32)
        times = self._by_time[0]
        span = max(min(day, float(times[-1]) + 1.0) - float(times[0]), _LATELY_DAYS * _DAY)
        counts: Scores = (late + 0.5 * ever * (_LATELY_DAYS * _DAY / span)).astype(np.float32)
        return counts

    def sold(self, days: int | None, *, at: float | None = None) -> Scores:
        """Count the trips of the last `days` days (None: ever) that held each item, before the day of `at` began.

        Where `at` is None the days end with the log's last trip.
        """
        day = np.inf if at is None else at // _DAY * _DAY
        key = (day, days)
        if key not in self._sold:
            if len(self._sold) >= _DAYS_KEPT:
                self._sold.clear()
            size = len(self.item_ids)
            if not len((self.sales or self.history).basket_time):
                return np.zeros(size, np.float32)
            times, lines, starts = self._by_time
            end = min(day, float(times[-1]) + 1.0)
            upto = starts[np.searchsorted(times, end)]
            since = 0 if days is None else min(starts[np.searchsorted(times, end - days * _DAY)], upto)
            self._sold[key] = np.bincount(lines[since:upto], minlength=size).astype(np.float32)
        return self._sold[key]

    @cached_property
    def repeat_share(self) -> NDArray[np.float64]:
        """Give the share of each item's buyers who bought it again."""
        _, items, times = self.history.pairs()
        again = np.bincount(items, times > 1, minlength=len(self.item_ids))
        share: NDArray[np.float64] = again / np.maximum(self.history.buyers_by_row, 1)
        return share

    @cached_property
    def _by_time(self) -> tuple[NDArray[np.float64], NDArray[np.int32], NDArray[np.int64]]:
        """Give the trips' times, ascending, their items in that order, and where each trip's items start."""
        history = self.sales or self.history
        order = np.argsort(history.basket_time, kind="stable")
        sizes = history.trip_sizes[order]
        starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])
        at = np.repeat(history.basket_start[order] - starts[:-1], sizes) + np.arange(starts[-1])
        return history.basket_time[order], history.basket_items[at].astype(np.int32), starts

    # Similar items

    @cached_property
    def neighbours(self) -> Neighbours:
        """Give the shoppers of the log, to ask who buys alike."""
        return Neighbours.of(self.history)

    def profile(self, user_id: str | None, *, habits: Habits | None = None) -> dict[str, float]:
        """Weigh the items that speak for what a shopper wants: purchases by log trips, likes, views a little.

        `habits` gives the purchases as of another moment than the log's end.
        """
        rows, times = self.history.bought_rows(user_id) if habits is None else (habits.rows, habits.times)
        weights = {self.item_ids[row]: float(w) for row, w in zip(rows, np.log1p(times), strict=True)}
        for row in self.history.viewed_rows(user_id).tolist():
            weights[self.item_ids[row]] = weights.get(self.item_ids[row], 0.0) + _VIEW
        for item_id in self.history.liked(user_id):
            weights[item_id] = weights.get(item_id, 0.0) + _LIKE
        for item_id in self.history.disliked(user_id):
            weights.pop(item_id, None)
        return weights

    def for_user(self, user_id: str | None) -> Scores:
        """Score by the shopper's own history; all 0 for an unknown shopper."""
        return self.for_weights(self.profile(user_id))

    def for_items(self, item_ids: Sequence[str], weights: Sequence[float] | None = None) -> Scores:
        """Score by a few items a shopper likes or looks at; `weights` default to that of a like."""
        values = [_LIKE] * len(item_ids) if weights is None else list(weights)
        profile: dict[str, float] = {}
        for item_id, weight in zip(item_ids, values, strict=True):
            profile[item_id] = profile.get(item_id, 0.0) + weight
        return self.for_weights(profile)

    def for_weights(self, profile: Mapping[str, float]) -> Scores:
        """Score by weighted items; items that the shop does not have say nothing."""
        return _weighted(self.similarity, self.history, profile)

    def by_linear(self, profile: Mapping[str, float]) -> Scores:
        """Score by EASE from weighted items; what speaks against an item counts below 0."""
        return _weighted(self.linear, self.history, profile)

    def following(self, profile: Mapping[str, float]) -> Scores:
        """Score what is bought after the weighted items."""
        return _weighted(self.order, self.history, profile)

    def because(self, user_items: Mapping[str, float], item_id: str) -> list[tuple[str, float]]:
        """List the terms that `for_weights(user_items)` adds up for one item, strongest first."""
        row = self.history.item_rows.get(item_id)
        if row is None:
            return []
        evidence = self._evidence
        held = slice(evidence.indptr[row], evidence.indptr[row + 1])
        terms = [
            (self.item_ids[other], user_items[self.item_ids[other]] * float(value))
            for other, value in zip(evidence.indices[held], evidence.data[held], strict=True)
            if self.item_ids[other] in user_items
        ]
        return sorted(terms, key=lambda term: (-term[1], term[0]))

    @cached_property
    def _evidence(self) -> sparse.csr_array:
        return sparse.csr_array(self.similarity.T)

    def most_alike(self, rows: NDArray[np.int64]) -> Scores:
        """Give every item's similarity to the nearest of these, as a share of what is most alike to it: [items], 0..1."""
        near = sparse.csr_array(self.similarity[rows])
        out = np.zeros(len(self.item_ids), np.float32)
        most = np.zeros(len(rows), np.float32)
        held = np.repeat(np.arange(len(rows)), np.diff(near.indptr))
        np.maximum.at(most, held, near.data)
        np.maximum.at(out, near.indices, near.data / most[held])
        return out

    # Bought again

    def again(self, user_id: str | None, *, at: float | None = None) -> Scores:
        """Score what a shopper buys again: the repetition module of TREx (Li et al., 2024).

        Each trip that held the item counts `age_decay ** age`, the newest trip having age 0, times how much the
        item is bought again by everyone who tries it. `at` leaves out trips at or after this time.
        """
        items, age = self.history.lines(user_id)
        if at is not None and len(items):
            first, end = self.history.trip_rows(user_id)
            later = int((self.history.basket_time[first:end] >= at).sum())
            items, age = items[age >= later], age[age >= later] - later
        summed = np.bincount(items, self.settings.age_decay**age, minlength=len(self.item_ids))
        scores: Scores = (self.repeat * summed).astype(np.float32)
        return scores

    # Goes together

    def with_cart(self, item_ids: Sequence[str]) -> Scores:
        """Score what is bought on the same trips as the cart's items, above what their popularity explains.

        For cart item c and item i on n trips together where e are expected by chance, the term is
        log(n / (e + sqrt(e) + 1)), at least 0: a lift, damped so that a few joint trips prove nothing.
        """
        return _weighted(self.goes_with, self.history, dict.fromkeys(item_ids, 1.0))

    def with_because(self, cart: Sequence[str], item_id: str) -> list[tuple[str, float]]:
        """List the terms that `with_cart(cart)` adds up for one item, strongest first."""
        row = self.history.item_rows.get(item_id)
        terms = []
        for other in dict.fromkeys(cart):
            at = self.history.item_rows.get(other)
            if row is None or at is None:
                continue
            held = slice(self.goes_with.indptr[at], self.goes_with.indptr[at + 1])
            value = float(self.goes_with.data[held][self.goes_with.indices[held] == row].sum())
            if value > 0:
                terms.append((other, value))
        return sorted(terms, key=lambda term: (-term[1], term[0]))


def _weighted(matrix: sparse.csr_array, history: History, profile: Mapping[str, float]) -> Scores:
    """Add up the matrix rows of the profile's items, weighted."""
    if not matrix.nnz or not profile:
        return np.zeros(matrix.shape[1], np.float32)
    known = [item_id for item_id in profile if item_id in history.item_rows]
    taken = matrix[np.array([history.item_rows[item_id] for item_id in known], np.int64)]
    weights = np.repeat(np.array([profile[item_id] for item_id in known], np.float64), np.diff(taken.indptr))
    scores: Scores = np.bincount(taken.indices, taken.data * weights, minlength=matrix.shape[1]).astype(np.float32)
    return scores


def _similarity(history: History, settings: ScorerSettings) -> sparse.csr_array:
    """Fit tf-idf weighted cosine similarity of items over shoppers (`implicit`), as [evidence, scored]."""
    users, items, times = history.pairs()
    size = len(history.item_ids)
    weights = np.log1p(times).astype(np.float64)
    said_users, said_items = history.likes()
    users, items = np.concatenate([users, said_users]), np.concatenate([items, said_items])
    weights = np.concatenate([weights, np.full(len(said_users), _LIKE)])
    matrix = sparse.csr_matrix((weights, (users, items)), shape=(len(history.users), size))
    matrix = _narrowed(matrix, settings.widest_shopper)
    if matrix.nnz == 0:
        return _empty(size)
    from implicit.nearest_neighbours import TFIDFRecommender

    model: Any = TFIDFRecommender(K=min(settings.neighbours, size - 1) + 1, num_threads=settings.threads)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # implicit warns about a conversion that it makes itself
        model.fit(matrix, show_progress=False)
    # implicit keeps, for each scored item, its neighbours: row = scored item.
    return _clean(sparse.csr_array(model.similarity.T))


def _narrowed(matrix: sparse.csr_matrix, widest: int) -> sparse.csr_matrix:
    """Keep the heaviest items of shoppers with more than `widest`: pairs grow with the square."""
    for row in np.flatnonzero(np.diff(matrix.indptr) > widest):
        held = slice(matrix.indptr[row], matrix.indptr[row + 1])
        weights = matrix.data[held]
        weights[np.argsort(-weights, kind="stable")[widest:]] = 0.0
    matrix.eliminate_zeros()
    return matrix


def _goes_with(history: History, settings: ScorerSettings) -> sparse.csr_array:
    """Count trips that hold two items and keep each item's strongest damped lifts."""
    size, trips = len(history.item_ids), len(history.basket_time)
    lengths = np.diff(history.basket_start)
    held = sparse.csr_array(
        (np.ones(len(history.basket_items)), history.basket_items, history.basket_start),
        shape=(trips, size),
    )
    usable = lengths <= settings.widest_trip
    held = sparse.csr_array(held[usable])
    total = max(int(usable.sum()), 1)
    counts = np.asarray(held.sum(axis=0)).ravel().astype(np.float64)
    by_item = sparse.csr_array(held.T)
    blocks = []
    for start in range(0, size, 500):
        block = sparse.csr_array(by_item[start : start + 500] @ held)
        rows = np.repeat(np.arange(start, start + block.shape[0]), np.diff(block.indptr))
        expected = counts[rows] * counts[block.indices] / total
        lift = np.log(np.maximum(block.data, 1e-9) / (expected + np.sqrt(expected) + 1.0))
        lift[(rows == block.indices) | (lift < 0)] = 0.0
        blocks.append(
            strongest(sparse.csr_array((lift, block.indices, block.indptr), shape=block.shape), settings.together)
        )
    if not blocks:
        return _empty(size)
    return _clean(sparse.csr_array(sparse.vstack(blocks)))


def _empty(size: int) -> sparse.csr_array:
    matrix: sparse.csr_array = sparse.csr_array(sparse.coo_array((size, size), dtype=np.float32))
    return matrix


def _clean(matrix: sparse.csr_array) -> sparse.csr_array:
    """Drop the diagonal and zeros."""
    rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    matrix.data[rows == matrix.indices] = 0.0
    matrix.eliminate_zeros()
    matrix.sort_indices()
    cleaned: sparse.csr_array = matrix.astype(np.float32)
    return cleaned


def _repeat(history: History, settings: ScorerSettings) -> NDArray[np.float64]:
    """Compute TREx's rho for every item: how far its buyers come back for it."""
    _, items, times = history.pairs()
    size = len(history.item_ids)
    repeats = np.where(times >= 2, np.maximum(times - 1.0, 0.0) ** settings.rho_power, 0.0)
    buyers = history.buyers_by_row
    rho = np.bincount(items, repeats, minlength=size) / np.maximum(buyers, 1)
    mean = float(rho.mean()) if size else 0.0
    return rho + mean / (buyers + 1)


def _load_matrix(path: Path, size: int) -> sparse.csr_array:
    with np.load(path, allow_pickle=False) as held:
        parts = (held["data"], held["indices"], held["indptr"])
    if len(parts[2]) != size + 1:
        raise ValueError(f"{path.name} has {len(parts[2]) - 1} items where the catalogue has {size}")
    return sparse.csr_array(parts, shape=(size, size))
