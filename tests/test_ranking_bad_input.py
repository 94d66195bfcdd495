"""A bad log costs its own rows: the rest of the way, from the owner's files to a ranked list, goes on and stays sensible."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from eval.synthetic_shop import Size, lopsided_history, synthetic_history, synthetic_items
from retrieval.history import History
from retrieval.ranking import TASKS, RankContext, Ranker
from retrieval.records import Item, Recommendation, ShopError
from retrieval.scorer import CollaborativeScorer, ScorerSettings
from retrieval.source_files import Source, read_files
from retrieval.weights import fit_weights
from retrieval.wish import Wish
from tests.shops import DAY, START, history, write_files

ONE_THREAD = ScorerSettings(threads=1)
Listed = list[tuple[str, float]]


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """A shop with all that is fitted on its log, without the catalogue's search."""

    items: dict[str, Item]
    history: History
    scorer: CollaborativeScorer
    ranker: Ranker

    @classmethod
    def on(cls, items: Sequence[Item], held: History, *, ranker: Ranker | None = None) -> Fitted:
        return cls(
            items={item.item_id: item for item in items},
            history=held,
            scorer=CollaborativeScorer.fit(held, settings=ONE_THREAD),
            ranker=ranker or fit_weights(items, held, settings=ONE_THREAD),
        )

    def rank(self, context: RankContext) -> list[Recommendation]:
        parts: dict[str, Any] = {"catalog": self, "history": self.history, "scorer": self.scorer}
        return self.ranker.rank(self.ranker.candidates(context, **parts), context=context, **parts)

    def lists(self, user_id: str | None, **options: Any) -> dict[str, Listed]:
        """Rank for every task that needs no query, and see that each list is one that may be shown."""
        out: dict[str, Listed] = {}
        for task in TASKS:
            named = tuple(self.items)[:1] if task in ("goes_with", "similar") else ()
            found = self.rank(RankContext(user_id=user_id, task=task, named=named, limit=12, **options))
            shown = [one.item.item_id for one in found]
            assert len(set(shown)) == len(shown) <= 12
            for one in found:
                assert one.item is self.items[one.item.item_id] and not one.item.age_restricted
                assert math.isfinite(one.score) and one.score == sum(part.value for part in one.parts)
                assert one.item.item_id not in named
                assert task != "again" or self.history.bought(user_id, one.item.item_id)
                assert task != "new" or not self.history.bought(user_id, one.item.item_id)
            scores = [one.score for one in found]
            assert scores == sorted(scores, reverse=True) or task in ("new", "next_basket", "goes_with")
            out[task] = [(one.item.item_id, one.score) for one in found]
        return out


def read(folder: Path, table: pd.DataFrame, items: Sequence[dict[str, Any]] | None = None) -> Source:
    """Read a log and the twelve items, or others, from an owner's files."""
    folder.mkdir(exist_ok=True)
    file, _ = write_files(folder)
    if items is not None:
        file.write_text("".join(json.dumps(item) + "\n" for item in items), encoding="utf-8")
    table.to_csv(folder / "interactions.csv", index=False)
    return read_files(items=file, interactions=folder / "interactions.csv")


def fitted(source: Source) -> Fitted:
    """Do what preparing does with a source, without the embedder."""
    item_ids = [item.item_id for item in source.items]
    return Fitted.on(source.items, History.from_interactions(source.interactions, item_ids=item_ids))


def rows(*said: tuple[str, str, float, str]) -> pd.DataFrame:
    """Make rows of (shopper, item, days after the start, event)."""
    table = pd.DataFrame(said, columns=["user_id", "item_id", "timestamp", "event"])
    return table.assign(timestamp=START + DAY * table["timestamp"])


def dropped(source: Source) -> dict[str, int]:
    return {name: count for name, count in source.counts.items() if "dropped" in name or "repeat" in name}


LIKES = rows(("u0", "i04", 50, "like"), ("u1", "i03", 50, "view"), ("u2", "i06", 51, "dislike"))


