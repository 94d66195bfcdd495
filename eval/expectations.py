"""Check one reply against what its user message should lead to (`formats.md` §2)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agent.conversation import ACTS, Conversation, Message, ToolCall
from eval.plans import same_plan
from retrieval.records import Item

KEYS = ("act", "items", "where", "none", "about", "new", "again", "cart", "plans")
WHERE_KEYS = (
    "max_price",
    "min_price",
    "brand",
    "attributes",
    "not_attributes",
    "text_any",
    "text_none",
    "cheaper_than",
    "dearer_than",
    "same_category_as",
)
# How a reply says that the shop has nothing that fits; tried on the replies of many assistants, not on one.
NOTHING = re.compile(
    r"\b(nothing (here|in|that|like|fits|matche[sd]|we|i|under|over|below|above|with|cheaper|dearer|bigger|smaller)"
    r"|(don't|do not|doesn't|does not|didn't|did not) (carry|sell|have|stock|find|see)"
    r"|(can't|cannot|can not|couldn't|could not) find|(isn't|is not|aren't|are not) (any|something (we|this shop))"
    r"|ha(s|ve) (no|nothing|none)\b|there('s| is| are) (no|nothing|none)\b|found (no|nothing|none)\b|not (sold|carried) here"
    r"|no (items?|products?|matches|match|results?)\b|none of (our|the) items)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a reply did and showed, read off the assistant's last message.

    `items` are the ids shown with it, best first; `about` the ids that an explanation, comparison or detail
    is about; `cart` the ids in the cart after the turn; `previous` the ids of the list shown before it; `calls`
    the tool calls that were made.
    """

    content: str = ""
    items: tuple[str, ...] = ()
    acts: tuple[str, ...] = ()
    about: tuple[str, ...] = ()
    cart: tuple[str, ...] = ()
    previous: tuple[str, ...] = ()
    calls: tuple[ToolCall, ...] = ()
    failed: bool = False

    @property
    def says_none(self) -> bool:
        """Say whether the reply shows nothing and says in words that nothing fits."""
        return not self.items and not self.failed and bool(NOTHING.search(self.content.replace("’", "'")))


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """The outcome for one user message: each present key by itself.

    `holds` has every key of `expect` but `items`; `breaks` the conditions of `where` that each shown item
    breaks (items that keep to all of them map to nothing).
    """

    holds: Mapping[str, bool] = field(default_factory=dict)
    breaks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def violations(self) -> int:
        """Count the shown items that break `where`."""
        return sum(bool(names) for names in self.breaks.values())


def reply_of(message: Message) -> Reply:
    """Read a logged assistant message as the reply that is checked."""
    evidence = message.evidence
    cart = evidence.get("cart") or ()
    return Reply(
        content=message.content,
        items=message.items,
        acts=message.acts,
        about=tuple(str(item_id) for item_id in evidence.get("about") or ()),
        cart=tuple(str(row[0]) if isinstance(row, (list, tuple)) else str(row) for row in cart),
        previous=tuple(evidence.get("previous") or ()),
        calls=message.tool_calls,
        failed="error" in evidence,
    )


def check(
    expect: Mapping[str, Any],
    reply: Reply,
    *,
    items: Mapping[str, Item],
    bought: Callable[[str], bool] = lambda item_id: False,
) -> Check:
    """Check a reply against `expect`; `bought` says whether this shopper bought an item before.

    >>> check({"act": ["ask", "chat"]}, Reply(acts=("chat",)), items={}).holds
    {'act': True}
    """
    holds: dict[str, bool] = {}
    breaks: dict[str, tuple[str, ...]] = {}
    if "act" in expect:
        wanted = {expect["act"]} if isinstance(expect["act"], str) else set(expect["act"])
        did = set(reply.acts) | ({"recommend", "decline"} if reply.says_none else set())
        holds["act"] = not reply.failed and bool(wanted & did)
    if "where" in expect:
        breaks = {
            item_id: broken(items.get(item_id), expect["where"], items=items, previous=reply.previous)
            for item_id in reply.items
        }
        holds["where"] = not any(breaks.values())
    if "none" in expect:
        holds["none"] = reply.says_none == bool(expect["none"])
    if "about" in expect:
        wanted_id = resolve(expect["about"], reply.previous)
        compared = "compare" in reply.acts
        # An explanation of the whole list is not an explanation of the item asked about.
        holds["about"] = wanted_id in reply.about and (compared or len(reply.about) <= 2) if wanted_id else False
    if "new" in expect:
        holds["new"] = not any(bought(item_id) for item_id in reply.items)
    if "again" in expect:
        holds["again"] = all(bought(item_id) for item_id in reply.items)
    if "plans" in expect:
        holds["plans"] = any(same_plan(reply.calls, plan) for plan in expect["plans"])
    if "cart" in expect:
        wanted_ids = [resolve(reference, reply.previous) for reference in expect["cart"]]
        holds["cart"] = not reply.failed and None not in wanted_ids and set(wanted_ids) == set(reply.cart)
    return Check(holds=holds, breaks=breaks)


def broken(
    item: Item | None, where: Mapping[str, Any], *, items: Mapping[str, Item], previous: Sequence[str] = ()
) -> tuple[str, ...]:
    """Name the conditions of `where` that an item breaks.

    An item that the shop does not have breaks all; an item without a price breaks every price condition; a
    relative condition whose reference does not exist cannot hold, so it is broken.

    >>> tea = Item(item_id="t", title="Green tea", price=3.0, attributes={"kind": "TEA"})
    >>> broken(tea, {"max_price": 2, "attributes": {"kind": ["tea", "coffee"]}, "text_none": ["green"]}, items={})
    ('max_price', 'text_none')
    """
    if item is None:
        return tuple(where)
    out = []
    for name, value in where.items():
        if not _keeps(item, name, value, items=items, previous=previous):
            out.append(name)
    return tuple(out)


