"""Preparing a shop: whole or not at all, whatever interrupts it; and nothing twice."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from retrieval.generation import generations
from retrieval.prepare import prepare
from retrieval.records import ShopError
from retrieval.shop import Shop
from retrieval.source_files import Rejected, read_files
from retrieval.wish import Wish
from tests.shops import DAY, START, SmallSource, small_source, twelve_items, write_files

if TYPE_CHECKING:
    from retrieval.embedder import Embedder

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    return tmp_path / "shop"


def names(shop: Path) -> list[str]:
    return sorted(folder.name for folder in generations(shop))


def without_milk() -> SmallSource:
    source = small_source()
    kept = source.interactions[source.interactions["item_id"] != "i08"]
    return replace(source, items=[item for item in source.items if item.item_id != "i08"], interactions=kept)


def test_the_same_source_is_not_prepared_twice(shop: Path, embedder: Embedder) -> None:
    first = prepare(small_source(), shop=shop, embedder=embedder)
    before = {file: file.stat().st_mtime_ns for file in (shop / first.generation).rglob("*")}
    told: list[str] = []
    again = prepare(small_source(), shop=shop, progress=lambda what, _share: told.append(what), embedder=embedder)
    assert again == first
    assert {file: file.stat().st_mtime_ns for file in (shop / first.generation).rglob("*")} == before
    assert told == ["Looking at the source", "Ready"]


def test_progress_rises_to_one(shop: Path, embedder: Embedder) -> None:
    shares: list[float] = []
    prepare(small_source(), shop=shop, progress=lambda _what, share: shares.append(share), embedder=embedder)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_a_new_source_swaps_the_shop_and_old_generations_go_when_nobody_reads_them(
    shop: Path, embedder: Embedder
) -> None:
    first = prepare(small_source(), shop=shop, embedder=embedder)
    with Shop.open(shop, embedder=embedder) as reading:
        second = prepare(without_milk(), shop=shop, embedder=embedder)
        # Who has the old generation open goes on with it; who opens the shop now gets the new one.
        assert names(shop) == sorted([first.generation, second.generation])
        assert [candidate.item_id for candidate in reading.catalog.search(["milk"], wish=Wish())] == ["i08"]
        with Shop.open(shop, embedder=embedder) as opened:
            assert "i08" not in opened.catalog.items
    prepare(without_milk(), shop=shop, embedder=embedder)
    assert names(shop) == [second.generation]


def test_until_leaves_out_what_came_after(shop: Path, embedder: Embedder) -> None:
    cut = START + 21 * DAY
    manifest = prepare(small_source(), shop=shop, until=cut, embedder=embedder)
    with Shop.open(shop, embedder=embedder) as opened:
        times = opened.read_interactions()["timestamp"]
    assert manifest.until == cut
    assert 0 < manifest.counts["interactions"] == len(times) < 192
    assert times.max() < cut
    assert prepare(small_source(), shop=shop, embedder=embedder).until is None


def test_a_damaged_shop_is_built_again(shop: Path, embedder: Embedder) -> None:
    first = prepare(small_source(), shop=shop, embedder=embedder)
    (shop / first.generation / "items.parquet").write_bytes(b"nothing")
    prepare(small_source(), shop=shop, embedder=embedder)
    with Shop.open(shop, embedder=embedder) as opened:
        assert len(opened.catalog.items) == 12


def test_rows_that_cannot_be_used_are_listed(shop: Path, embedder: Embedder) -> None:
    @dataclass(frozen=True, kw_only=True)
    class Partly(SmallSource):
        rejected: list[Rejected] = field(default_factory=list)

    row = Rejected(file="items.jsonl", line=3, reason="no title", value='{"item_id": "ñ"}')
    source = small_source()
    partly = Partly(items=source.items, interactions=source.interactions, counts={"dropped": 1}, rejected=[row])
    prepare(partly, shop=shop, embedder=embedder)
    lines = (shop / "rejected.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == [
        {"file": "items.jsonl", "line": 3, "reason": "no title", "value": '{"item_id": "ñ"}'}
    ]


def test_an_owners_files_make_the_same_shop(tmp_path: Path, shop: Path, embedder: Embedder) -> None:
    items, interactions = write_files(tmp_path)
    prepare(read_files(items=items, interactions=interactions), shop=shop, embedder=embedder)
    with Shop.open(shop, embedder=embedder) as opened:
        assert list(opened.catalog.items.values()) == twelve_items()
        assert opened.history.buyers("i00") == 4


def test_a_shop_without_a_log_opens(tmp_path: Path, shop: Path, embedder: Embedder) -> None:
    items, _ = write_files(tmp_path)
    prepare(read_files(items=items), shop=shop, embedder=embedder)
    with Shop.open(shop, embedder=embedder) as opened:
        assert [candidate.item_id for candidate in opened.catalog.search(["beer"], wish=Wish(age_restricted=True))] == [
            "i11"
        ]
        assert len(opened.history.users) == 0


def test_one_item_is_a_shop(shop: Path, embedder: Embedder) -> None:
    source = small_source()
    one = replace(source, items=source.items[:1], interactions=source.interactions.iloc[:1])
    prepare(one, shop=shop, embedder=embedder)
    with Shop.open(shop, embedder=embedder) as opened:
        assert opened.catalog.vectors.state == "chroma"
        assert [candidate.item_id for candidate in opened.catalog.search(["pop"], wish=Wish())] == ["i00"]


def test_an_empty_source_is_refused(shop: Path) -> None:
    with pytest.raises(ShopError, match="at least one item"):
        prepare(replace(small_source(), items=[]), shop=shop)


def test_a_folder_that_cannot_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ShopError, match=r"Cannot make the shop folder .*file/shop"):
        prepare(small_source(), shop=tmp_path / "file" / "shop")


# Interruptions: a real process, really killed

SCRIPT = """
import resource, sys, time
from pathlib import Path
from retrieval.prepare import prepare
from tests.shops import small_source

