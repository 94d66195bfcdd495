"""What is on promotion, and who has a coupon for what, when: the shop's offers as compact arrays."""

from __future__ import annotations

import json
import zlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from retrieval.records import Fact, ShopError

Ints = NDArray[np.int64]
DealKind = Literal["promotion", "coupon"]

# Share of the chain's stores from which a promotion is said to a shopper whose store is not known. In the default shop
# 95 % of what is in the weekly ad is so in more than half the stores, while the median display stands in four of 112.
SAID_FROM = 0.5
_KINDS: tuple[DealKind, ...] = ("promotion", "coupon")
_PROMOTION, _COUPON = range(len(_KINDS))
_ARRAYS = ("kind", "starts", "ends", "note", "item_start", "item", "strengths", "user_start", "user")
_TEXTS = ("item_ids", "users", "notes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """One promotion or coupon: from when to when (seconds since 1970, `ends` exclusive), on which items, for whom.

    `strengths` has one number an item, the share of the chain's stores that have it (0 to 1); empty: 1 for all.
    `user_ids` are the shoppers that it is for; empty: everybody. `note` says in words what it is.
    """

    kind: DealKind
    starts: float
    ends: float
    item_ids: Sequence[str]
    strengths: Sequence[float] = ()
    user_ids: Sequence[str] = ()
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deal:
    """An offer as it stands on one item."""

    kind: DealKind
    item_id: str
    starts: float
    ends: float
    strength: float = 1.0
    note: str = ""

    @property
    def sayable(self) -> bool:
        """Say whether a shopper can be told of it: a coupon is theirs, a promotion must be on in most stores."""
        return self.kind == "coupon" or self.strength >= SAID_FROM


@dataclass(frozen=True, eq=False, kw_only=True)
class Deals:
    """The offers of a shop; offer o is on items `item[item_start[o]:item_start[o + 1]]`, rows of the catalogue.

    It is for the users `user[user_start[o]:user_start[o + 1]]`, for everybody where that is empty. Where a time is
    asked for, None is `now`: the end of the shop's log, as a shop is as old as what it last heard of.

    Example:
        >>> week = Offer(kind="promotion", starts=0, ends=7, item_ids=["tea"], note="in this week's ad")
        >>> deals = Deals.from_offers([week], item_ids=["milk", "tea"])
        >>> deals.strength(at=3).tolist(), deals.strength(at=7).tolist()
        ([0.0, 1.0], [0.0, 0.0])
    """

    size: int  # items of the catalogue
    item_ids: Sequence[str]
    users: Sequence[str]
    notes: Sequence[str]
    kind: Ints
    starts: NDArray[np.float64]
    ends: NDArray[np.float64]
    note: Ints
    item_start: Ints
    item: Ints
    strengths: NDArray[np.float32]
    user_start: Ints
    user: Ints
    now: float = 0.0

    _item_rows: Mapping[str, int] = field(init=False, repr=False)
    _own: Mapping[str, Ints] = field(init=False, repr=False)  # the offers that are for this user alone or among few
    _open: Ints = field(init=False, repr=False)  # the offers for everybody
    _offers_of: Ints = field(init=False, repr=False)  # the offers on item i: rows [i]:[i + 1] of the start below
    _offers_start: Ints = field(init=False, repr=False)
    _place: Ints = field(init=False, repr=False)  # where in `strengths` each of them stands

    def __post_init__(self) -> None:
        put = object.__setattr__
        put(self, "_item_rows", {item_id: row for row, item_id in enumerate(self.item_ids)})
        audience = np.diff(self.user_start)
        put(self, "_open", np.flatnonzero(audience == 0))
        offers = np.repeat(np.arange(len(audience)), audience)
        by_user = np.argsort(self.user, kind="stable")
        ends = np.searchsorted(self.user[by_user], np.arange(len(self.users) + 1))
        put(self, "_own", {u: offers[by_user[ends[row] : ends[row + 1]]] for row, u in enumerate(self.users)})
        by_item = np.argsort(self.item, kind="stable")
        put(self, "_place", by_item)
        put(self, "_offers_of", np.repeat(np.arange(len(audience)), np.diff(self.item_start))[by_item])
        put(self, "_offers_start", np.searchsorted(self.item[by_item], np.arange(self.size + 1)))

    @classmethod
    def none(cls, size: int) -> Deals:
        """Make the deals of a shop of `size` items that has none."""
        return cls.from_offers([], item_ids=[""] * size)

    @classmethod
    def from_offers(cls, offers: Iterable[Offer], *, item_ids: Sequence[str], now: float = 0.0) -> Deals:
        """Lay offers out as arrays; what they say of items not in `item_ids` is left out.

        Args:
            offers: In any order; an item named twice in one offer has the greater strength.
            item_ids: The catalogue's items, in its order.
            now: What a time of None stands for, in seconds since 1970.
        """
        rows = {item_id: row for row, item_id in enumerate(item_ids)}
        users: dict[str, int] = {}
        notes: dict[str, int] = {}
        kept: list[tuple[int, float, float, int]] = []
        items: list[list[int]] = []
        strengths: list[list[float]] = []
        audiences: list[list[int]] = []
        for offer in offers:
            held: dict[int, float] = {}
            for item_id, strength in zip(offer.item_ids, offer.strengths or [1.0] * len(offer.item_ids), strict=True):
                if (row := rows.get(item_id)) is not None:
                    held[row] = max(held.get(row, 0.0), strength)
            if not held:
                continue
            note = notes.setdefault(offer.note, len(notes))
            kept.append((_KINDS.index(offer.kind), float(offer.starts), float(offer.ends), note))
            items.append(list(held))
            strengths.append(list(held.values()))
            audiences.append([users.setdefault(user, len(users)) for user in dict.fromkeys(offer.user_ids)])
        columns = list(zip(*kept, strict=True)) if kept else [(), (), (), ()]
        return cls(
            size=len(item_ids),
            item_ids=tuple(item_ids) if any(item_ids) else (),
            users=tuple(users),
            notes=tuple(notes),
            kind=np.array(columns[0], np.int64),
            starts=np.array(columns[1], np.float64),
            ends=np.array(columns[2], np.float64),
            note=np.array(columns[3], np.int64),
            item_start=_starts(items),
            item=np.array([row for held in items for row in held], np.int64),
            strengths=np.array([one for held in strengths for one in held], np.float32),
            user_start=_starts(audiences),
            user=np.array([row for held in audiences for row in held], np.int64),
            now=now,
        )

    def offers(self) -> list[Offer]:
        """Give the offers back, as `from_offers` takes them: to lay them out for another catalogue."""
        out = []
        for o in range(len(self.kind)):
            held = slice(self.item_start[o], self.item_start[o + 1])
            out.append(
                Offer(
                    kind=_KINDS[self.kind[o]],
                    starts=float(self.starts[o]),
                    ends=float(self.ends[o]),
                    item_ids=[self.item_ids[row] for row in self.item[held]],
                    strengths=self.strengths[held].tolist(),
                    user_ids=[self.users[row] for row in self.user[self.user_start[o] : self.user_start[o + 1]]],
                    note=self.notes[self.note[o]],
                )
            )
        return out

    def save(self, path: Path) -> None:
        """Write the arrays to one npz file, without `now`, which is the log's."""
        arrays: dict[str, Any] = {name: _narrow(getattr(self, name)) for name in _ARRAYS}
        for name in _TEXTS:
            arrays[name] = np.frombuffer(json.dumps(list(getattr(self, name))).encode(), np.uint8)
        np.savez_compressed(path, size=np.array(self.size), **arrays)

    @classmethod
    def load(cls, path: Path, *, now: float = 0.0) -> Deals:
        """Read what `save` wrote.

        Raises:
            ShopError: when the file is missing or damaged.
        """
        floats: dict[str, type[np.generic]] = {"starts": np.float64, "ends": np.float64, "strengths": np.float32}
        try:
            with np.load(path, allow_pickle=False) as held:
                fields: dict[str, Any] = {name: held[name].astype(floats.get(name, np.int64)) for name in _ARRAYS}
                for name in _TEXTS:
                    fields[name] = tuple(str(one) for one in json.loads(held[name].tobytes().decode()))
                return cls(size=int(held["size"]), now=now, **fields)
        except (OSError, ValueError, KeyError, IndexError, EOFError, BadZipFile, zlib.error) as error:
            raise ShopError(f"Cannot read the deals at {path} ({error}). Prepare the shop again.") from error

    def strength(self, at: float | None = None, user_id: str | None = None) -> NDArray[np.float32]:
        """Give how widely every item is on promotion for a shopper: [items], 0 (not at all) to 1 (in every store)."""
        out = np.zeros(self.size, np.float32)
        places = self._places(_PROMOTION, at, user_id)
        np.maximum.at(out, self.item[places], self.strengths[places])
        return out

    @cached_property
    def usual(self) -> NDArray[np.float32]:
        """Give how widely every item is on promotion on average, over the time that promotions cover: [items], 0..1."""
        out = np.zeros(self.size)
        offers = np.flatnonzero((self.kind == _PROMOTION) & (np.diff(self.user_start) == 0))
        spans = np.unique(np.stack([self.starts[offers], self.ends[offers]], axis=1), axis=0) if len(offers) else ()
        covered = 0.0
        for starts, ends in spans:
            out += self.strength(float(starts)) * (ends - starts)
            covered += ends - starts
        share: NDArray[np.float32] = (out / max(covered, 1.0)).astype(np.float32)
        return share

    def coupons(self, at: float | None = None, user_id: str | None = None) -> NDArray[np.bool_]:
        """Mark the items that a shopper has a valid coupon for: [items]."""
        out = np.zeros(self.size, bool)
        out[self.item[self._places(_COUPON, at, user_id)]] = True
        return out

    def on_offer(self, at: float | None = None, user_id: str | None = None) -> NDArray[np.bool_]:
        """Mark the items of which a shopper can be told that they are on promotion or have a coupon: [items]."""
        return (self.strength(at, user_id) >= SAID_FROM) | self.coupons(at, user_id)

    def of(self, item_id: str, at: float | None = None, user_id: str | None = None) -> tuple[Deal, ...]:
        """List what is on offer of one item for a shopper: coupons first, then the promotions, widest first."""
        row = self._item_rows.get(item_id)
        if row is None:
            return ()
        held = slice(self._offers_start[row], self._offers_start[row + 1])
        offers, places = self._offers_of[held], self._place[held]
        time = self.now if at is None else at
        valid = (self.starts[offers] <= time) & (time < self.ends[offers])
        theirs = set(self._own.get(user_id, np.zeros(0, np.int64)).tolist()) if user_id is not None else set()
        out = [
            Deal(
                kind=_KINDS[self.kind[o]],
                item_id=item_id,
                starts=float(self.starts[o]),
                ends=float(self.ends[o]),
                strength=float(self.strengths[place]),
                note=self.notes[self.note[o]],
            )
            for o, place in zip(offers[valid].tolist(), places[valid].tolist(), strict=True)
            if self.user_start[o] == self.user_start[o + 1] or o in theirs
        ]
        return tuple(sorted(out, key=lambda deal: (deal.kind, -deal.strength, deal.note)))

    def _places(self, kind: int, at: float | None, user_id: str | None) -> Ints:
        """Give where in `item` and `strengths` the offers of a kind stand that are valid for a shopper."""
        time = self.now if at is None else at
        own = self._own.get(user_id) if user_id is not None else None
        offers = self._open if own is None else np.concatenate([self._open, own])
        offers = offers[(self.kind[offers] == kind) & (self.starts[offers] <= time) & (time < self.ends[offers])]
        first, sizes = self.item_start[offers], np.diff(self.item_start)[offers]
        ends = np.cumsum(sizes)
        total = int(ends[-1]) if len(ends) else 0
        return np.arange(total) + np.repeat(first - ends + sizes, sizes)


def deal_facts(deals: Deals, item_id: str, at: float | None = None, user_id: str | None = None) -> list[Fact]:
    """Say what a shopper can be told of an item's deals, as facts `coupon` and `promotion`, each note once.

    A promotion that only some of a chain's stores have weighs in the score and is not said: the shopper's may be another.
    """
    facts: dict[DealKind, list[Fact]] = defaultdict(list)
    for deal in deals.of(item_id, at, user_id):
        fact = Fact(kind=deal.kind, words=(deal.note,) if deal.note else ())
        if deal.sayable and fact not in facts[deal.kind]:
            facts[deal.kind].append(fact)
    return [*facts["coupon"], *facts["promotion"]]


def _starts(rows: Sequence[Sequence[Any]]) -> Ints:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum([len(held) for held in rows], dtype=np.int64)])


def _narrow(array: NDArray[Any]) -> NDArray[Any]:
    return array.astype(np.int32) if array.dtype == np.int64 else array
