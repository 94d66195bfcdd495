"""What speaks for an item, for one shopper and wish: the parts' values before weighting, and the facts behind them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from retrieval.deals import Deals, deal_facts
from retrieval.habit import Floats, Habits, habits
from retrieval.history import History
from retrieval.records import Candidate, Fact
from retrieval.scorer import CollaborativeScorer
from retrieval.shelf import Shelf
from retrieval.vocabulary import FILLER
from retrieval.wish import contains, stem

if TYPE_CHECKING:
    from retrieval.ranking import RankContext

# Scores of the models become comparable by a fixed curve, log(1 + score / START) / log(1 + FULL / START): about 0..1,
# and a score that loses a term always falls, whatever the other items do.
# A lift is a logarithm already, so its curve is nearly straight.
START = {"collaborative": 0.05, "bought_before": 0.1, "goes_with": 5.0}
FULL = {"collaborative": 10.0, "bought_before": 10.0, "goes_with": 5.0}
# What is disliked sinks below everything: the other parts of a score add up to no more than 1.5.
LIKED, DISLIKED, KIND_DISLIKED, ALIKE_DISLIKED = 0.3, -2.0, -0.2, -0.1
LAST_TRIPS = 10
FADING = 0.9  # what a purchase counts of one a trip later
SAID_NOW = 5.0  # a like in this talk weighs as much as a purchase on 150 trips: log1p(150) = 5
# Which past item is told as the reason: one of the terms that weigh most, ...
TERMS_LOOKED_AT = 12
LEAST_TOGETHER = 10  # ... on this many trips together, ...
LEAST_LIFT = 4.0  # ... this many times more often than by chance, ...
SMALL_LOG = 2_000  # ... save where the log has fewer trips than this, and such counts prove nothing.
MOST_WORDS = 6
_PRICE_WISHES = ("max_price", "min_price", "below_price", "above_price")
_TIER = "brand_tier"


@dataclass(frozen=True, eq=False, kw_only=True)
class Evidence:
    """One request's view of every item; arrays are aligned with the shelf's rows."""

    context: RankContext
    shelf: Shelf
    history: History
    scorer: CollaborativeScorer
    deals: Deals | None = None

    @cached_property
    def habits(self) -> Habits:
        """Give what the shopper's own trips say, as of the request."""
        return habits(self.history, self.context.user_id, at=self.context.at)

    @cached_property
    def bought(self) -> NDArray[np.bool_]:
        """Mark the items that the shopper had bought by the time of the request."""
        out = np.zeros(len(self.shelf.items), bool)
        out[self.habits.rows] = True
        return out

    @cached_property
    def profile(self) -> dict[str, float]:
        """Weigh the items that speak for what the shopper wants: the log's, then this talk's likes and dislikes."""
        profile = self.scorer.profile(self.context.user_id, habits=self.habits)
        for item_id in self.context.liked:
            profile[item_id] = profile.get(item_id, 0.0) + SAID_NOW
        for item_id in self.disliked:
            profile.pop(item_id, None)
        return profile

    @cached_property
    def liked(self) -> frozenset[str]:
        """Give what the shopper likes, in the log or in this talk; the talk has the last word."""
        return frozenset(self.history.liked(self.context.user_id)) - set(self.context.disliked) | set(
            self.context.liked
        )

    @cached_property
    def disliked(self) -> frozenset[str]:
        """Give what the shopper dislikes, in the log or in this talk; the talk has the last word."""
        said = frozenset(self.history.disliked(self.context.user_id)) | set(self.context.disliked)
        return said - set(self.context.liked)

    @cached_property
    def anchors(self) -> tuple[str, ...]:
        """Give the items that others should go with: those asked about, else the cart."""
        return self.context.named if self.context.task == "goes_with" and self.context.named else self.context.cart

    @cached_property
    def collaborative(self) -> NDArray[np.float32]:
        """Score by what the shopper bought and likes."""
        return self.scorer.for_weights(self.profile)

    @cached_property
    def again(self) -> NDArray[np.float32]:
        """Score what the shopper buys again."""
        return self.scorer.again(self.context.user_id, at=self.context.at)

    @cached_property
    def shoppers(self) -> NDArray[np.float32]:
        """Score by what the shoppers who buy alike bought, 0..1."""
        return self.scorer.neighbours.score(*self.held, but=self.context.user_id)

    @cached_property
    def lately(self) -> NDArray[np.float32]:
        """Score as `collaborative` does, by what was bought lately most of all."""
        return self.scorer.for_weights(self._fading)

    @cached_property
    def linear(self) -> NDArray[np.float32]:
        """Score by EASE, from what was bought lately most of all; 0 in a large catalogue."""
        return self.scorer.by_linear(self._fading)

    @cached_property
    def follows(self) -> NDArray[np.float32]:
        """Score what follows the shopper's last trips; 0 where order carries no signal."""
        return self.scorer.following(self._fading)

    @cached_property
    def kind_habit(self) -> Floats:
        """Score items of the kinds that the shopper buys: by how often, and how popular the item is."""
        kinds = self.shelf.kind[self.habits.line_item]
        often = np.bincount(kinds, minlength=len(self.shelf.kinds))[self.shelf.kind]
        scores: Floats = np.log1p(often) * np.log1p(self.popularity)
        return scores

    @cached_property
    def deal_pull(self) -> Floats:
        """Score what is on offer, by how widely and how popular it is."""
        pull: Floats = np.maximum(self.promotion, self.coupon) * np.log1p(self.popularity)
        return pull

    @cached_property
    def _fading(self) -> dict[str, float]:
        """Weigh the profile by how many trips ago an item was bought last."""
        since = dict(zip(self.habits.rows.tolist(), self.habits.trips_since.tolist(), strict=True))
        rows = self.history.item_rows
        return {
            item_id: weight * FADING ** since.get(rows.get(item_id, -1), 0) for item_id, weight in self.profile.items()
        }

    @cached_property
    def held(self) -> tuple[NDArray[np.int64], Floats]:
        """Give the profile as rows and weights."""
        rows = self.history.item_rows
        known = [(rows[item_id], weight) for item_id, weight in self.profile.items() if item_id in rows]
        return np.array([row for row, _ in known], np.int64), np.array([weight for _, weight in known], np.float64)

    @cached_property
    def promotion(self) -> NDArray[np.float32]:
        """Give how widely each item is on promotion, 0..1."""
        if self.deals is None:
            return np.zeros(len(self.shelf.items), np.float32)
        return self.deals.strength(self.context.at, self.context.user_id)

    @cached_property
    def usual_promotion(self) -> NDArray[np.float32]:
        """Give how widely each item is on promotion on average."""
        return np.zeros(len(self.shelf.items), np.float32) if self.deals is None else self.deals.usual

    @cached_property
    def coupon(self) -> NDArray[np.bool_]:
        """Mark what the shopper has a coupon for."""
        if self.deals is None:
            return np.zeros(len(self.shelf.items), bool)
        return self.deals.coupons(self.context.at, self.context.user_id)

    @cached_property
    def log_days(self) -> float:
        """Count the days from the log's first trip to the request."""
        end = self.history.now if self.context.at is None else self.context.at
        return max(end - self.history.began, 0.0) / 86_400.0

    @cached_property
    def goes_with(self) -> NDArray[np.float32]:
        """Score what is bought together with the anchors."""
        return self.scorer.with_cart(self.anchors)

    @cached_property
    def popularity(self) -> NDArray[np.float32]:
        """Score what many shoppers buy, lately most of all."""
        return self.scorer.popularity if self.context.at is None else self.scorer.popular(at=self.context.at)

    @cached_property
    def reach(self) -> Floats:
        """Give the popularity, and for what nobody bought yet half that of its kind: an item must be shown to be bought."""
        popular = self.popularity.astype(np.float64)
        fresh = self.history.buyers_by_row == 0
        if not fresh.any():
            return popular
        kind, size = self.shelf.kind, len(self.shelf.kinds)
        sold = np.bincount(kind[~fresh], minlength=size)
        mean = np.bincount(kind[~fresh], popular[~fresh], minlength=size) / np.maximum(sold, 1)
        return np.where(fresh, 0.5 * mean[kind], popular)

    @cached_property
    def usual_price(self) -> Floats:
        """Give, for each kind, what the shopper usually pays: the geometric mean over trips; NaN where unknown."""
        rows, times = self.habits.rows, self.habits.times
        price = self.shelf.price[rows]
        known = np.isfinite(price) & (price > 0)
        rows, times, price = rows[known], times[known].astype(np.float64), price[known]
        kinds = self.shelf.kind[rows]
        size = len(self.shelf.kinds)
        weight = np.bincount(kinds, times, minlength=size)
        with np.errstate(invalid="ignore", divide="ignore"):
            usual: Floats = np.exp(np.bincount(kinds, times * np.log(price), minlength=size) / weight)
        return usual

    @cached_property
    def taste(self) -> Floats:
        """Score liked items up, disliked ones and what is near them down."""
        out = np.zeros(len(self.shelf.items))
        for item_id in self.liked:
            if item_id in self.shelf.rows:
                out[self.shelf.rows[item_id]] = LIKED
        rows = np.array([self.shelf.rows[item_id] for item_id in self.disliked if item_id in self.shelf.rows], np.int64)
        if len(rows):
            near = np.where(np.isin(self.shelf.kind, self.shelf.kind[rows]), KIND_DISLIKED, 0.0)
            out = np.minimum(out, near + ALIKE_DISLIKED * self.scorer.most_alike(rows))
            out[rows] = DISLIKED
        return out

    @property
    def bounded(self) -> bool:
        """Say whether the wish bounds the price."""
        return any(getattr(self.context.wish, name) is not None for name in _PRICE_WISHES)

    def price_fit(self, rows: NDArray[np.int64]) -> Floats:
        """Score how far a price is from what the shopper usually pays for that kind, 0 to -1; plus 1 within a wish.

        Where nothing is known of the shopper or the price, it is not far: 0.
        """
        price = self.shelf.price[rows]
        usual = self.usual_price[self.shelf.kind[rows]]
        with np.errstate(invalid="ignore", divide="ignore"):
            near = np.exp(-np.abs(np.log(price / usual)))
        fit = np.where(np.isfinite(near), near - 1.0, 0.0)
        return fit + np.isfinite(price) if self.bounded else fit

    def features(self, rows: NDArray[np.int64], candidates: Sequence[Candidate]) -> dict[str, Floats]:
        """Give every part's value before weighting, for the candidates at these rows."""
        match = [c.sources.get("match", 0.0) for c in candidates]
        if self.context.task == "similar":
            match = [c.sources.get("similar", held) for c, held in zip(candidates, match, strict=True)]
        return {
            "match": np.nan_to_num(np.array(match, np.float64)),
            "collaborative": _curve("collaborative", self.collaborative[rows]),
            "bought_before": _curve("bought_before", self.again[rows]),
            "goes_with": _curve("goes_with", self.goes_with[rows]),
            "popularity": np.log1p(self.reach[rows]) / np.log1p(max(self.popularity.max(initial=0), 1)),
            "price_fit": self.price_fit(rows),
            "deal": np.maximum(self.promotion[rows], self.coupon[rows]).astype(np.float64),
            "taste": self.taste[rows],
        }


