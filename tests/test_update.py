"""Updating a shop: as if it had been prepared from everything at once, whole or not at all, and nothing lost or doubled."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from retrieval.additions import Additions
from retrieval.embedder import Embedder
from retrieval.generation import generations
from retrieval.prepare import alone, prepare
from retrieval.ranking import RankContext, Ranker
from retrieval.records import Item, ShopError
from retrieval.shop import Shop
from retrieval.source_files import Source, read_files, write_files
from retrieval.update import Updated, update
from retrieval.wish import Wish
from tests.shops import DAY, START, history, twelve_items
from ui.cli import app

ROOT = Path(__file__).resolve().parent.parent
NOW = START + 70 * DAY

NEW = (
    Item(item_id="n1", title="Oat milk, 32 oz, store brand", description="Without dairy.", price=3.2),
    Item(item_id="n2", title="Goat cheese, 4 oz, name brand", categories=("Deli", "Cheese"), price=5.5),
)
DEARER = replace(twelve_items()[6], price=2.4)  # the same text as before
RENAMED = replace(twelve_items()[2], title="Caramel corn, 10 oz, store brand")


class OneByOne(Embedder):
    """The real embedder, asked for one text at a time: a vector then hangs on its text alone, and is computed once."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def encode(
        self, texts: Sequence[str], *, progress: Callable[[float], None] | None = None, batch: int = 64
    ) -> np.ndarray:
        """Give the vectors and note the texts."""
        self.asked += texts
        return np.array([Embedder.encode(self, [text])[0] for text in texts], np.float32).reshape(-1, self.dim)


@pytest.fixture(scope="module")
def single() -> OneByOne:
    return OneByOne()


def owners() -> Source:
    """Make the shop of an owner whose 48 shoppers are enough to fit the ranking's weights."""
    log = history(shoppers=48, weeks=7)
    return Source(name="items.jsonl", items=twelve_items(), interactions=log.sort_values("timestamp", kind="stable"))


def line(user: str, item: str, day: float = 0, **more: Any) -> dict[str, Any]:
    event = {"event": "purchase", "quantity": 1.0, "price": 2.0, "basket_id": f"{user}-n{day}"}
    return {"user_id": user, "item_id": item, "timestamp": NOW + day * DAY, **event, **more}


LINES = (
    *(line(f"u{user}", item) for user in (0, 2, 4, 6) for item in ("n1", "i00", "i08")),
    line("new", "n2"),
    line("new", "i07"),
    line("u1", "n2", 1, event="like", basket_id=""),
    line("u1", "i03", 2, event="dislike", basket_id=""),
    line("u3", "i05", -30),  # comes late: it belongs between what is there
    line("u3", "i05", -30),  # a second can
)


def handed(folder: Path, *, items: Sequence[Item] = (), lines: Sequence[dict[str, Any]] = ()) -> dict[str, Path]:
    """Write what is new as its owner would hand it over; gives the arguments of `update`."""
    folder.mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame([*lines], columns=list(line("u", "i")))
    paths = write_files(Source(name="", items=items, interactions=table), folder)
    return {
        name: path for name, path, rows in zip(("items", "interactions"), paths, (items, lines), strict=True) if rows
    }


@pytest.fixture(scope="module")
def owners_shop(tmp_path_factory: pytest.TempPathFactory, single: OneByOne) -> Path:
    """Prepare the owner's shop once; tests work on copies."""
    folder = tmp_path_factory.mktemp("owners")
    items, interactions = write_files(owners(), folder)
    prepare(read_files(items=items, interactions=interactions), shop=folder / "shop", embedder=single)
    return folder


@pytest.fixture
def place(owners_shop: Path, tmp_path: Path) -> Path:
    """Copy the owner's files and shop."""
    return Path(shutil.copytree(owners_shop, tmp_path / "place"))


def read(place: Path) -> Source:
    return read_files(items=place / "items.jsonl", interactions=place / "interactions.csv")


