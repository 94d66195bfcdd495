"""What people call the products of the packaged grocery data: hand-written tables, and rules for the rest."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

from retrieval.quantity import parse_quantity


@dataclass(frozen=True, slots=True, kw_only=True)
class Name:
    """How people call a product type: the kind (head noun last), qualifiers, other names, a plain note.

    `pack` is a qualifier that is left out where the size itself says how many are in the pack. `also` are names for
    the whole kind, `such_as` are things that go under it, of which an item is one, nobody knows which.
    """

    kind: str
    qualifier: str = ""
    pack: str = ""
    also: str = ""
    such_as: str = ""
    note: str = ""
    by_hand: bool = True

    def title(self, size: str) -> str:
        """Join kind, qualifiers and the readable size as a card shows them.

        >>> soda = Name(kind="Soda", qualifier="cans", pack="12 to 18 pack")
        >>> soda.title("12 oz"), soda.title("12 x 12 oz")
        ('Soda, cans, 12 to 18 pack, 12 oz', 'Soda, cans, 12 x 12 oz')
        >>> Name(kind="Soda", qualifier="bottle").title("2 litres"), Name(kind="Tarts", qualifier="or mini pies").title("")
        ('Soda, 2 litre bottle', 'Tarts (or mini pies)')
        """
        pieces = self.qualifier.split(", ") if self.qualifier else []
        kind = self.kind
        if pieces and pieces[0].startswith(("or ", "and ")):
            kind = f"{kind} ({pieces.pop(0)})"
        quantity = parse_quantity(size) if size else None
        counted = quantity is not None and (quantity.pack > 1 or quantity.unit == "ct")
        if self.pack and not counted and not size.endswith((" single", " in all")):
            pieces.append(self.pack)
        one = re.sub("(?<=litre|allon)s$", "", size)
        if "bottle" in pieces and size and "bottle" not in size:
            pieces.remove("bottle")
            size = f"{one} bottle"
        # A type that names its own size ("3 litre bottle") does not say it twice.
        if size and not any(piece.startswith(one) for piece in pieces):
            pieces.append(size)
        return ", ".join([kind, *pieces])

    @property
    def description(self) -> str:
        """Say the other names, what goes under the kind, and the note, as sentences.

        >>> Name(kind="Soda", also="pop, soft drink", note="For parties").description
        'Also called pop, soft drink. For parties.'
        """
        said = (f"Also called {self.also}" * bool(self.also), f"Such as {self.such_as}" * bool(self.such_as), self.note)
        return " ".join(f"{sentence}." for sentence in said if sentence)


@cache
def read_names() -> Mapping[tuple[str, str, str], Name]:
    """Read the hand-written table: (department, category, type) to how people call it."""
    return {
        (row["department"], row["category"], row["type"]): Name(
            kind=row["name"],
            qualifier=row["qualifier"],
            pack=row["pack"],
            also=row["also"],
            such_as=row["such_as"],
            note=row["note"],
        )
        for row in _table("completejourney.csv")
    }


@cache
def read_said() -> Mapping[str, str]:
    """Read the words that shoppers say, brands above all, and which kind's name they mean by them."""
    return {row["said"]: row["name"] for row in _table("said.csv")}


@cache
def read_categories() -> Mapping[tuple[str, str], str]:
    """Read the hand-written table: (department, category) to the words on the shelf; "" stands for the department."""
    return {(row["department"], row["category"]): row["name"] for row in _table("categories.csv")}


@cache
def read_sizes() -> Mapping[tuple[str, str], str]:
    """Read the sizes that a rule would read wrongly, as seen by eye: (size, type or "") to what is shown, or ""."""
    return {(row["size"], row["type"]): row["shown"] for row in _table("sizes.csv")}


def name_of(department: str, category: str, product_type: str) -> Name:
    """Name a product type, by hand where somebody has, else by rules.

    >>> name_of("MEAT-PCKGD", "BACON", "PREMIUM").title("16 oz")
    'Bacon, premium, 16 oz'
    >>> name_of("", "SNACKS", "FRZN CHIX STRIPS (BRD)").title("")
    'Frozen chicken strips'
    """
    known = read_names().get((department, category, product_type))
    if known is not None:
        return known
    kind = sentence(re.sub(r"\([^)]*\)?", " ", product_type)) or sentence(category) or "Other item"
    return Name(kind=kind, by_hand=False)


