"""Why one item and not another, and what would change it: read off the parts of the scores, never made up afterwards."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from retrieval.records import Fact, Item, Recommendation
from retrieval.wish import Wish, broken, contains, tells_of

PRICES = ("max_price", "below_price", "min_price", "above_price")


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Why an item was not shown: the hard wishes it breaks, and the parts that are weaker than what was shown.

    `broken` has the names of `retrieval.wish.broken`, with "bought" told apart as "bought_again" and
    "bought_new"; `weaker` has (part, difference) against the item shown last, the largest difference first.
    """

    broken: tuple[str, ...] = ()
    weaker: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One move of a wish: what is asked less (`more` False) or more (True).

    `name` is "max_price", "min_price" (`bound`: the price to which it moves; None: no bound at all), "brands" or an
    attribute (`value`), "label" (words that must be on it), "without" (what must not), "bought" (again, new),
    "size", "deal" (on offer), "seen" (what was shown before) or "query".
    """

    name: str
    more: bool = False
    value: str = ""
    bound: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """The nearest other wish whose list has the item: how it differs, and the item's place there, from 1, of `of`."""

    wish: Wish
    steps: tuple[Step, ...]
    place: int
    of: int


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
    """Say why an item was not in a list: what it breaks, and which parts fall short of the item shown last.

    Args:
        item: The item that was not shown.
        shown: The list that was, best first.
        recommendation: The item's own parts, ranked for the same request.
        wish: The wish that the list answered.
        bought: Whether the shopper bought the item before; None where nobody knows.
    """
    held = broken(item, wish, bought=bought)
    names = tuple(f"bought_{wish.bought}" if name == "bought" else name for name in held)
    if not shown:
        return Verdict(broken=names)
    weaker = tuple((name, apart) for name, apart in compare(shown[-1], recommendation) if apart > 0)
    return Verdict(broken=names, weaker=weaker)


def what_would_change(
    item: Item,
    *,
    wish: Wish,
    bought: bool | None,
    answer: Callable[[Wish], tuple[Sequence[str], Collection[str]]],
    same_size: Collection[str] = (),
    size: str = "",
    tier: str = "brand_tier",
) -> Change | None:
    """Find the nearest change of wish that brings an item into the list; None where none that was tried does.

    What the item breaks is given up, and nothing else: an item is shown only when it breaks nothing, so that is the
    smallest set, and a price bound moves no further than to the item's own price. Where the list for that wish is
    still without it, one thing more is asked that the item has (its tier, its size, bought before or not, its price: the
    first of these that does), then the item by its name. Every change is confirmed by `answer`, which really ranks.

    Args:
        item: The item that was not shown.
        wish: The wish that the list answered.
        bought: Whether the shopper bought the item before; None where nobody knows.
        answer: Gives, for a wish, the ids of the list that it would show, best first, and of all that it found.
        same_size: The ids of what has the item's own size, which is called `size`; without them no size is proposed.
        tier: The attribute that is asked for as a brand tier.
    """
    loose, steps = _given_up(item, wish, bought=bought, same_size=frozenset(same_size), size=size)
    if broken(item, loose, bought=bought):
        return None
    shown, found = answer(loose)
    if steps and item.item_id in shown:
        return _change(item, loose, steps, shown)
    if item.item_id in found:
        for asked, step in _asked_more(
            item, loose, bought=bought, same_size=frozenset(same_size), size=size, tier=tier
        ):
            shown, _ = answer(asked)
            if item.item_id in shown:
                return _change(item, asked, [*steps, step], shown)
    name = item.title.split(",")[0].lower()
    if name != wish.query.lower():
        asked = replace(loose, query=name)
        shown, _ = answer(asked)
        if item.item_id in shown:
            return _change(item, asked, [*steps, Step(name="query", more=True, value=name)], shown)
    return None


def change_facts(change: Change) -> tuple[Fact, ...]:
    """Write a change as facts: each step of the wish, then the place that it gives.

    >>> change = Change(wish=Wish(), steps=(Step(name="max_price", bound=4.29),), place=2, of=5)
    >>> [(fact.kind, fact.words, fact.amount, fact.count, fact.of) for fact in change_facts(change)]
    [('would_change', ('max_price', 'less'), 4.29, None, None), ('would_show', (), None, 2, 5)]
    """
    steps = [
        Fact(
            kind="would_change",
            words=(step.name, "more" if step.more else "less", *([step.value] if step.value else [])),
            amount=step.bound,
        )
        for step in change.steps
    ]
    return (*steps, Fact(kind="would_show", count=change.place, of=change.of))


