"""A catalogue's fields as arrays, row by row as the scorers have them, so that a request looks at every item at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

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
    buyers: NDArray[np.float64]
    popularity: NDArray[np.float64]  # 0..1
    popular: Mask
    _columns: dict[str, list[frozenset[str]]] = field(default_factory=dict, repr=False)

    @classmethod
    def of_items(cls, items: Mapping[str, Item], *, item_ids: Sequence[str], popularity: NDArray[np.float32]) -> Shelf:
        """Lay out the items in the order of `item_ids`; `popularity` counts the buyers of each.

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
        buyers = popularity.astype(np.float64)
        most = max(float(buyers.max()), 1.0) if len(buyers) else 1.0
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
            buyers=buyers,
            popularity=np.log1p(buyers) / np.log1p(most),
            popular=(buyers >= max(edge, _FEWEST_BUYERS)),
        )

    def keeping(self, wish: Wish, *, bought: Mask) -> Mask:
        """Mark the rows that keep to every hard wish: the same as `retrieval.wish.broken` being empty, for all at once."""
        kept = np.ones(len(self.items), bool) if wish.age_restricted else ~self.restricted
        with np.errstate(invalid="ignore"):  # comparing with NaN says no, as it should
            if wish.max_price is not None:
                kept &= self.price <= wish.max_price + 1e-9
            if wish.min_price is not None:
                kept &= self.price >= wish.min_price - 1e-9
            if wish.below_price is not None:
                kept &= self.price < wish.below_price - 1e-9
            if wish.above_price is not None:
                kept &= self.price > wish.above_price + 1e-9
        if wish.brands:
            kept &= self._any("brand", wish.brands)
        if wish.categories:
            kept &= self._any("categories", wish.categories)
        for name, values in wish.attributes.items():
            kept &= self._any(f"attributes.{name}", values)
        for name, values in wish.not_attributes.items():
            kept &= ~self._any(f"attributes.{name}", values)
        for phrase in wish.text_all:
            kept &= self._says(phrase)
        for phrase in wish.text_none:
            kept &= ~self._says(phrase)
            if len(phrase) >= 3:
                kept &= ~np.fromiter((phrase.lower() in text for text in self._lower), bool, len(self.items))
        if wish.bought == "again":
            kept &= bought
        elif wish.bought == "new":
            kept &= ~bought
        if wish.item_ids is not None:
            kept &= self.mask(wish.item_ids)
        if wish.exclude_ids:
            kept &= ~self.mask(wish.exclude_ids)
        return kept

    def mask(self, item_ids: Sequence[str] | frozenset[str] | set[str]) -> Mask:
        """Mark the rows of these items; ids that the shop does not have are passed over."""
        out = np.zeros(len(self.items), bool)
        out[[self.rows[item_id] for item_id in item_ids if item_id in self.rows]] = True
        return out

    def _any(self, column: str, values: Sequence[str]) -> Mask:
        if column not in self._columns:
            self._columns[column] = [_folded(item, column) for item in self.items]
        wanted = {str(value).lower() for value in values}
        return np.fromiter((not wanted.isdisjoint(held) for held in self._columns[column]), bool, len(self.items))

    def _says(self, phrase: str) -> Mask:
        wanted = stems(phrase)
        if not wanted:
            return np.zeros(len(self.items), bool)
        text = f" {' '.join(wanted)} "
        return np.fromiter((text in held for held in self._stems), bool, len(self.items))

    @cached_property
    def _stems(self) -> list[str]:
        return [f" {' '.join(stems(item.text))} " for item in self.items]

    @cached_property
    def _lower(self) -> list[str]:
        return [item.text.lower() for item in self.items]


def kind_of(item: Item) -> str:
    """Name the kind of thing an item is: the first comma piece of its title, in lower case.

    >>> kind_of(Item(item_id="1", title="Shredded cheese, 8 oz, store brand"))
    'shredded cheese'
    """
    return item.title.split(",")[0].strip().lower()


def _folded(item: Item, column: str) -> frozenset[str]:
    if column == "brand":
        return frozenset([item.brand.lower()])
    if column == "categories":
        return frozenset(category.lower() for category in item.categories)
    value = item.attributes.get(column.removeprefix("attributes."))
    if value is None:
        return frozenset()
    return frozenset(str(one).lower() for one in (value if isinstance(value, tuple) else (value,)))
