"""The trees' score is an exact sum of parts, and a part is moved by its own signals alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from retrieval.grow import grow
from retrieval.history import History
from retrieval.ranking import PARTS, RankContext, Ranker
from retrieval.records import ShopError
from retrieval.scorer import ScorerSettings
from retrieval.signals import COLUMNS, CONTEXT, SHARED, SIGNALS, nothing
from retrieval.trees import TREE_PARTS, Trees, fit_trees
from tests.shops import twelve_items
from tests.test_history import log
from tests.test_ranking import opened

OWN = {"times": "bought_before", "shoppers": "collaborative", "lift": "goes_with", "promotion": "deal"}


@pytest.fixture(scope="module")
def trees() -> Trees:
    """Fit on requests in which four signals of four parts decide what is bought."""
    rng = np.random.default_rng(0)
    tables, bought = [], []
    for _ in range(60):
        table = rng.normal(size=(30, len(COLUMNS))).astype(np.float32)
        table[:, : len(CONTEXT)] = table[0, : len(CONTEXT)]
        wanted = sum(table[:, COLUMNS.index(name)] for name in OWN)
        tables.append(table)
        bought.append(wanted > np.quantile(wanted, 0.9))
    return fit_trees(tables, bought, seed=0, threads=1)


def rows(seed: int = 1, count: int = 40) -> np.ndarray:
    table = np.random.default_rng(seed).normal(size=(count, len(COLUMNS))).astype(np.float32)
    table[:, : len(CONTEXT)] = table[0, : len(CONTEXT)]
    return table


def test_parts_add_up_to_what_lightgbm_itself_says(trees: Trees) -> None:
    from lightgbm import Booster

    table = rows()
    booster = Booster(model_str=trees.model)
    raw = np.asarray(booster.predict(table, raw_score=True)) / trees.scale
    zero = np.asarray(booster.predict(nothing(table[0, : len(CONTEXT)]), raw_score=True)) / trees.scale
    assert sum(trees.parts(table).values()) == pytest.approx(raw - zero, abs=1e-9)


@pytest.mark.parametrize(("name", "part"), OWN.items())
def test_a_signal_moves_its_own_part_and_no_other(trees: Trees, name: str, part: str) -> None:
    table = rows()
    other = table.copy()
    other[:, COLUMNS.index(name)] += 3.0
    before, after = trees.parts(table), trees.parts(other)
    moved = {held for held in TREE_PARTS if not np.array_equal(before[held], after[held])}
    assert moved == {part}


def test_shared_signals_move_only_the_parts_that_share_them(trees: Trees) -> None:
    table = rows()
    for part, names in SHARED.items():
        other = table.copy()
        for name in names:
            other[:, COLUMNS.index(name)] += 3.0
        before, after = trees.parts(table), trees.parts(other)
        moved = {held for held in TREE_PARTS if not np.array_equal(before[held], after[held])}
        owners = {owner for owner, held in SIGNALS.items() if set(held) & set(names)}
        assert moved <= {part, *owners}


def test_an_item_that_nothing_speaks_for_scores_nothing(trees: Trees) -> None:
    found = trees.parts(nothing(np.arange(len(CONTEXT), dtype=np.float32)))
    assert all(value.tolist() == [0.0] for value in found.values())
    assert all(len(value) == 0 for value in trees.parts(rows()[:0]).values())


def test_a_saved_model_is_the_same_and_a_damaged_one_is_told(trees: Trees, tmp_path: Path) -> None:
    file = tmp_path / "ranker.json"
    Ranker(trees={"new": trees}).save(file)
    again = Ranker.load(file).trees["new"]
    assert all(np.array_equal(again.parts(rows())[part], value) for part, value in trees.parts(rows()).items())
    text = file.read_text()
    for wrong in (text.replace('"times"', '"tines"'), text.replace("num_leaves=", "num_weeds="), text[:-40]):
        file.write_text(wrong)
        with pytest.raises(ShopError, match="Prepare the shop again"):
            Ranker.load(file)


def test_the_same_seed_fits_the_same_model() -> None:
    tables = [rows(seed) for seed in range(20)]
    bought = [table[:, COLUMNS.index("times")] > 1 for table in tables]
    one, two = (fit_trees(tables, bought, seed=3, threads=threads) for threads in (1, 2))
    assert one.scale == two.scale
    assert all(np.array_equal(two.parts(rows())[part], value) for part, value in one.parts(rows()).items())


def habitual() -> History:
    """Give 240 shoppers who buy one of two things every second day, in turn, and chance things beside it."""
    rng = np.random.default_rng(0)
    table = []
    for shopper in range(240):
        first = shopper % 6
        for day in range(24):
            table.append((f"u{shopper}", f"i{(first + 6 * (day % 2)):02d}", day * 2))
            table.append((f"u{shopper}", f"i{rng.integers(12):02d}", day * 2))
    return History.from_interactions(log(*table), item_ids=[item.item_id for item in twelve_items()])


def test_trees_are_kept_where_they_beat_the_weights_and_every_signal() -> None:
    """Whose turn it is no weight can tell, as what was bought last is least likely to be bought next."""
    items = {item.item_id: item for item in twelve_items()}
    history = habitual()
    trees, figures = grow(items, history, ranker=Ranker(), settings=ScorerSettings(threads=1))
    figure = figures["next_basket"]
    assert figure["kept"] and figure["ndcg@10"] > max(figure["ndcg@10_weights"], figure["ndcg@10_best_signal"])
    assert set(trees) == {"next_basket", "again"}, "nothing is new to anybody, so that `new` has nothing to learn from"
    shop = replace(opened(), history=history, ranker=Ranker(trees=trees))
    shop = replace(shop, scorer=type(shop.scorer).fit(history, settings=ScorerSettings(threads=1)))
    due = 0
    for shopper in range(60):
        context = RankContext(user_id=f"u{shopper}", task="next_basket", at=history.now + 2 * 86_400.0)
        shown = shop.rank(context)
        order = [one.item.item_id for one in shown]
        first = next(item_id for item_id in order if item_id in (f"i{shopper % 6:02d}", f"i{shopper % 6 + 6:02d}"))
        due += first == f"i{shopper % 6:02d}"
    assert due >= 55, "what was bought last is not what is due"
    for one in shown:
        assert one.score == sum(part.value for part in one.parts)
        assert {part.name for part in one.parts} <= set(PARTS)
    stranger = shop.rank(RankContext(user_id=None, task="next_basket"))
    assert [one.item.item_id for one in stranger] == [
        one.item.item_id for one in replace(shop, ranker=Ranker()).rank(RankContext(user_id=None, task="next_basket"))
    ]


def test_too_few_shoppers_teach_no_trees() -> None:
    items = {item.item_id: item for item in twelve_items()}
    assert grow(items, opened().history, ranker=Ranker()) == ({}, {})
