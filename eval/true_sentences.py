"""True sentences about real lists, for testing what checks sentences: our wordings, and others as a model might say it.

Lists come from the tools themselves, for real shoppers and new ones, and every sentence tells a recorded fact of a row.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from agent import plain
from agent.context import Turn, money
from agent.conversation import Message, ToolCall
from agent.grounding import Spoken, readable
from agent.limits import Limits
from agent.store import Memory
from agent.turn import Work, act, keep, plain_sentences, spoken_of
from agent.wordings import fact_form, filled, load_replies
from retrieval.quantity import item_quantity
from retrieval.records import Fact, Recommendation

if TYPE_CHECKING:
    from retrieval.shop import Shop


FRAMES = "frames"
_PLACES = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
_LOOKS: tuple[Mapping[str, Any], ...] = (
    {"name": "lookup_catalog", "positions": [1]},
    {"name": "lookup_catalog", "positions": [1, 2]},
    {"name": "lookup_catalog", "positions": [2, 3]},
    {"name": "explain", "position": 2},
    {"name": "similar_items", "position": 1},
    {"name": "similar_items", "position": 2, "than": "cheaper"},
    {"name": "similar_items", "position": 1, "than": "dearer"},
    {"name": "similar_items", "position": 1, "than": "bigger"},
    {"name": "similar_items", "position": 2, "than": "smaller"},
    {"name": "goes_with", "position": 1},
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Talked:
    """What one turn may speak of, and the same as the log has it for the grader."""

    spoken: Spoken
    evidence: Mapping[str, Any]
    previous: tuple[str, ...]
    message: str
    sentences: tuple[str, ...]  # code's own


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Truth:
    """A true sentence, items as [1]: the fact that it tells of the row at `position`, and whose wording it is.

    `told` is what the wording was filled with; `bank` is "ours" or "other".
    """

    sentence: str
    talked: Talked
    kind: str
    bank: str
    position: int = 0
    fact: Fact | None = None
    told: Mapping[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """Give the sentence as the shopper reads it."""
        return readable(self.sentence, self.talked.spoken.rows)


@cache
def load_phrasings() -> Mapping[str, tuple[str, ...]]:
    """Read the other wordings, by the fact that they tell."""
    out: dict[str, list[str]] = {}
    kind = ""
    for line in (Path(__file__).parent / "phrasings.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("> "):
            kind = line[2:].strip()
        elif line.strip() and not line.startswith("#"):
            out.setdefault(kind, []).append(line.strip())
    return {kind: tuple(lines) for kind, lines in out.items()}


def talks(shop: Shop, *, count: int, rng: Random) -> Iterator[Talked]:
    """Make `count` lists with the shop's own tools, and look closer at each in two ways.

    Three shoppers in four are drawn from the log; bounds, tiers, orders, a cart and a like come by chance.
    """
    items = [item for item in shop.catalog.items.values() if not item.age_restricted and item.price]
    users = list(shop.history.users)
    for _ in range(count):
        user_id = rng.choice(users) if rng.random() < 0.75 else None
        cart = tuple(
            (item.item_id, rng.randint(1, 3)) for item in rng.sample(items, min(rng.randint(0, 3), len(items)))
        )
        arguments = _asked(shop, items, user_id, rng)
        listed = _taken(shop, [arguments], user_id=user_id, cart=cart)
        if not listed.shown:
            continue
        yield _talked(listed)
        liked = tuple(r.item.item_id for r in rng.sample(listed.shown, 1))
        yield _talked(_taken(shop, [arguments], user_id=user_id, cart=cart, liked=liked))
        for look in rng.sample(_LOOKS, 3):
            if max([*look.get("positions", ()), look.get("position", 0)]) > len(listed.shown):
                continue
            looked = _taken(shop, [look], user_id=user_id, cart=cart, before=listed)
            if looked.new_list or looked.looked is not None:
                yield _talked(looked)


def _asked(shop: Shop, items: list[Any], user_id: str | None, rng: Random) -> dict[str, Any]:
    """Draw what is asked for: most often a search for some item's name, else a proposal."""
    item = rng.choice(items)
    bound = rng.random()
    if rng.random() < 0.25:
        return {"name": "recommend"} | rng.choice(
            ({}, {"bought": "new"}, {"bought": "again"} if user_id else {}, {"max_price": float(rng.randint(2, 8))})
        )
    out: dict[str, Any] = {"name": "search_catalog", "query": plain.short_title(item).lower()[:60]}
    if bound < 0.35:
        out["max_price"] = round(item.price * rng.uniform(1.0, 1.6), rng.choice((0, 1, 2))) or 1.0
    elif bound < 0.45:
        out["min_price"] = max(0.5, round(item.price * rng.uniform(0.5, 0.9), 1))
    if rng.random() < 0.12:
        out["brand"] = rng.choice(("store brand", "name brand"))
    if rng.random() < 0.1:
        out["sort"] = "cheapest"
    return out


def _taken(
    shop: Shop,
    asked: list[Mapping[str, Any]],
    *,
    user_id: str | None,
    cart: tuple[tuple[str, int], ...] = (),
    liked: tuple[str, ...] = (),
    before: Work | None = None,
) -> Work:
    """Take a turn with these calls planned; no model, nothing kept."""
    calls = [ToolCall(name=one["name"], arguments={k: v for k, v in one.items() if k != "name"}) for one in asked]
    message = " and ".join(str(one.get("query", "something for me")) for one in asked)
    turn = Turn(
        shop=shop,
        limits=Limits(),
        user_id=user_id,
        message=message,
        shown=tuple(before.shown) if before else (),
        request=before.requests[0] if before and before.requests else None,
        cart=cart,
        memories=(Memory(memory_id=1, kind="like", text="it", item_ids=liked),) if liked else (),
    )
    nothing: Any = None  # the store: `act` and `keep` write none
    work = Work(
        turn=turn,
        model=None,
        store=nothing,
        owner="",
        history=(),
        calls=calls,
        user_message=Message(role="user", content=message),
    )
    act(work, lambda _event: None)
    return work


