"""An opened shop folder: everything a turn reads, of one generation."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from retrieval.catalog import Catalog
from retrieval.deals import Deals
from retrieval.embedder import Embedder
from retrieval.generation import (
    DEALS,
    HISTORY,
    INTERACTIONS,
    ITEMS,
    RANKER,
    SAID,
    SCORER,
    SHOPPERS,
    Manifest,
    again,
    current,
    damaged,
    hold,
    read_items,
    read_manifest,
    read_said,
)
from retrieval.history import History
from retrieval.ranking import RankContext, Ranker
from retrieval.records import Candidate, Recommendation, ShopError
from retrieval.scorer import CollaborativeScorer

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False, kw_only=True)
class Shop:
    """A shop of one generation, held open; a newer generation is seen when the shop is opened again.

    Example:
        >>> from pathlib import Path
        >>> Shop.open(Path("no-such-folder"))
        Traceback (most recent call last):
        retrieval.records.ShopError: No shop at no-such-folder. Build one with: shoptalk prepare --shop no-such-folder
    """

    path: Path
    generation: str
    manifest: Manifest
    catalog: Catalog
    history: History
    scorer: CollaborativeScorer
    ranker: Ranker
    deals: Deals
    _handle: IO[bytes] | None = field(default=None, repr=False)

    @classmethod
    def open(cls, path: Path | str, *, embedder: Embedder | None = None) -> Shop:
        """Open the generation in use; a damaged Chroma is rebuilt beside while exact search answers.

        Args:
            path: The shop folder.
            embedder: Turns queries into vectors; one is made where none is given.

        Raises:
            ShopError: when the shop is missing, half built, of another version, or damaged.
        """
        path = Path(path)
        folder, handle = _hold_current(path)
        with contextlib.ExitStack() as undo:
            undo.callback(handle.close)
            manifest = read_manifest(folder, shop=path)
            if broken := damaged(folder, manifest):
                raise ShopError(f"The shop at {path} is damaged: {broken}. {again(path)}")
            try:
                items = read_items(folder / ITEMS)
                history = History.load(folder / HISTORY)
                scorer = CollaborativeScorer.load(folder / SCORER, history=history)
                ranker = Ranker.load(folder / RANKER)
                deals = _deals(folder, [item.item_id for item in items], now=history.now)
                catalog = Catalog.open(
                    folder,
                    items,
                    embedder=embedder or Embedder(),
                    prior=history.buyers_by_row,
                    said=read_said(folder / SAID),
                )
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise ShopError(f"The shop at {path} is damaged ({error}). {again(path)}") from error
            undo.pop_all()
        return cls(
            path=path,
            generation=folder.name,
            manifest=manifest,
            catalog=catalog,
            history=history,
            scorer=scorer,
            ranker=ranker,
            deals=deals,
            _handle=handle,
        )

    @property
    def folder(self) -> Path:
        """Give the generation's folder."""
        return self.path / self.generation

    def rank(self, candidates: Sequence[Candidate], *, context: RankContext, **options: Any) -> list[Recommendation]:
        """Order candidates for a shopper and a wish; see `Ranker.rank`."""
        return self.ranker.rank(
            candidates,
            context=context,
            catalog=self.catalog,
            history=self.history,
            scorer=self.scorer,
            deals=self.deals,
            **options,
        )

    def candidates(self, context: RankContext, *, limit: int = 300) -> list[Candidate]:
        """Propose items without a query; see `Ranker.candidates`."""
        return self.ranker.candidates(
            context, catalog=self.catalog, history=self.history, scorer=self.scorer, deals=self.deals, limit=limit
        )

    def read_interactions(self) -> pd.DataFrame:
        """Read the log as it was prepared, oldest first (1.4 million rows of the default shop: half a second)."""
        import pandas as pd

        return pd.read_parquet(self.folder / INTERACTIONS)

    def read_shoppers(self) -> pd.DataFrame | None:
        """Read what the source knows of its shoppers; None where it knows nothing."""
        import pandas as pd

        file = self.folder / SHOPPERS
        return pd.read_parquet(file) if file.exists() else None

    def close(self) -> None:
        """Let the generation go."""
        self.catalog.close()
        if self._handle is not None:
            self._handle.close()

    def __enter__(self) -> Shop:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _deals(folder: Path, item_ids: Sequence[str], *, now: float) -> Deals:
    """Read the offers; now is the end of the log, or this moment in a shop that has none."""
    if not (folder / DEALS).exists():  # prepared before there were any
        return Deals.from_offers([], item_ids=item_ids)
    return Deals.load(folder / DEALS, now=now or time.time())


def _hold_current(path: Path) -> tuple[Path, IO[bytes]]:
    """Hold the generation in use; look again when `prepare` swapped and removed it in between."""
    for _ in range(5):
        folder = current(path)
        handle = hold(folder)
        if handle is not None:
            return folder, handle
        if current(path) == folder:
            break
    read_manifest(current(path), shop=path)
    raise ShopError(f"The shop at {path} cannot be read. {again(path)}")