def everything(source: Source, *, items: Sequence[Item], lines: Sequence[dict[str, Any]]) -> Source:
    """Make the source that has all of it: changed items in their places, new ones and all lines at the end."""
    held = {item.item_id: item for item in [*source.items, *items]}
    log = pd.concat([source.interactions, pd.DataFrame([*lines])], ignore_index=True)
    log = log.sort_values("timestamp", kind="stable", ignore_index=True)
    return replace(source, items=list(held.values()), interactions=log)


CONTEXTS = [
    RankContext(user_id=user, task=task, cart=cart, liked=liked, limit=20)  # type: ignore[arg-type]
    for user in ("u0", "u1", "u3", "new", None)
    for task in ("again", "new", "next_basket", "goes_with")
    for cart, liked in (((), ()), (("i00", "n1"), ("i07",)))
] + [
    RankContext(user_id=user, wish=Wish(query=query), limit=20)
    for user in ("u0", "u1", "new", None)
    for query in ("oat milk", "cheese", "something for my cat", "popcorn", "caramel corn")
]


def scores(shop: Shop, ranker: Ranker) -> list[list[tuple[str, float, dict[str, float]]]]:
    """Give item, score and parts of every list."""
    shop = replace(shop, ranker=ranker)
    out = []
    for context in CONTEXTS:
        if context.wish.query:
            found = shop.catalog.search([context.wish.query], wish=context.wish, limit=100)
        else:
            found = shop.candidates(context)
        ranked = shop.rank(found, context=context)
        out.append([(r.item.item_id, r.score, {part.name: part.value for part in r.parts}) for r in ranked])
    return out


def test_after_an_update_every_part_of_every_score_is_that_of_a_rebuild(place: Path, single: OneByOne) -> None:
    """Stated tolerance: 1e-6, with equal vectors of equal texts and the weights that were kept."""
    items = [*NEW, DEARER, RENAMED]
    with Shop.open(place / "shop", embedder=single) as shop:
        kept = shop.ranker
        first = scores(shop, kept)
    assert kept != Ranker()  # they were fitted
    source = everything(read(place), items=items, lines=LINES)
    done = update(place / "shop", **handed(place / "new", items=items, lines=LINES), embedder=single)
    assert (done.new_items, done.changed_items, done.interactions, done.repeated) == (2, 2, len(LINES), 0)
    prepare(source, shop=place / "rebuilt", embedder=OneByOne())
    with Shop.open(place / "shop", embedder=single) as ours, Shop.open(place / "rebuilt", embedder=single) as theirs:
        assert ours.ranker == kept != theirs.ranker
        assert list(ours.catalog.items.values()) == list(theirs.catalog.items.values()) == source.items
        assert [ours.manifest.counts[name] for name in ("items", "interactions", "shoppers")] == [
            theirs.manifest.counts[name] for name in ("items", "interactions", "shoppers")
        ]
        after, rebuilt = scores(ours, kept), scores(theirs, kept)
    assert after != first
    assert any("n1" in [item_id for item_id, _, _ in held] for held in after)
    for mine, other in zip(after, rebuilt, strict=True):
        assert [item_id for item_id, _, _ in mine] == [item_id for item_id, _, _ in other]
        for (_, score, parts), (_, expected, expected_parts) in zip(mine, other, strict=True):
            assert score == pytest.approx(expected, abs=1e-6)
            assert parts == pytest.approx(expected_parts, abs=1e-6)


def test_only_new_texts_are_embedded(place: Path, single: OneByOne) -> None:
    """A price is no text; and where no text is new, the model is not even loaded."""
    silent = OneByOne()
    update(place / "shop", **handed(place / "a", items=[DEARER], lines=LINES[:2][1:]), embedder=silent)
    assert silent.asked == []
    single.asked.clear()
    update(place / "shop", **handed(place / "b", items=[NEW[0]]), embedder=single)
    assert single.asked and all("oat milk" in text.lower() for text in single.asked)


