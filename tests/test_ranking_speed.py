"""The speed report measures what a request does, keeps to its limits, and says what it left out; no time is asserted."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eval import ranking_speed
from eval.ranking_speed import Growth, aims, grow, in_own_process, main, tables
from eval.request_speed import WARMING, Speed, contexts_of, measure_shop, timed
from eval.synthetic_shop import Size, synthetic_items
from retrieval.ranking import TASKS, RankContext
from retrieval.records import ShopError
from tests.small_shop import small_shop

TINY = Size(items=300, interactions=6_000)


def test_warming_is_not_counted_and_each_request_is_answered_once() -> None:
    asked: list[RankContext] = []

    def answer(context: RankContext) -> list[Any]:
        asked.append(context)
        return []

    contexts = [RankContext(user_id=str(n)) for n in range(WARMING + 7)]
    speed = timed(answer, contexts)
    assert asked == contexts and speed.n == 7 and 0 <= speed.p50_ms <= speed.p95_ms
    with pytest.raises(ShopError, match="--requests"):
        timed(answer, contexts[:WARMING])


def test_requests_are_of_many_shoppers_and_words_and_the_same_for_a_seed() -> None:
    items = synthetic_items(TINY, rng=np.random.default_rng(0))
    weights = [1.0] * 10 + [0.0] * 290

    def drawn(task: Any, seed: int) -> list[RankContext]:
        rng = np.random.default_rng(seed)
        return contexts_of(task, count=40, users=["a", "b", "c"], items=items, weights=weights, rng=rng)

    for task in TASKS:
        contexts = drawn(task, 0)
        assert contexts == drawn(task, 0) != drawn(task, 1)
        assert {context.user_id for context in contexts} == {"a", "b", "c"}
        named = {len(context.named) for context in contexts}
        assert named == ({1} if task in ("goes_with", "similar") else {0})
        assert {item_id for context in contexts for item_id in context.cart} <= {item.item_id for item in items[:10]}
        assert task == "goes_with" or {bool(context.cart) for context in contexts} == {True, False}
    queries = [context.wish.query for context in drawn("search", 0)]
    assert len(set(queries)) == 25  # every kind of the shop before one comes again: nothing is answered from memory
    assert not any(context.wish.query for context in drawn("new", 0))


def test_an_opened_shop_is_asked_for_every_task() -> None:
    speeds = measure_shop(small_shop(), requests=3, seed=0)
    assert list(speeds) == list(TASKS)
    assert all(isinstance(speed, Speed) and speed.n == 3 and speed.p95_ms > 0 for speed in speeds.values())


LIMITS: dict[str, Any] = {"requests": 3, "seed": 0, "seconds": 120.0, "gib": 8.0}


@pytest.mark.parametrize(
    ("name", "size", "lines"),
    [("items", TINY, range(5_000, 6_001)), ("lopsided", Size(items=300, interactions=2_000), range(4_000, 4_001))],
)
def test_a_size_is_measured_in_its_own_process(name: str, size: Size, lines: range) -> None:
    (found,) = grow(Growth(name=name, sizes=(size,)), **LIMITS)
    assert (found["items_asked"], found["interactions_asked"]) == (300, size.interactions)
    assert found["items"] == 300 and found["lines"] in lines
    assert set(found["speeds"]) == set(TASKS) and all(speed["n"] == 3 for speed in found["speeds"].values())
    stages = ["load the log", "fit the models", "fit the ranking", "first request", "requests"]
    assert list(found["stages"]["seconds"]) == list(found["stages"]["peak_gib"]) == stages
    assert found["stages"]["peak_gib"]["requests"] > 0.05


def test_what_goes_beyond_a_limit_is_skipped_and_so_is_all_that_is_larger() -> None:
    sizes = (Size(items=300, interactions=6_000_000), Size(items=300, interactions=7_000_000))
    asked = [{"items_asked": 300, "interactions_asked": size.interactions} for size in sizes]
    for limit, why in (({"gib": 0.2}, "more than 0.2 GiB of memory"), ({"seconds": 0.05}, "more than 0.05 s")):
        found = list(grow(Growth(name="interactions", sizes=sizes), **{**LIMITS, **limit}))
        assert found == [asked[0] | {"skipped": why}, asked[1] | {"skipped": f"a smaller one took {why}"}]


def test_an_error_is_no_limit(tmp_path: Path) -> None:
    with pytest.raises(ShopError, match=r"No shop at .*nowhere"):
        job = {"what": "shop", "shop": str(tmp_path / "nowhere"), "requests": 3, "seed": 0}
        in_own_process(job, folder=tmp_path, seconds=120, gib=8)


def _found(p95: float, *, items: int = 100_000, **more: Any) -> dict[str, Any]:
    speeds = {
        task: {"n": 3, "p50_ms": 1.0, "p95_ms": p95 if task == "new" else 2.0, "cpu_p95_ms": 1.0} for task in TASKS
    }
    stages = {"fit the models": 11.0, "fit the ranking": 31.0, "first request": 0.5}
    counts = {"items": items, "shoppers": 7, "trips": 8, "lines": 9, "models_gib": 0.25}
    return {
        "items_asked": items,
        "interactions_asked": 1_000_000,
        "speeds": speeds,
        "stages": {"seconds": stages, "peak_gib": dict.fromkeys(stages, 1.5)},
        **counts,
        **more,
    }


def test_aims_are_met_by_the_slowest_task_or_not_measured() -> None:
    assert [row["met"] for row in aims({})] == [None, None, None]
    results = {"default shop": _found(20.5), "items": [_found(900.0, items=300_000), _found(60.0)]}
    assert [(row["value"], row["met"]) for row in aims(results)] == [(20.5, False), (60.0, True), (42.0, True)]
    skipped = {"items_asked": 100_000, "interactions_asked": 1_000_000, "skipped": "more than 1 s"}
    assert [row["met"] for row in aims({"default shop": {"skipped": "more than 1 s"}, "items": [skipped]})] == [
        None
    ] * 3


def test_the_tables_show_the_slowest_task_and_what_was_skipped() -> None:
    skipped = {"items_asked": 300_000, "interactions_asked": 1_000_000, "skipped": "more than 9 s"}
    results = {"default shop": _found(20.5), "items": [_found(60.0), skipped]}
    hardware = {"processor": "Abacus", "cores": 2, "memory_gib": 4.0}
    config = {"seed": 5, "requests": 3, "hardware": hardware, "load": 0.5}
    made = tables({"results": results, "aims": aims(results), "config": config})
    assert [table.title for table in made] == [
        "Aims",
        "One request over the default shop",
        "More items, 1,000,000 interactions",
    ]
    assert made[0].note.startswith("Abacus, 2 cores, 4.0 GiB, 0.5 other processes at work when it began; seed 5.")
    assert [row[1:] for row in made[0].rows] == [
        ("20.5 ms", "20 ms", "not met"),
        ("60 ms", "60 ms", "met"),
        ("42 s", "60 s", "met"),
    ]
    sizes = ("100,000", "1,000,000"), ("300,000", "1,000,000")
    assert list(made[2].rows) == [
        (*sizes[0], "11", "31", "0.25", "1.5", "0.5", "1", "60", "new"),
        (*sizes[1], *[""] * 7, "skipped: more than 9 s"),
    ]


def test_the_command_writes_both_files(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setattr(ranking_speed, "BESIDE_ITEMS", 4_000)
    words = ["--output", tmp_path / "out", "--shop", "", "--items", "200", "--interactions", "", "--lopsided", ""]
    monkeypatch.setattr(sys, "argv", ["ranking_speed", *map(str, words), "--requests", "2"])
    main()
    record = json.loads((tmp_path / "out" / "results.json").read_text())
    assert [row["items"] for row in record["results"]["items"]] == [200] and record["config"]["requests"] == 2
    assert {"results", "aims", "config", "date", "git_hash"} == set(record)
    assert capsys.readouterr().out == (tmp_path / "out" / "ranking_speed.md").read_text()
