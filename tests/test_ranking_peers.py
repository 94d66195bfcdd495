"""The peers are what their papers say, on examples worked out by hand; they know no answers, and are tuned on earlier trips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from eval import ranking_peers_items, ranking_peers_profile
from eval.ranking_peers import GRID, PEERS
from eval.ranking_peers_baskets import fit_tifu_knn, fit_up_cf, fit_user_knn
from eval.ranking_peers_factors import fit_als, fit_bm25_item, fit_bpr
from eval.ranking_peers_frequency import fit_gp_topfreq, fit_p_topfreq, fit_popularity, fit_trex
from eval.ranking_peers_items import Ease, ease_weights, fit_item_knn, fit_lift, fit_transitions
from eval.ranking_peers_profile import profiles
from eval.ranking_peers_text import Dense, Fused, fit_bm25
from eval.ranking_tasks import TASKS, Ask, allowed, draw
from eval.ranking_tuning import TRIALS, Peer, Score
from retrieval.history import History
from retrieval.records import Item, ShopError
from tests.shops import DAY, START, history, twelve_items

LETTERS = "abcdef"
ASK = Ask(ask_id="1", task="next_basket", user_id="u", at=START + 100 * DAY, targets=(0,))


def log(*, letters: str = LETTERS, **shoppers: Sequence[str]) -> History:
    """Make a log of one-letter items: `log(u=["ab", "a"])` is a shopper with two trips, a day apart."""
    rows = [
        {"user_id": user_id, "item_id": letter, "timestamp": START + number * DAY, "basket_id": f"{user_id}{number}"}
        for user_id, trips in shoppers.items()
        for number, trip in enumerate(trips)
        for letter in trip
    ]
    table = pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp", "basket_id"])
    return History.from_interactions(table, item_ids=list(letters))


def goods(letters: str = LETTERS) -> list[Item]:
    return [Item(item_id=letter, title=f"Thing {letter}") for letter in letters]


def scored(score: Score, ask: Ask = ASK) -> list[float]:
    return [round(float(value), 5) for value in score(ask)]


def fitted(fit: Any, past: History, **settings: Any) -> Score:
    found: Score = fit(past, items=goods(), **settings)
    return found


# Frequencies


def test_popularity_counts_trips_or_shoppers_of_all_time_or_of_late() -> None:
    past = log(u=["ab", "a", "a"], v=["b", "c"])
    assert scored(fitted(fit_popularity, past)) == [3, 2, 1, 0, 0, 0]
    assert scored(fitted(fit_popularity, past, of="shoppers")) == [1, 2, 1, 0, 0, 0]
    assert scored(fitted(fit_popularity, past, days=1.0)) == [2, 0, 1, 0, 0, 0]


def test_p_topfreq_ranks_by_the_shoppers_own_count_and_parts_ties_by_who_came_first_or_last() -> None:
    past = log(u=["dc", "ba", "ba", "f"], v=["eeee"])

    def ranked(**settings: Any) -> str:
        scores = fitted(fit_p_topfreq, past, **settings)(ASK)
        order = np.argsort(-scores, kind="stable")
        return "".join(LETTERS[row] for row in order if np.isfinite(scores[row]))

    assert ranked() == "badcf"
    assert ranked(ties="last") == "abfcd"
    assert ranked(last=1, ties="last") == "fabcd"
    assert ranked(last=2) == "bafdc"


def test_gp_topfreq_goes_on_with_what_is_popular_and_parts_ties_by_it() -> None:
    past = log(u=["ab"], v=["bd", "d", "c"])
    scores = scored(fitted(fit_gp_topfreq, past))
    assert np.argsort([-score for score in scores], kind="stable").tolist()[:4] == [1, 0, 3, 2]
    assert scores[0] == pytest.approx(1 + 1 / 3, abs=1e-4)  # bought once, by a third of (2 trips + 1)


def test_trex_weighs_recent_trips_by_how_often_an_items_buyers_come_back() -> None:
    # a: buyers u (3 trips), v (1): own (2 ** a) / 2. b: buyer u once, own 0. c: buyer v twice, own 1.
    past = log(u=["ab", "a", "a"], v=["ac", "c"])
    own = np.array([2**0.7 / 2, 0.0, 1.0])
    rho = own + own.mean() / (np.array([2, 1, 1]) + 1)
    expected = rho[0] * (1 + 0.95 + 0.95**2), rho[1] * 0.95**2
    scores = fitted(fit_trex, past, a=0.7, beta=0.95)(ASK)
    np.testing.assert_allclose(scores[:2], expected, rtol=1e-5)
    assert np.isneginf(scores[2:]).all()


# Trips and shoppers alike


def test_tifu_knn_fades_inside_groups_and_over_them() -> None:
    # Three trips in two groups, the newer takes two. a: (.5 * 1 + (0 * .5 + 1) / 2) / 2; b: (0 + (.5 + 0) / 2) / 2.
    past = log(u=["a", "b", "a"], v=["c"])
    settings = {"k": 1, "m": 2, "r_b": 0.5, "r_g": 0.5}
    assert scored(fitted(fit_tifu_knn, past, alpha=1.0, **settings))[:3] == [0.5, 0.125, 0]
    assert scored(fitted(fit_tifu_knn, past, alpha=0.75, **settings))[:3] == [0.375, 0.09375, 0.25]
    # Fewer trips than groups: each its own group, so (.5 ** 2 + .5 ** 1 * 0 + 1) / 3.
    assert scored(fitted(fit_tifu_knn, past, alpha=1.0, k=1, m=7, r_b=0.1, r_g=0.5))[0] == pytest.approx(
        1.25 / 3, abs=1e-5
    )


def test_tifu_knn_takes_the_nearest_shoppers_and_never_the_shopper() -> None:
    past = log(u=["a"], near=["ab"], far=["cdef"])
    settings = {"m": 1, "r_b": 1.0, "r_g": 1.0, "alpha": 0.0}
    assert scored(fitted(fit_tifu_knn, past, k=1, **settings)) == [1, 1, 0, 0, 0, 0]
    assert scored(fitted(fit_tifu_knn, past, k=9, **settings)) == [0.5, 0.5, 0.5, 0.5, 0.5, 0.5]


def test_up_cf_adds_shares_of_the_last_trips_by_likeness() -> None:
    # S_u = ab, S_v = abc and d: s(u, v) = 2 / (2 ** .25 * 4 ** .75). Last two trips: u has b, b; v has c, d.
    past = log(u=["a", "b", "b"], v=["ab", "c", "d"])
    alike = (2 / (2**0.25 * 4**0.75)) ** 3
    expected = [0.0, 1.0, alike / 2, alike / 2, 0.0, 0.0]
    np.testing.assert_allclose(fitted(fit_up_cf, past, r=2, q=3.0, a=0.25)(ASK), expected, rtol=1e-5)
    assert scored(fitted(fit_up_cf, log(u=["ab", "a"]), r=None, q=1.0, a=0.5))[:2] == [1, 0.5]


def test_user_knn_scores_by_cosine_to_others_who_bought_alike() -> None:
    past = log(u=["ab"], v=["ac"], w=["abd"], x=["f"])
    near = [1 / 2, 2 / np.sqrt(6)]  # v, w
    score = fitted(fit_user_knn, past, k=2, rarity=False)
    np.testing.assert_allclose(score(ASK), [near[0] + near[1], near[1], near[0], near[1], 0, 0], rtol=1e-5)
    assert scored(fitted(fit_user_knn, past, k=1, rarity=False))[2] == 0
    liked = replace(ASK, user_id=None, liked=(5,))
    assert scored(score, liked) == [0, 0, 0, 0, 0, 1]


# Items to items


def test_item_knn_adds_cosines_of_each_items_nearest() -> None:
    past = log(u=["ab"], v=["a", "c"], w=["ab"])
    # buyers: a uvw, b uw, c v. cos(a, b) = 2 / sqrt(6), cos(a, c) = 1 / sqrt(3), cos(b, c) = 0.
    np.testing.assert_allclose(
        fitted(fit_item_knn, past, k=5)(ASK)[:3], [2 / 6**0.5, 2 / 6**0.5, 1 / 3**0.5], rtol=1e-5
    )
    assert scored(fitted(fit_item_knn, past, k=1))[2] == 0
    shrunk = fitted(fit_item_knn, past, k=5, shrink=2.0)(replace(ASK, user_id=None, liked=(0,)))
    np.testing.assert_allclose(shrunk[:3], [0, 2 / (6**0.5 + 2), 1 / (3**0.5 + 2)], rtol=1e-5)
    newest = fitted(fit_item_knn, past, k=5, decay=0.5)(replace(ASK, user_id="v"))  # a is a trip older than c
    np.testing.assert_allclose(newest[:3], [1 / 3**0.5, 0.5 * 2 / 6**0.5, 0.5 / 3**0.5], rtol=1e-5)


@pytest.mark.parametrize("block", [64, 2**20])
def test_ease_is_the_closed_form_whatever_the_blocks(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranking_peers_items, "_BLOCK", block)  # 64 bytes: three rows of six items at a time
    past = log(u=["ab", "c"], v=["ac"], w=["abd"], x=["ef", "a"], y=["bd"])
    bought = profiles(past, weight="newest")
    held = bought.toarray().astype(np.float64)
    inverse = np.linalg.inv(held.T @ held + 2.0 * np.eye(6))
    expected = inverse / -np.diag(inverse)[None, :]
    np.fill_diagonal(expected, 0.0)
    np.testing.assert_allclose(ease_weights(bought, 2.0), expected, atol=1e-6)
    np.testing.assert_allclose(fitted(Ease().fit, past, ridge=2.0)(ASK), (held @ expected)[0], atol=1e-6)
    cart = replace(ASK, task="goes_with", cart=(1, 3))
    np.testing.assert_allclose(fitted(Ease().fit, past, ridge=2.0)(cart), expected[1] + expected[3], atol=1e-6)


def test_ease_works_out_its_weights_anew_only_for_another_past_ridge_or_weight(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[float] = []
    monkeypatch.setattr(
        ranking_peers_items, "ease_weights", lambda bought, ridge: (made.append(ridge), ease_weights(bought, ridge))[1]
    )
    one, other, ease = log(u=["ab", "c"], v=["ac"]), log(u=["de", "f"]), Ease()
    for settings in ({"ridge": 1.0}, {"ridge": 1.0, "decay": 0.5}, {"ridge": 2.0}):
        score = fitted(ease.fit, one, **settings)
        np.testing.assert_array_equal(score(ASK), fitted(Ease().fit, one, **settings)(ASK))
    assert made == [1.0, 1.0, 1.0, 2.0, 2.0]  # each time by a new one, and twice by the one that holds
    np.testing.assert_array_equal(fitted(ease.fit, other, ridge=2.0)(ASK), fitted(Ease().fit, other, ridge=2.0)(ASK))


def test_ease_of_too_many_items_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranking_peers_items, "MOST_ITEMS", 5)
    with pytest.raises(ShopError, match=r"EASE is exact here up to 5 items, .* there are 6"):
        fitted(Ease().fit, log(u=["ab"]), ridge=1.0)


def test_transitions_count_what_came_on_the_next_trips_of_the_same_shopper() -> None:
    past = log(v=["a", "b", "c"], w=["a", "b"], u=["a"])
    assert scored(fitted(fit_transitions, past, ahead=1, power=0.0))[:3] == [0, pytest.approx(2 / 3, abs=1e-5), 0]
    two = fitted(fit_transitions, past, ahead=2, power=1.0)(ASK)
    np.testing.assert_allclose(two[:3], [0, 2 / 3 / 2, 0.5 / 3 / 1], rtol=1e-5)
    faded = fitted(fit_transitions, past, ahead=1, power=0.0, decay=0.5)(replace(ASK, user_id="w"))
    np.testing.assert_allclose(faded[:3], [0, 0.5 * 2 / 3, 1 / 2], rtol=1e-5)


def test_lift_is_how_much_likelier_than_alone_added_over_the_cart() -> None:
    past = log(u=["ab", "ab", "ac", "b", "d"])
    cart = replace(ASK, task="goes_with", cart=(0, 3))
    np.testing.assert_allclose(fitted(fit_lift, past)(cart)[:4], [0, 2 / (3 * 3), 1 / (3 * 1), 0], rtol=1e-5)
    np.testing.assert_allclose(fitted(fit_lift, past, power=0.0)(cart)[:4], [0, 2 / 3, 1 / 3, 0], rtol=1e-5)
    np.testing.assert_allclose(fitted(fit_lift, past, damp=1.0)(cart)[:4], [0, 2 / 16, 1 / 8, 0], rtol=1e-5)
    assert scored(fitted(fit_lift, past, fewest=2), cart)[2] == 0


# Factors


@pytest.mark.parametrize(
    ("fit", "settings"),
    [
        (fit_als, {"factors": 4, "regularization": 0.1, "alpha": 5.0}),
        (fit_bpr, {"factors": 4, "learning_rate": 0.1, "regularization": 0.01, "iterations": 100}),
        (fit_bm25_item, {"k": 5, "k1": 1.2, "b": 0.75}),
        (Ease().fit, {"ridge": 1.0}),
        (fit_user_knn, {"k": 5, "rarity": True}),
    ],
)
def test_of_a_checkerboard_the_unbought_square_of_the_own_colour_comes_first(fit: Any, settings: Any) -> None:
    past = log(**{f"v{n}": ["ace", "ace"] if n % 2 else ["bdf", "bdf"] for n in range(8)}, u=["ac"], z=["bd"])
    for user_id, unbought in (("u", 4), ("z", 5)):
        ask = replace(ASK, task="new", user_id=user_id)
        scores = fitted(fit, past, **settings)(ask)
        assert np.where(allowed(ask, past=past), scores, -np.inf).argmax() == unbought
        np.testing.assert_array_equal(fitted(fit, past, **settings)(ask), scores)  # the same again


@pytest.mark.parametrize(("fit", "settings"), [(fit_als, {"factors": 4, "regularization": 0.1, "alpha": 5.0}), (Ease().fit, {"ridge": 1.0}), (fit_item_knn, {"k": 3})])  # fmt: skip
def test_what_a_cold_shopper_likes_is_enough_to_tell_the_colour(fit: Any, settings: Any) -> None:
    past = log(**{f"v{n}": ["ace", "ace"] if n % 2 else ["bdf", "bdf"] for n in range(8)})
    ask = replace(ASK, task="cold_shopper", user_id=None, liked=(0,))
    scores = fitted(fit, past, **settings)(ask)
    assert set(np.argsort(-np.where(allowed(ask, past=past), scores, -np.inf))[:2]) == {2, 4}
    nobody = replace(ask, liked=())
    assert scored(fitted(fit, log(u=["ab", "b"], v=["c"]), **settings), nobody) == [1, 2, 1, 0, 0, 0]


# Texts


def test_bm25_lists_what_has_a_word_of_the_wish_and_nothing_else() -> None:
    items = twelve_items()
    score = fit_bm25(log(), items=items, k1=1.5, b=0.75)

    def found(words: str) -> list[str]:
        scores = score(replace(ASK, task="search", words=words))
        return [items[row].item_id for row in np.argsort(-scores, kind="stable") if np.isfinite(scores[row])]

    assert set(found("shredded cheese")) == {"i06", "i07"}
    assert found("shredded cheese, store brand")[0] == "i06"
    assert found("zzzz") == found("") == []


class Letters:
    """Stands in for the embedder: a text's vector counts its letters; notes how many texts it was given."""

    dim = 26

    def __init__(self) -> None:
        self.given: list[int] = []

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        self.given.append(len(texts))
        counts = [[text.lower().count(letter) for letter in "abcdefghijklmnopqrstuvwxyz"] for text in texts]
        vectors = np.array(counts, np.float32)
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)


