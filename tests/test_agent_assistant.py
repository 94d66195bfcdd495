"""Sessions over one shop: whose they are, what survives, what undoing takes back, and whatever a shopper types."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from agent.assistant import NOT_IN_WORDS, Assistant
from agent.conversation import Message
from agent.events import Event, Finished
from agent.limits import Limits
from agent.store import Store
from retrieval.records import ShopError
from tests.scripted_model import ScriptedModel, call, planned
from tests.small_shop import Talk, Told, small_shop

CHEESE = call("search_catalog", query="shredded cheese")
ADD_MILK = call("update_cart", action="add", query="whole milk")


@pytest.fixture
def talk(tmp_path: Path) -> Talk:
    return Talk(tmp_path, user_id="u0")


def test_an_unknown_shopper_is_refused_in_words(talk: Talk) -> None:
    """Which one, and what to do; no session is opened."""
    with pytest.raises(ShopError, match=r"The shop has no shopper 'nobody'\. Leave it out to talk as a new"):
        talk.assistant.start(user_id="nobody")


def test_a_talk_that_is_over_is_refused_in_words(talk: Talk) -> None:
    """Every door of it, not with an error of a dictionary."""
    talk.assistant.end(talk.session)
    for door in (
        lambda: list(talk.assistant.reply("hi", session_id=talk.session)),
        lambda: list(talk.assistant.press(CHEESE, session_id="never", said="x")),
        lambda: talk.assistant.cart(talk.session),
        lambda: talk.assistant.memory(talk.session),
        lambda: talk.assistant.forget(talk.session),
    ):
        with pytest.raises(ShopError, match=r"This talk is over\. Start a new one"):
            door()


# what a shopper types


@pytest.mark.parametrize("message", ["", "   ", "\n\t", "?!", "...", "😀😀", "👍🏽 ❤️", "\u200b", "—", "$$$"])
def test_a_message_without_a_word_is_answered_and_not_kept(talk: Talk, message: str) -> None:
    """A friendly line, no model call, nothing in the log."""
    told = talk.say(message, CHEESE)
    assert told.sentences == [NOT_IN_WORDS]
    assert (told.finished.quick_replies, talk.model.prompts) == ((), [])
    assert talk.assistant.conversation(talk.session).messages == ()


@pytest.mark.parametrize("message", ["チーズをください", "сыр, пожалуйста", "جبنة", "牛奶 2", "ｃｈｅｅｓｅ"])
def test_what_is_written_as_no_label_is_said_to_be_unread(talk: Talk, message: str) -> None:
    """A small model plans something for it: "cheese, please" in Japanese brought paper towels."""
    told = talk.say(message, CHEESE)
    assert told.sentences == [
        "I can't read that. Tell me in Latin letters, as on this shop's labels, what you are looking for."
    ]
    assert (told.items, told.reply.acts, talk.model.prompts) == ([], ("decline", "ask"), [])
    assert talk.say("queso, por favor: チーズ", CHEESE).items, "some of it can be read"


@pytest.mark.parametrize(
    "message",
    [
        "quiero queso rallado", "kediye mama lazım", "チーズ cheese", "5", "a",
        "cheese\x00cheese", "cheese \ud800 \udfff", "cheese" * 100, "🧀 cheese", "'; DROP TABLE cart; --",
        "<script>alert(1)</script>", "[1] [99] [results]\n1. Gold $0", "{{cart}} {0} %s %d", "\\u0000 \\", "null", "I'm \"quoted\"",
    ],
)  # fmt: skip
@pytest.mark.parametrize("with_model", [True, False])
def test_any_words_are_answered_and_kept(tmp_path: Path, message: str, with_model: bool) -> None:
    """In any language, with any signs, with the model and without it."""
    talk = Talk(tmp_path, model=with_model)
    told = talk.say(message, CHEESE, answer="Here are 2 for shredded cheese.")
    assert told.sentences
    messages = talk.assistant.conversation(talk.session).messages
    assert messages == told.finished.messages
    assert messages[0].content == message.encode("utf-8", "replace").decode().strip()
    again = Assistant(shop=small_shop(), model=None, store=Store(talk.store.path))
    again.start(session_id=talk.session)
    assert again.conversation(talk.session).messages == messages


# what survives


def test_a_restart_keeps_the_talk_the_cart_and_what_the_second_one_means(talk: Talk) -> None:
    """The same store opened by another process: the talk goes on where it was."""
    shown = talk.say("what do I usually get", call("recommend"))
    talk.say("add milk", ADD_MILK)
    talk.say("no nuts", call("remember", kind="avoid", text="nuts"))
    before = (talk.cart, talk.memory, talk.assistant.conversation(talk.session))
    talk.store.close()
    model = ScriptedModel(plans=[planned(call("lookup_catalog", positions=[2]))])
    again = Assistant(shop=small_shop(), model=model, store=Store(talk.store.path))
    assert again.start(user_id="u0", session_id=talk.session) == talk.session
    assert (
        again.cart(talk.session),
        [(m.kind, m.text) for m in again.memory(talk.session)],
        again.conversation(talk.session),
    ) == before
    told = Told(tuple(again.reply("tell me about the second", session_id=talk.session)))
    assert told.reply.evidence["about"] == [shown.items[1]]
    assert any("what do I usually get" in message["content"] for message in model.prompts[0])


def test_a_cart_and_memory_follow_the_shopper_to_the_next_talk(talk: Talk) -> None:
    """They are the shopper's; a new talk starts without the old one's words and list."""
    talk.say("add milk", ADD_MILK)
    talk.say("no nuts", call("remember", kind="avoid", text="nuts"))
    second = talk.assistant.start(user_id="u0")
    assert talk.assistant.cart(second) == (("i08", 1),)
    assert [memory.text for memory in talk.assistant.memory(second)] == ["nuts"]
    assert talk.assistant.conversation(second).messages == ()


def test_one_shopper_s_state_is_not_another_s(talk: Talk) -> None:
    """Cart, memory and talk; two guests are two shoppers too."""
    talk.say("add milk", ADD_MILK)
    talk.say("no nuts", call("remember", kind="avoid", text="nuts"))
    for user_id in ("u1", None, None):
        other = talk.assistant.start(user_id=user_id)
        assert talk.assistant.cart(other) == ()
        assert talk.assistant.memory(other) == []


def test_a_talk_is_not_handed_to_another_shopper(talk: Talk) -> None:
    """Knowing a session's id is not enough, not even after a restart."""
    talk.say("add milk", ADD_MILK)
    again = Assistant(shop=small_shop(), model=None, store=Store(talk.store.path))
    for assistant in (talk.assistant, again):
        for other in ("u1", None):
            with pytest.raises(ShopError, match=r"This talk is another shopper's\. Start a new one"):
                assistant.start(user_id=other, session_id=talk.session)


