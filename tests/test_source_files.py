"""The neutral files: what a shop owner hands over is read whole, or refused with a reason that helps."""

import gzip
import json

import pandas as pd
import pytest
from typer.testing import CliRunner

from retrieval.records import Item, ShopError
from retrieval.source_files import (
    COLUMNS,
    LIMITS,
    Rejected,
    read_files,
    read_interactions,
    read_items,
    write_files,
    write_rejected,
)
from ui.cli import app

TENT = {"item_id": "t1", "title": "Dome tent, 2 people", "price": 89.5, "categories": ["Camping", "Tents"]}
STOVE = {"item_id": "s1", "title": "Gas stove"}


def _write(path, *records):
    path.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in records), encoding="utf-8")
    return path


def test_an_item_keeps_every_field_of_the_format(tmp_path):
    record = TENT | {
        "description": "Sleeps two.",
        "brand": "Fjord",
        "attributes": {"color": "green", "weight_kg": 2.4, "season": ["spring", "summer"], "freestanding": True},
        "image_url": "https://example.com/t1.jpg",
        "a_field_of_their_own": 1,
    }
    items, rejected = read_items(_write(tmp_path / "items.jsonl", record, STOVE))
    assert items == [
        Item(
            item_id="t1",
            title="Dome tent, 2 people",
            description="Sleeps two.",
            categories=("Camping", "Tents"),
            brand="Fjord",
            price=89.5,
            attributes={"color": "green", "weight_kg": 2.4, "season": ("spring", "summer"), "freestanding": "yes"},
            image_url="https://example.com/t1.jpg",
        ),
        Item(item_id="s1", title="Gas stove"),
    ]
    assert rejected == []


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ("{half a line", "not JSON"),
        ("[1, 2]", "not a JSON object"),
        ({"title": "No id"}, "no item_id"),
        ({"item_id": "  ", "title": "Blank id"}, "no item_id"),
        ({"item_id": "x" * 201, "title": "Long id"}, "item_id is longer than 200 characters"),
        ({"item_id": "x"}, "no title"),
        ({"item_id": "x", "title": "\u0000\u202e"}, "no title"),
        ({"item_id": "t1", "title": "Twice"}, "item_id already used"),
        ({"item_id": "x", "title": "Cheap", "price": -1}, "price is negative or not a number"),
        ({"item_id": "x", "title": "Words", "price": "3.99"}, "price is negative or not a number"),
        ('{"item_id": "x", "title": "NaN", "price": NaN}', "price is negative or not a number"),
        ('{"item_id": "x", "title": "Infinity", "price": Infinity}', "price is negative or not a number"),
        ({"item_id": "x", "title": "Kinds", "categories": [["a"]]}, "categories is not a list of strings"),
        ({"item_id": "x", "title": "About", "description": {"a": 1}}, "description is not a string"),
        (
            {"item_id": "x", "title": "Deep", "attributes": {"a": {"b": 1}}},
            "attributes is not an object of strings, numbers and lists of strings",
        ),
    ],
)
def test_an_item_that_cannot_be_used_is_listed_with_its_line_and_reason(tmp_path, record, reason):
    items, rejected = read_items(_write(tmp_path / "items.jsonl", TENT, "", record))
    assert [item.item_id for item in items] == ["t1"]
    assert [(row.file, row.line, row.reason) for row in rejected] == [("items.jsonl", 3, reason)]


def test_text_is_normalised_capped_and_cannot_change_its_direction(tmp_path):
    record = {"item_id": 7, "title": "Cafe\u0301 \u202emug\n\x1b[31m" + "x" * 400, "description": "y" * 5_000}
    (item,), _ = read_items(_write(tmp_path / "items.jsonl", record))
    assert item.item_id == "7"
    assert item.title.startswith("Café mug [31m") and len(item.title) == LIMITS["title"]
    assert len(item.description) == LIMITS["description"]


