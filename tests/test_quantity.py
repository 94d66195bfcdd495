"""Sizes: what a label says and what a person types mean the same amount."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.quantity import Quantity, parse_quantity, same_size


@pytest.mark.parametrize(
    ("text", "amount", "unit"),
    [
        ("8 1/2 OZ", 8.5, "oz"),
        (".5 L", 16.907, "fl oz"),
        ("1 GA", 128, "fl oz"),
        ("half gallon", 64, "fl oz"),
        ("a half gallon of milk", 64, "fl oz"),
        ("1/2 PT", 8, "fl oz"),
        ("2.5 GAL", 320, "fl oz"),
        ("750ml", 25.361, "fl oz"),
        ("2-liter", 67.628, "fl oz"),
        ("two liter bottle", 67.628, "fl oz"),
        ("five pound bag", 80, "oz"),
        ("3lb", 48, "oz"),
        ("16 ounces", 16, "oz"),
        ("1,500 SQ FT", 1500, "sq ft"),
        ("18 count", 18, "ct"),
        ("twelve pack", 12, "ct"),
        ("1 DZ", 12, "ct"),
        ("dozen", 12, "ct"),
        ("32 LOADS", 32, "load"),
        ("12 ft", 144, "in"),
        ("9 in", 9, "in"),
        ("500 g", 17.637, "oz"),
        ("64 fluid ounces", 64, "fl oz"),
    ],
)
def test_one_amount_is_read(text, amount, unit):
    quantity = parse_quantity(text)
    assert (quantity.unit, quantity.pack) == (unit, 1)
    assert quantity.amount == pytest.approx(amount, rel=1e-3)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("12PK 12 OZ", Quantity(amount=144, unit="oz", pack=12)),
        ("12 PK/12 OZ", Quantity(amount=144, unit="oz", pack=12)),
        ("12 x 12 oz", Quantity(amount=144, unit="oz", pack=12)),
        ("6/24 OZ", Quantity(amount=144, unit="oz", pack=6)),
        ("2-8 OZ", Quantity(amount=16, unit="oz", pack=2)),
        ("8 OZ/6 PK", Quantity(amount=48, unit="oz", pack=6)),
        ("12 CT/16 OZ", Quantity(amount=16, unit="oz", pack=12)),
        ("6 pack, 10.5 oz", Quantity(amount=63, unit="oz", pack=6)),
        ("12 cans of 12 oz", Quantity(amount=144, unit="oz", pack=12)),
        ("pack of 4, 6 oz", Quantity(amount=24, unit="oz", pack=4)),
        ("3/4 OZ", Quantity(amount=0.75, unit="oz")),
    ],
)
def test_a_multipack_is_read_as_all_that_is_in_it(text, expected):
    assert parse_quantity(text) == expected


@pytest.mark.parametrize("text", ["", "LARGE", "something big", "under 5 dollars", "for 2", "put 2 in the cart", "1/0"])
def test_what_is_no_size_is_none(text):
    assert parse_quantity(text) is None


def test_a_size_over_nought_is_no_size_and_no_crash():
    assert parse_quantity("1/0 oz") is None


@given(st.text(alphabet="0123456789./- xXaozlbgOZLB PKctft\u00bd", max_size=40) | st.text(max_size=40))
def test_no_text_breaks_the_reader(text):
    quantity = parse_quantity(text)
    assert quantity is None or (quantity.amount > 0 and quantity.pack > 0)


def test_labels_write_fluid_ounces_as_ounces_and_packs_as_counts():
    assert same_size("2 litre", "2 L BTL") and same_size("2 litre", "67.6 OZ")
    assert same_size("half gallon", "64 OZ") and same_size("1 lb", "16 OZ")
    assert same_size("12 pack", "12 PK/12 OZ") and not same_size("6 pack", "12 PK/12 OZ")
    assert not same_size("8 oz", "12 oz") and not same_size("8 oz", "") and not same_size(None, "8 oz")
