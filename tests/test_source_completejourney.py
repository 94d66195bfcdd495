"""The default shop: what is dropped is counted, what is kept keeps its own words and reads as people talk."""

import importlib.util
import re
from collections import Counter, defaultdict

import pytest

from retrieval.product_names import category_names, name_of, read_categories, read_names, readable_size
from retrieval.quantity import item_quantity, parse_quantity
from retrieval.records import ShopError
from retrieval.source_completejourney import MIN_HOUSEHOLDS, PACKAGE, read_completejourney
from retrieval.source_files import COLUMNS

pytestmark = pytest.mark.skipif(importlib.util.find_spec(PACKAGE) is None, reason=f"{PACKAGE} is not installed")

# Words that shout because people write them so.
CAPITALS = {"DVD", "VHS", "TV"}
SHORT_WORDS = set("or by do go in on of to up at it no oz lb ft fl ml sq".split())


@pytest.fixture(scope="module")
def source():
    return read_completejourney()


@pytest.fixture(scope="module")
def titles(source):
    return [item.title for item in source.items]


def test_every_line_is_kept_or_counted_under_a_reason(source):
    counts = source.counts
    dropped = sum(number for name, number in counts.items() if name.startswith("lines dropped: "))
    assert counts["lines read"] == 1_469_307
    assert counts["lines kept"] + dropped == counts["lines read"]
    assert counts["lines kept"] == len(source.interactions) > 0.95 * counts["lines read"]
    assert counts["items"] == len(source.items) and 8_100 <= len(source.items) <= 8_250
    for reason in ("fuel", "coupon", "miscellaneous", "value not positive", "quantity not positive"):
        assert counts[f"lines dropped: {reason}"] > 0


def test_the_log_is_clean_and_its_items_are_known(source):
    log = source.interactions
    assert tuple(log.columns) == COLUMNS
    assert set(log["item_id"].unique()) == {item.item_id for item in source.items}
    assert log["timestamp"].is_monotonic_increasing and not log.isna().any().any()
    assert (log["price"] > 0).all() and (log["quantity"] > 0).all()
    assert log.groupby("item_id")["user_id"].nunique().min() >= MIN_HOUSEHOLDS
    # One basket is one shopper's and one moment's.
    assert (log.groupby("basket_id")[["user_id", "timestamp"]].nunique() == 1).all().all()


def test_shoppers_are_those_of_the_log(source):
    assert len(source.shoppers) == 801
    assert set(source.shoppers["user_id"]) <= set(source.interactions["user_id"].unique())


def test_attributes_are_the_words_of_the_package(source):
    import pandas as pd

    folder = importlib.util.find_spec(PACKAGE).submodule_search_locations[0]
    products = pd.read_parquet(f"{folder}/data/products.parquet").fillna("")
    raw = ["department", "product_category", "product_type", "package_size", "brand"]
    known = set(products[raw].astype(str).itertuples(index=False, name=None))
    names = ("department", "category", "type", "size", "brand_tier")
    held = [tuple(item.attributes[name] for name in names) for item in source.items]
    assert set(held) <= known
    assert len(set(held)) == len({item.item_id for item in source.items}) == len(held)


def test_ids_never_change(source):
    by_key = {(i.attributes["type"], i.attributes["size"], i.attributes["brand_tier"]): i.item_id for i in source.items}
    assert by_key["SHREDDED CHEESE", "8 OZ", "Private"] == "icef32e1b"


def test_titles_read_as_the_design_promises(source):
    said = {(i.attributes["type"], i.attributes["size"], i.attributes["brand_tier"]): i.title for i in source.items}
    assert said["SHREDDED CHEESE", "8 OZ", "Private"] == "Shredded cheese, 8 oz, store brand"
    assert said["SFT DRNK 2 LITER BTL CARB INCL", "2 L", "National"] == "Soda, 2 litre bottle, name brand"
    assert name_of("MEAT-PCKGD", "BACON", "PREMIUM").title("16 oz") == "Bacon, premium, 16 oz"
    assert said["BANANAS", "40 LB", "National"] == "Bananas"


def test_titles_neither_shout_nor_abbreviate(titles):
    for title in titles:
        assert title[0].isupper() or title[0].isdigit(), title
        assert len(title) <= 90, title
        for word in re.findall(r"[A-Za-z'&/]+", re.sub(r"\d+/\d+", "", title)):
            assert not (len(word) > 1 and word.isupper() and word not in CAPITALS), title
            assert "/" not in word and "&" not in word, title
        for word in re.findall(r"(?<![\d.'-])\b[a-z]{2}\b", title):
            assert word in SHORT_WORDS, title


def test_titles_tell_items_apart(titles):
    assert len(set(titles)) >= 0.96 * len(titles)
    # Where two items share a title, the package has two spellings of one size, or none that may be shown.
    assert Counter(titles).most_common(2)[1][1] <= 7


def test_both_tiers_of_a_thing_differ_in_their_titles(source):
    tiers = defaultdict(set)
    for item in source.items:
        tiers[item.title].add(item.attributes["brand_tier"])
    assert [title for title, held in tiers.items() if len(held) > 1] == []
    for item in source.items:
        assert item.title.endswith(", store brand") == (item.attributes["brand_tier"] == "Private")
        assert item.brand == {"Private": "Store brand", "National": "Name brand"}[item.attributes["brand_tier"]]


