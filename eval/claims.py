"""Check statement by statement that a reply says nothing about an item that its evidence does not support.

Written apart from the agent's own checker and sharing no code with it: two readings of the same rule find
each other's mistakes. It reads the words that the shopper read, the logged `evidence` and the catalogue.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any

from retrieval.quantity import parse_quantity
from retrieval.records import Item

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One statement found in a reply: its sentence, what sort of claim, the words, and whether it is supported."""

    sentence: str
    kind: str
    words: str
    supported: bool


class Evidence:
    """What the words of one reply may rest on: its evidence, the items it is about, and the talk's own words."""

    def __init__(
        self, evidence: Mapping[str, Any], *, items: Mapping[str, Item], previous: Sequence[str] = (), said: str = ""
    ) -> None:
        self.items = items
        self.said = said.lower()
        self.wish: Mapping[str, Any] = evidence.get("wish") or {}
        rows: Sequence[Row] = [row for row in evidence.get("items") or () if isinstance(row, Mapping)]
        looked: Sequence[Row] = [row for row in evidence.get("looked") or () if isinstance(row, Mapping)]
        # An item that was looked at and also listed may have facts in both places: the looked-at row is the fuller.
        self.rows = {str(row["item_id"]): row for row in (*rows, *looked)}
        self.listed = [str(row["item_id"]) for row in rows]
        self.about = [str(item_id) for item_id in evidence.get("about") or ()]
        self.near = [str(item_id) for item_id in evidence.get("near") or ()]
        self.previous = list(previous)
        self.cart = [(str(row[0]), int(row[1])) for row in evidence.get("cart") or () if len(row) == 2]
        self.notes = " ".join(str(note) for note in evidence.get("notes") or ()).lower()
        self.labels = [str(label).lower() for label in evidence.get("labels") or () if label]
        # Rows carry their place in the list shown to the shopper, which may be the list before this reply.
        self.places = {int(row["position"]): str(row["item_id"]) for row in (*rows, *looked) if row.get("position")}
        for place, item_id in enumerate(self.previous, start=1):
            self.places.setdefault(place, item_id)

    def facts(self, item_id: str, *kinds: str) -> list[Row]:
        """List the recorded facts of an item, of these kinds where any are named."""
        held = (self.rows.get(item_id) or {}).get("facts") or ()
        return [fact for fact in held if not kinds or fact.get("kind") in kinds]

    def price(self, item_id: str) -> float | None:
        """Give the catalogue's price of an item."""
        item = self.items.get(item_id)
        return None if item is None else item.price

    def text(self, item_id: str) -> str:
        """Join everything that the catalogue says of an item."""
        item = self.items.get(item_id)
        if item is None:
            return ""
        values = [str(value) for value in item.attributes.values()]
        return " ".join([item.text, item.brand, *values]).lower()

    @cached_property
    def named(self) -> list[str]:
        """List the ids that this reply may name, those it shows first."""
        facts = [
            str(fact.get("item_id")) for item_id in self.rows for fact in self.facts(item_id) if fact.get("item_id")
        ]
        ids = [*self.listed, *self.about, *self.near, *(item_id for item_id, _ in self.cart), *self.previous, *facts]
        return [item_id for item_id in dict.fromkeys(ids) if item_id in self.items]

    @cached_property
    def subjects(self) -> list[str]:
        """List the ids that a sentence naming none is about."""
        first = self.about or self.listed
        ids = [*first, *self.near, *(item_id for item_id, _ in self.cart)]
        return [item_id for item_id in dict.fromkeys(ids) if item_id in self.items]

    @cached_property
    def names(self) -> list[tuple[str, frozenset[str]]]:
        """List how items can be named in words, longest first, each with the ids that it may mean."""
        out: dict[str, set[str]] = {}
        for item_id in self.named:
            pieces = self.items[item_id].title.lower().split(",")
            for count in range(1, len(pieces) + 1):
                out.setdefault(",".join(pieces[:count]).strip(), set()).add(item_id)
        return sorted(((name, frozenset(ids)) for name, ids in out.items() if name), key=lambda pair: -len(pair[0]))


ORDINALS = {
    word: number
    for number, words in enumerate(
        ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth"), start=1
    )
    for word in (words,)
}
NUMBERS = {
    word: float(number)
    for number, word in enumerate(
        ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
    )
} | {"once": 1.0, "twice": 2.0, "dozen": 12.0}
_NUMBER = (
    r"(?:\d[\d,]*(?:\.\d+)?|"
    + "|".join(word for word in NUMBERS if word not in ("once", "twice", "dozen", "zero"))
    + r")"
)
_UNITS = (
    r"(?:fl\.?\s?oz|oz|ounces?|lbs?|pounds?|count|ct|packs?|litres?|liters?|gallons?|gal|pints?|quarts?|ml|g|grams?|kg|"
    r"sq\.?\s?ft|loads?|dozen|rolls?|sheets?|cans?|bottles?|bags?|boxes|stems?|uses?|pieces?|feet|ft|inch(?:es)?)"
)
NEGATION = re.compile(r"\b(?:not|no|never|none|nothing|without|unable|neither|nor|cannot|\w+n['’]t)\b", re.IGNORECASE)
Support = Callable[[Evidence, Iterable[str], str], bool]