def test_a_log_that_was_exported_twice_gives_the_same_lists(tmp_path: Path) -> None:
    """Each row again, in another order: counted, and nothing in any list weighs more for it."""
    once = pd.concat([history(shoppers=48), LIKES])
    twice = pd.concat([once, once.sample(frac=1, random_state=1)])
    sources = read(tmp_path / "once", once), read(tmp_path / "twice", twice)
    assert [dropped(source) for source in sources] == [{}, {"lines kept that repeat another": len(once)}]
    plain, double = map(fitted, sources)
    assert plain.ranker.fitted and plain.ranker.weights == double.ranker.weights
    for user_id in (None, "nobody", "u0", "u1", "u2"):
        assert double.lists(user_id) == plain.lists(user_id)


def test_of_a_like_and_a_dislike_the_last_word_counts_in_the_shoppers_own_lists(tmp_path: Path) -> None:
    said = rows(
        ("u0", "i04", 50, "like"),
        ("u0", "i04", 51, "dislike"),  # i04: no, after all
        ("u0", "i06", 50, "dislike"),
        ("u0", "i06", 51, "like"),  # i06: yes, after all
        ("u2", "i08", 50, "like"),
        ("u2", "i08", 50, "dislike"),  # in the same second: the later row
    )
    shop = fitted(read(tmp_path, pd.concat([history(), said])))
    assert (shop.history.liked("u0"), shop.history.disliked("u0")) == (("i06",), ("i04",))
    assert (shop.history.liked("u2"), shop.history.disliked("u2")) == ((), ("i08",))
    for user_id, disliked in (("u0", "i04"), ("u2", "i08")):
        for task, listed in shop.lists(user_id).items():
            assert disliked not in dict(listed), task


def test_a_word_taken_back_and_a_word_said_often_teach_the_models_no_more_than_the_last(tmp_path: Path) -> None:
    said = [("nobody", item_id, 50.0, "like") for item_id in ("i00", "i01", "i03")]
    back = [("nobody", "i03", 51.0, "dislike"), *(("nobody", "i00", 40.0 + n / 100, "like") for n in range(200))]
    often = fitted(read(tmp_path / "often", pd.concat([history(), rows(*said, *back)])))
    last = fitted(read(tmp_path / "last", pd.concat([history(), rows(*said[:2], back[0])])))
    assert np.array_equal(often.history.likes(), last.history.likes())
    taught = [shop.scorer.similarity.toarray() for shop in (often, last)]
    assert taught[0].any() and np.array_equal(taught[0], taught[1])


def test_rows_that_cannot_be_are_counted_by_reason_and_change_no_list(tmp_path: Path) -> None:
    soon = time.time()
    wrong: dict[str, list[dict[str, Any]]] = {
        "timestamp is in the future by this machine's clock": [
            {"timestamp": soon + 2 * DAY},
            {"timestamp": soon + 900 * DAY},
            {"timestamp": "2999-01-01"},
        ],
        "timestamp cannot be read": [{"timestamp": "inf"}, {"timestamp": 1e15}],
        "price is negative or not a number": [{"price": -1.0}, {"price": "NaN"}, {"price": "-inf"}],
        "quantity is not a number above zero": [{"quantity": -2}, {"quantity": "nan"}],
        "no item has this item_id": [{"item_id": "gone"}],
        "no user_id": [{"user_id": ""}],
    }
    good: dict[str, Any] = {
        "user_id": "u0",
        "item_id": "i05",
        "timestamp": START,
        "price": 4.2,
        "quantity": 1,
        "event": "purchase",
    }
    bad = pd.DataFrame([{**good, **row} for group in wrong.values() for row in group], dtype=object)
    source = read(tmp_path / "bad", pd.concat([bad, history(shoppers=48)]))
    assert dropped(source) == {f"lines dropped: {reason}": len(group) for reason, group in wrong.items()}
    assert {row.line for row in source.rejected} == set(range(2, 2 + len(bad)))
    clean = fitted(read(tmp_path / "clean", history(shoppers=48)))
    shop = fitted(source)
    for user_id in (None, "u0", "u1"):
        assert shop.lists(user_id) == clean.lists(user_id)


