"""What a shopper wants, typed; and whether an item keeps to it, exactly."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

from retrieval.records import Item

Bought = Literal["any", "again", "new"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """Hard wishes over an item's own fields; an empty field asks nothing.

    `query` says in words what is wanted and orders the answer; every other field is hard.
    `categories`, `brands` and the lists in `attributes` hold when any of them matches, ignoring case;
    `text_all` when all of its phrases occur in the item's text, `text_none` when none does.
    `item_ids` keeps only these items, `exclude_ids` drops these. `deal` keeps only what is on offer to the shopper now:
    the items of `on_offer`, as only the shop's deals know which these are.
    """

    query: str = ""
    max_price: float | None = None
    min_price: float | None = None
    below_price: float | None = None  # strictly cheaper than
    above_price: float | None = None  # strictly dearer than
    brands: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    attributes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    not_attributes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    text_all: tuple[str, ...] = ()
    text_none: tuple[str, ...] = ()
    bought: Bought = "any"
    item_ids: frozenset[str] | None = None
    exclude_ids: frozenset[str] = frozenset()
    deal: bool = False
    on_offer: frozenset[str] = frozenset()
    age_restricted: bool = False  # True: the shopper asked for such goods


def contains(text: str, phrase: str) -> bool:
    """Look for a phrase at a word start in a text, ignoring case and a plural ending.

    >>> contains("Sliced ham, 16 oz", "ham"), contains("Shampoo", "ham"), contains("Hamburger buns", "ham")
    (True, False, False)
    >>> contains("Potato chips", "chip"), contains("Peach tea", "peaches")
    (True, True)
    >>> contains("Yogurt, multipack, 4 pack", "multi packs")
    True
    """
    words = stems(phrase)
    if not words:
        return False
    held = stems(text)
    if len(words) > 1 and "".join(words) in held:
        return True
    return any(held[at : at + len(words)] == words for at in range(len(held) - len(words) + 1))


_FREE_OF = re.compile(r"\b[a-z]+[- ]free\b|\b(?:non|no|without)[- ][a-z]+", re.IGNORECASE)


def tells_of(text: str, phrase: str) -> bool:
    """Say whether a text says that something is in the thing: what it is free of is not.

    A plain substring is enough: "no ham" must not show "hamsteak".

    >>> tells_of("Hamsteak", "ham"), tells_of("Lactose-free milk", "lactose"), tells_of("Sugar-free gum", "sugar free")
    (True, False, True)
    """
    if not _FREE_OF.search(phrase):
        text = _FREE_OF.sub(" ", text)
    return contains(text, phrase) or (len(phrase) >= 3 and phrase.lower() in text.lower())


def stems(text: str) -> list[str]:
    """Split a text into words, folded to lower case and without plural endings; a lone apostrophe is no word."""
    return [folded for word in re.findall(r"[a-z0-9%&']+", text.lower()) if (folded := stem(word))]


@lru_cache(maxsize=65_536)
def stem(word: str) -> str:
    """Fold a lower-case word and its plural to the same text.

    >>> [stem(word) for word in ("cookies", "cookie", "shoes", "shoe", "peaches", "loaves", "glass", "pies", "kids'")]
    ['cooky', 'cooky', 'sho', 'sho', 'peach', 'loaf', 'glass', 'pie', 'kid']
    """
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    word = word.removesuffix("'s").strip("'")
    # Both "cookies" and "cookie" end as "cooky": a singular in -ie, -oe, … is folded as its plural is.
    for ending, kept in (("ies", "y"), ("oes", "o"), ("ches", "ch"), ("shes", "sh"), ("sses", "ss"), ("xes", "x")):
        if word.endswith(ending) and len(word) > len(ending) + 1:
            return word[: -len(ending)] + kept
        if word.endswith(ending[:-1]) and len(word) > len(ending):
            return word[: -len(ending) + 1] + kept
    return word[:-1] if word.endswith("s") and not word.endswith("ss") and len(word) > 3 else word


_IRREGULAR = {"loaves": "loaf", "leaves": "leaf", "knives": "knife", "halves": "half", "shelves": "shelf"}


def broken(item: Item, wish: Wish, *, bought: bool | None = None) -> tuple[str, ...]:
    """Name the hard wishes that an item breaks; empty when it keeps to all of them.

    `bought` says whether this shopper bought the item before; None where nobody knows, which breaks
    "again" and keeps "new". An item without a price breaks every price wish.

    >>> milk = Item(item_id="1", title="Whole milk", price=2.5)
    >>> broken(milk, Wish(max_price=2)), broken(milk, Wish(max_price=3))
    (('max_price',), ())
    """
    out: list[str] = []
    price = item.price
    for name, bound, holds in (
        ("max_price", wish.max_price, lambda p, b: p <= b + 1e-9),
        ("min_price", wish.min_price, lambda p, b: p >= b - 1e-9),
        ("below_price", wish.below_price, lambda p, b: p < b - 1e-9),
        ("above_price", wish.above_price, lambda p, b: p > b + 1e-9),
    ):
        if bound is not None and (price is None or not holds(price, bound)):
            out.append(name)
    if wish.brands and item.brand.lower() not in {brand.lower() for brand in wish.brands}:
        out.append("brands")
    if wish.categories and not {c.lower() for c in item.categories} & {c.lower() for c in wish.categories}:
        out.append("categories")
    if any(not _has(item, name, values) for name, values in wish.attributes.items()):
        out.append("attributes")
    if any(_has(item, name, values) for name, values in wish.not_attributes.items()):
        out.append("not_attributes")
    if wish.text_all or wish.text_none:
        text = item.text
        if not all(contains(text, phrase) for phrase in wish.text_all):
            out.append("text_all")
        if any(tells_of(text, phrase) or tells_of(item.brand, phrase) for phrase in wish.text_none):
            out.append("text_none")
    if (wish.bought == "again" and not bought) or (wish.bought == "new" and bought):
        out.append("bought")
    if wish.item_ids is not None and item.item_id not in wish.item_ids:
        out.append("item_ids")
    if item.item_id in wish.exclude_ids:
        out.append("exclude_ids")
    if wish.deal and item.item_id not in wish.on_offer:
        out.append("deal")
    if item.age_restricted and not wish.age_restricted:
        out.append("age_restricted")
    return tuple(out)


def _has(item: Item, name: str, values: tuple[str, ...]) -> bool:
    held = item.attributes.get(name)
    if held is None:
        return False
    have = held if isinstance(held, tuple) else (held,)
    return bool({str(value).lower() for value in have} & {str(value).lower() for value in values})
