"""State that people create: memory, carts, feedback and conversations, in one SQLite file."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.conversation import Conversation, to_json
from retrieval.records import ShopError

SCHEMA = """
CREATE TABLE IF NOT EXISTS memory (
  memory_id INTEGER PRIMARY KEY, owner TEXT NOT NULL, kind TEXT NOT NULL, text TEXT NOT NULL,
  item_ids TEXT NOT NULL, at REAL NOT NULL);
CREATE INDEX IF NOT EXISTS memory_owner ON memory (owner);
CREATE TABLE IF NOT EXISTS cart (
  owner TEXT NOT NULL, item_id TEXT NOT NULL, quantity INTEGER NOT NULL, place INTEGER NOT NULL,
  PRIMARY KEY (owner, item_id));
CREATE TABLE IF NOT EXISTS conversation (
  session_id TEXT PRIMARY KEY, owner TEXT NOT NULL, record TEXT NOT NULL, at REAL NOT NULL);
CREATE INDEX IF NOT EXISTS conversation_owner ON conversation (owner);
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """One thing remembered of a shopper; `kind` is like, dislike, avoid or note."""

    memory_id: int
    kind: str
    text: str
    item_ids: tuple[str, ...] = ()


class _Connection(sqlite3.Connection):
    """A connection whose commit waits while a transaction of the store is open.

    The saver of the talks commits after each of its several writes; a turn is kept whole or not at all.
    """

    held = False

    def commit(self) -> None:
        """Commit, save in a transaction of the store, which does so at its own end."""
        if not self.held:
            super().commit()


