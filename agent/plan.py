"""The plan: one JSON list of tool calls, its schema, and what code checks before a call is made."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from langchain_core.tools import BaseTool

from agent.amounts import numbers_in, prices_in
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
    try:
        record = json.loads(text)
    except RecursionError as error:
        raise ValueError("a plan is not nested that deep") from error
    if not isinstance(record, dict) or not isinstance(record.get("calls"), list):
        raise ValueError("a plan is an object with a list of calls")
    names = {tool.name: set(tool.tool_call_schema.model_json_schema().get("properties", {})) for tool in tools}  # type: ignore[union-attr]
    calls = []
    for entry in record["calls"][:max_calls]:
        name = entry.get("tool") if isinstance(entry, dict) else None
        if not isinstance(name, str) or name not in names:
            raise ValueError(f"no such tool: {entry!r:.80}")
        known = names[name]
        calls.append(ToolCall(name=name, arguments={k: v for k, v in entry.items() if k in known and v is not None}))
    if not calls:
        raise ValueError("a plan has at least one call")
    unique = []
    for call in calls:
        if call not in unique:
            unique.append(call)
    return unique


# A filter that the shopper did not ask for hides what fits. So a call keeps these only where some word of the
# message could mean them: stems, wide on purpose (98 % of the phrase bank's own uses pass).
COULD_MEAN: dict[tuple[str, str], str] = {
    (
        "bought",
        "again",
    ): "again usual before bought buy regular same repeat rebuy reorder restock refill last always normal out "
    "my had got past histor previous routine staple used favo habit often typical familiar every know low empty",
    (
        "bought",
        "new",
    ): "new never n't nt not differ try tried first fresh change else other unfamiliar unknown surprise bored "
    "tired explor discover adventur yet novel switch beyond outside except nothing none usual expand introduc",
    (
        "brand",
        "store brand",
    ): "brand store own house generic label private shop off knock cheap basic fancy version name",
    ("brand", "name brand"): "brand name national famous big label known proper real not generic knock advert people",
    (
        "sort",
        "",
    ): "cheap low price expens dear pric big large small most least size cost afford tin fanc budget sav huge mini "
    "giant jumbo best value econom money spend premium splurge top high buck dollar little bargain",
    (
        "than",
        "cheaper",
    ): "cheap cheep less low afford expens pric budget sav money cost broke break dear bargain econom value discount "
    "under much wallet rich poor pay cent dollar buck deal spend steep tight rip thrift brand generic lot more robber",
    (
        "than",
        "dearer",
    ): "dear expens pric better premium fanc nic upscale high top quality splurge luxur best good upgrade class step "
    "treat money cost up cheap spend",
    (
        "than",
        "bigger",
    ): "big large more huge famil bulk giant jumbo size xl mega most full max up double twice enough great last hold "
    "ounc pack small tin little mini cute",
    (
        "text",
        "all",
    ): "forg frget eras delet wip know knew rem memor data histor prof stor sav note every all learn about reset record start "
    "file keep told never slate",
    (
        "than",
        "smaller",
    ): "small little less mini tin size short half few single light trial compact down big large much travel lot pack "
    "bad finish",
}
COULD_MEAN[("text", "everything")] = COULD_MEAN[("text", "all")]
# Which of them each tool has.
LICENSED: dict[str, tuple[str, ...]] = {
    "search_catalog": ("bought", "brand", "sort"),
    "similar_items": ("than",),
    "forget": ("text",),
}
# Where a name stands for one end of those shown ("cheapest"), the message must point there: how a word of it begins.
POINTS: dict[str, str] = {
    "cheapest": "cheap cheep inexpens low least less afford budget sav econom bargain cost wallet broke price value",
    "dearest": "dear expens pric premium splurge high fanc cost most",
    "biggest": "big larg huge jumbo giant mega bulk xl most family full",
    "smallest": "small tin mini little least less short few light",
}
# Tools whose query is the name of an item that the shopper said; what a search looks for may be inferred.
NO_NAMES = ("goes", "with", "what", "that", "this", "one", "ones", "the", "them", "these", "those", "of", "list", "it")
NAMING = ("similar_items", "goes_with", "lookup_catalog", "explain", "update_cart")
FREE_TEXT = ("query", "brand", "size", "text")  # the other strings are words of the schema's own ("off_topic")


def plain_words(text: str) -> str:
    """Leave words, numbers and prices of a text: no markup, no fence, no control token, no link.

    What the model or a shopper wrote here is said back to people and stands in later prompts.

    >>> plain_words("<b>milk</b> [1] at www.evil.com, 2.5 l"), plain_words("<|im_end|> 7-up & ben's $1.50")
    ('b milk /b 1 at www evil com, 2.5 l', "im end 7-up & ben's $1.50")
    """
    text = re.sub(r"[^\w%$&'.,/+ -]|_", " ", text.replace("’", "'"))
    text = re.sub(r"(?<=[^\W\d])\.(?=\w)|(?<=\w)\.(?=[^\W\d]{2})|//+", " ", text)
    return " ".join(text.split())


def check_call(call: ToolCall, *, message: str, said: Sequence[str]) -> tuple[ToolCall, tuple[str, ...]]:
    """Drop what the shopper never said: a price that is not in the talk, a size or an exclusion of words not used.

    Gives the call that is made, its words plain, and the names of the arguments that were dropped. The
    arguments have to be of the types that the tool's schema asks for.
    """
    talk = " ".join([*said[-4:], message])
    amounts, prices = numbers_in(talk), prices_in(talk)
    arguments: dict[str, Any] = {}
    for name, value in call.arguments.items():
        if isinstance(value, str) and name in FREE_TEXT:
            value = plain_words(value)
        elif isinstance(value, list):
            value = [plain_words(one) if isinstance(one, str) else one for one in value]
        if value not in ("", [""]):
            arguments[name] = value
    dropped = []
    for name in ("max_price", "min_price"):
        value = arguments.get(name)
        if value is not None and not any(abs(value - amount) < 0.005 for amount in prices):
            del arguments[name]
            dropped.append(name)
    low, high = arguments.get("min_price"), arguments.get("max_price")
    if low is not None and high is not None and low > high:
        arguments["min_price"], arguments["max_price"] = high, low
    for name in LICENSED.get(call.name, ()):
        value = arguments.get(name)
        stems = COULD_MEAN.get((name, str(value)), COULD_MEAN.get((name, ""))) if value is not None else None
        if stems is not None and not any(stem in message.lower() for stem in stems.split()):
            del arguments[name]
            dropped.append(name)
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
    if call.name in NAMING and not _named_in(str(arguments.get("query", "")), message):
        del arguments["query"]
        dropped.append("query")
    size = arguments.get("size")
    if size is not None and not _size_said(size, talk=talk.lower(), amounts=amounts):
        del arguments["size"]
        dropped.append("size")
    quantity = arguments.get("quantity")
    if quantity is not None and float(quantity) not in amounts | {2.0}:
        del arguments["quantity"]
        dropped.append("quantity")
    return ToolCall(name=call.name, arguments=arguments), tuple(dropped)


def _named_in(query: str, message: str) -> bool:
    """Say whether a message uses some word of a name: its first four letters, or something close (a typo).

    >>> _named_in("cat food", "my kitty's foodd"), _named_in("deli turkey", "what goes with it"), _named_in("0.1", "at $0.01")
    (True, False, False)
    >>> _named_in("2 of the list", "make it two of them"), _named_in("409", "some 409 please")
    (False, True)
    """
    words = [word for word in re.findall(r"[^\W\d_]+", query.lower()) if word not in NO_NAMES]
    said = re.findall(r"[^\W_]+", message.lower())
    return (
        not re.search(r"[^\W_]", query)
        or query.lower() in ("store brand", "name brand")  # said in many other ways
        or (query.strip().isdigit() and query.strip() in re.findall(r"[\d.]+", message))  # "409" is a cleaner
        or any(word.startswith(stem) for stem in POINTS.get(query.lower(), "").split() for word in said)
        or any(word[:4] in message.lower() or get_close_matches(word, said, cutoff=0.7) for word in words)
    )


# How a unit that is written short begins when it is said, where that is not how it is written.
_SAID_UNITS = {"qt": "qua", "pt": "pin", "lb": "pou", "oz": "oun", "ct": "cou", "pk": "pac", "ga": "gal", "lt": "lit"}


def _size_said(size: str, *, talk: str, amounts: set[float]) -> bool:
    """Say whether a talk names a size: its numbers, or its unit where "a gallon" and "a dozen" have no number."""
    numbers = {float(number) for number in re.findall(r"\d+(?:\.\d+)?", size)}
    if numbers and numbers <= amounts:
        return True
    units = re.findall(r"[^\W\d_]{2,}", size.lower())
    named = any(unit[:3] in talk or _SAID_UNITS.get(unit[:2], unit) in talk for unit in units)
    return named and numbers <= amounts | {0.5, 1.0, 12.0}
