"""Who bought what, when and together: the interaction log as compact arrays, with true counts."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from retrieval.records import EventName, ShopError

if TYPE_CHECKING:
    import pandas as pd

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

_KINDS: tuple[EventName, ...] = ("view", "like", "dislike")
_VIEW, _LIKE, _DISLIKE = range(len(_KINDS))
_BOUGHT = len(_KINDS)
_DAY = 86_400.0
_DEARER = 32  # looking a trip up in a list takes so many times as long as in a mask: 65 and 2 ns
_SAVED = (
    "user_baskets",
    "basket_time",
    "basket_start",
    "basket_items",
    "user_events",
    "event_item",
    "event_time",
    "event_kind",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trip:
    """One trip of one shopper, its items in the order of the log."""

    user_id: str
    time: float
    item_ids: tuple[str, ...]


@dataclass(frozen=True, eq=False, kw_only=True)
class History:
    """The log of a shop, by shopper, trip and item.

    A trip (basket) is what a shopper bought under one `basket_id`, or on one day where the shop has none; an
    item counts once a trip, whatever the quantity. A user's trips are rows
    `user_baskets[u]:user_baskets[u + 1]`, oldest first; a trip's items are
    `basket_items[basket_start[b]:basket_start[b + 1]]`, as rows of `item_ids`. Views, likes and dislikes are kept
    apart in the `event_` arrays, oldest first; of likes and dislikes of one item the shopper's last counts. So a
    row that stands in the log twice changes nothing.
    """

    users: Sequence[str]
    item_ids: Sequence[str]
    user_baskets: Ints
    basket_time: Floats
    basket_start: Ints
    basket_items: Ints
    user_events: Ints
    event_item: Ints
    event_time: Floats
    event_kind: Ints

    user_rows: Mapping[str, int] = field(init=False)
    item_rows: Mapping[str, int] = field(init=False)
    buyers_by_row: Ints = field(init=False)
    _pairs_start: Ints = field(init=False)  # the (user, item) pairs of user u: rows [u]:[u + 1] of the next two
    _pairs_item: Ints = field(init=False)
    _pairs_times: Ints = field(init=False)
    _postings_start: Ints = field(init=False)  # the trips that held item i, ascending
    _postings: Ints = field(init=False)
    _said_start: Ints = field(init=False)  # the last words of user u on items: rows [u]:[u + 1] of the next two
    _said_item: Ints = field(init=False)
    _said_kind: Ints = field(init=False)

    def __post_init__(self) -> None:
        put = object.__setattr__
        items = len(self.item_ids)
        put(self, "user_rows", {user_id: row for row, user_id in enumerate(self.users)})
        put(self, "item_rows", {item_id: row for row, item_id in enumerate(self.item_ids)})
        basket_of_line = np.repeat(np.arange(len(self.basket_time)), self.trip_sizes)
        user_of_line = np.repeat(np.arange(len(self.users)), np.diff(self.user_baskets))[basket_of_line]
        pairs, times = np.unique(user_of_line * max(items, 1) + self.basket_items, return_counts=True)
        put(self, "_pairs_item", pairs % max(items, 1))
        put(self, "_pairs_times", times.astype(np.int64))
        put(self, "_pairs_start", np.searchsorted(pairs, np.arange(len(self.users) + 1) * max(items, 1)))
        put(self, "buyers_by_row", np.bincount(self._pairs_item, minlength=items).astype(np.int64))
        by_item = np.argsort(self.basket_items, kind="stable")
        put(self, "_postings", basket_of_line[by_item])
        put(self, "_postings_start", np.searchsorted(self.basket_items[by_item], np.arange(items + 1)))
        said = np.flatnonzero(self.event_kind != _VIEW)
        user_of_said = np.repeat(np.arange(len(self.users)), np.diff(self.user_events))[said]
        _, last = np.unique((user_of_said * max(items, 1) + self.event_item[said])[::-1], return_index=True)
        last = np.sort(len(said) - 1 - last)  # by user, then when it was said
        put(self, "_said_item", self.event_item[said[last]])
        put(self, "_said_kind", self.event_kind[said[last]])
        put(self, "_said_start", np.searchsorted(user_of_said[last], np.arange(len(self.users) + 1)))

    @classmethod
    def from_interactions(
        cls, interactions: pd.DataFrame, *, item_ids: Sequence[str], until: float | None = None
    ) -> History:
        """Build the arrays from the log's table (the columns of `formats.md` §1).

        Args:
            interactions: One event a row, in any order; rows of items not in `item_ids`, or of nobody, are left out.
            item_ids: The catalogue's items, in its order.
            until: Leave out what happened at or after this time, in seconds since 1970.
        """
        table = interactions if until is None else interactions[interactions["timestamp"] < until]
        time = table["timestamp"].to_numpy(dtype=np.float64)
        order = np.argsort(time, kind="stable")  # an unstable sort changes what the last trip was
        rows = {item_id: row for row, item_id in enumerate(item_ids)}
        codes, names = _coded(table, "item_id")
        item = np.array([*(rows.get(name, -1) for name in names), -1], np.int64)[codes][order]
        codes, names = _coded(table, "user_id")
        usable = (item >= 0) & (codes[order] >= 0)
        order, item = order[usable], item[usable]
        time = time[order]
        user, seen = _as_they_come(codes[order])
        users = tuple(names[code] for code in seen)
        codes, names = _coded(table, "event")
        # A row that names no event is a purchase; one of a kind that nobody knows is nothing.
        kinds = {"purchase": _BOUGHT} | {name: kind for kind, name in enumerate(_KINDS)}
        kind = np.array([*(kinds.get(name, -1) for name in names), _BOUGHT], np.int64)[codes][order]
        trip, _ = _coded(table, "basket_id")
        bought = kind == _BOUGHT
        trips = _trips(user[bought], time[bought], item[bought], trip[order][bought], users=len(users))
        other = np.flatnonzero((kind >= 0) & ~bought)
        other = other[np.argsort(user[other], kind="stable")]
        other = other[_first_of_each(user[other], item[other], time[other], kind[other])]
        return cls(
            users=users,
            item_ids=tuple(item_ids),
            user_events=np.searchsorted(user[other], np.arange(len(users) + 1)).astype(np.int64),
            event_item=item[other],
            event_time=time[other],
            event_kind=kind[other],
            **trips,
        )

    def save(self, path: Path) -> None:
        """Write the arrays to one npz file."""
        arrays: dict[str, Any] = {name: _narrow(getattr(self, name)) for name in _SAVED}
        np.savez(path, users=_text(self.users), item_ids=_text(self.item_ids), **arrays)

    @classmethod
    def load(cls, path: Path) -> History:
        """Read what `save` wrote.

        Raises:
            ShopError: when the file is missing or damaged.
        """
        try:
            with np.load(path, allow_pickle=False) as held:
                arrays = {name: held[name].astype(np.float64 if name.endswith("time") else np.int64) for name in _SAVED}
                users, item_ids = _untext(held["users"]), _untext(held["item_ids"])
        except (OSError, ValueError, KeyError, EOFError, BadZipFile, zlib.error) as error:
            raise ShopError(f"Cannot read the purchase history at {path} ({error}). Prepare the shop again.") from error
        return cls(users=users, item_ids=item_ids, **arrays)

    # What a shopper did

    def bought(self, user_id: str | None, item_id: str) -> bool:
        """Say whether the shopper ever bought the item."""
        return self.times(user_id, item_id) > 0

    def times(self, user_id: str | None, item_id: str) -> int:
        """Count the shopper's trips that held the item."""
        rows, times = self.bought_rows(user_id)
        row = self.item_rows.get(item_id, -1)
        at = int(np.searchsorted(rows, row))
        return int(times[at]) if at < len(rows) and rows[at] == row else 0

    def items(self, user_id: str | None) -> Mapping[str, int]:
        """Give every item the shopper bought, and on how many trips."""
        rows, times = self.bought_rows(user_id)
        return {self.item_ids[row]: int(count) for row, count in zip(rows, times, strict=True)}

    def trips(self, user_id: str | None, item_id: str, *, last: int = 10) -> tuple[int, int]:
        """Count how many of the shopper's last trips held the item, and how many trips that is."""
        first, end = self.trip_rows(user_id)
        first = max(first, end - last)
        trips = self.trips_with(item_id)
        return int(np.searchsorted(trips, end) - np.searchsorted(trips, first)), end - first

    def baskets(self, user_id: str | None) -> list[tuple[float, frozenset[str]]]:
        """List the shopper's trips, oldest first, as time and item ids."""
        first, end = self.trip_rows(user_id)
        return [
            (
                float(self.basket_time[row]),
                frozenset(self.item_ids[i] for i in self._trip(row)),
            )
            for row in range(first, end)
        ]

    def events(self, user_id: str | None) -> list[tuple[float, str, EventName]]:
        """List what the shopper viewed, liked and disliked, oldest first, as time, item id and event."""
        return [
            (float(self.event_time[at]), self.item_ids[self.event_item[at]], _KINDS[self.event_kind[at]])
            for at in self._event_range(user_id)
        ]

    def liked(self, user_id: str | None) -> tuple[str, ...]:
        """List the items whose last word from the shopper was a like."""
        return self._said(user_id, _LIKE)

    def disliked(self, user_id: str | None) -> tuple[str, ...]:
        """List the items whose last word from the shopper was a dislike."""
        return self._said(user_id, _DISLIKE)

    def viewed_rows(self, user_id: str | None) -> Ints:
        """Give the rows of the items that the shopper looked at, ascending, each once."""
        seen = self._event_range(user_id)
        held = slice(seen.start, seen.stop)
        return np.unique(self.event_item[held][self.event_kind[held] == _VIEW])

    def _said(self, user_id: str | None, wanted: int) -> tuple[str, ...]:
        row = self.user_rows.get(user_id) if user_id is not None else None
        if row is None:
            return ()
        held = slice(self._said_start[row], self._said_start[row + 1])
        return tuple(self.item_ids[item] for item in self._said_item[held][self._said_kind[held] == wanted])

    # What all shoppers did

    def buyers(self, item_id: str) -> int:
        """Count the shoppers who ever bought the item."""
        row = self.item_rows.get(item_id)
        return 0 if row is None else int(self.buyers_by_row[row])

    def together(self, item_id: str, other: str) -> int:
        """Count the trips that held both items."""
        return self.together_with(item_id, [other])[0]

    def together_with(self, item_id: str, others: Sequence[str]) -> list[int]:
        """Count, for each of the others, the trips that held both."""
        own = self.trips_with(item_id)
        held = self.trips_with_any([item_id])
        out = []
        for theirs in map(self.trips_with, others):
            if len(own) * _DEARER < len(theirs):
                at = np.searchsorted(theirs, own)
                out.append(int(np.count_nonzero(theirs[np.minimum(at, len(theirs) - 1)] == own)))
            else:
                out.append(int(np.count_nonzero(held[theirs])))
        return out

    @property
    def now(self) -> float:
        """Give the time of the last purchase in the log, or 0 when there is none."""
        return float(self.basket_time.max()) if len(self.basket_time) else 0.0

    @property
    def began(self) -> float:
        """Give the time of the first purchase in the log, or 0 when there is none."""
        return float(self.basket_time.min()) if len(self.basket_time) else 0.0

    # Rows, for the scorers

    def bought_rows(self, user_id: str | None) -> tuple[Ints, Ints]:
        """Give the rows of the items that the shopper bought, ascending, and the trips that held each."""
        row = self.user_rows.get(user_id) if user_id is not None else None
        if row is None:
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        held = slice(self._pairs_start[row], self._pairs_start[row + 1])
        return self._pairs_item[held], self._pairs_times[held]

    def lines(self, user_id: str | None) -> tuple[Ints, Ints]:
        """Give the item row of every line the shopper bought, and its trip's age (0: the newest trip)."""
        first, end = self.trip_rows(user_id)
        sizes = np.diff(self.basket_start[first : end + 1])
        items = self.basket_items[self.basket_start[first] : self.basket_start[end]]
        return items, np.repeat(np.arange(end - first)[::-1], sizes)

    @property
    def trip_sizes(self) -> Ints:
        """Count the items of every trip."""
        return np.diff(self.basket_start)

    def trips_with(self, item_id: str) -> Ints:
        """Give the rows of the trips that held the item, ascending."""
        row = self.item_rows.get(item_id)
        if row is None:
            return np.zeros(0, np.int64)
        return self._postings[self._postings_start[row] : self._postings_start[row + 1]]

    def trips_with_any(self, item_ids: Iterable[str]) -> NDArray[np.bool_]:
        """Mark the trips that held at least one of the items: [trips]."""
        held = np.zeros(len(self.basket_time), bool)
        for item_id in item_ids:
            held[self.trips_with(item_id)] = True
        return held

    def pairs(self) -> tuple[Ints, Ints, Ints]:
        """Give every (user row, item row, trips) that occurs."""
        users = np.repeat(np.arange(len(self.users)), np.diff(self._pairs_start))
        return users, self._pairs_item, self._pairs_times

    def likes(self) -> tuple[Ints, Ints]:
        """Give every (user row, item row) whose last word is a like, each once."""
        users = np.repeat(np.arange(len(self.users)), np.diff(self._said_start))
        liked = self._said_kind == _LIKE
        return users[liked], self._said_item[liked]

    def _trip(self, row: int) -> Ints:
        return self.basket_items[self.basket_start[row] : self.basket_start[row + 1]]

    def trip_rows(self, user_id: str | None) -> tuple[int, int]:
        """Give the first and the end row of the shopper's trips."""
        row = self.user_rows.get(user_id) if user_id is not None else None
        return (0, 0) if row is None else (int(self.user_baskets[row]), int(self.user_baskets[row + 1]))

    def _event_range(self, user_id: str | None) -> range:
        row = self.user_rows.get(user_id) if user_id is not None else None
        return range(0) if row is None else range(int(self.user_events[row]), int(self.user_events[row + 1]))

    def without_last(self, count: int = 1, *, fewest: int = 5) -> tuple[History, list[Trip]]:
        """Hold out each shopper's newest trips, and what they said since, for validation.

        Args:
            count: How many of the newest trips to drop of every shopper with `fewest` or more trips.
            fewest: Shoppers with fewer trips keep all of theirs and give no target.

        Returns:
            The history without them, and for each such shopper the oldest trip that was dropped.
        """
        sizes = np.diff(self.user_baskets)
        cut = np.where(sizes >= fewest, self.user_baskets[1:] - count, self.user_baskets[1:])
        user = np.repeat(np.arange(len(self.users)), sizes)
        rows = np.arange(len(self.basket_time))
        keep = rows < cut[user]
        lengths = self.trip_sizes
        end = np.where(sizes >= fewest, np.append(self.basket_time, np.inf)[cut], np.inf)
        heard = np.repeat(np.arange(len(self.users)), np.diff(self.user_events))
        said = self.event_time < end[heard]
        kept = History(
            users=self.users,
            item_ids=self.item_ids,
            user_baskets=_starts(np.bincount(user[keep], minlength=len(self.users))),
            basket_time=self.basket_time[keep],
            basket_start=_starts(lengths[keep]),
            basket_items=self.basket_items[np.repeat(keep, lengths)],
            user_events=_starts(np.bincount(heard[said], minlength=len(self.users))),
            event_item=self.event_item[said],
            event_time=self.event_time[said],
            event_kind=self.event_kind[said],
        )
        held = [
            Trip(
                user_id=self.users[at],
                time=float(self.basket_time[row]),
                item_ids=tuple(self.item_ids[i] for i in self._trip(row)),
            )
            for at, row in enumerate(cut)
            if sizes[at] >= fewest
        ]
        return kept, held


