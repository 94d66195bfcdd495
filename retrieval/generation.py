"""One built state of a shop on disk: its folder, its files, its manifest, and the pointer to the one in use."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

from retrieval.records import AttributeValue, Item, ShopError

VERSION = 1  # of the folder's layout; a shop of another version is built again
POINTER = "current"
MANIFEST = "manifest.json"
ITEMS = "items.parquet"
INTERACTIONS = "interactions.parquet"
SHOPPERS = "shoppers.parquet"
HISTORY = "history.npz"
SCORER = "scorer"
SAID = "said.json"
RANKER = "ranker.json"
DEALS = "deals.npz"
_CACHES = ("chroma",)  # what may change or be missing: it can be made again from the rest


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a generation is: from what, when and by what it was built, and the hash of every file.

    `key` is the hash of the source, of `until` and of the layout: the same key means the same shop. `counts` says
    how many rows were read, kept and dropped, by reason. `until` is the time (seconds since 1970) at and after
    which interactions were left out, None for all. `fingerprint` is the source's own, where it has one. `source_key`
    is the key that the shop would have without what updates added, and `added` counts that: "updates", "items" and
    "interactions"; empty where there were none.
    """

    generation: str
    key: str
    source: str
    version: int = VERSION
    until: float | None = None
    built: str = ""
    seconds: float = 0.0
    counts: Mapping[str, int] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    fingerprint: str = ""
    source_key: str = ""
    added: Mapping[str, int] = field(default_factory=dict)

    @property
    def items(self) -> int:
        """Count the items."""
        return int(self.counts.get("items", 0))


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest whole: until it is there, the generation does not count."""
    write_whole(folder / MANIFEST, json.dumps(asdict(manifest), indent=1))


def read_manifest(folder: Path, *, shop: Path) -> Manifest:
    """Read a generation's manifest.

    Raises:
        ShopError: when it is missing, cannot be read, or is of another version.
    """
    try:
        record = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        version = record["version"]
        if version == VERSION:
            return Manifest(**record)
    except FileNotFoundError:
        raise ShopError(f"The shop at {shop} is only half built. {again(shop)}") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ShopError(f"The shop at {shop} is damaged: {MANIFEST} cannot be read ({error}). {again(shop)}") from error
    raise ShopError(
        f"The shop at {shop} was built by another version of Shoptalk (layout {version}, this one reads {VERSION}). "
        f"{again(shop)}"
    )


def current(shop: Path) -> Path:
    """Give the folder of the generation in use.

    Raises:
        ShopError: when there is no shop, or only a half built one.
    """
    if not shop.exists():
        raise ShopError(f"No shop at {shop}. Build one with: shoptalk prepare --shop {shop}")
    if not shop.is_dir():
        raise ShopError(f"{shop} is a file, not a shop folder. Name a folder with --shop")
    try:
        name = (shop / POINTER).read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        if any(generations(shop)):
            raise ShopError(f"The shop at {shop} is only half built. {again(shop)}") from None
        raise ShopError(f"No shop at {shop}. Build one with: shoptalk prepare --shop {shop}") from None
    except (OSError, ValueError) as error:
        raise ShopError(f"The shop at {shop} is damaged: {POINTER} cannot be read ({error}). {again(shop)}") from error
    folder = shop / name
    if not name.startswith("g-") or "/" in name or not folder.is_dir():
        raise ShopError(f"The shop at {shop} is damaged: {POINTER} names no generation. {again(shop)}")
    return folder


def again(shop: Path) -> str:
    """Say how to build a shop again."""
    return (
        f"Build it again with: shoptalk prepare --shop {shop} (and its --items and --interactions, if it is your own)"
    )


def point_to(shop: Path, generation: str) -> None:
    """Make a generation the one in use, in one step."""
    write_whole(shop / POINTER, generation + "\n")


def generations(shop: Path) -> Iterator[Path]:
    """Give the folders of all generations, whole or half."""
    return (folder for folder in sorted(shop.glob("g-*")) if folder.is_dir())


def write_whole(path: Path, text: str) -> None:
    """Write a small file so that it is either the old one or the new one, whatever happens."""
    new = path.with_name(f"{path.name}.new")
    with new.open("w", encoding="utf-8") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    new.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def file_hashes(folder: Path) -> dict[str, str]:
    """Hash every file of a generation that is not a cache."""
    out = {}
    for file in sorted(folder.rglob("*")):
        name = file.relative_to(folder).as_posix()
        if file.is_file() and name != MANIFEST and not name.startswith((*_CACHES, "steps.json")):
            out[name] = hash_of(file)
    return out


def hash_of(file: Path) -> str:
    """Hash a file's bytes."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def damaged(folder: Path, manifest: Manifest) -> str:
    """Name the first file that is missing or changed; empty when all are as they were built."""
    for name, expected in manifest.files.items():
        file = folder / name
        try:
            if hash_of(file) != expected:
                return f"{name} has changed since it was built"
        except FileNotFoundError:
            return f"{name} is missing"
        except OSError as error:
            return f"{name} cannot be read ({error.strerror})"
    return ""


def hold(folder: Path) -> IO[bytes] | None:
    """Mark a generation as being read for as long as the handle is open; None when it is gone.

    `prepare` removes old generations that nobody holds.
    """
    try:
        handle = (folder / MANIFEST).open("rb")
    except OSError:
        return None
    fcntl.flock(handle, fcntl.LOCK_SH)
    if not (folder / MANIFEST).exists():  # removed between opening and locking
        handle.close()
        return None
    return handle


def held(folder: Path) -> bool:
    """Say whether somebody reads a generation."""
    try:
        with (folder / MANIFEST).open("rb") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def read_said(path: Path) -> dict[str, str]:
    """Read the words that shoppers say, to the names of the kinds they mean."""
    record = json.loads(path.read_text(encoding="utf-8"))
    return {str(said): str(name) for said, name in record.items()}


def write_items(path: Path, items: Sequence[Item]) -> None:
    """Write items as Parquet, attributes as JSON text."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    def attributes(item: Item) -> str:
        held = {name: list(value) if isinstance(value, tuple) else value for name, value in item.attributes.items()}
        return json.dumps(held)

    columns = {
        "item_id": pa.array([item.item_id for item in items], pa.string()),
        "title": pa.array([item.title for item in items], pa.string()),
        "description": pa.array([item.description for item in items], pa.string()),
        "categories": pa.array([list(item.categories) for item in items], pa.list_(pa.string())),
        "brand": pa.array([item.brand for item in items], pa.string()),
        "price": pa.array([item.price for item in items], pa.float64()),
        "attributes": pa.array([attributes(item) for item in items], pa.string()),
        "image_url": pa.array([item.image_url for item in items], pa.string()),
    }
    pq.write_table(pa.table(columns), path)


def read_items(path: Path) -> list[Item]:
    """Read what `write_items` wrote."""
    import pyarrow.parquet as pq

    def attributes(text: str) -> dict[str, AttributeValue]:
        record: dict[str, Any] = json.loads(text)
        return {name: tuple(value) if isinstance(value, list) else value for name, value in record.items()}

    return [
        Item(**{**row, "categories": tuple(row["categories"]), "attributes": attributes(row["attributes"])})
        for row in pq.read_table(path).to_pylist()
    ]
