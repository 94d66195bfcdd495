"""An agenda-based simulated shopper (after Schatzmann et al., 2007): a hidden wish, and what it says to get there.

The wish is made of real attributes of one item of the shopper's next basket, but the shopper holds neither that
item's id nor its title; it reads what a person reads (the cards' titles and prices, and the reply's words), answers
truthfully, says what the shown items break, takes an item that keeps to the whole wish, or leaves.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from random import Random
from typing import Any, Literal

from eval.shopper_words import (
    ANSWERS,
    BROAD_OPENERS,
    CLAUSES,
    NO_MATTER,
    NONE_OF_THEM,
    OPENERS,
    OTHERS,
    REFINEMENTS,
    REMINDERS,
    REWORDED,
    WRONG_THING,
)
from retrieval.kinds import also_called
from retrieval.quantity import same_size
from retrieval.records import Item
from retrieval.wish import contains, stems

DETAILS = ("max_price", "tier", "size", "without")
LOOKED_AT = 5  # cards of a list that a shopper reads
PATIENCE = {3: 1, 4: 2, 5: 3}  # messages a shopper is ready to send, to how often
PICKINESS = {0: 1, 1: 2, 2: 2}  # details a wish has, to how often
KNOWLEDGE = {0.3: 1, 0.6: 2, 0.9: 2}  # chance that each thing of the wish is said at once and by its name
BOUNDS = (0.5, 1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 40, 50, 75, 100)  # dollars people think in
UNSAID = {
    "other",
    "others",
    "assorted",
    "basic",
    "regular",
    "single",
    "several",
    "mainstream",
}  # no one's reason to refuse
PLAIN_SIZE = re.compile(
    r"(\d+(\.5)? x )?(\d+(\.5)?|1/2) (oz|fl oz|lb|gallons?|litres?|count|pack|pieces|rolls?|loads?)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What a person reads of a shown item; `price` in the shop's currency."""

    title: str
    price: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A reply as a person sees it: the cards, best first, and the words."""

    cards: tuple[Card, ...] = ()
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """The hidden wish: a kind of thing, and at most two details; never an item's id or title.

    `kind` is the first piece of a title, in lower case; `name` what this shopper calls it at first, which may be an
    everyday name or, where `broad`, the shelf that it stands on; the details are a price that it may cost at most, a brand
    tier, a size as cards write it, and a word that must not be on the card.
    """

    kind: str
    name: str
    broad: bool = False
    max_price: float | None = None
    tier: Literal["store brand", "name brand"] | None = None
    size: str | None = None
    without: str | None = None

    @property
    def details(self) -> tuple[str, ...]:
        """Name the details that the wish has."""
        return tuple(name for name in DETAILS if getattr(self, name) is not None)

    @property
    def parts(self) -> tuple[str, ...]:
        """Name everything the wish asks for."""
        return ("thing", *self.details)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shopper:
    """A simulated shopper: the hidden wish and the traits that decide how it is told.

    `patience` is how many messages it is ready to send, `knowledge` how likely it tells each part of the wish at once.
    """

    shopper_id: str
    need: Need
    user_id: str | None = None
    patience: int = 5
    knowledge: float = 0.6


@dataclass(frozen=True, slots=True, kw_only=True)
class Mind:
    """What a shopper remembers of a talk: parts of the wish said, cards seen, parts asked about, patience spent."""

    said: frozenset[str] = frozenset()
    seen: frozenset[Card] = frozenset()
    asked: frozenset[str] = frozenset()
    spent: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """What a shopper does next: say `text`, take the card at `position` (from 1), or leave.

    `question` names the part of the wish that the reply asked about ("" for none), `needless` says that it was known.
    """

    kind: Literal["say", "accept", "leave"]
    text: str = ""
    position: int = 0
    question: str = ""
    needless: bool = False


# The wish


def kind_name(title: str) -> str:
    """Name the kind of thing that a title is of: its first piece without what is in brackets.

    >>> kind_name("Baby lotion (or oil), 15 oz"), kind_name("Tofu")
    ('baby lotion', 'tofu')
    """
    return re.sub(r"\s*\([^)]*\)", "", title.split(", ")[0]).strip().lower()


def broken_parts(need: Need, card: Card) -> tuple[str, ...]:
    """Name the parts of a wish that a card breaks, read off its title and price alone.

    >>> need = Need(kind="frozen pizza", name="pizza", max_price=3, tier="store brand", without="premium")
    >>> broken_parts(need, Card(title="Frozen pizza, premium, 12 oz, store brand", price=3.5))
    ('max_price', 'without')
    >>> broken_parts(need, Card(title="Pizza sauce, 12 oz", price=None))
    ('thing', 'max_price', 'tier')
    """
    out = []
    wanted, held = stems(need.kind), stems(kind_name(card.title))
    if held[-len(wanted) :] != wanted:
        out.append("thing")
    if need.max_price is not None and (card.price is None or card.price > need.max_price + 1e-9):
        out.append("max_price")
    if need.tier is not None and tier_of(card.title) != need.tier:
        out.append("tier")
    if need.size is not None and not any(same_size(need.size, piece) for piece in card.title.split(", ")[1:]):
        out.append("size")
    if need.without is not None and contains(card.title, need.without):
        out.append("without")
    return tuple(out)


def tier_of(title: str) -> str:
    """Read the brand tier off a title: a shop's own brand says so, everything else is a name brand."""
    return "store brand" if "store brand" in title.lower() else "name brand"


