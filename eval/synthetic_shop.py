"""A shop of any size that nobody owns: a few things that most buy, many that few buy, and shoppers who come back for theirs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval.history import History
from retrieval.records import Item

Ints = NDArray[np.int64]

DAY = 86_400.0
DAYS = 364  # a year of log, as the default shop has
LINES_A_TRIP = 10  # the default shop's mean
LINES_A_SHOPPER = 400
USUAL = 60  # items that a shopper comes back to
REPEATED = 0.5  # share of a trip that is of these: the default shop's
KINDS = ("bread", "cheese", "coffee", "juice", "pasta", "rice", "sauce", "shampoo", "soap", "soup", "tea", "yogurt")
ITEMS_A_KIND = 12  # brands and sizes of one thing
DEPARTMENTS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How large a synthetic shop is: its items, and the purchase lines in its log."""

    items: int
    interactions: int

    @property
    def shoppers(self) -> int:
        """Give the number of shoppers: about as many lines each as the default shop's have."""
        return max(self.interactions // LINES_A_SHOPPER, 1)


def synthetic_items(size: Size, *, rng: np.random.Generator) -> list[Item]:
    """Make the items; a kind's items follow each other, and so do a department's kinds."""
    price = np.round(np.exp(rng.normal(1.2, 0.7, size.items)), 2)
    out = []
    for row in range(size.items):
        kind = row // ITEMS_A_KIND
        name = f"{KINDS[kind % len(KINDS)].capitalize()} {kind}"
        ounces = 4 * (1 + row % 6)
        tier = "store brand" if row % 3 == 0 else "name brand"
        out.append(
            Item(
                item_id=f"s{row:07d}",
                title=f"{name}, {ounces} oz, {tier}",
                categories=(f"Department {kind % DEPARTMENTS}", name),
                price=float(price[row]),
                attributes={"size": f"{ounces} OZ", "brand_tier": tier},
            )
        )
    return out


def synthetic_history(size: Size, *, item_ids: list[str], rng: np.random.Generator) -> History:
    """Make the log as arrays.

    Popularity falls with one over the rank (Zipf). Half of a trip is of the shopper's own usual items, of which some
    come every time and most seldom; they are of three departments, so that shoppers are alike in part.
    One line in a hundred has a view, a like or a dislike beside it.
    """
    shoppers, lines = size.shoppers, size.interactions
    popular = _Zipf(size.items, rng=rng)
    usual = _usual_items(popular, shoppers=shoppers, rng=rng)
    user = np.sort(rng.integers(0, shoppers, lines))
    trips_of = np.maximum(np.bincount(user, minlength=shoppers) // LINES_A_TRIP, 1)
    first_trip = np.concatenate([np.zeros(1, np.int64), np.cumsum(trips_of)])
    trip = first_trip[user] + (rng.random(lines) * trips_of[user]).astype(np.int64)
    item = popular.draw(lines, rng=rng)
    own = np.flatnonzero(rng.random(lines) < REPEATED)
    item[own] = usual[user[own], (USUAL * rng.random(len(own)) ** 2).astype(np.int64)]
    trips = int(first_trip[-1])
    line = np.unique(trip * size.items + item)  # an item is once in a trip
    trip, item = line // size.items, line % size.items
    whose = np.repeat(np.arange(shoppers), trips_of)
    time = rng.random(trips) * DAYS * DAY
    time = time[np.lexsort((time, whose))]
    said = np.flatnonzero(rng.random(len(line)) < 0.01)
    return History(
        users=[f"u{row}" for row in range(shoppers)],
        item_ids=item_ids,
        user_baskets=first_trip,
        basket_time=time,
        basket_start=np.searchsorted(trip, np.arange(trips + 1)),
        basket_items=item,
        user_events=np.searchsorted(whose[trip[said]], np.arange(shoppers + 1)),
        event_item=item[said],
        event_time=time[trip[said]],
        event_kind=rng.integers(0, 3, len(said)),
    )


def lopsided_history(*, item_ids: list[str], purchases: int, events: int, rng: np.random.Generator) -> History:
    """Make a log in which one item is bought on every one of `purchases` trips, and one shopper says `events` things.

    Every trip holds the first item and one other; the shopper `u0` views, likes and dislikes items over and over.
    """
    shoppers = max(purchases // 50, 1)
    items = len(item_ids)
    trips_of = np.bincount(rng.integers(0, shoppers, purchases), minlength=shoppers)
    basket = np.zeros((purchases, 2), np.int64)
    basket[:, 1] = 1 + _Zipf(items - 1, rng=rng).draw(purchases, rng=rng)
    first_trip = np.concatenate([np.zeros(1, np.int64), np.cumsum(trips_of)])
    time = rng.random(purchases) * DAYS * DAY
    time = time[np.lexsort((time, np.repeat(np.arange(shoppers), trips_of)))]
    return History(
        users=[f"u{row}" for row in range(shoppers)],
        item_ids=item_ids,
        user_baskets=first_trip,
        basket_time=time,
        basket_start=2 * np.arange(purchases + 1),
        basket_items=basket.ravel(),
        user_events=np.concatenate([np.zeros(1, np.int64), np.full(shoppers, events)]),
        event_item=rng.integers(0, items, events),
        event_time=np.sort(rng.random(events)) * DAYS * DAY,
        event_kind=rng.integers(0, 3, events),
    )


class _Zipf:
    """Draws rows of items by popularity; which items are the popular ones is random."""

    def __init__(self, items: int, *, rng: np.random.Generator) -> None:
        share = 1.0 / (10.0 + np.arange(items))  # the first ten ranks are not far apart in any shop
        self._upto = np.cumsum(share / share.sum())
        self._row = rng.permutation(items)

    def draw(self, count: int, *, rng: np.random.Generator) -> Ints:
        """Draw rows: [count]."""
        rank = np.searchsorted(self._upto, rng.random(count), side="right")
        rows: Ints = self._row[np.minimum(rank, len(self._row) - 1)]
        return rows


def _usual_items(popular: _Zipf, *, shoppers: int, rng: np.random.Generator) -> Ints:
    """Draw the items that each shopper comes back to, of three departments if a few draws find them: [shoppers, USUAL]."""
    usual = popular.draw(shoppers * USUAL, rng=rng).reshape(shoppers, USUAL)
    own = rng.integers(0, DEPARTMENTS, (shoppers, 3))
    for _ in range(4):
        department = usual // ITEMS_A_KIND % DEPARTMENTS
        away = (department[:, :, None] != own[:, None, :]).all(axis=2)
        usual[away] = popular.draw(int(away.sum()), rng=rng)
    return usual
