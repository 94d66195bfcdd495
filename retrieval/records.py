"""The values that every stage shares: items, interactions, candidates, recommendations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

EventName = Literal["purchase", "view", "like", "dislike"]
AttributeValue = str | float | tuple[str, ...]


class ShopError(Exception):
    """Something a person can put right; the message says what, where and what next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One thing the shop sells, as `formats.md` §1 has it; `price` is of one unit."""

    item_id: str
    title: str
    description: str = ""
    categories: tuple[str, ...] = ()
    brand: str = ""
    price: float | None = None
    attributes: Mapping[str, AttributeValue] = field(default_factory=dict)
    image_url: str = ""

    @property
    def age_restricted(self) -> bool:
        """Say whether the item's own record marks it as age-restricted."""
        return str(self.attributes.get("age_restricted", "")).lower() in {"yes", "true"}

    @property
    def text(self) -> str:
        """Join title, categories and description: what text wishes are looked for in."""
        return " ".join([self.title, *self.categories, self.description])


@dataclass(frozen=True, slots=True, kw_only=True)
class Interaction:
    """One event of one shopper; `timestamp` in seconds since 1970, `price` paid per unit."""

    user_id: str
    item_id: str
    timestamp: float
    event: EventName = "purchase"
    quantity: float = 1.0
    price: float | None = None
    basket_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """An item that a retriever proposed, and how strongly each retriever did (higher is better)."""

    item_id: str
    sources: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One typed, true statement about an item for this shopper and wish.

    `kind` is one of:
    `bought_trips` (`count` of the shopper's last `of` trips held it), `bought_times` (`count` in all),
    `not_bought` (the shopper never bought it), `under_price` (`amount` below the bound `limit`),
    `over_price` (`amount` above the lower bound `limit`), `matches` (`words` of the wish found in the item),
    `goes_with` (`words[0]` is the title of the cart or named item `item_id` it is bought with; `count` baskets held both),
    `because_of` (`words[0]` is the title of the shopper's own past or liked item `item_id` that speaks for it most),
    `popular` (`count` shoppers buy it), `brand_tier` (`words[0]`), `size` (`words[0]`),
    `cheaper` / `dearer` (`amount` than item `item_id`, title `words[0]`), `bigger` / `smaller` (than `item_id`),
    `cheapest` (of the list), `liked` (the shopper liked it), `attribute` (`words` = name, value),
    `promotion` (now on in most stores; `words[0]` is its note, where it has one), `coupon` (the shopper has one for it).
    Of an item that was not shown: `last_shown` (`words` = what is told of the item shown last, its title; with that
    one's `count`, `of` or `amount`; "part match" and its like: the value of that part), `would_change` (`words` = a `retrieval.reasons.Step`: name, less or more, value;
    `amount` its bound) and `would_show` (after these changes it is number `count` of a list of `of`).
    """

    kind: str
    count: int | None = None
    of: int | None = None
    amount: float | None = None
    limit: float | None = None
    words: tuple[str, ...] = ()
    item_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One named summand of a score, and the facts behind it, strongest first."""

    name: str
    value: float
    facts: tuple[Fact, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommendation:
    """An item with its score, which is the exact sum of its parts' values."""

    item: Item
    score: float
    parts: tuple[Part, ...]
    sources: Mapping[str, float] = field(default_factory=dict)

    @property
    def facts(self) -> tuple[Fact, ...]:
        """List the facts of all parts, the strongest part's first."""
        ordered = sorted(self.parts, key=lambda part: -part.value)
        return tuple(fact for part in ordered for fact in part.facts)