def _fact(*kinds: str) -> Support:
    return lambda evidence, ids, sentence: any(evidence.facts(item_id, *kinds) for item_id in ids)


def _stated(evidence: Evidence, ids: Iterable[str], words: str) -> bool:
    """Say whether the items' own record says these words, or a form of them."""
    stems = [_stem(word) for word in re.findall(r"[a-z]+", words.lower())]
    return any(
        all(any(held.startswith(stem) for held in re.findall(r"[a-z]+", evidence.text(item_id))) for stem in stems)
        for item_id in ids
    )


def _stem(word: str) -> str:
    for ending, kept in (
        ("iest", "y"),
        ("ier", "y"),
        ("ies", "y"),
        ("est", ""),
        ("er", ""),
        ("es", ""),
        ("ly", ""),
        ("s", ""),
    ):
        if word.endswith(ending) and len(word) - len(ending) >= 4:
            return word[: -len(ending)] + kept
    return word


def _extreme(largest: bool) -> Support:
    def supports(evidence: Evidence, ids: Iterable[str], sentence: str) -> bool:
        if not largest and _fact("cheapest")(evidence, ids, sentence):
            return True
        groups = [evidence.listed, evidence.about, evidence.previous]
        for item_id in ids:
            own = evidence.price(item_id)
            for group in groups:
                prices = [price for other in group if (price := evidence.price(other)) is not None]
                if item_id in group and own is not None and own == (max(prices) if largest else min(prices)):
                    return True
        # "The cheapest first" is about the order of the list, and the record of the wish says so.
        return "sort" in evidence.wish or "cheapest" in evidence.notes

    return supports


def _dearer(more: bool) -> Support:
    kind = "dearer" if more else "cheaper"
    bound = "above_price" if more else "below_price"

    def supports(evidence: Evidence, ids: Iterable[str], sentence: str) -> bool:
        if evidence.wish.get(bound) is not None or _fact(kind)(evidence, ids, sentence):
            return True
        others = [price for item_id in evidence.named if (price := evidence.price(item_id)) is not None]
        own = [price for item_id in ids if (price := evidence.price(item_id)) is not None]
        return any((price < other if not more else price > other) for price in own for other in others)

    return supports


def _sized(bigger: bool) -> Support:
    kind = "bigger" if bigger else "smaller"

    def supports(evidence: Evidence, ids: Iterable[str], sentence: str) -> bool:
        if _fact(kind)(evidence, ids, sentence) or evidence.wish.get("item_ids"):
            return True
        sizes = {
            item_id: parse_quantity(str(evidence.items[item_id].attributes.get("size", "")))
            for item_id in evidence.named
        }
        for item_id in ids:
            own = sizes.get(item_id)
            for other in sizes.values():
                if own is None or other is None or own.unit != other.unit:
                    continue
                if (own.amount > other.amount) if bigger else (own.amount < other.amount):
                    return True
        return False

    return supports


def _tier(word: str, raw: str) -> Support:
    return lambda evidence, ids, sentence: any(
        word in evidence.text(item_id) or evidence.items[item_id].attributes.get("brand_tier") == raw
        for item_id in ids
        if item_id in evidence.items
    )


def _bought(evidence: Evidence, ids: Iterable[str], sentence: str) -> bool:
    return _fact("bought_trips", "bought_times")(evidence, ids, sentence)


def _because(evidence: Evidence, ids: Iterable[str], sentence: str) -> bool:
    return _fact("because_of", "bought_trips", "bought_times", "liked")(evidence, ids, sentence)


def _never_bought(evidence: Evidence, ids: Iterable[str], sentence: str) -> bool:
    ids = list(ids)
    if _fact("not_bought")(evidence, ids, sentence):
        return True
    return bool(ids) and evidence.wish.get("bought") == "new" and not _bought(evidence, ids, sentence)


def _in_cart(evidence: Evidence, ids: Iterable[str], sentence: str) -> bool:
    return bool({item_id for item_id, _ in evidence.cart} & set(ids))


def _beside(evidence: Evidence, ids: Iterable[str], sentence: str) -> bool:
    return _fact("goes_with")(evidence, ids, sentence)


