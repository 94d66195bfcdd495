"""The shoppers that a front end offers to be, out of a shop's history."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from ui.words import trips

if TYPE_CHECKING:
    from retrieval.history import History


def known_shoppers(history: History, *, noun: str = "Shopper", count: int = 6) -> list[tuple[str, str]]:
    """Choose a few shoppers with short to long histories, as (label, id), the longest history first.

    They are spread over the shop's shoppers by number of trips, without the outermost twentieths, so that the page
    can show what a long and what a short history does.
    """
    counts = (int(end - first) for first, end in pairwise(history.user_baskets))
    sizes = sorted(zip(counts, history.users, strict=True), reverse=True)
    if not sizes:
        return []
    places = sorted({round((0.05 + 0.9 * at / max(1, count - 1)) * (len(sizes) - 1)) for at in range(count)})
    return [(f"{noun} {user_id} · {trips(size)}", user_id) for size, user_id in (sizes[place] for place in places)]