def test_vectors_rank_by_cosine_and_texts_are_embedded_once_for_all_settings() -> None:
    embedder = Letters()
    items = [Item(item_id=title, title=title) for title in ("ab", "a", "c")]
    dense = Dense(embedder)  # type: ignore[arg-type]
    ask = replace(ASK, task="search", words="a")
    np.testing.assert_allclose(dense.fit(log(), items=items, text="title")(ask), [0.5**0.5, 1, 0], atol=1e-6)
    for settings in GRID["dense"]:
        assert dense.fit(log(), items=items, **settings)(ask).argmax() == 1
    assert embedder.given == [3, 1, 3, 3]  # titles, the wish, and the two other texts


def test_the_leading_direction_is_taken_out_of_items_and_wish() -> None:
    items = [Item(item_id=title, title=title) for title in ("zzzza", "zzzzb", "yyyya", "yyyyb")]
    dense = Dense(Letters())  # type: ignore[arg-type]
    ask = replace(ASK, task="search", words="zb")
    with_it, without = (dense.fit(log(), items=items, text="title", without=count)(ask) for count in (0, 1))
    assert np.argsort(-with_it).tolist() == [1, 0, 3, 2]  # z or y is what parts these texts most
    np.testing.assert_allclose(without, without[1] * np.array([-1, 1, -1, 1]), atol=1e-4)
    assert without[1] > 0


