"""Every bound is kept at its value, and what is just past it is cut or refused in words."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agent.events import Finished, Listed
from agent.limits import Limits
from agent.turn import PLAN_SHARE
from retrieval.records import ShopError
from tests.scripted_model import call
from tests.small_shop import Talk

CHEESE = call("search_catalog", query="shredded cheese")


def test_messages_are_read_up_to_the_limit(tmp_path: Path) -> None:
    """At the limit as typed, past it cut, and the shopper is told."""
    talk = Talk(tmp_path, message_chars=20)
    at = talk.say("cheese" + "." * 14, CHEESE)
    assert (at.notices, at.finished.messages[0].content) == ([], "cheese" + "." * 14)
    past = talk.say("cheese" + "." * 15, CHEESE)
    assert past.notices == ["I read the first 20 characters of that."]
    assert past.finished.messages[0].content == "cheese" + "." * 14


def test_ten_thousand_characters_are_no_trouble(tmp_path: Path) -> None:
    """Cut to the limit; the prompt and the log hold no more."""
    talk = Talk(tmp_path)
    told = talk.say("cheese please " * 715, CHEESE)
    assert told.notices == ["I read the first 1000 characters of that."]
    assert set(told.items) == {"i06", "i07"}
    assert len(told.finished.messages[0].content) <= 1000
    assert all(len(message["content"]) <= 4000 for prompt in talk.model.prompts for message in prompt[1:])


def test_a_talk_has_so_many_turns(tmp_path: Path) -> None:
    """The last one allowed is answered; the next is refused, and what was said stays."""
    talk = Talk(tmp_path, session_turns=3)
    for _ in range(3):
        assert talk.say("cheese", CHEESE).items
    with pytest.raises(ShopError, match="This talk has 3 turns, which is the limit"):
        talk.say("cheese", CHEESE)
    assert len(talk.assistant.conversation(talk.session).messages) == 12


def test_so_many_talks_are_open_at_once(tmp_path: Path) -> None:
    """One that ends makes room; opening an open one again takes none."""
    talk = Talk(tmp_path, sessions=3)
    second = talk.assistant.start()
    talk.assistant.start(user_id="u1")
    assert talk.assistant.start(session_id=second) == second
    with pytest.raises(ShopError, match="3 talks are open, which is the limit"):
        talk.assistant.start()
    talk.assistant.end(second)
    talk.assistant.start()


def test_a_turn_makes_so_many_tool_calls(tmp_path: Path) -> None:
    """As many as allowed are all made, more are not, whatever the server sends."""
    talk = Talk(tmp_path, tool_calls=2)
    at = talk.say("a, b", *[call("search_catalog", query=words) for words in ("cheese", "milk")])
    assert [name for name, _ in at.calls] == ["search_catalog"] * 2
    told = talk.say("a, b, c", *[call("search_catalog", query=words) for words in ("cheese", "milk", "popcorn")])
    assert [name for name, _ in told.calls] == ["search_catalog"] * 2


@pytest.mark.parametrize(("most", "made"), [(0, 0), (1, 1), (2, 2), (9, 2)])
def test_a_turn_makes_so_many_model_calls(tmp_path: Path, most: int, made: int) -> None:
    """Two at most, fewer when the house says so; the list is there with none at all."""
    talk = Talk(tmp_path, model_calls=most)
    told = talk.say("shredded cheese", CHEESE, answer="Here are 2 for shredded cheese.")
    assert set(told.items) == {"i06", "i07"}
    assert len(talk.model.prompts) == told.reply.usage["llm_calls"] == made


def test_a_list_is_so_long(tmp_path: Path) -> None:
    """The house's length of a list."""
    assert len(Talk(tmp_path, user_id="u0", list_length=3).say("my usual", call("recommend")).items) == 3


@pytest.mark.parametrize("length", [1, 3, 5])
def test_a_list_is_so_long_for_several_wishes_together(tmp_path: Path, length: int) -> None:
    """They share the length in turn, and each keeps its own together."""
    calls = [call("search_catalog", query=query) for query in ("cheese", "milk", "popcorn", "cat litter")]
    told = Talk(tmp_path, list_length=length).say("cheese, milk, popcorn and cat litter", *calls)
    assert len(told.items) == min(length, len(told.items)) and told.items
    if length == 5:
        assert len(told.items) >= 4, "each wish has one"


def test_so_much_is_remembered(tmp_path: Path) -> None:
    """The oldest goes when there is no room."""
    talk = Talk(tmp_path, memories=2)
    for text in ("no ham", "no fish", "no nuts"):
        talk.say(text, call("remember", kind="avoid", text=text[3:]))
        if text == "no fish":
            assert talk.memory == [("avoid", "ham"), ("avoid", "fish")]
    assert talk.memory == [("avoid", "fish"), ("avoid", "nuts")]