def _liked(evidence: Evidence, ids: Iterable[str], sentence: str) -> bool:
    return _fact("liked")(evidence, ids, sentence)


def _noted(evidence: Evidence, ids: Iterable[str], words: str) -> bool:
    notes = [
        str(note).lower()
        for item_id in ids
        for f in evidence.facts(item_id, "promotion")
        for note in f.get("words") or ()
    ]
    return any(words.lower().replace("’", "'").removeprefix("in ") in note for note in notes)


# (kind, what says it, what supports it). Tried in order; a span of the sentence is claimed once.
WORDS: tuple[tuple[str, str, Support], ...] = (
    (
        "never bought",
        r"(?:have |has )?(?:never|not) (?:been )?(?:bought|tried|purchased|had)|(?:haven['’]t|have not) (?:bought|tried|had|purchased)|new to you|first time",
        _never_bought,
    ),
    (
        "bought",
        r"you (?:usually|often|always|regularly|frequently|already)? ?(?:buy|bought|get|purchase[d]?|ordered?)|bought (?:it )?(?:before|\d+|once|twice|often)|your (?:usual|regular|last trips?)|(?:you )?bought in the past|buy again|past purchases?|you(?:['’]ve| have) (?:bought|had|purchased)",
        _bought,
    ),
    (
        "because",
        r"fits with|like (?:the )?\S+ you (?:bought|like|chose)|similar to what you|based on your|since you (?:like|bought|buy)|because you (?:like|bought|buy)|which you chose",
        _because,
    ),
    (
        "goes with",
        r"goes? (?:well |great |nicely )?with|pairs? (?:well )?with|bought (?:together|along)|baskets? with|complements?",
        _beside,
    ),
    (
        "popular",
        r"popular(?:ity)?|best[- ]?sell\w*|favou?rites?|most bought|(?:many|most|lots of|other) (?:shoppers|customers|people|households)|shoppers buy",
        _fact("popular"),
    ),
    ("coupon", r"coupons?", _fact("coupon")),
    ("in the ad", r"(?:in )?this week['’]s ad|on display", _noted),
    ("on promotion", r"(?:on |is )?promot(?:ions?|ed)", _fact("promotion")),
    ("on offer", r"on offer", _fact("promotion", "coupon")),
    ("liked", r"you (?:really )?(?:like|liked|love|loved|enjoy)\b", _liked),
    (
        "cheapest",
        r"(?:the )?(?:cheapest|least expensive|lowest[- ]priced?|lowest price|most affordable)",
        _extreme(largest=False),
    ),
    (
        "dearest",
        r"(?:the )?(?:most expensive|dearest|priciest|highest[- ]priced?|highest price)",
        _extreme(largest=True),
    ),
    ("cheaper", r"cheaper|less expensive|costs? less|more affordable|lower[- ]priced?", _dearer(more=False)),
    ("dearer", r"dearer|more expensive|costs? more|pricier|higher[- ]priced?", _dearer(more=True)),
    ("bigger", r"bigg?er|bigg?est|larger|largest", _sized(bigger=True)),
    ("smaller", r"smaller|smallest", _sized(bigger=False)),
    ("store brand", r"store[- ]brand|own[- ]brand|private label|generic", _tier("store brand", "Private")),
    ("name brand", r"name[- ]brand|national brand|brand[- ]name", _tier("name brand", "National")),
    ("in the cart", r"(?:is|are|already) in your cart", _in_cart),
    (
        "attribute",
        r"organic|health(?:y|ier|iest)|nutriti(?:ous|onal)|natural|fresh(?:er|est|ly)?|low[- ](?:fat|sodium|sugar|calorie|carb)|(?:fat|sugar|gluten|dairy|lactose|nut|caffeine)[- ]free|"
        r"vegan|vegetarian|kosher|halal|whole[- ]grain|diet|decaf\w*|premium|crunchy|creamy|delicious|tasty|tastiest|spicy|sweet(?:er)?|"
        r"(?:high|good|best|great|top)[- ]quality|best (?:value|price|tasting|choice|brand|deal)|great (?:value|choice|deal|taste)|perfect|"
        r"new recipe|limited|local|imported|hypoallergenic|biodegradable|non[- ]?toxic|unscented|scented|frozen|refrigerated|canned",
        _stated,
    ),
    (
        "never recorded",
        r"(?:on )?(?:sale|special offer|discount(?:ed)?|clearance)|deals?|in stock|out of stock|sold out|deliver(?:y|ed|s)?|shipping|"
        r"\w*-?star\b|ratings?|rated|reviews?|award|warranty|guarantee[ds]?|calories|protein|vitamins?|ingredients?|recommended by|doctors?|experts?|expires?|use by",
        _stated,
    ),
)
_CLAIMS = [
    (kind, re.compile(rf"(?<!\w)(?:{pattern})(?!\w)", re.IGNORECASE), support) for kind, pattern, support in WORDS
]
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[\"'(\[A-Z0-9])|\n+")
_DOLLARS = r"(?:\$|USD ?)\s?(\d[\d,]*(?:\.\d+)?)"
_MONEY = re.compile(rf"{_DOLLARS}|(\d[\d,]*(?:\.\d+)?)\s?(?:dollars?|bucks?|usd|cents?)\b", re.IGNORECASE)
_RANGE = re.compile(rf"\bprices (?:go|run|range) from {_DOLLARS} to {_DOLLARS}", re.IGNORECASE)
_PLACE = re.compile(
    r"\[(\d+)\]|(?:#|\bnumber |\bno\. ?|\bposition |\boption |\bitem )(\d+)\b|\bthe ("
    + "|".join(ORDINALS)
    + r")\b|(?m:^)(\d{1,2})[.)] ",
    re.IGNORECASE,
)
_COUNTS: tuple[tuple[str, re.Pattern[str], tuple[str, ...]], ...] = (
    ("trips", re.compile(rf"({_NUMBER}) (?:out )?of (?:your|the) (?:last|past) ({_NUMBER})", re.I), ("bought_trips",)),
    (
        "times",
        re.compile(
            rf"({_NUMBER}|once|twice)(?: times)? (?:before|already|in all|in the past|so far)|(?:bought|buy|ordered)\w*[\s()]+(?:it |this |that )?({_NUMBER}|once|twice) ?(?:times)?",
            re.I,
        ),
        ("bought_times", "bought_trips"),
    ),
    (
        "shoppers",
        re.compile(rf"({_NUMBER}) (?:other )?(?:shoppers|customers|people|households|buyers)", re.I),
        ("popular",),
    ),
    ("baskets", re.compile(rf"({_NUMBER}) (?:\w+ )?(?:baskets|times together|trips together)", re.I), ("goes_with",)),
)
_THINGS = re.compile(
    rf"\b({_NUMBER}) (?:\w+ ){{0,2}}?(?:items?|options?|results?|products?|things?|choices?|matches|picks?|kinds?|ideas?|of (?:them|these|those)|for\b)",
    re.I,
)
_SIZE = re.compile(rf"({_NUMBER}(?:\s?[x×]\s?{_NUMBER})?)[\s-]?({_UNITS})(?!\w)", re.I)
_BARE = re.compile(r"(?<![\w.$])\d[\d,]*(?:\.\d+)?%?(?!\w)")
_NOTHING_FITS = re.compile(r"\s*nothing (?:else )?(?:in this shop|here) fits\b", re.IGNORECASE)
_PRONOUN = re.compile(r"\b(?:it|its|it['’]s|this|that|they|these|those)\b", re.IGNORECASE)
_OBJECT = re.compile(
    r"(?:\b(?:with|than|as|from|over|beside|alongside|like|to|in|matche?s?)|>)\s+(?:the |a |an |your |that |this )?$",
    re.IGNORECASE,
)
_MATCHES = re.compile(r"\bmatch(?:es|ing)? ([^;.!?]+)", re.IGNORECASE)
_NAMES_THE_WISH = re.compile(r"\b(?:for|fits?|like|about|called) ", re.IGNORECASE)
_REFUSES = re.compile(
    r"\b(?:nothing|none|no (?:items?|match\w*|results?))\b.*\b(?:fits?|found|match\w*|here|shop|like)\b", re.IGNORECASE
)
_THAN = re.compile(r"[^.;]{0,20}?\bthan\b", re.IGNORECASE)
_REST = re.compile(r"\s*(?:everything|anything|all|any|the (?:rest|others?)|every)\b", re.IGNORECASE)
_LAST_SHOWN = re.compile(
    rf",? (?:and )?the last one shown (?:costs {_DOLLARS}|on (\d+)(?: of your last (\d+) trips)?)|, (\d+) the last one shown",
    re.IGNORECASE,
)
_NONE_OF = re.compile(r"\bon none of your last (\d+) trips", re.IGNORECASE)
_WOULD = re.compile(r"it would be number (\d+) if you (.+?)[.!]?$", re.IGNORECASE)
_QUOTED = re.compile(r"[\"“*_]{1,2}([^\"”*_]{3,80})[\"”*_]{1,2}")