def category_names(department: str, category: str) -> tuple[str, ...]:
    """Name the shelf, broad to narrow.

    >>> category_names("GROCERY", "FLUID MILK PRODUCTS"), category_names("SALAD BAR", "SALAD BAR")
    (('Grocery', 'Milk'), ('Salad bar',))
    """
    known = read_categories()
    broad = known.get((department, "")) or sentence(department)
    narrow = known.get((department, category)) or sentence(category)
    return (broad, narrow) if narrow and narrow != broad else (broad,)


def readable_size(size: str, product_type: str = "") -> str:
    """Write a pack size for people; "" when the label does not say one.

    >>> [readable_size(size) for size in ("8 OZ", "12PK 12 OZ", "1 GA", "2 L BTL", "L    5.5 OZ", "8 1/2 OZ", ".5 L")]
    ['8 oz', '12 x 12 oz', '1 gallon', '2 litre bottle', '5.5 oz', '8 1/2 oz', '0.5 litre']
    >>> [readable_size(size) for size in ("974246  PK", "CTN", "1 CT", "3/.25 OZ", "1/2 GAL", "24 CT", "405.6 OZ")]
    ['', '', '', '3 x 0.25 oz', '1/2 gallon', '24 count', '24 x 16.9 oz']
    >>> readable_size("6 CT/37.2 OZ"), readable_size("30 OZ/12 CT"), readable_size("GAL"), readable_size("5 LB BAG")
    ('6 count, 37.2 oz', '12 count, 30 oz', '1 gallon', '5 lb bag')
    """
    fixed = read_sizes()
    for key in ((size.strip(), product_type), (size.strip(), "")):
        if key in fixed:
            return fixed[key]
    text = re.sub(r"\s+", " ", size.strip().upper())
    text = re.sub(r"^(?:[LNBR] ?(?=[\d.]+[ /])|\(\d+\) )", "", text)  # a maker's letter, a shelf number
    text = re.sub(r"\(\d+ ?SL\)", "", text).strip()
    if re.search(r"\d{6}", text):
        return ""
    # A count beside a weight is of what is in the pack; a pack beside a weight is of packs of that weight.
    match = re.fullmatch(rf"(\d{{1,3}})(?: ?({_PIECES}) ?[-/ X]? ?| ?[-/X] ?){_AMOUNT} ?{_MEASURE}", text)
    if match and f"{match[1]}/{match[3]}" not in {"1/2", "3/4", "1/3"}:
        return _many(match[1], match[2] or "PK", _amount(match[3], match[4]))
    if match := re.fullmatch(rf"{_AMOUNT} ?{_MEASURE} ?/? ?(\d{{1,3}}) ?({_PIECES})", text):
        return _many(match[3], match[4], _amount(match[1], match[2]))
    if match := re.fullmatch(rf"{_AMOUNT} ?{_MEASURE}(?: ({'|'.join(_WRAPPINGS)}))?", text):
        amount = _amount(match[1], match[2])
        one = re.sub("(?<=litre|allon)s$", "", amount)
        return f"{one} {_WRAPPINGS[match[3]]}" if match[3] else amount
    if match := re.fullmatch(rf"(\d+) ?({_PIECES})", text):
        what = "count" if match[2] == "CT" else "pieces" if match[2].startswith("PC") else "pack"
        return "" if match[1] == "1" else f"{match[1]} {what}"
    if match := re.fullmatch(r"GA|GAL|PT|QT|DZ|DOZ|L", text):
        return _amount("1", match[0])
    return ""