def _change(item: Item, wish: Wish, steps: Sequence[Step], shown: Sequence[str]) -> Change:
    return Change(wish=wish, steps=tuple(steps), place=list(shown).index(item.item_id) + 1, of=len(shown))


def _given_up(
    item: Item, wish: Wish, *, bought: bool | None, same_size: frozenset[str], size: str
) -> tuple[Wish, list[Step]]:
    """Give up exactly what the item breaks, one field after the other; what cannot be given up stays broken."""
    steps: list[Step] = []
    for name in broken(item, wish, bought=bought):
        if name in PRICES:
            bound = _cents(item.price, up=name in ("max_price", "below_price"))
            moved = "max_price" if name in ("max_price", "below_price") else "min_price"
            wish = _with(wish, {name: None, moved: bound})
            if not any(step.name == moved for step in steps):  # "cheaper than it" and "under $3" are one bound
                steps.append(Step(name=moved, bound=bound))
        elif name in ("attributes", "not_attributes"):
            kept = dict(getattr(wish, name))
            for key, values in getattr(wish, name).items():
                if broken(item, _with(Wish(age_restricted=True), {name: {key: values}})):
                    del kept[key]
                    steps.append(Step(name=key if name == "attributes" else "without", value=values[0]))
            wish = _with(wish, {name: kept})
        elif name in ("text_all", "text_none"):
            left = [phrase for phrase in getattr(wish, name) if _keeps(item, name, phrase)]
            called = "label" if name == "text_all" else "without"
            steps += [Step(name=called, value=phrase) for phrase in getattr(wish, name) if phrase not in left]
            wish = _with(wish, {name: tuple(left)})
        elif name == "brands":
            steps.append(Step(name="brands", value=wish.brands[0]))
            wish = replace(wish, brands=())
        elif name == "bought":
            steps.append(Step(name="bought", value=wish.bought))
            wish = replace(wish, bought="any")
        elif name == "item_ids":
            own = item.item_id in same_size
            steps.append(Step(name="size", more=own, value=size if own else ""))
            wish = replace(wish, item_ids=same_size if own else None)
        elif name == "deal":
            steps.append(Step(name="deal"))
            wish = _with(wish, {"deal": False})
        elif name == "exclude_ids":
            steps.append(Step(name="seen"))
            wish = replace(wish, exclude_ids=wish.exclude_ids - {item.item_id})
    return wish, steps


def _with(wish: Wish, fields: Mapping[str, Any]) -> Wish:
    """Replace fields that are named at run time."""
    return replace(wish, **fields)


def _keeps(item: Item, name: str, phrase: str) -> bool:
    if name == "text_all":
        return contains(item.text, phrase)
    return not (tells_of(item.text, phrase) or tells_of(item.brand, phrase))


def _asked_more(
    item: Item, wish: Wish, *, bought: bool | None, same_size: frozenset[str], size: str, tier: str
) -> Iterator[tuple[Wish, Step]]:
    """List wishes that ask one thing more, which the item has."""
    held = item.attributes.get(tier)
    if isinstance(held, str) and held and tier not in wish.attributes:
        asked = replace(wish, attributes={**wish.attributes, tier: (held,)})
        yield asked, Step(name=tier, more=True, value=held)
    elif item.brand and not wish.brands:
        yield replace(wish, brands=(item.brand,)), Step(name="brands", more=True, value=item.brand)
    if wish.item_ids is None and item.item_id in same_size:
        yield replace(wish, item_ids=same_size), Step(name="size", more=True, value=size)
    if wish.bought == "any" and bought is not None:
        name: Literal["again", "new"] = "again" if bought else "new"
        yield replace(wish, bought=name), Step(name="bought", more=True, value=name)
    bound = _cents(item.price, up=True)  # last, as it is true of most things that nothing dearer is beside them
    if bound is not None and (wish.max_price is None or bound < wish.max_price):
        yield replace(wish, max_price=bound), Step(name="max_price", more=True, bound=bound)


def _cents(price: float | None, *, up: bool) -> float | None:
    """Give the nearest bound in whole cents that a price keeps to.

    >>> _cents(4.291, up=True), _cents(4.29, up=True), _cents(4.299, up=False), _cents(None, up=True)
    (4.3, 4.29, 4.29, None)
    """
    if price is None or not math.isfinite(price):
        return None
    cents = math.ceil(price * 100 - 1e-6) if up else math.floor(price * 100 + 1e-6)
    return cents / 100