def _keeps(item: Item, name: str, value: Any, *, items: Mapping[str, Item], previous: Sequence[str]) -> bool:
    if name == "max_price":
        return item.price is not None and item.price <= value + 1e-9
    if name == "min_price":
        return item.price is not None and item.price >= value - 1e-9
    if name == "brand":
        return item.brand.lower() in {brand.lower() for brand in value}
    if name == "attributes":
        return all(_has(item, attribute, values) for attribute, values in value.items())
    if name == "not_attributes":
        return not any(_has(item, attribute, values) for attribute, values in value.items())
    if name == "text_any":
        return any(says(item.text, phrase) for phrase in value)
    if name == "text_none":
        return not any(says(item.text, phrase) for phrase in value)
    reference = items.get(resolve(value, previous) or "")
    if reference is None:
        return False
    if name == "same_category_as":
        return item.categories[-1:] == reference.categories[-1:]
    if item.price is None or reference.price is None:
        return False
    return item.price < reference.price if name == "cheaper_than" else item.price > reference.price


def says(text: str, phrase: str) -> bool:
    """Look for a phrase as whole words, ignoring case; a plural of it counts.

    >>> says("Graham crackers", "ham"), says("Sliced ham", "HAM"), says("Two peaches", "peach")
    (False, True, True)
    """
    words = r"\W+".join(re.escape(word) for word in phrase.lower().split())
    return bool(words) and re.search(rf"(?<!\w){words}(?:s|es)?(?!\w)", text.lower()) is not None


def resolve(reference: Any, previous: Sequence[str]) -> str | None:
    """Turn an item id or a 1-based position in the list shown last into an item id.

    >>> resolve(2, ["a", "b"]), resolve("z", []), resolve(3, ["a"])
    ('b', 'z', None)
    """
    if isinstance(reference, int):
        return previous[reference - 1] if 1 <= reference <= len(previous) else None
    return str(reference)


def _has(item: Item, name: str, values: Sequence[str]) -> bool:
    held = item.attributes.get(name)
    have = held if isinstance(held, tuple) else () if held is None else (held,)
    return bool({str(value).lower() for value in have} & {str(value).lower() for value in values})


def problems(conversation: Conversation, *, items: Mapping[str, Item] | None = None) -> list[str]:
    """List what is wrong with the expectations of a conversation; empty when all can be checked.

    With `items`, an item id that the shop does not have is a problem too.
    """
    out: list[str] = []
    for number, message in enumerate(conversation.messages, start=1):
        if message.expect is None:
            continue
        where = f"{conversation.conversation_id}, message {number}"
        if message.role != "user":
            out.append(f'{where}: "expect" belongs on a user message')
        out += [f"{where}: {text}" for text in _wrong(message.expect, items=items)]
    return out


_NUMBER, _REFERENCE, _LIST, _LISTS = (
    "a number",
    "an item id or a position from 1",
    "a list of words",
    "an object of lists",
)


def _wrong(expect: Mapping[str, Any], *, items: Mapping[str, Item] | None) -> list[str]:
    out = [f'unknown expectation "{key}" (known: {", ".join(KEYS)})' for key in expect if key not in KEYS]
    for act in _listed(expect.get("act", [])):
        if act not in ACTS:
            out.append(f'unknown act "{act}" (known: {", ".join(ACTS)})')
    for key in ("none", "new", "again"):
        if key in expect and not isinstance(expect[key], bool):
            out.append(f'"{key}" must be true')
    for key in ("items", "cart"):
        if key in expect and not isinstance(expect[key], list):
            out.append(f'"{key}" must be a list')
    plans = expect.get("plans", [[]])
    if not (isinstance(plans, list) and plans and all(_is_plan(plan) for plan in plans)):
        out.append('"plans" must be a list of plans: lists of objects with a "tool"')
    references = [*_listed(expect.get("cart", [])), *([expect["about"]] if "about" in expect else [])]
    where = expect.get("where", {})
    if not isinstance(where, dict):
        return [*out, '"where" must be an object']
    for name, value in where.items():
        if name not in WHERE_KEYS:
            out.append(f'unknown condition "{name}" in "where" (known: {", ".join(WHERE_KEYS)})')
        elif name in ("max_price", "min_price") and not _number(value):
            out.append(f'"{name}" must be {_NUMBER}')
        elif name in ("brand", "text_any", "text_none") and not _words(value):
            out.append(f'"{name}" must be {_LIST}')
        elif name in ("attributes", "not_attributes") and not (
            isinstance(value, dict) and all(_words(values) for values in value.values())
        ):
            out.append(f'"{name}" must be {_LISTS}')
        elif name in ("cheaper_than", "dearer_than", "same_category_as"):
            references.append(value)
    for reference in references:
        if isinstance(reference, bool) or not isinstance(reference, (int, str)) or reference in (0, ""):
            out.append(f"{reference!r} must be {_REFERENCE}")
    if items is not None:
        named = [
            *_listed(expect.get("items", [])),
            *(reference for reference in references if isinstance(reference, str)),
        ]
        out += [f"the shop has no item {item_id!r}" for item_id in named if item_id not in items]
    return out


def _is_plan(plan: Any) -> bool:
    return isinstance(plan, list) and all(isinstance(call, dict) and isinstance(call.get("tool"), str) for call in plan)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _words(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(word, str) for word in value)
