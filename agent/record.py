"""The record of a list: recommendations as JSON values and back, so that "why?" reads what was shown."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from agent.outcome import Request
from retrieval.records import Candidate, Fact, Item, Part, Recommendation
from retrieval.wish import Wish

if TYPE_CHECKING:
    from agent.context import Turn


def recommendation_to_json(recommendation: Recommendation, *, position: int) -> dict[str, Any]:
    """Turn one shown item into the evidence row that is logged."""
    item = recommendation.item
    return {
        "position": position,
        "item_id": item.item_id,
        "title": item.title,
        "price": item.price,
        "score": recommendation.score,
        "parts": {part.name: part.value for part in recommendation.parts},
        "facts": [{"part": part.name, **fact_to_json(fact)} for part in recommendation.parts for fact in part.facts],
        "sources": dict(recommendation.sources),
    }


def fact_to_json(fact: Fact) -> dict[str, Any]:
    """Turn a fact into JSON, leaving out what is not set."""
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in asdict(fact).items()
        if value not in (None, (), "")
    }


def recommendation_from_json(row: dict[str, Any], *, items: Any) -> Recommendation | None:
    """Read an evidence row back; None when the shop no longer has the item."""
    item: Item | None = items.get(row["item_id"])
    if item is None:
        return None
    facts: dict[str, list[Fact]] = {}
    for fact in row["facts"]:
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in fact.items() if name != "part"
        }
        facts.setdefault(fact["part"], []).append(Fact(**values))
    parts = tuple(
        Part(name=name, value=value, facts=tuple(facts.get(name, ()))) for name, value in row["parts"].items()
    )
    return Recommendation(item=item, score=row["score"], parts=parts, sources=row.get("sources", {}))


def wish_to_json(wish: Wish) -> dict[str, Any]:
    """Turn a wish into JSON, leaving out what asks nothing."""
    out: dict[str, Any] = {}
    for name in Wish.__dataclass_fields__:
        value = getattr(wish, name)
        if value in (None, "", (), {}, False, "any") or (value == frozenset() and name != "item_ids"):
            continue
        if isinstance(value, frozenset):
            value = sorted(value)
        elif isinstance(value, tuple):
            value = list(value)
        elif name in ("attributes", "not_attributes"):
            value = {key: list(held) for key, held in value.items()}
        out[name] = value
    return out


def wish_from_json(record: dict[str, Any]) -> Wish:
    """Read a wish back."""
    values = dict(record)
    for name in ("item_ids", "exclude_ids", "on_offer"):
        if values.get(name) is not None:
            values[name] = frozenset(values[name])
    for name in ("brands", "categories", "text_all", "text_none"):
        if name in values:
            values[name] = tuple(values[name])
    for name in ("attributes", "not_attributes"):
        if name in values:
            values[name] = {key: tuple(held) for key, held in values[name].items()}
    return Wish(**values)


def request_to_json(request: Request | None) -> dict[str, Any] | None:
    """Turn a request into JSON."""
    if request is None:
        return None
    return {
        "task": request.task,
        "wish": wish_to_json(request.wish),
        "label": request.label,
        "queries": list(request.queries),
        "anchors": list(request.anchors),
        "sort": request.sort,
    }


def request_from_json(record: dict[str, Any] | None) -> Request | None:
    """Read a request back."""
    if record is None:
        return None
    return Request(
        task=record["task"],
        wish=wish_from_json(record["wish"]),
        label=record["label"],
        queries=tuple(record["queries"]),
        anchors=tuple(record["anchors"]),
        sort=record["sort"],
    )


def recommend_one(turn: Turn, item: Item) -> Recommendation:
    """Rank one item by itself under the request in force: its parts, as if it had been proposed."""
    request = turn.request or Request(task="search", wish=Wish(query=turn.message), label="")
    free = replace(request, wish=Wish(query=request.wish.query, age_restricted=True))
    hits = list(
        turn.shop.catalog.search(
            [request.wish.query or item.title],
            wish=Wish(item_ids=frozenset({item.item_id}), age_restricted=True),
            limit=1,
        )
    )
    candidate = hits[0] if hits else Candidate(item_id=item.item_id, sources={})
    ranked = turn.shop.rank([candidate], context=turn.rank_context(free, limit=1))
    return ranked[0] if ranked else Recommendation(item=item, score=0.0, parts=())
