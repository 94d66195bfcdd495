"""Gold calls are compared as a person would: by what they mean, argument by argument."""

from __future__ import annotations

from typing import Any

import pytest

from agent.conversation import Conversation, Message, ToolCall
from eval.expectations import problems
from eval.metrics import grade, slices, summarise
from eval.plans import arguments, same_plan, same_value

CAT_FOOD = {"tool": "search_catalog", "query": "cat food", "max_price": 5}


def search(**values: Any) -> ToolCall:
    return ToolCall(name="search_catalog", arguments=values)


@pytest.mark.parametrize(
    ("made", "gold", "same"),
    [
        ("cat foods", "Cat food", True),
        ("cat", "cat food", False),
        (5, 5.0, True),
        (5, "5", False),
        ([2, 1], [1, 2], True),
        ([1], [1, 2], False),
        (["the nuts"], ["nut"], True),
        (True, True, True),
        (None, "x", False),
    ],
)
def test_values_are_the_same_when_they_mean_the_same(made: Any, gold: Any, same: bool) -> None:
    """Case, number and articles are no difference; a word more or less is."""
    assert same_value(made, gold) is same


def test_a_plan_is_right_whole_or_not_at_all() -> None:
    """A call too many, one too few, an argument too many or a wrong value: each makes it another plan."""
    assert same_plan([search(query="cat food", max_price=5.0)], [CAT_FOOD])
    assert not same_plan([search(query="cat food")], [CAT_FOOD])
    assert not same_plan([search(query="cat food", max_price=5, sort="cheapest")], [CAT_FOOD])
    assert not same_plan([search(query="cat food", max_price=5), search(query="milk")], [CAT_FOOD])
    assert not same_plan([], [CAT_FOOD])
    two = [{"tool": "search_catalog", "query": "milk"}, {"tool": "search_catalog", "query": "eggs"}]
    assert same_plan([search(query="eggs"), search(query="milk")], two)


def test_each_argument_is_judged_by_the_nearest_gold_plan() -> None:
    """Of several right plans, the one that was nearly made says what was wrong."""
    other = {"tool": "chat", "topic": "hello"}
    assert arguments([search(query="cat food", max_price=6)], [[other], [CAT_FOOD]]) == {
        "search_catalog": True,
        "search_catalog.query": True,
        "search_catalog.max_price": False,
    }
    assert arguments([ToolCall(name="recommend")], [[CAT_FOOD]])["search_catalog"] is False


def test_plans_are_part_of_the_results() -> None:
    """Plan accuracy over messages that have gold plans, and shares by argument among the slices."""
    messages = (
        Message(role="user", content="cat food under 5", expect={"plans": [[CAT_FOOD]]}),
        Message(role="assistant", content="Here.", tool_calls=(search(query="cat food", max_price=5),)),
        Message(role="user", content="hm"),
        Message(role="assistant", content="Yes?", evidence={"source": ["model", "plain"], "replaced": 1}),
    )
    turns = grade([Conversation(conversation_id="c", messages=messages)], items={})
    found = summarise(turns)
    assert (found["plan_accuracy"], found["replaced_rate"]) == (1.0, 0.5)
    assert slices(turns)["call:search_catalog.max_price"] == {"n": 1, "right": 1.0}


@pytest.mark.parametrize("plans", [[], "x", [{"tool": "chat"}], [[{"topic": "hello"}]]])
def test_gold_plans_of_another_shape_are_refused(plans: Any) -> None:
    """A set that cannot be checked is told before anything runs."""
    messages = (Message(role="user", content="x", expect={"plans": plans}),)
    assert "plans" in problems(Conversation(conversation_id="c", messages=messages))[0]
