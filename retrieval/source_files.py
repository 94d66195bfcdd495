"""Read a shop from the neutral files of its owner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from retrieval.records import Item

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """A row that cannot be used, and why; `value` is what stood there, cut short."""

    file: str
    line: int
    reason: str
    value: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A shop as it was read: its items, its log and what was dropped on the way.

    `interactions` has the columns user_id, item_id, timestamp (seconds), event, quantity, price, basket_id,
    oldest first; `counts` says how many rows were read, kept and dropped, by reason.
    """

    name: str
    items: Sequence[Item]
    interactions: pd.DataFrame
    counts: Mapping[str, int] = field(default_factory=dict)
    rejected: Sequence[Rejected] = ()
    shoppers: pd.DataFrame | None = None
