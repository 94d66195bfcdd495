"""A ranking run: its figures are what the lists say, its bootstrap is paired, its lists keep to the rules, and it can be gone on with."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from eval.ranking_lists import read_lists, write_lists
from eval.ranking_measures import DRAWS, MEASURES, against, coverage, figures, measured, table
from eval.ranking_ours import Shoptalk
from eval.ranking_report import print_ranking
from eval.ranking_run import chosen_tasks, evaluate, peers, run_ranking
from eval.ranking_tasks import TASKS, Ask, Exam, Mask, Rows, best, draw
from retrieval.history import History
from retrieval.records import Item, ShopError
from retrieval.shop import Shop
from tests.shops import history, twelve_items
from tests.small_shop import small_shop

IDS = [item.item_id for item in twelve_items()]


class Scored:
    """Ranks by how often an item was bought, or as it is told; notes what it was made, tuned and fitted for."""

    tasks = frozenset(TASKS)

    def __init__(self, name: str = "popularity", *, scores: Callable[[Ask], np.ndarray] | None = None) -> None:
        self.name = name
        self.scores = scores

    def fit(self, past: History, *, items: Sequence[Item]) -> None:
        assert [item.item_id for item in items] == list(past.item_ids)
        self.bought = np.bincount(past.basket_items, minlength=len(past.item_ids)).astype(float)

    def rank(self, ask: Ask, *, allowed: Mask, most: int) -> Rows:
        return best(self.bought if self.scores is None else self.scores(ask), allowed, most)


def perfect(ask: Ask) -> np.ndarray:
    scores = np.zeros(len(IDS))
    scores[list(ask.targets)] = 1.0
    return scores


def ran(output: Path, systems: Mapping[str, Callable[[], Any]] | None = None, **more: Any) -> dict[str, Any]:
    more = {"tasks": ("next_basket", "goes_with"), **more}
    return run_ranking(more.pop("shop", small_shop()), output=output, peers=systems or {"popularity": Scored}, **more)


# Figures


def test_the_measures_of_a_list_are_those_computed_by_hand() -> None:
    targets = {10, 11, 12, 13}
    rows = np.array([10, 0, 1, 2, 3, 11, 4, 5, 6, 7, 8, 12])  # hits at 1, 6 and 12 of four targets
    ideal = 1 + 1 / np.log2(3) + 1 / 2 + 1 / np.log2(5)
    expected = [1 / 4, 2 / 4, 3 / 4, (1 + 1 / np.log2(7)) / ideal, 1.0]
    np.testing.assert_allclose(measured(rows, targets), expected)
    np.testing.assert_allclose(measured(np.arange(10), set(range(40))), [5 / 40, 10 / 40, 10 / 40, 1.0, 1.0])
    assert measured(np.zeros(0, np.int64), {1}).tolist() == [0.0] * 5
    assert measured(np.arange(1, 11), {11}).tolist() == [0.0] * 5
    assert measured(np.arange(1, 21), {20}).tolist() == [0.0, 0.0, 1.0, 0.0, 0.0]


def test_a_figure_is_a_mean_with_the_standard_error_of_one() -> None:
    values = table([np.array([1]), np.array([2]), np.array([3])], [{1}, {1}, {1}])
    found = figures(values)
    assert (found["recall@5"], found["recall@5_stderr"]) == (pytest.approx(1 / 3), pytest.approx(1 / 3))
    assert figures(values[:1])["recall@5_stderr"] is None
    assert coverage([np.array([0, 1]), np.array([1, 2])], items=6) == 0.5
    assert coverage([np.arange(20)], items=40) == 0.25  # only the first ten count


def test_the_bootstrap_is_paired() -> None:
    rng = np.random.default_rng(0)
    theirs = rng.random((400, len(MEASURES))) + 0.5
    found = against(theirs * 1.1, {"same": theirs, "none": theirs * 0.0})
    for measure in MEASURES:
        # Ten per cent better on every ask is ten per cent better in every draw; unpaired it would be 2 % wide.
        one = found[measure]["same"]
        assert (one.relative, one.low, one.high) == (pytest.approx(0.1), pytest.approx(0.1), pytest.approx(0.1))
        nothing = found[measure]["none"]
        assert (nothing.relative, nothing.low, nothing.high) == (None, None, None)
        assert nothing.difference == pytest.approx(1.1 * theirs[:, MEASURES.index(measure)].mean())


def test_the_interval_of_a_mean_is_as_wide_as_theory_says() -> None:
    rng = np.random.default_rng(1)
    ours, theirs = rng.random((2_500, len(MEASURES))), np.ones((2_500, len(MEASURES)))
    for measure, found in against(ours, {"one": theirs}, seed=2).items():
        column = ours[:, MEASURES.index(measure)]
        half = 1.96 * column.std() / np.sqrt(len(column))
        one = found["one"]
        assert one.low is not None and one.high is not None
        tolerance = half * 5 / np.sqrt(DRAWS)
        assert one.low == pytest.approx(column.mean() - half - 1, abs=tolerance)
        assert one.high == pytest.approx(column.mean() + half - 1, abs=tolerance)


def test_too_few_asks_give_no_interval() -> None:
    for found in against(np.ones((4, 5)), {"a": np.ones((4, 5))}).values():
        assert (found["a"].relative, found["a"].low, found["a"].high) == (0.0, None, None)


# Runs


def test_a_perfect_ranking_is_measured_as_perfect_and_the_best_peer_is_the_one_compared_with(tmp_path: Path) -> None:
    record = ran(
        tmp_path / "out",
        {"popularity": Scored, "perfect": lambda: Scored("perfect", scores=perfect)},
        tasks=TASKS,
    )
    assert list(record["results"]) == [task for task in TASKS if record["n"].get(task)]
    assert {"again", "next_basket", "goes_with", "search"} <= set(record["results"])
    assert "nobody bought a new item" in record["left_out"]["new"]
    for task, results in record["results"].items():
        assert set(results) == {"shoptalk", "popularity", "perfect"}
        assert results["perfect"]["recall@10"] == results["perfect"]["ndcg@10"] == results["perfect"]["phr@10"] == 1.0
        assert 0.0 < results["perfect"]["coverage@10"] <= 1.0
        versus = record["comparisons"][task]["ndcg@10"]
        assert (versus["system"], versus["value"]) == ("perfect", 1.0)
        assert versus["difference"] == pytest.approx(results["shoptalk"]["ndcg@10"] - 1.0)
        assert versus["others"]["popularity"]["value"] == pytest.approx(results["popularity"]["ndcg@10"])
    assert record == json.loads((tmp_path / "out" / "results.json").read_text(encoding="utf-8"))
    assert {"split", "filters", "seed", "list_length", "versions", "hardware"} <= set(record["config"])


def test_our_lists_find_what_each_parity_buys(tmp_path: Path) -> None:
    # Even shoppers buy even items: of a known shopper ours must put none of the others first.
    ran(tmp_path, tasks=("again", "next_basket"))
    lines = [line.split() for line in (tmp_path / "runs" / "next_basket.shoptalk.txt").read_text().splitlines()]
    first = [(topic, item) for topic, _, item, place, *_ in lines if int(place) <= 4]
    assert first
    assert all(int(topic[1:]) % 2 == int(item[1:]) % 2 for topic, item in first)


def test_the_same_seed_gives_the_same_numbers(tmp_path: Path) -> None:
    def numbers(name: str, **more: Any) -> dict[str, Any]:
        record = ran(tmp_path / name, tasks=TASKS, **more)
        return {key: record[key] for key in ("results", "n", "comparisons", "slices", "left_out")}

    first = numbers("a", seed=5)
    assert numbers("b", seed=5) == first
    assert numbers("c", seed=6) != first


def test_slices_are_of_the_tail_the_trips_and_the_likes(tmp_path: Path) -> None:
    record = ran(tmp_path, {"perfect": lambda: Scored("perfect", scores=perfect)}, tasks=TASKS)
    assert set(record["slices"]["next_basket"]) == {"tail items", "shoppers with 4 to 9 trips"}
    few = record["slices"]["next_basket"]["shoppers with 4 to 9 trips"]
    assert (few["n"], few["results"]["shoptalk"]["recall@5"]) == (
        8,
        record["results"]["next_basket"]["shoptalk"]["recall@5"],
    )
    cold = record["slices"]["cold_shopper"]
    assert {"0 likes", "1 likes", "3 likes"} <= set(cold)
    assert cold["3 likes"]["n"] == record["n"]["cold_shopper"]
    assert cold["3 likes"]["results"]["perfect"]["recall@5"] == record["results"]["cold_shopper"]["perfect"]["recall@5"]


def test_a_peer_is_tuned_on_trips_before_those_it_is_asked_for(tmp_path: Path) -> None:
    seen: list[tuple[str, Any]] = []

    class Tuned(Scored):
        def tune(self, validation: Exam, *, items: Sequence[Item]) -> dict[str, Any]:
            seen.append(("tune", validation))
            return {"k": 3}

        def fit(self, past: History, *, items: Sequence[Item]) -> None:
            seen.append(("fit", past))
            super().fit(past, items=items)

    record = ran(tmp_path, {"tuned": lambda: Tuned("tuned")}, tasks=("next_basket",))
    (_, validation), (_, past) = seen
    assert [what for what, _ in seen] == ["tune", "fit"]
    log = small_shop().history
    for ask in validation.asks:
        trips = log.baskets(ask.user_id)
        assert (ask.at, past.baskets(ask.user_id)) == (trips[-2][0], trips[:-1])
        assert validation.past.baskets(ask.user_id) == trips[:-2]
    assert record["systems"]["tuned"]["known"]["tuned"] == {"k": 3}


def test_a_list_that_breaks_the_rules_stops_the_run(tmp_path: Path) -> None:
    class Cheat(Scored):
        def rank(self, ask: Ask, *, allowed: Mask, most: int) -> Rows:
            return np.array(ask.cart, np.int64)

    with pytest.raises(AssertionError, match="not allowed"):
        ran(tmp_path, {"cheat": lambda: Cheat("cheat")}, tasks=("goes_with",))


def test_a_peer_that_cannot_take_part_is_named_and_the_others_go_on(tmp_path: Path, capsys: Any) -> None:
    class Away(Scored):
        def fit(self, past: History, *, items: Sequence[Item]) -> None:
            raise ShopError("it takes 20,000 items at most")

    record = ran(tmp_path, {"popularity": Scored, "away": lambda: Away("away")})
    assert set(record["results"]["next_basket"]) == {"shoptalk", "popularity"}
    print_ranking(record)
    assert "Not asked: away: it takes 20,000 items at most" in capsys.readouterr().out


def test_a_stopped_run_goes_on_with_what_is_not_done(tmp_path: Path) -> None:
    fitted: list[str] = []

    class Counted(Scored):
        def fit(self, past: History, *, items: Sequence[Item]) -> None:
            fitted.append(self.name)
            if fitted == ["a", "b"]:
                raise KeyboardInterrupt
            super().fit(past, items=items)

    systems = {name: (lambda name=name: Counted(name)) for name in ("a", "b", "c")}
    with pytest.raises(KeyboardInterrupt):
        ran(tmp_path / "stopped", systems)
    record = ran(tmp_path / "stopped", systems)
    assert fitted == ["a", "b", "b", "c"]
    whole = ran(tmp_path / "whole", systems)
    assert {key: record[key] for key in ("results", "comparisons", "slices")} == {
        key: whole[key] for key in ("results", "comparisons", "slices")
    }


def test_a_folder_that_holds_something_else_is_left_as_it_is(tmp_path: Path) -> None:
    ran(tmp_path / "out")
    with pytest.raises(ShopError, match="holds a finished run"):
        ran(tmp_path / "out")
    with pytest.raises(ShopError, match="holds another run: it differs in seed"):
        ran(tmp_path / "out", seed=1)
    assert ran(tmp_path / "out", seed=1, fresh=True)["config"]["seed"] == 1
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine", encoding="utf-8")
    for fresh in (False, True):
        with pytest.raises(ShopError, match="is not empty"):
            ran(tmp_path / "mine", fresh=fresh)
    assert [file.name for file in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


def with_log(log: Any) -> Shop:
    return replace(small_shop(), history=History.from_interactions(log, item_ids=IDS))


def test_a_log_without_purchases_is_an_error_and_one_without_regulars_says_so(tmp_path: Path, capsys: Any) -> None:
    with pytest.raises(ShopError, match="no purchases in its log"):
        ran(tmp_path / "none", shop=with_log(history().head(0)))
    record = ran(tmp_path / "few", shop=with_log(history(weeks=4)))
    assert (record["results"], set(record["left_out"])) == ({}, {"next_basket", "goes_with"})
    print_ranking(record)
    assert "Left out: next_basket, as no shopper has 5 trips or more" in capsys.readouterr().out


def test_a_shop_of_one_item_and_one_of_equal_shoppers_are_measured(tmp_path: Path) -> None:
    for name, items, log in (
        ("one", IDS[:1], history().query("item_id == 'i00'")),
        ("equal", IDS, history().query("user_id == 'u0'")),
    ):
        table = pd.concat([log.assign(user_id=f"s{n}", basket_id=f"s{n}-" + log["basket_id"]) for n in range(6)])
        sold = [item for item in twelve_items() if item.item_id in items]
        record = evaluate(
            draw(History.from_interactions(table, item_ids=items), items=sold),
            items=sold,
            systems={"shoptalk": Shoptalk, "popularity": Scored},
            output=tmp_path / name,
            validate=lambda exam: None,
            config={},
        )
        assert record["results"]["next_basket"]["popularity"]["recall@20"] == 1.0
        assert record["results"]["next_basket"]["shoptalk"]["recall@20"] == 1.0
        assert "search" not in record["systems"]["shoptalk"]["known"]["tasks"]  # no shop, so nothing to search in


def test_lists_survive_ids_with_white_space(tmp_path: Path) -> None:
    log = history().replace({"user_id": {"u0": "Ann B. 100%"}})
    (exam,) = draw(History.from_interactions(log, item_ids=IDS), items=twelve_items(), tasks=["next_basket"])
    lists = {ask.ask_id: np.array(ask.targets[::-1]) for ask in exam.asks}
    lists["u1"] = np.zeros(0, np.int64)
    write_lists(tmp_path / "run.txt", found=lists, exam=exam, name="x")
    held = read_lists(tmp_path / "run.txt", exam=exam, task="next_basket")
    assert {name: rows.tolist() for name, rows in held.items()} == {name: rows.tolist() for name, rows in lists.items()}
    assert "Ann B. 100%" in held


def test_names_of_tasks_and_peers_are_checked() -> None:
    assert chosen_tasks("all") == TASKS
    assert chosen_tasks("new, again") == ("again", "new")
    with pytest.raises(ShopError, match=r"No task is called 'gain'. There are: again, new"):
        chosen_tasks("gain")
    assert list(peers("none")) == ["popularity"]
    assert set(peers("item-knn")) == {"popularity", "item-knn"}
    assert len(peers("all")) > 2
    with pytest.raises(ShopError, match=r"No peer is called .magic.\. There are: popularity"):
        peers("magic")


def test_the_command_writes_results_and_says_what_it_found(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from ui.cli import app

    words = ["rank", "--shop", str(small_shop().path), "--output", str(tmp_path / "out"), "--tasks", "next_basket"]
    done = CliRunner().invoke(app, words, env={"COLUMNS": "120"})
    assert done.exit_code == 0, done.output
    assert "next_basket" in done.output
    assert set(json.loads((tmp_path / "out" / "results.json").read_text())["results"]) == {"next_basket"}
    again = CliRunner().invoke(app, words)
    assert (again.exit_code, "holds a finished run" in again.output) == (2, True)
