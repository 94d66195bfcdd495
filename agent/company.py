"""Which of several things a word names is meant: told by the words around it, and by what is bought together.

"Wipes" are wipes for babies beside diapers, "buns" are hot dog buns beside hot dogs, "candles for the cake" are cake
candles. Where neither tells one kind plainly apart, the word keeps all its meanings.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from agent.context import Turn
from agent.plain import short_title

if TYPE_CHECKING:
    from numpy.typing import NDArray

# A kind is settled on where it is bought with the others this many times more often than by chance, on this many
# trips, and this many times more so than any other kind the word names.
LEAST_LIFT = 3.0
LEAST_TOGETHER = 20
APART = 2.0
PSEUDO = 5.0  # trips that chance is thought to add, so that a rare kind proves little
MOST_ANCHORS = 5  # kinds


def settle(turn: Turn, query: str) -> str | None:
    """Give the name of the kind that a query means here; None where the query is plain, or nothing tells."""
    return _compound(turn, query) or _by_company(turn, query)


def _compound(turn: Turn, query: str) -> str | None:
    """Join "candles for the cake" to "cake candles", where the shop calls something so."""
    said = re.search(
        rf"\b{re.escape(query.lower())}\s+(?:for|to go on|to put on|to go in)\s+"
        r"(?:(?:the|my|a|an|our|his|her|their|some|your)\s+)?(?P<words>[a-z]+(?: [a-z]+)?)",
        turn.message.lower(),
    )
    if said is None:
        return None
    words = said["words"].split()
    names = (f"{' '.join(words[:length])} {query}" for length in (2, 1) if length <= len(words))
    return next((name for name in names if turn.shop.catalog.calls(name)), None)


def _by_company(turn: Turn, query: str) -> str | None:
    catalog, history = turn.shop.catalog, turn.shop.history
    focus = catalog.focus([query])
    if not focus or catalog.calls(query):
        return None
    kinds = _by_name(turn, focus)
    if len(kinds) < 2:
        return None
    for anchors in _anchors(turn, query):
        if not anchors or kinds.keys() & anchors.keys():
            continue
        beside = history.trips_with_any(chain.from_iterable(list(anchors.values())[:MOST_ANCHORS]))
        lifts = sorted((_lift(beside, history.trips_with_any(ids)), name) for name, ids in kinds.items())
        (second, _), (best, name) = lifts[-2], lifts[-1]
        if best >= max(LEAST_LIFT, APART * second):
            return name
    return None


def _lift(beside: NDArray[np.bool_], own: NDArray[np.bool_]) -> float:
    """Say how many times more often than by chance two sets of trips meet; 0 where that is too seldom to tell."""
    together = int(np.count_nonzero(beside & own))
    if together < LEAST_TOGETHER:
        return 0.0
    by_chance = np.count_nonzero(beside) * np.count_nonzero(own) / len(own)
    return float(together / (by_chance + PSEUDO))


def _anchors(turn: Turn, query: str) -> Iterator[dict[str, list[str]]]:
    """Give what the query was said beside, by kind, the nearest first.

    That is the plan's other wishes, the other things that the message names, the list on the table, the cart.
    """
    catalog = turn.shop.catalog
    wishes = [ids for other in turn.wishes if other != query and (ids := catalog.focus([other]))]
    yield _by_name(turn, [item_id for ids in wishes for item_id in ids])
    parts = [part for part in re.split(r"[,.;!?&+]|\b(?:and|or|plus|with)\b", turn.message.lower()) if part.strip()]
    named = [catalog.focus([part]) for part in parts[:MOST_ANCHORS] if query.lower() not in part]
    yield _by_name(turn, [item_id for ids in named if ids for item_id in ids])
    for held in ([one.item.item_id for one in turn.shown], [item_id for item_id, _ in turn.cart]):
        yield {name: list(kind.item_ids) for name in _by_name(turn, held) for kind in catalog.kinds(name, limit=1)}


def _by_name(turn: Turn, item_ids: Sequence[str] | frozenset[str]) -> dict[str, list[str]]:
    kinds: dict[str, list[str]] = {}
    for item_id in sorted(item_ids):
        kinds.setdefault(short_title(turn.item(item_id)).lower(), []).append(item_id)
    return kinds
