"""Mend a planned call by what the message plainly says: its bounds on the price, brand tier, places and refusals.

The model reads the whole message; this reads only what is said in so many words (`agent.heard`), and where the two
disagree, the words count. A plan of several calls is left as it is: it is not plain then which of them the words are about.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agent.conversation import ToolCall
from agent.heard import LAST, Heard

LISTING = ("search_catalog", "recommend", "similar_items")
PLACED = ("explain", "lookup_catalog", "goes_with", "similar_items", "remember", "update_cart")


def mend_call(call: ToolCall, heard: Heard, *, shown: int, focus: int | None) -> ToolCall:
    """Give the call with what the message plainly says put right.

    Args:
        call: A call whose arguments fit its tool's schema, the only one of its plan.
        heard: What the message says plainly.
        shown: How many items the last list has.
        focus: The place of the item that was talked about last, if any.

    >>> mend_call(ToolCall(name="search_catalog", arguments={"query": "gin", "max_price": 10.0}), Heard(least=10.0), shown=0, focus=None)
    ToolCall(name='search_catalog', arguments={'query': 'gin', 'min_price': 10.0})
    """
    arguments = dict(call.arguments)
    name = call.name
    if name == "similar_items" and not {"position", "query"} & set(arguments) and _bounded(heard):
        # "More than $3, the cheap ones itch" bounds the list on the table; it asks for nothing cheaper.
        name, arguments = "search_catalog", {key: value for key, value in arguments.items() if key == "brand"}
    if name in ("search_catalog", "recommend"):
        arguments = _bounds(arguments, heard, least=name == "search_catalog")
    if name in LISTING:
        arguments = _tier(arguments, heard)
    if name in ("search_catalog", "recommend") and arguments.get("without") and not heard.refuses:
        arguments = _wanted(arguments, having=name == "search_catalog")
    if name in PLACED and not arguments.get("why_not"):
        arguments = _place(name, arguments, heard, shown=shown, focus=focus)
    return ToolCall(name=name, arguments=arguments)


def _bounded(heard: Heard) -> bool:
    return heard.most is not None or heard.least is not None


def _bounds(arguments: Mapping[str, Any], heard: Heard, *, least: bool) -> dict[str, Any]:
    out = dict(arguments)
    if heard.most is not None and heard.least is not None and heard.least > heard.most:
        return out
    for name, other, amount in (
        ("max_price", "min_price", heard.most),
        ("min_price", "max_price", heard.least if least else None),
    ):
        if amount is not None and out.get(name) != amount:
            if out.get(other) == amount:
                del out[other]
            out[name] = amount
    return out


def _tier(arguments: Mapping[str, Any], heard: Heard) -> dict[str, Any]:
    out = dict(arguments)
    if len(heard.tiers) == 1 and out.get("brand") in (None, "store brand", "name brand"):
        out["brand"] = heard.tiers[0]
        refused = "name brand" if heard.tiers[0] == "store brand" else "store brand"
        if out.get("without") in ([refused], [heard.tiers[0]]):
            del out["without"]  # "not the store brand" is said once, by the tier that is wanted
    return out


def _wanted(arguments: Mapping[str, Any], *, having: bool) -> dict[str, Any]:
    """Take words that nobody refused as wanted: "nuggets, frozen"."""
    out = {name: value for name, value in arguments.items() if name != "without"}
    if out.get("query"):
        out["query"] = " ".join([out["query"], *arguments["without"]])[:60].strip()
    elif having:
        out["having"] = [*out.get("having", []), *arguments["without"]]
    return out


def _place(name: str, arguments: Mapping[str, Any], heard: Heard, *, shown: int, focus: int | None) -> dict[str, Any]:
    out = dict(arguments)
    places = [shown if place == LAST else place for place in heard.places]
    many = name in ("lookup_catalog", "update_cart")
    if not shown or out.get("action", "add") not in ("add", "remove"):
        return out
    if not places:
        if heard.points and name in ("explain", "lookup_catalog", "update_cart") and not out.get("query"):
            given = out.get("positions" if many else "position")
            if name == "update_cart" and given and len(given) > 1:
                out["positions"] = [focus or 1]  # "add that" is one thing
            elif focus and not given:
                out |= {"positions": [focus]} if many else {"position": focus}
        return out
    if name == "update_cart" and out.get("query"):
        return out
    if name == "remember" and "position" not in out:
        return out
    if many:
        out["positions"] = places
    elif len(places) == 1:
        out["position"] = places[0]
    if name != "update_cart":
        out.pop("query", None)  # "the second one" is no name
    return out