def _coded(table: pd.DataFrame, name: str) -> tuple[NDArray[np.int64], list[str]]:
    """Number a column's distinct names; -1 where the column or a value is missing.

    Ten million names stay numbers from here on: as Python's strings they would take gigabytes.
    """
    import pandas as pd

    if name not in table:
        return np.full(len(table), -1, np.int64), []
    found, values = pd.factorize(table[name])
    codes, names = found.astype(np.int64), [str(value) for value in values]
    if "" in names:
        codes[codes == names.index("")] = -1
    return codes, names


def _as_they_come(codes: Ints) -> tuple[Ints, Ints]:
    """Number codes anew in the order of their first occurrence; gives the numbers, and the code of each."""
    seen, first, place = np.unique(codes, return_index=True, return_inverse=True)
    order = np.argsort(first)
    number = np.empty(len(order), np.int64)
    number[order] = np.arange(len(order))
    return number[place], seen[order]


def _first_of_each(*columns: NDArray[Any]) -> Ints:
    """Give the rows, ascending, that say what no row before them said."""
    order = np.lexsort(columns)  # stable: of equal rows the first comes first
    new = np.ones(len(order), bool)
    if len(order):
        new[1:] = np.any([column[order][1:] != column[order][:-1] for column in columns], axis=0)
    return np.sort(order[new])


