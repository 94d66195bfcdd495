"""What a message says in so many words: the side of a bound, a brand tier, places in the list, whether anything is refused.

A small model sometimes takes "at least $10" for a most. Where a message says such a thing plainly, code reads it, and
`agent/mend.py` turns the planned call by it. Where any other word of the message leaves a doubt, nothing is heard, and the
model's call stands: an unheard word costs nothing, a misheard one spoils a right plan.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from agent.amounts import as_digits

LAST = -1  # the place of "the last one"

# What refuses, complains, asks or corrects: beside these a bound or a tier may mean its opposite.
_DOUBT = re.compile(
    r"\b(?:no|not|non|nothing|none|nobody|never|neither|nor|cannot|avoid\w*|skip\w*|hid(?:e|ing)|drop\w*|remove\w*|stop\w*|filter\w*"
    r"|rid|hat(?:e|es|ed|ing)|refus\w*|leav(?:e|ing)|left|exclud\w*|except\w*|take out|cut|ditch\w*|too|crazy|expensive|pricey|if|all"
    r"|everything|who|why|these|those|cheaper|off|instead|rather|sick|tired|forget|remember|better|than|gross|bad|many|mind|care|matters?"
    r"|doubt|wrong|without|wo|sorry|wait|actually"
    r"|(?:do|does|did|ca|wo|would|should|could|is|are|ai|has|have)nt|dnt)\b|n't\b|\bn t\b"
)
_NOT = r"(?:n't|\b(?:no|not|nothing|none|never|neither|cannot|dont|doesnt|cant|wont|isnt|arent|refuse to))"
_FUNCTION = (
    r"(?: (?:any(?:thing)?|thats?|which|ones?|the|is|are|it|its|be|go|going|have|do|got|much|way|far|even|costs?|costing|priced?|a"
    r"|cent|penny|spend|spending|pay|paying|want|to|show me))*"
)
_DIRECTLY = re.compile(rf"{_NOT}{_FUNCTION}\s*$")
_OVER = r"(?:over|above|more than|exceed(?:ing)?|beyond|higher than|greater than|dearer than|costlier than|pricier than|past|>)"
_UNDER = r"(?:under|below|less than|cheaper than|lower than|beneath|<)"
_GAP = r"\s*(?:about|around|like|maybe|say|a|the|of|is|=|:|to|at)?\s*"
_BESIDE = re.compile(rf"(?<!\w)(?:(?P<over>{_OVER})|(?P<under>{_UNDER})){_GAP}$")
_MOST_BEFORE = re.compile(
    rf"(?:\bat (?:the )?most|\bup to|\bmax(?:imum)?(?: price| budget| of)?|\bwithin|\b(?:budget|limit|cap)(?: is| of)?){_GAP}$"
)
_LEAST_BEFORE = re.compile(rf"(?:\bat (?:the )?least|\bmin(?:imum)?(?: price| of)?|\bstarting (?:at|from)){_GAP}$")
_MOST_AFTER = re.compile(
    r"^\s*,?\s*(?:each |apiece |is (?:my |the )?)?(?:max\b|maximum|tops\b|or less|or under|or below|or cheaper|at (?:the )?most"
    r"|and under|and below|or lower|limit\b|budget\b|is all i have|and not a penny more|and no more)"
)
_LEAST_AFTER = re.compile(
    r"^\s*,?\s*(?:or more|or over|or above|or higher|or up\b|and up\b|and over|and above|and more|at (?:the )?least|minimum)"
)
_RANGE = re.compile(r"\s*(?:-|–|to\b|till\b|or)\s*\$?\s*\d")  # "budget 3 to 4": its ends are no bounds alone
_UNITS = (
    r"oz|ounces?|fl|lbs?|pounds?|ct|counts?|packs?|pk|pcs?|pieces?|gal|gallons?|l|liters?|litres?|ml|mg|g|kg|grams?|qt|quarts?"
    r"|pt|pints?|rolls?|sheets?|loads?|inch(?:es)?|ft|feet|dozen|people|persons?|kids?|of us|times?|days?|weeks?|wks?|months?|mos?"
    r"|years?|yrs?|trips?|percent|%|cans?|bottles?|boxes|bags?|of them|calories|cals?|carbs?|watts?|th\b|st\b|nd\b|rd\b|x\b"
    r"|min(?:ute)?s?|hours?|secs?|am\b|pm\b|ingredients?|stars?"
)
_AMOUNT = re.compile(
    r"(?<![\w.#])(?:\$\s*)?(?P<whole>\d{1,5}+(?:\.\d++)?+|\.\d{1,2}+)"
    r"(?:\s*(?P<unit>dollars?|bucks?|usd|\$|cents?|c\b|¢))?+"
    r"(?:(?:\s+and)?\s+(?P<rest>\d{2}|oh \d)(?!\d|\.\d)(?:\s*cents?)?)?+"
    r"(?P<half>\s+and (?:a )?half)?+"
    rf"(?!\s*-?\s*(?:{_UNITS})(?![a-z]))(?!\d|\.\d|%)"
)

_STORE = re.compile(
    r"\bgenerics?\b|\b(?:store|own|house|off|shop)[\s-]*(?:brands?|label)\w*|\bprivate (?:label|brand)|\b(?:store|shop)'?s own"
    r"|\bno[\s-]?name\b|\bthe (?:store|generic) ones?\b"
)
_NAME = re.compile(
    r"\bname[\s-]*brand\w*|\bnational[\s-]*brand\w*|\b(?:big|real|famous|known|proper)[\s-]*(?:name )?brand\w*|\bbranded\b|\bbig names?\b"
)
_REFUSED = re.compile(
    r"\b(?:not|hate|except|instead of|other than|anything but|without|rather than|avoid|skip|never) (?:the |a |any )*$"
)

_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
_PLACES = {word: place for place, word in enumerate(_ORDINALS, start=1)}
_PLACES |= {"1st": 1, "2nd": 2, "3rd": 3} | {f"{place}th": place for place in range(4, 11)} | {"frist": 1, "secound": 2}
_NO_PLACE = (
    r"(?!,?\s*(?:to (?:the )?last|last|\d|two|three|four|five|few|couple|page|aid|thing|of all|of (?:july|the month)|thoughts?|time|times"
    r"|trip|week|month|order|day|timer|place|off|and foremost|hand|let|baby|night|party|year|purchase|class|tell|question|ingredient"
    r"|course|date|birthday|grader|choice|list|row|generation|bag|bottle|pack|can|box|,))"
)
_PLACE = re.compile(
    rf"(?<!at )(?<!for )(?<!in )(?<!last )(?<!\ba )(?<!my )\b(?P<word>{'|'.join(_PLACES)})\b{_NO_PLACE}"
    r"|(?:#|\bnumber\s+|\bno\.\s*|\bnr\.?\s*|\bnum\s+|\bitem\s+|\boption\s+)(?P<digit>\d{1,2})\b(?!\s*(?:%|/))"
    r"|\b(?P<top>the top one|top one|the topmost|the one (?:at|on) (?:the )?top)\b"
    r"|\b(?P<last>(?:the )?(?:last|bottom) (?:one|item)(?! (?:i|you|we)\b)|the one at the (?:end|bottom))\b"
)
_COUNT_OF = re.compile(r"\b(?:\d{1,2}|two|three|four|five|six|ten)\s*(?:x\b|of\b|times\b)")
# Other words that may mean a place, a range of places, or that a place is not meant after all.
_NO_PLACES = re.compile(
    r"\d|\b(?:others?|rest|all|both|each|them|these|those|they|vs|versus|compared?|comparing|middle|against|than|differen\w+|better"
    r"|between|which|except|but|swap|replace|instead|not|isn't|isnt|didn't|didnt|shouldn't|top|bottom|last|next|through|thru|to|till"
    r"|until|everything|whole|two|three|four|five|six|seven|eight|nine|ten|it|that|this|no|wait|actually|sorry|mean|skip|forget|ignore"
    r"|too|looks?|rather|then|(?:first|second|third|fourth|fifth)|[1-9](?:st|nd|rd|th))\b|-|–"
)
_ONE_THING = re.compile(
    r"^(?:(?:ok(?:ay)?|k|yes|yeah|yep|sure|fine|great|good|nice|cool|ugh|please|pls|and|then|just|so|alright) ){0,3}"
    r"(?:add|take|get|want|buy|remove|drop|i'll take|ill take|i'll have|gimme|put) (?:it|that|this|that one|this one)"
    r"(?: (?:in|to|into|on|please|pls|then|for me|my|the|a|cart|basket|bag|one|now|thanks|thx|ty))*[.!]*$"
)
_REFUSES = re.compile(r"(?:\b(?:no|not|without|w/o|minus|except)|n't want)\s+(?:the |any |a |an )?([\w-]+(?: [\w-]+)?)")
_FORGETS = re.compile(
    r"^(?:(?:ok(?:ay)?|oh|and|also|now|actually|please|pls|can you|could you|just) ){0,3}(?:forget|erase|delete)(?: about)?"
    r"(?: (?P<what>[^.,;:!?]{3,50}))[.!?]*$"
)
_NAMED = re.compile(
    r"\b(?!(?:the|that|this|those|what|about|said|told|likes?d?|love|hate|things?|you|know|our|his|her|them|all|everything|and|for"
    r"|not|with|from|have|having|want|buy|don't|dont)\b)[^\W_]{3,}\b"
)
_FILLER = frozenset(
    "a an the some please pls plz need want with i we get me for of and in only tho though then ok okay one ones kind type just"
    " maybe it make have".split()
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What one message says in so many words; empty where it says nothing of the sort, or leaves a doubt.

    `most` and `least` are amounts in dollars; `tier` is the brand tier wanted ("store brand", "name brand"); `places` are
    those in the list, in the order said, `LAST` for the last; `one_thing` says that it only takes up "it" or "that"; `words`
    are all its words but for those that say nothing ("some", "please"), `refused` those right after a "no" or "not";
    `forgets` are the words of what it asks to be forgotten, where it asks for nothing else; `one_number` is its only number,
    where that counts nothing ("2 of them").
    """

    most: float | None = None
    least: float | None = None
    tier: str | None = None
    places: tuple[int, ...] = ()
    one_thing: bool = False
    words: frozenset[str] = frozenset()
    refused: frozenset[str] = frozenset()
    forgets: tuple[str, ...] = ()
    one_number: int | None = None


