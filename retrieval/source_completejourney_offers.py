"""Read the Complete Journey promotions and coupons as offers on the collapsed items."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from retrieval.deals import Offer

WEEK = 7 * 86_400.0
DAY = 86_400.0
NOTES = {"mailer_location": "in this week's ad", "display_location": "on display"}
# Share of the stores below which a week's promotion is left out. The ad is chain-wide (median .96 of the stores, 95 % of
# its items in more than a quarter); half of the displays stand in fewer than four stores of 112 and say nothing of a
# shopper's own. From .05 on 456 items a week are in the ad and 1,712 on display.
FEWEST_STORES = 0.05
# Of a type A campaign's pool of about 200 coupons each household was sent some sixteen, and which is not on record.
POOLED = "Type A"


def read_offers(
    folder: Path, *, items: Mapping[int, str], weeks: Mapping[int, float], counts: dict[str, int]
) -> list[Offer]:
    """Read what was in the weekly ad or on display, week by week, and who had a coupon for what.

    A collapsed item is promoted in a store where any of its products is.

    Args:
        folder: The package's data.
        items: Product number to the id of the item that it was collapsed into.
        weeks: Number of a week to the time of its first sale, in seconds since 1970; a week lasts to the next one.
        counts: Filled with how many rows were read, and coupons dropped.

    Raises:
        OSError, ValueError, KeyError: a file is missing or not what it should be.
    """
    return [
        *_promotions(folder, items=items, weeks=weeks, counts=counts),
        *_coupons(folder, items=items, counts=counts),
    ]


def _promotions(
    folder: Path, *, items: Mapping[int, str], weeks: Mapping[int, float], counts: dict[str, int]
) -> Iterator[Offer]:
    import numpy as np

    names = sorted(set(items.values()))
    place = {name: row for row, name in enumerate(names)}
    products = np.array(sorted(items), np.int64)
    row_of = np.array([place[items[product]] for product in products.tolist()], np.int64)
    order = sorted(weeks)
    at_week = {week: at for at, week in enumerate(order)}
    # One bit for each week, item and store: 20.9 million rows need no more than this.
    most_stores = 128
    flags = {column: np.zeros((len(order), len(names), most_stores), bool) for column in NOTES}
    stores: dict[int, int] = {}
    read = 0
    for batch in _batches(folder / "promotions.parquet"):
        read += len(batch["week"])
        found = np.minimum(np.searchsorted(products, batch["product_id"]), len(products) - 1)
        week_names, week = np.unique(batch["week"], return_inverse=True)
        store_names, store = np.unique(batch["store_id"], return_inverse=True)
        week = np.array([at_week.get(int(name), -1) for name in week_names])[week]
        store = np.array([stores.setdefault(int(name), len(stores)) for name in store_names])[store]
        if len(stores) > most_stores:
            raise ValueError(f"promotions in more than {most_stores} stores")
        known = (products[found] == batch["product_id"]) & (week >= 0)
        for column, held in flags.items():
            on = known & batch[column]
            held[week[on], row_of[found[on]], store[on]] = True
    counts["promotion rows read"] = read
    for at, number in enumerate(order):
        starts = weeks[number]
        ends = weeks[order[at + 1]] if at + 1 < len(order) else starts + WEEK
        for column, note in NOTES.items():
            share = flags[column][at].sum(axis=1) / max(len(stores), 1)
            kept = np.flatnonzero(share >= FEWEST_STORES)
            yield Offer(
                kind="promotion",
                starts=starts,
                ends=ends,
                item_ids=[names[row] for row in kept],
                strengths=share[kept].round(4).tolist(),
                note=note,
            )


def _batches(path: Path) -> Iterator[dict[str, Any]]:
    """Give the promotions a part at a time, the two places as whether there is any ("0" is none)."""
    import numpy as np
    import pyarrow.parquet as pq

    numbers = ("product_id", "store_id", "week")
    with pq.ParquetFile(path, read_dictionary=list(NOTES)) as file:
        for batch in file.iter_batches(batch_size=1 << 18, columns=[*numbers, *NOTES]):
            out: dict[str, Any] = {name: batch[name].to_numpy() for name in numbers}
            for name in NOTES:
                codes = batch[name]
                any_of = np.array([value.as_py() not in (None, "", "0") for value in codes.dictionary], bool)
                out[name] = any_of[codes.indices.to_numpy()]
            yield out


def _coupons(folder: Path, *, items: Mapping[int, str], counts: dict[str, int]) -> Iterator[Offer]:
    import pandas as pd

    coupons = pd.read_parquet(folder / "coupons.parquet", columns=["coupon_upc", "product_id", "campaign_id"])
    households = pd.read_parquet(folder / "campaigns.parquet", columns=["campaign_id", "household_id"])
    campaigns = pd.read_parquet(folder / "campaign_descriptions.parquet")
    pooled = set(campaigns.loc[campaigns["campaign_type"] == POOLED, "campaign_id"])
    of_pool = coupons["campaign_id"].isin(pooled)
    counts["coupons read"] = int(coupons["coupon_upc"].nunique())
    counts["coupons dropped: of a pool of which households got a part"] = int(
        coupons.loc[of_pool, "coupon_upc"].nunique()
    )
    on = coupons[~of_pool].assign(item_id=coupons["product_id"].map(items)).dropna(subset="item_id")
    of = households.groupby("campaign_id")["household_id"].agg(lambda ids: sorted(map(str, set(ids))))
    epoch = pd.Timestamp("1970-01-01")
    for campaign, item_ids in on.groupby("campaign_id")["item_id"]:
        dates = campaigns[campaigns["campaign_id"] == campaign].iloc[0]
        if campaign in of.index:
            yield Offer(
                kind="coupon",
                starts=(dates["start_date"] - epoch).total_seconds(),
                ends=(dates["end_date"] - epoch).total_seconds() + DAY,  # the last day is still one of it
                item_ids=sorted(set(item_ids)),
                user_ids=of[campaign],
            )