def test_not_a_number_is_refused_in_json_lines_as_in_csv(tmp_path: Path) -> None:
    good = {"user_id": "u0", "item_id": "i00", "timestamp": 1}
    wrong: list[dict[str, Any]] = [
        {"price": math.nan},
        {"price": -math.inf},
        {"timestamp": math.nan},
        {"quantity": math.nan},
    ]
    log = tmp_path / "log.jsonl"
    log.write_text("".join(json.dumps({**good, **row}) + "\n" for row in [{"price": None}, *wrong]))
    source = read_files(items=write_files(tmp_path)[0], interactions=log)
    assert source.interactions["price"].isna().tolist() == [True]
    assert [row.reason for row in source.rejected] == [
        "price is negative or not a number",
        "price is negative or not a number",
        "timestamp cannot be read",
        "quantity is not a number above zero",
    ]


def test_a_log_of_any_year_up_to_tomorrow_is_kept(tmp_path: Path) -> None:
    """The default shop is of 2017, and the clock of a till may be some hours ahead of this machine's."""
    times = [0.0, 1_490_000_000.0, time.time(), time.time() + DAY / 2]
    table = pd.DataFrame({"user_id": "u0", "item_id": "i00", "timestamp": times})
    source = read(tmp_path, table)
    assert len(source.interactions) == 4 and not source.rejected
    with pytest.raises(ShopError, match=r"line 2: timestamp is in the future by this machine's clock \(41024448"):
        read(tmp_path, table.assign(timestamp=4_102_444_800))  # 2100
    fitted(source).lists("u0")


def test_items_with_prices_that_are_none_are_refused_or_ranked_without(tmp_path: Path) -> None:
    price: list[Any] = [math.nan, -1.0, math.inf, "free", True, None, 0.0, 1e300, 2.5]
    items = [{"item_id": f"i{n:02d}", "title": f"Thing {n}, 8 oz", "price": held} for n, held in enumerate(price)]
    source = read(tmp_path, history(shoppers=48), items)
    gone = sum(history(shoppers=48)["item_id"].isin([f"i{n:02d}" for n in (0, 1, 2, 3, 4, 9, 10, 11)]))
    assert dropped(source) == {
        "items dropped: price is negative or not a number": 5,
        "lines dropped: no item has this item_id": gone,
    }
    shop = fitted(source)
    assert list(shop.items) == ["i05", "i06", "i07", "i08"]
    assert {item_id for item_id, _ in shop.lists("u1")["next_basket"]} == set(shop.items)
    cheap = shop.lists("u1", wish=Wish(max_price=3))["next_basket"]
    assert {item_id for item_id, _ in cheap} == {"i06", "i08"}  # no price is no low price


def test_a_shop_of_one_item_proposes_it_or_nothing(tmp_path: Path) -> None:
    bought = [(f"u{n}", "i00", day, "purchase") for n in range(50) for day in range(6)]
    table = rows(*bought, ("fan", "i00", 0, "like"), ("foe", "i00", 0, "dislike"))
    shop = fitted(read(tmp_path, table, [{"item_id": "i00", "title": "Tea"}]))
    proposed = {user_id: shop.lists(user_id) for user_id in ("u7", "fan", "foe", None)}
    # "goes_with" and "similar" are asked of this very item.
    assert {user_id: {task for task, held in found.items() if held} for user_id, found in proposed.items()} == {
        "u7": {"search", "again", "next_basket"},
        "fan": {"search", "new", "next_basket"},
        "foe": set(),
        None: {"search", "new", "next_basket"},
    }


@pytest.mark.parametrize(("items", "shoppers"), [(1, 50), (2, 50), (12, 50), (12, 250)])
def test_histories_that_are_all_the_same_give_finite_scores_and_the_items(
    tmp_path: Path, items: int, shoppers: int
) -> None:
    """Nothing tells shoppers or items apart: every logarithm of a share is 0, and every spread is none.

    Fifty shoppers are enough for weights to be fitted, and 250 for trees to be grown.
    """
    names = [f"i{n:02d}" for n in range(items)]
    table = rows(*[(f"u{n}", name, day, "purchase") for n in range(shoppers) for day in range(6) for name in names])
    shop = fitted(read(tmp_path, table))
    sold = {name for name in names if not shop.items[name].age_restricted}
    held = shop.lists("u3")
    assert {item_id for item_id, _ in held["again"]} == sold and not held["goes_with"]
    assert {item_id for item_id, _ in shop.lists(None)["next_basket"]} >= sold
    assert len({score for _, score in held["again"]}) == 1


