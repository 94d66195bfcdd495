"""Item cards, cart and memory as HTML; every text in them is escaped here and nowhere else."""

from __future__ import annotations

import html
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from agent.events import Shown
from retrieval.records import Item
from ui.bars import of_recommendation, picture
from ui.words import money, offer, visible

if TYPE_CHECKING:
    from agent.store import Memory


def plain(text: object) -> str:
    """Escape a text for HTML: what comes out shows as exactly the characters that went in.

    >>> plain("<img src=x> [a](http://b) & 'c'")
    '&lt;img src=x&gt; [a](http://b) &amp; &#x27;c&#x27;'
    """
    return html.escape(visible(text), quote=True)


def prose(text: str) -> str:
    """Escape a text for a message of the talk, where quotes need no escape and line breaks stay.

    >>> prose("It's <b>bold</b>")
    "It's &lt;b&gt;bold&lt;/b&gt;"
    """
    return html.escape(visible(text), quote=False)


def button(name: str, *, label: str, text: str, style: str = "", pressed: bool | None = None, **data: object) -> str:
    """Write one button; `data` tells the page what a press means."""
    marks = "".join(f' data-{key}="{plain(value)}"' for key, value in data.items())
    state = "" if pressed is None else f' aria-pressed="{"true" if pressed else "false"}"'
    return (
        f'<button type="button" class="st-button {style}" data-press="{plain(name)}"{marks}{state}'
        f' aria-label="{plain(label)}" title="{plain(label)}">{text}</button>'
    )


def cards(
    shown: Sequence[Shown],
    *,
    turn: int,
    live: bool,
    in_cart: Mapping[str, int] | None = None,
    liked: Collection[str] = (),
    disliked: Collection[str] = (),
) -> str:
    """Write the ranked list; `live` lists have buttons, older ones only their words.

    `turn` is the number of the talk's turn that showed the list; it travels with each press, so that a press
    on a list that is no longer the last one is noticed.
    """
    in_cart = in_cart or {}
    rows = [
        _card(
            card,
            position=position,
            turn=turn,
            live=live,
            held=in_cart.get(item_id, 0),
            liked=item_id in liked,
            disliked=item_id in disliked,
        )
        for position, card in enumerate(shown, start=1)
        for item_id in [card.recommendation.item.item_id]
    ]
    return f'<ol class="st-cards{"" if live else " st-past"}" aria-label="{len(rows)} suggestions, best first">{"".join(rows)}</ol>'


def _card(card: Shown, *, position: int, turn: int, live: bool, held: int, liked: bool, disliked: bool) -> str:
    item = card.recommendation.item
    tags = [_tag("Age-restricted", "st-warn")] if item.age_restricted else []
    for fact in card.recommendation.facts:
        if fact.kind in ("coupon", "promotion"):
            tags.append(_tag(offer(fact), "st-good"))
    if held:
        tags.append(_tag(f"{held} in cart", "st-good"))
    marks = f'<div class="st-tags">{"".join(tags)}</div>' if tags else ""
    reason = f'<p class="st-reason">{plain(card.reason)}</p>' if card.reason else ""
    buttons = why = ""
    if live:
        title = visible(item.title)
        at: dict[str, Any] = {"position": position, "turn": turn}
        parts = of_recommendation(card.recommendation)
        if parts.parts:
            drawn = picture([parts])
            why = f'<details class="st-parts"><summary>How it scores</summary>{drawn}</details>'
        buttons = (
            '<div class="st-buttons">'
            + button("why", label=f"Why {title}?", text="Why?", **at)
            + button("like", label=f"I like {title}", text=_THUMB, style="st-icon", pressed=liked, **at)
            + button(
                "dislike", label=f"I do not like {title}", text=_THUMB, style="st-icon st-down", pressed=disliked, **at
            )
            + button("add", label=f"Add {title} to the cart", text="Add to cart", style="st-main", **at)
            + "</div>"
        )
    return (
        f'<li class="st-card"><span class="st-rank" aria-hidden="true">{position}</span>'
        f'<div class="st-body"><div class="st-title">{_title(item)}</div>'
        f"{marks}{reason}{why}</div>"
        f'<div class="st-side"><span class="st-price">{plain(money(item.price))}</span>{buttons}</div></li>'
    )


def _title(item: Item) -> str:
    head, comma, rest = item.title.partition(",")
    return f"<strong>{plain(head)}</strong>{f'<span>{plain(comma + rest)}</span>' if rest else ''}"


def _tag(text: str, style: str) -> str:
    return f'<span class="st-tag {style}">{plain(text)}</span>'


def cart(items: Sequence[tuple[str, int]], *, catalog: Mapping[str, Item]) -> str:
    """Write the cart with quantities, the total, and buttons to remove."""
    if not items:
        return '<p class="st-empty">Nothing yet. Press “Add to cart” on a card, or just say so.</p>'
    rows, total = [], 0.0
    for item_id, quantity in items:
        item = catalog.get(item_id)
        title = visible(item.title) if item else item_id
        price = item.price if item else None
        total += (price or 0.0) * quantity
        amount = money(price * quantity) if price is not None else "no price"
        rows.append(
            f'<li><span class="st-line">{plain(title)}</span><span class="st-count">'
            + button("less", label=f"One less of {title}", text="−", style="st-icon", item=item_id)
            + f'<span aria-label="quantity">{quantity}</span>'
            + button("more", label=f"One more of {title}", text="+", style="st-icon", item=item_id)
            + f'</span><span class="st-amount">{plain(amount)}</span>'
            + button("remove", label=f"Remove {title} from the cart", text="×", style="st-icon", item=item_id)
            + "</li>"
        )
    return (
        f'<ul class="st-lines">{"".join(rows)}</ul><div class="st-total"><span>Total</span>'
        f"<strong>{plain(money(total))}</strong></div>"
    )


def memory(memories: Sequence[Memory]) -> str:
    """Write what is remembered, with a button to erase each."""
    if not memories:
        return (
            '<p class="st-empty">Nothing. Likes, dislikes and things to avoid show up here, and you can erase them.</p>'
        )
    verbs = {"like": "Likes", "dislike": "Does not like", "avoid": "Avoids", "note": "Note:"}
    rows = [
        f'<li><span class="st-line"><em>{plain(verbs.get(kept.kind, kept.kind))}</em> {plain(kept.text)}</span>'
        + button("forget", label=f"Erase: {visible(kept.text)}", text="Erase", memory=kept.memory_id)
        + "</li>"
        for kept in memories
    ]
    everything = button("forget-all", label="Erase everything that is remembered", text="Erase everything")
    return f'<ul class="st-lines">{"".join(rows)}</ul><div class="st-total">{everything}</div>'


_THUMB = (
    '<svg viewBox="0 0 24 24" width="15" height="15" fill="none" stroke="currentColor" stroke-width="2" '
    'stroke-linejoin="round" aria-hidden="true"><path d="M7 11v9H4v-9zM7 11l4-8c1.500 0 2.500 1 2.500 2.500V9h5.500'
    'a2 2 0 0 1 2 2.300l-1.200 7A2 2 0 0 1 17.800 20H7"/></svg>'
)
