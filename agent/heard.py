"""What a message says plainly: bounds on the price, brand tiers, places in the list, whether anything is refused.

A small model sometimes takes "at least $10" for a most, or leaves "generic" out. Where a message says such a thing in so
many words, code reads it, and `agent/mend.py` mends the call by it; where it does not, nothing here is found, and the
model's call stands.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from agent.amounts import as_digits

LAST = -1  # the place of "the last one"

_REFUSES = re.compile(
    r"\b(?:no|not|none|nothing|never|neither|nor|non|w[a-z]{0,3}out|w/o|wo|noth\w*|noty\w*|minus|sans|zero|nix|skip|avoid\w*|hat(?:e|es|ed)"
    r"|allerg\w*|intoleran\w*|except\w*|exclud\w*|besides|instead|rather|apart|aside|other|else|but|leave|leaving|left|drop"
    r"|lose|hold|remove|stop|ban\w*|cut|ditch|kill|rid|away|out|off|sick|tired|enough|wrong|stand|refuse|dislike\w*"
    r"|miss|anything|unless|forget|keep|less|lacks?|lacking|contain\w*|omit\w*|nope|nah|ew+|yuck\w*|gross|bad|pls no"
    r"|can ?t|cannot|don ?t|dont|doesn ?t|won ?t|isn ?t|aren ?t|ain ?t|shouldn ?t|wouldn ?t|didn ?t|haven ?t|hasn ?t"
    r"|un(?!der\b|til\b|its?\b|cle)\w{3,}|neva|nuthin|nuffin|veto|deadly|sensitive|bother|free)\b|n't\b|n’t\b|\w(?:less|free)\b|-free\b|\bfree\b|[x✗❌🚫]\s"
)

_UNITS = (
    r"oz|ounces?|fl|lbs?|pounds?|ct|counts?|packs?|pk|pcs?|pieces?|gal|gallons?|l|liters?|litres?|ml|g|kg|grams?|qt|quarts?"
    r"|pt|pints?|rolls?|sheets?|loads?|inch(?:es)?|in\b|ft|feet|dozen|people|persons?|kids?|of us|times?|days?|weeks?|months?"
    r"|years?|trips?|percent|%|cans?|bottles?|boxes|bags?|of them|calories|cals?|watts?|th\b|st\b|nd\b|rd\b|x\b|minutes?|hours?|am\b|pm\b"
)
_AMOUNT = re.compile(
    r"(?<![\w.#])(?:\$\s*)?(?P<whole>\d+(?:\.\d+)?|\.\d+)"
    r"(?:\s*(?P<unit>dollars?|bucks?|usd|\$|cents?|c\b|¢))?"
    r"(?:(?:\s+and)?(?:\s+oh)?\s+(?P<rest>\d{1,2})(?![\d.])(?:\s*cents?)?)?"
    r"(?P<half>\s+and (?:a )?half)?"
    rf"(?!\s*-?\s*(?:{_UNITS})(?![a-z]))(?![\w%])"
)
_OVER = r"(?:over|above|more than|exceed(?:ing)?|beyond|higher than|greater than|dearer than|costlier than|pricier than|past|>)"
_UNDER = r"(?:under|below|less than|cheaper than|lower than|beneath|<)"
_GAP = r"\s*(?:about|around|like|maybe|say|a|the|of|is|=|:|to|at)?\s*"
_BESIDE = re.compile(rf"(?<!\w)(?:(?P<over>{_OVER})|(?P<under>{_UNDER})){_GAP}$")
_N_T = r"(?:n't|\bdont|\bdoesnt|\bcant|\bcannot|\bwont|\bisnt)"
_NEGATED = {  # "not under", "I don't want one under"; but "chips without salt under $2" refuses only the salt
    "under": re.compile(
        rf"(?:\b(?:no|not|nothing|none|never|neither)|{_N_T}(?: want| trust| show| like| buy)(?: [^\s,;.]+){{0,4}})\s*$"
    ),
    "over": re.compile(
        rf"(?:(?:{_N_T}|\b(?:no|not|nothing|none|never|neither|skip|leave out))(?: \w+){{0,2}}"
        rf"|(?:{_N_T}|\b(?:not|never|without|w/o|refuse|no way i))(?: \w+)? (?:spend|pay|go|cost|be|get|want|show|see|like)\w*(?: [^\s,;.]+){{0,4}})\s*$"
    ),
}
_MOST_BEFORE = re.compile(
    rf"(?:\bat (?:the )?most|\bup to|\bmax(?:imum)?(?: price| budget| of)?|\bwithin|\btops|\b(?:budget|limit|cap)(?: is| of)?){_GAP}$"
)
_LEAST_BEFORE = re.compile(rf"(?:\bat (?:the )?least|\bmin(?:imum)?(?: price| of)?|\bstarting (?:at|from)){_GAP}$")
_MOST_AFTER = re.compile(
    r"^\s*,?\s*(?:each |apiece |is (?:my |the )?)?(?:max\b|maximum|tops\b|or less|or under|or below|or cheaper|at (?:the )?most|and under"
    r"|and below|or lower|limit\b|budget\b|is all i have|and not a penny more|and no more)"
)
_LEAST_AFTER = re.compile(
    r"^\s*,?\s*(?:or more|or over|or above|or higher|or up\b|and up\b|and over|and above|and more|at (?:the )?least|minimum|min\b|plus\b|\+(?!\s*\d))"
)

_STORE = re.compile(
    r"\bgenerics?\b|\b(?:store|own|house|off|shop)[\s-]*(?:brands?|label)\w*|\bprivate (?:label|brand)|\b(?:store|shop)['’]?s own"
    r"|\bno[\s-]?name\b|\bthe (?:store|generic) ones?\b"
)
_NAME = re.compile(
    r"\bname[\s-]*brand\w*|\bbrand[\s-]*names?\b|\bnational[\s-]*brand\w*|\b(?:big|real|famous|known|proper)[\s-]*(?:name )?brand\w*"
    r"|\bbranded\b|\bbig names?\b"
)
_DENIED = re.compile(
    r"(?:\b(?:not|no|none|non|dont|hate|except|instead of|other than|without|anything but|all but)|n't)\s+(?:\w+\s+){0,3}$"
)

_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
_PLACES = {word: place for place, word in enumerate(_ORDINALS, start=1)}
_PLACES |= {"1st": 1, "2nd": 2, "3rd": 3} | {f"{place}th": place for place in range(4, 11)} | {"frist": 1, "secound": 2}
_NO_PLACE = r"(?!\s+(?:to (?:the )?last|last|\d|two|three|four|five|few|couple|page|aid|thing|of all|thoughts?|time|times|trip|week|month|order|day|timer|place|off|and foremost|hand|let|baby|night|party|year|purchase|class))"
_PLACE = re.compile(
    rf"(?<!at )(?<!for )(?<!in )(?<!last )\b(?P<word>{'|'.join(_PLACES)})\b{_NO_PLACE}"
    r"|(?:#|\bnumber\s+|\bno\.\s*|\bnr\.?\s*|\bnum\s+|\bitem\s+|\boption\s+)(?P<digit>\d{1,2})\b(?!\s*(?:%|/))"
    r"|\b(?P<top>the top one|top one|the topmost|the one (?:at|on) (?:the )?top)\b"
    r"|\b(?P<last>(?:the )?(?:last|bottom) (?:one|item)|the one at the (?:end|bottom))\b"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What one message says in so many words; empty where it says nothing of the sort.

    `most` and `least` are amounts in dollars, `tiers` are brand tiers wanted ("store brand", "name brand"), `places` are
    those in the list, in the order said, `LAST` for the last, none where the message may speak of others too; `points` says
    whether it speaks of one thing as "that" or "it", `refuses` whether any word of refusal is used.
    """

    most: float | None = None
    least: float | None = None
    tiers: tuple[str, ...] = ()
    places: tuple[int, ...] = ()
    points: bool = False
    refuses: bool = False