def gather(
    context: RankContext,
    *,
    shelf: Shelf,
    history: History,
    scorer: CollaborativeScorer,
    deals: Deals | None = None,
) -> Evidence:
    """Prepare the evidence of one request; each model is asked when it is first needed."""
    return Evidence(context=context, shelf=shelf, history=history, scorer=scorer, deals=deals)


def _curve(part: str, scores: NDArray[np.float32]) -> Floats:
    out: Floats = np.log1p(scores.astype(np.float64) / START[part]) / np.log1p(FULL[part] / START[part])
    return out


def part_facts(part: str, item_id: str, *, counts: bool, evidence: Evidence) -> tuple[Fact, ...]:
    """List the facts behind one part of one item's score, strongest first.

    `counts` says whether the part adds enough to the score to be a reason. What the shopper bought, likes and
    wished for is told all the same.
    """
    return tuple(_FACTS[part](item_id, counts, evidence))


def _match(item_id: str, counts: bool, evidence: Evidence) -> list[Fact]:
    wish, item = evidence.context.wish, evidence.shelf.of[item_id]
    out = []
    asked = dict.fromkeys(re.findall(r"[a-z0-9%&']+", wish.query.lower()))
    words = [word for word in asked if stem(word) not in FILLER and not word.isdigit() and contains(item.text, word)]
    told = [phrase.lower() for phrase in wish.text_all if contains(item.text, phrase)]
    words += [phrase for phrase in told if not set(phrase.split()) <= set(words)]  # "whole bean" of "whole bean coffee"
    if words:
        out.append(Fact(kind="matches", words=tuple(words[:MOST_WORDS])))
    for name in wish.attributes:
        held = item.attributes.get(name)
        if held is None:
            continue
        said = ", ".join(held) if isinstance(held, tuple) else str(held)
        out.append(
            Fact(kind=name, words=(said,)) if name in (_TIER, "size") else Fact(kind="attribute", words=(name, said))
        )
    if wish.brands and item.brand:
        out.append(Fact(kind="attribute", words=("brand", item.brand)))
    return out


