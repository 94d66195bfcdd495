"""What a ranking is asked, from a shop's own log: each shopper's newest trip is held out and asked for."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from retrieval.history import History, Trip
from retrieval.records import Item
from retrieval.shelf import kind_of

Mask = NDArray[np.bool_]
Rows = NDArray[np.int64]
Round = Literal["known", "cold_shopper", "cold_item"]

TASKS = ("again", "new", "next_basket", "goes_with", "search", "cold_shopper", "cold_item")
FEWEST_TRIPS = 5  # a shopper with fewer keeps them all and is asked nothing
FEWEST_IN_BASKET = 4  # of a basket that is cut into a cart and a rest
COLD_SHOPPERS = 0.2  # of all shoppers, left out of the log
COLD_ITEMS = 0.05  # of all items, their purchases left out of the log
LIKES = (0, 1, 3, 5)  # how many items are known of a cold shopper
LIKED = 3  # of these, what the task's figures are of; the others are slices


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One thing the ranking is asked, and the rows (of `History.item_ids`) that were then bought.

    `ask_id` is unique in its task (the TREC topic), `at` in seconds since 1970. `user_id` is None where nobody knows
    the shopper, `cart` is of goes_with, `liked` of cold_shopper (all that is known), `words` of search and cold_item.
    """

    ask_id: str
    task: str
    user_id: str | None
    at: float
    targets: tuple[int, ...]
    cart: tuple[int, ...] = ()
    liked: tuple[int, ...] = ()
    words: str = ""


class System(Protocol):
    """A ranking that can be asked; `tasks` are those that it can answer."""

    name: str
    tasks: frozenset[str]

    def fit(self, past: History, *, items: Sequence[Item]) -> None:
        """Learn from the past; the items are in the order of `past.item_ids`."""
        ...

    def rank(self, ask: Ask, *, allowed: Mask, most: int) -> Rows:
        """Give at most `most` rows that are allowed, best first."""
        ...


@dataclass(frozen=True, eq=False, kw_only=True)
class Exam:
    """Asks that one fit can answer: what a system may learn from, and what it is then asked."""

    round: Round
    past: History
    asks: tuple[Ask, ...]

    def of(self, task: str) -> tuple[Ask, ...]:
        """Give the asks of one task."""
        return tuple(ask for ask in self.asks if ask.task == task)


class Tunable(System, Protocol):
    """A ranking whose settings can be chosen on an earlier time; it is then fitted on the later past with them."""

    def tune(self, validation: Exam, *, items: Sequence[Item]) -> Mapping[str, Any]:
        """Fit on `validation.past`, ask `validation.asks` (of the system's own tasks), keep the best settings.

        Returns:
            What was tried and chosen, for the record (JSON).
        """
        ...


def best(scores: NDArray[np.floating], allowed: Mask, most: int) -> Rows:
    """Give the allowed rows with a finite score, best first; ties go by row, which says nothing of purchases.

    >>> best(np.array([0.5, 2.0, -np.inf, 0.5, 9.0]), np.array([True, True, True, True, False]), 3).tolist()
    [1, 0, 3]
    """
    rows = np.flatnonzero(allowed & np.isfinite(scores))
    held = scores[rows]
    if len(rows) > most > 0:
        kept = held >= np.partition(held, -most)[-most]
        rows, held = rows[kept], held[kept]
    return rows[np.lexsort((rows, -held))][:most].astype(np.int64)


def allowed(ask: Ask, *, past: History) -> Mask:
    """Mark the rows that may answer an ask: [items].

    `again`: bought before; `new`: never bought; `goes_with`: not in the cart; `cold_shopper`: not liked; else all.
    Age-restricted items stay in: whoever bought one may buy it again.
    """
    size = len(past.item_ids)
    if ask.task in ("again", "new"):
        bought = np.zeros(size, bool)
        bought[past.bought_rows(ask.user_id)[0]] = True
        return bought if ask.task == "again" else ~bought
    out = np.ones(size, bool)
    out[list(ask.cart + ask.liked)] = False
    return out


