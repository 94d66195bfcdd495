"""Build one generation of a shop in its own folder, step by step, so that a build that was interrupted goes on."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

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
    file_hashes,
    read_said,
    write_items,
    write_manifest,
    write_whole,
)
from retrieval.records import Item, ShopError

if TYPE_CHECKING:
    import pandas as pd

    from retrieval.additions import Additions
    from retrieval.embedder import Embedder

Progress = Callable[[str, float], None]

STEPS = "steps.json"
COLUMNS = ("user_id", "item_id", "timestamp", "event", "quantity", "price", "basket_id")
_PACKAGES = ("shoptalk", "chromadb", "bm25s", "implicit", "sentence-transformers", "torch", "numpy", "pandas")


class SourceLike(Protocol):
    """What a shop is built from: `retrieval.source_files.Source`, or anything with its fields."""

    @property
    def items(self) -> Sequence[Item]:
        """The items, in catalogue order."""

    @property
    def interactions(self) -> pd.DataFrame:
        """The log, with the columns of `formats.md` §1."""

    @property
    def counts(self) -> Mapping[str, int]:
        """Rows read, kept and dropped, by reason."""


def build(
    folder: Path,
    source: SourceLike,
    *,
    key: str,
    source_key: str,
    tell: Progress,
    until: float | None = None,
    embedder: Embedder | None = None,
    additions: Additions | None = None,
    known: Path | None = None,
    ranker: Path | None = None,
) -> Manifest:
    """Build a generation, its manifest last; steps that were finished before are not done again.

    Args:
        folder: The generation's folder; made where it is missing.
        source: All that the shop is made of, the additions among it.
        key: Tells this shop from any other.
        source_key: Tells its source, without the additions.
        tell: Told what is being done, and the share of the whole that is done.
        until: Leave out interactions at or after this time, in seconds since 1970.
        embedder: Turns texts into vectors; one is made where none is given.
        additions: What the source has of updates, to be kept beside it.
        known: A whole generation: texts that it has vectors of are not embedded again.
        ranker: The weights to take over; without, they are fitted.

    Raises:
        ShopError: two items have one id, or the weights to take over cannot be read.
    """
    from retrieval.catalog import Catalog, build_catalog, build_store
    from retrieval.deals import Deals
    from retrieval.embedder import Embedder
    from retrieval.history import History
    from retrieval.ranking import Ranker
    from retrieval.scorer import CollaborativeScorer
    from retrieval.weights import fit_weights
    from retrieval.wish import Wish

    started = time.monotonic()
    folder.mkdir(exist_ok=True)
    # Whether the weights are fitted is no part of the shop's key, but a build of the one kind is no start for the other.
    steps = _Steps(folder, key=key if ranker is None else f"{key} {RANKER}")
    items = list(source.items)
    item_ids = [item.item_id for item in items]
    if len(set(item_ids)) < len(item_ids):
        raise ShopError("Two items have the same item_id: ids must be unique")
    embedder = embedder or Embedder()

    def log() -> pd.DataFrame:
        table = source.interactions
        return table if until is None else table[table["timestamp"] < until]

    if steps.open("items"):
        tell("Writing items and interactions", 0.02)
        write_items(folder / ITEMS, items)
        table = log()
        table.loc[:, [name for name in COLUMNS if name in table]].to_parquet(folder / INTERACTIONS, index=False)
        shoppers = getattr(source, "shoppers", None)
        write_whole(folder / SAID, json.dumps(dict(getattr(source, "said", {}))))
        if shoppers is not None:
            shoppers.to_parquet(folder / SHOPPERS, index=False)
        if additions is not None:
            additions.save(folder)
        steps.done("items")
    if steps.open("history"):
        tell("Reading the history", 0.06)
        History.from_interactions(source.interactions, item_ids=item_ids, until=until).save(folder / HISTORY)
        steps.done("history")
    history = History.load(folder / HISTORY)
    if steps.open("deals"):
        # Also those after `until`: what will be in the ad is known before what is bought.
        Deals.from_offers(getattr(source, "offers", ()), item_ids=item_ids).save(folder / DEALS)
        steps.done("deals")
    if steps.open("scorer"):
        tell("Fitting the collaborative scorer", 0.10)
        CollaborativeScorer.fit(history).save(folder / SCORER)
        steps.done("scorer")
    if steps.open("catalog"):
        what = "Reading the items (vectors and words)"
        tell(what, 0.25)
        build_catalog(
            folder, items, embedder=embedder, known=known, progress=lambda share: tell(what, 0.25 + 0.45 * share)
        )
        steps.done("catalog")
    if steps.open("store"):
        tell("Filling Chroma", 0.70)
        build_store(folder, items)
        steps.done("store")
    if ranker is not None:
        Ranker.load(ranker).save(folder / RANKER)
    elif steps.open("ranker"):
        what = "Fitting the ranking"
        tell(what, 0.75)
        catalog = Catalog.open(
            folder, items, embedder=embedder, prior=history.buyers_by_row, said=read_said(folder / SAID)
        )
        try:
            fitted = fit_weights(
                items,
                history,
                search=lambda query: catalog.search([query], wish=Wish(query=query), limit=300),
                progress=lambda _part, share: tell(what, 0.75 + 0.23 * share),
                deals=Deals.load(folder / DEALS, now=history.now),
            )
        finally:
            catalog.close()
        fitted.save(folder / RANKER)
        steps.done("ranker")
    tell("Checking what was written", 0.99)
    _sync(folder)
    manifest = Manifest(
        generation=folder.name,
        key=key,
        source=str(getattr(source, "name", "")),
        until=until,
        built=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=round(time.monotonic() - started, 1),
        counts={
            **_plain(source.counts),
            "items": len(items),
            "interactions": len(log()),
            "shoppers": len(history.users),
        },
        versions=_versions(),
        files=file_hashes(folder),
        fingerprint=getattr(source, "fingerprint", ""),
        source_key=source_key,
        added={} if additions is None else additions.counts,
    )
    write_manifest(folder, manifest)
    return manifest


class _Steps:
    """Which steps of a build are finished; kept in the half built generation."""

    def __init__(self, folder: Path, *, key: str) -> None:
        self._file = folder / STEPS
        self._key = key
        self._done: list[str] = []
        try:
            record = json.loads(self._file.read_text(encoding="utf-8"))
            if record["key"] == key:
                self._done = list(record["done"])
        except (OSError, ValueError, KeyError, TypeError):
            self._done = []

    def open(self, step: str) -> bool:
        """Say whether a step is still to be done."""
        return step not in self._done

    def done(self, step: str) -> None:
        """Note that a step's files are written."""
        _sync(self._file.parent)
        self._done.append(step)
        write_whole(self._file, json.dumps({"key": self._key, "done": self._done}))


def _sync(folder: Path) -> None:
    """Make sure that what was written is on the disk before it is counted on."""
    for file in folder.rglob("*"):
        if file.is_file():
            handle = os.open(file, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)


def _plain(counts: Mapping[str, int]) -> dict[str, int]:
    return {str(name): int(count) for name, count in counts.items()}


def _versions() -> dict[str, str]:
    out = {}
    for name in _PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            out[name] = version(name)
    return out
