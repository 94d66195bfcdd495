"""Each key of `expect` holds exactly when `formats.md` says it does."""

from __future__ import annotations

from typing import Any

import pytest

from agent.conversation import Conversation, Message
from eval.expectations import NOTHING, Reply, broken, check, problems, reply_of
from retrieval.records import Item
from tests.shops import twelve_items

ITEMS = {item.item_id: item for item in twelve_items()}


@pytest.mark.parametrize(
    ("where", "kept"),
    [
        ({"max_price": 1.25}, True),
        ({"max_price": 1.24}, False),
        ({"min_price": 1.25}, True),
        ({"min_price": 1.26}, False),
        ({"attributes": {"category": ["soft drinks", "tea"], "brand_tier": ["NATIONAL"]}}, True),
        ({"attributes": {"category": ["soft drinks"], "brand_tier": ["Private"]}}, False),
        ({"attributes": {"colour": ["red"]}}, False),
        ({"not_attributes": {"category": ["BEEF"]}}, True),
        ({"not_attributes": {"brand_tier": ["national"]}}, False),
        ({"text_any": ["pop", "juice"]}, True),
        ({"text_any": ["juice"]}, False),
        ({"text_none": ["diet"]}, True),
        ({"text_none": ["soft drink"]}, False),
        ({"cheaper_than": "i01"}, True),
        ({"cheaper_than": 1}, True),
        ({"dearer_than": 1}, False),
        ({"dearer_than": 3}, False),
        ({"cheaper_than": "no such item"}, False),
        ({"same_category_as": "i00"}, True),
        ({"same_category_as": "i01"}, False),
    ],
)
def test_an_item_keeps_to_where_exactly(where: dict[str, Any], kept: bool) -> None:
    """Promise: the violation rate counts what a reader of the format would count. The item is the soda at $1.25."""
    assert (broken(ITEMS["i00"], where, items=ITEMS, previous=("i01", "i03")) == ()) is kept


def test_a_missing_price_breaks_every_price_wish_and_a_missing_item_breaks_all() -> None:
    """Promise: what cannot be shown to hold counts as broken."""
    unpriced = Item(item_id="x", title="Bread")
    assert broken(unpriced, {"max_price": 9, "min_price": 0, "cheaper_than": "i00"}, items=ITEMS) == (
        "max_price",
        "min_price",
        "cheaper_than",
    )
    assert broken(None, {"max_price": 9}, items=ITEMS) == ("max_price",)


@pytest.mark.parametrize(
    ("expect", "reply", "holds"),
    [
        ({"act": "ask"}, Reply(acts=("recommend", "ask")), {"act": True}),
        ({"act": ["ask", "chat"]}, Reply(acts=("recommend",)), {"act": False}),
        ({"act": "decline"}, Reply(acts=("recommend",), content="I found nothing like that."), {"act": True}),
        ({"act": "recommend"}, Reply(failed=True), {"act": False}),
        ({"none": True}, Reply(content="This shop doesn't carry laptops."), {"none": True}),
        ({"none": True}, Reply(content="We don’t have any of those."), {"none": True}),
        ({"none": True}, Reply(content="This shop doesn't carry laptops.", items=("i01",)), {"none": False}),
        ({"none": True}, Reply(content="Hello! What do you need?"), {"none": False}),
        ({"about": 2}, Reply(about=("i03",), previous=("i01", "i03")), {"about": True}),
        ({"about": 1}, Reply(about=("i03",), previous=("i01", "i03")), {"about": False}),
        ({"about": 9}, Reply(about=("i03",), previous=("i01", "i03")), {"about": False}),
        ({"about": "i03"}, Reply(about=("i03",)), {"about": True}),
        ({"about": 1}, Reply(about=("i00", "i01", "i02", "i03"), previous=("i00",)), {"about": False}),
        ({"about": 1}, Reply(acts=("compare",), about=("i00", "i01", "i02"), previous=("i00",)), {"about": True}),
        ({"new": True}, Reply(items=("i01",)), {"new": True}),
        ({"new": True}, Reply(items=("i01", "i00")), {"new": False}),
        ({"again": True}, Reply(items=("i00",)), {"again": True}),
        ({"again": True}, Reply(items=("i00", "i01")), {"again": False}),
        ({"cart": [1, "i07"]}, Reply(cart=("i07", "i01"), previous=("i01",)), {"cart": True}),
        ({"cart": [1]}, Reply(cart=("i07", "i01"), previous=("i01",)), {"cart": False}),
        ({"cart": []}, Reply(cart=()), {"cart": True}),
        ({"cart": [4]}, Reply(cart=(), previous=("i01",)), {"cart": False}),
    ],
)
def test_each_key_is_checked_by_itself(expect: dict[str, Any], reply: Reply, holds: dict[str, bool]) -> None:
    """Promise: every key of `expect` means what `formats.md` §2 says. The shopper bought i00 before."""
    assert dict(check(expect, reply, items=ITEMS, bought=lambda item_id: item_id == "i00").holds) == holds


