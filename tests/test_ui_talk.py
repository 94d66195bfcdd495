"""A talk of a front end: turns in order, kept whole or not at all, stoppable at once."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from agent.conversation import ToolCall
from retrieval.records import ShopError
from tests.scripted_assistant import ScriptedAssistant
from tests.shops import twelve_items
from ui.talk import BUSY, STOPPED, Press, Talk
from ui.views import View


@pytest.fixture
def assistant(tmp_path: Path) -> ScriptedAssistant:
    return ScriptedAssistant(twelve_items()[6:9], store=tmp_path / "store.sqlite")


@pytest.fixture
def talk(assistant: ScriptedAssistant) -> Talk:
    return Talk(assistant=assistant)  # type: ignore[arg-type]


def last(talk: Talk, said: str | Press) -> View:
    return list(talk.say(said))[-1]


def said_so_far(talk: Talk) -> list[str]:
    assert talk.session_id is not None
    return [message.content for message in talk.assistant.conversation(talk.session_id).messages]


ADD = Press(call=ToolCall(name="update_cart", arguments={"action": "add", "positions": [2]}), said="Add it")


def test_a_turn_unfolds_event_by_event(talk: Talk) -> None:
    views = list(talk.say("cheese"))
    assert [(len(v.steps), len(v.cards), len(v.sentences), v.state) for v in views] == [
        (0, 0, 0, "running"),
        (1, 0, 0, "running"),
        (1, 3, 0, "running"),
        (1, 3, 1, "running"),
        (1, 3, 2, "running"),
        (1, 3, 2, "kept"),
        (1, 3, 2, "kept"),
    ]
    assert views[-1].quick_replies == ("Cheaper", "Store brand", "Something else")
    assert views[-1].reply.endswith("suits you best. It costs the least.")


def test_stop_answers_at_once_and_the_turn_is_not_kept(talk: Talk, assistant: ScriptedAssistant) -> None:
    views = []
    started = time.monotonic()
    for view in talk.say("slow cheese"):
        views.append(view)
        if view.cards and view.state == "running":
            talk.stop()
    assert time.monotonic() - started < 2
    assert (views[-1].state, views[-1].ending) == ("stopped", STOPPED)
    assistant.gate.set()
    last(talk, "tea")  # waits for the stopped turn's end, then goes on
    assert said_so_far(talk) == ["tea"]


def test_a_turn_stopped_in_its_last_moment_is_taken_back(talk: Talk, assistant: ScriptedAssistant) -> None:
    last(talk, "cheese")
    for view in talk.say(ADD):
        if view.steps:
            time.sleep(0.3)  # meanwhile the assistant finishes the turn
            talk.stop()
            break
    assert said_so_far(talk) == ["cheese"]
    assert talk.cart() == ()


def test_a_browser_that_goes_away_leaves_no_half_turn(talk: Talk, assistant: ScriptedAssistant) -> None:
    views = talk.say("slow cheese")
    next(views)
    next(views)
    views.close()
    assistant.gate.set()
    last(talk, "tea")
    assert said_so_far(talk) == ["tea"]
    assert [view.state for view in talk.views] == ["stopped", "kept"]


def test_one_turn_at_a_time(talk: Talk, assistant: ScriptedAssistant) -> None:
    views = talk.say("slow cheese")
    next(views)
    for other in (
        lambda: list(talk.say("tea")),
        talk.undo,
        lambda: talk.set_quantity("i06", 1),
        lambda: talk.forget(None),
    ):
        with pytest.raises(ShopError, match=BUSY):
            other()
    assistant.gate.set()
    assert list(views)[-1].state == "kept"


def test_undo_takes_back_the_turn_and_what_it_did(talk: Talk) -> None:
    last(talk, "cheese")
    last(talk, ADD)
    assert talk.cart() == (("i07", 1),)
    assert talk.undo() == ADD
    assert (talk.cart(), said_so_far(talk), len(talk.views)) == ((), ["cheese"], 1)
    assert (talk.undo(), talk.undo()) == ("cheese", None)


def test_undo_of_a_stopped_turn_undoes_nothing_else(talk: Talk, assistant: ScriptedAssistant) -> None:
    last(talk, "cheese")
    for view in talk.say("slow tea"):
        if view.cards:
            talk.stop()
    assistant.gate.set()
    assert talk.undo() == "slow tea"
    assert said_so_far(talk) == ["cheese"]


def test_what_a_person_can_put_right_is_told(talk: Talk) -> None:
    view = last(talk, "broken cheese")
    assert (view.state, view.ending) == (
        "failed",
        "The shop folder is damaged. Build it again with: shoptalk prepare",
    )
    assert last(talk, "tea").state == "kept"


def test_a_bug_is_raised_and_the_talk_goes_on(talk: Talk) -> None:
    with pytest.raises(ZeroDivisionError):
        list(talk.say("bug"))
    assert talk.views[-1].state == "failed"
    assert last(talk, "tea").state == "kept"


def test_the_last_list_is_the_one_buttons_mean(talk: Talk) -> None:
    assert talk.shown() is None
    last(talk, "cheese")
    last(talk, "nothing like that")
    found = talk.shown()
    assert found is not None and found[0] == 0


def test_the_cart_can_be_changed_line_by_line(talk: Talk) -> None:
    last(talk, "cheese")
    last(talk, ADD)
    talk.set_quantity("i07", 3)
    talk.set_quantity("i00", 3)  # not in the cart
    assert talk.cart() == (("i07", 3),)
    talk.set_quantity("i07", 10_000)
    assert talk.cart() == (("i07", 99),)
    talk.set_quantity("i07", 0)
    assert talk.cart() == ()


def test_an_unknown_shopper_is_refused(assistant: ScriptedAssistant) -> None:
    talk = Talk(assistant=assistant, user_id="nobody")  # type: ignore[arg-type]
    with pytest.raises(ShopError, match="no shopper 'nobody'"):
        list(talk.say("tea"))
    assert talk.views == []


def test_no_more_sessions_than_allowed(tmp_path: Path) -> None:
    assistant = ScriptedAssistant(twelve_items(), store=tmp_path / "store.sqlite", sessions=1)
    first, second = (Talk(assistant=assistant) for _ in range(2))  # type: ignore[arg-type]
    last(first, "tea")
    with pytest.raises(ShopError, match="1 talks are open"):
        list(second.say("tea"))
    first.close()
    assert last(second, "tea").state == "kept"


def test_talks_do_not_mix(assistant: ScriptedAssistant) -> None:
    talks = [Talk(assistant=assistant) for _ in range(4)]  # type: ignore[arg-type]

    def shop(talk: Talk) -> None:
        last(talk, "cheese")
        last(talk, ADD)

    threads = [threading.Thread(target=shop, args=[talk]) for talk in talks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [talk.cart() for talk in talks] == [(("i07", 1),)] * 4


def test_two_quick_presses_both_count(talk: Talk, assistant: ScriptedAssistant) -> None:
    last(talk, "cheese")
    done = threading.Thread(target=lambda: list(talk.say(lambda: ADD, patience=10)))
    views = talk.say("slow cheese")
    next(views)
    done.start()
    assistant.gate.set()
    for _ in views:
        pass
    done.join()
    assert talk.cart() == (("i07", 1),)
    assert said_so_far(talk) == ["cheese", "slow cheese", "Add it"]
