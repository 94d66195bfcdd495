"""The catalogue's vectors: kept as an array, searched through Chroma, which is a cache that can be made again."""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import sqlite3
import threading
import uuid
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
State = Literal["chroma", "exact", "rebuilding"]

ARRAY = "vectors.npy"
POINTER = "chroma.json"
COLLECTION = "items"
BATCH = 2_000  # Chroma takes 5,461 rows at most
CHECKED = 64  # vectors that are compared one by one at open, beside the hashes of the index files
_HNSW = {"space": "ip", "ef_construction": 100, "max_neighbors": 16, "ef_search": 200}


class Vectors:
    """Unit vectors of a catalogue's items, in its order; open one with `Vectors.open`.

    `state` says who answers `nearest`: Chroma, or the exact scan of the array while Chroma is damaged,
    missing or being rebuilt. Either way the array is the truth and Chroma its cache.
    """

    def __init__(self, folder: Path, *, item_ids: Sequence[str], array: Floats) -> None:
        self.folder = folder
        self.array = array
        self._item_ids = item_ids
        self._rows = {item_id: row for row, item_id in enumerate(item_ids)}
        self._client: Any = None
        self._collection: Any = None
        self._rebuilding: threading.Thread | None = None
        self._closed = False

    @classmethod
    def open(cls, folder: Path, *, item_ids: Sequence[str], rebuild: bool = True) -> Vectors:
        """Open the vectors of a generation; a damaged Chroma is rebuilt in the background.

        Raises:
            ValueError, OSError: when the array itself cannot be read or has another number of rows.
        """
        array = np.load(folder / ARRAY, allow_pickle=False)
        if array.dtype != np.float32 or array.ndim != 2 or len(array) != len(item_ids):
            raise ValueError(f"{ARRAY} holds {array.shape} {array.dtype}, expected {len(item_ids)} rows of float32")
        vectors = cls(folder, item_ids=item_ids, array=array)
        if not vectors._connect() and rebuild:
            vectors._rebuilding = threading.Thread(target=vectors._rebuild, name="chroma-rebuild", daemon=True)
            vectors._rebuilding.start()
        return vectors

    @property
    def state(self) -> State:
        """Say who answers."""
        if self._collection is not None:
            return "chroma"
        return "rebuilding" if self._rebuilding is not None and self._rebuilding.is_alive() else "exact"

    def nearest(self, query: Floats, *, limit: int) -> tuple[Ints, Floats]:
        """Give the rows nearest to a unit vector, best first, and their cosines; approximate through Chroma."""
        limit = min(limit, len(self.array))
        collection = self._collection
        if collection is not None and limit:
            try:
                found = collection.query(query_embeddings=query[None, :], n_results=limit, include=[])
                rows = np.array([self._rows[item_id] for item_id in found["ids"][0]], dtype=np.int64)
                cosines = self.array[rows] @ query
                order = np.argsort(-cosines, kind="stable")
                return rows[order], cosines[order]
            except Exception:  # whatever breaks in the cache, the array answers
                self._drop()
        return best(self.array @ query, limit=limit)

    def within(self, query: Floats, rows: Ints) -> Floats:
        """Give the exact cosines of these rows."""
        return self.array[rows] @ query

    def wait(self, timeout: float | None = None) -> State:
        """Wait for a rebuild in the background, and say who answers then."""
        if self._rebuilding is not None:
            self._rebuilding.join(timeout)
        return self.state

    def close(self) -> None:
        """Let Chroma go."""
        self._closed = True
        self.wait()
        self._drop()

    def _drop(self) -> None:
        client, self._client, self._collection = self._client, None, None
        if client is not None:
            _close(client)

    def _connect(self) -> bool:
        """Open Chroma after checking its files; False when it is missing, damaged or holds something else."""
        try:
            pointer = json.loads((self.folder / POINTER).read_text(encoding="utf-8"))
            store = self.folder / str(pointer["folder"])
            if store.parent != self.folder or pointer["vectors"] != fingerprint(self.array):
                return False
            # Checked before Chroma sees them: its native code may not survive a damaged file.
            if _index_hashes(store) != pointer["files"] or not _sound(store / "chroma.sqlite3"):
                return False
            client, collection = _open(store)
        except Exception:  # a cache that cannot be read for any reason is made again
            return False
        try:
            sample = np.linspace(0, len(self.array) - 1, min(CHECKED, len(self.array))).astype(int)
            got = collection.get(ids=[self._item_ids[row] for row in sample], include=["embeddings"])
            held = dict(zip(got["ids"], got["embeddings"], strict=True))
            same = collection.count() == len(self.array) and all(
                np.allclose(held[self._item_ids[row]], self.array[row], atol=1e-5) for row in sample
            )
        except Exception:
            same = False
        if not same:
            _close(client)
            return False
        self._client, self._collection = client, collection
        return True

    def _rebuild(self) -> None:
        try:
            with (self.folder / "chroma.lock").open("w") as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:
                    return  # another process is at it; this one goes on exactly
                if not self._connect():
                    build(self.folder, item_ids=self._item_ids, array=self.array)
                    if not self._closed:
                        self._connect()
        except OSError:
            return  # a disk that is full or read-only: exact search goes on


