"""Add new items and new log lines to a shop: the next generation is built beside, from what does not change of this one."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from retrieval.additions import Additions, logged
from retrieval.build import Progress, build
from retrieval.deals import Deals
from retrieval.generation import (
    DEALS,
    INTERACTIONS,
    ITEMS,
    RANKER,
    SAID,
    SHOPPERS,
    Manifest,
    again,
    current,
    damaged,
    point_to,
    read_manifest,
    read_said,
)
from retrieval.generation import read_items as read_table
from retrieval.prepare import alone, clean, folder_for, keyed, note_rejected, ready, room
from retrieval.records import Item, ShopError
from retrieval.source_files import Rejected, Source, read_interactions, read_items

if TYPE_CHECKING:
    import pandas as pd

    from retrieval.embedder import Embedder


@dataclass(frozen=True, slots=True, kw_only=True)
class Updated:
    """What an update did: how many rows were new, how many the shop had already, how many were of no use.

    `changed` is False where nothing was new: then `manifest` is of the generation that was there.
    """

    manifest: Manifest
    changed: bool
    new_items: int = 0
    changed_items: int = 0
    same_items: int = 0
    interactions: int = 0
    repeated: int = 0
    rejected: int = 0
    seconds: float = 0.0


def update(
    shop: Path | str,
    *,
    items: Path | str | None = None,
    interactions: Path | str | None = None,
    refit: bool = False,
    progress: Progress | None = None,
    embedder: Embedder | None = None,
) -> Updated:
    """Add items and log lines to a prepared shop, and swap in the generation that has them.

    An item whose id the shop has takes the place of that item, whole; a log line that the shop has is counted and
    left out. History and scorer are fitted to the whole log again, so that every part of a score is that of a shop
    prepared from all of it at once; the ranking's weights are kept. Vectors are taken over where the text is the same.
    Nothing in the old generation changes: whatever interrupts this, the old shop goes on.

    Args:
        shop: The shop folder.
        items: New and changed items, as JSON lines (`formats.md` §1).
        interactions: New log lines; they may be of items that are new with them.
        refit: Fit the ranking's weights anew too (slow), also where nothing is new.
        progress: Told what is being done, and the share of the whole that is done.
        embedder: Turns new texts into vectors; one is made where none is given.

    Raises:
        ShopError: there is no whole shop, a file is missing, empty or of no use at all, the disk is full, or another
            process prepares this shop.
    """
    shop, started = Path(shop), time.monotonic()
    tell = progress or (lambda _what, _share: None)
    if items is None and interactions is None and not refit:
        raise ShopError("Nothing to add was named: give --items FILE, --interactions FILE or both")
    current(shop)  # says what is missing before anything is written
    with alone(shop), room(shop):
        tell("Reading what is there", 0.0)
        folder, manifest = _in_use(shop)
        source, before = read_source(folder, manifest), Additions.load(folder)
        given, lines, rejected = _read(items, interactions, source=source)
        there = {item.item_id: item for item in source.items}
        merged, additions = before.plus(source, items=given, interactions=lines)
        made = manifest
        if additions is not before or refit:
            key = keyed(manifest.source_key or manifest.key, additions)
            made = _made(shop, merged, additions, key=key, manifest=manifest, refit=refit, tell=tell, embedder=embedder)
        note_rejected(shop, rejected, more=True)
        tell("Ready", 1.0)
    new = sum(item.item_id not in there for item in given)
    same = sum(there.get(item.item_id) == item for item in given)
    added = len(additions.interactions) - len(before.interactions)
    return Updated(
        manifest=made,
        changed=made.generation != folder.name,
        new_items=new,
        changed_items=len(given) - new - same,
        same_items=same,
        interactions=added,
        repeated=len(lines) - added,
        rejected=len(rejected),
        seconds=round(time.monotonic() - started, 1),
    )


def read_source(folder: Path, manifest: Manifest) -> Source:
    """Read back what a generation was built from, its additions among it.

    Raises:
        OSError, ValueError: when a file cannot be read.
    """
    import pandas as pd

    items = read_table(folder / ITEMS)
    shoppers, deals = folder / SHOPPERS, folder / DEALS
    return Source(
        name=manifest.source,
        items=items,
        interactions=logged(pd.read_parquet(folder / INTERACTIONS)),
        counts=manifest.counts,
        shoppers=pd.read_parquet(shoppers) if shoppers.exists() else None,
        said=read_said(folder / SAID),
        offers=Deals.load(deals).offers() if deals.exists() else (),
        fingerprint=manifest.fingerprint,
    )


def _in_use(shop: Path) -> tuple[Path, Manifest]:
    folder = current(shop)
    manifest = read_manifest(folder, shop=shop)
    if broken := damaged(folder, manifest):
        raise ShopError(f"The shop at {shop} is damaged: {broken}. {again(shop)}")
    if manifest.until is not None:
        raise ShopError(
            f"The shop at {shop} was prepared for an evaluation, from the log up to a moment: it takes no updates. "
            "Update the shop that it was made from"
        )
    return folder, manifest


def _read(
    items: Path | str | None, interactions: Path | str | None, *, source: Source
) -> tuple[list[Item], pd.DataFrame, list[Rejected]]:
    """Read the files that were given; log lines may be of items that come with them."""
    given, rejected = read_items(items) if items is not None else ([], [])
    lines = logged(None)
    if interactions is not None:
        known = {item.item_id for item in (*source.items, *given)}
        lines, refused = read_interactions(interactions, item_ids=known)
        rejected = [*rejected, *refused]
    return given, logged(lines), rejected


def _made(
    shop: Path,
    source: Source,
    additions: Additions,
    *,
    key: str,
    manifest: Manifest,
    refit: bool,
    tell: Progress,
    embedder: Embedder | None,
) -> Manifest:
    """Build the next generation and swap it in, or find that an update that was interrupted had built it."""
    before = shop / manifest.generation
    made = None if refit else ready(shop, key)
    if made is None:
        folder = folder_for(shop, key)
        clean(shop, keep={folder.name, before.name})
        made = build(
            folder,
            source,
            key=key,
            source_key=manifest.source_key or manifest.key,
            tell=tell,
            embedder=embedder,
            additions=additions,
            known=before,
            ranker=None if refit else before / RANKER,
        )
        point_to(shop, folder.name)
    clean(shop, keep={made.generation})
    return made
