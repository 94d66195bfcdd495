"""State on disk: all of a change or none of it, by shopper, on disk when it is said to be."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest

from agent.conversation import Conversation, Message, to_json
from agent.store import Memory, Store
from retrieval.records import ShopError


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "folder" / "state.sqlite")


def talk(said: str) -> Conversation:
    return Conversation(conversation_id="s1", user_id="u1", messages=(Message(role="user", content=said),))


def test_every_change_is_flushed_to_disk(store: Store) -> None:
    """What a method has done survives a power cut: the file is written in full-sync mode."""
    assert store.connection.execute("PRAGMA synchronous").fetchone() == (2,)
    assert store.connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_state_is_there_when_the_file_is_opened_again(store: Store) -> None:
    """A restart loses nothing."""
    store.set_cart("u1", [("i03", 2), ("i01", 1)])
    store.remember("u1", kind="like", text="cheese", item_ids=["i06"])
    store.log("s1", owner="u1", conversation=talk("hi"))
    before = store.export("u1")
    store.close()
    again = Store(store.path)
    assert (
        again.export("u1")
        == before
        == {
            "owner": "u1",
            "memory": [{"kind": "like", "text": "cheese", "item_ids": ["i06"]}],
            "cart": [{"item_id": "i03", "quantity": 2}, {"item_id": "i01", "quantity": 1}],
            "conversations": [to_json(talk("hi"))],
        }
    )


def test_a_transaction_that_fails_changes_nothing(store: Store) -> None:
    """All or nothing, nested ones with the outer one."""
    store.set_cart("u1", [("i01", 1)])
    with pytest.raises(ZeroDivisionError), store.transaction():
        store.set_cart("u1", [("i02", 5)])
        store.remember("u1", kind="note", text="in a hurry")
        raise ZeroDivisionError
    assert store.cart("u1") == (("i01", 1),)
    assert store.memories("u1") == []


def test_a_commit_inside_a_transaction_waits_for_its_end(store: Store) -> None:
    """The saver of the talks commits by itself: half a turn must not get onto the disk with it."""
    with pytest.raises(ZeroDivisionError), store.transaction():
        store.set_cart("u1", [("i02", 5)])
        store.connection.commit()
        raise ZeroDivisionError
    assert store.cart("u1") == ()
    store.connection.execute("BEGIN")
    store.connection.execute("INSERT INTO cart VALUES ('u1', 'i01', 1, 0)")
    store.connection.commit()  # outside of one it commits as ever
    assert Store(store.path).cart("u1") == (("i01", 1),)


def test_a_full_disk_is_said_in_words_and_changes_nothing(store: Store) -> None:
    """The shopper's cart is as it was, and the file goes on working when there is room again."""
    store.set_cart("u1", [("i01", 1)])
    pages = store.connection.execute("PRAGMA page_count").fetchone()[0]
    store.connection.execute(f"PRAGMA max_page_count={pages}")
    with (
        pytest.raises(ShopError, match=r"Cannot write .*state\.sqlite: database or disk is full\. Nothing was changed"),
        store.transaction(),
    ):
        store.set_cart("u1", [])
        store.remember("u1", kind="note", text="x" * 100_000)
    assert store.cart("u1") == (("i01", 1),)
    store.connection.execute("PRAGMA max_page_count=1000000")
    store.set_cart("u1", [("i02", 1)])
    assert store.cart("u1") == (("i02", 1),)


@pytest.mark.parametrize("what", ["a folder", "a file in the way", "no database"])
def test_a_file_that_cannot_be_used_is_said_at_once(tmp_path: Path, what: str) -> None:
    """Which file, why, and what next: not an error of SQLite in the middle of a talk."""
    path = tmp_path / "state.sqlite"
    if what == "a folder":
        path.mkdir()
    elif what == "a file in the way":
        (tmp_path / "file").write_text("")
        path = tmp_path / "file" / "state.sqlite"
    else:
        path.write_text("this is no database, but a text that somebody saved here" * 50)
    with pytest.raises(ShopError, match=r"Cannot keep carts and memory in .*\. Free space or name another file"):
        Store(path)