def test_only_a_web_address_stays_an_image_url(tmp_path):
    urls = ["javascript:alert(1)", "file:///etc/passwd", "data:text/html,x", "HTTPS://example.com/a.png"]
    path = _write(
        tmp_path / "items.jsonl", *({"item_id": str(n), "title": "x", "image_url": u} for n, u in enumerate(urls))
    )
    assert [item.image_url for item in read_items(path)[0]] == ["", "", "", "HTTPS://example.com/a.png"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty. Expected one JSON object a line"),
        ("\n\n", "is empty"),
        ("item_id,title\n1,Tent\n", "line 1: not JSON (item_id,title). Expected"),
        ('{"title": "x"}\n', "line 1: no item_id"),
    ],
)
def test_a_file_without_a_single_item_says_which_line_and_what_was_expected(tmp_path, text, said):
    path = tmp_path / "items.jsonl"
    path.write_text(text)
    with pytest.raises(ShopError) as raised:
        read_items(path)
    assert str(path) in str(raised.value) and said in str(raised.value)


# A file that cannot be read at all: the same words for items and for each form of the log


def _read(path):
    return read_items(path) if path.name.startswith("items") else read_interactions(path, item_ids={"t1"})


def _refused(path, text):
    with pytest.raises(ShopError) as raised:
        _read(path)
    assert str(raised.value).startswith(text.format(path)), raised.value


def _parquet(path, columns):
    pd.DataFrame(columns).to_parquet(path)


GOOD = {
    "items.jsonl": json.dumps(TENT) + "\n",
    "log.csv": "user_id,item_id,timestamp\nu,t1,1\nu,t1,2\n",
    "log.jsonl": '{"user_id": "u", "item_id": "t1", "timestamp": 1}\n',
}


@pytest.mark.parametrize("name", [*GOOD, "log.parquet", "items.jsonl.gz", "log.csv.gz", "log.jsonl.gz"])
def test_a_file_that_is_not_there_or_is_a_folder_is_named(tmp_path, name):
    _refused(tmp_path / name, "There is no file {}. Check the path.")
    (tmp_path / name).mkdir()
    _refused(tmp_path / name, "{} is a folder; a file was expected.")


@pytest.mark.parametrize("name", GOOD)
def test_a_damaged_file_says_what_is_damaged(tmp_path, name):
    good = GOOD[name].encode()
    assert len(_read(_written(tmp_path / name, good))[0])
    assert len(_read(_written(tmp_path / (name + ".gz"), gzip.compress(good)))[0])
    for place in (0, len(good) // 2, len(good) - 2):
        _refused(_written(tmp_path / name, good[:place] + b"\xe9\xff" + good[place:]), "{} is not UTF-8 text (")
    whole = gzip.compress(good)
    for cut in (1, 5, 12, len(whole) - 9, len(whole) - 1):
        _refused(_written(tmp_path / (name + ".gz"), whole[:cut]), "{} is no whole gzip file (")
    _refused(_written(tmp_path / (name + ".gz"), good), "{} is no whole gzip file (")
    _refused(_written(tmp_path / (name + ".gz"), whole[:-12] + b"\x00\xff\x00\xff" + whole[-8:]), "{} is no whole gzip")


def _written(path, data):
    path.write_bytes(data)
    return path


def test_a_file_of_another_kind_says_which_are_read(tmp_path):
    _refused(tmp_path / "items.pkl", "Items come as .jsonl (or .jsonl.gz), not as items.pkl")
    _refused(tmp_path / "log.pkl", "Interactions come as .csv, .jsonl (both also .gz) or .parquet, not as log.pkl.")
    _refused(tmp_path / "log", "Interactions come as")


LOG_WANTED = "Expected user_id, item_id and timestamp (ISO 8601, or seconds since 1970) in every row"


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("log.csv", b"", "{}, line 1: the header has no user_id, item_id, timestamp"),
        ("log.csv", b"user_id,item_id,timestamp\n", "{} is empty. " + LOG_WANTED),
        ("log.csv", b"user_id,item_id\nu,t1\n", "{}, line 1: the header has no timestamp"),
        ("log.jsonl", b"", "{} is empty. " + LOG_WANTED),
        ("log.jsonl", b"\n \n", "{} is empty. " + LOG_WANTED),
        ("log.jsonl", b"{half\n", "Nothing in {} can be used. First problem, line 1: not JSON ({{half)."),
        ("log.jsonl", b"\n[1]\n", "Nothing in {} can be used. First problem, line 2: not a JSON object ([1])."),
        ("log.jsonl", b"[" * 100_000, "Nothing in {} can be used. First problem, line 1: not JSON ("),
        ("log.jsonl.gz", gzip.compress(b"", mtime=0), "{} is empty. " + LOG_WANTED),
        ("log.parquet", b"", "{} cannot be read as Parquet ("),
        ("log.parquet", b"PAR1 this is not Parquet PAR1", "{} cannot be read as Parquet ("),
        ("log.parquet", {"user_id": [], "item_id": [], "timestamp": []}, "{} is empty. " + LOG_WANTED),
        ("log.parquet", {}, "{} has no column user_id, item_id, timestamp. Expected columns: user_id, "),
        ("log.parquet", {"user_id": ["u"], "when": [1]}, "{} has no column item_id, timestamp. Expected columns: "),
        ("log.none.csv", None, "There is no file {}. Check the path."),
    ],
)
def test_a_log_of_no_use_is_a_sentence_and_leaves_the_shop_as_it_was(tmp_path, name, data, said):
    path = tmp_path / name
    if isinstance(data, bytes):
        path.write_bytes(data)
    elif data is not None:
        _parquet(path, data)
    _refused(path, said)
    items = _write(tmp_path / "items.jsonl", TENT)
    shop = {"current": "g-old", "g-old/manifest.json": "{}", "rejected.jsonl": ""}
    for file, text in shop.items():
        (tmp_path / "shop" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "shop" / file).write_text(text)
    words = ["prepare", "--items", items, "--interactions", path, "--shop", tmp_path / "shop", "--no-model"]
    done = CliRunner().invoke(app, [str(word) for word in words], env={"SHOPTALK_HOME": str(tmp_path / "home")})
    assert done.exit_code == 2, done.exception
    assert done.stderr.splitlines()[-1].startswith("shoptalk: " + said.format(path))
    there = {file: file.read_text() for file in (tmp_path / "shop").rglob("*") if file.is_file()}
    assert there == {tmp_path / "shop" / file: text for file, text in shop.items()}