def hear(message: str) -> Heard:
    """Read what a message says plainly.

    >>> hear("milk, not over $4"), hear("at least ten bucks").least, hear("a buck fifty or less").most
    (Heard(most=4.0, least=None, tiers=(), places=(), points=False, refuses=True), 10.0, 1.5)
    >>> hear("a dozen eggs") == Heard(), hear("add the 2nd one and the last one").places
    (True, (2, -1))
    >>> hear("generic please").tiers, hear("not the store brand").tiers
    (('store brand',), ('name brand',))
    """
    text = " ".join(message.lower().replace("’", "'").split())
    most, least = _bounds(text)
    return Heard(
        most=most,
        least=least,
        tiers=_tiers(text),
        places=_places(text),
        points=bool(re.search(r"\b(?:it|that|this|its|thats)\b", text)) and not _SEVERAL.search(text),
        refuses=bool(_REFUSES.search(text + " ")),
    )


def _bounds(text: str) -> tuple[float | None, float | None]:
    spoken = re.sub(r"\b(?:a )?fiver\b", "5 dollars", re.sub(r"\b(?:a )?tenner\b", "10 dollars", as_digits(text)))
    spoken = re.sub(r"\bhalf an? (?:dollar|buck)\b", "50 cents", spoken)
    spoken = re.sub(r"\ban? (dollar|buck)\b(?! store)", r"1 \1", spoken)
    spoken = re.sub(r"(?<=\d),(?=\d{2}(?!\d))", ".", spoken)
    most: set[float] = set()
    least: set[float] = set()
    for found in _AMOUNT.finditer(spoken):
        amount = _amount(found)
        before, after = spoken[max(0, found.start() - 60) : found.start()], spoken[found.end() :]
        if re.match(
            r"\s*(?:-|–|to\b|till\b)\s*\$?\d", after
        ):  # "budget 3 to 4": a range, whose ends are no bounds alone
            continue
        if beside := _BESIDE.search(before):
            way = "under" if beside["under"] else "over"
            flipped = _NEGATED[way].search(before[: beside.start()])
            (most if (way == "under") != bool(flipped) else least).add(amount)
        elif _MOST_BEFORE.search(before) or _MOST_AFTER.search(after):
            most.add(amount)
        elif _LEAST_BEFORE.search(before) or _LEAST_AFTER.search(after):
            least.add(amount)
    return (most.pop() if len(most) == 1 else None), (least.pop() if len(least) == 1 else None)