def test_the_same_files_again_change_nothing(place: Path, single: OneByOne) -> None:
    files = handed(place / "new", items=[*NEW, DEARER], lines=LINES)
    first = update(place / "shop", **files, embedder=single)
    before = {file: file.stat().st_mtime_ns for file in (place / "shop").rglob("*")}
    again = update(place / "shop", **files, embedder=single)
    assert again == Updated(
        manifest=first.manifest, changed=False, same_items=3, repeated=len(LINES), seconds=again.seconds
    )
    assert {file: file.stat().st_mtime_ns for file in (place / "shop").rglob("*")} == before


def test_two_updates_are_one(place: Path, single: OneByOne) -> None:
    """An update of an updated shop adds to it; the shop is that of one update with both."""
    other = shutil.copytree(place / "shop", place / "other")
    both = update(other, **handed(place / "both", items=[*NEW, RENAMED], lines=LINES), embedder=single)
    update(place / "shop", **handed(place / "a", items=[NEW[0], DEARER], lines=LINES[:5]), embedder=single)
    back = twelve_items()[6]  # its old price again
    second = handed(place / "b", items=[NEW[1], RENAMED, back], lines=LINES)
    done = update(place / "shop", **second, embedder=single)
    assert (done.new_items, done.changed_items, done.repeated) == (1, 2, 5)
    assert done.manifest.added == {"updates": 2, "items": 4, "interactions": len(LINES)}
    assert done.manifest.source_key == both.manifest.source_key
    with Shop.open(place / "shop", embedder=single) as ours, Shop.open(other, embedder=single) as theirs:
        assert ours.catalog.items == theirs.catalog.items
        pd.testing.assert_frame_equal(ours.read_interactions(), theirs.read_interactions())
        assert scores(ours, ours.ranker) == scores(theirs, theirs.ranker)


def test_refit_fits_the_weights_anew(place: Path, single: OneByOne) -> None:
    """Also where nothing is new; they are then those of a rebuild."""
    lines = [line(f"u{user}", f"i{10 + user % 2}", 7) for user in range(48)]
    old = update(place / "shop", **handed(place / "new", lines=lines), embedder=single).manifest
    before = Ranker.load(place / "shop" / old.generation / "ranker.json")
    done = update(place / "shop", refit=True, embedder=single)
    assert done.changed and done.manifest.added == old.added
    after = Ranker.load(place / "shop" / done.manifest.generation / "ranker.json")
    made = prepare(everything(read(place), items=[], lines=lines), shop=place / "rebuilt", embedder=single)
    rebuilt = Ranker.load(place / "rebuilt" / made.generation / "ranker.json")
    assert after.weights == rebuilt.weights != before.weights


# What a later `prepare` makes of it


def test_prepare_on_the_same_source_keeps_what_updates_added_unless_fresh(place: Path, single: OneByOne) -> None:
    first = prepare(read(place), shop=place / "shop", embedder=single)
    done = update(place / "shop", **handed(place / "new", items=NEW, lines=LINES), embedder=single)
    assert prepare(read(place), shop=place / "shop", embedder=single) == done.manifest
    fresh = prepare(read(place), shop=place / "shop", fresh=True, embedder=single)
    assert (fresh.key, fresh.added, fresh.counts["items"]) == (first.key, {}, 12)
    assert prepare(read(place), shop=place / "shop", embedder=single) == fresh


def test_a_damaged_shop_is_prepared_again_with_what_updates_added(place: Path, single: OneByOne) -> None:
    done = update(place / "shop", **handed(place / "new", items=NEW, lines=LINES), embedder=single)
    (place / "shop" / done.manifest.generation / "history.npz").write_bytes(b"nothing")
    with pytest.raises(ShopError, match=r"history.npz has changed since it was built. Build it again"):
        update(place / "shop", **handed(place / "more", lines=[line("u9", "i01", 3)]), embedder=single)
    (place / "shop" / "current").unlink()  # the pointer too
    manifest = prepare(read(place), shop=place / "shop", embedder=single)
    assert (manifest.key, manifest.added) == (done.manifest.key, done.manifest.added)
    file = place / "shop" / manifest.generation / "additions" / "interactions.parquet"
    shutil.copyfile(place / "shop" / manifest.generation / "additions" / "items.parquet", file)
    with pytest.raises(ShopError, match=r"cannot be read .* prepare --fresh"):
        prepare(read(place), shop=place / "shop", embedder=single)
    assert prepare(read(place), shop=place / "shop", fresh=True, embedder=single).counts["items"] == 12


