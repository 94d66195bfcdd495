"""Mistakes that were made once, frozen: each test names what a shopper saw."""

from __future__ import annotations

from typing import Any

import pytest

from agent.conversation import ToolCall
from agent.plan import check_call


def kept(message: str, **arguments: Any) -> dict[str, Any]:
    call = ToolCall(name="search_catalog", arguments=arguments)
    return dict(check_call(call, message=message, said=())[0].arguments)


def test_a_word_of_the_schema_is_not_tidied_as_free_text() -> None:
    """Asked about the weather, the shopper was answered "I did not get that": the topic had lost its underscore."""
    call = ToolCall(name="chat", arguments={"topic": "off_topic"})
    assert check_call(call, message="whats the weather like", said=())[0] == call


@pytest.mark.parametrize(
    ("message", "arguments"),
    [
        ("buns too, for burgers", {"bought": "again"}),
        ("can i get some vodka here", {"bought": "new"}),
        ("decaf tho", {"brand": "store brand"}),
        ("what did household 18 have", {"sort": "dearest"}),
    ],
)
def test_a_filter_that_nobody_asked_for_hides_nothing(message: str, arguments: dict[str, str]) -> None:
    assert kept(message, query="x", **arguments) == {"query": "x"}


@pytest.mark.parametrize(
    ("message", "arguments"),
    [
        ("the coffee i usually buy", {"bought": "again"}),
        ("cookies i've never had", {"bought": "new"}),
        ("your own label is fine", {"brand": "store brand"}),
        ("cheapest milk", {"sort": "cheapest"}),
    ],
)
def test_a_filter_that_was_asked_for_stays(message: str, arguments: dict[str, str]) -> None:
    assert kept(message, query="x", **arguments) == {"query": "x", **arguments}


def test_a_name_that_the_shopper_did_not_say_names_nothing() -> None:
    """Asked "what goes with it" after cheese went into the cart, the assistant told what goes with deli turkey."""
    call = ToolCall(name="goes_with", arguments={"query": "deli turkey"})
    assert check_call(call, message="what goes with it", said=())[0].arguments == {}
    goes = ToolCall(name="goes_with", arguments={"query": "goes"})
    assert check_call(goes, message="what goes with it", said=())[0].arguments == {}
    assert check_call(call, message="what goes with turky", said=())[0] == call