ROWS = [
    {"user_id": "ann", "item_id": "s1", "timestamp": "2024-03-02T10:00:00+02:00", "event": "like"},
    {"user_id": "bob", "item_id": "t1", "timestamp": 1709366400, "quantity": 2, "price": 80.0, "basket_id": "b1"},
]
EXPECTED = [
    ("ann", "s1", 1709366400.0, "like", 1.0, None, ""),
    ("bob", "t1", 1709366400.0, "purchase", 2.0, 80.0, "b1"),
]


def _rows(frame):
    assert tuple(frame.columns) == COLUMNS
    return [tuple(None if value != value else value for value in row) for row in frame.itertuples(index=False)]


@pytest.mark.parametrize("name", ["log.csv", "log.csv.gz", "log.jsonl", "log.jsonl.gz", "log.parquet"])
def test_every_form_of_the_log_says_the_same(tmp_path, name):
    path = tmp_path / name
    if ".csv" in name:
        pd.DataFrame(ROWS).to_csv(path, index=False)
    elif ".jsonl" in name:
        text = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
        path.write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    else:
        pd.DataFrame(ROWS).astype({"timestamp": str}).to_parquet(path)
    frame, rejected = read_interactions(path, item_ids={"t1", "s1"})
    assert _rows(frame) == EXPECTED
    assert rejected == []


def test_parquet_may_hold_real_moments_and_integer_ids(tmp_path):
    rows = {"user_id": [7], "item_id": ["t1"], "timestamp": pd.to_datetime(["2024-03-02T08:00:00.5"])}
    pd.DataFrame(rows).to_parquet(tmp_path / "log.parquet")
    frame, _ = read_interactions(tmp_path / "log.parquet", item_ids={"t1"})
    assert _rows(frame) == [("7", "t1", 1709366400.5, "purchase", 1.0, None, "")]


