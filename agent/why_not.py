"""Why an item is not in the list, and what would bring it in: asked of the ranking itself, and written down as facts."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from agent.context import sort_value
from agent.outcome import Looked, Pool, Request
from agent.plain import size_text
from agent.record import recommend_one
from retrieval.quantity import item_quantity, same_size
from retrieval.reasons import PRICES, Verdict, change_facts, what_would_change, why_not
from retrieval.records import Candidate, Fact, Item, Part, Recommendation
from retrieval.wish import Wish, broken

if TYPE_CHECKING:
    from agent.context import Turn

LAST_TRIPS = 10
DIVERSE = ("new", "next_basket", "goes_with")  # tasks whose lists hold only a few of a kind
SIZED = 400  # items that a size is looked for among, as where a size is asked for


def look_why_not(
    turn: Turn,
    item: Item,
    *,
    pooled: Callable[[Request], Pool],
    ranked: Callable[[Pool], Sequence[Recommendation]],
) -> Looked:
    """Judge an item that was not shown against the list that was, and find the nearest change that would show it.

    Args:
        turn: What the turn knows; it has a list.
        item: The item that is asked about.
        pooled: Retrieves the candidates of a request.
        ranked: Gives the list that a pool is shown as.
    """
    request = turn.request or Request(task="search", wish=Wish(query=turn.message), label="")
    wish, bought = request.wish, turn.bought(item.item_id)

    def answer(asked: Wish) -> tuple[Sequence[str], Collection[str]]:
        other = replace(request, wish=asked)
        if asked.query != wish.query:
            other = Request(task="search", wish=asked, label="", queries=(asked.query,))
        pool = pooled(other)
        shown = [recommendation.item.item_id for recommendation in ranked(pool)]
        return shown, {candidate.item_id for candidate in pool.candidates}

    own = _judged(turn, item, request, pooled)
    judged = wish
    if item.item_id in turn.avoided:
        judged = replace(wish, text_none=(*wish.text_none, item.title))
    verdict = why_not(item, turn.shown, own, wish=judged, bought=bought)
    if set(verdict.broken) & {*PRICES, "item_ids"}:
        # Its price was not judged by the bound that it breaks, so that part stands for nothing.
        weaker = tuple(pair for pair in verdict.weaker if pair[0] != "price_fit")
        verdict = Verdict(broken=verdict.broken, weaker=weaker)
    elif not verdict.broken and (other := _not_by_score(turn, item, own, request)):
        verdict = Verdict(weaker=((other, 0.0),))
    size, ids = _of_its_size(turn, item, request)
    change = what_would_change(
        item,
        wish=wish,
        bought=bought if turn.user_id is not None else None,
        answer=answer,
        same_size=ids,
        size=size,
    )
    facts = [*_beside_last(turn, item, own, verdict), *(change_facts(change) if change is not None else ())]
    recommendation = replace(own, parts=(*own.parts, Part(name="asked", value=0.0, facts=tuple(facts))))
    return Looked(kind="why_not", recommendations=(recommendation,), positions=(0,), verdict=verdict, change=change)


def _judged(turn: Turn, item: Item, request: Request, pooled: Callable[[Request], Pool]) -> Recommendation:
    """Rank the item as the list was ranked, where it keeps to the wish; else as if it had been asked for without bounds."""
    if broken(item, request.wish, bought=turn.bought(item.item_id)):
        return recommend_one(turn, item)
    candidate = next((c for c in pooled(request).candidates if c.item_id == item.item_id), None)
    if candidate is None:
        candidate = Candidate(item_id=item.item_id, sources=recommend_one(turn, item).sources)
    own = turn.shop.rank([candidate], context=turn.rank_context(request, limit=1))
    return own[0] if own else recommend_one(turn, item)


def _not_by_score(turn: Turn, item: Item, own: Recommendation, request: Request) -> str | None:
    """Say what kept an item out where its score did not: the order asked for, a twin in the list, room for other kinds."""
    last = turn.shown[-1]
    if item.title in {one.item.title for one in turn.shown}:
        return "twice"
    if request.sort:
        here, there = sort_value(item, request.sort), sort_value(last.item, request.sort)
        return "order" if there is not None and (here is None or here >= there) else None
    return "room" if own.score > last.score and request.task in DIVERSE else None


def _of_its_size(turn: Turn, item: Item, request: Request) -> tuple[str, frozenset[str]]:
    """Give the item's size in words, and what a search for that size would keep."""
    own, size = item_quantity(item), size_text(item).lower()
    if own is None or not size or request.task != "search":
        return "", frozenset()
    wish = Wish(query=request.wish.query, age_restricted=request.wish.age_restricted)
    ids = set()
    for candidate in turn.shop.catalog.search(list(request.queries) or [wish.query], wish=wish, limit=SIZED):
        held = item_quantity(turn.item(candidate.item_id))
        if held is not None and same_size(held, own):
            ids.add(candidate.item_id)
    return size, frozenset(ids)


def _beside_last(turn: Turn, item: Item, own: Recommendation, verdict: Verdict) -> list[Fact]:
    """State by how much the item falls short of the one shown last, part by part, where that can be counted."""
    told = {fact.kind for fact in own.facts}
    out: list[Fact] = []
    if "bought_again" in verdict.broken and turn.user_id is not None and "not_bought" not in told:
        told.add("not_bought")
        out.append(Fact(kind="not_bought"))
    if not turn.shown:
        return out
    last, history = turn.shown[-1], turn.shop.history
    for name, _ in verdict.weaker:
        if name == "bought_before" and turn.user_id is not None:
            count, of = history.trips(turn.user_id, item.item_id, last=LAST_TRIPS)
            theirs, _ = history.trips(turn.user_id, last.item.item_id, last=LAST_TRIPS)
            if count >= theirs:
                continue
            if not history.times(turn.user_id, item.item_id):
                out += [Fact(kind="not_bought")] if "not_bought" not in told else []
            elif "bought_trips" not in told:
                out.append(Fact(kind="bought_trips", count=count, of=of))
            out.append(_last("bought_trips", last.item, count=theirs, of=of))
        elif name == "popularity":
            count, theirs = history.buyers(item.item_id), history.buyers(last.item.item_id)
            if count >= theirs:
                continue
            if "popular" not in told:
                out.append(Fact(kind="popular", count=count))
            out.append(_last("popular", last.item, count=theirs))
        elif name == "price_fit" and _dearer(item, last.item):
            out.append(_last("price", last.item, amount=last.item.price))
    # The parts of the one shown last, for a picture of both.
    return out + [_last(f"part {part.name}", last.item, amount=part.value) for part in last.parts if part.value]


def _last(
    kind: str, item: Item, *, count: int | None = None, of: int | None = None, amount: float | None = None
) -> Fact:
    return Fact(kind="last_shown", words=(kind, item.title), count=count, of=of, amount=amount, item_id=item.item_id)


def _dearer(item: Item, other: Item) -> bool:
    return item.price is not None and other.price is not None and item.price > other.price