@pytest.mark.parametrize("event", ["view", "like", "dislike"])
def test_a_log_without_a_purchase_is_a_log(tmp_path: Path, event: str) -> None:
    shop = fitted(read(tmp_path, history().assign(event=event)))
    held = shop.lists("u0")
    assert not held["again"] and all(item_id not in shop.history.disliked("u0") for item_id, _ in held["new"])


def test_a_shopper_with_100_000_events_is_one_shopper(tmp_path: Path) -> None:
    """What they look at and change their mind on all day leaves others' lists alone, and theirs are still lists."""
    rng = np.random.default_rng(0)
    often = pd.DataFrame(
        {
            "user_id": "busy",
            "item_id": [f"i{n:02d}" for n in rng.integers(0, 12, 100_000)],
            "timestamp": START + rng.integers(0, 42 * 86_400, 100_000),
            "event": rng.choice(["purchase", "view", "like", "dislike"], 100_000),
            "basket_id": [f"b{n}" for n in rng.integers(0, 4_000, 100_000)],
        }
    )
    shop = fitted(read(tmp_path / "busy", pd.concat([history(shoppers=48), often])))
    held = shop.history
    assert len(held.bought_rows("busy")[0]) == 12 and len(held.viewed_rows("busy")) == 12
    assert len(held.liked("busy")) + len(held.disliked("busy")) == 12
    lists = shop.lists("busy")
    assert {item_id for item_id, _ in lists["again"]} == set(held.items("busy")) - set(held.disliked("busy")) - {"i11"}
    first = {user_id: shop.lists(user_id)["again"][0][0] for user_id in ("u0", "u1")}
    assert first == {"u0": "i00", "u1": "i01"}  # what they buy every week


def test_an_item_on_every_trip_goes_with_nothing_and_hides_nothing() -> None:
    """The lead shop of the speed report at a two hundredth of its size: arrays as long as the log, and no longer."""
    size = Size(items=300, interactions=50_000)
    items = synthetic_items(size, rng=np.random.default_rng(0))
    held = lopsided_history(
        item_ids=[item.item_id for item in items],
        purchases=size.interactions,
        events=1_000,
        rng=np.random.default_rng(1),
    )
    everywhere = items[0].item_id
    assert len(held.trips_with(everywhere)) == len(held.basket_time) == 50_000
    arrays = [getattr(held, name) for name in held.__dataclass_fields__]
    assert max(len(array) for array in arrays if isinstance(array, np.ndarray)) <= 2 * 50_000 + 1
    shop = Fitted.on(items, held, ranker=Ranker())  # weights and trees of so many trips take minutes
    assert not shop.scorer.with_cart([everywhere]).any()
    for user_id in (None, "u0", "u1"):
        found = shop.lists(user_id)
        assert len(found["next_basket"]) == 12 and len(found["new"]) == 12
    assert shop.lists("u1")["again"][0][0] == everywhere


def test_a_synthetic_shop_is_like_the_default_one_in_what_is_measured() -> None:
    """The speed report speaks of shops whose few bestsellers and repeat buying are those of shops."""
    size = Size(items=3_000, interactions=60_000)
    items = synthetic_items(size, rng=np.random.default_rng(0))
    item_ids = [item.item_id for item in items]
    held, again, other = (
        synthetic_history(size, item_ids=item_ids, rng=np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    assert np.array_equal(held.basket_items, again.basket_items) and np.array_equal(held.event_time, again.event_time)
    assert not np.array_equal(held.basket_items[:100], other.basket_items[:100])
    _, _, times = held.pairs()
    assert len(held.users) == 150 and 0.9 * 60_000 < times.sum() <= 60_000
    assert 0.4 < 1 - len(times) / times.sum() < 0.7  # of the lines are of items that the shopper bought before
    sold = np.sort(np.bincount(held.basket_items, minlength=3_000))[::-1]
    assert 0.3 < sold[:300].sum() / sold.sum() < 0.8  # the first tenth of the items
    for row in range(len(held.users)):
        first, end = held.user_baskets[row : row + 2]
        assert (np.diff(held.basket_time[first:end]) >= 0).all()
    assert set(held.event_kind.tolist()) == {0, 1, 2}