def test_the_log_is_oldest_first_and_equal_moments_keep_their_order(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("timestamp,item_id,user_id\n3,a,u\n1,b,u\n1,a,u\n2,b,u\n")
    frame, _ = read_interactions(path, item_ids={"a", "b"})
    assert list(zip(frame["timestamp"], frame["item_id"], strict=True)) == [(1, "b"), (1, "a"), (2, "b"), (3, "a")]


@pytest.mark.parametrize(
    ("row", "reason", "value"),
    [
        (",t1,1,purchase,1,2,b", "no user_id", "t1"),
        ("u,,1,purchase,1,2,b", "no item_id", ""),
        ("u,zz,1,purchase,1,2,b", "no item has this item_id", "zz"),
        ("u,t1,,purchase,1,2,b", "no timestamp", ""),
        ("u,t1,yesterday,purchase,1,2,b", "timestamp cannot be read", "yesterday"),
        ("u,t1,nan,purchase,1,2,b", "timestamp cannot be read", "nan"),
        ("u,t1,-5,purchase,1,2,b", "timestamp cannot be read", "-5"),
        ("u,t1,1709366400000,purchase,1,2,b", "timestamp cannot be read", "1709366400000"),
        ("u,t1,1,stolen,1,2,b", "event is none of purchase, view, like, dislike", "stolen"),
        ("u,t1,1,purchase,0,2,b", "quantity is not a number above zero", "0"),
        ("u,t1,1,purchase,some,2,b", "quantity is not a number above zero", "some"),
        ("u,t1,1,purchase,1,-2,b", "price is negative or not a number", "-2"),
        ("u,t1,1,purchase,1,NaN,b", "price is negative or not a number", "NaN"),
        ("u,t1,1,purchase,1,2", "7 columns expected", "u,t1,1,purchase,1,2"),
    ],
)
def test_a_row_that_cannot_be_used_is_listed_with_its_line_and_reason(tmp_path, row, reason, value):
    path = tmp_path / "log.csv"
    path.write_text(f"user_id,item_id,timestamp,event,quantity,price,basket_id\nu,t1,1,,,,\n{row}\nu,t1,2,view,,,\n")
    frame, rejected = read_interactions(path, item_ids={"t1"})
    assert frame["timestamp"].tolist() == [1.0, 2.0]
    assert rejected == [Rejected(file="log.csv", line=3, reason=reason, value=value)]


def test_a_log_without_a_usable_row_says_the_first_problem(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("user_id,item_id,timestamp\nu,zz,1\nu,t1,never\n")
    with pytest.raises(ShopError, match=r"line 2: no item has this item_id \(zz\)"):
        read_interactions(path, item_ids={"t1"})
    path.write_text("user;item;when\nu;t1;1\n")
    with pytest.raises(ShopError, match=r"line 1: the header has no user_id, item_id, timestamp"):
        read_interactions(path, item_ids={"t1"})


def test_a_stray_quote_costs_its_own_rows_only(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text('user_id,item_id,timestamp\nu,t1,1\nu,t1,"2\nu,t1,3\n')
    frame, rejected = read_interactions(path, item_ids={"t1"})
    assert frame["timestamp"].tolist() == [1.0]
    assert len(rejected) == 1


def test_a_shop_written_out_is_read_back_the_same(tmp_path):
    items = _write(tmp_path / "items.jsonl", TENT | {"attributes": {"size": "2", "season": ["spring"]}}, STOVE, "{")
    pd.DataFrame(ROWS).to_csv(tmp_path / "log.csv", index=False)
    source = read_files(items=items, interactions=tmp_path / "log.csv")
    assert source.counts == {
        "items read": 3,
        "items": 2,
        "items dropped: not JSON": 1,
        "lines read": 2,
        "lines kept": 2,
    }
    again = read_files(**dict(zip(("items", "interactions"), write_files(source, tmp_path / "out"), strict=True)))
    assert list(again.items) == list(source.items)
    assert _rows(again.interactions) == _rows(source.interactions)
    write_rejected(source.rejected, tmp_path / "rejected.jsonl")
    assert json.loads((tmp_path / "rejected.jsonl").read_text()) == {
        "file": "items.jsonl",
        "line": 3,
        "reason": "not JSON",
        "value": "{",
    }


def test_a_shop_without_a_log_has_items_and_no_events(tmp_path):
    source = read_files(items=_write(tmp_path / "items.jsonl", TENT))
    assert [item.item_id for item in source.items] == ["t1"]
    assert tuple(source.interactions.columns) == COLUMNS and len(source.interactions) == 0
