"""What a saved run is graded on: the items of its shop and what shoppers bought, read without opening the search."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from retrieval.generation import HISTORY, ITEMS, again, current, hold, read_items, read_manifest
from retrieval.history import History
from retrieval.records import Item, ShopError


@dataclass(frozen=True, slots=True, kw_only=True)
class Grounds:
    """Items by id, whether a shopper bought an item before, and the generation of the shop that says so."""

    items: Mapping[str, Item]
    bought: Callable[[str, str], bool]
    generation: str


def read_grounds(shop: Path) -> Grounds:
    """Read a shop's items and purchases (8,191 items and 1.4 million lines: a second).

    Raises:
        ShopError: when the shop is missing, half built, of another version, or damaged.
    """
    folder = current(shop)
    handle = hold(folder)
    if handle is None:
        raise ShopError(f"The shop at {shop} is only half built. {again(shop)}")
    with handle:
        read_manifest(folder, shop=shop)
        try:
            items = {item.item_id: item for item in read_items(folder / ITEMS)}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ShopError(
                f"The shop at {shop} is damaged: {ITEMS} cannot be read ({error}). {again(shop)}"
            ) from error
        history = History.load(folder / HISTORY)
    return Grounds(items=items, bought=history.bought, generation=folder.name)
