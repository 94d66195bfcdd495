"""Build a shop folder from a source: beside the old one, step by step, swapped in whole."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from retrieval.generation import (
    HISTORY,
    INTERACTIONS,
    ITEMS,
    POINTER,
    RANKER,
    SAID,
    SCORER,
    SHOPPERS,
    VERSION,
    Manifest,
    current,
    damaged,
    file_hashes,
    generations,
    held,
    point_to,
    read_manifest,
    read_said,
    write_items,
    write_manifest,
    write_whole,
)
from retrieval.records import Item, ShopError

if TYPE_CHECKING:
    import pandas as pd

    from retrieval.embedder import Embedder

Progress = Callable[[str, float], None]

STEPS = "steps.json"
LOCK = "prepare.lock"
REJECTED = "rejected.jsonl"
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_PACKAGES = ("shoptalk", "chromadb", "bm25s", "implicit", "sentence-transformers", "torch", "numpy", "pandas")
_COLUMNS = ("user_id", "item_id", "timestamp", "event", "quantity", "price", "basket_id")


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


def prepare(
    source: SourceLike,
    *,
    shop: Path | str,
    progress: Progress | None = None,
    until: float | None = None,
    embedder: Embedder | None = None,
) -> Manifest:
    """Build the shop folder, or find that it is built already.

    A generation is built beside the one in use, its manifest last, and then the pointer is swapped: whatever
    interrupts the building, the old shop goes on. A build that was interrupted is taken up after its last
    finished step. Old generations go when nobody reads them.

    Args:
        source: Items, interactions and counts; `name`, `rejected`, `shoppers` and `said` where it has them.
        shop: The shop folder; made where it is missing.
        progress: Told what is being done, and the share of the whole that is done.
        until: Leave out interactions at or after this time, in seconds since 1970.
        embedder: Turns texts into vectors; one is made where none is given.

    Raises:
        ShopError: when the folder cannot be written, the disk is full, or another process prepares this shop.
    """
    shop = Path(shop)
    tell = progress or (lambda _what, _share: None)
    if not source.items:
        raise ShopError("A shop needs at least one item, and the source has none")
    try:
        shop.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ShopError(f"Cannot make the shop folder {shop}: {error.strerror}. Choose another with --shop") from error
    with _alone(shop), _room(shop):
        tell("Looking at the source", 0.0)
        key = _key(source, until=until)
        ready = _ready(shop, key)
        if ready is not None:
            _clean(shop, keep={ready.generation})
            tell("Ready", 1.0)
            return ready
        folder = _folder(shop, key)
        _clean(shop, keep={folder.name, _pointed(shop)})
        manifest = _build(folder, source, key=key, until=until, tell=tell, embedder=embedder)
        point_to(shop, folder.name)
        _write_rejected(shop, source)
        _clean(shop, keep={folder.name})
        tell("Ready", 1.0)
        return manifest


def prepared(shop: Path) -> Manifest | None:
    """Give the manifest of the whole shop that is there, None where there is none or only a damaged or half built one."""
    try:
        folder = current(shop)
        manifest = read_manifest(folder, shop=shop)
    except ShopError:
        return None
    return None if damaged(folder, manifest) else manifest


def _build(
    folder: Path, source: SourceLike, *, key: str, until: float | None, tell: Progress, embedder: Embedder | None
) -> Manifest:

    from retrieval.catalog import Catalog, build_catalog, build_store
    from retrieval.embedder import Embedder
    from retrieval.history import History
    from retrieval.scorer import CollaborativeScorer
    from retrieval.weights import fit_weights
    from retrieval.wish import Wish

    started = time.monotonic()
    folder.mkdir(exist_ok=True)
    steps = _Steps(folder, key=key)
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
        table.loc[:, [name for name in _COLUMNS if name in table]].to_parquet(folder / INTERACTIONS, index=False)
        shoppers = getattr(source, "shoppers", None)
        write_whole(folder / SAID, json.dumps(dict(getattr(source, "said", {}))))
        if shoppers is not None:
            shoppers.to_parquet(folder / SHOPPERS, index=False)
        steps.done("items")
    if steps.open("history"):
        tell("Reading the history", 0.06)
        History.from_interactions(source.interactions, item_ids=item_ids, until=until).save(folder / HISTORY)
        steps.done("history")
    history = History.load(folder / HISTORY)
    if steps.open("scorer"):
        tell("Fitting the collaborative scorer", 0.10)
        CollaborativeScorer.fit(history).save(folder / SCORER)
        steps.done("scorer")
    if steps.open("catalog"):
        what = "Reading the items (vectors and words)"
        tell(what, 0.25)
        build_catalog(folder, items, embedder=embedder, progress=lambda share: tell(what, 0.25 + 0.45 * share))
        steps.done("catalog")
    if steps.open("store"):
        tell("Filling Chroma", 0.70)
        build_store(folder, items)
        steps.done("store")
    if steps.open("ranker"):
        what = "Fitting the ranking"
        tell(what, 0.75)
        catalog = Catalog.open(
            folder, items, embedder=embedder, prior=history.buyers_by_row, said=read_said(folder / SAID)
        )
        try:
            ranker = fit_weights(
                items,
                history,
                search=lambda query: catalog.search([query], wish=Wish(query=query), limit=300),
                progress=lambda _part, share: tell(what, 0.75 + 0.23 * share),
            )
        finally:
            catalog.close()
        ranker.save(folder / RANKER)
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


@contextlib.contextmanager
def _alone(shop: Path) -> Iterator[None]:
    """Keep other processes from preparing the same shop."""
    try:
        lock = (shop / LOCK).open("a")
    except OSError as error:
        raise ShopError(
            f"Cannot write to the shop folder {shop}: {error.strerror}. Choose another with --shop"
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ShopError(
                f"Another process is preparing the shop at {shop}. Wait until it is done, or stop it, and try again"
            ) from None
        yield


@contextlib.contextmanager
def _room(shop: Path) -> Iterator[None]:
    """Turn an error of the disk into a clear one, and free what the interrupted build took when it is full."""
    try:
        yield
    except OSError as error:
        keep = _pointed(shop)
        whole = "The shop that was there is unchanged." if keep else "Nothing was built."
        if not _full(error, shop):
            raise ShopError(f"Cannot build the shop at {shop}: {error}. {whole}") from error
        with contextlib.suppress(OSError):
            _clean(shop, keep={keep})
        raise ShopError(f"No space left to build the shop at {shop}. {whole} Make room and try again") from error


def _full(error: OSError, shop: Path) -> bool:
    # numpy and Chroma word a full disk in their own way, without its number.
    return (
        error.errno in _NO_ROOM
        or any(words in str(error) for words in ("disk is full", "requested and", "No space left", "File too large"))
        or shutil.disk_usage(shop).free < 1_000_000
    )


def _ready(shop: Path, key: str) -> Manifest | None:
    """Give the manifest of a whole generation of this source, the one in use first; point to it if need be."""
    pointed = _pointed(shop)
    for folder in sorted(generations(shop), key=lambda folder: folder.name != pointed):
        try:
            manifest = read_manifest(folder, shop=shop)
        except ShopError:
            continue
        if manifest.key == key and not damaged(folder, manifest):
            if folder.name != pointed:
                point_to(shop, folder.name)  # killed between the last write and the swap
            return manifest
    return None


def _pointed(shop: Path) -> str:
    try:
        return (shop / POINTER).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return ""


def _folder(shop: Path, key: str) -> Path:
    """Choose the folder to build in: one that was begun for this source, else a new one."""
    number = 1
    while True:
        folder = shop / f"g-{key[:12]}-{number}"
        if not folder.exists():
            return folder
        if folder.name != _pointed(shop) and not held(folder):
            if not (folder / "manifest.json").exists():
                return folder
            shutil.rmtree(folder)  # damaged, and nobody reads it
            return folder
        number += 1


def _clean(shop: Path, *, keep: set[str]) -> None:
    """Remove generations that are neither kept nor read by anybody, and half written small files."""
    for folder in generations(shop):
        if folder.name not in keep and not held(folder):
            shutil.rmtree(folder, ignore_errors=True)
    for file in shop.glob("*.new"):
        file.unlink(missing_ok=True)


def _write_rejected(shop: Path, source: SourceLike) -> None:
    rows = getattr(source, "rejected", ())
    write_whole(shop / REJECTED, "".join(json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in rows))


def _key(source: SourceLike, *, until: float | None) -> str:
    """Hash everything the shop is built from."""
    import numpy as np
    import pandas as pd

    from retrieval.embedder import MAX_TOKENS, MODEL

    digest = hashlib.sha256(json.dumps([VERSION, until, MODEL, MAX_TOKENS]).encode())
    digest.update(json.dumps(dict(getattr(source, "said", {})), sort_keys=True).encode())
    for item in source.items:
        digest.update(json.dumps(asdict(item), sort_keys=True, default=str).encode())
    table = source.interactions
    for name in _COLUMNS:
        if name in table:
            column = table[name]
            numbers = column.to_numpy()
            if not pd.api.types.is_numeric_dtype(column):
                numbers, values = pd.factorize(column)
                digest.update("\x1f".join(map(str, values)).encode())
            digest.update(np.ascontiguousarray(numbers).tobytes())
    return digest.hexdigest()


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