def build(folder: Path, *, item_ids: Sequence[str], array: Floats) -> None:
    """Write the array's vectors to a new Chroma store in the folder, and point to it once it is whole.

    Raises:
        OSError: when the disk is full.
    """
    import chromadb  # noqa: F401 (fail before anything is written)

    store = folder / f"chroma-{uuid.uuid4().hex[:8]}"
    try:
        client, collection = _open(store, create=len(item_ids))
        try:
            for start in range(0, len(item_ids), BATCH):
                end = start + BATCH
                collection.add(ids=list(item_ids[start:end]), embeddings=array[start:end])
        finally:
            _close(client)
        record = {
            "folder": store.name,
            "count": len(item_ids),
            "vectors": fingerprint(array),
            "files": _index_hashes(store),
        }
        new = folder / f"{POINTER}.new"
        new.write_text(json.dumps(record, indent=1), encoding="utf-8")
        new.replace(folder / POINTER)
    except Exception as error:
        shutil.rmtree(store, ignore_errors=True)
        if isinstance(error, OSError):
            raise
        # Chroma words a full disk in its own errors; ask the disk itself.
        raise OSError(getattr(error, "errno", None) or 5, f"Chroma could not be written: {error}") from error
    for old in folder.glob("chroma-*"):
        if old != store:
            shutil.rmtree(old, ignore_errors=True)


def save(folder: Path, array: Floats) -> None:
    """Write the array."""
    np.save(folder / ARRAY, np.ascontiguousarray(array, dtype=np.float32), allow_pickle=False)


def best(scores: Floats, *, limit: int) -> tuple[Ints, Floats]:
    """Give the positions of the highest scores, best first, ties by position.

    >>> best(np.array([0.1, 0.9, 0.5], dtype=np.float32), limit=2)[0].tolist()
    [1, 2]
    """
    limit = min(limit, len(scores))
    if limit <= 0:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32)
    top = np.argpartition(-scores, limit - 1)[:limit]
    top = top[np.lexsort((top, -scores[top]))]
    return top.astype(np.int64), scores[top]


def fingerprint(array: Floats) -> str:
    """Hash an array's values and shape."""
    return hashlib.sha256(repr(array.shape).encode() + np.ascontiguousarray(array).data).hexdigest()


def _open(store: Path, *, create: int | None = None) -> tuple[Any, Any]:
    import chromadb
    from chromadb.config import Settings

    client = chromadb.PersistentClient(
        path=str(store), settings=Settings(anonymized_telemetry=False, allow_reset=False, is_persistent=True)
    )
    try:
        if create is not None:
            # Chroma writes its index when so many vectors have come; of fewer, the files would hold no index yet.
            sync = max(2, min(1_000, create))
            hnsw = {**_HNSW, "sync_threshold": sync, "batch_size": min(100, sync)}
            collection = client.create_collection(COLLECTION, configuration={"hnsw": hnsw}, embedding_function=None)
        else:
            collection = client.get_collection(COLLECTION, embedding_function=None)
    except BaseException:
        _close(client)
        raise
    return client, collection


def _close(client: Any) -> None:
    try:
        client.close()
    except Exception:  # it is being let go
        return


def _index_hashes(store: Path) -> dict[str, str]:
    """Hash the files of the index; SQLite's own file changes at every opening and is checked by `_sound`."""
    return {
        file.relative_to(store).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for segment in sorted(store.glob("*/index_metadata.pickle"))  # absent: one vector only, kept in SQLite
        for file in sorted(segment.parent.iterdir())
    }


def _sound(file: Path) -> bool:
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as database:
        return bool(database.execute("PRAGMA quick_check(1)").fetchone()[0] == "ok")
