"""Words for what a message should lead to and what its reply did, for a person who reads failures."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from eval.metrics import Turn
from eval.replay import failures
from retrieval.records import Item

_POINTING = ("about", "cart", "cheaper_than", "dearer_than", "same_category_as")  # a number is a position in the list


def wanted(expect: Mapping[str, Any], *, items: Mapping[str, Item]) -> str:
    """Write an expectation on one line, item ids as titles.

    >>> wanted({"act": ["recommend", "ask"], "where": {"max_price": 5}, "items": ["i1"]}, items={})
    'act: recommend or ask · where: max_price 5 · items: i1'
    """
    return " · ".join(f"{key}: {_words(key, value, items)}" for key, value in expect.items()) or "nothing in particular"


def _words(key: str, value: Any, items: Mapping[str, Item]) -> str:
    if key == "plans":
        return " or ".join(" + ".join(_call(call) for call in plan) for plan in value)
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_words(name, held, items)}" for name, held in value.items())
    if isinstance(value, list):
        return (" or " if key == "act" else ", ").join(_words(key, one, items) for one in value) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str) and value in items:
        return items[value].title
    return f"number {value}" if isinstance(value, int) and key in _POINTING else str(value)


def _call(call: Mapping[str, Any]) -> str:
    given = ", ".join(
        f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in call.items() if name != "tool"
    )
    return f"{call.get('tool')}({given})"


def called(turn: Turn) -> str:
    """Write the tool calls of a turn on one line."""
    return " + ".join(_call({"tool": call.name, **call.arguments}) for call in turn.reply.calls)


def titles(item_ids: Sequence[str], *, items: Mapping[str, Item]) -> list[str]:
    """Name shown items with their prices; an id that the shop does not have stays an id."""
    out = []
    for item_id in item_ids:
        item = items.get(item_id)
        price = "" if item is None or item.price is None else f" ${item.price:,.2f}"
        out.append(f"{item.title}{price}" if item is not None else f"{item_id} (not in this shop)")
    return out


def failed(turn: Turn) -> tuple[str, ...]:
    """Name what a turn failed: keys of its expectation, and error, answered, unsupported, off_catalogue."""
    return tuple(dict.fromkeys(name for row in failures([turn]) for name in row["failed"]))


def why_failed(turn: Turn, *, items: Mapping[str, Item]) -> list[str]:
    """Say in words what a turn failed, with the items and statements that did it."""
    out = []
    for row in failures([turn]):
        broken = row.get("broken", {}).items()
        details = [f"{titles([item_id], items=items)[0]} breaks {', '.join(names)}" for item_id, names in broken]
        details += [f"not supported: {words!r} ({kind})" for kind, words, _ in row.get("unsupported", ())]
        details += [f"not in this shop: {name}" for name in row.get("off_catalogue", ())]
        out.append(", ".join(dict.fromkeys(row["failed"])))
        out += details
    return out