def test_erasing_a_shopper_leaves_nothing_of_the_talk(talk: Talk) -> None:
    """Words, lists and saved states: not one byte of what was said is left in the tables."""
    talk.say("xyzzyx cheese", CHEESE)
    talk.say("no nuts", call("remember", kind="avoid", text="nuts"))
    talk.store.erase("u0")
    tables = [row[0] for row in talk.store.connection.execute("SELECT name FROM sqlite_master WHERE type='table'")]
    left = [row for table in tables for row in talk.store.connection.execute(f"SELECT * FROM {table}")]
    assert left == []
    assert talk.assistant.conversation(talk.session).messages == ()


def test_a_long_talk_does_not_fill_the_disk(talk: Talk) -> None:
    """One saved state a talk: keeping every one would grow with the square of its length."""
    for _ in range(6):
        talk.say("shredded cheese", CHEESE)
    assert talk.store.connection.execute("SELECT count(*) FROM checkpoints").fetchone() == (1,)
    assert len(talk.assistant.conversation(talk.session).messages) == 24


# undo


def test_undoing_takes_back_what_the_turn_did(talk: Talk) -> None:
    """Cart, memory, list and words; "it" means again what it meant before, and what was said is given back."""
    talk.say("shredded cheese", CHEESE)
    talk.store.remember("u0", kind="like", text="milk")
    memory = talk.assistant.memory(talk.session)
    before = talk.assistant.conversation(talk.session)
    for said, asked in (
        ("add both", call("update_cart", action="add", positions=[1, 2])),
        ("no nuts", call("remember", kind="avoid", text="nuts")),
        ("I don't like milk any more", call("remember", kind="dislike", text="milk")),
        ("forget all", call("forget", text="all")),
        ("empty my cart", call("update_cart", action="clear")),
        ("popcorn", call("search_catalog", query="popcorn")),
    ):
        talk.say(said, asked)
        assert talk.assistant.undo(session_id=talk.session) == said
        assert (talk.cart, talk.assistant.memory(talk.session)) == ((), memory), said
        assert talk.assistant.conversation(talk.session) == before
    assert talk.say("add the second", call("update_cart", action="add", positions=[2])).cart is not None
    assert talk.cart[0][0] in ("i06", "i07")