def test_a_later_source_is_right_about_what_it_changed_and_has_nothing_twice(place: Path, single: OneByOne) -> None:
    update(place / "shop", **handed(place / "new", items=[*NEW, DEARER, RENAMED], lines=LINES), embedder=single)
    own = replace(NEW[0], price=9.0)  # the owner's list has it by now, at another price
    cheaper = replace(DEARER, price=1.0)
    source = everything(read(place), items=[own, cheaper], lines=LINES[:3])
    manifest = prepare(source, shop=place / "shop", embedder=single)
    with Shop.open(place / "shop", embedder=single) as shop:
        held = shop.catalog.items
        assert [held[item_id] for item_id in ("n1", "n2", "i06", "i02")] == [own, NEW[1], cheaper, RENAMED]
        assert len(shop.read_interactions()) == len(read(place).interactions) + len(LINES)
    dropped = {name: count for name, count in manifest.counts.items() if "dropped" in name}
    assert dropped == {
        "updated items dropped: the source says something else of them now": 2,
        "updated interactions dropped: in the source by now": 3,
    }
    assert manifest.added == {"updates": 1, "items": 2, "interactions": len(LINES) - 3}
    assert prepare(source, shop=place / "shop", embedder=single) == manifest
    without = replace(read(place), items=[item for item in twelve_items() if item.item_id != "i02"])
    without = replace(without, interactions=without.interactions[without.interactions["item_id"] != "i02"])
    counts = prepare(without, shop=place / "shop", embedder=single).counts
    assert (counts["items"], counts["updated items dropped: the source says something else of them now"]) == (12, 1)


def test_updates_of_one_source_do_not_go_to_another(place: Path, single: OneByOne) -> None:
    """Neither lost without a word nor added to a shop that they have nothing to do with."""
    done = update(place / "shop", **handed(place / "new", items=NEW), embedder=single)
    with pytest.raises(ShopError, match=r"made from items.jsonl and has 1 updates, which toys.jsonl does not have"):
        prepare(replace(read(place), name="toys.jsonl"), shop=place / "shop", embedder=single)
    assert (place / "shop" / "current").read_text().strip() == done.manifest.generation


# Bad input


def unchanged(place: Path, single: OneByOne, **files: Path) -> str:
    """Give the error of an update that must leave everything as it is."""
    before = {file: file.stat().st_mtime_ns for file in (place / "shop").rglob("*")}
    with pytest.raises(ShopError) as error:
        update(place / "shop", **files, embedder=single)
    assert {file: file.stat().st_mtime_ns for file in (place / "shop").rglob("*")} == before
    return str(error.value)


def test_rows_of_no_use_are_counted_and_listed_and_the_others_come_in(place: Path, single: OneByOne) -> None:
    files = handed(
        place / "new", items=NEW[:1], lines=[line("u0", "n1"), line("u0", "n2"), line("u0", "i00", price=-1)]
    )
    with files["items"].open("a", encoding="utf-8") as out:
        out.write('{"item_id": "n3"}\n')
    with files["interactions"].open("a", encoding="utf-8") as out:
        out.write("u0,i00,2999-01-01,purchase,1,1,\n")
    for _ in range(2):  # a second time they are listed once
        done = update(place / "shop", **files, embedder=single)
        assert done.rejected == 4
    rows = [json.loads(row) for row in (place / "shop" / "rejected.jsonl").read_text().splitlines()]
    assert [(row["file"], row["line"], row["reason"]) for row in rows] == [
        ("items.jsonl", 2, "no title"),
        ("interactions.csv", 3, "no item has this item_id"),
        ("interactions.csv", 4, "price is negative or not a number"),
        ("interactions.csv", 5, "timestamp is in the future by this machine's clock"),
    ]
    with Shop.open(place / "shop", embedder=single) as shop:
        assert shop.history.times("u0", "n1") == 1  # a line of an item that is new with it