def claims(
    content: str,
    evidence: Mapping[str, Any],
    *,
    items: Mapping[str, Item],
    previous: Sequence[str] = (),
    said: str = "",
) -> list[Claim]:
    """Find the statements about items in a reply's words, each with whether the evidence supports it.

    `previous` are the ids of the list shown before, `said` what the shopper typed in the talk so far (words of
    the shopper's own are no claims of the reply).
    """
    held = Evidence(evidence, items=items, previous=previous, said=said)
    out: list[Claim] = []
    last: frozenset[str] = frozenset()
    for sentence in _SENTENCE.split(content.strip()):
        if not sentence.strip():
            continue
        found, last = _read(sentence.strip(), held, before=last)
        out += found
    return out


def unsupported(
    content: str,
    evidence: Mapping[str, Any],
    *,
    items: Mapping[str, Item],
    previous: Sequence[str] = (),
    said: str = "",
) -> list[Claim]:
    """Keep the claims of a reply that nothing supports."""
    return [c for c in claims(content, evidence, items=items, previous=previous, said=said) if not c.supported]


def _read(sentence: str, held: Evidence, *, before: frozenset[str]) -> tuple[list[Claim], frozenset[str]]:
    out: list[Claim] = []
    if match := _WOULD.match(sentence):  # the place is one in another list than the one that was shown
        rows = [held.facts(item_id) for item_id in held.about]
        supported = any(_would_be(int(match[1]), match[2], facts) for facts in rows)
        return [Claim(sentence=sentence, kind="change", words=match[0], supported=supported)], before
    text, mentions = _mentions(sentence, held, out)

    # "in 12 baskets with soda; you bought it": what stands after "with" or "than" is no subject of what follows.
    subjects = [(place, ids) for place, ids in mentions if not _OBJECT.search(sentence[:place])]

    def subject(at: int) -> list[str]:
        """Say which items a claim at this place is about: the nearest subject before it, else after, else all."""
        earlier = [ids for place, ids in subjects if place <= at]
        if earlier:
            return list(earlier[-1])
        later = [ids for place, ids in subjects if place > at]
        if later and not _PRONOUN.search(text[:at]):
            return list(later[0])
        return list(before) or held.subjects

    def claim(kind: str, words: str, supported: bool) -> None:
        out.append(Claim(sentence=sentence, kind=kind, words=words.strip(), supported=supported))

    text = _without_echo(text, held)
    if not mentions and _REFUSES.search(text):
        return out, before  # that nothing fits is no statement about an item
    for match in _RANGE.finditer(text):
        # Said of the list as a whole, whatever was named before.
        prices = [price for item_id in held.listed if (price := held.price(item_id)) is not None]
        ends = [float(end.replace(",", "")) for end in match.groups()]
        claim("price range", match[0], bool(prices) and ends == [min(prices), max(prices)])
        text = _blank(text, match)
    for match in _LAST_SHOWN.finditer(text):
        claim(
            "last shown", match[0], _said_of_last(match, [f for i in held.about for f in held.facts(i, "last_shown")])
        )
        text = _blank(text, match)
    for match in _NONE_OF.finditer(text):
        trips = [fact for i in subject(match.start()) for fact in held.facts(i, "bought_trips")]
        claim("trips", match[0], any(not fact.get("count") and fact.get("of") == int(match[1]) for fact in trips))
        text = _blank(text, match)
    for match in _MONEY.finditer(text):
        amount = float((match[1] or match[2]).replace(",", "")) / (100 if "cent" in match[0].lower() else 1)
        claim("price", match[0], _priced(amount, subject(match.start()), text, held))
        text = _blank(text, match)
    for kind, pattern, fact_kinds in _COUNTS:
        for match in pattern.finditer(text):
            numbers = [_value(group) for group in match.groups() if group]
            claim(kind, match[0], _counted(numbers, held.facts, subject(match.start()), fact_kinds))
            text = _blank(text, match, only=_NUMBER)
    for match in _SIZE.finditer(text):
        claim("size", match[0], _said_of_size(match, held, subject(match.start())))
        text = _blank(text, match)
    for match in _THINGS.finditer(text):
        count = _value(match[1])
        counts = {
            len(held.listed),
            len(held.about),
            len(held.cart),
            sum(n for _, n in held.cart),
            len(held.previous),
            1,
        }
        claim("how many", match[0], count in counts or match[1].lower() in held.said)
        text = _blank(text, match, only=_NUMBER)
    for match in _BARE.finditer(text):
        number = match[0]
        known = number in held.said or any(number in re.findall(r"[\d.,]+%?", held.text(i)) for i in held.named)
        quantities = {str(n) for _, n in held.cart} | {str(len(held.cart)), str(len(held.listed))}
        claim("number", number, known or number in quantities)
    for match in _MATCHES.finditer(text):
        told = re.sub(r"\([^)]*\)", " ", match[1])  # "(without ham)": a bound of the wish, which the list keeps to
        words = re.findall(r"[a-z]+", told.lower())
        texts = [
            held.text(i) + " " + " ".join(" ".join(f.get("words") or ()) for f in held.facts(i))
            for i in subject(match.start())
        ]
        said_words = [word for word in words if word not in SAID_AROUND]
        fits = any(all(word.rstrip("s") in one.lower() for word in said_words) for one in texts)
        claim("matches", match[0], fits)
    if sentence.endswith("?"):
        return out, _last(subjects, before)
    said_back = _spans_of_the_shopper(sentence, held)
    if _NOTHING_FITS.match(text):  # "(under $2, crunchy)" is the wish there, and says so of no item
        said_back += [match.span() for match in re.finditer(r"\([^()]*\)", text)]
    claimed: list[tuple[int, int]] = list(said_back)
    for kind, pattern, support in _CLAIMS:
        for match in pattern.finditer(text):
            if any(start < match.end() and match.start() < end for start, end in claimed):
                continue
            claimed.append((match.start(), match.end()))
            ids = subject(match.start())
            holds = support(held, ids, match[0])
            than = _THAN.match(text, match.end()) if kind in COMPARED else None
            if than is not None:
                others = next((named for place, named in mentions if place >= than.end()), None)
                if _REST.match(text, than.end()):
                    others = frozenset(held.subjects) - frozenset(ids)
                if others:
                    holds = holds_than(kind, ids, others, held, every=_REST.match(text, than.end()) is not None)
            if kind == "bought" and not holds:
                # "close to cream cheese, which you bought": said of what the reason rests on, not of the item.
                relative = re.search(r"\b(?:which|that|as) $", text[: match.start()]) is not None
                before_it = [named for place, named in mentions if place <= match.start()]
                after_it = [named for place, named in mentions if place > match.start()]
                beside = before_it[-1:] if relative else after_it[:1]
                reasons = {str(fact.get("item_id")) for one in held.rows for fact in held.facts(one, "because_of")}
                holds = any(named & reasons for named in beside)
            if re.search(r"\bfewer $", text[: match.start()]) or re.match(r" (?:it )?less\b", text[match.end() :]):
                continue  # "fewer shoppers buy it": how two items' parts stand to each other, which no single fact tells
            if kind != "never bought" and NEGATION.search(
                re.split(r"[;,:.]|\band\b|\bbut\b", text[: match.start()])[-1][-28:]
            ):
                # Said not to be so: true unless the record says so. What is left open is no claim.
                holds = not holds or not mentions
            claim(kind, match[0], holds)
    return out, _last(subjects, before)


