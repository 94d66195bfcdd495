"""Why one item and not another: read off the parts of the scores, never made up afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from retrieval.records import Item, Recommendation
from retrieval.wish import Wish, broken


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Why an item was not shown: the hard wishes it breaks, and the parts that are weaker than what was shown.

    `broken` has the names of `retrieval.wish.broken`, with "bought" told apart as "bought_again" and
    "bought_new"; `weaker` has (part, difference) against the item shown last, the largest difference first.
    """

    broken: tuple[str, ...] = ()
    weaker: tuple[tuple[str, float], ...] = ()


def compare(one: Recommendation, other: Recommendation) -> list[tuple[str, float]]:
    """List by how much each part of one score exceeds the other's, the largest difference first.

    The differences add up to the difference of the scores; parts that are equal are left out.

    >>> from retrieval.records import Part
    >>> milk, tea = Item(item_id="1", title="Milk"), Item(item_id="2", title="Tea")
    >>> a = Recommendation(item=milk, score=0.75, parts=(Part(name="match", value=0.5), Part(name="popularity", value=0.25)))
    >>> b = Recommendation(item=tea, score=0.5, parts=(Part(name="match", value=0.5),))
    >>> compare(a, b)
    [('popularity', 0.25)]
    """
    values = [{part.name: part.value for part in held.parts} for held in (one, other)]
    names = list(dict.fromkeys([*values[0], *values[1]]))
    apart = [(name, values[0].get(name, 0.0) - values[1].get(name, 0.0)) for name in names]
    return sorted((pair for pair in apart if pair[1]), key=lambda pair: (-abs(pair[1]), pair[0]))


def why_not(
    item: Item, shown: Sequence[Recommendation], recommendation: Recommendation, *, wish: Wish, bought: bool | None
) -> Verdict:
    """Say why an item was not in a list: what it breaks, else which parts fall short of the item shown last.

    Args:
        item: The item that was not shown.
        shown: The list that was, best first.
        recommendation: The item's own parts, ranked for the same request.
        wish: The wish that the list answered.
        bought: Whether the shopper bought the item before; None where nobody knows.
    """
    names = tuple(f"bought_{wish.bought}" if name == "bought" else name for name in broken(item, wish, bought=bought))
    if not shown:
        return Verdict(broken=names)
    weaker = tuple((name, apart) for name, apart in compare(shown[-1], recommendation) if apart > 0)
    return Verdict(broken=names, weaker=weaker)
