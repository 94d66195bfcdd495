"""A replay drives the assistant by its events only, loses nothing, and writes what `formats.md` §3 says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.conversation import Conversation, Message, read_conversations
from agent.events import Event, Finished, Listed, Said, Shown
from eval import metrics
from eval.replay import read_results, regrade, replay
from retrieval.records import Recommendation, ShopError
from tests.shops import twelve_items

ITEMS = {item.item_id: item for item in twelve_items()}


class Parrot:
    """A stand-in: lists the items whose title holds the message, raises on "boom", loses its model on "away".

    The first list it gave is remembered, so that "which" tells what the talk's past is.
    """

    def __init__(self, *, model: str | None = "parrot") -> None:
        self.model = model
        self.sessions: dict[str, tuple[str, ...]] = {}
        self.past: dict[str, list[Message]] = {}
        self.replies = 0
        self.die_after = 10**9

    def start(self, *, user_id: str | None = None, session_id: str | None = None) -> str:
        session = f"s{len(self.sessions)}"
        self.sessions[session], self.past[session] = (), []
        return session

    def given(self, messages: list[Message], *, session_id: str) -> None:
        self.past[session_id] = messages

    def cart(self, session_id: str) -> tuple[tuple[str, int], ...]:
        return tuple((item_id, 1) for item_id in self.sessions[session_id])

    def reply(self, message: str, *, session_id: str) -> Iterator[Event]:
        self.replies += 1
        if self.replies > self.die_after:
            raise KeyboardInterrupt
        if message == "boom":
            raise ValueError("no such thing")
        found = tuple(item for item in ITEMS.values() if message in item.title.lower())
        if found:
            yield Listed(
                cards=tuple(
                    Shown(recommendation=Recommendation(item=item, score=1.0, parts=()), reason="") for item in found
                )
            )
            if message == "cat":
                self.sessions[session_id] += (found[0].item_id,)
        text = (
            f"{len(self.past[session_id])} before"
            if message == "which"
            else "Here you are."
            if found
            else "Nothing fits that."
        )
        yield Said(sentence=text, source="plain")
        reply = Message(
            role="assistant",
            content=text,
            items=tuple(item.item_id for item in found),
            acts=("recommend",),
            evidence={"model_away": True} if message == "away" else {},
            usage={"llm_calls": 1, "turn_seconds": 99.0, "first_list_seconds": 98.0},
        )
        yield Finished(messages=(Message(role="user", content=message), reply))


def write_set(folder: Path, *talks: list[Any]) -> Path:
    """Write a set: each talk a list of messages, or (message, expect)."""
    path = folder / "set.jsonl"
    rows = []
    for number, talk in enumerate(talks):
        messages = [
            {"role": "user", "content": one}
            if isinstance(one, str)
            else {"role": "user", "content": one[0], "expect": one[1]}
            for one in talk
        ]
        rows.append(json.dumps({"conversation_id": f"c{number}", "messages": messages}))
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def run(set_path: Path, output: Path, *, assistant: Any = None, **more: Any) -> dict[str, Any]:
    return replay(set_path, assistant=assistant or Parrot(), items=ITEMS, output=output, **more)


def test_results_hold_every_metric_and_what_was_run(tmp_path: Path) -> None:
    """Promise: `results.json` has the fields of `formats.md` §3, and `conversations.jsonl` reads as conversations."""
    set_path = write_set(
        tmp_path, [("cat", {"act": "recommend", "where": {"text_any": ["cat"]}, "cart": ["i01"]})], ["soda"]
    )
    record = run(set_path, tmp_path / "out", config={"model": "m", "adapter": None, "base": "b", "shop": "s"})
    written = json.loads((tmp_path / "out" / "results.json").read_text(encoding="utf-8"))
    assert written == json.loads(json.dumps(record))
    assert set(written) >= {"results", "n", "config", "date", "git_hash"}
    assert set(written["config"]) >= {"model", "adapter", "base", "shop", "seed", "limit", "versions", "hardware"}
    assert set(written["results"]) == {*metrics.METRICS, *(f"{name}_stderr" for name in metrics.METRICS)}
    assert (written["n"]["turns"], written["n"]["conversations"]) == (2, 2)
    assert written["results"]["act_accuracy"] == written["results"]["cart_accuracy"] == 1.0
    talk = next(iter(read_conversations(tmp_path / "out" / "conversations.jsonl")))
    assert [message.role for message in talk.messages] == ["user", "assistant"]
    assert talk.messages[0].expect is not None
    assert talk.messages[1].items == ("i01", "i03")


def test_seconds_are_the_replayers_own(tmp_path: Path) -> None:
    """Promise: time is measured from outside, from the message to the events, not taken from the assistant."""
    found = run(write_set(tmp_path, ["soda"]), tmp_path / "out")["results"]
    assert found["turn_seconds_p50"] < 5
    assert found["first_list_seconds_p50"] <= found["turn_seconds_p50"]


def test_a_turn_that_raises_is_counted_and_the_run_goes_on(tmp_path: Path) -> None:
    """Promise: an error is a figure, not the end of the run."""
    record = run(
        write_set(tmp_path, [("boom", {"act": "recommend"}), ("soda", {"act": "recommend"})]), tmp_path / "out"
    )
    assert record["results"]["errors"] == 1
    assert record["results"]["act_accuracy"] == 0.5
    assert record["failures"][0]["said"] == "boom"


def test_a_stopped_run_goes_on_where_it_was(tmp_path: Path) -> None:
    """Promise: finished conversations are kept, also when the last line was cut by a crash."""
    set_path = write_set(tmp_path, ["soda"], ["cat"], ["beef"])
    stopped = Parrot()
    stopped.die_after = 2
    with pytest.raises(KeyboardInterrupt):
        run(set_path, tmp_path / "out", assistant=stopped)
    log = tmp_path / "out" / "conversations.jsonl"
    assert len(log.read_text(encoding="utf-8").splitlines()) == 2
    log.write_text(log.read_text(encoding="utf-8") + '{"conversation_id": "c2", "mess', encoding="utf-8")
    again = Parrot()
    record = run(set_path, tmp_path / "out", assistant=again)
    assert again.replies == 1
    assert record["n"]["conversations"] == 3
    assert len(list(read_conversations(log))) == 3


def test_another_run_is_not_mixed_in(tmp_path: Path) -> None:
    """Promise: results of two settings never end up in one file; `fresh` starts over."""
    set_path = write_set(tmp_path, ["soda"])
    run(set_path, tmp_path / "out", config={"model": "one"})
    with pytest.raises(ShopError, match=r"differs in model.*--fresh"):
        run(set_path, tmp_path / "out", config={"model": "two"})
    other = Parrot()
    run(set_path, tmp_path / "out", config={"model": "two"}, fresh=True, assistant=other)
    assert other.replies == 1


def test_a_dead_model_stops_the_run_and_its_talks_are_not_kept(tmp_path: Path) -> None:
    """Promise: a run with a dead model does not pass for a run with the model."""
    set_path = write_set(tmp_path, ["soda"], ["away"], ["away"], ["away"], ["cat"])
    with pytest.raises(ShopError, match="has not answered for 3 conversations"):
        run(set_path, tmp_path / "out")
    assert len(list(read_conversations(tmp_path / "out" / "conversations.jsonl"))) == 1
    record = run(
        write_set(tmp_path, ["soda"], ["away"], ["away"], ["away"]), tmp_path / "none", assistant=Parrot(model=None)
    )
    assert record["results"]["plain_rate"] == 0.75


def test_given_history_judges_every_turn_on_the_files_past(tmp_path: Path) -> None:
    """Promise: with `given`, the assistant's messages of the file are taken as said, and positions point into them."""
    path = tmp_path / "set.jsonl"
    messages = [
        {"role": "user", "content": "cat"},
        {"role": "assistant", "content": "Here.", "items": ["i07", "i08"]},
        {"role": "user", "content": "which"},
    ]
    path.write_text(json.dumps({"conversation_id": "g", "messages": messages}) + "\n", encoding="utf-8")
    run(path, tmp_path / "given", history="given")
    talk = next(iter(read_conversations(tmp_path / "given" / "conversations.jsonl")))
    assert [message.content for message in talk.messages if message.role == "assistant"] == [
        "Here you are.",
        "2 before",
    ]
    assert talk.messages[-1].evidence["previous"] == ["i07", "i08"]
    run(path, tmp_path / "live", history="live")
    talk = next(iter(read_conversations(tmp_path / "live" / "conversations.jsonl")))
    assert talk.messages[-1].content == "0 before"