def _talked(work: Work) -> Talked:
    keep(work, lambda _event: None)
    return Talked(
        spoken=spoken_of(work),
        evidence=work.kept["messages"][-1].evidence,
        previous=tuple(r.item.item_id for r in work.turn.shown),
        message=work.turn.message,
        sentences=tuple(plain_sentences(work)),
    )


def truths(talked: Talked, rng: Random) -> Iterator[Truth]:
    """Word every fact of every row: once as we do, twice as a model might; and what the rows are to each other."""
    rows = {place: row for place, row in talked.spoken.rows.items() if place}
    if not rows:
        return
    for position, row in rows.items():
        price = {"price": plain.price_text(row.item)} if row.item.price is not None else {}
        for fact in row.facts:
            form, values = fact_form(fact, position)
            kind = form.removeprefix("fact.")
            yield from _worded(talked, kind, form, {**values, **price}, rng, position=position, fact=fact)
        if price:
            values = {"item": f"[{position}]", **price}
            yield from _worded(talked, "price", "details.price", values, rng, position=position)
        values = {"item": f"[{position}]", "place": position, "ordinal": _PLACES[position - 1]}
        yield from _worded(talked, "place", "", values, rng, position=position)
        told = plain.strongest(row, limit=3)
        if told:
            values = {"item": f"[{position}]", "clause": plain.clause(told[0])}
            yield from _worded(talked, "why", "explain.because", values, rng, position=position, fact=told[0])
        if len(told) > 1:
            both = f"{plain.clause(told[0])} and {plain.clause(told[1])}"
            values = {"item": f"[{position}]", "clause": both}
            yield from _worded(talked, "why two", "explain.because", values, rng, position=position, fact=told[1])
    yield from _compared(talked, rows, rng)
    if len(rows) > 1 and 0 not in talked.spoken.rows and talked.spoken.labels:
        count = {"count": len(rows), "label": " and ".join(label for label in talked.spoken.labels if label)}
        yield from _worded(talked, "list_count", "list.many_plain", count, rng)
    for sentence in talked.sentences:
        yield Truth(sentence=sentence, talked=talked, kind="plain", bank="ours")


def _compared(talked: Talked, rows: Mapping[int, Recommendation], rng: Random) -> Iterator[Truth]:
    """Set two rows against each other: prices, and sizes where they are of one unit."""
    priced = [place for place, row in rows.items() if row.item.price is not None]
    if len(priced) < 2:
        return
    low, high = sorted(rng.sample(priced, 2), key=lambda place: rows[place].item.price or 0)
    one, other = rows[low].item.price or 0.0, rows[high].item.price or 0.0
    values = {
        "item": f"[{low}]",
        "other": f"[{high}]",
        "amount": money(round(other - one, 2)),
        "price": money(one),
        "price2": money(other),
    }
    kinds = ("same",) if one == other else ("cheaper", "prices")
    for kind in kinds:
        form = "compare.same_price" if kind == "same" and len(rows) == 2 else f"compare.{kind}"
        yield from _worded(talked, f"compare_{kind}", form, values, rng, position=low)
    sizes = {place: item_quantity(row.item) for place, row in rows.items()}
    first, second = sizes[low], sizes[high]
    if first and second and first.unit == second.unit and first.amount != second.amount and len(rows) == 2:
        big, small = (low, high) if first.amount > second.amount else (high, low)
        values = {"item": f"[{big}]", "other": f"[{small}]"}
        yield from _worded(talked, "compare_bigger", "compare.bigger", values, rng, position=big)


def _worded(
    talked: Talked,
    kind: str,
    form: str,
    values: Mapping[str, Any],
    rng: Random,
    *,
    position: int = 0,
    fact: Fact | None = None,
) -> Iterator[Truth]:
    made = Truth(sentence="", talked=talked, kind=kind, bank="ours", position=position, fact=fact, told=values)
    own = load_replies().get(form, ())
    if own and (sentence := filled(rng.choice(own), values)):
        yield replace(made, sentence=sentence)
    other = load_phrasings().get(kind, ())
    for at in rng.sample(range(len(other)), min(2, len(other))):
        sentence = _framed(other[at], values, rng)
        if sentence:
            yield replace(made, sentence=sentence, bank="other")


def _framed(wording: str, values: Mapping[str, Any], rng: Random) -> str | None:
    """Fill a wording and set it into a frame: alone half of the time."""
    if "item" in values and rng.random() < 0.3:
        values = {
            **values,
            "item": rng.choice(("item {0}", "the one at {0}", "number {1}, {0},")).format(
                values["item"], values["item"].strip("[]")
            ),
        }
    sentence = filled(wording, values)
    if sentence is None:
        return None
    sentence = sentence.replace(",,", ",").removesuffix(",")
    low = sentence if sentence.startswith("I ") else sentence[0].lower() + sentence[1:]
    frame = "{S}." if rng.random() < 0.5 else rng.choice(load_phrasings()[FRAMES])
    framed = frame.format(s=low, S=sentence)
    return framed[0].upper() + framed[1:]
