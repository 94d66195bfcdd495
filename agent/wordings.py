"""What a reply may say: every true sentence that the bank of wordings has for what is shown, and the grammar of them.

A small model left to write freely says things that are nearly true ("[2] is the cheapest", of a list whose cheapest is
another), or true in no English. So it chooses: each sentence it can write is a wording of `agent/replies/`, filled from
a recorded fact and checked against the record beforehand. The same sentences are what it is trained on. A larger model
writes as it likes (`SHOPTALK_FREE_WORDS`), and only the check against the record stands.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from random import Random
from typing import Any

from agent import plain
from agent.context import money
from agent.grounding import Spoken, supported
from agent.outcome import ON_OFFER, Looked, Request
from retrieval.quantity import item_quantity
from retrieval.records import Fact, Recommendation

MOST_SENTENCES = 3
WORDINGS_OF_EACH = 3  # of one thing, for one reply
OPENING = "opening"


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """One thing that a reply may tell, and how: kinds of wordings with the values that fill them.

    Of one `group` a reply has one sentence. What `starts` may stand first, what `follows` may come after.
    """

    group: str
    forms: tuple[tuple[str, Mapping[str, Any]], ...]
    starts: bool = True
    follows: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Wording:
    """A true sentence, items as [1], and the topic that it tells."""

    text: str
    topic: Topic


@cache
def load_replies() -> Mapping[str, tuple[str, ...]]:
    """Read the bank: wordings with open slots, by what they tell ("fact.popular").

    >>> "{item} costs {price}." in load_replies()["details.price"]
    True
    """
    wordings: dict[str, list[str]] = {}
    for path in sorted(files("agent").joinpath("replies").iterdir(), key=lambda path: path.name):
        kind = ""
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.startswith("> "):
                kind = f"{path.name.removesuffix('.txt')}.{line[2:].strip()}"
            elif line.strip() and not line.startswith("#"):
                wordings.setdefault(kind, []).append(line.strip())
    return {kind: tuple(lines) for kind, lines in wordings.items()}


def wordings(topics: Sequence[Topic], *, spoken: Spoken, rng: Random, of_each: int = WORDINGS_OF_EACH) -> list[Wording]:
    """Fill up to `of_each` wordings of every topic, and keep what the record supports."""
    out: dict[str, Wording] = {}
    for topic in topics:
        forms = [(text, values) for kind, values in topic.forms for text in load_replies().get(kind, ())]
        kept = 0
        for text, values in rng.sample(forms, len(forms)):
            sentence = filled(text, values)
            if sentence is None or sentence in out or not supported(sentence, spoken):
                continue
            out[sentence] = Wording(text=sentence, topic=topic)
            kept += 1
            if kept == of_each:
                break
    return list(out.values())


def grammar(said: Sequence[Wording]) -> str:
    """Write the grammar (EBNF as xgrammar reads it) of a reply of one to three of these sentences, one of each group.

    >>> print(grammar([Wording(text="[1] is $2.", topic=Topic(group="a", forms=()))]))
    root ::= g0
    g0 ::= "[1] is $2."

    Raises:
        ValueError: when no sentence may start a reply.
    """
    groups = list(dict.fromkeys(one.topic.group for one in said))
    starts, follows = (
        {
            at: [one.text for one in said if one.topic.group == group and getattr(one.topic, name)]
            for at, group in enumerate(groups)
        }
        for name in ("starts", "follows")
    )
    first, later = ([at for at in texts if texts[at]] for texts in (starts, follows))
    if not first:
        raise ValueError("nothing to say")
    lines = ["root ::= " + " | ".join(f"g{at}{_after([at], later)}" for at in first)]
    lines += [f"g{at} ::= {_either(starts[at])}" for at in first]
    if len(lines) > 2 or set(later) - set(first):
        lines += [f"f{at} ::= {_either(follows[at])}" for at in later]
    return "\n".join(lines)


def _after(held: Sequence[int], later: Sequence[int]) -> str:
    """Write what may come after sentences of the groups `held`."""
    free = [at for at in later if at not in held]
    if len(held) == MOST_SENTENCES or not free:
        return ""
    return ' (" " (' + " | ".join(f"f{at}{_after([*held, at], later)}" for at in free) + "))?"


def _either(texts: Sequence[str]) -> str:
    return " | ".join(json.dumps(text, ensure_ascii=False) for text in texts)


def drawn(said: Sequence[Wording], rng: Random) -> list[str]:
    """Draw a reply as the grammar allows it: one to three sentences, of different groups, in the order of the topics."""
    most = rng.choices((1, 2, MOST_SENTENCES), (1, 4, 3))[0]
    openings = [one for one in said if one.topic.group == OPENING]
    starts = [one for one in said if one.topic.starts and one.topic.group != OPENING]
    out: list[Wording] = []
    if openings and (rng.random() < 0.65 or not starts):
        out.append(rng.choice(openings))
    elif starts:
        held = starts[0].topic
        out.append(rng.choice([one for one in starts if one.topic is held]))
    while out and len(out) < most:
        left = [one for one in said if one.topic.follows and all(one.topic.group != told.topic.group for told in out)]
        if not left:
            break
        # What stands first tells of the first item more often than not.
        held = left[0].topic if rng.random() < 0.5 else rng.choice(left).topic
        out.append(rng.choice([one for one in left if one.topic is held]))
    return [one.text for one in out]


def list_topics(shown: Sequence[Recommendation], requests: Sequence[Request]) -> list[Topic]:
    """Say what may be told of a list: what it is, then what speaks for each item; no fact of one kind twice."""
    out = [Topic(group=OPENING, forms=_openings(shown, requests), follows=False)]
    for position, recommendation in enumerate(shown, start=1):
        for fact in plain.strongest(recommendation, limit=plain.TOLD):
            if fact.kind != "matches":
                out.append(Topic(group=fact.kind, forms=(fact_form(fact, position),), starts=position == 1))
    return out


def look_topics(looked: Looked, *, message: str = "") -> list[Topic]:
    """Say what may be told of items that are looked at: compared, detailed or explained; first what the message asks."""
    rows = list(zip(looked.positions, looked.recommendations, strict=True))
    if looked.kind == "compare":
        topics = list(_compared(rows))
        sized = [topic for topic in topics if topic.group == "size"]
        if sized and plain.SIZE_COMPARED.search(message.lower()):
            return sized + [replace(topic, starts=False) for topic in topics if topic not in sized]
        return topics
    position, recommendation = rows[0]
    return list(
        _detailed(position, recommendation) if looked.kind == "details" else _explained(position, recommendation)
    )


def _openings(
    shown: Sequence[Recommendation], requests: Sequence[Request]
) -> tuple[tuple[str, Mapping[str, Any]], ...]:
    count, request = len(shown), requests[0]
    labels = " and ".join(one.label for one in requests if one.label)
    values = {"count": count, "label": labels, "anchor": request.label.removeprefix("goes with ")}
    kind = "many" if labels else "many_plain"
    if count == 1:
        kind = "one" if labels else "one_plain"
    elif len(requests) > 1:
        kind = "several"
    elif request.label.split(" (")[0] == ON_OFFER:
        kind = "on_offer"
    elif request.sort == "cheapest":
        kind = "cheapest_first"
    elif request.task in ("similar", "goes_with", "again", "new"):
        kind = request.task
    elif request.task == "next_basket":
        kind = "for_you"
    forms = [(f"list.{kind}", values)]
    if kind == "many" and request.wish.max_price is not None:
        forms.append(("list.under", values | {"limit": money(request.wish.max_price)}))
    return tuple(forms)


def _compared(rows: Sequence[tuple[int, Recommendation]]) -> Iterator[Topic]:
    priced = sorted((r.item.price, position) for position, r in rows if r.item.price is not None)
    if len(priced) > 1:
        (low, first), (high, last) = priced[0], priced[-1]
        values = {
            "item": f"[{first}]",
            "other": f"[{last}]",
            "amount": money(round(high - low, 2)),
            "price": money(low),
            "price2": money(high),
        }
        kinds = ("same_price",) if low == high else ("cheaper", "prices")
        yield Topic(group=OPENING, forms=tuple((f"compare.{kind}", values) for kind in kinds))
    sized = sorted((q.amount, position, q.unit) for position, r in rows if (q := item_quantity(r.item)) is not None)
    if len(sized) == len(rows) and len({unit for _, _, unit in sized}) == 1 and sized[0][0] < sized[-1][0]:
        values = {"item": f"[{sized[-1][1]}]", "other": f"[{sized[0][1]}]"}
        yield Topic(group="size", forms=(("compare.bigger", values),))
    if (apart := plain.most_apart([recommendation for _, recommendation in rows])) is not None:
        one, fact = apart
        values = {"item": f"[{rows[one][0]}]", "clause": plain.clause(fact)}
        yield Topic(group="apart", forms=(("compare.apart", values),))
    for position, recommendation in rows:
        for fact in plain.strongest(recommendation, limit=2):
            if fact.kind not in ("matches", "under_price"):
                yield Topic(group=f"{position} {fact.kind}", forms=(fact_form(fact, position),))


def _detailed(position: int, recommendation: Recommendation) -> Iterator[Topic]:
    item = recommendation.item
    values: dict[str, Any] = {"item": f"[{position}]", "price": plain.price_text(item)}
    if item.price is not None:
        size = next((fact.words[0] for fact in recommendation.facts if fact.kind == "size"), None)
        forms = [("details.price", values)]
        if size is not None:
            forms.append(("details.price_and_size", values | {"size": size.lower()}))
        yield Topic(group=OPENING, forms=tuple(forms))
    for fact in plain.strongest(recommendation, limit=3):
        if fact.kind != "matches":
            yield Topic(group=fact.kind, forms=(fact_form(fact, position),))


def _explained(position: int, recommendation: Recommendation) -> Iterator[Topic]:
    """Tell the strongest part first, the others behind it."""
    for at, fact in enumerate(plain.by_weight(recommendation)[:3]):
        kind = "also" if at else "because"
        clause = {"item": f"[{position}]", "clause": plain.clause(fact)}
        yield Topic(
            group=fact.kind,
            forms=((f"explain.{kind}", clause), fact_form(fact, position)),
            starts=at == 0,
            follows=at > 0,
        )


def fact_form(fact: Fact, position: int) -> tuple[str, Mapping[str, Any]]:
    """Give the kind of wording that tells a fact about the item at a position, and its values."""
    kind = fact.kind
    if kind == "attribute" and fact.words[0] == "brand":
        kind, fact = "brand_tier", replace(fact, words=fact.words[1:])
    if kind == "under_price" and not fact.amount:
        kind = "at_limit"
    elif kind == "bought_times" and fact.count in (1, 2):
        kind = {1: "bought_once", 2: "bought_twice"}[fact.count]
    values = {
        "item": f"[{position}]",
        "count": fact.count,
        "of": fact.of,
        "amount": money(fact.amount) if fact.amount is not None else None,
        "limit": money(fact.limit) if fact.limit is not None else None,
        "words": plain.promoted(fact) if kind == "promotion" else _short(fact),
        "name": fact.words[0] if fact.words else None,
        "value": fact.words[-1].lower() if fact.words else None,
    }
    return f"fact.{kind}", {name: value for name, value in values.items() if value is not None}


def _short(fact: Fact) -> str | None:
    if not fact.words:
        return None
    if fact.kind == "matches":
        return " ".join(fact.words)
    if fact.kind == "brand_tier":
        return plain.tier(fact.words[0])
    return fact.words[0].split(",")[0].lower() if fact.item_id else fact.words[0].lower()


def filled(wording: str, values: Mapping[str, Any]) -> str | None:
    """Fill a wording, its first letter in upper case; None where it has a slot without a value.

    >>> filled("{item} costs {price}.", {"item": "[1]", "price": "$2"}), filled("for {limit}", {})
    ('[1] costs $2.', None)
    """
    try:
        text = wording.format_map(values)
    except KeyError:
        return None
    return text[:1].upper() + text[1:]
