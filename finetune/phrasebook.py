"""The bank of phrasings: how people type what they want, and the plan that each phrasing means.

The bank is text, one file a kind, in `finetune/phrases/`:

    # A comment: what the file is about.
    # needs: nothing
    > search_catalog(query={thing}, max_price={price})
    need {a_thing} under {price}
    [any|some] {thing} for less than {price}?

`needs` says what must have happened before the phrases below make sense (`NEEDS`).
A line after `>` is a plan (calls joined with ` + `) and holds for the lines below it. `{slot}` is filled by
`Phrase.fill`, `[a|b|]` is one of its parts at random. A line may end in ` => words`, which fill `{meant}`
in the plan (` => words | words` fill `{meant}` and `{meant2}`): what the line means without saying it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from random import Random
from typing import Any

from agent.conversation import ToolCall
from finetune.spoken import (
    plural,
    speak_brand,
    speak_ordinal,
    speak_position,
    speak_positions,
    speak_price,
    speak_quantity,
    speak_size,
    with_article,
)

SLOTS: Mapping[str, str] = {
    "thing": "what is wanted, in everyday words without an article: milk, frozen pizza",
    "a_thing": "the same with an article or 'some', made from `thing`",
    "things": "the same in the plural, made from `thing`",
    "price": "an amount of money, spoken",
    "brand": "a brand or brand tier, spoken: store brand, generic",
    "size": "a size, spoken: 12 oz, gallon",
    "quality": "a word that must be on the item, as an adjective: organic, decaf",
    "ingredient": "a word that must be on the item, as a noun: raisins",
    "without": "an unwanted thing, as a noun: peanuts",
    "unquality": "an unwanted quality, as an adjective: spicy",
    "position": "one shown item: the second one, #2",
    "ordinal": "the same as an adjective: second, 2nd, last",
    "digit": "the same as a bare digit, made from `position`",
    "positions": "several shown items: the first two, 1 and 3",
    "all": "never spoken: the positions of all shown items",
    "it": "never spoken: the position of the item that was talked about last",
    "name": "an item that was shown, by (part of) its name",
    "other": "an item or kind that was not shown",
    "quantity": "how many of it, spoken: two, 2",
    "option": "one of the answers that a question back offered, whole or by the words that set it apart",
}
"""The slots of the bank. A slot with a digit after it (`thing2`) is a further one of the same sort."""

STORIED = frozenset(
    [
        "search",
        "max_price",
        "min_price",
        "between",
        "sort",
        "brand",
        "size",
        "with_words",
        "without",
        "combo",
        "several",
        "deals",
    ]
)
"""Kinds of phrases that people wrap in a story."""

UNSPOKEN = ("all", "it")
FIRST = ("nothing", "start")
NEEDS = (*FIRST, "list", "focus", "cart", "memory", "explained", "detailed", "added", "asked")
"""What must have gone before: nothing ("start": and nothing may have; "the usual" after a list is the usual one of it),
a list shown, one item of it talked about, a filled cart, something remembered, or that the message before asked why,
asked about an item, changed the cart, or was asked back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoken:
    """A slot's value said in other words than the plan has it: "pop" for the query "soda"."""

    text: str
    value: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Filled:
    """What a shopper types, and the plan it means."""

    text: str
    calls: tuple[ToolCall, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Phrase:
    """One phrasing with its slots still open."""

    kind: str
    text: str
    calls: tuple[ToolCall, ...]
    needs: str = "nothing"
    line: int = 0

    @property
    def slots(self) -> tuple[str, ...]:
        """Name the values that `fill` wants, in the order they are first used."""
        names = slots_in(self.text) + tuple(name for call in self.calls for name in _slots_of(call.arguments))
        return tuple(dict.fromkeys(value_name(name) for name in names))

    def fill(self, values: Mapping[str, Any], rng: Random, *, count: int | None = None, story: float = 0.12) -> Filled:
        """Speak each slot's value and put the value itself in the plan.

        A value is what the plan should hold (5, "milk", [1, 3]) or a `Spoken` when the words differ from it.
        `count` is how many items are shown, so that "the last one" can be said. `story` is the chance that a need
        is wrapped in something told around it ("we have guests on saturday, ...").

        >>> book = load_phrases()
        >>> phrase = Phrase(kind="x", text="need {a_thing}", calls=(ToolCall(name="t", arguments={"query": "{thing}"}),))
        >>> phrase.fill({"thing": "frozen pizza"}, Random(0)).text
        'need a frozen pizza'

        Raises:
            KeyError: when a slot has no value.
        """
        held = {name: value.value if isinstance(value, Spoken) else value for name, value in values.items()}
        said = choose(self.text, rng)
        said = re.sub(r"\{(\w+)\}", lambda match: _speak(match[1], values, rng, count), said)
        calls = tuple(ToolCall(name=call.name, arguments=_put(call.arguments, held)) for call in self.calls)
        if self.kind in STORIED and rng.random() < story:
            said = _tell(said, rng)
        return Filled(text=tidy(said), calls=calls)


@dataclass(frozen=True, slots=True, kw_only=True)
class Phrasebook:
    """All phrases, by kind."""

    phrases: Mapping[str, tuple[Phrase, ...]]
    about: Mapping[str, str] = field(default_factory=dict)

    @property
    def kinds(self) -> tuple[str, ...]:
        """Name the kinds, in alphabetical order."""
        return tuple(sorted(self.phrases))

    def sample(self, kind: str, rng: Random, *, where: Callable[[Phrase], bool] | None = None) -> Phrase:
        """Draw one phrase of a kind, of those for which `where` holds.

        Raises:
            LookupError: when there is none.
        """
        open_to = [phrase for phrase in self.phrases[kind] if where is None or where(phrase)]
        if not open_to:
            raise LookupError(f"no phrase of kind {kind} as wanted")
        return rng.choice(open_to)

    def __iter__(self) -> Iterator[Phrase]:
        """Go through all phrases."""
        return (phrase for kind in self.kinds for phrase in self.phrases[kind])


@cache
def load_phrases() -> Phrasebook:
    """Read the bank.

    >>> book = load_phrases()
    >>> "search" in book.kinds and len(book.phrases["search"]) > 50
    True
    """
    phrases: dict[str, tuple[Phrase, ...]] = {}
    about: dict[str, str] = {}
    for name, text in _texts("phrases"):
        phrases[name], about[name] = parse_phrases(text, kind=name)
    return Phrasebook(phrases=phrases, about=about)


@cache
def load_lists(name: str) -> dict[str, tuple[str, ...]]:
    """Read a word list of `finetune/phrases/lists/`: a head word and the words that belong to it.

    >>> "pop" in load_lists("things")["soda"]
    True
    """
    out: dict[str, tuple[str, ...]] = {}
    for line in files("finetune").joinpath("phrases", "lists", f"{name}.txt").read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            head, _, rest = line.partition(":")
            out[head.strip()] = tuple(word.strip() for word in rest.split(",") if word.strip())
    return out


@cache
def _stories() -> dict[str, tuple[str, ...]]:
    lines = files("finetune").joinpath("phrases", "lists", "stories.txt").read_text(encoding="utf-8").splitlines()
    pairs = (line.split(": ", 1) for line in lines if not line.startswith("#"))
    return {side: tuple(part.strip() for part in rest.split(";")) for side, rest in pairs}


def _tell(said: str, rng: Random) -> str:
    """Put a story before or behind what is said; it may name things that are not what is wanted."""
    side = "before" if rng.random() < 0.6 else "after"
    told = rng.choice(_stories()[side])
    told = re.sub(r"\{other\}", lambda _: rng.choice(list(load_lists("things"))), told)
    if side == "before":
        return f"{told} {said}"
    return re.sub(r"[?!.]+$", "", said) + rng.choice((", ", " ", ". ")) + told


def parse_phrases(text: str, *, kind: str) -> tuple[tuple[Phrase, ...], str]:
    r"""Read one file of the bank: its phrases, and the comment that says what it is.

    >>> parse_phrases("# Needs.\n> search_catalog(query={meant})\nmy cat is hungry => cat food", kind="x")[0][0].calls
    (ToolCall(name='search_catalog', arguments={'query': 'cat food'}),)

    Raises:
        ValueError: naming the line that cannot be read.
    """
    calls: tuple[ToolCall, ...] | None = None
    needs = "nothing"
    about: list[str] = []
    out: list[Phrase] = []
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.strip()
        if line.startswith("# needs:"):
            needs = line.removeprefix("# needs:").strip()
        elif line == "#" or line.startswith("# "):
            about.append(line[1:].strip())
        elif line.startswith("> "):
            calls = parse_plan(line[2:], where=f"{kind}.txt, line {number}")
        elif line:
            if calls is None:
                raise ValueError(f"{kind}.txt, line {number}: a phrase before any plan")
            said, _, meant = line.partition(" => ")
            meanings = [part.strip() for part in meant.split(" | ")] if meant else []
            held: dict[str, Any] = {f"meant{at if at > 1 else ''}": words for at, words in enumerate(meanings, start=1)}
            plan = tuple(ToolCall(name=call.name, arguments=_put(call.arguments, held, partly=True)) for call in calls)
            if any(name.startswith("meant") for call in plan for name in _slots_of(call.arguments)):
                raise ValueError(f'{kind}.txt, line {number}: the plan wants " => " and what is meant')
            out.append(Phrase(kind=kind, text=said.strip(), calls=plan, needs=needs, line=number))
    return tuple(out), " ".join(about)


def parse_plan(text: str, *, where: str = "plan") -> tuple[ToolCall, ...]:
    """Read calls joined with ` + `.

    >>> parse_plan('search_catalog(query={thing}, without=[{without}]) + chat(topic="hello")')[0].arguments
    {'query': '{thing}', 'without': ['{without}']}

    Raises:
        ValueError: when it is not a plan.
    """
    calls = []
    for part in text.split(" + "):
        match = re.fullmatch(r"(\w+)\((.*)\)", part.strip())
        if match is None:
            raise ValueError(f"{where}: not a call: {part!r}")
        rest = re.sub(r'"[^"]*"|\{(\w+)\}', lambda found: f'"{{{found[1]}}}"' if found[1] else found[0], match[2])
        arguments: dict[str, Any] = {}
        while rest.strip(" ,"):
            key = re.match(r"[ ,]*(\w+)=", rest)
            if key is None:
                raise ValueError(f"{where}: expected name=value at {rest!r}")
            value, end = json.JSONDecoder().raw_decode(rest[key.end() :])
            arguments[key[1]] = value
            rest = rest[key.end() + end :]
        calls.append(ToolCall(name=match[1], arguments=arguments))
    return tuple(calls)


def slots_in(text: str) -> tuple[str, ...]:
    """Name the slots of a text, in order.

    >>> slots_in("{thing} under {price}")
    ('thing', 'price')
    """
    return tuple(re.findall(r"\{(\w+)\}", text))


def value_name(slot: str) -> str:
    """Name the value that a slot is spoken from.

    >>> value_name("a_thing2"), value_name("digit"), value_name("price")
    ('thing2', 'position', 'price')
    """
    stem, number = _split(slot)
    return {"a_thing": "thing", "things": "thing", "ordinal": "position", "digit": "position"}.get(stem, stem) + number


def choose(text: str, rng: Random) -> str:
    """Settle every `[a|b|]` of a text at random.

    >>> choose("[any|any] milk[|]", Random(0))
    'any milk'
    """
    while found := re.search(r"\[([^\[\]]*\|[^\[\]]*)\]", text):
        text = text[: found.start()] + rng.choice(found[1].split("|")) + text[found.end() :]
    return text


def expansions(text: str) -> Iterator[str]:
    """Go through all ways to settle every `[a|b|]`.

    >>> list(expansions("[any|some] milk[?|]"))
    ['any milk?', 'any milk', 'some milk?', 'some milk']
    """
    found = re.search(r"\[([^\[\]]*\|[^\[\]]*)\]", text)
    if found is None:
        yield tidy(text)
        return
    for part in found[1].split("|"):
        yield from expansions(text[: found.start()] + part + text[found.end() :])


def tidy(text: str) -> str:
    """Close up the gaps that an empty part leaves.

    >>> tidy("need  milk , please ?")
    'need milk, please?'
    """
    return re.sub(r"\s+([,?!.])(?=\s|$)", r"\1", re.sub(r"\s+", " ", text)).strip()


def _texts(*folder: str) -> list[tuple[str, str]]:
    home = files("finetune").joinpath(*folder)
    found = [(path.name.removesuffix(".txt"), path) for path in home.iterdir() if path.name.endswith(".txt")]
    return [(name, path.read_text(encoding="utf-8")) for name, path in sorted(found, key=lambda pair: pair[0])]


def _split(slot: str) -> tuple[str, str]:
    found = re.fullmatch(r"(\w*?)(\d*)", slot)
    assert found is not None
    return found[1], found[2]


def _slots_of(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        return slots_in(value)
    if isinstance(value, Mapping):
        value = list(value.values())
    return tuple(name for part in value for name in _slots_of(part)) if isinstance(value, Sequence) else ()


def _put(value: Any, held: Mapping[str, Any], *, partly: bool = False) -> Any:
    if isinstance(value, str):
        whole = re.fullmatch(r"\{(\w+)\}", value)
        if whole and (whole[1] in held or not partly):
            return held[whole[1]]
        return re.sub(r"\{(\w+)\}", lambda m: str(held[m[1]]) if m[1] in held or not partly else m[0], value)
    if isinstance(value, Mapping):
        return {name: _put(part, held, partly=partly) for name, part in value.items()}
    if isinstance(value, list):
        return [_put(part, held, partly=partly) for part in value]
    return value


def _speak(slot: str, values: Mapping[str, Any], rng: Random, count: int | None) -> str:
    stem, _ = _split(slot)
    value = values[value_name(slot)]
    if isinstance(value, Spoken) and stem not in ("a_thing", "things", "digit", "ordinal"):
        return value.text
    text = value.text if isinstance(value, Spoken) else value
    value = value.value if isinstance(value, Spoken) else value
    match stem:
        case "a_thing":
            return with_article(text)
        case "things":
            return plural(text)
        case "price":
            return speak_price(value, rng)
        case "brand":
            return speak_brand(value, rng)
        case "size":
            return speak_size(value, rng)
        case "quantity":
            return speak_quantity(value, rng)
        case "position":
            return speak_position(value, count, rng)
        case "positions":
            return speak_positions(value, count, rng)
        case "ordinal":
            return speak_ordinal(value, count, rng)
    return str(value)
