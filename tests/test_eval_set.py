"""The conversation sets keep to `formats.md` and can be met by the default shop."""

from __future__ import annotations

import json
from collections import Counter
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from agent.amounts import numbers_in
from agent.conversation import ACTS, Conversation, ToolCall, read_conversations
from agent.limits import Limits
from agent.plan import check_call
from agent.tools import TOOLS
from eval.expectations import broken, problems
from retrieval.records import Item
from retrieval.source_completejourney import read_completejourney

SETS = Path(__file__).parent.parent / "eval" / "sets"
NAMES = ("grocery", "unseen", "typed")
each_set = pytest.mark.parametrize("name", NAMES)


@cache
def conversations(name: str) -> tuple[Conversation, ...]:
    return tuple(read_conversations(SETS / f"{name}.jsonl"))


@cache
def default_shop() -> tuple[dict[str, Item], dict[str, set[str]]]:
    source = read_completejourney()
    shoppers = {conversation.user_id for name in NAMES for conversation in conversations(name)}
    log = (
        source.interactions[source.interactions["user_id"].isin(shoppers)]
        .groupby("user_id")["item_id"]
        .agg(set)
        .to_dict()
    )
    return {item.item_id: item for item in source.items}, log


@cache
def planned() -> tuple[tuple[str, tuple[str, ...], list[list[dict[str, Any]]]], ...]:
    """Give each message of the unseen set, what was said before it, and the plans that are right for it."""
    out = []
    for line in (SETS / "unseen.jsonl").read_text(encoding="utf-8").splitlines():
        said: list[str] = []
        for message in json.loads(line)["messages"]:
            out.append((message["content"], tuple(said), message["expect"]["plans"]))
            said.append(message["content"])
    return tuple(out)


@pytest.mark.parametrize(
    ("name", "talks", "asked", "least"), [("grocery", 90, 230, 10), ("unseen", 190, 420, 10), ("typed", 60, 250, 6)]
)
def test_the_set_is_large_and_covers_every_act(name: str, talks: int, asked: int, least: int) -> None:
    """Promise: a set has as many conversations and user messages as it says, each act asked for several times."""
    messages = [message for conversation in conversations(name) for message in conversation.messages]
    acts: Counter[str] = Counter()
    for message in messages:
        wanted = (message.expect or {}).get("act", [])
        acts.update([wanted] if isinstance(wanted, str) else wanted)
    assert len(conversations(name)) >= talks
    assert len(messages) >= asked
    assert min(acts[act] for act in ACTS) >= least, acts
    assert len({conversation.conversation_id for conversation in conversations(name)}) == len(conversations(name))
    assert len({conversation.user_id for conversation in conversations(name)}) >= 12


@each_set
def test_no_message_is_asked_twice(name: str) -> None:
    """Promise: a set is as wide as it is long; an opening is never repeated."""
    openings = [conversation.messages[0].content.lower() for conversation in conversations(name)]
    assert [text for text, count in Counter(openings).items() if count > 1] == []


def test_the_unseen_set_repeats_nothing() -> None:
    """Promise: each phrasing of the second set is its own, there and beside the first set."""
    first, second = (
        [message.content.lower() for conversation in conversations(name) for message in conversation.messages]
        for name in ("grocery", "unseen")
    )
    assert [text for text, count in Counter(second).items() if count > 1] == []
    assert set(first) & set(second) == set()


@each_set
def test_every_expectation_can_be_checked_on_the_default_shop(name: str) -> None:
    """Promise: no unknown key, no unknown item, no unknown shopper, no attribute value the shop does not have."""
    items, log = default_shop()
    values: dict[str, set[str]] = {}
    for item in items.values():
        for attribute, value in item.attributes.items():
            values.setdefault(attribute, set()).add(str(value))
    wrong = []
    for conversation in conversations(name):
        wrong += problems(conversation, items=items)
        if conversation.user_id is not None and conversation.user_id not in log:
            wrong.append(f"{conversation.conversation_id}: no shopper {conversation.user_id}")
        for message in conversation.messages:
            where = (message.expect or {}).get("where", {})
            for key in ("attributes", "not_attributes"):
                for attribute, wanted in where.get(key, {}).items():
                    wrong += [
                        f"{conversation.conversation_id}: no {attribute} {v!r}"
                        for v in wanted
                        if v not in values[attribute]
                    ]
    assert wrong == []


