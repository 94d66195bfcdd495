"""A shop opens whole or says why not, and heals its vector store while it goes on answering."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from retrieval.generation import VERSION
from retrieval.records import ShopError
from retrieval.shop import Shop
from retrieval.vectors import Vectors
from retrieval.wish import Wish

if TYPE_CHECKING:
    from retrieval.embedder import Embedder


@pytest.fixture
def shop_folder(small_shop: Shop, tmp_path: Path) -> Path:
    """Copy the small shop, to be damaged."""
    return Path(shutil.copytree(small_shop.path, tmp_path / "shop"))


def generation(folder: Path) -> Path:
    return folder / (folder / "current").read_text().strip()


def test_an_opened_shop_has_everything_a_turn_reads(small_shop: Shop) -> None:
    assert list(small_shop.catalog.items) == list(small_shop.history.item_ids) == [f"i{n:02d}" for n in range(12)]
    assert small_shop.manifest.counts == {"lines_read": 192, "items": 12, "interactions": 192, "shoppers": 8}
    assert small_shop.history.bought("u0", "i00")
    assert not small_shop.history.bought("u0", "i01")
    assert len(small_shop.scorer.for_user("u0")) == 12
    assert len(small_shop.read_interactions()) == 192
    assert small_shop.catalog.vectors.state == "chroma"


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (shutil.rmtree, "No shop at"),
        (lambda shop: (shop / "current").unlink(), "only half built"),
        (lambda shop: (shop / "current").write_text("g-nowhere"), "is damaged: current names no generation"),
        (lambda shop: (shop / "current").write_text("../elsewhere"), "is damaged: current names no generation"),
        (lambda shop: (generation(shop) / "manifest.json").unlink(), "only half built"),
        (lambda shop: (generation(shop) / "manifest.json").write_text("{"), "manifest.json cannot be read"),
        (lambda shop: (generation(shop) / "items.parquet").unlink(), "items.parquet is missing"),
        (lambda shop: (generation(shop) / "vectors.npy").write_bytes(b"x"), "vectors.npy has changed"),
        (lambda shop: (generation(shop) / "history.npz").write_bytes(b""), "history.npz has changed"),
        (lambda shop: (generation(shop) / "scorer" / "similarity.npz").unlink(), "scorer/similarity.npz is missing"),
    ],
)
def test_a_shop_that_is_not_whole_says_what_is_wrong_and_what_to_do(
    shop_folder: Path, embedder: Embedder, damage: Callable[[Path], object], said: str
) -> None:
    damage(shop_folder)
    with pytest.raises(ShopError) as caught:
        Shop.open(shop_folder, embedder=embedder)
    assert said in str(caught.value)
    assert f"shoptalk prepare --shop {shop_folder}" in str(caught.value)


def test_a_shop_of_another_version_is_refused(shop_folder: Path, embedder: Embedder) -> None:
    file = generation(shop_folder) / "manifest.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "version": VERSION + 1}))
    with pytest.raises(ShopError, match="another version"):
        Shop.open(shop_folder, embedder=embedder)


def test_a_file_is_no_shop(tmp_path: Path) -> None:
    (tmp_path / "shop").write_text("")
    with pytest.raises(ShopError, match="is a file, not a shop folder"):
        Shop.open(tmp_path / "shop")


def _store(shop: Path) -> Path:
    return next(generation(shop).glob("chroma-*"))


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def _forget(shop: Path) -> None:
    with sqlite3.connect(_store(shop) / "chroma.sqlite3") as database:
        database.execute("DELETE FROM collections")


@pytest.mark.parametrize(
    "damage",
    [
        lambda shop: shutil.rmtree(_store(shop)),
        lambda shop: (generation(shop) / "chroma.json").unlink(),
        lambda shop: (generation(shop) / "chroma.json").write_text('{"folder": "../../elsewhere"}'),
        lambda shop: _cut(_store(shop) / "chroma.sqlite3"),
        lambda shop: (_store(shop) / "chroma.sqlite3").write_bytes(b"no database"),
        lambda shop: _cut(next(_store(shop).rglob("data_level0.bin"))),
        lambda shop: next(_store(shop).rglob("index_metadata.pickle")).write_bytes(b"\x80\x04N."),
        _forget,
    ],
    ids=[
        "no store",
        "no pointer",
        "pointer out",
        "half database",
        "no database",
        "half index",
        "pickle",
        "no collection",
    ],
)
def test_a_damaged_vector_store_is_made_again_while_exact_search_answers(
    shop_folder: Path, embedder: Embedder, damage: Callable[[Path], object]
) -> None:
    damage(shop_folder)
    with Shop.open(shop_folder, embedder=embedder) as shop:
        found = shop.catalog.search(["steak"], wish=Wish())
        assert [candidate.item_id for candidate in found] == ["i04"]
        assert shop.catalog.vectors.wait(120) == "chroma"
        assert [candidate.item_id for candidate in shop.catalog.search(["pop"], wish=Wish())] == ["i00"]
    with Shop.open(shop_folder, embedder=embedder) as shop:
        assert shop.catalog.vectors.state == "chroma"
    assert len(list(generation(shop_folder).glob("chroma-*"))) == 1


def test_chroma_and_the_exact_scan_agree(small_shop: Shop) -> None:
    vectors = small_shop.catalog.vectors
    exact = Vectors(vectors.folder, item_ids=small_shop.catalog.item_ids, array=vectors.array)
    query = vectors.array[3]
    rows, cosines = vectors.nearest(query, limit=5)
    assert vectors.state == "chroma"
    assert exact.state == "exact"
    assert exact.nearest(query, limit=5)[0].tolist() == rows.tolist()
    assert abs(float(cosines[0]) - 1.0) < 1e-3


def test_two_processes_worth_of_readers_hold_one_generation(shop_folder: Path, embedder: Embedder) -> None:
    with Shop.open(shop_folder, embedder=embedder) as first, Shop.open(shop_folder, embedder=embedder) as second:
        assert first.generation == second.generation
        assert first.catalog.search(["beer"], wish=Wish(age_restricted=True))
        assert second.catalog.search(["beer"], wish=Wish()) == []
