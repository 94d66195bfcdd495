"""Mend what a planned call says by what the message plainly says: the side of a bound, a brand tier, a place, a refusal.

The model reads the message and chooses the tool and its arguments; nothing is added here that it did not propose. But
where it proposed "at most $10" and the message says "at least ten bucks" (`agent.heard`), the words count. A plan of
several calls is left as it is: it is not plain then which of them the words are about. One wish is carried out whatever
was planned: what is remembered belongs to the shopper, so "forget the peanuts" forgets a remembered "peanuts".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from agent.conversation import ToolCall
from agent.heard import LAST, Heard, bare_words
from retrieval.wish import contains


def mend_call(
    call: ToolCall,
    heard: Heard,
    *,
    shown: int,
    focus: int | None,
    refused: bool = False,
    memories: Sequence[str] = (),
) -> ToolCall:
    """Give the call with what the message plainly says otherwise put right.

    Args:
        call: A call whose arguments fit its tool's schema, the only one of its plan.
        heard: What the message says plainly.
        shown: How many items the last list has.
        focus: The place of the item that was talked about last, if any.
        refused: Whether the wish on the table keeps something out already, so that a bare word may add to that.
        memories: What is remembered of the shopper.

    >>> mend_call(ToolCall(name="search_catalog", arguments={"query": "gin", "max_price": 10.0}), Heard(least=10.0), shown=0, focus=None)
    ToolCall(name='search_catalog', arguments={'query': 'gin', 'min_price': 10.0})
    """
    forgotten = next((word for word in heard.forgets if any(contains(memory, word) for memory in memories)), None)
    if forgotten and (call.name != "forget" or call.arguments.get("text") in ("all", "everything")):
        return ToolCall(name="forget", arguments={"text": forgotten})
    arguments = dict(call.arguments)
    if call.name in ("search_catalog", "recommend", "deals"):
        arguments = _bounds(arguments, heard, least=call.name == "search_catalog")
    if call.name in ("search_catalog", "recommend", "similar_items"):
        arguments = _tier(arguments, heard)
    if call.name == "search_catalog" and arguments.get("without") and not refused:
        arguments = _wanted(arguments, heard)
    if call.name == "search_catalog" and arguments.get("having"):
        arguments = _refused(arguments, heard)
    if call.name == "update_cart":
        arguments = _counted_once(arguments, heard)
    if not arguments.get("why_not"):
        arguments = _places(call.name, arguments, heard, shown=shown, focus=focus)
    return ToolCall(name=call.name, arguments=arguments)


def _bounds(arguments: Mapping[str, Any], heard: Heard, *, least: bool) -> dict[str, Any]:
    """Turn a bound round that the message puts on the other side; cents taken for dollars are cents."""
    out = dict(arguments)
    for name, said in (("max_price", heard.most), ("min_price", heard.least)):
        if said is not None and out.get(name) == round(100 * said, 2):
            out[name] = said
    if heard.least is not None and heard.most is None and out.get("max_price") == heard.least:
        amount = out.pop("max_price")
        if least:
            out["min_price"] = amount
    elif heard.most is not None and heard.least is None and out.get("min_price") == heard.most:
        out["max_price"] = out.pop("min_price")
    return out


def _tier(arguments: Mapping[str, Any], heard: Heard) -> dict[str, Any]:
    """Turn a brand tier round: "not the store brand" wants the other one."""
    out = dict(arguments)
    if heard.tier is not None and out.get("brand") in ("store brand", "name brand"):
        out["brand"] = heard.tier
    return out


def _wanted(arguments: Mapping[str, Any], heard: Heard) -> dict[str, Any]:
    """Take words as wanted where the message has nothing but the thing and these words: "nuggets, frozen"."""
    refused, query = list(arguments["without"]), str(arguments.get("query", ""))
    if not heard.words <= bare_words(" ".join([query, *refused])):
        return dict(arguments)
    out = {name: value for name, value in arguments.items() if name != "without"}
    if query:
        out["query"] = " ".join([query, *refused])[:60].strip()
    else:
        out["having"] = [*out.get("having", []), *refused]
    return out


def _refused(arguments: Mapping[str, Any], heard: Heard) -> dict[str, Any]:
    """Take words as refused that stand right after a "no": "yogurt but not the multi packs"."""
    turned = [word for word in arguments["having"] if bare_words(word) and bare_words(word) <= heard.refused]
    if not turned:
        return dict(arguments)
    out = {name: value for name, value in arguments.items() if name != "having"}
    if kept := [word for word in arguments["having"] if word not in turned]:
        out["having"] = kept
    out["without"] = [*out.get("without", []), *turned]
    return out


def _counted_once(arguments: Mapping[str, Any], heard: Heard) -> dict[str, Any]:
    """Take one number for one thing: "add 2" means the second item, and not two of it."""
    out = dict(arguments)
    if heard.one_number is not None and out.get("positions") == [heard.one_number] == [out.get("quantity")]:
        del out["quantity"]
    return out


def _places(name: str, arguments: Mapping[str, Any], heard: Heard, *, shown: int, focus: int | None) -> dict[str, Any]:
    """Point at the places that the message names, where the model pointed at others."""
    out = dict(arguments)
    if not shown:
        return out
    said = [shown if place == LAST else place for place in heard.places]
    if out.get("positions"):
        if said:
            out["positions"] = said
        elif heard.one_thing and name == "update_cart":
            out["positions"] = [focus or 1]  # "add that" is what was talked about, else the first
    elif out.get("position") and len(said) == 1:
        out["position"] = said[0]
    return out