def _trips(user: Ints, time: Floats, item: Ints, basket: Ints, *, users: int) -> dict[str, Any]:
    """Group purchase lines, sorted by time, into trips; `basket` is -1 where a line has none."""
    import pandas as pd

    baskets = int(basket.max()) + 1 if len(basket) else 0
    day, days = pd.factorize(np.floor(time / _DAY))
    trip = np.where(basket < 0, baskets + day, basket).astype(np.int64)
    _, first_line, trip = np.unique(user * (baskets + len(days) + 1) + trip, return_index=True, return_inverse=True)
    order = np.lexsort((first_line, user[first_line]))  # by user, then oldest first, ties as the log has them
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    trip = place[trip]
    items = int(item.max()) + 1 if len(item) else 1
    _, unique_line = np.unique(trip * items + item, return_index=True)
    unique_line = unique_line[np.lexsort((unique_line, trip[unique_line]))]
    return {
        "user_baskets": _starts(np.bincount(user[first_line], minlength=users)),
        "basket_time": time[first_line[order]],
        "basket_start": _starts(np.bincount(trip[unique_line], minlength=len(order))),
        "basket_items": item[unique_line],
    }


def _starts(sizes: NDArray[Any]) -> Ints:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes, dtype=np.int64)])


def _narrow(array: NDArray[Any]) -> NDArray[Any]:
    return array.astype(np.int32) if array.dtype == np.int64 and (not len(array) or array.max() < 2**31) else array


def _text(names: Sequence[str]) -> NDArray[np.uint8]:
    """Store names as UTF-8 bytes: a unicode array would pad each to the longest."""
    return np.frombuffer(json.dumps(list(names)).encode("utf-8"), dtype=np.uint8)


def _untext(array: NDArray[Any]) -> tuple[str, ...]:
    return tuple(str(name) for name in json.loads(array.tobytes().decode("utf-8")))