shop, stop_at, limit = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])

def tell(what, share):
    print(what, flush=True)
    if what == stop_at:
        time.sleep(120)

if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    prepare(small_source(), shop=shop, progress=tell)
except Exception as error:
    print(f"{type(error).__name__}: {error}", flush=True)
"""


def start(shop: Path, *, stop_at: str = "-", limit: int = 0) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(shop), stop_at, str(limit)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_for(process: subprocess.Popen[str], what: str) -> None:
    assert process.stdout is not None
    started = time.monotonic()
    for line in process.stdout:
        if line.strip() == what:
            return
        assert time.monotonic() - started < 300
    raise AssertionError(f"The process ended before it came to {what!r}")


@pytest.mark.slow
@pytest.mark.parametrize("stop_at", ["Reading the history", "Filling Chroma", "Checking what was written"])
def test_a_killed_build_leaves_the_old_shop_and_is_taken_up(shop: Path, embedder: Embedder, stop_at: str) -> None:
    old = prepare(without_milk(), shop=shop, embedder=embedder)
    process = start(shop, stop_at=stop_at)
    wait_for(process, stop_at)
    process.send_signal(signal.SIGKILL)
    process.wait()
    with Shop.open(shop, embedder=embedder) as opened:
        assert opened.generation == old.generation
    told: list[str] = []
    manifest = prepare(small_source(), shop=shop, progress=lambda what, _share: told.append(what), embedder=embedder)
    # What was finished before the kill is not done again.
    assert "Writing items and interactions" not in told
    assert names(shop) == [manifest.generation]
    with Shop.open(shop, embedder=embedder) as opened:
        assert list(opened.catalog.items.values()) == twelve_items()
        assert [candidate.item_id for candidate in opened.catalog.search(["milk"], wish=Wish())] == ["i08"]


@pytest.mark.slow
def test_half_a_shop_says_so_and_another_source_clears_it_away(shop: Path, embedder: Embedder) -> None:
    process = start(shop, stop_at="Filling Chroma")
    wait_for(process, "Filling Chroma")
    with pytest.raises(ShopError, match="Another process is preparing"):
        prepare(small_source(), shop=shop, embedder=embedder)
    process.kill()
    process.wait()
    with pytest.raises(ShopError, match="only half built"):
        Shop.open(shop, embedder=embedder)
    manifest = prepare(without_milk(), shop=shop, embedder=embedder)
    assert names(shop) == [manifest.generation]


@pytest.mark.slow
def test_a_full_disk_is_said_and_loses_nothing(shop: Path, embedder: Embedder) -> None:
    """A limit on the size of files stands for the full disk: writes fail in the same way."""
    old = prepare(without_milk(), shop=shop, embedder=embedder)
    process = start(shop, limit=4_000)
    output, _ = process.communicate(timeout=300)
    assert "ShopError: No space left to build the shop" in output
    assert "The shop that was there is unchanged" in output
    assert names(shop) == [old.generation]
    with Shop.open(shop, embedder=embedder) as opened:
        assert opened.generation == old.generation