def test_both_are_fused_by_reciprocal_rank() -> None:
    items = [Item(item_id=title, title=title) for title in ("cat", "act", "dog")]
    fused = Fused(Letters())  # type: ignore[arg-type]
    score = fused.fit(log(), items=items, k=1.0, share=0.5, text="title")
    # By letters cat and act are first alike, dog third; by words there is only cat.
    np.testing.assert_allclose(score(replace(ASK, task="search", words="cat")), [0.25 + 0.25, 0.25, 0.125], rtol=1e-6)


# What all must keep


def test_every_peer_has_as_many_settings_all_different() -> None:
    assert list(PEERS) == list(GRID)
    for name, make in PEERS.items():
        settings = [tuple(sorted(one.items())) for one in GRID[name]]
        assert len(set(settings)) == len(settings) == TRIALS
        assert make().name == name
        assert make().tasks <= set(TASKS)
    answered = set().union(*(make().tasks for make in PEERS.values()))
    assert answered == set(TASKS)


def asks_of(tasks: frozenset[str], *, items: int) -> list[Ask]:
    cart = (0,)
    every = [
        *(replace(ASK, task=task) for task in ("again", "new", "next_basket")),
        replace(ASK, task="next_basket", user_id="nobody"),
        replace(ASK, task="goes_with", cart=cart, targets=(items - 1,)),
        *(replace(ASK, task="cold_shopper", user_id=None, liked=liked) for liked in ((), cart)),
        *(replace(ASK, task=task, words=words) for task in ("search", "cold_item") for words in ("thing b", "zz", "")),
    ]
    return [ask for ask in every if ask.task in tasks]