def test_every_present_key_has_its_own_outcome() -> None:
    """Promise: one broken key does not hide another that holds."""
    expect = {"act": "recommend", "where": {"max_price": 3}, "new": True}
    found = check(expect, Reply(acts=("recommend",), items=("i00", "i01")), items=ITEMS)
    assert dict(found.holds) == {"act": True, "where": False, "new": True}
    assert found.violations == 1


@pytest.mark.parametrize(
    "text",
    [
        "I couldn't find anything like that.",
        "We do not sell wedding dresses.",
        "There is nothing under $1 here.",
        "Nothing here fits that.",
        "No items match that.",
        "Sorry, we have none.",
        "None of our items is that cheap.",
    ],
)
def test_many_wordings_of_nothing_are_heard(text: str) -> None:
    """Promise: an honest "we have nothing" is heard however it is worded."""
    assert NOTHING.search(text)


@pytest.mark.parametrize(
    "text", ["Here are 5 items for cat food.", "Nice choice.", "I put it in your cart.", "What kind?"]
)
def test_other_sentences_are_no_refusal(text: str) -> None:
    """Promise: an answer is not taken for a refusal."""
    assert not NOTHING.search(text)


@pytest.mark.parametrize(
    ("expect", "words"),
    [
        ({"acts": "ask"}, 'unknown expectation "acts"'),
        ({"act": "sing"}, 'unknown act "sing"'),
        ({"where": {"max_prise": 3}}, 'unknown condition "max_prise"'),
        ({"where": {"max_price": "three"}}, '"max_price" must be a number'),
        ({"where": {"attributes": {"category": "SOUP"}}}, "must be an object of lists"),
        ({"where": {"text_none": "ham"}}, "must be a list of words"),
        ({"where": []}, '"where" must be an object'),
        ({"about": 0}, "0 must be an item id or a position from 1"),
        ({"cart": "i01"}, '"cart" must be a list'),
        ({"items": ["zzz"]}, "the shop has no item 'zzz'"),
        ({"none": "yes"}, '"none" must be true'),
    ],
)
def test_a_mistake_in_a_set_is_named_with_its_place(expect: dict[str, Any], words: str) -> None:
    """Promise: a set with an expectation that cannot be checked is refused, not silently passed."""
    conversation = Conversation(conversation_id="c1", messages=(Message(role="user", content="hi", expect=expect),))
    found = problems(conversation, items=ITEMS)
    assert len(found) == 1
    assert words in found[0]
    assert found[0].startswith("c1, message 1: ")


def test_a_reply_is_read_off_the_logged_message() -> None:
    """Promise: what is graded is what is logged."""
    message = Message(
        role="assistant",
        content="x",
        items=("i01",),
        acts=("cart",),
        evidence={"about": ["i02"], "cart": [["i03", 2]], "previous": ["i04"], "error": "boom"},
    )
    assert reply_of(message) == Reply(
        content="x", items=("i01",), acts=("cart",), about=("i02",), cart=("i03",), previous=("i04",), failed=True
    )