def test_the_first_piece_of_a_title_names_one_kind(source):
    """Two product types that share a first piece differ in the next, so that a card says which is which."""
    types = defaultdict(set)
    for key, name in read_names().items():
        types[name.kind, name.qualifier, name.pack].add(key)
    assert [kind for kind, keys in types.items() if len(keys) > 1] == []


def test_case_sizes_of_produce_are_not_shown(source):
    for item in source.items:
        if item.attributes["department"] == "PRODUCE" and item.attributes["category"] != "POPCORN":
            quantity = parse_quantity(str(item.attributes.get("shown_size", "")))
            assert quantity is None or quantity.unit != "ct" or quantity.amount <= 5, item.title
            assert quantity is None or quantity.unit != "oz" or quantity.amount <= 240, item.title
    bananas = next(i for i in source.items if i.attributes["type"] == "BANANAS" and i.attributes["size"] == "40 LB")
    assert item_quantity(bananas) is None


def test_a_shown_size_stands_in_the_title_and_reads_back(source):
    unread = 0
    for item in source.items:
        shown = str(item.attributes.get("shown_size", ""))
        if shown:
            assert re.sub("(?<=litre|allon)s$", "", shown) in item.title, item.title
            unread += parse_quantity(shown) is None
    assert unread <= 10  # "large", "soft"


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        ("L     3 OZ", "3 oz"),
        ("3/.25 OZ", "3 x 0.25 oz"),
        ("12PK 12 OZ", "12 x 12 oz"),
        ("12 PK/12 0 Z", "12 x 12 oz"),
        ("4/10.75 OZ", "4 x 10.75 oz"),
        ("16 CT/24 OZ", "16 count, 24 oz"),
        ("4. 5 OZ", "4.5 oz"),
        ("7-3/4 OZ", "7 3/4 oz"),
        ("HALF GAL", "half gallon"),
        ("1/2 GAL", "1/2 gallon"),
        ("26 LDS", "26 loads"),
        ("1 DOZ", "1 dozen"),
        ("83.5 SQ FT", "83.5 sq ft"),
        ("12 OZ LN BT", "12 oz long-neck bottle"),
        ("522714 CTN", ""),
        ("FROM 3", ""),
        ("", ""),
    ],
)
def test_a_doubtful_size_is_made_readable_or_hidden(size, shown):
    assert readable_size(size) == shown


def test_the_names_are_by_hand_for_nearly_all_that_is_bought(source):
    table = read_names()
    used = {(i.attributes["department"], i.attributes["category"], i.attributes["type"]) for i in source.items}
    assert len(used & set(table)) >= 1_500
    bought = source.interactions["item_id"].value_counts()
    by_hand = sum(
        int(bought[i.item_id])
        for i in source.items
        if (i.attributes["department"], i.attributes["category"], i.attributes["type"]) in table
    )
    assert by_hand >= 0.99 * len(source.interactions)
    assert set(table) <= used  # no row of the table is out of use


def test_shelves_have_names_of_their_own(source):
    raw = defaultdict(set)
    for item in source.items:
        assert 1 <= len(item.categories) <= 2
        raw[item.categories].add((item.attributes["department"], item.attributes["category"]))
    assert [names for names, held in raw.items() if len(held) > 1] == []
    assert {(i.attributes["department"], i.attributes["category"]) for i in source.items} <= set(read_categories())
    assert category_names("GROCERY", "CAT FOOD") == ("Grocery", "Cat food")


def test_everyday_words_find_their_things():
    told = {key[2]: name.description for key, name in read_names().items()}
    for product_type, word in (
        ("SFT DRNK 2 LITER BTL CARB INCL", "pop"),
        ("SCOOP LITTER", "kitty litter"),
        ("DAIRY CASE 100% PURE JUICE - O", "OJ"),
        ("TOILET TISSUE", "TP"),
        ("PAPER TOWELS & HOLDERS", "kitchen roll"),
        ("BABY DIAPERS", "nappies"),
        ("PREMIUM - MEAT", "wieners"),
    ):
        assert word in told[product_type], product_type


def test_descriptions_are_short_and_claim_nothing_about_health():
    claims = re.compile(
        r"\b(healthy|healthier|lower?.fat|fat.free|sugar.free|gluten|natural remedy|cures?|sustainable)\b", re.I
    )
    for key, name in read_names().items():
        assert len(name.description) <= 220, key
        assert not claims.search(name.description), key
        if "organic" in f"{name.title('')} {name.description}".lower():
            assert "ORGANIC" in key[2], key


def test_beer_wine_spirits_and_tobacco_are_marked(source):
    marked = {str(i.attributes["category"]) for i in source.items if i.age_restricted}
    for item in source.items:
        restricted = item.attributes["department"] == "SPIRITS" or item.attributes["category"] in {
            "BEERS/ALES",
            "DOMESTIC WINE",
            "IMPORTED WINE",
            "MISC WINE",
            "CIGARETTES",
            "CIGARS",
            "TOBACCO OTHER",
        }
        assert item.age_restricted or not restricted, item.title
        assert not (item.age_restricted and item.attributes["department"] in {"PRODUCE", "MEAT", "DELI", "PASTRY"})
    assert "BEERS/ALES" in marked and "CIGARETTES" in marked


def test_prices_are_cents_of_one_unit(source):
    prices = {i.title: i.price for i in source.items}
    assert all(price and price == round(price, 2) and 0 < price < 200 for price in prices.values())
    assert 0.2 < prices["Milk, white, 1 gallon, store brand"] / 2.49 < 2


def test_a_missing_package_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ShopError, match=f"pip install {PACKAGE}"):
        read_completejourney()