def test_one_shopper_s_state_is_never_another_s(store: Store) -> None:
    """Export and erase are by owner, and so is everything else."""
    for owner in ("u1", "u2"):
        store.set_cart(owner, [("i01", 1)])
        store.remember(owner, kind="note", text=f"I am {owner}")
        store.log(f"s-{owner}", owner=owner, conversation=talk(owner))
    (other,) = store.memories("u2")
    assert store.forget("u1", [other.memory_id]) == 0
    assert store.erase("u1") == 3
    assert store.export("u1") == {"owner": "u1", "memory": [], "cart": [], "conversations": []}
    assert [memory["text"] for memory in store.export("u2")["memory"]] == ["I am u2"]
    assert store.logged_owner("s-u2") == "u2"
    assert store.logged_owner("s-u1") is None


def test_the_same_thing_is_remembered_once_and_the_newer_taste_wins(store: Store) -> None:
    """Who disliked milk and now likes it likes it; a note beside it stays."""
    store.remember("u1", kind="note", text="Milk")
    store.remember("u1", kind="dislike", text="milk")
    store.remember("u1", kind="like", text="Milk")
    store.remember("u1", kind="like", text="milk")
    assert [(memory.kind, memory.text) for memory in store.memories("u1")] == [("note", "Milk"), ("like", "milk")]


def test_memories_are_forgotten_one_by_one_or_all(store: Store) -> None:
    """The number erased is given; erasing nothing erases nothing."""
    for text in ("a", "b", "c"):
        store.remember("u1", kind="note", text=text)
    first = store.memories("u1")[0]
    assert (store.forget("u1", [first.memory_id]), store.forget("u1", []), len(store.memories("u1"))) == (1, 0, 2)
    assert (store.forget("u1"), store.memories("u1")) == (2, [])


def test_memories_are_put_back_as_they_were_even_when_a_number_is_taken(store: Store) -> None:
    """Undoing gives the same list back; a number that another shopper got meanwhile stays that shopper's."""
    store.remember("u1", kind="like", text="cheese", item_ids=["i06"])
    held = store.memories("u1")
    store.forget("u1")
    store.restore_memories("u1", held)
    assert store.memories("u1") == held
    store.forget("u1")
    store.remember("u2", kind="note", text="mine")
    assert store.memories("u2")[0].memory_id == held[0].memory_id
    store.restore_memories("u1", held)
    assert [memory.text for memory in store.memories("u1")] == ["cheese"]
    assert [memory.text for memory in store.memories("u2")] == ["mine"]


def test_threads_share_a_store(store: Store) -> None:
    """Sessions run in threads; writes wait for each other and none is lost."""

    def write(number: int) -> None:
        for step in range(10):
            with store.transaction():
                store.remember(f"u{number}", kind="note", text=f"{step}")
                store.set_cart(f"u{number}", [("i01", step + 1)])

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    for number in range(4):
        assert len(store.memories(f"u{number}")) == 10
        assert store.cart(f"u{number}") == (("i01", 10),)


def test_hostile_text_is_kept_as_text(store: Store) -> None:
    """Quotes and statements in what a shopper says are words."""
    text = "'); DROP TABLE memory; -- \" \x00 é 日本"
    store.remember(text, kind="note", text=text)
    assert [memory.text for memory in store.memories(text)] == [text]
    assert store.memories("' OR '1'='1") == []


def test_a_locked_file_is_an_error_in_words(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another program that holds the file is named as the trouble, and nothing is half done."""
    other = sqlite3.connect(store.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    store.connection.execute("PRAGMA busy_timeout=50")
    with pytest.raises(ShopError, match="database is locked"):
        store.set_cart("u1", [("i01", 1)])
    other.execute("ROLLBACK")
    store.set_cart("u1", [("i01", 1)])
    assert store.cart("u1") == (("i01", 1),)


def test_memory_is_a_plain_value(store: Store) -> None:
    """What is listed compares by value: the turn relies on it to see what changed."""
    store.remember("u1", kind="avoid", text="nuts")
    (held,) = store.memories("u1")
    assert held == Memory(memory_id=held.memory_id, kind="avoid", text="nuts")
