"""The scorers see what is plain to see, say exactly why, and survive any log."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from retrieval.history import History
from retrieval.records import ShopError
from retrieval.scorer import CollaborativeScorer, ScorerSettings
from tests.shops import DAY, history, twelve_items
from tests.test_history import log

ITEM_IDS = [item.item_id for item in twelve_items()]
EVEN, ODD = ITEM_IDS[0::2], ITEM_IDS[1::2]


def fitted(table: pd.DataFrame, **settings: int) -> CollaborativeScorer:
    held = History.from_interactions(table, item_ids=ITEM_IDS)
    return CollaborativeScorer.fit(held, settings=ScorerSettings(threads=1, **settings))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def scorer() -> CollaborativeScorer:
    """Fit the checkerboard: even shoppers buy even items only, odd shoppers odd ones."""
    return fitted(history())


def by_id(scorer: CollaborativeScorer, scores: np.ndarray) -> dict[str, float]:
    assert scores.dtype == np.float32 and scores.shape == (len(scorer.item_ids),)
    return dict(zip(scorer.item_ids, scores.tolist(), strict=True))


def test_the_checkerboard_is_seen_by_every_score(scorer: CollaborativeScorer) -> None:
    for scores in (scorer.for_user("u0"), scorer.for_items(["i00"]), scorer.with_cart(["i02"]), scorer.again("u0")):
        held = by_id(scorer, scores)
        assert all(held[item_id] == 0 for item_id in ODD) and sum(held[item_id] for item_id in EVEN) > 0
    assert all(by_id(scorer, scorer.for_user("u1"))[item_id] > 0 for item_id in ODD)


def test_a_sum_is_the_sum_of_its_terms(scorer: CollaborativeScorer) -> None:
    profile = scorer.profile("u0")
    scores = by_id(scorer, scorer.for_user("u0"))
    for item_id in EVEN:
        terms = scorer.because(profile, item_id)
        assert sum(value for _, value in terms) == pytest.approx(scores[item_id], rel=1e-6)
        assert [value for _, value in terms] == sorted((value for _, value in terms), reverse=True)
        assert item_id not in dict(terms)
    cart = ["i02", "i04", "i02"]
    held = by_id(scorer, scorer.with_cart(cart))
    for item_id in EVEN:
        assert sum(value for _, value in scorer.with_because(cart, item_id)) == pytest.approx(held[item_id], rel=1e-6)


def test_taking_evidence_away_takes_its_term_away(scorer: CollaborativeScorer) -> None:
    profile = scorer.profile("u0")
    before = by_id(scorer, scorer.for_weights(profile))["i06"]
    other, value = scorer.because(profile, "i06")[0]
    after = by_id(scorer, scorer.for_weights({key: w for key, w in profile.items() if key != other}))["i06"]
    assert after == pytest.approx(before - value, rel=1e-5) and value > 0


def test_what_is_bought_more_often_and_lately_comes_first() -> None:
    rows = [("a", "i00", day) for day in range(10)] + [("a", "i01", day) for day in range(5)]
    rows += [("a", "i02", day) for day in range(5, 10)] + [
        ("b", item_id, day) for item_id in ITEM_IDS[:3] for day in range(2)
    ]
    held = by_id(scorer := fitted(log(*rows)), scorer.again("a"))
    assert held["i00"] > held["i02"] > held["i01"] > 0
    early = by_id(scorer, scorer.again("a", at=5 * DAY))
    assert early["i02"] == 0 and early["i01"] == pytest.approx(
        early["i00"] * scorer.repeat[1] / scorer.repeat[0], rel=1e-5
    )


def test_repeats_are_scored_as_trex_has_it() -> None:
    scorer = fitted(log(("a", "i00", 0), ("a", "i00", 1), ("a", "i01", 1), ("b", "i00", 0)))
    rho0, rho1 = 1.0 / 2, 0.0  # i00: one of two buyers bought it twice, (2 - 1) ** 0.7 = 1
    mean = rho0 / len(ITEM_IDS)
    assert scorer.repeat[:2] == pytest.approx([rho0 + mean / 3, rho1 + mean / 2])
    assert by_id(scorer, scorer.again("a"))["i00"] == pytest.approx(scorer.repeat[0] * (1 + 0.95), rel=1e-6)


def test_what_goes_together_beats_what_is_merely_popular() -> None:
    rows = [("p", "i04", day) for day in range(60)]  # popular, on its own
    rows += [(f"s{n}", item_id, 0) for n in range(9) for item_id in ("i00", "i02")]
    rows += [("t", item_id, 0) for item_id in ("i00", "i04")]
    held = by_id(scorer := fitted(log(*rows)), scorer.with_cart(["i00"]))
    assert held["i02"] > 0 == held["i04"]


def test_one_joint_trip_proves_nothing() -> None:
    rows = [("a", "i00", 0), ("a", "i02", 0), *[("b", ITEM_IDS[3 + day % 5], day) for day in range(50)]]
    assert not fitted(log(*rows)).with_cart(["i00"]).any()


def test_popularity_looks_at_the_last_weeks_first() -> None:
    rows = [("a", "i00", day) for day in range(40)] + [("b", "i01", 100 + day) for day in range(10)]
    scorer = fitted(log(*rows))
    assert by_id(scorer, scorer.popularity)["i01"] > by_id(scorer, scorer.popularity)["i00"] > 0
    before = by_id(scorer, scorer.popular(at=50 * DAY))
    assert before["i00"] > 0 == before["i01"]


def test_likes_speak_and_dislikes_do_not() -> None:
    table = history()
    said = log(("new", "i00", 800_000), ("new", "i02", 800_001), ("new", "i04", 800_002))
    said["event"] = ["like", "dislike", "view"]
    scorer = fitted(pd.concat([table, said]))
    assert set(scorer.profile("new")) == {"i00", "i04"} and scorer.profile("new")["i00"] > scorer.profile("new")["i04"]
    held = by_id(scorer, scorer.for_user("new"))
    assert held["i06"] > 0 == held["i07"]


def test_a_shop_with_likes_only_still_has_neighbours() -> None:
    table = log(*[(f"u{n}", item_id, 0) for n in range(4) for item_id in ITEM_IDS[n % 2 :: 2][:3]], event="like")
    held = by_id(scorer := fitted(table), scorer.for_items(["i00"]))
    assert held["i02"] > 0 == held["i01"] and not scorer.popularity.any() and not scorer.again("u0").any()


@pytest.mark.parametrize(
    "table",
    [
        log(),
        log(("a", "i00", 0)),
        log(*[(f"u{n}", item_id, 0) for n in range(5) for item_id in ITEM_IDS]),  # everyone bought everything
        log(*[("a", "i00", day) for day in range(9)]),
    ],
    ids=["empty", "one line", "all equal", "one item"],
)
def test_any_log_can_be_fitted(table: pd.DataFrame) -> None:
    scorer = fitted(table)
    for user_id in (None, "nobody", "a", "u0"):
        for scores in (scorer.for_user(user_id), scorer.again(user_id)):
            assert np.isfinite(scores).all() and (scores >= 0).all()
    for cart in ([], ["i00"], ["nothing"], ["i00", "i00"]):
        assert np.isfinite(scorer.with_cart(cart)).all() and np.isfinite(scorer.for_items(cart)).all()
    assert scorer.because({"i00": 1.0}, "nothing") == [] and scorer.with_because(["i00"], "nothing") == []
    assert not scorer.most_alike(np.zeros(0, np.int64)).any()


def test_a_trip_or_shopper_that_is_too_wide_says_nothing() -> None:
    wide = log(*[("a", item_id, 0) for item_id in ITEM_IDS])
    assert not fitted(wide, widest_trip=3).with_cart(["i00"]).any()
    narrow = fitted(pd.concat([history(), wide]), widest_shopper=6)
    assert narrow.similarity.shape == (12, 12)


def test_a_saved_scorer_scores_the_same(scorer: CollaborativeScorer, tmp_path: Path) -> None:
    scorer.save(tmp_path / "scorer")
    loaded = CollaborativeScorer.load(tmp_path / "scorer", history=scorer.history)
    for user_id in ("u0", "u1"):
        assert (loaded.for_user(user_id) == scorer.for_user(user_id)).all()
        assert (loaded.again(user_id) == scorer.again(user_id)).all()
    assert (loaded.with_cart(["i02"]) == scorer.with_cart(["i02"])).all()
    assert loaded.settings == scorer.settings
    assert {file.suffix for file in (tmp_path / "scorer").iterdir()} == {".npz", ".json"}


def test_fitting_twice_gives_the_same_scores(scorer: CollaborativeScorer) -> None:
    assert (fitted(history()).for_user("u0") == scorer.for_user("u0")).all()


@pytest.mark.parametrize("file", ["similarity.npz", "repeat.npz", "scorer.json"])
def test_a_damaged_or_foreign_scorer_is_told_plainly(file: str, scorer: CollaborativeScorer, tmp_path: Path) -> None:
    folder = tmp_path / "scorer"
    scorer.save(folder)
    other = History.from_interactions(history(), item_ids=ITEM_IDS[:5])
    with pytest.raises(ShopError, match="Prepare the shop again"):
        CollaborativeScorer.load(folder, history=other)
    (folder / file).write_bytes(b"[")
    with pytest.raises(ShopError, match="Prepare the shop again"):
        CollaborativeScorer.load(folder, history=scorer.history)