def _said_of_last(match: re.Match[str], facts: Sequence[Row]) -> bool:
    """Check what is said of the item that was shown last: its price, its trips, or how many buy it."""
    price, trips, of, shoppers = match.groups()
    for fact in facts:
        kind = (fact.get("words") or ("",))[0]
        if price is not None and kind == "price" and abs(float(fact.get("amount") or 0) - float(price)) < 0.0051:
            return True
        if trips is not None and kind == "bought_trips" and fact.get("count") == int(trips):
            return of is None or fact.get("of") == int(of)
        if shoppers is not None and kind == "popular" and fact.get("count") == int(shoppers):
            return True
    return False


# How a step of a changed wish is worded, beside its value: nothing else may stand in the sentence.
_STEP_WORDS = frozenset(
    "allowed up to from asked for at most did not leave out and took any size what is you set no bound".split()
)
_STEP_VALUES = {
    "Private": "store brand",
    "National": "name brand",
    "again": "what you bought before",
    "new": "what is new to you",
}
_STEP_BARE = {"seen": "what you have seen already", "deal": "what is on offer", "size": "any size"}


def _would_be(place: int, words: str, facts: Sequence[Row]) -> bool:
    """Check a change that is said to bring an item in: its place, and that it is of the recorded steps and no other."""
    if not any(fact.get("kind") == "would_show" and fact.get("count") == place for fact in facts):
        return False
    steps = [fact for fact in facts if fact.get("kind") == "would_change"]
    left = f" {words.lower()} "
    for step in steps:
        name, more, *value = step.get("words") or ("", "")
        if step.get("amount") is not None:
            told = next((m for m in _MONEY.finditer(left) if abs(float(m[1]) - float(step["amount"])) < 0.0051), None)
            if told is None or (name == "max_price" and (more == "more") != ("at most" in left[: told.start()][-9:])):
                return False
            left = left[: told.start()] + left[told.end() :]
            continue
        said = _STEP_VALUES.get(value[0], value[0]) if value else _STEP_BARE.get(name, "no bound of price")
        at = left.find(f" {said.lower()} ")
        less = re.search(r"\bdid not (?:ask for|leave out) ?$", left[: max(at, 0) + 1]) is not None
        if at < 0 or (value and less != (more == "less")):
            return False
        left = left[: at + 1] + left[at + len(said) + 2 :]
    return bool(steps) and set(re.findall(r"[^\s,]+", left)) - {"ask"} <= _STEP_WORDS