def _amount(found: re.Match[str]) -> float:
    amount = float(found["whole"])
    if (found["unit"] or "")[:1] in ("c", "¢"):
        return amount / 100
    if found["rest"] and amount == int(amount):
        amount += int(found["rest"]) / 100
    return amount + 0.5 if found["half"] else amount


def _tiers(text: str) -> tuple[str, ...]:
    wanted: list[str] = []
    for pattern, own, other in ((_STORE, "store brand", "name brand"), (_NAME, "name brand", "store brand")):
        for found in pattern.finditer(text):
            wanted.append(other if _DENIED.search(text[: found.start()]) else own)
    return tuple(dict.fromkeys(wanted))


_SEVERAL = re.compile(
    r"\d|\b(?:all|both|them|these|those|everything|every|whole|lot|each|and|they|two|three|four|five|pair|couple)\b"
)
_COUNT_OF = re.compile(r"\b(?:\d{1,2}|two|three|four|five|six|ten)\s*(?:x\b|of\b|times\b)")
_OTHER_PLACES = re.compile(
    r"\d|\b(?:others?|rest|all|both|each|them|these|those|they|vs|versus|compared?|comparing|middle|against|than|differen\w+|better"
    r"|between|which|except|but|swap|replace|instead|not|isn't|isnt|didn't|didnt|shouldn't)\b|\b(?:top|bottom|last|next|other)\b"
)


def _places(text: str) -> tuple[int, ...]:
    """Read the places said; none where other words of the message may mean a place too."""
    out = []
    text = re.sub(r"(?<=\bnumber )[a-z]+\b", lambda word: as_digits(word[0]), text)
    if re.search(r"\b(?:second|2nd|next)[ -](?:to )?(?:the )?last\b", text):
        return ()
    if _OTHER_PLACES.search(_COUNT_OF.sub(" ", _PLACE.sub(" ", text))):
        return ()
    for found in _PLACE.finditer(text):
        if found["word"]:
            out.append(_PLACES[found["word"]])
        elif found["digit"]:
            out.append(int(found["digit"]))
        else:
            out.append(1 if found["top"] else LAST)
    return tuple(dict.fromkeys(out))
