"""What was added to a shop since its source was read: kept with every generation, so that no rebuild loses it."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from retrieval.generation import read_items, write_items, write_whole
from retrieval.records import Item, ShopError
from retrieval.source_files import COLUMNS, Source

if TYPE_CHECKING:
    import pandas as pd

FOLDER = "additions"
_RECORD, _ITEMS, _LOG = "additions.json", "items.parquet", "interactions.parquet"
_NUMBERS = {"timestamp": np.nan, "quantity": 1.0, "price": np.nan}  # columns, and what stands for a missing value


@dataclass(frozen=True, eq=False, kw_only=True)
class Additions:
    """Items and log lines that came after the source, of all updates together.

    `replaced` says for every item what it took the place of: the hash of the source's own record (see `item_hash`),
    or "" where the source had none. `source` is the source's name, and `updates` counts the updates.
    """

    items: Sequence[Item]
    interactions: pd.DataFrame
    replaced: Mapping[str, str] = field(default_factory=dict)
    source: str = ""
    updates: int = 0

    @classmethod
    def none(cls) -> Additions:
        """Make additions that add nothing."""
        return cls(items=(), interactions=logged(None))

    @classmethod
    def load(cls, generation: Path) -> Additions:
        """Read what `save` wrote; none where the generation has none.

        Raises:
            ShopError: when they are damaged.
        """
        import pandas as pd

        folder = generation / FOLDER
        if not folder.is_dir():
            return cls.none()
        try:
            record = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
            found = cls(
                items=read_items(folder / _ITEMS),
                interactions=logged(pd.read_parquet(folder / _LOG)),
                replaced={str(item_id): str(was) for item_id, was in record["replaced"].items()},
                source=str(record["source"]),
                updates=int(record["updates"]),
            )
            if found.digest != record["digest"]:
                raise ValueError("they have changed since they were written")
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ShopError(
                f"What updates added to the shop, in {folder}, cannot be read ({error}). "
                "Build the shop without it: shoptalk prepare --fresh"
            ) from error
        return found

    def save(self, generation: Path) -> None:
        """Write them into a generation's folder; nothing where nothing was added."""
        if not self:
            return
        folder = generation / FOLDER
        folder.mkdir(exist_ok=True)
        write_items(folder / _ITEMS, self.items)
        self.interactions.to_parquet(folder / _LOG, index=False)
        record = {
            "digest": self.digest,
            "source": self.source,
            "updates": self.updates,
            "replaced": dict(self.replaced),
        }
        write_whole(folder / _RECORD, json.dumps(record))

    def __bool__(self) -> bool:
        return bool(self.items) or len(self.interactions) > 0

    @property
    def counts(self) -> dict[str, int]:
        """Count the updates and what they added; empty where they added nothing."""
        if not self:
            return {}
        return {"updates": self.updates, "items": len(self.items), "interactions": len(self.interactions)}

    @property
    def digest(self) -> str:
        """Hash what is added, "" where that is nothing: the same source and digest make the same shop."""
        if not self:
            return ""
        digest = hashlib.sha256(json.dumps([item_hash(item) for item in self.items]).encode())
        digest.update(json.dumps(dict(self.replaced), sort_keys=True).encode())
        digest.update(log_digest(self.interactions))
        return digest.hexdigest()

    def plus(self, source: Source, *, items: Sequence[Item], interactions: pd.DataFrame) -> tuple[Source, Additions]:
        """Add more to `source`, which has these additions already; what it has as it is is not added.

        An item takes the place of all that was known of it. A line that the log has is left out, so that giving a
        file twice adds nothing; of new lines that repeat each other all are kept, as `prepare` keeps them.

        Returns:
            The source with what is new, and the additions with it; both as they were where nothing is new.
        """
        there = {item.item_id: item for item in source.items}
        new = {item.item_id: item for item in items if there.get(item.item_id) != item}
        lines = interactions[~_there(interactions, logged(source.interactions))]
        if not new and not len(lines):
            return source, self
        replaced = dict(self.replaced)
        for item_id in new:
            replaced.setdefault(item_id, item_hash(there[item_id]) if item_id in there else "")
        more = Additions(
            items=_renewed(self.items, new.values()),
            interactions=_joined(self.interactions, lines),
            replaced=replaced,
            source=source.name,
            updates=self.updates + 1,
        )
        return _merged(source, items=list(new.values()), interactions=lines), more

    def onto(self, source: Source) -> tuple[Source, Additions]:
        """Add them to a source, which may be a later one than they were made for.

        Where the source has changed its own record of an item, or dropped the item, since an update replaced it, the
        source is right. Log lines that the source has by now, or of items that it has no more, are left out. All that
        is left out is counted in the source's `counts`.

        Returns:
            The source with the additions, and the additions that it took.
        """
        own = {item.item_id: item_hash(item) for item in source.items}
        items = [item for item in self.items if own.get(item.item_id, "") == self.replaced[item.item_id]]
        known = {*own, *(item.item_id for item in items)}
        log = logged(source.interactions)
        there = _there(self.interactions, log)
        lost = ~self.interactions["item_id"].isin(known).to_numpy() & ~there
        dropped = Counter(
            {
                "updated items dropped: the source says something else of them now": len(self.items) - len(items),
                "updated interactions dropped: in the source by now": int(there.sum()),
                "updated interactions dropped: no item has this item_id": int(lost.sum()),
            }
        )
        taken = replace(
            self,
            items=items,
            interactions=self.interactions[~there & ~lost].reset_index(drop=True),
            replaced={item.item_id: self.replaced[item.item_id] for item in items},
        )
        source = replace(source, counts=dict(source.counts) | dict(+dropped))
        return _merged(source, items=items, interactions=taken.interactions) if taken else source, taken