@pytest.mark.parametrize("name", PEERS)
@pytest.mark.parametrize(
    "past",
    [
        log(),
        log(letters="a"),
        log(letters="a", u=["a"]),
        log(letters="a", u=["a", "a"], v=["a"]),
        log(u=["ab"]),
        log(u=["ab"], v=["ab", "ab"], w=["ab"]),
        log(letters="ab", u=["ab"] * 40, v=["b"]),
    ],
    ids=["empty", "empty-one-item", "one-item", "one-item-two-shoppers", "one-trip", "all-equal", "many-trips"],
)
@pytest.mark.filterwarnings("error")
def test_small_logs_give_lists_that_keep_to_the_rules(
    name: str, past: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("retrieval.embedder.Embedder", Letters)
    items = goods("".join(past.item_ids))
    for settings in GRID[name]:
        system = PEERS[name]()
        assert isinstance(system, Peer)
        system.grid = (settings,)
        system.fit(past, items=items)
        for ask in asks_of(system.tasks, items=len(items)):
            may = allowed(ask, past=past)
            rows = system.rank(ask, allowed=may, most=3)
            assert len(rows) == len(set(rows.tolist())) <= 3
            assert may[rows].all()
            other = replace(ask, targets=(len(items) - 1,))
            assert system.rank(other, allowed=may, most=3).tolist() == rows.tolist()  # no peer looks at the answer


def test_blocks_of_shoppers_score_as_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    past = History.from_interactions(history(shoppers=9), item_ids=[item.item_id for item in twelve_items()])
    asks = [replace(ASK, user_id=user_id) for user_id in ("u8", "u0", "u3", "u4")]
    fits = [(fit_tifu_knn, GRID["tifu-knn"][0]), (fit_up_cf, GRID["up-cf"][0]), (fit_item_knn, {"k": 5}), (fit_user_knn, {"k": 3, "rarity": True})]  # fmt: skip
    for fit, settings in fits:
        whole = [fit(past, items=twelve_items(), **settings)(ask) for ask in asks]
        monkeypatch.setattr(ranking_peers_profile, "BLOCK_BYTES", 1)
        single = fit(past, items=twelve_items(), **settings)
        for ask, scores in zip(asks, whole, strict=True):
            np.testing.assert_allclose(single(ask), scores, rtol=1e-5, atol=1e-7)
        monkeypatch.undo()


# Tuning


def test_settings_are_the_best_on_validation_for_each_task_and_every_trial_is_told() -> None:
    past = History.from_interactions(history(shoppers=20), item_ids=[item.item_id for item in twelve_items()])
    validation = draw(past, items=twelve_items(), tasks=("again", "next_basket"))[0]
    seen: list[tuple[History, int]] = []

    def fit(given: History, *, items: Sequence[Item], right: str) -> Score:
        seen.append((given, len(items)))
        hits = lambda ask: np.isin(np.arange(12), ask.targets).astype(np.float32)  # noqa: E731
        return lambda ask: hits(ask) if ask.task == right else -hits(ask)

    grid = [{"right": right} for right in ("none", "again", "next_basket")]
    peer = Peer(name="x", tasks=("again", "next_basket", "new"), fit=fit, grid=grid)
    said = peer.tune(validation, items=twelve_items())
    assert said["chosen"] == {"again": {"right": "again"}, "next_basket": {"right": "next_basket"}}
    assert [trial["settings"] for trial in said["trials"]] == grid
    assert said["trials"][1]["ndcg@10"]["again"] == 1.0 > said["trials"][1]["ndcg@10"]["next_basket"]
    assert seen == [(validation.past, 12)] * 3
    peer.fit(past, items=twelve_items())
    assert seen[3:] == [(past, 12)] * 2  # what two tasks chose, each fitted once
    (ask, *_) = validation.of("again")
    assert set(peer.rank(ask, allowed=np.ones(12, bool), most=len(ask.targets)).tolist()) == set(ask.targets)


def test_a_setting_that_cannot_be_fitted_is_a_trial_without_figures() -> None:
    past = History.from_interactions(history(), item_ids=[item.item_id for item in twelve_items()])
    validation = draw(past, items=twelve_items(), tasks=("new", "again"))[0]

    def fit(given: History, *, items: Sequence[Item], fails: bool) -> Score:
        if fails:
            raise ShopError("too large")
        return lambda _ask: np.zeros(12, np.float32)

    grid = [{"fails": True}, {"fails": False}]
    said = Peer(name="x", tasks=TASKS, fit=fit, grid=grid).tune(validation, items=twelve_items())
    assert said["trials"][0] == {"settings": {"fails": True}, "failed": "too large"}
    assert set(map(str, said["chosen"].values())) == {"{'fails': False}"}
    with pytest.raises(ShopError, match="too large"):
        Peer(name="x", tasks=TASKS, fit=fit, grid=grid[:1]).tune(validation, items=twelve_items())