def _collaborative(item_id: str, counts: bool, evidence: Evidence) -> list[Fact]:
    """Name the past item that tells most, of those that weigh most: bought with this one far more often than by chance.

    Everybody's milk adds to every score and explains none, and what a shopper drinks or smokes is not for a
    card, so such terms count in the sum but are not the reason that is told.
    """
    terms = evidence.scorer.because(evidence.profile, item_id) if counts else []
    history = evidence.history
    trips, own = len(history.basket_time), len(history.trips_with(item_id))
    others = [other for other, _ in terms[:TERMS_LOOKED_AT] if not evidence.shelf.of[other].age_restricted]
    for other in others:
        if trips < SMALL_LOG or other in evidence.liked:
            return [_named("because_of", other, evidence)]
    telling: list[tuple[float, str]] = []
    for other, together in zip(others, history.together_with(item_id, others), strict=True):
        lift = together * trips / max(own * len(history.trips_with(other)), 1)
        if together >= LEAST_TOGETHER and lift >= LEAST_LIFT:
            telling.append((lift, other))
    return [_named("because_of", max(telling)[1], evidence)] if telling else []


def _bought_before(item_id: str, counts: bool, evidence: Evidence) -> list[Fact]:
    user_id, history = evidence.context.user_id, evidence.history
    times = history.times(user_id, item_id)
    if not times:
        new = evidence.context.task == "new" or evidence.context.wish.bought == "new"
        return [Fact(kind="not_bought")] if new and user_id in history.user_rows else []
    count, of = history.trips(user_id, item_id, last=LAST_TRIPS)
    told = Fact(kind="bought_times", count=times)
    return [Fact(kind="bought_trips", count=count, of=of), told] if count else [told]


