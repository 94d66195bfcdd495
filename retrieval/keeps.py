"""Which of many items keep to a wish: `retrieval.wish.broken` over a whole catalogue at once, with the same answers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from retrieval.records import Item
from retrieval.wish import Wish, contains, stems, tells_of

Mask = NDArray[np.bool_]
Ints = NDArray[np.int64]


class Keeps:
    """Indices over items' prices, brands, categories, attributes and words.

    Args:
        items: The catalogue's items, in its order.
        rows_with: Folded word to the rows whose text holds it.
    """

    def __init__(self, items: Sequence[Item], *, rows_with: Mapping[str, Ints]) -> None:
        self._items = items
        self._rows_with = rows_with
        self._rows = {item.item_id: row for row, item in enumerate(items)}
        self._price = np.array([np.nan if item.price is None else item.price for item in items], dtype=np.float64)
        self._restricted = np.array([item.age_restricted for item in items], dtype=bool)
        self._texts = [item.text for item in items]
        self._lower = [text.lower() for text in self._texts]
        self._brands = _index((item.brand.lower(),) for item in items)
        self._categories = _index(tuple(category.lower() for category in item.categories) for item in items)
        self._attributes = _index(
            tuple(
                (name, str(value).lower())
                for name, held in item.attributes.items()
                if held is not None
                for value in (held if isinstance(held, tuple) else (held,))
            )
            for item in items
        )
        self._saying = lru_cache(maxsize=256)(self._rows_saying)
        self.telling = lru_cache(maxsize=256)(self._rows_telling)

    def mask(self, wish: Wish) -> Mask:
        """Say which items break no hard wish, leaving `bought` aside (that is asked of few items, last)."""
        size = len(self._items)
        kept = np.ones(size, dtype=bool) if wish.age_restricted else ~self._restricted
        price = self._price
        with np.errstate(invalid="ignore"):
            if wish.max_price is not None:
                kept &= price <= wish.max_price + 1e-9
            if wish.min_price is not None:
                kept &= price >= wish.min_price - 1e-9
            if wish.below_price is not None:
                kept &= price < wish.below_price - 1e-9
            if wish.above_price is not None:
                kept &= price > wish.above_price + 1e-9
        if wish.brands:
            kept &= self._any(self._brands, (brand.lower() for brand in wish.brands))
        if wish.categories:
            kept &= self._any(self._categories, (category.lower() for category in wish.categories))
        for name, values in wish.attributes.items():
            kept &= self._any(self._attributes, ((name, str(value).lower()) for value in values))
        for name, values in wish.not_attributes.items():
            kept &= ~self._any(self._attributes, ((name, str(value).lower()) for value in values))
        for phrase in wish.text_all:
            kept &= _at(self._saying(phrase), size)
        for phrase in wish.text_none:
            kept &= ~_at(self.telling(phrase), size)
        if wish.item_ids is not None:
            kept &= _at(np.array([self._rows[i] for i in wish.item_ids if i in self._rows], dtype=np.int64), size)
        if wish.deal:
            kept &= _at(np.array([self._rows[i] for i in wish.on_offer if i in self._rows], dtype=np.int64), size)
        if wish.exclude_ids:
            kept[[self._rows[item_id] for item_id in wish.exclude_ids if item_id in self._rows]] = False
        return kept

    def rows_of(self, name: str, value: str) -> Ints:
        """Give the rows whose attribute has a value, ignoring case."""
        return self._attributes.get((name, value.lower()), np.zeros(0, dtype=np.int64))

    def _any(self, index: Mapping[object, Ints], keys: Iterable[object]) -> Mask:
        out = np.zeros(len(self._items), dtype=bool)
        for key in keys:
            rows = index.get(key)
            if rows is not None:
                out[rows] = True
        return out

    def _rows_saying(self, phrase: str) -> Ints:
        words = stems(phrase)
        none = np.zeros(0, dtype=np.int64)
        if not words:
            return none
        found = self._rows_with.get(words[0], none)
        for word in words[1:]:
            found = np.intersect1d(found, self._rows_with.get(word, none), assume_unique=True)
        if len(words) == 1:
            return found
        rows = {row for row in found.tolist() if contains(self._texts[row], phrase)}
        rows |= set(self._rows_with.get("".join(words), none).tolist())  # "multi packs" is said of a "multipack" too
        return np.array(sorted(rows), dtype=np.int64)

    def _rows_telling(self, phrase: str) -> Ints:
        """Give the rows that an exclusion of the phrase is about: `retrieval.wish.tells_of` their text or brand."""
        spelled = phrase.lower()
        rows = set(self._saying(phrase).tolist())
        if len(phrase) >= 3:
            rows |= {row for row, text in enumerate(self._lower) if spelled in text}
        rows = {row for row in rows if tells_of(self._texts[row], phrase)}
        for brand, held in self._brands.items():
            if tells_of(str(brand), phrase):
                rows |= set(held.tolist())
        return np.array(sorted(rows), dtype=np.int64)


def _index(keys_by_row: Iterable[Iterable[object]]) -> dict[object, Ints]:
    rows: dict[object, list[int]] = defaultdict(list)
    for row, keys in enumerate(keys_by_row):
        for key in keys:
            rows[key].append(row)
    return {key: np.array(held, dtype=np.int64) for key, held in rows.items()}


def _at(rows: Ints, size: int) -> Mask:
    out = np.zeros(size, dtype=bool)
    out[rows] = True
    return out