def shelves(items: Iterable[Item]) -> dict[str, list[Item]]:
    """Put the items of a shop by kind; age-restricted ones are nothing that a simulated shopper asks for."""
    out: dict[str, list[Item]] = {}
    for item in items:
        if not item.age_restricted:
            out.setdefault(kind_name(item.title), []).append(item)
    return out


def make_need(item: Item, *, shelf: Sequence[Item], details: int, knowledge: float, rng: Random) -> Need:
    """Make a wish out of an item's real attributes; `shelf` holds the items of its kind.

    A detail is one that the item keeps to and something else on the shelf breaks, so that it tells items apart.
    """
    kind = kind_name(item.title)
    bare = Need(kind=kind, name=kind)
    card = Card(title=item.title, price=item.price)
    cards = [Card(title=other.title, price=other.price) for other in shelf]
    telling: list[dict[str, Any]] = []
    for name, value in _details(item, cards, rng):
        need = replace(bare, **{name: value})
        if not broken_parts(need, card) and any(broken_parts(need, other) for other in cards):
            telling.append({name: value})
    chosen = rng.sample(telling, min(details, len(telling)))
    name, broad = _called(item, kind, knowledge=knowledge, rng=rng)
    return replace(bare, name=name, broad=broad, **{key: value for one in chosen for key, value in one.items()})


def _details(item: Item, cards: Sequence[Card], rng: Random) -> list[tuple[str, Any]]:
    pieces = item.title.split(", ")[1:]
    out: list[tuple[str, Any]] = [("tier", tier_of(item.title))]
    if item.price is not None:
        least = item.price * rng.uniform(1.0, 1.4)
        out += [("max_price", float(bound)) for bound in BOUNDS if bound >= least][:1]
    out += [("size", piece) for piece in pieces if PLAIN_SIZE.fullmatch(piece)][:1]
    words = sorted(
        {piece for card in cards for piece in card.title.split(", ")[1:] if re.fullmatch("[a-z-]{4,}", piece)}
    )
    unwanted = [word for word in words if word not in UNSAID and not contains(item.title, word)]
    if unwanted:
        out.append(("without", rng.choice(unwanted)))
    return out