def hear(message: str) -> Heard:
    """Read what a message says plainly.

    >>> hear("milk, at least $4").least, hear("nothing over ten bucks").most, hear("a buck fifty or less").most
    (4.0, 10.0, 1.5)
    >>> hear("a dozen eggs").most, hear("add the 2nd one and the last one").places, hear("k add that").one_thing
    (None, (2, -1), True)
    >>> hear("generic please").tier, hear("not the store brand").tier, hear("the store brand was gross").tier
    ('store brand', 'name brand', None)
    """
    text = " ".join(message.lower().replace("’", "'").split())
    most, least = _bounds(text)
    return Heard(
        most=most,
        least=least,
        tier=_tier(text),
        places=_places(text),
        one_thing=bool(_ONE_THING.match(text)),
        words=bare_words(text),
        refused=frozenset(word for found in _REFUSES.finditer(text) for word in re.findall(r"[^\W_]+", found[1])),
        one_number=_one_number(text),
        forgets=tuple(_NAMED.findall(found["what"])) if (found := _FORGETS.match(text)) else (),
    )


def bare_words(text: str) -> frozenset[str]:
    """Give the words of a text that say something.

    >>> sorted(bare_words("Some nuggets, frozen please"))
    ['frozen', 'nuggets']
    """
    return frozenset(re.findall(r"[^\W_]+", text.lower())) - _FILLER