def logged(table: pd.DataFrame | None) -> pd.DataFrame:
    """Give a log every column of `formats.md` §1, and what it leaves out the value that stands for that."""
    import pandas as pd

    table = pd.DataFrame() if table is None else table
    columns: dict[str, pd.Series] = {}
    for name in COLUMNS:
        column = table[name] if name in table else pd.Series([None] * len(table), index=table.index)
        if name in _NUMBERS:
            columns[name] = column.astype("float64").fillna(_NUMBERS[name])
        else:
            columns[name] = column.astype("str").fillna("purchase" if name == "event" else "")
    return pd.DataFrame(columns)


def item_hash(item: Item) -> str:
    """Hash an item's record, the same before and after it was written to a file."""

    def plain(value: object) -> object:
        if isinstance(value, tuple | list):
            return [plain(one) for one in value]
        return float(value) if isinstance(value, int) else value

    record = asdict(item)
    record["attributes"] = {name: plain(value) for name, value in record["attributes"].items()}
    text = json.dumps({name: plain(value) for name, value in record.items()}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def log_digest(table: pd.DataFrame) -> bytes:
    """Hash a log's columns."""
    import pandas as pd

    digest = hashlib.sha256()
    for name in COLUMNS:
        if name in table:
            column = table[name]
            numbers = column.to_numpy()
            if not pd.api.types.is_numeric_dtype(column):
                numbers, values = pd.factorize(column)
                digest.update("\x1f".join(map(str, values)).encode())
            digest.update(np.ascontiguousarray(numbers).tobytes())
    return digest.digest()


def _merged(source: Source, *, items: Sequence[Item], interactions: pd.DataFrame) -> Source:
    return replace(
        source,
        items=_renewed(source.items, items),
        interactions=_joined(logged(source.interactions), interactions),
    )


def _renewed(items: Iterable[Item], newer: Iterable[Item]) -> list[Item]:
    """Put items in the place of those with their ids, and new ones at the end."""
    held = {item.item_id: item for item in items} | {item.item_id: item for item in newer}
    return list(held.values())


def _joined(log: pd.DataFrame, lines: pd.DataFrame) -> pd.DataFrame:
    """Put log lines behind those of their time."""
    import pandas as pd

    if not len(lines) or not len(log):
        return (lines if len(lines) else log).reset_index(drop=True)
    both = pd.concat([log, lines], ignore_index=True)
    return both.sort_values("timestamp", kind="stable", ignore_index=True)


def _there(lines: pd.DataFrame, log: pd.DataFrame) -> NDArray[np.bool_]:
    """Mark the lines that the log has."""
    log = log[log["timestamp"].isin(lines["timestamp"])]  # few of a long log
    found = lines.merge(log.drop_duplicates(), how="left", on=list(COLUMNS), indicator=True)["_merge"]
    marked: NDArray[np.bool_] = (found == "both").to_numpy()
    return marked
