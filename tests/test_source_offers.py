"""Deals as their owner hands them over, and those of the default shop: read whole, or refused with a reason."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from retrieval.deals import Deals, Offer, deal_facts
from retrieval.prepare import _key, prepare
from retrieval.records import Fact, ShopError
from retrieval.shop import Shop
from retrieval.source_completejourney import PACKAGE, read_completejourney
from retrieval.source_files import Source, read_files, read_offers
from tests.shops import START, twelve_items, write_files

if TYPE_CHECKING:
    from retrieval.embedder import Embedder

IDS = {item.item_id for item in twelve_items()}
ROWS = [
    "item_id,kind,starts,ends,user_id,note,strength",
    "i00,promotion,2023-11-01,2024-02-01,,in this week's ad,0.75",
    "i01,Promotion,1698796800,1706745600,,in this week's ad,",
    "i02,coupon,2023-11-01T00:00:00Z,2024-02-01,u0,,0.25",
    "i03,promotion,2023-11-01,2024-02-01,,<script>x</script>\u202e 2 for $5 and much more than anybody would read of it,1",
]
STARTS, ENDS = 1_698_796_800.0, 1_706_745_600.0


def written(path: Path, rows: list[str]) -> Path:
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def test_rows_are_read_and_joined_to_offers(tmp_path: Path) -> None:
    """Dates in words and in seconds are one time; a note is cut and cleaned; a coupon is had or not."""
    offers, rejected = read_offers(written(tmp_path / "deals.csv", ROWS), item_ids=IDS)
    assert rejected == []
    assert offers[:2] == [
        Offer(
            kind="promotion", starts=STARTS, ends=ENDS, item_ids=["i00", "i01"], strengths=[0.75, 1.0],
            note="in this week's ad",
        ),
        Offer(kind="coupon", starts=STARTS, ends=ENDS, item_ids=["i02"], strengths=[1.0], user_ids=("u0",)),
    ]  # fmt: skip
    assert offers[2].note == "<script>x</script> 2 for $5 and much more than anybody would"


def test_json_lines_say_the_same(tmp_path: Path) -> None:
    """The two forms are one format."""
    names = ROWS[0].split(",")
    records = [dict(zip(names, row.split(","), strict=True)) for row in ROWS[1:]]
    lines = [json.dumps({name: value for name, value in record.items() if value}) for record in records]
    read = [
        read_offers(written(tmp_path / name, rows), item_ids=IDS)[0]
        for name, rows in (("d.csv", ROWS), ("d.jsonl", lines))
    ]
    assert read[0] == read[1]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (",promotion,2023-11-01,2024-02-01,,,", "no item_id"),
        ("i99,promotion,2023-11-01,2024-02-01,,,", "no item has this item_id"),
        ("i00,sale,2023-11-01,2024-02-01,,,", "kind is neither promotion nor coupon"),
        ("i00,promotion,soon,2024-02-01,,,", "starts cannot be read"),
        ("i00,promotion,2023-11-01,,,,", "ends cannot be read"),
        ("i00,promotion,2024-02-01,2023-11-01,,,", "ends is not after starts"),
        ("i00,promotion,2024-02-01,2024-02-01,,,", "ends is not after starts"),
        ("i00,promotion,2023-11-01,2024-02-01,,,1.5", "strength is not a number from 0 to 1"),
        ("i00,promotion,2023-11-01,2024-02-01,,,nan", "strength is not a number from 0 to 1"),
        ("i00,promotion,2023-11-01", "7 columns expected"),
    ],
)
def test_a_row_that_cannot_be_used_is_listed_with_its_line_and_reason(tmp_path: Path, row: str, reason: str) -> None:
    """Counted like the rows of the other files, and the rest is used."""
    offers, rejected = read_offers(written(tmp_path / "deals.csv", [*ROWS[:2], row]), item_ids=IDS)
    assert [(one.line, one.reason) for one in rejected] == [(3, reason)]
    assert [offer.item_ids for offer in offers] == [["i00"]]


def test_a_file_of_no_use_says_what_was_expected(tmp_path: Path) -> None:
    """Nothing is taken silently."""
    with pytest.raises(ShopError, match="the header has no kind, starts, ends"):
        read_offers(written(tmp_path / "a.csv", ["item_id,note", "i00,x"]), item_ids=IDS)
    with pytest.raises(ShopError, match=r"Nothing in .*First problem, line 2: no item has this item_id"):
        read_offers(written(tmp_path / "b.csv", [ROWS[0], "i99,coupon,0,9,,,"]), item_ids=IDS)
    with pytest.raises(ShopError, match=r"Deals come as .csv or .jsonl"):
        read_offers(written(tmp_path / "c.txt", ROWS), item_ids=IDS)


def test_deals_travel_from_the_file_to_the_opened_shop(tmp_path: Path, embedder: Embedder) -> None:
    """Promise: what was handed over is on offer at the end of the log, to whom it is; bad rows are in the list."""
    items, interactions = write_files(tmp_path)
    deals = written(tmp_path / "deals.csv", [*ROWS, "i99,coupon,0,9,,,"])
    source = read_files(items=items, interactions=interactions, deals=deals)
    assert source.counts["deals"] == 4 and source.counts["deals dropped: no item has this item_id"] == 1
    first = prepare(source, shop=tmp_path / "shop", embedder=embedder)
    rejected = [json.loads(line) for line in (tmp_path / "shop" / "rejected.jsonl").read_text().splitlines()]
    assert [(row["file"], row["line"]) for row in rejected] == [("deals.csv", 6)]
    with Shop.open(tmp_path / "shop", embedder=embedder) as shop:
        assert START < shop.deals.now == shop.history.now < ENDS
        assert shop.deals.strength().tolist()[:5] == [0.75, 1, 0, 1, 0]
        assert shop.deals.coupons(user_id="u0").nonzero()[0].tolist() == [2]
        assert deal_facts(shop.deals, "i00") == [Fact(kind="promotion", words=("in this week's ad",))]
    # Other deals are another shop; the same are not built again.
    assert prepare(source, shop=tmp_path / "shop", embedder=embedder) == first
    assert _key(replace(source, offers=()), until=None) != first.key


packaged = pytest.mark.skipif(importlib.util.find_spec(PACKAGE) is None, reason=f"{PACKAGE} is not installed")


@pytest.fixture(scope="module")
def source() -> Source:
    return read_completejourney()


@packaged
def test_the_weeks_of_the_default_shop_follow_each_other(source: Source) -> None:
    """An ad and the displays of every week of the year, one after the other; the log ends within the last."""
    weekly = [offer for offer in source.offers if offer.kind == "promotion"]
    ads = [offer for offer in weekly if offer.note == "in this week's ad"]
    assert len(weekly) == 106 and len(ads) == 53
    assert [offer.ends for offer in ads[:-1]] == [offer.starts for offer in ads[1:]]
    log = source.interactions["timestamp"]
    assert ads[0].starts <= log.min() and log.max() < ads[-1].ends
    assert all(0.05 <= strength <= 1 for offer in weekly for strength in offer.strengths)
    assert source.counts["promotion rows read"] == 20_940_529
    ids = {item.item_id for item in source.items}
    assert all(set(offer.item_ids) <= ids for offer in source.offers)


@packaged
def test_what_is_in_the_ad_is_bought_more(source: Source) -> None:
    """The weeks are those of the log: what is in the ad is bought more than items are, and than four weeks later."""
    ids = [item.item_id for item in source.items]
    deals = Deals.from_offers([one for one in source.offers if one.note == "in this week's ad"], item_ids=ids)
    rows = {item_id: row for row, item_id in enumerate(ids)}
    log = source.interactions.sample(3_000, random_state=0)
    told = [
        (deals.strength(at)[rows[i]] > 0.5, deals.strength(at - 28 * 86_400)[rows[i]] > 0.5, deals.strength(at).mean())
        for at, i in zip(log["timestamp"], log["item_id"], strict=True)
    ]
    now, before, base = (sum(column) / len(told) for column in zip(*told, strict=True))
    assert now > 3 * base and now > 1.3 * before


@packaged
def test_only_coupons_that_a_household_surely_has_are_its_own(source: Source) -> None:
    """Of campaigns that sent each household its own part of a pool, which part is not on record: none is claimed."""
    coupons = [offer for offer in source.offers if offer.kind == "coupon"]
    assert len(coupons) == 23
    assert source.counts["coupons dropped: of a pool of which households got a part"] == 717
    assert all(offer.user_ids and offer.ends > offer.starts for offer in coupons)
    assert max(len(offer.item_ids) for offer in coupons) < 150
