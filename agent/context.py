"""What one turn knows when it starts; tools read it and change nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

from agent.age import age_said
from agent.limits import Limits
from agent.outcome import ON_OFFER, Request, Sort
from agent.store import Memory
from retrieval.ranking import RankContext
from retrieval.records import Item, Recommendation
from retrieval.wish import Wish, contains

if TYPE_CHECKING:
    from retrieval.shop import Shop


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """The shop, the shopper bound by the server, the message, and the talk so far.

    `said` is everything the shopper typed in this talk, newest last; `shown` the list shown last, best first;
    `request` what it answered; `focus` the place in it of the item talked about last; `options` the answers offered,
    where the last reply was a question; `seen` every item id shown in this talk; `alone` says that the plan holds
    this one search only, so that the whole message is about it; `wishes` are the queries of all its searches.
    """

    shop: Shop
    limits: Limits
    user_id: str | None
    message: str
    said: tuple[str, ...] = ()
    shown: tuple[Recommendation, ...] = ()
    request: Request | None = None
    focus: int | None = None
    options: tuple[str, ...] = ()
    seen: frozenset[str] = frozenset()
    cart: tuple[tuple[str, int], ...] = ()
    memories: tuple[Memory, ...] = ()
    alone: bool = True
    wishes: tuple[str, ...] = ()

    def bought(self, item_id: str) -> bool:
        """Say whether this shopper bought the item before."""
        return self.user_id is not None and self.shop.history.bought(self.user_id, item_id)

    def item(self, item_id: str) -> Item:
        """Give an item of the shop by its id."""
        return self.shop.catalog.items[item_id]

    def rank_context(self, request: Request, *, limit: int) -> RankContext:
        """Say for whom, for what and beside what a list is ranked."""
        return RankContext(
            user_id=self.user_id,
            cart=tuple(item_id for item_id, _ in self.cart),
            liked=tuple(item_id for memory in self.memories if memory.kind == "like" for item_id in memory.item_ids),
            disliked=tuple(
                item_id for memory in self.memories if memory.kind == "dislike" for item_id in memory.item_ids
            ),
            wish=request.wish,
            named=request.anchors,
            task=request.task,
            limit=limit,
        )

    @property
    def too_young(self) -> bool:
        """Say whether the shopper has told an age, in this talk, at which age-restricted goods are not sold to them."""
        ages = [age for message in (*self.said, self.message) if (age := age_said(message)) is not None]
        return bool(ages) and min(ages) < self.limits.adult_age

    @property
    def avoided(self) -> frozenset[str]:
        """Give the ids of the items that the shopper never wants to see."""
        return frozenset(item_id for memory in self.memories if memory.kind == "avoid" for item_id in memory.item_ids)

    @property
    def on_offer(self) -> frozenset[str]:
        """Give the ids of the items that are on promotion, or that the shopper has a coupon for."""
        marked = self.shop.deals.on_offer(user_id=self.user_id)
        return frozenset(self.shop.catalog.item_ids[row] for row in marked.nonzero()[0])

    @property
    def coupons(self) -> frozenset[str]:
        """Give the ids of the items that the shopper has a coupon for."""
        marked = self.shop.deals.coupons(user_id=self.user_id)
        return frozenset(self.shop.catalog.item_ids[row] for row in marked.nonzero()[0])

    def unwanted(self, query: str) -> tuple[str, ...]:
        """List remembered words to keep out of lists, save those the shopper now asks for by name."""
        return tuple(
            memory.text
            for memory in self.memories
            if memory.kind in ("avoid", "dislike") and not memory.item_ids and not contains(query, memory.text)
        )


def named(name: str, items: Sequence[Item]) -> list[Item]:
    """Find the items whose title holds every word of a name, else those holding most of its words.

    >>> milk = Item(item_id="1", title="Whole milk, 1 gallon", price=3.0)
    >>> tea = Item(item_id="2", title="Green tea", price=2.0)
    >>> [item.item_id for item in named("the milk", [milk, tea])]
    ['1']

    "The cheapest milk" is the cheapest of those that "milk" names; "the cheapest", of all.

    >>> [item.item_id for item in named("the cheapest", [milk, tea])]
    ['2']
    """
    sort, rest = extreme(name)
    if sort is not None:
        return furthest(named(rest, items) if rest else items, sort)
    words = rest.split()
    if not words:
        return []
    counts = [
        sum(contains(item.text, word) for word in words) + 0.5 * contains(item.title, words[-1]) for item in items
    ]
    best = max(counts, default=0)
    if best < max(1, (len(words) + 1) // 2):
        return []
    return [item for item, count in zip(items, counts, strict=True) if count == best]


def extreme(name: str) -> tuple[Sort | None, str]:
    """Part a name that points by price or size from what it names.

    >>> extreme("the cheapest one"), extreme("biggest milk"), extreme("milk")
    (('cheapest', ''), ('biggest', 'milk'), (None, 'milk'))
    """
    words = [word for word in name.lower().replace(",", " ").split() if word not in FILLER]
    sort = next((one for one in get_args(Sort) if one in words), None)
    return sort, " ".join(word for word in words if word != sort)


def furthest(items: Sequence[Item], sort: Sort) -> list[Item]:
    """Give the one item at that end of price or size; none where no value is known, or a count stands beside a weight."""
    from retrieval.quantity import item_quantity

    if sort in ("biggest", "smallest") and len({q.unit for item in items if (q := item_quantity(item))}) > 1:
        return []
    valued = [(value, at) for at, item in enumerate(items) if (value := sort_value(item, sort)) is not None]
    return [items[min(valued)[1]]] if valued else []


FILLER = frozenset(
    [
        "the",
        "a",
        "an",
        "one",
        "that",
        "this",
        "those",
        "these",
        "some",
        "of",
        "my",
        "your",
        "please",
        "it",
        "them",
        "other",
    ]
)


def sort_value(item: Item, sort: Sort) -> float | None:
    """Give the number that a sorted list is ordered by, smallest first; None where the item has none."""
    from retrieval.quantity import item_quantity

    if sort in ("cheapest", "dearest"):
        return None if item.price is None else (item.price if sort == "cheapest" else -item.price)
    quantity = item_quantity(item)
    if quantity is None:
        return None
    return -quantity.amount if sort == "biggest" else quantity.amount


def narrow(wish: Wish) -> str:
    """Word the hard part of a wish, for a label: "under $5, store brand, without nuts".

    >>> narrow(Wish(max_price=5, attributes={"brand_tier": ("Private",)}, text_none=("nuts",)))
    'under $5, store brand, without nuts'
    """
    out = []
    if wish.max_price is not None:
        out.append(f"under {money(wish.max_price)}")
    if wish.min_price is not None:
        out.append(f"over {money(wish.min_price)}")
    if wish.below_price is not None:
        out.append(f"cheaper than {money(wish.below_price)}")
    if wish.above_price is not None:
        out.append(f"dearer than {money(wish.above_price)}")
    out += [brand.lower() for brand in wish.brands]
    out += [tier(value) for values in wish.attributes.values() for value in values]
    out += list(wish.text_all)
    out += [f"without {word}" for word in wish.text_none]
    if wish.bought == "again":
        out.append("bought before")
    if wish.bought == "new":
        out.append("new to you")
    if wish.deal:
        out.append(ON_OFFER)
    return ", ".join(out)


def money(amount: float) -> str:
    """Write an amount as a price tag does.

    >>> money(5), money(2.5), money(0.79)
    ('$5', '$2.50', '$0.79')
    """
    return f"${amount:.0f}" if amount == int(amount) else f"${amount:.2f}"


TIERS = {"private": "store brand", "national": "name brand"}


def tier(words: str) -> str:
    """Name a brand tier as shoppers do.

    >>> tier("Private"), tier("Acme")
    ('store brand', 'acme')
    """
    return TIERS.get(words.lower(), words.lower())
