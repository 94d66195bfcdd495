"""Read the amounts that a text speaks of, in digits or words: a bound that nobody said is no bound."""

from __future__ import annotations

import re

_TEENS = "ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen"
_ONES = {word: n for n, word in enumerate(f"zero one two three four five six seven eight nine {_TEENS}".split())}
_TENS = {
    word: 10 * n for n, word in enumerate("twenty thirty forty fifty sixty seventy eighty ninety".split(), start=2)
}
_SINGLE = {
    "fiver": 5,
    "tenner": 10,
    "couple": 2,
    "dozen": 12,
    "half": 0.5,
    "quarter": 0.25,
    "dime": 0.1,
    "buck": 1,
    "dollar": 1,
}
_UNIT = r"(?:dollars?|bucks?|usd|\$)"


def numbers_in(text: str) -> set[float]:
    """Find the amounts that a text speaks of, in digits or words.

    Every reading is kept: a bound that the shopper could have meant is accepted.

    >>> sorted(numbers_in("under five bucks or $2.50")), sorted(numbers_in("a buck fifty, 99 cents"))
    ([2.5, 5.0], [0.99, 1.0, 1.5, 50.0, 99.0])
    >>> [amount in numbers_in(text) for text, amount in (("four oh nine", 4.09), ("2 dollars 50", 2.5), (".99", 0.99))]
    [True, True, True]
    >>> 1.5 in numbers_in("under 1,50"), 1200 in numbers_in("1,200")
    (True, True)
    """
    lower = as_digits(re.sub(r"-", " ", text.lower()))
    found = {float(number) for number in re.findall(r"(?<![\w.])\$?\s?(\d*\.\d+|\d+)", lower)}
    found |= {float(number) / 100 for number in re.findall(r"(\d+)\s*(?:cents?|c\b|¢)", lower)}
    # "4 dollars 50", "4 dollars and 50 cents", "4 50", "4 oh 9"
    for whole, cents in re.findall(
        rf"(?<![\w.])(\d+)(?:\s*{_UNIT}\s*|\s+)(?:and\s+)?(?:oh\s+)?(\d{{1,2}})(?!\d|\.\d)", lower
    ):
        found.add(float(whole) + int(cents) / 100)
    found |= {float(f"{whole}.{cents}") for whole, cents in re.findall(r"(?<![\w.,])(\d+),(\d{2})(?![\d,])", lower)}
    found |= {float(n.replace(",", "")) for n in re.findall(r"(?<![\w.,])\d{1,3}(?:,\d{3})+(?![\d,])", lower)}
    for whole in re.findall(rf"(?<![\w.])(\d+)\s*{_UNIT}?\s*and (?:a )?half", lower):
        found.add(float(whole) + 0.5)
    for word in re.findall(r"[a-z]+", lower):
        if word in _SINGLE:
            found.add(float(_SINGLE[word]))
    for cents in re.findall(r"\b(?:buck|dollar) (?:and )?(\d{1,2})(?![\d.])", lower):
        found.add(1 + int(cents) / 100)
    return found


_MEASURED = re.compile(
    r"\b(?:half a |a |one |two |\d+ )?dozen\b|\bi'?m \d{1,2}\b(?! (?:dollars?|bucks?))"
    r"|(?<!\$)(?<!\$ )(?<![\d.])\d+(?:\.\d+)?[\s-]*(?:oz|ounces?|lbs|ct|counts?|packs?|pk|gal|gallons?|liters?|litres?|ml|kg"
    r"|grams?|rolls?|inch(?:es)?|people|persons|kids|times|days|weeks|years?|percent)\b"
)


def prices_in(text: str) -> set[float]:
    """Find the amounts that may be prices: not those that measure or count.

    >>> sorted(prices_in("a dozen eggs, 16 oz, under 4"))
    [4.0]
    """
    return numbers_in(_MEASURED.sub(" ", text.lower()))


def as_digits(text: str) -> str:
    """Write number words as digits: "twenty five" is 25, "four fifty" stays two numbers.

    >>> as_digits("under twenty five or four fifty, one hundred ten")
    'under 25 or 4 50, 110'
    """
    out: list[str] = []
    words = re.findall(r"[a-z]+|[^a-z]+", text)
    at = 0
    while at < len(words):
        value, used = _number_at(words, at)
        if used:
            out.append(str(value))
            at += used
        else:
            out.append(words[at])
            at += 1
    return "".join(out)


def _number_at(words: list[str], at: int) -> tuple[int, int]:
    value, used = _below_hundred(words, at)
    if not used:
        return 0, 0
    if at + used + 1 < len(words) and words[at + used].isspace() and words[at + used + 1] == "hundred":
        value, used = value * 100, used + 2
        if at + used + 1 < len(words) and words[at + used].isspace():
            rest, more = _below_hundred(words, at + used + 1)
            if more:
                return value + rest, used + 1 + more
    return value, used


def _below_hundred(words: list[str], at: int) -> tuple[int, int]:
    word = words[at]
    if word in _ONES:
        return _ONES[word], 1
    if word in _TENS:
        if at + 2 < len(words) and words[at + 1].isspace() and 0 < _ONES.get(words[at + 2], 0) < 10:
            return _TENS[word] + _ONES[words[at + 2]], 3
        return _TENS[word], 1
    return 0, 0