def _called(item: Item, kind: str, *, knowledge: float, rng: Random) -> tuple[str, bool]:
    """Choose what a shopper calls the thing at first, and whether that is only the shelf it stands on."""
    if rng.random() < knowledge:
        return kind, False
    names = [name.lower() for name in also_called(item.description) if len(name) < 25]
    shelf = item.categories[-1].lower() if item.categories else ""
    if names and (not shelf or rng.random() < 0.6):
        return rng.choice(names), False
    known = not shelf or stems(shelf) == stems(kind) or shelf.startswith(("more ", "other "))
    return (kind, False) if known else (shelf, True)


def draw_shopper(item: Item, *, shelf: Sequence[Item], shopper_id: str, user_id: str | None, rng: Random) -> Shopper:
    """Draw a shopper who wants something such as this item; the same `rng` gives the same shopper."""
    knowledge = _drawn(KNOWLEDGE, rng)
    need = make_need(item, shelf=shelf, details=int(_drawn(PICKINESS, rng)), knowledge=knowledge, rng=rng)
    return Shopper(
        shopper_id=shopper_id, need=need, user_id=user_id, patience=int(_drawn(PATIENCE, rng)), knowledge=knowledge
    )


def _drawn(weights: Mapping[Any, int], rng: Random) -> Any:
    return rng.choices(list(weights), list(weights.values()))[0]


# The talk


def open_talk(shopper: Shopper, *, rng: Random) -> tuple[Mind, str]:
    """Say what is needed, as far as this shopper knows to say it."""
    need = shopper.need
    known = [name for name in need.details if rng.random() < shopper.knowledge]
    said = frozenset([*known, *(["thing"] if need.name == need.kind else [])])
    template = rng.choice(BROAD_OPENERS if need.broad else OPENERS)
    return Mind(said=said), _worded(template, need, thing=need.name, told=known, rng=rng)


def respond(shopper: Shopper, mind: Mind, seen: Seen, *, rng: Random) -> tuple[Mind, Move]:
    """Answer a reply: take what fits the whole wish, answer a question, say what is wrong, or leave.

    Patience goes with every message, and once more with a list of nothing new or a question about what was said.
    """
    need = shopper.need
    cards = seen.cards[:LOOKED_AT]
    question = asked_about(seen.text)
    open_ended = question == "thing" and ":" not in seen.text
    needless = bool(question) and (open_ended or question in mind.said or question in mind.asked)
    for position, card in enumerate(cards, start=1):
        if not broken_parts(need, card):
            return mind, Move(kind="accept", position=position, question=question, needless=needless)
    stale = bool(cards) and mind.seen.issuperset(cards)
    spent = mind.spent + 1 + int(needless or stale)
    asked = mind.asked | ({question} if question else frozenset())
    mind = replace(mind, spent=spent, seen=mind.seen | frozenset(cards), asked=asked)
    if spent > shopper.patience:
        return mind, Move(kind="leave", question=question, needless=needless)
    if question and (not cards or question not in mind.said):
        said, text = _answer(need, mind, seen.text, question, rng=rng)
    elif cards:
        said, text = _refine(need, mind, cards, rng=rng)
    else:
        said, text = "thing", _worded(rng.choice(REWORDED), need, told=_told(mind, need), rng=rng)
    mind = replace(mind, said=mind.said | ({said} if said in need.parts else frozenset()))
    return mind, Move(kind="say", text=text, question=question, needless=needless)


ASKED = (
    ("thing", re.compile(r"\b(what|which) (kind|type|sort)s?\b", re.I)),
    ("max_price", re.compile(r"\b(price|budget|spend|how much (can|may|would|do)|costs?|expensive)\b", re.I)),
    ("tier", re.compile(r"\bbrands?\b", re.I)),
    ("size", re.compile(r"\b(sizes?|how (big|large|many)|pack)\b", re.I)),
    ("without", re.compile(r"\b(avoid|without|leave out|allerg\w*|exclude)\b", re.I)),
    ("thing", re.compile(r"\b(what|which|looking for|need)\b", re.I)),
)