def _goes_with(item_id: str, counts: bool, evidence: Evidence) -> list[Fact]:
    terms = evidence.scorer.with_because(evidence.anchors, item_id) if counts else []
    return [
        _named("goes_with", other, evidence, count=evidence.history.together(item_id, other)) for other, _ in terms[:1]
    ]


def _popularity(item_id: str, counts: bool, evidence: Evidence) -> list[Fact]:
    row = evidence.shelf.rows[item_id]
    if not counts or not evidence.shelf.popular[row]:
        return []
    return [Fact(kind="popular", count=evidence.history.buyers(item_id))]


def _price_fit(item_id: str, counts: bool, evidence: Evidence) -> list[Fact]:
    wish, item = evidence.context.wish, evidence.shelf.of[item_id]
    if item.price is None or not np.isfinite(item.price):
        return []
    out = []
    if wish.max_price is not None and item.price <= wish.max_price:
        out.append(Fact(kind="under_price", amount=round(wish.max_price - item.price, 2), limit=wish.max_price))
    if wish.min_price is not None and item.price >= wish.min_price:
        out.append(Fact(kind="over_price", amount=round(item.price - wish.min_price, 2), limit=wish.min_price))
    if evidence.context.task == "similar" and evidence.context.named:
        other = evidence.shelf.of.get(evidence.context.named[0])
        apart = round(other.price - item.price, 2) if other is not None and other.price is not None else 0.0
        if other is not None and apart and np.isfinite(apart):
            kind = "cheaper" if apart > 0 else "dearer"
            out.append(Fact(kind=kind, amount=abs(apart), words=(other.title,), item_id=other.item_id))
    return out


def _kind(item_id: str, counts: bool, evidence: Evidence) -> list[Fact]:
    """Name what the shopper buys most of the same kind."""
    if not counts:
        return []
    shelf, habits = evidence.shelf, evidence.habits
    row = shelf.rows[item_id]
    same = np.flatnonzero((shelf.kind[habits.rows] == shelf.kind[row]) & (habits.rows != row))
    if not len(same):
        return []
    other = shelf.items[int(habits.rows[same[np.argmax(habits.times[same])]])]
    return [] if other.age_restricted else [_named("because_of", other.item_id, evidence)]


def _deal(item_id: str, counts: bool, evidence: Evidence) -> list[Fact]:
    if evidence.deals is None:
        return []
    return deal_facts(evidence.deals, item_id, evidence.context.at, evidence.context.user_id)


def _taste(item_id: str, counts: bool, evidence: Evidence) -> list[Fact]:
    return [Fact(kind="liked")] if item_id in evidence.liked else []


def _named(kind: str, item_id: str, evidence: Evidence, *, count: int | None = None) -> Fact:
    return Fact(kind=kind, count=count, words=(evidence.shelf.of[item_id].title,), item_id=item_id)


_FACTS: Mapping[str, Callable[[str, bool, Evidence], list[Fact]]] = {
    "match": _match,
    "collaborative": _collaborative,
    "bought_before": _bought_before,
    "kind": _kind,
    "goes_with": _goes_with,
    "popularity": _popularity,
    "price_fit": _price_fit,
    "deal": _deal,
    "taste": _taste,
}
