"""Prepare a shop from a source: built beside the old one, together with what updates added, and swapped in whole."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retrieval.build import Progress, SourceLike, build
from retrieval.generation import (
    MANIFEST,
    POINTER,
    VERSION,
    Manifest,
    current,
    damaged,
    generations,
    held,
    point_to,
    read_manifest,
    write_whole,
)
from retrieval.records import ShopError

if TYPE_CHECKING:
    from retrieval.additions import Additions
    from retrieval.embedder import Embedder
    from retrieval.source_files import Source

LOCK = "prepare.lock"
REJECTED = "rejected.jsonl"
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def prepare(
    source: SourceLike,
    *,
    shop: Path | str,
    progress: Progress | None = None,
    until: float | None = None,
    embedder: Embedder | None = None,
    fresh: bool = False,
) -> Manifest:
    """Build the shop folder, or find that it is built already.

    A generation is built beside the one in use, its manifest last, and then the pointer is swapped: whatever
    interrupts the building, the old shop goes on. A build that was interrupted is taken up after its last
    finished step. Old generations go when nobody reads them. What `retrieval.update.update` added to the shop that
    is there is added to the source again (see `Additions.onto`), and `Manifest.added` counts it.

    Args:
        source: Items, interactions and counts; `name`, `rejected`, `shoppers`, `said` and `offers` where it has them.
        shop: The shop folder; made where it is missing.
        progress: Told what is being done, and the share of the whole that is done.
        until: Leave out interactions at or after this time, in seconds since 1970.
        embedder: Turns texts into vectors; one is made where none is given.
        fresh: Leave out what updates added.

    Raises:
        ShopError: when the folder cannot be written, the disk is full, another process prepares this shop, or what
            updates added is damaged or belongs to a source of another name.
    """
    shop = Path(shop)
    tell = progress or (lambda _what, _share: None)
    if not source.items:
        raise ShopError("A shop needs at least one item, and the source has none")
    try:
        shop.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ShopError(f"Cannot make the shop folder {shop}: {error.strerror}. Choose another with --shop") from error
    with alone(shop), room(shop):
        tell("Looking at the source", 0.0)
        source_key = _key(source, until=until)
        additions = None if fresh else _additions(shop)
        if additions is not None:
            _same(additions, source, shop=shop)
            source, additions = additions.onto(_whole(source))
        key = keyed(source_key, additions)
        found = ready(shop, key)
        if found is not None:
            clean(shop, keep={found.generation})
            tell("Ready", 1.0)
            return found
        folder = folder_for(shop, key)
        clean(shop, keep={folder.name, pointed(shop)})
        there = prepared(shop)
        manifest = build(
            folder,
            source,
            key=key,
            source_key=source_key,
            until=until,
            tell=tell,
            embedder=embedder,
            additions=additions,
            known=None if there is None else shop / there.generation,
        )
        point_to(shop, folder.name)
        note_rejected(shop, getattr(source, "rejected", ()))
        clean(shop, keep={folder.name})
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


@contextlib.contextmanager
def alone(shop: Path) -> Iterator[None]:
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
def room(shop: Path) -> Iterator[None]:
    """Turn an error of the disk into a clear one, and free what the interrupted build took when it is full."""
    try:
        yield
    except OSError as error:
        keep = pointed(shop)
        whole = "The shop that was there is unchanged." if keep else "Nothing was built."
        if not _full(error, shop):
            raise ShopError(f"Cannot build the shop at {shop}: {error}. {whole}") from error
        with contextlib.suppress(OSError):
            clean(shop, keep={keep})
        raise ShopError(f"No space left to build the shop at {shop}. {whole} Make room and try again") from error


def _full(error: OSError, shop: Path) -> bool:
    # numpy and Chroma word a full disk in their own way, without its number.
    return (
        error.errno in _NO_ROOM
        or any(words in str(error) for words in ("disk is full", "requested and", "No space left", "File too large"))
        or shutil.disk_usage(shop).free < 1_000_000
    )


def ready(shop: Path, key: str) -> Manifest | None:
    """Give the manifest of a whole generation of this source, the one in use first; point to it if need be."""
    in_use = pointed(shop)
    for folder in sorted(generations(shop), key=lambda folder: folder.name != in_use):
        try:
            manifest = read_manifest(folder, shop=shop)
        except ShopError:
            continue
        if manifest.key == key and not damaged(folder, manifest):
            if folder.name != in_use:
                point_to(shop, folder.name)  # killed between the last write and the swap
            return manifest
    return None


def pointed(shop: Path) -> str:
    """Name the generation in use, "" where none is."""
    try:
        return (shop / POINTER).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return ""


def folder_for(shop: Path, key: str) -> Path:
    """Choose the folder to build in: one that was begun for this source, else a new one."""
    number = 1
    while True:
        folder = shop / f"g-{key[:12]}-{number}"
        if not folder.exists():
            return folder
        if folder.name != pointed(shop) and not held(folder):
            if not (folder / MANIFEST).exists():
                return folder
            shutil.rmtree(folder)  # damaged, and nobody reads it
            return folder
        number += 1


def clean(shop: Path, *, keep: set[str]) -> None:
    """Remove generations that are neither kept nor read by anybody, and half written small files."""
    for folder in generations(shop):
        if folder.name not in keep and not held(folder):
            shutil.rmtree(folder, ignore_errors=True)
    for file in shop.glob("*.new"):
        file.unlink(missing_ok=True)


def note_rejected(shop: Path, rows: Sequence[Any], *, more: bool = False) -> None:
    """List the rows that were of no use; with `more`, those that are not listed yet behind those that are."""
    lines = [json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in rows]
    if more:
        file = shop / REJECTED
        listed = file.read_text(encoding="utf-8").splitlines(keepends=True) if file.is_file() else []
        lines = list(dict.fromkeys([*listed, *lines]))
        if lines == listed:
            return
    write_whole(shop / REJECTED, "".join(lines))


def keyed(source_key: str, additions: Additions | None) -> str:
    """Give the key of a shop: its source's where nothing was added."""
    if not additions:
        return source_key
    return hashlib.sha256(f"{source_key} {additions.digest}".encode()).hexdigest()


