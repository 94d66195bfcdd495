"""A grocery shop of twelve items and a history whose right answers are plain to see."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retrieval.records import AttributeValue, Item

if TYPE_CHECKING:
    import pandas as pd

START = 1_700_000_000.0  # seconds since 1970 of the first basket
DAY = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SmallSource:
    """What `prepare` takes: items, interactions, counts."""

    items: list[Item]
    interactions: pd.DataFrame
    counts: dict[str, int] = field(default_factory=dict)


def twelve_items() -> list[Item]:
    """Make twelve groceries, titled as the default shop titles them.

    Items `i00`, `i02`, … are what even shoppers buy, `i01`, `i03`, … what odd shoppers buy (see `history`).
    """
    rows: Sequence[tuple[str, str, str, str, str, str, str, float, str]] = (
        # id, title, description, department, category, type, size, price, tier
        ("i00", "Soda, 2 litre bottle, name brand", "Also called pop, soft drink.", "GROCERY", "SOFT DRINKS", "SFT DRNK 2 LITER BTL CARB INCL", "2 LTR", 1.25, "National"),
        ("i01", "Dry cat food, 16 oz, name brand", "Also called kibble, kitty food.", "GROCERY", "CAT FOOD", "DRY CAT FOOD", "16 OZ", 3.49, "National"),
        ("i02", "Popcorn, microwave, 10 oz, store brand", "A snack for films.", "GROCERY", "POPCORN", "MICROWAVE POPCORN", "10 OZ", 2.5, "Private"),
        ("i03", "Cat litter, 20 lb, store brand", "Also called kitty litter.", "GROCERY", "CAT LITTER", "CAT LITTER", "20 LB", 6.99, "Private"),
        ("i04", "Beef steak, 12 oz", "Fresh meat.", "MEAT", "BEEF", "CHOICE BEEF", "12 OZ", 8.5, "National"),
        ("i05", "Steak sauce, 10 oz, name brand", "Goes on meat.", "GROCERY", "CONDIMENTS/SAUCES", "STEAK & WORCHESTER SAUCE", "10 OZ", 4.2, "National"),
        ("i06", "Shredded cheese, 8 oz, store brand", "For tacos and pizza.", "DELI", "CHEESE", "SHREDDED CHEESE", "8 OZ", 2.0, "Private"),
        ("i07", "Shredded cheese, 8 oz, name brand", "For tacos and pizza.", "DELI", "CHEESE", "SHREDDED CHEESE", "8 OZ", 3.1, "National"),
        ("i08", "Whole milk, gallon, store brand", "Dairy.", "GROCERY", "FLUID MILK PRODUCTS", "FLUID MILK WHITE ONLY", "1 GA", 2.9, "Private"),
        ("i09", "Ice cream topping, chocolate, 12 oz, name brand", "A syrup.", "GROCERY", "SYRUPS/TOPPINGS", "ICE CREAM TOPPING", "12 OZ", 3.0, "National"),
        ("i10", "Vanilla ice cream, 48 oz, store brand", "Frozen dessert.", "GROCERY", "ICE CREAM/MILK/SHERBTS", "PREMIUM", "48 OZ", 4.5, "Private"),
        ("i11", "Beer, 12 x 12 oz, name brand", "Age-restricted.", "GROCERY", "BEERS/ALES", "BEERALEMALT LIQUORS", "12PK 12 OZ", 11.0, "National"),
    )  # fmt: skip
    out = []
    for item_id, title, description, department, category, type_, size, price, tier in rows:
        attributes: dict[str, AttributeValue] = {
            "department": department,
            "category": category,
            "type": type_,
            "size": size,
            "brand_tier": tier,
        }
        if category == "BEERS/ALES":
            attributes["age_restricted"] = "yes"
        head = title.split(",")[0]
        out.append(
            Item(
                item_id=item_id,
                title=title,
                description=description,
                categories=(department.capitalize(), category.capitalize(), head),
                price=price,
                attributes=attributes,
            )
        )
    return out


def history(*, shoppers: int = 8, weeks: int = 6) -> pd.DataFrame:
    """Make a checkerboard: shopper `u<n>` buys, week by week, items of the same parity as n and nothing else.

    Each week a shopper buys four of the six items, starting one further each week, so that every shopper
    bought all six of theirs after three weeks; the first of their six (`i00` or `i01`) comes every week.
    """
    import pandas as pd

    rows: list[dict[str, Any]] = []
    prices = {item.item_id: item.price for item in twelve_items()}
    for shopper in range(shoppers):
        own = [f"i{number:02d}" for number in range(shopper % 2, 12, 2)]
        for week in range(weeks):
            start = (shopper // 2 + week) % 5
            basket = [own[0], *(own[1 + (start + step) % 5] for step in range(3))]
            for item_id in basket:
                rows.append(
                    {
                        "user_id": f"u{shopper}",
                        "item_id": item_id,
                        "timestamp": START + (7 * week + shopper % 7) * DAY,
                        "event": "purchase",
                        "quantity": 1.0,
                        "price": prices[item_id],
                        "basket_id": f"u{shopper}-{week}",
                    }
                )
    return pd.DataFrame(rows)


def small_source() -> SmallSource:
    """Give the twelve items and their history as `prepare` takes them."""
    items, interactions = twelve_items(), history()
    return SmallSource(items=items, interactions=interactions, counts={"lines_read": len(interactions)})


def write_files(folder: Path) -> tuple[Path, Path]:
    """Write the small shop as its owner would hand it over: `items.jsonl` and `interactions.csv`."""
    items, interactions = folder / "items.jsonl", folder / "interactions.csv"
    with items.open("w", encoding="utf-8") as out:
        for item in twelve_items():
            record = {
                "item_id": item.item_id,
                "title": item.title,
                "description": item.description,
                "categories": list(item.categories),
                "price": item.price,
                "attributes": dict(item.attributes),
            }
            out.write(json.dumps(record) + "\n")
    history().to_csv(interactions, index=False)
    return items, interactions