class Store:
    """Open the file at `path`; every change is on disk when its method returns.

    `owner` is the shopper's id, bound by the server; it never comes from the model. One connection is
    shared behind a lock: writes are rare and small, and SQLite has one writer anyway.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self.connection = sqlite3.connect(
                path, check_same_thread=False, isolation_level=None, timeout=30, factory=_Connection
            )
            self.connection.execute("PRAGMA journal_mode=WAL")
            self.connection.execute("PRAGMA synchronous=FULL")
            self.connection.executescript(SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise ShopError(
                f"Cannot keep carts and memory in {path}: {error}. Free space or name another file"
            ) from error
        self._lock = threading.RLock()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self.connection.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Make several changes all or nothing.

        Raises:
            ShopError: when the disk is full or the file cannot be written; nothing is changed then.
        """
        with self._lock:
            if self.connection.held:
                yield self.connection
                return
            try:
                self.connection.execute("BEGIN IMMEDIATE")
                self.connection.held = True
                yield self.connection
                self.connection.execute("COMMIT")
            except sqlite3.OperationalError as error:
                raise ShopError(f"Cannot write {self.path}: {error}. Nothing was changed") from error
            finally:
                self.connection.held = False
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")

    def _rows(self, query: str, arguments: Sequence[Any]) -> list[Any]:
        with self._lock:
            return self.connection.execute(query, arguments).fetchall()

    # memory

    def memories(self, owner: str) -> list[Memory]:
        """List what is remembered of a shopper, oldest first."""
        rows = self._rows(
            "SELECT memory_id, kind, text, item_ids FROM memory WHERE owner=? ORDER BY memory_id", (owner,)
        )
        return [
            Memory(memory_id=n, kind=kind, text=text, item_ids=tuple(json.loads(ids))) for n, kind, text, ids in rows
        ]

    def remember(self, owner: str, *, kind: str, text: str, item_ids: Sequence[str] = ()) -> None:
        """Remember one thing; the same thing twice is kept once, and the newer of like and dislike wins."""
        with self.transaction() as connection:
            connection.execute(
                "DELETE FROM memory WHERE owner=? AND lower(text)=lower(?) AND (kind=? OR (kind<>'note' AND ?<>'note'))",
                (owner, text, kind, kind),
            )
            connection.execute(
                "INSERT INTO memory (owner, kind, text, item_ids, at) VALUES (?, ?, ?, ?, ?)",
                (owner, kind, text, json.dumps(list(item_ids)), time.time()),
            )

    def forget(self, owner: str, memory_ids: Sequence[int] | None = None) -> int:
        """Forget some memories, or all of them; give how many were erased."""
        with self.transaction() as connection:
            if memory_ids is None:
                return connection.execute("DELETE FROM memory WHERE owner=?", (owner,)).rowcount
            marks = ",".join("?" * len(memory_ids))
            return connection.execute(
                f"DELETE FROM memory WHERE owner=? AND memory_id IN ({marks})", (owner, *memory_ids)
            ).rowcount

    def restore_memories(self, owner: str, memories: Sequence[Memory]) -> None:
        """Put back exactly these memories: how a turn is undone. A number that is taken by now is not used again."""
        with self.transaction() as connection:
            connection.execute("DELETE FROM memory WHERE owner=?", (owner,))
            taken = {row[0] for row in connection.execute("SELECT memory_id FROM memory")}
            for m in memories:
                number = None if m.memory_id in taken else m.memory_id
                taken.add(m.memory_id)
                connection.execute(
                    "INSERT INTO memory (memory_id, owner, kind, text, item_ids, at) VALUES (?, ?, ?, ?, ?, ?)",
                    (number, owner, m.kind, m.text, json.dumps(list(m.item_ids)), time.time()),
                )

    # cart

    def cart(self, owner: str) -> tuple[tuple[str, int], ...]:
        """Give the cart: item ids with quantities, in the order they were added."""
        return tuple(self._rows("SELECT item_id, quantity FROM cart WHERE owner=? ORDER BY place", (owner,)))

    def set_cart(self, owner: str, items: Sequence[tuple[str, int]]) -> None:
        """Replace the cart as a whole."""
        with self.transaction() as connection:
            connection.execute("DELETE FROM cart WHERE owner=?", (owner,))
            connection.executemany(
                "INSERT INTO cart (owner, item_id, quantity, place) VALUES (?, ?, ?, ?)",
                [(owner, item_id, quantity, place) for place, (item_id, quantity) in enumerate(items)],
            )

    # conversations

    def log(self, session_id: str, *, owner: str, conversation: Conversation) -> None:
        """Keep a conversation as it stands, replacing what was kept of it before."""
        with self.transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO conversation (session_id, owner, record, at) VALUES (?, ?, ?, ?)",
                (session_id, owner, json.dumps(to_json(conversation), ensure_ascii=False), time.time()),
            )

    def keep_newest_state(self, session_id: str) -> None:
        """Drop what the saver kept of a talk before its last turn: every turn's state holds the whole talk."""
        with self.transaction() as connection:
            newest = "SELECT max(checkpoint_id) FROM checkpoints WHERE thread_id=?"
            for table in ("checkpoints", "writes"):
                connection.execute(
                    f"DELETE FROM {table} WHERE thread_id=? AND checkpoint_id<({newest})", (session_id, session_id)
                )

    def logged_owner(self, session_id: str) -> str | None:
        """Name whose talk a session is; None where nothing of it is kept."""
        rows = self._rows("SELECT owner FROM conversation WHERE session_id=?", (session_id,))
        return str(rows[0][0]) if rows else None

    # by shopper

    def export(self, owner: str) -> dict[str, Any]:
        """Give everything kept of one shopper, as JSON values."""
        rows = self._rows("SELECT record FROM conversation WHERE owner=? ORDER BY at", (owner,))
        return {
            "owner": owner,
            "memory": [{"kind": m.kind, "text": m.text, "item_ids": list(m.item_ids)} for m in self.memories(owner)],
            "cart": [{"item_id": item_id, "quantity": quantity} for item_id, quantity in self.cart(owner)],
            "conversations": [json.loads(record) for (record,) in rows],
        }

    def erase(self, owner: str) -> int:
        """Erase everything kept of one shopper, the saved talks included; give how many rows went."""
        with self.transaction() as connection:
            sessions = [
                row[0] for row in connection.execute("SELECT session_id FROM conversation WHERE owner=?", (owner,))
            ]
            gone = sum(
                connection.execute(f"DELETE FROM {table} WHERE owner=?", (owner,)).rowcount
                for table in ("memory", "cart", "conversation")
            )
            tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type='table'")}
            for table in {"checkpoints", "writes"} & tables:
                for session_id in sessions:
                    connection.execute(f"DELETE FROM {table} WHERE thread_id=?", (session_id,))
            return gone