SAID_AROUND = frozenset("your the what you asked for wish and words a an of in with".split())
COMPARED = ("cheaper", "dearer", "bigger", "smaller")


def holds_than(kind: str, ids: Iterable[str], others: Iterable[str], held: Evidence, *, every: bool) -> bool:
    """Say whether one of the items is cheaper, dearer, bigger or smaller than the others (any, or every one)."""

    def measure(item_id: str) -> tuple[str, float] | None:
        if kind in ("cheaper", "dearer"):
            price = held.price(item_id)
            return None if price is None else ("price", price)
        size = parse_quantity(str(held.items[item_id].attributes.get("size", "")))
        return None if size is None else (size.unit, size.amount)

    def beats(one: tuple[str, float] | None, other: tuple[str, float] | None) -> bool:
        if one is None or other is None or one[0] != other[0]:
            return False
        return one[1] < other[1] if kind in ("cheaper", "smaller") else one[1] > other[1]

    quantifier = all if every else any
    return any(quantifier(beats(measure(one), measure(other)) for other in others if other != one) for one in ids)


def _last(mentions: list[tuple[int, frozenset[str]]], before: frozenset[str]) -> frozenset[str]:
    return mentions[-1][1] if mentions else before


def _mentions(sentence: str, held: Evidence, out: list[Claim]) -> tuple[str, list[tuple[int, frozenset[str]]]]:
    """Find which items a sentence names and where; the names are blanked out, so that their words claim nothing."""
    text, mentions = sentence, []
    lowered = _fold(sentence)
    for name, ids in held.names:
        at = 0
        while (found := lowered.find(name, at)) >= 0:
            end = found + len(name)
            whole = not lowered[end : end + 1].isalnum() and not lowered[max(0, found - 1) : found].isalnum()
            if whole and text[found:end].strip():
                mentions.append((found, ids))
                text = text[:found] + " " * len(name) + text[end:]
                lowered = _fold(text)
            at = end
    for match in list(_PLACE.finditer(text)):
        number = ORDINALS.get((match[3] or "").lower()) or int(match[1] or match[2] or match[4] or 0)
        item_id = held.places.get(number)
        if match[3] and item_id is None and not re.match(r"\s*(one|item|option|,|is|costs|was)", text[match.end() :]):
            continue  # "the first time": no reference
        refused = NEGATION.search(text[: match.start()]) is not None
        out.append(Claim(sentence=sentence, kind="reference", words=match[0], supported=item_id is not None or refused))
        if item_id is not None:
            mentions.append((match.start(), frozenset({item_id})))
        text = _blank(text, match)
    return text, sorted(mentions, key=lambda pair: pair[0])


