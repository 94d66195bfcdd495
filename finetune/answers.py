"""Gold answers: the words a reply should have, made from the facts of what is shown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from random import Random
from typing import Any

from agent import plain
from agent.context import money
from agent.grounding import supported
from agent.turn import Work, plain_sentences, spoken_of
from finetune.phrasebook import Replies
from retrieval.records import Fact, Recommendation

MOST_SENTENCES = 3


def gold_answer(work: Work, rng: Random, replies: Replies) -> list[str]:
    """Word a reply: an opening, then what speaks for one to three items.

    Every sentence passes the checker that serving uses; where none does, the plain sentences are taken.
    """
    spoken = spoken_of(work)
    most = rng.choices((1, 2, MOST_SENTENCES), (1, 4, 3))[0]
    sentences: list[str] = []
    for sentence in _sentences(work, rng, replies):
        if len(sentences) == most:
            break
        sentence = sentence[0].upper() + sentence[1:]
        if sentence not in sentences and supported(sentence, spoken):
            sentences.append(sentence)
    return sentences or [sentence for sentence in plain_sentences(work) if supported(sentence, spoken)][:2]


def _sentences(work: Work, rng: Random, replies: Replies) -> Iterator[str]:
    looked = work.looked
    if looked is not None and not work.requests:
        rows = list(zip(looked.positions, looked.recommendations, strict=True))
        tell = {"compare": _compared, "details": _detailed, "explain": _explained}[looked.kind]
        yield from tell(rows, rng, replies)
        return
    opening = _opening(work, rng, replies)
    if opening is not None and rng.random() < 0.65:
        yield opening
    rows = list(enumerate(work.shown, start=1))
    told: set[str] = set()
    for position, recommendation in [rows[0], *rng.sample(rows[1:], min(3, len(rows) - 1))]:
        for fact in plain.strongest(recommendation, limit=plain.TOLD):
            if fact.kind not in told and fact.kind != "matches":
                told.add(fact.kind)
                yield from fact_sentences(fact, position, rng, replies)
                break


def _opening(work: Work, rng: Random, replies: Replies) -> str | None:
    count = len(work.shown)
    request = work.requests[0]
    labels = " and ".join(one.label for one in work.requests if one.label)
    values = {"count": count, "label": labels, "anchor": request.label.removeprefix("goes with ")}
    limit = request.wish.max_price
    kind = "many" if labels else "many_plain"
    if count == 1:
        kind = "one" if labels else "one_plain"
    elif len(work.requests) > 1:
        kind = "several"
    elif request.sort == "cheapest":
        kind = "cheapest_first"
    elif request.task in ("similar", "goes_with", "again", "new"):
        kind = request.task
    elif request.task == "next_basket":
        kind = "for_you"
    elif limit is not None and rng.random() < 0.3:
        kind, values["limit"] = "under", money(limit)
    return _filled(replies, f"list.{kind}", rng, values)


def _compared(rows: Sequence[tuple[int, Recommendation]], rng: Random, replies: Replies) -> Iterator[str]:
    priced = sorted((r.item.price, position) for position, r in rows if r.item.price is not None)
    if len(priced) > 1:
        (low, first), (high, last) = priced[0], priced[-1]
        values: dict[str, Any] = {
            "item": f"[{first}]",
            "other": f"[{last}]",
            "amount": money(round(high - low, 2)),
            "price": money(low),
            "price2": money(high),
        }
        kind = "same_price" if low == high else rng.choice(("cheaper", "prices"))
        text = _filled(replies, f"compare.{kind}", rng, values)
        if text is not None:
            yield text
    for position, recommendation in rng.sample(list(rows), len(rows)):
        for fact in plain.strongest(recommendation, limit=2):
            if fact.kind not in ("matches", "under_price"):
                yield from fact_sentences(fact, position, rng, replies)


def _detailed(rows: Sequence[tuple[int, Recommendation]], rng: Random, replies: Replies) -> Iterator[str]:
    position, recommendation = rows[0]
    item = recommendation.item
    values = {"item": f"[{position}]", "price": plain.price_text(item), "category": " > ".join(item.categories)}
    size = next((fact.words[0] for fact in recommendation.facts if fact.kind == "size"), None)
    kind = "no_price" if item.price is None else "price"
    if size is not None and kind == "price" and rng.random() < 0.5:
        kind, values["size"] = "price_and_size", size.lower()
    text = _filled(replies, f"details.{kind}", rng, values)
    if text is not None:
        yield text
    for fact in plain.strongest(recommendation, limit=3):
        if fact.kind != "matches":
            yield from fact_sentences(fact, position, rng, replies)


def _explained(rows: Sequence[tuple[int, Recommendation]], rng: Random, replies: Replies) -> Iterator[str]:
    position, recommendation = rows[0]
    facts = plain.strongest(recommendation, limit=3)
    for at, fact in enumerate(facts):
        if at == 0 and rng.random() < 0.6:
            text = _filled(replies, "explain.because", rng, {"item": f"[{position}]", "clause": plain.clause(fact)})
            if text is not None:
                yield text
                continue
        if at and rng.random() < 0.4:
            text = _filled(replies, "explain.also", rng, {"clause": plain.clause(fact)})
            if text is not None:
                yield text
                continue
        yield from fact_sentences(fact, position, rng, replies)


def fact_sentences(fact: Fact, position: int, rng: Random, replies: Replies) -> Iterator[str]:
    """Word one fact about the item at a position; most often one sentence, none where no wording fits."""
    kind = fact.kind
    if kind == "attribute" and fact.words[0] == "brand":
        kind, fact = "brand_tier", replace(fact, words=fact.words[1:])
    if kind == "under_price" and not fact.amount:
        kind = "at_limit"
    elif kind == "bought_trips" and fact.count == fact.of and (fact.of or 0) > 1:
        kind = "bought_all_trips"
    elif kind == "bought_times" and fact.count in (1, 2):
        kind = {1: "bought_once", 2: "bought_twice"}[fact.count]
    values = {
        "item": f"[{position}]",
        "count": fact.count,
        "of": fact.of,
        "amount": money(fact.amount) if fact.amount is not None else None,
        "limit": money(fact.limit) if fact.limit is not None else None,
        "words": _short(fact),
        "name": fact.words[0] if fact.words else None,
        "value": fact.words[-1].lower() if fact.words else None,
    }
    text = _filled(replies, f"fact.{kind}", rng, values)
    if text is not None:
        yield text


def _short(fact: Fact) -> str | None:
    if not fact.words:
        return None
    if fact.kind == "matches":
        return " ".join(fact.words)
    if fact.kind == "brand_tier":
        return plain.tier(fact.words[0])
    return fact.words[0].split(",")[0].lower() if fact.item_id else fact.words[0].lower()


def _filled(replies: Replies, kind: str, rng: Random, values: dict[str, Any]) -> str | None:
    if kind not in replies.wordings:
        return None
    held = {name: value for name, value in values.items() if value is not None}
    try:
        return replies.sample(kind, rng).format_map(held)
    except KeyError:
        return None
