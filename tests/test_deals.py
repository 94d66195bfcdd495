"""What is on offer is on offer to whom it is said, when it is, and is read back as it was written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from retrieval.deals import Deals, Offer, deal_facts
from retrieval.records import Fact, ShopError

ITEMS = ["milk", "tea", "bread", "soap"]
AD = Offer(kind="promotion", starts=10, ends=17, item_ids=["tea", "soap"], note="in this week's ad")
SHELF = Offer(
    kind="promotion", starts=10, ends=17, item_ids=["tea", "bread"], strengths=[0.75, 0.125], note="on display"
)
MAILED = Offer(kind="coupon", starts=12, ends=30, item_ids=["milk", "tea", "gone"], user_ids=["ann", "bob"])
BIRTHDAY = Offer(kind="promotion", starts=0, ends=99, item_ids=["bread"], user_ids=["bob"], note="on your birthday")


def deals(now: float = 13) -> Deals:
    return Deals.from_offers([AD, SHELF, MAILED, BIRTHDAY], item_ids=ITEMS, now=now)


def test_a_promotion_holds_from_its_start_to_before_its_end() -> None:
    strengths = {at: deals().strength(at=at).tolist() for at in (9.9, 10, 16.9, 17)}
    assert strengths == {9.9: [0, 0, 0, 0], 10: [0, 1, 0.125, 1], 16.9: [0, 1, 0.125, 1], 17: [0, 0, 0, 0]}


def test_an_offer_to_some_is_nobody_elses() -> None:
    held = deals()
    assert held.coupons(13, "ann").tolist() == [True, True, False, False]
    assert not held.coupons(13, "eve").any()
    assert not held.coupons(13, None).any()
    assert not held.coupons(11, "ann").any()
    assert held.strength(13, "bob").tolist() == [0, 1, 1, 1]
    assert held.strength(13, "ann").tolist() == held.strength(13).tolist() == [0, 1, 0.125, 1]


def test_no_time_is_the_end_of_the_log() -> None:
    assert deals(now=13).coupons(None, "ann").any()
    assert not deals(now=40).coupons(None, "ann").any()
    assert deals(now=40).of("tea", None, "ann") == ()


def test_what_few_stores_have_weighs_and_is_not_said() -> None:
    held = deals()
    assert held.strength(13)[2] == 0.125
    assert held.on_offer(13).tolist() == [False, True, False, True]
    assert deal_facts(held, "bread", 13) == []
    assert deal_facts(held, "bread", 13, "bob") == [Fact(kind="promotion", words=("on your birthday",))]


def test_facts_are_said_once_coupons_first() -> None:
    held = Deals.from_offers([AD, AD, SHELF, MAILED], item_ids=ITEMS, now=13)
    assert deal_facts(held, "tea", None, "ann") == [
        Fact(kind="coupon"),
        Fact(kind="promotion", words=("in this week's ad",)),
        Fact(kind="promotion", words=("on display",)),
    ]
    assert deal_facts(held, "nothing", None, "ann") == []


def test_one_item_and_all_items_answer_alike() -> None:
    """`of` walks an item's offers, `strength` and `coupons` an offer's items: random offers, every item and user."""
    rng = np.random.default_rng(4)
    names, users = [f"i{n}" for n in range(30)], [f"u{n}" for n in range(5)]
    offers = [
        Offer(
            kind="coupon" if rng.random() < 0.4 else "promotion",
            starts=float(start := rng.integers(0, 50)),
            ends=float(start + rng.integers(0, 20)),
            item_ids=(chosen := rng.choice(names, size=rng.integers(1, 9), replace=True).tolist()),
            strengths=rng.random(len(chosen)).tolist(),
            user_ids=rng.choice(users, size=rng.integers(0, 3), replace=False).tolist(),
        )
        for _ in range(200)
    ]
    held = Deals.from_offers(offers, item_ids=names)
    seen = 0
    for at in (0.0, 7.0, 23.0, 49.0):
        for user in (None, *users):
            strength, coupons, told = held.strength(at, user), held.coupons(at, user), held.on_offer(at, user)
            for row, name in enumerate(names):
                found = held.of(name, at, user)
                seen += len(found)
                best = max((deal.strength for deal in found if deal.kind == "promotion"), default=0.0)
                assert strength[row] == np.float32(best)
                assert coupons[row] == any(deal.kind == "coupon" for deal in found)
                assert told[row] == bool(deal_facts(held, name, at, user))
    assert seen > 500


def test_read_back_as_written(tmp_path: Path) -> None:
    held = deals()
    held.save(tmp_path / "deals.npz")
    read = Deals.load(tmp_path / "deals.npz", now=13)
    assert read.offers() == held.offers()
    assert read.strength(None, "bob").tolist() == held.strength(None, "bob").tolist()
    wider = Deals.from_offers(read.offers(), item_ids=["new", *ITEMS], now=13)
    assert wider.coupons(None, "ann").tolist() == [False, True, True, False, False]


def test_a_shop_without_deals(tmp_path: Path) -> None:
    none = Deals.none(3)
    none.save(tmp_path / "deals.npz")
    for held in (none, Deals.load(tmp_path / "deals.npz")):
        assert held.strength(5, "ann").tolist() == [0, 0, 0]
        assert held.coupons(5, "ann").tolist() == [False, False, False]
        assert held.of("milk", 5, "ann") == ()


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "deals.npz").write_bytes(b"PK\x03\x04 not really")
    with pytest.raises(ShopError, match="Cannot read the deals"):
        Deals.load(tmp_path / "deals.npz")