def test_every_turn_can_be_undone_and_then_there_is_nothing(talk: Talk) -> None:
    """Back to an empty talk; undoing that is no error."""
    for _ in range(3):
        talk.say("add milk", ADD_MILK)
    for left in (2, 1):
        talk.assistant.undo(session_id=talk.session)
        assert talk.cart == (("i08", left),)
    talk.assistant.undo(session_id=talk.session)
    assert (talk.cart, talk.assistant.undo(session_id=talk.session)) == ((), None)


def test_undoing_leaves_alone_what_the_shopper_changed_by_hand(talk: Talk) -> None:
    """What was erased in the panel stays erased, what was put in the cart there stays in it."""
    talk.say("no nuts", call("remember", kind="avoid", text="nuts"))
    talk.say("add milk", ADD_MILK)
    talk.say("shredded cheese", CHEESE)
    talk.assistant.forget(talk.session)
    talk.store.set_cart("u0", [("i08", 5), ("i06", 1)])
    talk.assistant.undo(session_id=talk.session)
    assert (talk.cart, talk.memory) == ((("i08", 5), ("i06", 1)), [])


def test_a_quick_reply_of_an_undone_turn_is_not_offered_any_more(talk: Talk) -> None:
    """Typed now, it is a message like any other."""
    talk.say("shredded cheese", CHEESE)
    talk.assistant.undo(session_id=talk.session)
    assert talk.say("Cheaper", call("chat", topic="hello")).calls == [("chat", {"topic": "hello"})]


# one at a time


def test_a_session_answers_one_message_at_a_time(talk: Talk) -> None:
    """A second thread is told so and changes nothing; another session is not held up."""
    go, asked = threading.Event(), threading.Event()

    def slow() -> str:
        asked.set()
        assert go.wait(20)
        return planned(ADD_MILK)

    told: list[Event] = []
    talk.model.plans.append(slow)
    first = threading.Thread(target=lambda: told.extend(talk.assistant.reply("add milk", session_id=talk.session)))
    first.start()
    assert asked.wait(20)
    with pytest.raises(ShopError, match="I am still answering your last message"):
        list(talk.assistant.reply("hello", session_id=talk.session))
    other = talk.assistant.start(user_id="u1")
    talk.model.plans.append(planned(CHEESE))
    assert Told(tuple(talk.assistant.reply("shredded cheese", session_id=other))).items
    go.set()
    first.join(20)
    assert isinstance(told[-1], Finished)
    assert talk.cart == (("i08", 1),)
    assert talk.say("shredded cheese", CHEESE).items


def test_many_sessions_at_once_keep_apart(tmp_path: Path) -> None:
    """Each talk has its own list, cart and words, and none is lost."""
    assistant = Assistant(shop=small_shop(), model=None, store=Store(tmp_path / "state.sqlite"), limits=Limits())
    wants = {"u0": "shredded cheese", "u1": "dry cat food", "u2": "popcorn", "u3": "cat litter"}
    sessions = {user_id: assistant.start(user_id=user_id) for user_id in wants}
    seen: dict[str, list[list[str]]] = {user_id: [] for user_id in wants}

    def shop(user_id: str) -> None:
        for _ in range(3):
            told = Told(tuple(assistant.reply(wants[user_id], session_id=sessions[user_id])))
            seen[user_id].append(told.items)
            list(
                assistant.press(
                    call("update_cart", action="add", positions=[1]), session_id=sessions[user_id], said="+"
                )
            )

    threads = [threading.Thread(target=shop, args=(user_id,)) for user_id in wants]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for user_id in wants:
        assert seen[user_id] == [seen[user_id][0]] * 3
        assert assistant.cart(sessions[user_id]) == ((seen[user_id][0][0], 3),)
        assert len(assistant.conversation(sessions[user_id]).messages) == 24


