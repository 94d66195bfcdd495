"""Check each sentence against the record before a shopper reads it; what says more is replaced.

A sentence passes when every item it points at was shown, every number in it is that item's (or the wish's),
every claim word has its fact, and every other word is either plain glue (`vocabulary.txt`) or stands in the
item's own record. A word that is none of these ("healthy", "organic", "delicious") fails the sentence.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from agent.plain import price_text, short_title
from agent.plan import NUMBER_WORDS
from retrieval.records import Fact, Recommendation
from retrieval.wish import Wish, contains

REFERENCE = re.compile(r"\[(\d{1,2})\]")
MONEY = re.compile(r"\$\s?(\d+(?:\.\d+)?)")
NUMBER = re.compile(r"(?<![\w$.])(\d+(?:\.\d+)?)")
NEGATION = re.compile(
    r"\b(not|no|never|without|none|isn't|aren't|don't|doesn't|didn't|haven't|hasn't|nothing|neither|nor)\b"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoken:
    """What sentences may speak of: rows by position, the wishes in force and how they are labelled."""

    rows: Mapping[int, Recommendation]
    wishes: tuple[Wish, ...] = ()
    labels: tuple[str, ...] = ()


@cache
def vocabulary() -> frozenset[str]:
    """Read the glue words: they claim nothing about an item."""
    text = (Path(__file__).parent / "vocabulary.txt").read_text(encoding="utf-8")
    return frozenset(word for line in text.splitlines() if not line.startswith("#") for word in line.split())


def _has(*kinds: str) -> Callable[[Recommendation], bool]:
    return lambda recommendation: any(fact.kind in kinds for fact in recommendation.facts)


def _tier(store: bool) -> Callable[[Recommendation], bool]:
    def holds(recommendation: Recommendation) -> bool:
        words = f"{recommendation.item.brand} {recommendation.item.title}".lower()
        return ("store brand" in words) == store and (store or "name brand" in words)

    return holds


# A claim in words, and the facts that carry it. Each must hold for every item the words speak of.
CLAIMS: tuple[tuple[re.Pattern[str], Callable[[Recommendation], bool]], ...] = tuple(
    (re.compile(pattern), holds)
    for pattern, holds in (
        (
            r"\b(never|not|haven't|have not|hasn't) (yet )?(bought|had|tried|picked|taken)\b|\bnew (to|for) you\b|\bfirst time\b",
            _has("not_bought"),
        ),
        (
            r"(?<!never )(?<!not )(?<!haven't )\b(you|your|you've) (\w+ )?(buy|bought|usual|regular|get|got|pick|picked|take|took|purchase|purchased)\b"
            r"|\btrips?\b|\bbefore\b|\bagain\b|\busuals?\b|\bregulars?\b",
            _has("bought_trips", "bought_times", "because_of"),
        ),
        (
            r"\b(under|below|beneath|within|inside) (your |the |that |a |its )?(budget|limit|bound|price|max)\b|\bsaves?\b|\bleaves?\b|\bto spare\b|\bspare\b",
            _has("under_price", "cheaper"),
        ),
        (r"\b(shoppers?|households?|people|others|popular|customers?)\b", _has("popular")),
        (r"\bcheapest\b|\blowest[- ]price[d]?\b|\blowest\b|\bleast expensive\b", _has("cheapest")),
        (
            r"\b(goes|go|going) (\w+ )?with\b|\bbaskets?\b|\btogether\b|\balongside\b|\bpairs?\b|\bbought with\b",
            _has("goes_with"),
        ),
        (r"\bcheaper\b", _has("cheaper")),
        (r"\b(dearer|pricier|more expensive)\b", _has("dearer")),
        (r"\b(bigger|larger)\b", _has("bigger")),
        (r"\bsmaller\b", _has("smaller")),
        (r"\b(store|own|house)[- ](brand|label)\b|\bstore-brand\b", _tier(True)),
        (r"\b(name|national)[- ]brand\b", _tier(False)),
        (r"\b(liked?|likes|love|loved|favou?rites?)\b", _has("liked", "because_of")),
        (r"\b(matches|match|matching)\b", _has("matches")),
    )
)


def supported(sentence: str, spoken: Spoken) -> bool:
    """Say whether a sentence, with items as [1], [2], claims only what the record holds."""
    if len(sentence) > 400 or re.search(r"https?:|www\.|[<>{}*_`#|]|\]\(|!\[", sentence):
        return False
    positions = [int(number) for number in REFERENCE.findall(sentence)]
    if any(position not in spoken.rows for position in positions):
        return False
    if re.search(r"\[(?!\d{1,2}\])", sentence):
        return False
    groups = _clauses(sentence)
    for held, text, following in groups:
        rows = [spoken.rows[position] for position in held] or list(spoken.rows.values())
        other = spoken.rows.get(following) if following is not None else None
        if not rows or not _clause_holds(text, rows, other, spoken, named=bool(held)):
            return False
    return bool(groups)


def _clauses(sentence: str) -> list[tuple[list[int], str, int | None]]:
    """Cut a sentence where it turns to other items: (positions, words about them, position named next)."""
    out: list[tuple[list[int], str, int | None]] = []
    held: list[int] = []
    start = 0
    for match in REFERENCE.finditer(sentence):
        between = sentence[start : match.start()]
        position = int(match.group(1))
        if held and re.fullmatch(r"\s*(,|and|&|or|, and)?\s*", between):
            held.append(position)
        elif held:
            out.append((held, between, position))
            held = [position]
        else:
            held = [position]
            if between.strip():
                out.append((held, between, None))
        start = match.end()
    rest = sentence[start:]
    if rest.strip(" .!?,") or not out:
        out.append((held, rest, None))
    return out


def _clause_holds(
    text: str, rows: Sequence[Recommendation], other: Recommendation | None, spoken: Spoken, *, named: bool
) -> bool:
    lower = text.lower().replace("’", "'")
    if not _numbers_hold(lower, rows, other, spoken, named=named):
        return False
    if re.search(r"\b(cheaper|less|dearer|pricier|more)\b", lower) and other is not None:
        if not _compares(lower, rows, other):
            return False
        lower = re.sub(r"\b(cheaper|less|dearer|pricier|more expensive|more)\b", "", lower)
    for bound in re.findall(
        r"\b(?:under|below|beneath|within|inside) (?:your |the |that |a |its )?\$(\d+(?:\.\d+)?)", lower
    ):
        if not all(row.item.price is not None and row.item.price <= float(bound) for row in rows):
            return False
    for pattern, holds in CLAIMS:
        if pattern.search(lower) and not all(holds(row) for row in rows):
            return False
    if NEGATION.search(lower):
        fine = all(_has("not_bought")(row) for row in rows) and bool(re.search(r"\b(never|not|haven't)\b", lower))
        left_out = [word for wish in spoken.wishes for word in wish.text_none]
        fine = fine or any(re.search(rf"\b(no|without) {re.escape(word.lower())}", lower) for word in left_out)
        if not fine:
            return False
    return _words_hold(lower, rows, other, spoken)


def _compares(lower: str, rows: Sequence[Recommendation], other: Recommendation) -> bool:
    less = re.search(r"\b(cheaper|less)\b", lower) is not None
    if other.item.price is None:
        return False
    return all(
        row.item.price is not None
        and (row.item.price < other.item.price if less else row.item.price > other.item.price)
        for row in rows
    )


def _numbers_hold(
    lower: str, rows: Sequence[Recommendation], other: Recommendation | None, spoken: Spoken, *, named: bool
) -> bool:
    bounds = {bound for wish in spoken.wishes for bound in (wish.max_price, wish.min_price) if bound is not None}
    for token in MONEY.findall(lower):
        amount = float(token)
        for row in rows:
            own = {row.item.price} | {
                value for fact in row.facts for value in (fact.amount, fact.limit) if value is not None
            }
            if other is not None and other.item.price is not None and row.item.price is not None:
                own.add(round(abs(other.item.price - row.item.price), 2))
            if not any(value is not None and abs(value - amount) < 0.005 for value in own | bounds):
                return False
        # "$2 under": the amount below the bound, not the price or the bound itself.
        if re.search(rf"\${re.escape(token)} (under|below|less|to spare|off)", lower) and not all(
            any(fact.amount is not None and abs(fact.amount - amount) < 0.005 for fact in row.facts)
            or (
                other is not None
                and row.item.price is not None
                and other.item.price is not None
                and abs(abs(other.item.price - row.item.price) - amount) < 0.005
            )
            for row in rows
        ):
            return False
        if (
            re.search(
                rf"\b(costs?|priced|at|for|is|price of) \${re.escape(token)}(?! (under|below|less|cheaper|dearer|more))",
                lower,
            )
            and named
            and not all(row.item.price is not None and abs(row.item.price - amount) < 0.005 for row in rows)
        ):
            return False
    rest = MONEY.sub(" ", lower)
    for match in re.finditer(r"(\w+) (?:of|out of) (?:your |the |his |their )?(?:last |past |latest )?(\w+)", rest):
        count, of = _number(match.group(1)), _number(match.group(2))
        if count is not None and of is not None:
            if not all(any(fact.count == count and fact.of == of for fact in row.facts) for row in rows):
                return False
            rest = rest.replace(match.group(0), " ", 1)
    texts = [
        " ".join(
            [
                *spoken.labels,
                row.item.title,
                str(row.item.attributes.get("size", "")),
                *(" ".join(fact.words) for fact in row.facts),
            ]
        ).lower()
        for row in rows
    ]
    for word in re.findall(r"\d+(?:\.\d+)?|[a-z]+", rest):
        number = _number(word)
        if number is None or word in ("one", "a"):
            continue
        if not named and number == len(spoken.rows):
            continue
        if not all(
            any(fact.count == number for fact in row.facts)
            or re.search(rf"(?<![\d.]){re.escape(word)}(?![\d.]*\d)", text)
            for row, text in zip(rows, texts, strict=True)
        ):
            return False
    return True


def _number(word: str) -> float | None:
    if re.fullmatch(r"\d+(\.\d+)?", word):
        return float(word)
    if word in ("once", "twice"):
        return {"once": 1.0, "twice": 2.0}[word]
    value = NUMBER_WORDS.get(word)
    return (
        float(value)
        if value is not None and " " not in word and word not in ("half", "quarter", "couple", "dime")
        else None
    )


def _words_hold(lower: str, rows: Sequence[Recommendation], other: Recommendation | None, spoken: Spoken) -> bool:
    glue = vocabulary()
    labels = " ".join(spoken.labels)
    for word in re.findall(r"[a-z][a-z'&-]*[a-z]|[a-z]", lower):
        if word in glue or _number(word) is not None:
            continue
        if all(contains(_record_text(row), word) for row in rows):
            continue
        # The wish's own words may be named where every item bears them out, or where they are left out of it.
        if contains(labels, word) and all(contains(row.item.text, word) or _in_facts(row.facts, word) for row in rows):
            continue
        if any(contains(unwanted, word) for wish in spoken.wishes for unwanted in wish.text_none):
            continue
        if other is not None and contains(_record_text(other), word):
            continue
        return False
    return True


def _record_text(row: Recommendation) -> str:
    item = row.item
    return " ".join([item.title, *item.categories, item.brand, *(word for fact in row.facts for word in fact.words)])


def _in_facts(facts: Sequence[Fact], word: str) -> bool:
    return any(contains(" ".join(fact.words), word) for fact in facts)


def sentence_end(text: str) -> int | None:
    """Find where the first sentence of a growing text ends; None while it may go on.

    >>> sentence_end("It is $3.29 now. Then"), sentence_end("It is $3.")
    (16, None)
    """
    match = re.search(r"[.!?](?=\s)|\n", text)
    return match.end() if match else None


def readable(sentence: str, rows: Mapping[int, Recommendation]) -> str:
    """Put names in the place of positions: "[2]" reads "Corn chips (#2)"."""

    def name(match: re.Match[str]) -> str:
        row = rows.get(int(match.group(1)))
        return f"{short_title(row.item)} (#{match.group(1)})" if row is not None else match.group(0)

    return REFERENCE.sub(name, sentence)


__all__ = ["Spoken", "price_text", "readable", "sentence_end", "supported", "vocabulary"]