_PIECES = "PKS|PK|CT|PCS|PC|P|BAR"
_AMOUNT = r"(\d+[ -]\d+/\d+|\d+/\d+|\d*\.\d+|\d+\.?)"
_WRAPPINGS = {
    "CAN": "can",
    "CN": "can",
    "/ CAN": "can",
    "BTL": "bottle",
    "PET": "plastic bottle",
    "PLST": "plastic bottle",
    "NR": "no-return bottle",
    "LNNR": "long-neck no-return bottle",
    "LN BT": "long-neck bottle",
    "BAG": "bag",
    "BOX": "box",
    "TRAY": "tray",
    "POUCH": "pouch",
    "JUMBO": "jumbo bag",
    "AERO": "spray can",
    "AEROS": "spray can",
}
_UNITS = {
    "oz": ("OZ", "OZS", "OZS.", "O", "Z", "0 Z"),
    "fl oz": ("FL OZ",),
    "lb": ("LB", "LBS"),
    "g": ("G", "GM"),
    "gallon": ("GAL", "GA", "GALON"),
    "pint": ("PT",),
    "quart": ("QT",),
    "ml": ("ML",),
    "litre": ("L", "LT"),
    "dozen": ("DZ", "DOZ"),
    "sq ft": ("SQ FT",),
    "ft": ("FT",),
    "in": ("IN",),
    "load": ("LOAD", "LOADS", "LD", "LDS"),
    "use": ("USE", "USES"),
    "stem": ("STEM", "STEMS"),
    "sheet": ("SHEET", "SHEETS"),
    "cup": ("CUP", "CUPS"),
}
_UNIT_OF = {spelling: unit for unit, spellings in _UNITS.items() for spelling in spellings}
_MEASURE = f"({'|'.join(sorted((re.escape(spelling) for spelling in _UNIT_OF), key=len, reverse=True))})"
_COUNTED = {"litre", "gallon", "pint", "quart", "load", "use", "stem", "sheet", "cup"}


def _many(count: str, pieces: str, amount: str) -> str:
    if count == "1":
        return amount
    return f"{count} count, {amount}" if pieces.startswith("CT") else f"{count} x {amount}"


def _amount(amount: str, unit: str) -> str:
    name = _UNIT_OF[unit]
    number = amount.replace("-", " ") if "/" in amount else f"{float(amount):g}"
    at_most_one = number == "1" or number.startswith("0.") or re.fullmatch(r"\d/\d", number)
    return f"{number} {name}{'s' if name in _COUNTED and not at_most_one else ''}"


# The rules: abbreviations written out, words that say nothing to a shopper left out.
_WORDS = {
    "FRZN": "frozen", "FRZ": "frozen", "FRE": "fresh", "REFRIG": "refrigerated", "CND": "canned", "CAN": "canned",
    "BTL": "bottle", "DRNK": "drink", "DRNKS": "drinks", "SFT": "soft", "CARB": "carbonated", "JCE": "juice",
    "CHIX": "chicken", "PREP": "prepared", "FD": "food", "FDS": "foods", "SW": "sweet", "GDS": "goods",
    "SS": "single serve", "SGL": "single", "SV": "serve", "SNGL": "single", "SRV": "serve", "PK": "pack",
    "MLT": "multi", "MULT": "multi", "VEG": "vegetable", "PLSTC": "plastic", "FLVR": "flavored", "FLVRD": "flavored",
    "DECAF": "decaffeinated", "CHOC": "chocolate", "MISC": "other", "HYGN": "hygiene", "FEM": "feminine",
    "BRD": "breaded", "RW": "raw", "GRND": "ground", "CONC": "concentrate", "SUP": "super", "PREM": "premium",
    "SYRP": "syrup", "LOZNG": "lozenges", "W": "with", "WHL": "whole", "SAL": "salad", "SALD": "salad",
    "DRSNG": "dressing", "XMAS": "christmas", "MENS": "men's", "LADIES": "women's", "BBQ": "barbecue",
    "CATSUP": "ketchup", "LB": "pound", "OZ": "ounce", "SPLY": "supplies", "PCKGD": "packaged", "DRUG": "drugstore",
}  # fmt: skip
_DROPPED = {"ALL", "OTHER", "BULK", "RTL", "ETC", "EX", "EXCEPT", "FS", "N", "S", "GM"}


def sentence(text: str) -> str:
    """Write upper-case package words as a sentence would: abbreviations out, sentence case.

    >>> sentence("FRZN VEGETABLE/VEG DISHES"), sentence("SALAD & DRSNG")
    ('Frozen vegetable vegetable dishes', 'Salad and dressing')
    """
    words = re.findall(r"[A-Z0-9&'%]+", text.upper())
    told = " ".join(_WORDS.get(word, word).lower() for word in words if word not in _DROPPED)
    told = told.replace(" & ", " and ").strip(" &")
    return told[:1].upper() + told[1:]


def _table(name: str) -> list[dict[str, str]]:
    text = (resources.files("retrieval") / "names" / name).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))