@pytest.mark.parametrize(
    "text", ["", "\n\n", "user_id,item_id,timestamp\n", "user_id,item_id,timestamp\nu1,nobody,7\n"]
)
def test_a_log_with_nothing_to_use_is_an_error(place: Path, single: OneByOne, text: str) -> None:
    (place / "new.csv").write_text(text)
    assert "new.csv" in unchanged(place, single, interactions=place / "new.csv")


def test_files_that_are_empty_missing_or_of_no_use_are_errors(place: Path, single: OneByOne) -> None:
    (place / "empty.jsonl").write_text("")
    (place / "bad.jsonl").write_text("{}\n")
    assert "empty.jsonl is empty. Expected" in unchanged(place, single, items=place / "empty.jsonl")
    assert "bad.jsonl can be used. First problem, line 1: no item_id" in unchanged(
        place, single, items=place / "bad.jsonl"
    )
    assert "none.jsonl" in unchanged(place, single, items=place / "none.jsonl")
    assert "Nothing to add was named" in unchanged(place, single)


def test_where_there_is_no_shop_prepare_is_named(tmp_path: Path, single: OneByOne) -> None:
    files = handed(tmp_path / "new", items=NEW)
    with pytest.raises(ShopError, match=r"No shop at .*Build one with: shoptalk prepare"):
        update(tmp_path / "nowhere", **files)
    assert not (tmp_path / "nowhere").exists()
    cut = prepare(owners(), shop=tmp_path / "past", until=NOW - 50 * DAY, embedder=single)
    assert cut.until is not None
    with pytest.raises(ShopError, match="takes no updates"):
        update(tmp_path / "past", **files)


# Others at the same time, and interruptions


def test_who_reads_the_shop_goes_on_and_two_do_not_change_it_at_once(place: Path, single: OneByOne) -> None:
    files = handed(place / "new", items=NEW, lines=LINES)
    with alone(place / "shop"):
        assert "Another process is preparing" in unchanged(place, single, **files)
    with Shop.open(place / "shop", embedder=single) as reading:
        update(place / "shop", **files, embedder=single)
        assert "n1" not in reading.catalog.items and reading.catalog.search(["milk"], wish=Wish())
        with Shop.open(place / "shop", embedder=single) as opened:
            assert "n1" in opened.catalog.items
        assert len(list(generations(place / "shop"))) == 2
    prepare(read(place), shop=place / "shop", embedder=single)
    assert len(list(generations(place / "shop"))) == 1


SCRIPT = """
import resource, sys, time
from pathlib import Path
from retrieval.update import update

shop, new, stop_at, limit = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])

def tell(what, share):
    print(what, flush=True)
    if what == stop_at:
        time.sleep(120)

if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    update(shop, items=new / "items.jsonl", interactions=new / "interactions.csv", progress=tell)
except Exception as error:
    print(f"{type(error).__name__}: {error}", flush=True)
"""


