"""Words that the page and the terminal share: prices, steps, what a button says; and text made safe to show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agent.conversation import ToolCall
from eval.table import readable
from retrieval.records import Fact, Item

STEPS = {
    "search_catalog": "Searched the shop",
    "recommend": "Looked at what suits you",
    "similar_items": "Looked for similar items",
    "goes_with": "Looked for what goes with it",
    "deals": "Looked at what is on offer",
    "lookup_catalog": "Looked the item up",
    "explain": "Looked up why",
    "update_cart": "Changed the cart",
    "remember": "Made a note",
    "forget": "Erased a note",
    "ask_shopper": "Wondered what you mean",
    "chat": "Talked",
}
_KEPT = "\n\t\u200d"  # the last joins emoji


def visible(text: object) -> str:
    r"""Drop what a reader cannot see: control characters, escape codes, text-direction tricks, lone surrogates.

    >>> visible("milk\x1b[31m\u202e!\r")
    'milk[31m!'
    """
    return readable(text, kept=_KEPT)


def short(text: str, *, limit: int = 80) -> str:
    """Cut a text at a word's end.

    >>> short("Vanilla ice cream", limit=13)
    'Vanilla ice…'
    """
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: limit - 1].rsplit(" ", 1)[0].rstrip(",.;") + "…"


def money(amount: float | None) -> str:
    """Write a price.

    >>> money(1234.5), money(None)
    ('$1,234.50', 'no price')
    """
    return "no price" if amount is None else f"${amount:,.2f}"


def trips(count: int) -> str:
    """Count trips in words.

    >>> trips(1), trips(92)
    ('1 trip', '92 trips')
    """
    return f"{count:,} trip" if count == 1 else f"{count:,} trips"


def offer(fact: Fact) -> str:
    """Name a deal on a card: the shop's own note, where it has one.

    >>> offer(Fact(kind="promotion", words=("in this week's ad",))), offer(Fact(kind="coupon"))
    ("In this week's ad", 'Your coupon')
    """
    note = fact.words[0] if fact.words else ""
    if fact.kind == "coupon":
        return f"Your coupon: {note}" if note else "Your coupon"
    return note[:1].upper() + note[1:] if note else "On promotion"


def step(name: str) -> str:
    """Say what a tool did, for a shopper."""
    return STEPS.get(name, "Used a tool")


def arguments(given: Mapping[str, Any]) -> str:
    """Write a tool's arguments on one line.

    >>> arguments({"query": "cat food", "max_price": 5, "without": ["fish"]})
    'query: cat food · max price: 5 · without: fish'
    """
    return " · ".join(
        f"{name.replace('_', ' ')}: {', '.join(map(str, value)) if isinstance(value, list | tuple) else value}"
        for name, value in given.items()
    )


def press(action: str, *, item: Item, position: int) -> tuple[ToolCall, str]:
    """Give the tool call of a card's button, and what the shopper is taken to have said.

    Raises:
        KeyError: when no card has such a button.
    """
    title = short(visible(item.title))
    return {
        "why": (ToolCall(name="explain", arguments={"position": position}), f"Why {title}?"),
        "add": (
            ToolCall(name="update_cart", arguments={"action": "add", "positions": [position]}),
            f"Add {title} to my cart",
        ),
        "like": (ToolCall(name="remember", arguments={"kind": "like", "position": position}), f"I like {title}"),
        "dislike": (
            ToolCall(name="remember", arguments={"kind": "dislike", "position": position}),
            f"I don't like {title}",
        ),
    }[action]