def test_a_saved_run_is_graded_again_without_a_model(tmp_path: Path) -> None:
    """Promise: the metrics are a function of the saved conversations."""
    set_path = write_set(tmp_path, [("cat", {"act": "recommend", "items": ["i01"]})], ["boom", "soda"])
    before = run(set_path, tmp_path / "out")
    after = regrade(tmp_path / "out", items=ITEMS, bought=lambda user_id, item_id: False)
    assert after["results"] == before["results"]
    assert read_results(tmp_path / "out")["results"] == json.loads(json.dumps(before["results"]))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "holds no conversations"),
        ("{\n", "line 1: not JSON"),
        ('{"messages": 3}\n', 'a list "messages"'),
        (
            '{"conversation_id": "x", "messages": [{"role": "user", "content": "a", "expect": {"akt": 1}}]}\n',
            'unknown expectation "akt"',
        ),
        (
            '{"conversation_id": "x", "messages": []}\n{"conversation_id": "x", "messages": []}\n',
            "two conversations are called 'x'",
        ),
    ],
)
def test_a_bad_set_is_refused_before_anything_is_run(tmp_path: Path, text: str, words: str) -> None:
    """Promise: what is wrong with a set is said at once, with its place, and nothing is written."""
    path = tmp_path / "bad.jsonl"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ShopError, match=words):
        run(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_missing_files_are_named(tmp_path: Path) -> None:
    """Promise: a missing set or run is an error that says where it was looked for."""
    with pytest.raises(ShopError, match="No conversations at"):
        run(tmp_path / "none.jsonl", tmp_path / "out")
    with pytest.raises(ShopError, match="No results at"):
        read_results(tmp_path)


def test_the_limit_takes_the_first_conversations(tmp_path: Path) -> None:
    """Promise: `--limit` makes a short run of the same set."""
    assert run(write_set(tmp_path, ["soda"], ["cat"], ["beef"]), tmp_path / "out", limit=2)["n"]["conversations"] == 2


def test_a_conversation_reads_back_as_it_went() -> None:
    """Promise: the log keeps acts, evidence and usage."""
    from agent.conversation import from_json, to_json

    talk = Conversation(
        conversation_id="c",
        messages=(Message(role="assistant", content="x", acts=("chat",), evidence={"a": [1]}, usage={"b": 2}),),
    )
    assert from_json(to_json(talk)) == talk