def _fold(text: str) -> str:
    """Lower a text without changing its length: a few capitals have small letters of two characters."""
    return "".join(small if len(small := character.lower()) == 1 else character for character in text)


def _priced(amount: float, ids: Sequence[str], sentence: str, held: Evidence) -> bool:
    def near(other: float | None) -> bool:
        # A price may be said in whole dollars only where it is whole; half a cent of rounding is no lie.
        return other is not None and abs(amount - other) < 0.0051

    bounds = [held.wish.get(name) for name in ("max_price", "min_price", "below_price", "above_price")]
    if any(near(bound) for bound in bounds) or any(near(held.price(item_id)) for item_id in ids):
        return True
    for item_id in ids:
        facts = held.facts(item_id, "under_price", "over_price", "cheaper", "dearer")
        if any(near(fact.get(name)) for fact in facts for name in ("amount", "limit")):
            return True
    if re.search(r"cart|total|in all|altogether|comes to|sum", sentence, re.IGNORECASE):
        lines = [(held.price(item_id) or 0) * count for item_id, count in held.cart]
        if near(sum(lines)) or any(near(line) for line in lines):
            return True
    if re.search(r"cheaper|less|more|dearer|under|below|over|above|save|differ|apart|extra", sentence, re.IGNORECASE):
        prices = [price for item_id in held.named if (price := held.price(item_id)) is not None]
        prices += [bound for bound in bounds if bound is not None]
        return any(near(abs(one - other)) for one, other in combinations(prices, 2))
    # The shopper's own bound may be said back, though not as the price of something.
    bound_said = re.search(r"under|over|below|above|up to|budget|limit|asked|between|at most", sentence, re.IGNORECASE)
    return bool(bound_said) and bool(re.search(rf"(?<![\d.]){re.escape(f'{amount:g}')}(?![\d.])", held.said))


