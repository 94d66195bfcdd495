"""A catalogue's fields as arrays, row by row as the scorers have them, so that a request looks at every item at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from retrieval.keeps import Keeps
from retrieval.records import Item, ShopError
from retrieval.wish import Wish, stems

Mask = NDArray[np.bool_]
_TOP_SHARE = 0.1  # an item is called popular when it is in this share of the shop's most bought ...
_FEWEST_BUYERS = 3  # ... and bought by this many


@dataclass(frozen=True, eq=False, kw_only=True)
class Shelf:
    """Every item of a shop by row; `kind` numbers the first comma piece of the title, as `kinds` names it."""

    of: Mapping[str, Item]
    items: Sequence[Item]
    rows: Mapping[str, int]
    price: NDArray[np.float64]  # NaN where an item has none
    kind: NDArray[np.int64]
    kinds: Sequence[str]
    place: NDArray[np.int64]  # of the item id among all, in order: breaks ties
    restricted: Mask
    popular: Mask  # bought by so many that it can be told

    @classmethod
    def of_items(cls, items: Mapping[str, Item], *, item_ids: Sequence[str], buyers: NDArray[np.int64]) -> Shelf:
        """Lay out the items in the order of `item_ids`; `buyers` counts who bought each.

        Raises:
            ShopError: when the catalogue and the scorer are of different shops.
        """
        if len(items) != len(item_ids) or any(item_id not in items for item_id in item_ids):
            raise ShopError(
                f"The catalogue has {len(items)} items and the scorer {len(item_ids)} others. Prepare the shop again."
            )
        held = [items[item_id] for item_id in item_ids]
        names: dict[str, int] = {}
        kind = [names.setdefault(kind_of(item), len(names)) for item in held]
        place = np.empty(len(held), np.int64)
        place[np.array(sorted(range(len(held)), key=lambda row: item_ids[row]), np.int64)] = np.arange(len(held))
        edge = float(np.quantile(buyers, 1 - _TOP_SHARE)) if len(buyers) else 0.0
        return cls(
            of=items,
            items=held,
            rows={item_id: row for row, item_id in enumerate(item_ids)},
            price=np.array([np.nan if item.price is None else item.price for item in held], np.float64),
            kind=np.array(kind, np.int64),
            kinds=tuple(names),
            place=place,
            restricted=np.array([item.age_restricted for item in held], bool),
            popular=(buyers >= max(edge, _FEWEST_BUYERS)),
        )

    @cached_property
    def category(self) -> NDArray[np.int64]:
        """Number each item's broadest category."""
        return _numbered([item.categories[:1] for item in self.items])

    @cached_property
    def family(self) -> NDArray[np.int64]:
        """Number each item's two broadest categories together."""
        return _numbered([item.categories[:2] for item in self.items])

    @cached_property
    def brand(self) -> NDArray[np.int64]:
        """Number each item's brand."""
        return _numbered([item.brand for item in self.items])

    @cached_property
    def categories(self) -> int:
        """Count what `category` numbers."""
        return int(self.category.max(initial=-1)) + 1

    @cached_property
    def families(self) -> int:
        """Count what `family` numbers."""
        return int(self.family.max(initial=-1)) + 1

    @cached_property
    def brands(self) -> int:
        """Count what `brand` numbers."""
        return int(self.brand.max(initial=-1)) + 1

    def keeping(self, wish: Wish, *, bought: Mask) -> Mask:
        """Mark the rows that keep to every hard wish, as `retrieval.wish.broken` has it; `bought` marks what was."""
        if replace(wish, query="", bought="any", age_restricted=False) == Wish():
            # Most requests wish nothing of the items' words; reading those of 100,000 items takes a second.
            kept = np.ones(len(self.items), bool) if wish.age_restricted else ~self.restricted
        else:
            kept = self._keeps.mask(wish)
        if wish.bought == "any":
            return kept
        return kept & (bought if wish.bought == "again" else ~bought)

    @cached_property
    def _keeps(self) -> Keeps:
        rows: dict[str, list[int]] = {}
        for row, item in enumerate(self.items):
            for word in dict.fromkeys(stems(item.text)):
                rows.setdefault(word, []).append(row)
        return Keeps(self.items, rows_with={word: np.array(held, np.int64) for word, held in rows.items()})

    def mask(self, item_ids: Sequence[str] | frozenset[str] | set[str]) -> Mask:
        """Mark the rows of these items; ids that the shop does not have are passed over."""
        out = np.zeros(len(self.items), bool)
        out[[self.rows[item_id] for item_id in item_ids if item_id in self.rows]] = True
        return out


def _numbered(names: Sequence[object]) -> NDArray[np.int64]:
    """Number names in the order of their first place."""
    numbers: dict[object, int] = {}
    return np.array([numbers.setdefault(name, len(numbers)) for name in names], np.int64)


def kind_of(item: Item) -> str:
    """Name the kind of thing an item is: the first comma piece of its title, in lower case.

    >>> kind_of(Item(item_id="1", title="Shredded cheese, 8 oz, store brand"))
    'shredded cheese'
    """
    return item.title.split(",")[0].strip().lower()
