"""Check each sentence against the record before a shopper reads it; what says more is replaced.

A sentence passes when every item it points at was shown, every number in it is that item's (or the wish's),
every claim word has its fact, and every other word is either plain glue (`vocabulary.txt`) or stands in the
item's own record. A word that is none of these ("healthy", "organic", "delicious") fails the sentence.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from agent.plain import price_text, short_title, size_text
from agent.plan import NUMBER_WORDS
from agent.same_meaning import plainly
from retrieval.records import Recommendation
from retrieval.wish import Wish, contains

REFERENCE = re.compile(r"\[(\d{1,2})\]")
MONEY = re.compile(r"\$\s?(\d+(?:\.\d+)?)")
# Links, markup, stars, emojis: nothing but words, numbers and plain punctuation is ever said.
UNPLAIN = re.compile(r"""[^\w\s.,;:!?'’‘"“”()\[\]$%&/+–—-]|_|https?:|www\.|//|\]\(|\[(?!\d{1,2}\])""")
NEGATION = re.compile(
    r"\b(not|no|never|without|none|isn't|aren't|don't|doesn't|didn't|haven't|hasn't|nothing|neither|nor)\b"
)
UNBOUGHT = re.compile(
    r"\b(never|not|haven't|hasn't)( yet)? (bought|had|tried|picked|taken)\b(?! (in|by|with|together)\b)|\bnot (in|on) your (history|record)\b"
)
NOT = r"(?:not|never|haven't|hasn't|didn't|don't)"
MANY = r"(?:shoppers?|households?|people|customers?|others)"
# Glue words that together would say what no fact holds; "#" stands for an item.
FORBIDDEN = re.compile(
    "|".join(
        (
            # praise, a discount, an offer
            r"\boff\b|\bwell known\b|(?<!least )(?<!more )(?<!most )\bexpensive\b|\bits (lowest|cheapest|highest)\b",
            r"\b(less|lower|cheaper|more|higher|dearer)\b.*\bnow\b|\bnow\b.*\b(less|lower|cheaper|more|higher|dearer)\b",
            r"\bget (one|two|three|another)\b|\bbuy (one|two|three|\d)|\bmore for less\b|\b(more|less) in (it|them)\b",
            # two facts in one: what an item matches was asked for now, and is not what was chosen before
            r"\bmatch(es)?( for)? [^,.;:]*, which you\b",
            r"\bthe right\b|\bright (one|for|pick|choice)\b",
            r"\bgives? (\w+ )?(more|less)\b|\bmade (for|in|by|of|from|with)\b|\b(match(es)?|fits?|suits?) (all|every)\b",
            # amounts are written with a "$"; a number after a price word would pass for one
            r"\b(dollars?|cents?)\b|\b(costs?|priced( at)?|pay|spend|comes? (to|at)|price is|for|at) \d+(\.\d+)?(?= *($|[.,;:!?]|you\b|and\b|each\b))",
            r"\b(oz|lbs?|ct|counts?|packs?|gallons?|lit(er|re)s?|ml|k?g|quarts?|pints?) (less|more|bigger|smaller|larger|extra)\b",
            # where it stands but in the list, and what was done with it
            r"\bcarts?\b|\bon its way\b|\bsold\b(?! with)|\bleft\b(?! out)|\bnew (in|at|on)\b|\bi (bought|got|took|had|tried)\b",
            r"\b(last|bottom)\b(?! (\w+ )?(trips?|visits?|times?)\b)|\blast (trip|visit|time)\b|\ba while\b",
            r"\b(every|each|all|most)( of)?( your| the)?( past| last)? (trips?|visits?|times?)\b",
            # how it stands to the others
            r"\b(one of the|next|second|third|fourth|fifth) (cheapest|dearest|lowest|highest|biggest|largest|smallest)\b",
            r"\b(with|to|than|against) (all |any |most )?(of )?(the |other )?(others?|rest)\b",
            r"\b(first|leads?|top|ahead of #|behind #|before #|after #) (on|in|for) (price|size)\b|\bonly \w+ of (its|the|this|that)\b",
            r"\b(since|because|instead of|next to|with|than|against|beside|from|after|before|like)( you \w+)? #, ?#",
            # what others do
            rf"\byou(?:'ve)? \w+: ?\d+ {MANY}\b",
            rf"\b(all|most|many|every|more|few|fewer|no) (other )?{MANY}\b|\b(more|less) (popular|often|regular)\b",
            rf"\b{MANY} (\w+ )?(like|love|liked|loved|favou?r)\b|\b(sells?|selling) (\w+ )?(well|most|often|more|less)\b",
            rf"\b{NOT}\b[^,;:]*\b{MANY}\b|\b{MANY}\b[^,;:]*\b{NOT}\b",
        )
    )
)
ORDINALS = {
    word: place
    for place, word in enumerate(
        ["first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth"], start=1
    )
} | {"top": 1}
NO_ORDINAL = re.compile(
    r"\b(first|second) (time|reason)s?\b|\bon top of (that|this)\b|\btop of (your|the|that) (budget|limit|\$)"
)
COUNTED = (
    (re.compile(r"\b(\w+) (?:other |different )?(?:shoppers?|households?|people|customers?)\b"), "popular"),
    (re.compile(r"\b(\w+) (?:other |different )?baskets?\b"), "goes_with"),
    (re.compile(r"\b(\w+) times\b"), "bought_times"),
    (re.compile(r"\b(once|twice)\b"), "bought_times"),
)
# How many there are: "here are 5", "5 items".
LIST_COUNT = re.compile(
    r"\b(?:here (?:are|is)|there (?:are|is)|found|these|all|picked|chose)(?: just| only)? (\w+)\b(?! (?:of|trips|times|baskets))"
    r"|\b(\w+) (?:other |new |more )?(?:items?|picks?|options?|choices?|results?|came|come)\b"
)
BOUGHT = ("bought_trips", "bought_times")


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


def _promoted(note: str) -> Callable[[Recommendation], bool]:
    return lambda recommendation: any(fact.kind == "promotion" and note in fact.words for fact in recommendation.facts)


def _tier(store: bool) -> Callable[[Recommendation], bool]:
    def holds(recommendation: Recommendation) -> bool:
        words = f"{recommendation.item.brand} {recommendation.item.title}".lower()
        return ("store brand" in words) == store and (store or "name brand" in words)

    return holds


# A claim in words, and the facts that carry it. Each must hold for every item the words speak of.
CLAIMS: tuple[tuple[re.Pattern[str], Callable[[Recommendation], bool]], ...] = tuple(
    (re.compile(pattern), holds)
    for pattern, holds in (
        (UNBOUGHT.pattern + r"|\bnew\b|\bfirst time\b", _has("not_bought")),
        (r"(?<!next )(?<!first )\btrips?\b|\bbefore\b", _has(*BOUGHT, "because_of")),
        (r"\bpurchases? of$", _has(*BOUGHT)),  # of the item that is named next
        (r"\bpurchases? of \w|\bpast purchases?\b(?! of$)", _has(*BOUGHT, "because_of")),
        (r"\bagain\b|\b(usual|usually|usuals|regular|regularly|regulars)\b", _has(*BOUGHT)),
        (
            r"\b(under|below|beneath|within|inside|fits?|keeps? to|stays?) (\w+ )?(budget|limit|bound|price|max)\b"
            r"|\bfits? (your|the|that) \$",
            _has("under_price"),
        ),
        (r"\bsav(es?|ing)\b|\bleav(es?|ing)\b|\bspare\b", _has("under_price", "cheaper")),
        (r"\b(over|above|beyond) (\w+ )?(budget|limit|bound|max)\b", _has("over_price")),
        (r"\b(shoppers?|households?|people|others|popular|widely|customers?)\b", _has("popular")),
        (
            r"\b(goes|go|going) (\w+ )?with\b|\bbaskets?\b|\btogether\b|\balongside\b|\bpairs?\b|\bbought with\b",
            _has("goes_with"),
        ),
        (r"\b(cheaper|lower)\b", _has("cheaper")),
        (r"\b(dearer|pricier|more expensive|higher)\b", _has("dearer")),
        (
            r"\b(is|are|costs?|spend|pay|priced|comes?)( to| in)?( \$[\d.]+)? less\b",
            _has("cheaper", "under_price"),
        ),
        (
            r"\b(is|are|costs?|spend|pay|priced|comes?)( to| in)?( \$[\d.]+)? more\b(?! expensive)",
            _has("dearer", "over_price"),
        ),
        (r"\b(bigger|larger)\b", _has("bigger")),
        (r"\bsmaller\b", _has("smaller")),
        (r"\b(store|own|house|our|shop's|store's)[- ](brand|label)\b", _tier(True)),
        (r"\b(name|national)[- ]brand\b", _tier(False)),
        (
            r"\b(liked|likes|loves?|loved|favou?rites?)\b|\byou( \w+)? like\b|\byour likes\b",
            _has("liked"),
        ),
        (r"\b(matches|match|matching)\b", _has("matches")),
        (r"\bcoupons?\b", _has("coupon")),
        (r"\boffers?\b", _has("coupon", "promotion")),
        (r"\bpromotions?\b", _has("promotion")),
        (r"\bads?\b|\bweek's\b", _promoted("in this week's ad")),
        (r"\bdisplay\b", _promoted("on display")),
    )
)
# Words of another item's title stand in a fact; they may be said where the words tie the two, not as what this one is.
TIED_BEFORE = re.compile(
    r"(?:\b(?:with|than|against|from|instead of|next to|close to|beside|both|buy|bought|chose|took|picked|your|reason for|is"
    r"|(?:items?|ones?|options?|picks?|choices?|\d) like)"
    r"|^and)(?: (?:on|for|with|to|of|the|a|an|some|your|is))*$"
)
TIED_AFTER = re.compile(r"^(?: [\w'&-]+){0,3},? (?:which|that)\b")
# What may stand between two items: a comparison that is checked, or the start of a clause of its own.
LINKED = re.compile(
    r"(?:\b(?:and|or|but|while|than|against|versus|vs|below|above|under|over|before|after|behind|ahead of|as)|[,;:.])"
    r"(?: (?:is|with|for|on|at|of|to|the price of|that of))*$"
)
PRICED = r"\$|\b(?:prices?|priced|costs?|cost|pay|spend|cheaper|dearer|pricier|expensive)\b"
YOU_BOUGHT = re.compile(
    r"\byou(?:'ve| have)? (?:[\w']+ )?(?:buy|bought|got|picked|took|taken|purchased?|chose|had|tried)\b"
)


def supported(sentence: str, spoken: Spoken) -> bool:
    """Say whether a sentence, with items as [1], [2], claims only what the record holds."""
    if len(sentence) > 400 or not re.search(r"\w", sentence):
        return False
    if any(int(number) not in spoken.rows for number in REFERENCE.findall(sentence)):
        return False
    for row in spoken.rows.values():  # the shelf is written "Meat > Beef"
        sentence = sentence.replace(" > ".join(row.item.categories), ", ".join(row.item.categories))
    if UNPLAIN.search(sentence):
        return False
    sentence = plainly(sentence)
    if (whole := _spread_holds(sentence, spoken)) is not None:
        return whole
    if _forbidden(sentence, spoken):
        return False
    clauses = _clauses(sentence)
    return (
        bool(clauses)
        and bool(spoken.rows)
        and all(_clause_holds(*clause, spoken, whole=_plain(sentence)) for clause in clauses)
    )


SPREAD = re.compile(
    r"(?:the )?difference (?:of|between) \[(\d+)\] and \[(\d+)\] is \$(\d+(?:\.\d+)?)\.?"
    r"|(?:the )?prices (?:go|run|range) from \$(\d+(?:\.\d+)?) to \$(\d+(?:\.\d+)?)\.?",
    re.IGNORECASE,
)


def _spread_holds(sentence: str, spoken: Spoken) -> bool | None:
    """Check how far two prices are apart, or from where to where all go; None where a sentence says neither."""
    match = SPREAD.fullmatch(sentence)
    if match is None:
        return None
    places = (int(match[1]), int(match[2])) if match[1] else tuple(spoken.rows)
    prices = sorted(price for place in places if (price := spoken.rows[place].item.price) is not None)
    if len(prices) < (2 if match[1] else 1):
        return False
    ends = (0.0, float(match[3])) if match[1] else (float(match[4]), float(match[5]))
    lowest, highest = (0.0, prices[-1] - prices[0]) if match[1] else (prices[0], prices[-1])
    return abs(lowest - ends[0]) < 0.005 and abs(highest - ends[1]) < 0.005


def _plain(text: str) -> str:
    """Write in lower case, with one kind of apostrophe and single spaces."""
    return " ".join(text.lower().replace("’", "'").replace("‘", "'").split())


def _unnamed(text: str, rows: Iterable[Recommendation]) -> str:
    """Put "it" for the items' own names: "bottom round roast" claims no place, "new potatoes" nothing new."""
    for row in rows:
        text = text.replace(short_title(row.item).lower(), "it")
    return text


def _forbidden(sentence: str, spoken: Spoken) -> bool:
    """Say whether glue words claim together what no record holds; the wish is said back as it is."""
    text = REFERENCE.sub("#", _plain(sentence))
    if len(spoken.labels) > 1 and any(len(_said_at(label.lower(), text)) > 1 for label in spoken.labels if label):
        return True  # "for milk, eggs, bread, and bread"
    for label in spoken.labels:
        text = text.replace(f"for {label.lower()}", "for it") if label else text
    text = _unnamed(text, spoken.rows.values())
    shares = re.findall(r"(\d+(?:\.\d+)?) ?%", text)
    own = [_own_text(row) for row in spoken.rows.values()]
    if "%" in text and not all(
        any(re.search(rf"(?<![\d.]){re.escape(s)} ?%", title) for title in own) for s in shares or ["x"]
    ):
        return True
    return FORBIDDEN.search(text) is not None


def _said_at(words: str, text: str) -> list[int]:
    return [match.start() for match in re.finditer(rf"(?<!\w){re.escape(words)}(?!\w)", text)]


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


def _clause_holds(held: Sequence[int], text: str, following: int | None, spoken: Spoken, *, whole: str) -> bool:
    rows = [spoken.rows[position] for position in held] or list(spoken.rows.values())
    other = spoken.rows.get(following) if following is not None else None
    lower = _plain(text)
    if not _ordinals_hold(lower, held, rows) or not _than_holds(lower, rows, spoken, linked=other is not None):
        return False
    if other is not None and following is not None and not _link_holds(lower, whole, held, following, rows, other):
        return False
    if len(held) > 1 and re.search(r"\b(together|pairs?|go(es)? with)\b", lower):
        return False
    if not _money_holds(lower, rows, other, spoken):
        return False
    if not _numbers_hold(lower, rows, spoken, named=bool(held)):
        return False
    if other is not None and re.search(r"\b(than|against|as|versus|vs)( that of| \w+)?$", lower):
        if not _compares(lower, rows, other):
            return False
        lower = re.sub(
            r"\b(cheaper|lower|less|dearer|pricier|more expensive|higher|more|bigger|larger|smaller|same)\b", "", lower
        )
    if not _alike(lower, rows) or not _bought_holds(lower, rows) or not _alone(lower, spoken):
        return False
    if not _extremes_hold(lower, held, spoken):
        return False
    lower = EXTREMES.sub(" ", lower)
    for shelf in {", ".join(row.item.categories).lower() for row in rows} - {""} if len(rows) == 1 else ():
        lower = lower.replace(f" in {shelf}", " here")  # "Health and household" says nothing of who buys it
    if _of_two(held, rows, spoken):
        lower = re.sub(OF_TWO, " ", lower)
    if any(pattern.search(lower) and not all(holds(row) for row in rows) for pattern, holds in CLAIMS):
        return False
    lower = UNBOUGHT.sub(" ", lower)
    for word in [word for wish in spoken.wishes for word in wish.text_none]:
        lower = re.sub(rf"\bwithout {re.escape(word.lower())}\b", " ", lower)
    return not NEGATION.search(lower) and _words_hold(lower, rows, other, spoken)


def _ordinals_hold(lower: str, held: Sequence[int], rows: Sequence[Recommendation]) -> bool:
    """Check where the words place an item: "first", "on top", "leads", "number 2", "ahead of"."""
    if not held:
        return True
    plain = NO_ORDINAL.sub(" ", _unnamed(lower, rows))
    places = {ORDINALS[word] for word in re.findall(r"[a-z]+", plain) if word in ORDINALS}
    if re.search(r"\blead(s|ing)?\b(?! to)|\bled\b", plain):
        places.add(1)
    places |= {int(place) for word in re.findall(r"\bnumber (\w+)", plain) if (place := _number(word)) is not None}
    return not places or set(held) == places


def _link_holds(
    lower: str, whole: str, held: Sequence[int], following: int, rows: Sequence[Recommendation], other: Recommendation
) -> bool:
    """Check the words between two items: a comparison of price or size, their places, or a new clause."""
    if not LINKED.search(lower):
        return False
    if re.search(r"\bas$", lower):
        return "same" in lower
    if match := re.search(r"\b(?:(ahead of|before|above|over)|(behind|after|below|under))$", lower):
        if "size" in whole:
            return _compares("bigger" if match[1] else "smaller", rows, other)
        if re.search(PRICED, whole) and "rank" not in lower:
            return match[0] in ("above", "over", "below", "under") and _compares(
                "dearer" if match[1] else "cheaper", rows, other
            )
        named = re.search(rf"\b(is|ranks?|comes?|sits?|stands?|goes|came)( just| right| further)? {match[0]}$", lower)
        return bool(named) and (max(held) < following if match[1] else min(held) > following)
    if re.search(r"\bthan( (with|for|on|at|that of))?$", lower):
        return bool(
            re.search(rf"{PRICED}|\b(bigger|larger|smaller)\b|\b(is|comes?)( to| in)? (less|more)\b", lower)
        ) and not re.search(rf"\b(buy|bought|sells?|gives?|{MANY})\b", lower)
    return True


def _than_holds(lower: str, rows: Sequence[Recommendation], spoken: Spoken, *, linked: bool) -> bool:
    """Check that "than" is followed by a bound or by the item that the facts compare with."""
    for match in re.finditer(r"\bthan\b(?: (?:with|for|on|a|an|the|some|your|that|of)\b)*", lower):
        rest = lower[match.end() :].strip()
        if (linked and not rest) or re.match(r"\$|(?:limit|budget|max)\b", rest):
            continue
        word = re.match(r"[\w'&-]+", rest)
        if word is None or not all(contains(_other_text(row), word[0]) for row in rows):
            return False
    return True


def _compares(lower: str, rows: Sequence[Recommendation], other: Recommendation) -> bool:
    """Check a comparison with an item that is named right after it."""
    from retrieval.quantity import item_quantity

    if re.search(r"\bsame\b", lower):
        return _alike(lower, [*rows, other])
    for pattern, sign in ((r"\b(cheaper|lower|less)\b", 1), (r"\b(dearer|pricier|more|higher)\b", -1)):
        if re.search(pattern, lower) and not all(
            row.item.price is not None
            and other.item.price is not None
            and sign * row.item.price < sign * other.item.price
            for row in rows
        ):
            return False
    for pattern, sign in ((r"\b(bigger|larger)\b", -1), (r"\bsmaller\b", 1)):
        if re.search(pattern, lower):
            theirs = item_quantity(other.item)
            for own in (item_quantity(row.item) for row in rows):
                if own is None or theirs is None or own.unit != theirs.unit:
                    return False
                if not sign * own.amount < sign * theirs.amount:
                    return False
    return True


def _alone(lower: str, spoken: Spoken) -> bool:
    """Check "only [1] fits", "there is one": so only of a list of one."""
    said = r"\bonly$|\bthe only\b(?! reason)|\b(only|just|found|there is|here is) (one|item|option|choice|pick)\b|^one (item|option|fits|came)\b"
    return len(spoken.rows) == 1 or not re.search(said, lower)


def _extremes_hold(lower: str, held: Sequence[int], spoken: Spoken) -> bool:
    """Check superlatives; of a list as a whole, "cheapest first" says that it goes by price."""
    from retrieval.quantity import item_quantity

    sizes = {place: item_quantity(row.item) for place, row in spoken.rows.items()}
    alike = len({size.unit for size in sizes.values() if size is not None}) == 1
    amounts = {place: size.amount if size is not None and alike else None for place, size in sizes.items()}
    prices = {place: row.item.price for place, row in spoken.rows.items()}
    plain = re.sub(r"\bmost of all\b", " ", lower)
    if _of_two(held, [spoken.rows[place] for place in held], spoken):
        plain = re.sub(OF_TWO, lambda found: "smallest" if found[1] == "smaller" else "largest", plain)
    for pattern, values, sign in (
        (CHEAPEST, prices, 1),
        (DEAREST, prices, -1),
        (r"\b(biggest|largest)\b", amounts, -1),
        (r"\bsmallest\b", amounts, 1),
    ):
        if not re.search(pattern, plain):
            continue
        plain = re.sub(pattern, " ", plain)
        known = [sign * value for value in values.values() if value is not None]
        if not held:
            ordered = re.search(r"\b(first|top|order|starts?|by price|up)\b", lower)
            if len(spoken.rows) == 1 and pattern == CHEAPEST and not ordered:
                if not all(_has("cheapest")(row) for row in spoken.rows.values()):
                    return False
            elif not ordered or len(known) < len(values) or known != sorted(known):
                return False
        elif len(held) > 1:
            return False
        elif not (pattern == CHEAPEST and _has("cheapest")(spoken.rows[held[0]])):
            own = values[held[0]]
            if own is None or len(known) < max(len(values), 2) or sorted(known)[:2] != [sign * own, sorted(known)[1]]:
                return False
            if sorted(known)[0] == sorted(known)[1]:
                return False
    return not re.search(r"\bmost\b", plain)


def _of_two(held: Sequence[int], rows: Sequence[Recommendation], spoken: Spoken) -> bool:
    """Say whether "the bigger one" is the bigger of two shown items, and not bigger than what a fact compares with."""
    return len(spoken.rows) == 2 and len(held) == 1 and not any(_has("bigger", "smaller")(row) for row in rows)


OF_TWO = r"\bthe (bigger|larger|smaller)\b(?! (?:\w+ )?than)"
CHEAPEST = r"\b(cheapest|lowest|least)( expensive)?\b|\bthe cheaper\b|\b(by|order of) price\b"
DEAREST = r"\b(the dearer|the pricier|dearest|highest|most expensive|(costs?|spend|pay) the most)\b"
EXTREMES = re.compile(rf"{CHEAPEST}|{DEAREST}|\b(biggest|largest|smallest)\b|\bmost of all\b")


def _alike(lower: str, rows: Sequence[Recommendation]) -> bool:
    """Check "the same": price or size, whichever is spoken of, of all the items."""
    from retrieval.quantity import item_quantity

    if not re.search(r"\bsame\b", lower):
        return True
    if len(rows) < 2:
        return False
    if re.search(r"\b(size|pack)\b", lower):
        sizes = {(held.unit, held.amount) if held else None for held in (item_quantity(row.item) for row in rows)}
        return len(sizes) == 1 and None not in sizes
    return bool(re.search(r"\bprice|\bcost|\$", lower)) and len({row.item.price for row in rows}) == 1


def _bought_holds(lower: str, rows: Sequence[Recommendation]) -> bool:
    """Check "you bought …": of the item itself its own purchases count, of another the fact that names that one."""
    past = " ".join(word for row in rows for fact in row.facts if fact.kind == "because_of" for word in fact.words)
    for match in YOU_BOUGHT.finditer(lower):
        if NEGATION.search(match[0]):
            continue  # carried by "not_bought", among the claims
        after = [
            word for word in re.findall(r"[a-z']+", lower[match.end() :]) if word not in ("a", "the", "some", "your")
        ]
        before = re.findall(r"[a-z']+", lower[: match.start()])
        about_another = past and (
            (bool(after) and contains(past, after[0]))
            or (before[-1:] in (["which"], ["that"]) and contains(past, " ".join(before[-2:-1])))
        )
        if not all(_has("because_of")(row) if about_another else _has(*BOUGHT)(row) for row in rows):
            return False
    return True


def _money_holds(lower: str, rows: Sequence[Recommendation], other: Recommendation | None, spoken: Spoken) -> bool:
    """Check every amount as what it is said to be: a difference, a bound that was asked for, or the price."""
    for match in MONEY.finditer(lower):
        amount = float(match[1])
        before, after = lower[: match.start()].rstrip(), lower[match.end() :].lstrip()
        if (kinds := _difference(before, after)) is not None:
            fine = all(_apart(row, other, amount, kinds) for row in rows)
        elif BOUND.search(before):
            fine = all(_bounded(row, amount, before, spoken) for row in rows)
        else:
            fine = all(row.item.price is not None and abs(row.item.price - amount) < 0.005 for row in rows)
        if not fine:
            return False
    return True


# What stands before an amount that is a bound.
LESS = r"\b(?:under|below|beneath|within|inside|(?:less|cheaper|lower) than)"
MORE = r"\b(?:over|above|(?:more|dearer|pricier|higher|more expensive) than)"
BOUND = re.compile(
    rf"(?:{LESS}|{MORE}|\b(?:limit of|budget of|said|asked for|max))(?: your| the| that| a| its)?$|\b(?:your|of the)$"
)


def _bounded(row: Recommendation, amount: float, before: str, spoken: Spoken) -> bool:
    bounds = [
        bound
        for wish in spoken.wishes
        for bound in (wish.max_price, wish.min_price, wish.below_price, wish.above_price)
    ]
    bounds += [fact.limit for fact in row.facts]
    price = row.item.price
    if price is None or not any(bound is not None and abs(bound - amount) < 0.005 for bound in bounds):
        return False
    if re.search(LESS + r"(?: \w+)?$", before):
        return price <= amount + 0.005
    return price >= amount - 0.005 if re.search(MORE + r"(?: \w+)?$", before) else True


def _difference(before: str, after: str) -> tuple[str, ...] | None:
    """Read which facts an amount is the difference of; None when it is no difference."""
    if match := re.match(r"(under|below|beneath|to spare|of (?:your|the|that))\b", after):
        return ("under_price", "cheaper") if match[1] in ("under", "below", "beneath") else ("under_price",)
    if re.match(r"(less|cheaper)\b", after):
        return ("under_price",) if re.match(r"\w+ than (your|the|that) (\$|limit|budget|max)", after) else ("cheaper",)
    if re.match(r"(dearer|pricier|more)\b", after):
        return ("dearer",)
    if re.match(r"(above|over)\b", after):
        return ("over_price",)
    if re.search(r"\b(saves?|saving|spare|leaves?|leaving|keeps?)( you)?$", before):
        return ("under_price", "cheaper")
    if before.endswith(" by"):
        return ("dearer",) if re.search(r"\b(dearer|pricier|higher|more)\b", before) else ("cheaper",)
    return None


def _apart(row: Recommendation, other: Recommendation | None, amount: float, kinds: tuple[str, ...]) -> bool:
    if any(fact.kind in kinds and fact.amount is not None and abs(fact.amount - amount) < 0.005 for fact in row.facts):
        return True
    if other is None or row.item.price is None or other.item.price is None:
        return False
    dearer = kinds in (("dearer",), ("over_price",))
    apart = row.item.price - other.item.price if dearer else other.item.price - row.item.price
    return abs(apart - amount) < 0.005


def _numbers_hold(lower: str, rows: Sequence[Recommendation], spoken: Spoken, *, named: bool) -> bool:
    """Check every other number as the count that it is said to be, else as one on the item itself."""
    rest = MONEY.sub(" ", lower)
    for match in re.finditer(r"\ball(?: of)?(?: your| the)? (?:last|past|latest) (\w+)", rest):
        of = _number(match[1])
        if of is None or not all(any(fact.count == fact.of == of for fact in row.facts) for row in rows):
            return False
        rest = rest.replace(match[0], " ", 1)
    for match in re.finditer(r"(\w+) (?:of|out of) (?:your |the |his |their )?(?:last |past |latest )?(\w+)", rest):
        count, of = _number(match[1]), _number(match[2])
        if count is not None and of is not None:
            if not all(any(fact.count == count and fact.of == of for fact in row.facts) for row in rows):
                return False
            rest = rest.replace(match[0], " ", 1)
    for pattern, kind in COUNTED:
        for match in pattern.finditer(rest):
            count = _number(match[1])
            if count is None:
                continue
            if not all(any(fact.kind == kind and fact.count == count for fact in row.facts) for row in rows):
                return False
            rest = rest.replace(match[0], " ", 1)
    if not named:
        for match in LIST_COUNT.finditer(rest):
            count = _number(match[1] or match[2])
            if count is not None and count != len(spoken.rows):
                return False
    if named:
        rest = re.sub(r"\bnumber \w+", " ", rest)  # a place, which `_ordinals_hold` checks
    for label in spoken.labels:
        rest = re.sub(rf"(^|\b(?:for|fits?|with) |: ){re.escape(label.lower())}", " ", rest)
    texts = [f"{_own_text(row)} {size_text(row.item)} {_other_text(row)}".lower() for row in rows]
    return all(_number_stands(token, unit, texts, spoken, named=named) for token, unit in _tokens(rest))


def _tokens(text: str) -> list[tuple[str, str]]:
    """Pair each word or number with the word after it."""
    words = re.findall(r"\d+(?:\.\d+)?|[^\W\d_]+", text)
    return list(zip(words, [*words[1:], ""], strict=False))


def _number_stands(token: str, unit: str, texts: Sequence[str], spoken: Spoken, *, named: bool) -> bool:
    number = _number(token)
    if number is None or token in ("one", "a"):
        return True
    if not named and number == len(spoken.rows):
        return True
    written = re.escape(token) + (rf"\s*-?{re.escape(unit)}" if unit in UNITS else r"(?![\d.]*\d)")
    return all(re.search(rf"(?<![\d.]){written}", text) for text in texts)


UNITS = frozenset(
    "oz lb lbs ct count pack packs pk gallon gallons gal litre litres liter liters ml g kg quart pint sq".split()
)


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
    several = len([label for label in spoken.labels if label]) > 1
    texts, others = [_own_text(row) for row in rows], [_other_text(row) for row in rows]
    tied = False  # whether the words before are another item's, named where the two are tied
    for match in re.finditer(r"[^\W\d_](?:(?:[^\W\d_]|['&-])*[^\W\d_])?", lower):
        word, after = match[0], lower[match.end() :]
        theirs = all(contains(text, word) for text in others)
        tied = theirs and (
            tied or bool(TIED_BEFORE.search(lower[: match.start()].rstrip()) or TIED_AFTER.search(after))
        )
        if tied or word in glue or _number(word) is not None or all(contains(text, word) for text in texts):
            continue
        # The wish's own words may be named where every item bears them out, or one of them when there are several.
        bears = any if several and len(rows) == len(spoken.rows) else all
        if contains(labels, word) and bears(contains(row.item.text, word) for row in rows):
            continue
        if other is not None and contains(_own_text(other), word):
            continue
        return False
    return True


OWN = ("matches", "size", "brand_tier", "attribute")  # facts whose words are about the item itself


def _own_text(row: Recommendation) -> str:
    item = row.item
    words = (word for fact in row.facts if fact.kind in OWN for word in fact.words)
    return " ".join([item.title, *item.categories, item.brand, *words])


def _other_text(row: Recommendation) -> str:
    """Join the titles of the other items that this one's facts speak of."""
    return " ".join(word for fact in row.facts if fact.kind not in OWN for word in fact.words)


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