OFFER = re.compile(r"\b(else|anything|another|more|help)\b", re.I)


def asked_about(text: str) -> str:
    """Name the part of a wish that a reply's last sentence asks about; "" where it asks for none, as "what else?" does.

    >>> asked_about("What kind of pizza: frozen pizza or pizza sauce?"), asked_about("Which brand do you like?")
    ('thing', 'tier')
    >>> asked_about("Here are 5 items."), asked_about("Here you are. What else do you need?")
    ('', '')
    """
    last = re.split(r"(?<=[.!?])\s+", text.strip())[-1]
    if not last.endswith("?"):
        return ""
    part = next((part for part, words in ASKED if words.search(last)), "")
    return "" if part == "thing" and ":" not in last and OFFER.search(last) else part


def _answer(need: Need, mind: Mind, text: str, part: str, *, rng: Random) -> tuple[str, str]:
    told = _told(mind, need)
    if part == "thing":
        options = text.rsplit(":", 1)[-1] if ":" in text else ""
        offered = not options or contains(options, need.kind)
        template = rng.choice(ANSWERS["thing"] if offered else NONE_OF_THEM)
        return part, _worded(template, need, told=told, rng=rng)
    if getattr(need, part) is None:
        return part, _worded(rng.choice(NO_MATTER[part]), need, thing=_thing(mind, need), told=told, rng=rng)
    template = rng.choice(ANSWERS[part])
    return part, _worded(template, need, thing=_thing(mind, need), detail=part, rng=rng)


def _refine(need: Need, mind: Mind, cards: Sequence[Card], *, rng: Random) -> tuple[str, str]:
    """Say the part that the nearest cards break most, what was not said yet first."""
    breaks = [broken_parts(need, card) for card in cards]
    nearest = [parts for parts in breaks if len(parts) == min(map(len, breaks))]
    counts = {part: sum(part in parts for parts in nearest) for part in need.parts}
    fresh = [part for part in need.parts if counts[part] and part not in mind.said]
    part = max(fresh or [part for part in need.parts if counts[part]], key=lambda one: counts[one])
    told = _told(mind, need)
    if part == "thing":
        template = rng.choice(OTHERS if part in mind.said and rng.random() < 0.3 else WRONG_THING)
        return part, _worded(template, need, told=told, rng=rng)
    template = rng.choice(REMINDERS if part in mind.said else REFINEMENTS[part])
    return part, _worded(template, need, thing=_thing(mind, need), detail=part, rng=rng)


def _told(mind: Mind, need: Need) -> list[str]:
    return [name for name in need.details if name in mind.said]


def _thing(mind: Mind, need: Need) -> str:
    return need.kind if "thing" in mind.said else need.name


def _worded(
    template: str, need: Need, *, rng: Random, thing: str = "", detail: str = "", told: Sequence[str] = ()
) -> str:
    said = "".join(f", {_clause(need, name, rng=rng)}" for name in told)
    clause = _clause(need, detail, rng=rng) if detail else ""
    return template.format(thing=thing or need.kind, detail=clause, said=said)


def _clause(need: Need, part: str, *, rng: Random) -> str:
    value = getattr(need, part)
    if part == "max_price":
        return rng.choice(CLAUSES[part]).format(value=_money(value, rng))
    return rng.choice(CLAUSES[value if part == "tier" else part]).format(value=value)


def _money(amount: float, rng: Random) -> str:
    if amount != int(amount):
        return f"${amount:.2f}"
    return rng.choice((f"${amount:.0f}", f"{amount:.0f} dollars", f"{amount:.0f} bucks"))


# What is kept of a shopper


def need_to_json(need: Need) -> dict[str, Any]:
    """Turn a wish into a JSON object, leaving empty fields out."""
    return {name: value for name, value in asdict(need).items() if value not in (None, False)}


def need_from_json(record: Mapping[str, Any]) -> Need:
    """Read a wish that `need_to_json` wrote."""
    return Need(**record)
