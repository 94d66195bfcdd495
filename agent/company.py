"""Which of several things a word names is meant: told by the words around it, and by what is bought together.

"Wipes" are wipes for babies beside diapers, "buns" are hot dog buns beside hot dogs, "candles for the cake" are cake
candles. Where neither tells one kind plainly apart, the word keeps all its meanings.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from agent.context import Turn

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
    catalog = turn.shop.catalog
    focus = catalog.focus([query])
    if not focus or catalog.calls(query):
        return None
    kinds = _by_name(turn, focus)
    anchors = _anchors(turn, query)
    if len(kinds) < 2 or not anchors or kinds.keys() & anchors.keys():
        return None
    beside = np.zeros(len(turn.shop.history.basket_time), bool)
    for held in list(anchors.values())[:MOST_ANCHORS]:
        beside |= turn.shop.history.trips_with_any(held)
    lifts = sorted(((_lift(beside, turn.shop.history.trips_with_any(ids)), name) for name, ids in kinds.items()))
    (second, _), (best, name) = lifts[-2], lifts[-1]
    return name if best >= max(LEAST_LIFT, APART * second) else None


def _lift(beside: NDArray[np.bool_], own: NDArray[np.bool_]) -> float:
    """Say how many times more often than by chance two sets of trips meet; 0 where that is too seldom to tell."""
    together = int(np.count_nonzero(beside & own))
    if together < LEAST_TOGETHER:
        return 0.0
    by_chance = np.count_nonzero(beside) * np.count_nonzero(own) / len(own)
    return float(together / (by_chance + PSEUDO))


def _anchors(turn: Turn, query: str) -> dict[str, list[str]]:
    """Give what the query was said beside, by kind: the plan's other wishes, else the list on the table."""
    catalog = turn.shop.catalog
    others = [ids for other in turn.wishes if other != query and (ids := catalog.focus([other]))]
    if others:
        return _by_name(turn, [item_id for ids in others for item_id in ids])
    shown = _by_name(turn, [recommendation.item.item_id for recommendation in turn.shown])
    return {name: list(kind.item_ids) for name in shown for kind in catalog.kinds(name, limit=1)}


def _by_name(turn: Turn, item_ids: Sequence[str] | frozenset[str]) -> dict[str, list[str]]:
    kinds: dict[str, list[str]] = {}
    for item_id in sorted(item_ids):
        kinds.setdefault(turn.item(item_id).title.split(",")[0].lower(), []).append(item_id)
    return kinds