def _key(source: SourceLike, *, until: float | None) -> str:
    """Hash everything the shop is built from, but what updates added."""
    from retrieval.additions import log_digest
    from retrieval.embedder import MAX_TOKENS, MODEL

    digest = hashlib.sha256(json.dumps([VERSION, until, MODEL, MAX_TOKENS]).encode())
    digest.update(json.dumps(dict(getattr(source, "said", {})), sort_keys=True).encode())
    for item in source.items:
        digest.update(json.dumps(asdict(item), sort_keys=True, default=str).encode())
    for offer in getattr(source, "offers", ()):
        digest.update(json.dumps(asdict(offer), sort_keys=True).encode())
    digest.update(log_digest(source.interactions))
    return digest.hexdigest()


def _additions(shop: Path) -> Additions | None:
    """Read what updates added to the shop in use, even one that this version cannot open any more; None for nothing.

    Where the pointer is lost, the newest whole generation is the one.
    """
    from retrieval.additions import Additions

    folder = shop / pointed(shop)
    if folder == shop or not folder.is_dir():
        whole = [folder for folder in generations(shop) if (folder / MANIFEST).is_file()]
        if not whole:
            return None
        folder = max(whole, key=lambda folder: (folder / MANIFEST).stat().st_mtime)
    return Additions.load(folder) or None


def _same(additions: Additions, source: SourceLike, *, shop: Path) -> None:
    """Refuse to add to one source what was added to another."""
    name = str(getattr(source, "name", ""))
    if additions.source != name:
        raise ShopError(
            f"The shop at {shop} was made from {additions.source} and has {additions.updates} updates, which {name} "
            "does not have. Give the source under the name that it had, to keep them; or add --fresh, to leave them out"
        )


def _whole(source: SourceLike) -> Source:
    """Give a source every field that a source may have."""
    from retrieval.source_files import Source

    held = {name: getattr(source, name) for name in Source.__dataclass_fields__ if hasattr(source, name)}
    return Source(**{"name": "", **held})