def draw(
    history: History,
    *,
    items: Sequence[Item],
    tasks: Collection[str] = TASKS,
    shoppers: int | None = None,
    seed: int = 0,
) -> list[Exam]:
    """Hold out each shopper's newest trip and ask for it; one exam for each fit, none without asks.

    For validation, draw from an exam's own past: `draw(exam.past, …)` asks for the trips before. What a shopper
    viewed, liked or disliked since the trip held out began is held out with it.

    Args:
        history: The shop's log.
        items: The shop's items, in the order of `history.item_ids`.
        tasks: Which of `TASKS`.
        shoppers: At most so many of the shoppers with `FEWEST_TRIPS` trips or more, chosen by the seed; by default all.
        seed: Chooses carts, words, likes, and who and what is cold. A shopper's asks do not hang on who else is asked.
    """
    past, held = history.without_last(fewest=FEWEST_TRIPS)
    trips = [trip for trip in held if trip.item_ids]
    past = _without_events_since(past, {trip.user_id: trip.time for trip in trips})
    words = _Words(items=items, seed=seed)
    asked = _some(trips, shoppers, seed=seed)
    known = [ask for trip in asked for ask in _known(trip, past=past, words=words, tasks=tasks, seed=seed)]
    exams = [Exam(round="known", past=past, asks=tuple(known))]
    if "cold_shopper" in tasks:
        exams.append(_cold_shoppers(past, trips=trips, shoppers=shoppers, seed=seed))
    if "cold_item" in tasks:
        exams.append(_cold_items(past, trips=trips, asked=asked, words=words, seed=seed))
    return [exam for exam in exams if exam.asks]


