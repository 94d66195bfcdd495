"""The plan: one JSON list of tool calls, its schema, and what code checks before a call is made."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from langchain_core.tools import BaseTool

from agent.amounts import numbers_in
from agent.conversation import ToolCall
from retrieval.wish import contains

_COUNTED = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty"
)
NUMBER_WORDS: dict[str, float] = {word: float(number) for number, word in enumerate(_COUNTED.split())}
NUMBER_WORDS |= {"thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90}
NUMBER_WORDS |= {"hundred": 100, "fiver": 5, "tenner": 10, "couple": 2, "dozen": 12}
NUMBER_WORDS |= {"half": 0.5, "quarter": 0.25, "dime": 0.1}


def plan_schema(tools: Sequence[BaseTool], *, max_calls: int) -> dict[str, Any]:
    """Make the JSON schema of a plan from the tools' own schemas; arguments that are not used are left out."""
    return {
        "type": "object",
        "properties": {
            "calls": {
                "type": "array",
                "minItems": 1,
                "maxItems": max_calls,
                "items": {"anyOf": [_call_schema(tool) for tool in tools]},
            }
        },
        "required": ["calls"],
        "additionalProperties": False,
    }


def _call_schema(tool: BaseTool) -> dict[str, Any]:
    schema = tool.tool_call_schema.model_json_schema()  # type: ignore[union-attr]
    properties = {name: _plain(spec) for name, spec in schema.get("properties", {}).items()}
    return {
        "type": "object",
        "properties": {"tool": {"const": tool.name}, **properties},
        "required": ["tool", *schema.get("required", [])],
        "additionalProperties": False,
    }


def _plain(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Drop what the grammar does not need: an optional argument is left out, never null."""
    options = [option for option in spec.get("anyOf", [spec]) if option.get("type") != "null"]
    kept = {name: value for name, value in options[0].items() if name not in ("title", "description", "default")}
    if "items" in kept:
        kept["items"] = _plain(kept["items"])
    if kept.get("type") == "string" and "maxLength" in kept:
        # A pattern keeps control characters, quotes and runaway blanks out of what a small model writes.
        kept = {
            "type": "string",
            "pattern": rf"^[A-Za-z0-9%$&'.,/+-][A-Za-z0-9%$&'.,/+ -]{{0,{kept['maxLength'] - 1}}}$",
        }
    if kept.get("type") == "number":
        kept = {"type": "number", "minimum": kept.get("minimum", 0), "maximum": kept.get("maximum", 9999)}
    return kept


def plan_text(calls: Iterable[ToolCall], *, tools: Sequence[BaseTool]) -> str:
    """Write calls as the model does: compact, arguments in the order of the tool's schema.

    The order matters: the grammar at serving time takes them in this order only.
    """
    order = {tool.name: list(tool.tool_call_schema.model_json_schema().get("properties", {})) for tool in tools}  # type: ignore[union-attr]
    out = []
    for call in calls:
        arguments = {
            name: _number(call.arguments[name])
            for name in order[call.name]
            if call.arguments.get(name) not in (None, [], "")
        }
        out.append({"tool": call.name, **arguments})
    return json.dumps({"calls": out}, separators=(",", ":"), ensure_ascii=False)


def _number(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value == int(value) else value


def read_plan(text: str, *, tools: Sequence[BaseTool], max_calls: int) -> list[ToolCall]:
    """Read a plan; raise ValueError when it is not one.

    Only arguments that a tool has are kept, and only tools that exist.
    """
    record = json.loads(text)
    if not isinstance(record, dict) or not isinstance(record.get("calls"), list):
        raise ValueError("a plan is an object with a list of calls")
    names = {tool.name: set(tool.tool_call_schema.model_json_schema().get("properties", {})) for tool in tools}  # type: ignore[union-attr]
    calls = []
    for entry in record["calls"][:max_calls]:
        if not isinstance(entry, dict) or entry.get("tool") not in names:
            raise ValueError(f"no such tool: {entry!r:.80}")
        known = names[entry["tool"]]
        calls.append(
            ToolCall(name=entry["tool"], arguments={k: v for k, v in entry.items() if k in known and v is not None})
        )
    if not calls:
        raise ValueError("a plan has at least one call")
    unique = []
    for call in calls:
        if call not in unique:
            unique.append(call)
    return unique


def check_call(call: ToolCall, *, message: str, said: Sequence[str]) -> tuple[ToolCall, tuple[str, ...]]:
    """Drop what the shopper never said: a price that is not in the talk, an exclusion of words not used.

    Gives the call that is made and the names of the arguments that were dropped.
    """
    talk = " ".join([*said[-4:], message])
    amounts = numbers_in(talk)
    arguments: dict[str, Any] = dict(call.arguments)
    dropped = []
    for name in ("max_price", "min_price"):
        value = arguments.get(name)
        if value is not None and not any(abs(value - amount) < 0.005 for amount in amounts):
            del arguments[name]
            dropped.append(name)
    low, high = arguments.get("min_price"), arguments.get("max_price")
    if low is not None and high is not None and low > high:
        arguments["min_price"], arguments["max_price"] = high, low
    for name in ("having", "without"):
        words = arguments.get(name)
        if words is not None:
            kept = [
                word
                for word in words
                if any(contains(talk, part) or part.lower() in talk.lower() for part in word.split() if len(part) > 1)
            ]
            if len(kept) < len(words):
                dropped.append(name)
            if kept:
                arguments[name] = kept
            else:
                del arguments[name]
    size = arguments.get("size")
    if size is not None and not ({float(n) for n in re.findall(r"\d+(?:\.\d+)?", size)} <= amounts | {0.5, 1.0, 12.0}):
        del arguments["size"]
        dropped.append("size")
    quantity = arguments.get("quantity")
    if quantity is not None and float(quantity) not in amounts | {2.0}:
        del arguments["quantity"]
        dropped.append("quantity")
    return ToolCall(name=call.name, arguments=arguments), tuple(dropped)
