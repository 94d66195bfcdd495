"""The first conversation set keeps to `formats.md` and can be met by the default shop."""

from __future__ import annotations

from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from agent.conversation import ACTS, Conversation, read_conversations
from eval.expectations import broken, problems
from retrieval.records import Item
from retrieval.source_completejourney import read_completejourney

SET = Path(__file__).parent.parent / "eval" / "sets" / "grocery.jsonl"


@cache
def conversations() -> tuple[Conversation, ...]:
    return tuple(read_conversations(SET))


@cache
def default_shop() -> tuple[dict[str, Item], dict[str, set[str]]]:
    source = read_completejourney()
    shoppers = {conversation.user_id for conversation in conversations()}
    log = (
        source.interactions[source.interactions["user_id"].isin(shoppers)]
        .groupby("user_id")["item_id"]
        .agg(set)
        .to_dict()
    )
    return {item.item_id: item for item in source.items}, log


def test_the_set_is_large_and_covers_every_act() -> None:
    """Promise: at least 80 conversations and 200 user messages, each act asked for several times."""
    messages = [message for conversation in conversations() for message in conversation.messages]
    acts: Counter[str] = Counter()
    for message in messages:
        wanted = (message.expect or {}).get("act", [])
        acts.update([wanted] if isinstance(wanted, str) else wanted)
    assert len(conversations()) >= 90
    assert len(messages) >= 230
    assert min(acts[act] for act in ACTS) >= 10, acts
    assert len({conversation.conversation_id for conversation in conversations()}) == len(conversations())
    assert len({conversation.user_id for conversation in conversations()}) >= 12


def test_no_message_is_asked_twice() -> None:
    """Promise: the set is as wide as it is long; an opening is never repeated."""
    openings = [conversation.messages[0].content.lower() for conversation in conversations()]
    assert [text for text, count in Counter(openings).items() if count > 1] == []


def test_every_expectation_can_be_checked_on_the_default_shop() -> None:
    """Promise: no unknown key, no unknown item, no unknown shopper, no attribute value the shop does not have."""
    items, log = default_shop()
    values: dict[str, set[str]] = {}
    for item in items.values():
        for name, value in item.attributes.items():
            values.setdefault(name, set()).add(str(value))
    wrong = []
    for conversation in conversations():
        wrong += problems(conversation, items=items)
        if conversation.user_id is not None and conversation.user_id not in log:
            wrong.append(f"{conversation.conversation_id}: no shopper {conversation.user_id}")
        for message in conversation.messages:
            where = (message.expect or {}).get("where", {})
            for key in ("attributes", "not_attributes"):
                for name, wanted in where.get(key, {}).items():
                    wrong += [
                        f"{conversation.conversation_id}: no {name} {v!r}" for v in wanted if v not in values[name]
                    ]
    assert wrong == []


def test_every_wish_can_be_met() -> None:
    """Promise: an expectation is fair: some item keeps to it, and its `items` keep to its own `where`."""
    items, log = default_shop()
    relative = ("cheaper_than", "dearer_than", "same_category_as")
    for conversation in conversations():
        bought = log.get(conversation.user_id or "", set())
        for message in conversation.messages:
            expect = message.expect or {}
            where = {name: value for name, value in expect.get("where", {}).items() if name not in relative}
            among = [i for i in items if i in bought] if expect.get("again") else items
            among = [i for i in among if not (expect.get("new") and i in bought)]
            assert any(not broken(items[item_id], where, items=items) for item_id in among), message.content
            assert [i for i in expect.get("items", []) if broken(items[i], where, items=items)] == [], message.content


@pytest.mark.parametrize("price", ["max_price", "min_price"])
def test_a_bound_is_what_the_shopper_said(price: str) -> None:
    """Promise: a price expectation comes from words or digits of the talk, not from its writer."""
    said_so = ("dollar", "buck", "$", "under", "max", "less", "tops", "more than", "least", "between", "around")
    for conversation in conversations():
        so_far = ""
        for message in conversation.messages:
            so_far += " " + message.content.lower()
            if price in (message.expect or {}).get("where", {}):
                assert any(word in so_far for word in said_so), message.content