def _known(trip: Trip, *, past: History, words: _Words, tasks: Collection[str], seed: int) -> list[Ask]:
    """Ask everything that a trip of a known shopper tells."""
    rows = tuple(past.item_rows[item_id] for item_id in trip.item_ids)
    before = set(past.bought_rows(trip.user_id)[0].tolist())
    plain = Ask(ask_id=trip.user_id, task="next_basket", user_id=trip.user_id, at=trip.time, targets=rows)
    found = [
        plain,
        replace(plain, task="again", targets=tuple(row for row in rows if row in before)),
        replace(plain, task="new", targets=tuple(row for row in rows if row not in before)),
    ]
    if len(rows) >= FEWEST_IN_BASKET:
        order = _rng(seed, "goes_with", trip.user_id).permutation(len(rows))
        cart, rest = (tuple(rows[at] for at in sorted(part)) for part in np.split(order, [len(rows) // 2]))
        found.append(replace(plain, task="goes_with", cart=cart, targets=rest))
    row = rows[int(_rng(seed, "search", trip.user_id).integers(len(rows)))]
    found.append(replace(plain, task="search", targets=(row,), words=words.of(row, trip.user_id)))
    return [ask for ask in found if ask.task in tasks and ask.targets]


def _cold_shoppers(past: History, *, trips: Sequence[Trip], shoppers: int | None, seed: int) -> Exam:
    """Leave some shoppers out of the log altogether; a few items of their earlier trips are all that is known."""
    order = _rng(seed, "cold_shopper").permutation(len(past.users))
    cold = {past.users[at] for at in order[: _share(len(past.users), COLD_SHOPPERS)]}
    asks = []
    for trip in _some([trip for trip in trips if trip.user_id in cold], shoppers, seed=seed):
        earlier = past.bought_rows(trip.user_id)[0]
        earlier = earlier[_rng(seed, "likes", trip.user_id).permutation(len(earlier))]
        for count in LIKES:
            liked = tuple(earlier[:count].tolist())
            rows = (past.item_rows[item_id] for item_id in trip.item_ids)
            targets = tuple(row for row in rows if row not in liked)
            if len(liked) == count and targets:
                asks.append(
                    Ask(
                        ask_id=f"{trip.user_id}.{count}",
                        task="cold_shopper",
                        user_id=None,
                        at=trip.time,
                        targets=targets,
                        liked=liked,
                    )
                )
    users = np.array([user_id not in cold for user_id in past.users], bool)
    kept = _kept(past, users=users, items=np.ones(len(past.item_ids), bool))
    return Exam(round="cold_shopper", past=kept, asks=tuple(asks))


def _cold_items(past: History, *, trips: Sequence[Trip], asked: Sequence[Trip], words: _Words, seed: int) -> Exam:
    """Take all purchases from some items, and ask for those that were bought, in words."""
    size = len(past.item_ids)
    cold = np.zeros(size, bool)
    cold[_rng(seed, "cold_item").permutation(size)[: _share(size, COLD_ITEMS)]] = True
    asks = []
    for trip in asked:
        rows = [row for item_id in trip.item_ids if cold[row := past.item_rows[item_id]]]
        if rows:
            row = rows[int(_rng(seed, "cold_item", trip.user_id).integers(len(rows)))]
            asks.append(
                Ask(
                    ask_id=trip.user_id,
                    task="cold_item",
                    user_id=trip.user_id,
                    at=trip.time,
                    targets=(row,),
                    words=words.of(row, trip.user_id),
                )
            )
    kept = _kept(past, users=np.ones(len(past.users), bool), items=~cold)
    return Exam(round="cold_item", past=kept, asks=tuple(asks))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Words:
    """Words for an item as a shopper would say them: its kind, and for half of them a size or brand tier it shows."""

    items: Sequence[Item]
    seed: int

    def of(self, row: int, user_id: str) -> str:
        """Word the wish of one shopper for one item."""
        item = self.items[row]
        rng = _rng(self.seed, "words", user_id)
        said = {str(item.attributes.get(name, "")).lower() for name in ("shown_size", "size")} | {item.brand.lower()}
        shown = [piece for piece in item.title.lower().split(", ")[1:] if piece and piece in said]
        more = bool(rng.random() < 0.5)
        return f"{kind_of(item)}, {shown[int(rng.integers(len(shown)))]}" if more and shown else kind_of(item)


def _some(trips: Sequence[Trip], most: int | None, *, seed: int) -> Sequence[Trip]:
    """Choose some of the trips, in the order they have."""
    if most is None or most >= len(trips):
        return trips
    return [trips[at] for at in sorted(_rng(seed, "shoppers").permutation(len(trips))[:most])]


def _share(size: int, share: float) -> int:
    return max(1, round(size * share)) if size else 0


def _rng(seed: int, *names: str) -> np.random.Generator:
    """Make the random numbers of one choice, so that no choice hangs on how many were made before it."""
    return np.random.default_rng([seed, zlib.crc32("\n".join(names).encode("utf-8"))])


def _without_events_since(history: History, since: Mapping[str, float]) -> History:
    """Leave out what a shopper viewed, liked and disliked at or after a time."""
    if not len(history.event_item):
        return history
    ends = np.array([since.get(user_id, np.inf) for user_id in history.users])
    user = np.repeat(np.arange(len(history.users)), np.diff(history.user_events))
    return replace(history, **_events(history, history.event_time < ends[user], user))


def _kept(history: History, *, users: Mask, items: Mask) -> History:
    """Leave out everything that some users did and everything done with some items; trips that held nothing else go too."""
    sizes = np.diff(history.user_baskets)
    user_of_trip = np.repeat(np.arange(len(history.users)), sizes)
    trip_of_line = np.repeat(np.arange(len(history.basket_time)), history.trip_sizes)
    line = users[user_of_trip[trip_of_line]] & items[history.basket_items]
    lengths = np.bincount(trip_of_line[line], minlength=len(history.basket_time))
    trip = lengths > 0
    user_of_event = np.repeat(np.arange(len(history.users)), np.diff(history.user_events))
    return replace(
        history,
        user_baskets=_starts(np.bincount(user_of_trip[trip], minlength=len(history.users))),
        basket_time=history.basket_time[trip],
        basket_start=_starts(lengths[trip]),
        basket_items=history.basket_items[line],
        **_events(history, users[user_of_event] & items[history.event_item], user_of_event),
    )


def _events(history: History, keep: Mask, user: Rows) -> dict[str, Any]:
    return {
        "user_events": _starts(np.bincount(user[keep], minlength=len(history.users))),
        "event_item": history.event_item[keep],
        "event_time": history.event_time[keep],
        "event_kind": history.event_kind[keep],
    }


def _starts(sizes: Rows) -> Rows:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes, dtype=np.int64)])


__all__ = ["LIKED", "LIKES", "TASKS", "Ask", "Exam", "Mask", "Rows", "System", "Tunable", "allowed", "best", "draw"]