def _one_number(text: str) -> int | None:
    """Read the only number of a text that counts nothing.

    >>> _one_number("add 2"), _one_number("number two please"), _one_number("2 of the cheese"), _one_number("add 2 of 3")
    (2, 2, None, None)
    """
    numbers = re.findall(r"(?<![\w.$])\d+(?![\w.%])", digits := as_digits(text))
    counts = re.search(r"\d\s*(?:x\b|of\b|times\b|more\b|packs?\b|each\b|pieces?\b)|\bx\s*\d", digits)
    return int(numbers[0]) if len(numbers) == 1 and counts is None else None


def _bounds(text: str) -> tuple[float | None, float | None]:
    spoken = as_digits(re.sub(r"(?<=[a-z])-(?=[a-z])", " ", text))
    spoken = re.sub(r"\b(?:a )?fiver\b", "5 dollars", re.sub(r"\b(?:a )?tenner\b", "10 dollars", spoken))
    spoken = re.sub(r"\bhalf an? (?:dollar|buck)\b", "50 cents", spoken)
    spoken = re.sub(r"\ban? (dollar|buck)\b(?! store)", r"1 \1", spoken)
    spoken = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", spoken)
    spoken = re.sub(r"(?<=\d),(?=\d{2}(?!\d))", ".", spoken)
    most: set[float] = set()
    least: set[float] = set()
    for found in _AMOUNT.finditer(spoken):
        before, after = spoken[max(0, found.start() - 60) : found.start()], spoken[found.end() :]
        if _RANGE.match(after):
            continue
        beside = _BESIDE.search(before)
        under = bool(beside and beside["under"]) or bool(_MOST_BEFORE.search(before) or _MOST_AFTER.search(after))
        over = bool(beside and beside["over"]) or bool(_LEAST_BEFORE.search(before) or _LEAST_AFTER.search(after))
        if under == over:
            continue
        turned = _DIRECTLY.search(before[: beside.start()]) if beside else None
        rest = f"{before[: turned.start()]} {after}" if turned else f"{spoken[: found.start()]} {after}"
        if beside:
            rest = rest.replace(beside[0], " ")
        if _DOUBT.search(rest) or "?" in after:
            continue
        (most if under != bool(turned) else least).add(_amount(found))
    return (most.pop() if len(most) == 1 else None), (least.pop() if len(least) == 1 else None)


