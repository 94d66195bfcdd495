"""The metrics of a replay, on conversations whose figures can be counted by hand."""

from __future__ import annotations

import math

import pytest

from agent.conversation import Conversation, Message
from eval import metrics
from tests.shops import twelve_items

ITEMS = {item.item_id: item for item in twelve_items()}


def _reply(
    content: str = "",
    *,
    items: tuple[str, ...] = (),
    acts: tuple[str, ...] = (),
    about: tuple[str, ...] = (),
    rows: tuple[str, ...] = (),
) -> Message:
    evidence = {"about": list(about), "items": [{"position": n, "item_id": i} for n, i in enumerate(rows, start=1)]}
    usage = {
        "llm_calls": 2,
        "prompt_tokens": 100,
        "completion_tokens": 10,
        "turn_seconds": 1.0,
        "first_list_seconds": 0.5,
    }
    return Message(role="assistant", content=content, items=items, acts=acts, evidence=evidence, usage=usage)


TALKS = (
    Conversation(
        conversation_id="a",
        user_id="u",
        messages=(
            Message(
                role="user",
                content="cheap",
                expect={"act": "recommend", "where": {"max_price": 3}, "items": ["i00", "i02"]},
            ),
            _reply("Here are 2 items.", items=("i00", "i01"), acts=("recommend",), rows=("i00", "i01")),
            Message(role="user", content="why 2", expect={"act": "explain", "about": 2}),
            _reply("", acts=("explain",), about=("i01",)),
            Message(role="user", content="a boat", expect={"none": True}),
            _reply("We don't carry boats.", acts=("recommend",)),
        ),
    ),
    Conversation(
        conversation_id="b",
        messages=(
            Message(
                role="user",
                content="cat food",
                expect={"act": "recommend", "where": {"attributes": {"category": ["CAT FOOD"]}}},
            ),
            _reply("What kind?", acts=("ask",)),
            Message(role="user", content="hi", expect={"act": "chat"}),
            Message(role="assistant", evidence={"error": "ValueError: no"}, usage={"turn_seconds": 3.0}),
            Message(role="user", content="tea", expect={"items": ["i05"]}),
            _reply("The zzz is organic.", items=("nope",), acts=("recommend",)),
        ),
    ),
)


def test_the_figures_are_those_counted_by_hand() -> None:
    """Promise: each metric is what `formats.md` §3 says it is."""
    turns = metrics.grade(TALKS, items=ITEMS, bought=lambda user_id, item_id: False)
    found = metrics.summarise(turns)
    expected = {
        "act_accuracy": 2 / 4,
        "recall@5": (0.5 + 0) / 2,
        "mrr@10": (1 + 0) / 2,
        "violation_rate": 1 / 2,
        "answered_rate": 2 / 3,
        "honest_none_rate": 1.0,
        "about_accuracy": 1.0,
        "off_catalogue_items": 1,
        "unsupported_claim_rate": 1 / 5,
        "errors": 1,
        "llm_calls_per_turn": 2.0,
        "prompt_tokens_per_turn": 100.0,
        "completion_tokens_per_turn": 10.0,
        "first_list_seconds_p50": 0.5,
        "turn_seconds_p95": 2.5,
        "cart_accuracy": None,
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected)


def test_every_metric_has_its_standard_error() -> None:
    """Promise: no figure stands without how sure it is."""
    found = metrics.summarise(metrics.grade(TALKS, items=ITEMS))
    assert set(found) == {*metrics.METRICS, *(f"{name}_stderr" for name in metrics.METRICS)}


def test_the_same_seed_gives_the_same_figures() -> None:
    """Promise: same conversations, same numbers, twice."""
    turns = metrics.grade(TALKS, items=ITEMS)
    assert metrics.summarise(turns, seed=3) == metrics.summarise(turns, seed=3)


def test_a_ratio_of_independent_turns_has_the_textbook_error() -> None:
    """Promise: with one turn a conversation, the standard error is that of a share."""
    talks = [
        Conversation(
            conversation_id=str(n),
            messages=(
                Message(role="user", content="x", expect={"act": "chat"}),
                _reply(acts=("chat",) if n % 4 else ("ask",)),
            ),
        )
        for n in range(100)
    ]
    found = metrics.summarise(metrics.grade(talks, items=ITEMS))
    assert found["act_accuracy"] == 0.75
    assert found["act_accuracy_stderr"] == pytest.approx(math.sqrt(0.75 * 0.25 / 99))


def test_turns_that_hang_together_count_as_one() -> None:
    """Promise: ten turns that fail together are not ten independent failures."""
    alone = [
        Conversation(
            conversation_id=str(n),
            messages=(
                Message(role="user", content="x", expect={"act": "chat"}),
                _reply(acts=("chat",) if n % 2 else ()),
            )
            * 10,
        )
        for n in range(10)
    ]
    found = metrics.summarise(metrics.grade(alone, items=ITEMS))
    assert found["act_accuracy_stderr"] == pytest.approx(math.sqrt(0.25 / 9))


def test_the_list_shown_last_is_the_last_one_with_items() -> None:
    """Promise: "the second one" still means the list on the page after a turn that showed none."""
    talk = Conversation(
        conversation_id="c",
        messages=(
            Message(role="user", content="milk"),
            _reply(items=("i01", "i02")),
            Message(role="user", content="thanks"),
            _reply("Sure."),
            Message(role="user", content="why the second", expect={"about": 2}),
            _reply(about=("i02",)),
        ),
    )
    assert [turn.check.holds for turn in metrics.grade([talk], items=ITEMS)][2] == {"about": True}
