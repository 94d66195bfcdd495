"""Compare the tool calls of a turn with the gold calls of its message (`expect.plans`)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from agent.conversation import ToolCall

Gold = Sequence[Mapping[str, Any]]  # one plan: {"tool": name, argument: value, …} a call
_SMALL = frozenset(["a", "an", "the", "some", "any", "of", "for", "my", "and"])


def same_value(made: Any, gold: Any) -> bool:
    """Say whether an argument's value is the gold one: numbers to half a cent, words without case, number and articles.

    >>> same_value("The paper towel", "paper towels"), same_value(5.0, 5), same_value(["nut"], ["nuts", "milk"])
    (True, True, False)
    """
    if isinstance(made, bool) or isinstance(gold, bool):
        return made is gold
    if isinstance(made, int | float) and isinstance(gold, int | float):
        return abs(made - gold) < 0.005
    if isinstance(made, str) and isinstance(gold, str):
        return _words(made) == _words(gold)
    if isinstance(made, list | tuple) and isinstance(gold, list | tuple):
        left = list(gold)
        for value in made:
            at = next((n for n, other in enumerate(left) if same_value(value, other)), None)
            if at is None:
                return False
            del left[at]
        return not left
    return False


def same_plan(made: Sequence[ToolCall], gold: Gold) -> bool:
    """Say whether two plans make the same calls with the same arguments, in any order."""
    return all(_right(made, gold).values())  # a call too many is a wrong one there


def arguments(made: Sequence[ToolCall], golds: Sequence[Gold]) -> dict[str, bool]:
    """Say of each gold argument whether it was right, by "tool.argument", and of each tool, by its name.

    Where several plans are gold, the one that the made one comes nearest to counts. A call too many, or an
    argument that is not gold, counts as a wrong one under its own name.
    """
    found = [_right(made, gold) for gold in golds]
    best = max(found, key=lambda right: (sum(right.values()) / max(1, len(right)), -len(right)))
    out: dict[str, bool] = {}
    for (_, name), right in best.items():
        out[name] = out.get(name, True) and right
    return out


def _right(made: Sequence[ToolCall], gold: Gold) -> dict[tuple[int, str], bool]:
    left = list(made)
    out: dict[tuple[int, str], bool] = {}
    for number, wanted in enumerate(gold):
        tool = str(wanted["tool"])
        values = {name: value for name, value in wanted.items() if name != "tool"}
        alike = [call for call in left if call.name == tool]
        call = max(
            alike, key=lambda one: sum(same_value(one.arguments.get(k), v) for k, v in values.items()), default=None
        )
        out[number, tool] = call is not None
        for name, value in values.items():
            out[number, f"{tool}.{name}"] = call is not None and same_value(call.arguments.get(name), value)
        if call is not None:
            left.remove(call)
            for name in set(call.arguments) - set(values):
                out[number, f"{tool}.{name}"] = False
    for number, call in enumerate(left, start=len(gold)):
        out[number, call.name] = False
    return out


def _words(text: str) -> frozenset[str]:
    words = re.findall(r"[a-z0-9.%]+", text.lower().replace("'s", ""))
    return frozenset(re.sub(r"(?<=[a-z]{2})(es|s)$", "", word) for word in words if word not in _SMALL)