def _counted(
    numbers: Sequence[float], facts: Callable[..., list[Row]], ids: Sequence[str], kinds: Sequence[str]
) -> bool:
    for item_id in ids:
        for fact in facts(item_id, *kinds):
            values = [fact.get("count"), fact.get("of")]
            if numbers[0] == values[0] and (len(numbers) < 2 or numbers[1] == values[1]):
                return True
    return False


def _said_of_size(match: re.Match[str], held: Evidence, ids: Sequence[str]) -> bool:
    number = match[1].lower()
    if match[0].lower() in held.said or number in held.said:
        return True
    wanted = parse_quantity(match[0])
    for item_id in ids:
        text = held.text(item_id)
        if re.search(rf"(?<![\d.]){re.escape(number)}(?![\d.])", text):
            return True
        own = parse_quantity(str(held.items[item_id].attributes.get("size", "")))
        if wanted and own and wanted.unit == own.unit and abs(wanted.amount - own.amount) <= 0.02 * own.amount:
            return True
    # A count of things in words ("two bags") may be the cart's.
    return _value(number) in {float(count) for _, count in held.cart}


def _spans_of_the_shopper(text: str, held: Evidence) -> list[tuple[int, int]]:
    """Find where a sentence repeats the wish ("3 items for organic milk"): the shopper's words, no claim."""
    spans = []
    wanted = [str(held.wish.get("query") or "").lower(), *held.labels]
    for phrase in wanted:
        if len(phrase) < 3:
            continue
        for match in re.finditer(rf"(?:for|of|like|matches|match) (?:\w+ )?{re.escape(phrase)}", _fold(text)):
            spans.append((match.start(), match.end()))
    for match in re.finditer(
        r"you (?:asked|wanted|said|told|mentioned|are looking|were looking|'re looking|look)[^.;]*", text.lower()
    ):
        spans.append((match.start(), match.end()))
    for match in re.finditer(
        r"\b(?:remember|remembered|noted|forgot|forgotten|forget|keep in mind|i['’]ll avoid|i['’]ll keep|i won['’]t)\b[^.;]*",
        text.lower(),
    ):
        spans.append((match.start(), match.end()))
    return spans


def _without_echo(text: str, held: Evidence) -> str:
    """Blank where a sentence names the wish in the shopper's own words ("5 items for wine under 10 dollars")."""
    said = " ".join(re.findall(r"\S+", held.said))
    for lead in _NAMES_THE_WISH.finditer(text):
        end = lead.end()
        for word in re.finditer(r"\S+", text[lead.end() :]):
            upto = lead.end() + word.end()
            if " ".join(_fold(text[lead.end() : upto]).rstrip(".,;:!? ").split()) not in said:
                break
            end = upto
        text = text[: lead.end()] + " " * (end - lead.end()) + text[end:]
    return text


def _value(number: str) -> float:
    word = number.lower().replace(",", "")
    return NUMBERS[word] if word in NUMBERS else float(re.split(r"[x×\s]", word)[0])


def _blank(text: str, match: re.Match[str], *, only: str | None = None) -> str:
    if only is None:
        return text[: match.start()] + " " * (match.end() - match.start()) + text[match.end() :]
    part = re.sub(only, lambda found: " " * len(found[0]), match[0], flags=re.IGNORECASE)
    return text[: match.start()] + part + text[match.end() :]


def vocabulary(items: Mapping[str, Item]) -> frozenset[str]:
    """Collect the words of a catalogue: what an item's name can be made of."""
    return frozenset(
        word for item in items.values() for word in re.findall(r"[a-z]+", f"{item.text} {item.brand}".lower())
    )


def unknown_names(content: str, *, items: Mapping[str, Item], words: frozenset[str], said: str = "") -> list[str]:
    """List what a reply names that no catalogue item is called, and that the shopper did not say first.

    A name is what stands in quotes or emphasis, or a capitalised word inside a sentence.

    >>> unknown_names("Try the Heinz one.", items={}, words=frozenset({"ketchup"}))
    ['Heinz']
    """
    out = []
    said_words = set(re.findall(r"[a-z]+", said.lower()))
    for match in _QUOTED.finditer(content):
        named = re.findall(r"[a-z]+", match[1].lower())
        if named and not set(named) <= words | said_words:
            out.append(match[1])
            content = _blank(content, match)
    for sentence in _SENTENCE.split(content):
        for match in re.finditer(r"(?<=[a-z,;:] )[A-Z][a-z]{2,}", sentence):
            word = match[0].lower()
            if word not in words and word.rstrip("s") not in words and word not in said_words and match[0] not in out:
                out.append(match[0])
    return out