@pytest.mark.parametrize(("name", "least"), [("grocery", 1), ("unseen", 3), ("typed", 1)])
def test_every_wish_can_be_met(name: str, least: int) -> None:
    """Promise: an expectation is fair: enough items keep to it, and its `items` keep to its own `where`."""
    items, log = default_shop()
    relative = ("cheaper_than", "dearer_than", "same_category_as")
    for conversation in conversations(name):
        bought = log.get(conversation.user_id or "", set())
        for message in conversation.messages:
            expect = message.expect or {}
            where = {name: value for name, value in expect.get("where", {}).items() if name not in relative}
            among = [i for i in items if i in bought] if expect.get("again") else items
            among = [i for i in among if not (expect.get("new") and i in bought)]
            fits = (item_id for item_id in among if not broken(items[item_id], where, items=items))
            fit = sum(1 for _ in islice(fits, least))
            assert fit >= least, (message.content, fit)
            assert [i for i in expect.get("items", []) if broken(items[i], where, items=items)] == [], message.content


@pytest.mark.parametrize("price", ["max_price", "min_price"])
def test_a_bound_is_what_the_shopper_said(price: str) -> None:
    """Promise: a price expectation comes from words or digits of the talk, not from its writer."""
    said_so = ("dollar", "buck", "$", "under", "max", "less", "tops", "more than", "least", "between", "around")
    for conversation in conversations("grocery"):
        so_far = ""
        for message in conversation.messages:
            so_far += " " + message.content.lower()
            if price in (message.expect or {}).get("where", {}):
                assert any(word in so_far for word in said_so), message.content


@pytest.mark.parametrize("price", ["max_price", "min_price"])
def test_the_amount_of_a_bound_was_said(price: str) -> None:
    """Promise: in the second set, the amount of a price expectation is one that the talk names."""
    for conversation in conversations("unseen"):
        so_far = ""
        for message in conversation.messages:
            so_far += " " + message.content
            bound = (message.expect or {}).get("where", {}).get(price)
            assert bound is None or any(abs(bound - n) < 0.005 for n in numbers_in(so_far)), message.content


def test_every_plan_is_one_that_is_made_as_it_stands() -> None:
    """Promise: each gold plan fits the tools' schemas and their bound, and `check_call` takes nothing from it."""
    tools: dict[str, Any] = {tool.name: tool for tool in TOOLS}
    wrong = []
    for message, said, plans in planned():
        assert plans, message
        for plan in plans:
            assert 1 <= len(plan) <= Limits().tool_calls, message
            for entry in plan:
                asked = {key: value for key, value in entry.items() if key != "tool"}
                schema = tools[entry["tool"]].tool_call_schema
                assert set(asked) <= set(schema.model_json_schema().get("properties", {})), (message, entry)
                assert schema.model_validate(asked).model_dump(exclude_none=True) == asked, (message, entry)
                made, dropped = check_call(ToolCall(name=entry["tool"], arguments=asked), message=message, said=said)
                if dropped or dict(made.arguments) != asked:
                    wrong.append((message, entry, dropped))
    assert wrong == []


def test_every_tool_is_planned_for() -> None:
    """Promise: the plans use each tool, in more than a handful of messages; `deals` is newer than the sets."""
    used = Counter(tool for _, _, plans in planned() for tool in {call["tool"] for plan in plans for call in plan})
    assert min(used[tool.name] for tool in TOOLS if tool.name != "deals") >= 5, used