def test_a_turn_has_so_many_seconds(tmp_path: Path) -> None:
    """With none left the model is not asked for words: the list comes with plain reasons, and that is said."""
    talk = Talk(tmp_path, turn_seconds=0.5)
    told = talk.say("shredded cheese", CHEESE, answer="Here are 2 for shredded cheese.")
    assert told.of(Listed)
    assert told.notices == ["The model is slow, so the reasons below are plain ones."]
    assert told.sources == {"plain"}
    assert len(talk.model.prompts) == 1
    assert isinstance(told.events[-1], Finished)


def test_the_model_writes_so_many_tokens(tmp_path: Path) -> None:
    """Each call carries its bound to the server, which stops there; what it cut in two is no sentence."""
    talk = Talk(tmp_path, plan_tokens=33, answer_tokens=44)
    asked: list[tuple[str, int]] = []
    plan, answer = talk.model.plan, talk.model.answer

    def counted_plan(*args: Any, **more: Any) -> str:
        asked.append(("plan", more["max_tokens"]))
        return plan(*args, **more)

    def counted_answer(*args: Any, **more: Any) -> Iterator[str]:
        asked.append(("answer", more["max_tokens"]))
        return answer(*args, **more)

    talk.model.plan, talk.model.answer = counted_plan, counted_answer  # type: ignore[method-assign]
    told = talk.say("shredded cheese", CHEESE, answer="Here are 2 for shredded cheese. [1] costs")
    assert asked == [("plan", 33), ("answer", 44)]
    assert told.sentences == ["Here are 2 for shredded cheese."]


def test_a_prompt_is_so_long(tmp_path: Path) -> None:
    """With room the talk is read from its start; past the bound the oldest turns go, the newest message never."""
    seen = []
    for tokens in (100_000, 400):
        talk = Talk(tmp_path, prompt_tokens=tokens)
        for number in range(8):
            talk.say(f"shredded cheese number {number} please", CHEESE)
        prompt = [message["content"] for message in talk.model.prompts[-2]]
        assert prompt[-1] == "shredded cheese number 7 please"
        seen.append(any("number 0 " in content for content in prompt[1:]))
    assert seen == [True, False]


@pytest.mark.parametrize("past", [0, 1])
def test_so_much_of_a_title_enters_the_prompt(tmp_path: Path, past: int) -> None:
    """At its length a title is read whole, past it it is cut; the shopper's card has all of it."""
    title = "Shredded cheese, 8 oz, store brand"
    talk = Talk(tmp_path, item_chars=len(title) - past)
    told = talk.say("shredded cheese, cheapest", call("search_catalog", query="shredded cheese", sort="cheapest"))
    assert told.cards[0].recommendation.item.title == title
    row = talk.model.prompts[-1][-1]["content"].splitlines()[2]
    assert row.startswith(f"1. {title[: len(title) - past]} $2.00")


@pytest.mark.parametrize(("spent", "worded"), [(539.0, True), (599.0, False), (700.0, False)])
def test_a_turns_seconds_are_counted_from_its_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spent: float, worded: bool
) -> None:
    """Of 600 seconds a plan gets six tenths, the answer what the plan left; at the last second nothing is asked any more."""
    talk, waited = Talk(tmp_path, turn_seconds=600), [0.0]
    monkeypatch.setattr("agent.turn.time", SimpleNamespace(monotonic=lambda: time.monotonic() + waited[0]))
    given: list[float] = []
    plan, answer = talk.model.plan, talk.model.answer

    def slow_plan(*args: Any, **more: Any) -> str:
        given.append(more["seconds"])
        waited[0] = spent
        return plan(*args, **more)

    def timed_answer(*args: Any, **more: Any) -> Iterator[str]:
        given.append(more["seconds"])
        return answer(*args, **more)

    talk.model.plan, talk.model.answer = slow_plan, timed_answer  # type: ignore[method-assign]
    told = talk.say("shredded cheese", CHEESE, answer="Here are 2 for shredded cheese.")
    assert set(told.items) == {"i06", "i07"}
    assert told.sources == ({"model"} if worded else {"plain"})
    assert told.notices == ([] if worded else ["The model is slow, so the reasons below are plain ones."])
    assert PLAN_SHARE * 540 < given[0] <= PLAN_SHARE * 600
    assert all(1 < seconds <= 600 - spent for seconds in given[1:]) and len(given) == 1 + worded


def test_limits_are_settings_of_the_house() -> None:
    """Each is a plain number with a working default; the one switch is off."""
    assert all(getattr(Limits(), field.name) > 0 for field in fields(Limits) if field.name != "free_words")
    assert Limits().free_words is False