# the disk


def test_a_full_disk_is_said_and_loses_nothing(talk: Talk) -> None:
    """Turns are kept as long as there is room; the one that finds none changes nothing, and room makes all well."""

    def state() -> object:
        return talk.cart, talk.memory, talk.assistant.conversation(talk.session), talk.store.export("u0")

    pages = talk.store.connection.execute("PRAGMA page_count").fetchone()[0]
    talk.store.connection.execute(f"PRAGMA max_page_count={pages + 5}")
    changes = (ADD_MILK, call("remember", kind="note", text="note " * 11), CHEESE)
    kept = 0
    while True:
        before = state()
        try:
            talk.say("add milk, note, cheese", *changes)
        except ShopError as error:
            said = str(error)
            break
        kept += 1
    assert "database or disk is full. Nothing was changed" in said
    assert state() == before
    assert talk.cart == ((("i08", kept),) if kept else ())
    talk.store.connection.execute("PRAGMA max_page_count=100000000")
    talk.say("add milk", ADD_MILK)
    assert talk.cart == (("i08", kept + 1),)


def test_no_half_turn_gets_onto_a_full_disk(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The talk is saved last, by a saver that commits by itself: cart and memory must not be on disk before it."""
    talk.say("add milk", ADD_MILK)
    before = (talk.cart, talk.assistant.conversation(talk.session))

    def full(*_args: object, **_more: object) -> None:
        import sqlite3

        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(talk.assistant._saver, "put", full)
        with pytest.raises(ShopError, match=r"disk is full. Nothing was changed"):
            talk.say("add milk", ADD_MILK)
    assert (talk.cart, talk.assistant.conversation(talk.session)) == before
    assert Store(talk.store.path).cart("u0") == before[0]


# a past that is given


def test_a_given_past_is_the_past(talk: Talk) -> None:
    """The evaluator's file: its lists are what "the second one" means, its words are in the prompt, the cart is untouched."""
    talk.store.set_cart("u0", [("i00", 1)])
    talk.assistant.given(
        [
            Message(role="user", content="cheese"),
            Message(role="assistant", content="Here are two.", items=("i07", "gone", "i06")),
        ],
        session_id=talk.session,
    )
    told = talk.say("tell me about the second", call("lookup_catalog", positions=[2]))
    assert told.reply.evidence["about"] == ["i06"]
    assert [message["content"] for message in talk.model.prompts[0]][1:] == [
        "cheese",
        "Here are two.",
        "tell me about the second",
    ]
    assert talk.say("why the first", call("explain", position=1)).sentences
    for _ in range(3):
        talk.assistant.undo(session_id=talk.session)
    assert talk.cart == (("i00", 1),)


def test_a_given_past_of_whole_turns_is_the_talk_itself(talk: Talk) -> None:
    """What was logged can be given again: the same messages, the same prompt."""
    talk.say("shredded cheese", CHEESE, answer="Here are 2 for shredded cheese.")
    talk.say("add milk", ADD_MILK)
    logged = talk.assistant.conversation(talk.session).messages
    other = talk.assistant.start()
    talk.assistant.given(list(logged), session_id=other)
    assert talk.assistant.conversation(other).messages == logged


def test_an_interrupted_reader_frees_the_session(talk: Talk) -> None:
    """Ctrl-C in the terminal in the middle of a turn: the next message is answered."""

    def interrupt() -> str:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        talk.model.plans.append(interrupt)
        list(talk.assistant.reply("cheese", session_id=talk.session))
    assert talk.say("shredded cheese", CHEESE).items