def start(place: Path, *, stop_at: str = "-", limit: int = 0) -> subprocess.Popen[str]:
    handed(place / "new", items=NEW, lines=LINES)
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(place / "shop"), str(place / "new"), stop_at, str(limit)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.slow
@pytest.mark.parametrize("stop_at", ["Writing items and interactions", "Filling Chroma", "Checking what was written"])
def test_a_killed_update_leaves_the_old_shop_and_is_taken_up(place: Path, single: OneByOne, stop_at: str) -> None:
    old = prepare(read(place), shop=place / "shop", embedder=single)
    process = start(place, stop_at=stop_at)
    assert process.stdout is not None
    started = time.monotonic()
    while process.stdout.readline().strip() != stop_at:
        assert process.poll() is None and time.monotonic() - started < 300
    with pytest.raises(ShopError, match="Another process is preparing"):
        prepare(read(place), shop=place / "shop", embedder=single)
    process.send_signal(signal.SIGKILL)
    process.wait()
    with Shop.open(place / "shop", embedder=single) as opened:
        assert opened.generation == old.generation
    told: list[str] = []
    done = update(
        place / "shop",
        items=place / "new" / "items.jsonl",
        interactions=place / "new" / "interactions.csv",
        progress=lambda what, _share: told.append(what),
        embedder=single,
    )
    # What was finished before the kill is not done again.
    assert ("Writing items and interactions" in told) == (stop_at == "Writing items and interactions")
    assert done.changed and [folder.name for folder in generations(place / "shop")] == [done.manifest.generation]
    assert len(Additions.load(place / "shop" / done.manifest.generation).interactions) == len(LINES)
    with Shop.open(place / "shop", embedder=single) as opened:
        assert len(opened.catalog.items) == 14


@pytest.mark.slow
def test_a_full_disk_is_said_and_loses_nothing(place: Path, single: OneByOne) -> None:
    """A limit on the size of files stands for the full disk: writes fail in the same way."""
    old = [folder.name for folder in generations(place / "shop")]
    output, _ = start(place, limit=8_000).communicate(timeout=300)
    assert "ShopError: No space left to build the shop" in output
    assert "The shop that was there is unchanged" in output
    assert [folder.name for folder in generations(place / "shop")] == old
    with Shop.open(place / "shop", embedder=single) as opened:
        assert len(opened.catalog.items) == 12


# The real embedder, and the command


@pytest.mark.slow
def test_texts_embedded_in_other_company_match_within_a_hundredth(place: Path, embedder: Embedder) -> None:
    """In bf16 a text's vector hangs a little on what it was embedded with: 0.002 a number, measured."""
    files = handed(place / "new", items=[*NEW, RENAMED], lines=LINES)
    update(place / "shop", **files, embedder=embedder)
    prepare(everything(read(place), items=[*NEW, RENAMED], lines=LINES), shop=place / "rebuilt", embedder=Embedder())
    with (
        Shop.open(place / "shop", embedder=embedder) as ours,
        Shop.open(place / "rebuilt", embedder=embedder) as theirs,
    ):
        for mine, other in zip(scores(ours, ours.ranker), scores(theirs, ours.ranker), strict=True):
            parts = {item_id: held for item_id, _, held in other}
            assert {item_id for item_id, _, _ in mine} == set(parts)
            for item_id, _, held in mine:
                assert held == pytest.approx(parts[item_id], abs=0.01)


def test_the_command_says_what_came_in_and_what_to_do_next(place: Path) -> None:
    files = handed(place / "new", items=[*NEW, DEARER], lines=[*LINES, line("u0", "nobody")])
    words = ["update", "--shop", str(place / "shop")]
    for name, path in files.items():
        words += [f"--{name}", str(path)]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    said = " ".join(done.output.split())
    assert "Added 2 new items, 1 changed item and 18 interactions" in said
    assert "1 row of no use is listed in" in said
    assert "14 items, 1,362 interactions, 49 shoppers" in said
    assert "A page that is running goes on with the shop as it was: start it again" in said
    again = CliRunner().invoke(app, words)
    assert again.exit_code == 0 and "Nothing is new: the shop has the 3 items and 18 interactions already" in " ".join(
        again.output.split()
    )
    prepared = CliRunner().invoke(app, ["prepare", "--shop", str(place / "shop"), "--no-model"])
    assert "3 items and 18 interactions of it from updates" in " ".join(prepared.output.split())
    own = CliRunner().invoke(app, ["prepare", "--fresh", "--shop", str(place / "shop"), "--no-model"])
    assert own.exit_code == 2 and "give its --items" in " ".join(own.output.split())
