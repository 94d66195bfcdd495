"""How much is in a pack: read sizes as labels and people write them, and compare them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from retrieval.records import Item

# Every unit that is understood, as (canonical unit, how many of those); one canonical unit a dimension.
_UNITS: dict[str, tuple[str, float]] = {
    "oz": ("oz", 1),
    "lb": ("oz", 16),
    "g": ("oz", 1 / 28.349523),
    "kg": ("oz", 35.273962),
    "mg": ("oz", 1 / 28349.523),
    "fl oz": ("fl oz", 1),
    "cup": ("fl oz", 8),
    "pint": ("fl oz", 16),
    "quart": ("fl oz", 32),
    "gallon": ("fl oz", 128),
    "ml": ("fl oz", 1 / 29.573530),
    "cl": ("fl oz", 1 / 2.9573530),
    "litre": ("fl oz", 33.814023),
    "ct": ("ct", 1),
    "dozen": ("ct", 12),
    "sq ft": ("sq ft", 1),
    "sheet": ("sheet", 1),
    "load": ("load", 1),
    "in": ("in", 1),
    "ft": ("in", 12),
    "yd": ("in", 36),
    "stem": ("stem", 1),
}
_SPELLINGS: dict[str, tuple[str, ...]] = {
    "oz": ("oz", "ozs", "ounce", "ounces", "z", "0 z", "o"),
    "lb": ("lb", "lbs", "pound", "pounds", "#"),
    "g": ("g", "gm", "gr", "gram", "grams", "gramme", "grammes"),
    "kg": ("kg", "kgs", "kilo", "kilos", "kilogram", "kilograms"),
    "mg": ("mg",),
    "fl oz": ("fl oz", "floz", "fl ozs", "fluid oz", "fluid ounce", "fluid ounces", "fl ounces", "fl ounce"),
    "cup": ("cup", "cups"),
    "pint": ("pt", "pts", "pint", "pints"),
    "quart": ("qt", "qts", "quart", "quarts"),
    "gallon": ("ga", "gal", "gals", "gallon", "gallons", "galon"),
    "ml": ("ml", "mls", "millilitre", "millilitres", "milliliter", "milliliters"),
    "cl": ("cl",),
    "litre": ("l", "lt", "ltr", "ltrs", "liter", "liters", "litre", "litres"),
    "ct": ("ct", "cts", "count", "counts", "pk", "pks", "pack", "packs", "p", "pc", "pcs", "piece", "pieces", "rolls")
    + ("roll", "cans", "bottles", "bars", "bags", "eggs", "each", "ea"),
    "dozen": ("dz", "doz", "dozen", "dozens"),
    "sq ft": ("sq ft", "sqft", "sq feet", "square feet", "square foot"),
    "sheet": ("sheet", "sheets"),
    "load": ("ld", "lds", "load", "loads", "use", "uses"),
    "in": ("in", "inch", "inches"),
    "ft": ("ft", "foot", "feet"),
    "yd": ("yd", "yds", "yard", "yards"),
    "stem": ("stem", "stems"),
}
_UNIT = {spelling: unit for unit, spellings in _SPELLINGS.items() for spelling in spellings}
_WORDS = {
    "half a": "1/2",
    "half": "1/2",
    "quarter": "1/4",
    "one": "1",
    "two": "2",
    "three": "3",
    "four": "4",
    "five": "5",
    "six": "6",
    "seven": "7",
    "eight": "8",
    "nine": "9",
    "ten": "10",
    "twelve": "12",
    "eighteen": "18",
    "twenty": "20",
    "twenty four": "24",
    "thirty": "30",
}
_NUMBER = r"(?:\d+[ -]\d+/\d+|\d+/\d+|\d*\.\d+|\d+\.?)"
_UNITS_RE = "|".join(sorted((re.escape(spelling) for spelling in _UNIT), key=len, reverse=True))
_ONE = re.compile(rf"(?<![\w.])({_NUMBER})[\s-]*({_UNITS_RE})(?![a-z0-9])")
_BARE = re.compile(rf"(?<![a-z0-9])({_UNITS_RE})(?![a-z0-9])")
# "12 pk/12 oz", "12pk 12 oz", "12/12 oz", "6 x 1.5 l", "2-8 oz", "pack of 6, 12 oz": so many of that each.
_PACK = "(?:pk|pks|p|pack|packs|cans|bottles|bars|bags|rolls)"
_COUNT = "(?:ct|cts|count|pcs|pc|pieces)"
_MANY = re.compile(
    rf"(?<![\w./])(\d+)[\s-]*(?:{_PACK}\s*(?:of|x|/|,|-)?|x|/|-)\s*({_NUMBER})[\s-]*({_UNITS_RE})(?![a-z0-9])"
)
_MANY_AFTER = re.compile(rf"(?<![\w.])({_NUMBER})[\s-]*({_UNITS_RE})\s*(?:/|,|x)?\s*(\d+)[\s-]*{_PACK}(?![a-z0-9])")
# "12 ct/16 oz", "12 count, 16 oz", "16 oz, 12 ct": that much in all.
_COUNTED = re.compile(rf"(?<![\w./])(\d+)[\s-]*{_COUNT}\s*(?:/|,|-)?\s*({_NUMBER})[\s-]*({_UNITS_RE})(?![a-z0-9])")
_COUNTED_AFTER = re.compile(rf"(?<![\w.])({_NUMBER})[\s-]*({_UNITS_RE})\s*(?:/|,)?\s*(\d+)[\s-]*{_COUNT}(?![a-z0-9])")
_FRACTIONS = {"1/2", "1/3", "2/3", "1/4", "3/4", "1/8", "3/8", "5/8", "7/8"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """An amount in one canonical unit: oz (weight), fl oz (volume), ct, sq ft, in, sheet, load or stem.

    `pack` is how many pieces the amount is spread over, where the text says so ("12 x 12 oz": 12).
    """

    amount: float
    unit: str
    pack: int = 1


def parse_quantity(text: str) -> Quantity | None:
    """Read a pack size out of a label or out of what a person typed; None when there is none.

    >>> parse_quantity("8 1/2 OZ")
    Quantity(amount=8.5, unit='oz', pack=1)
    >>> parse_quantity("12PK 12 OZ"), parse_quantity("6/24 OZ").amount, parse_quantity("11.2 OZ/6 PK").amount
    (Quantity(amount=144.0, unit='oz', pack=12), 144.0, 67.2)
    >>> parse_quantity("12 CT/16 OZ")
    Quantity(amount=16.0, unit='oz', pack=12)
    >>> parse_quantity("GAL").amount, parse_quantity("1/2 GAL").amount, parse_quantity("half gallon").amount
    (128.0, 64.0, 64.0)
    >>> parse_quantity("2 LITER BTL") == parse_quantity("two litre") == parse_quantity("a 2l of cola")
    True
    >>> parse_quantity("16.9oz").amount, parse_quantity("64 fl oz").unit, parse_quantity("12 ct").unit
    (16.9, 'fl oz', 'ct')
    >>> parse_quantity("a dozen eggs").amount, parse_quantity("1 1/2 lb").amount, parse_quantity("2 dozen").amount
    (12.0, 24.0, 24.0)
    >>> parse_quantity("something big"), parse_quantity("under 5 dollars"), parse_quantity("put 2 in the cart")
    (None, None, None)
    """
    text = re.sub(r"\s+", " ", text.lower().replace("½", " 1/2").replace("¼", " 1/4").replace("¾", " 3/4"))
    text = re.sub(r"(?<=\d),(?=\d{3}\b)", "", text).strip().rstrip(".")
    for word in sorted(_WORDS, key=len, reverse=True):
        text = re.sub(rf"\b{word}\b(?=[ -](?:a )?(?:{_UNITS_RE})\b)", _WORDS[word], text)
    text = re.sub(r"(\d)[ -]?a (?=gallon|dozen|pint|pound)", r"\1 ", text)
    text = re.sub(r"pack of (\d+)", r"\1 pack", text)
    # "2 in the cart" is no length; "9 in pan" and "54 in" are.
    text = re.sub(r"(\d) in(?= (?:my|the|this|that|a|all|total|stock|each)\b)", r"\1", text)
    if (match := _COUNTED.search(text)) and _UNIT[match[3]] != "ct":
        return _quantity(_number(match[2]), _UNIT[match[3]], pack=int(match[1]))
    if (match := _COUNTED_AFTER.search(text)) and _UNIT[match[2]] != "ct":
        return _quantity(_number(match[1]), _UNIT[match[2]], pack=int(match[3]))
    if match := _MANY.search(text):
        count, each, unit = int(match[1]), match[2], _UNIT[match[3]]
        written = f"{match[1]}/{each}"
        if not (written in _FRACTIONS and written in match[0].replace(" ", "")) and unit != "ct":
            return _quantity(count * _number(each), unit, pack=count)
    if (match := _MANY_AFTER.search(text)) and _UNIT[match[2]] != "ct":
        return _quantity(int(match[3]) * _number(match[1]), _UNIT[match[2]], pack=int(match[3]))
    found = [(match[1], _UNIT[match[2]]) for match in _ONE.finditer(text)]
    # A lone letter is a unit only behind a number, and an amount by weight or volume says more than a count.
    found.sort(key=lambda pair: pair[1] == "ct")
    if found:
        return _quantity(_number(found[0][0]), found[0][1])
    if match := _BARE.search(text):
        unit = _UNIT[match[1]]
        if unit in {"gallon", "dozen", "pint", "quart", "litre", "lb"} and (len(match[1]) > 1 or text == match[1]):
            return _quantity(1.0, unit)
    return None


def item_quantity(item: Item) -> Quantity | None:
    """Read how much one of an item is, from its attribute `shown_size` where it has one, else from `size`.

    The default shop's raw `size` may be that of the case ("40 LB" of bananas); its `shown_size` is "" there.

    >>> item_quantity(Item(item_id="1", title="Bananas", attributes={"size": "40 LB", "shown_size": ""}))
    >>> item_quantity(Item(item_id="2", title="Cheese", attributes={"size": "8 OZ"}))
    Quantity(amount=8.0, unit='oz', pack=1)
    """
    stated = item.attributes.get("shown_size", item.attributes.get("size"))
    return parse_quantity(stated) if isinstance(stated, str) else None


def same_size(a: Quantity | str | None, b: Quantity | str | None, tolerance: float = 0.05) -> bool:
    """Say whether two sizes mean the same pack, give or take `tolerance` of the larger.

    Labels write fluid ounces as "oz", so weight and fluid ounces compare by number; and "12 pack" is the
    same as "12 x 12 oz".

    >>> same_size("2 litre", "67.6 OZ"), same_size("16 oz", "1 LB"), same_size("1 gallon", "128 OZ")
    (True, True, True)
    >>> same_size("12 pack", "12 PK/12 OZ"), same_size("8 oz", "16 oz"), same_size("8 oz", "8 ct")
    (True, False, False)
    """
    left = parse_quantity(a) if isinstance(a, str) else a
    right = parse_quantity(b) if isinstance(b, str) else b
    if left is None or right is None:
        return False
    if {left.unit, right.unit} <= {"oz", "fl oz"} or left.unit == right.unit:
        return _close(left.amount, right.amount, tolerance)
    for one, other in ((left, right), (right, left)):
        if one.unit == "ct" and other.pack > 1:
            return one.amount == other.pack
    return False


def _close(a: float, b: float, tolerance: float) -> bool:
    return abs(a - b) <= tolerance * max(a, b)


def _number(text: str) -> float:
    if re.search(r"/0+$", text.strip()):
        return 0.0
    whole, _, part = text.strip().replace("-", " ").partition(" ")
    if part:
        return float(int(whole) + Fraction(part))
    return float(Fraction(whole)) if "/" in whole else float(whole)


def _quantity(amount: float, unit: str, *, pack: int = 1) -> Quantity | None:
    if amount <= 0:
        return None
    canonical, factor = _UNITS[unit]
    return Quantity(amount=round(amount * factor, 6), unit=canonical, pack=pack)