def _amount(found: re.Match[str]) -> float:
    amount = float(found["whole"])
    if (found["unit"] or "")[:1] in ("c", "¢") and amount >= 1:
        return amount / 100
    if found["rest"] and amount == int(amount):
        amount += int(found["rest"].removeprefix("oh ")) / 100
    return amount + 0.5 if found["half"] else amount


def _tier(text: str) -> str | None:
    """Read the one brand tier that is wanted: said where nothing is refused, or the other one right after a refusal."""
    wanted = set()
    for pattern, own, other in ((_STORE, "store brand", "name brand"), (_NAME, "name brand", "store brand")):
        for found in pattern.finditer(text):
            before, after = text[: found.start()], text[found.end() :]
            refused = _REFUSED.search(before)
            if _DOUBT.search(f"{before[: refused.start()] if refused else before} {after}") or "?" in after:
                return None
            wanted.add(other if refused else own)
    return wanted.pop() if len(wanted) == 1 else None


def _places(text: str) -> tuple[int, ...]:
    """Read the places said; none where other words of the message may mean a place too."""
    text = re.sub(r"(?<=\bnumber )[a-z]+\b", lambda word: as_digits(word[0]), text)
    if _NO_PLACES.search(_COUNT_OF.sub(" ", _PLACE.sub(" ", text))):
        return ()
    out = []
    for found in _PLACE.finditer(text):
        if found["word"]:
            out.append(_PLACES[found["word"]])
        elif found["digit"]:
            out.append(int(found["digit"]))
        else:
            out.append(1 if found["top"] else LAST)
    return tuple(dict.fromkeys(out))
