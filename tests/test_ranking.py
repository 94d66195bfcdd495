"""The explanation is the ranking: a score is the sum of its parts, and the parts' facts are true."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retrieval.history import History
from retrieval.ranking import DEFAULT_WEIGHTS, PARTS, TASKS, RankContext, Ranker
from retrieval.reasons import Verdict, compare, why_not
from retrieval.records import Candidate, Fact, Item, Recommendation, ShopError
from retrieval.scorer import CollaborativeScorer, ScorerSettings
from retrieval.weights import FITTED_TASKS, fit_ranker, fit_weights
from retrieval.wish import Wish, broken, contains
from tests.shops import history, twelve_items
from tests.test_history import log

SHOPPERS = (None, "nobody", "u0", "u1", "u2")


@dataclass(frozen=True)
class Opened:
    """What ranking needs of a shop, without a catalogue's search."""

    items: dict[str, Item]
    history: History
    scorer: CollaborativeScorer
    ranker: Ranker

    def rank(
        self, context: RankContext, candidates: Iterable[Candidate] | None = None, **options: Any
    ) -> list[Recommendation]:
        held = list(candidates) if candidates is not None else self.all(match=0.5)
        return self.ranker.rank(
            held, context=context, catalog=self, history=self.history, scorer=self.scorer, **{"limit": 12, **options}
        )

    def candidates(self, context: RankContext, *, limit: int = 300) -> list[Candidate]:
        return self.ranker.candidates(context, catalog=self, history=self.history, scorer=self.scorer, limit=limit)

    def all(self, *, match: float = 0.0) -> list[Candidate]:
        return [Candidate(item_id=item_id, sources={"match": match}) for item_id in self.items]


def opened(table: pd.DataFrame | None = None, items: list[Item] | None = None, ranker: Ranker | None = None) -> Opened:
    items = items or twelve_items()
    held = History.from_interactions(history() if table is None else table, item_ids=[item.item_id for item in items])
    scorer = CollaborativeScorer.fit(held, settings=ScorerSettings(threads=1))
    return Opened(items={item.item_id: item for item in items}, history=held, scorer=scorer, ranker=ranker or Ranker())


@pytest.fixture(scope="module")
def shop() -> Opened:
    return opened()


def ids(found: Iterable[Recommendation | Candidate]) -> list[str]:
    return [one.item_id if isinstance(one, Candidate) else one.item.item_id for one in found]


contexts = st.builds(
    RankContext,
    user_id=st.sampled_from(SHOPPERS),
    cart=st.lists(st.sampled_from(["i00", "i02", "i03", "gone"]), max_size=3).map(tuple),
    liked=st.lists(st.sampled_from(["i04", "i05", "gone"]), max_size=2).map(tuple),
    disliked=st.lists(st.sampled_from(["i05", "i06", "gone"]), max_size=2).map(tuple),
    named=st.lists(st.sampled_from(["i04", "i07", "gone"]), max_size=1).map(tuple),
    task=st.sampled_from(TASKS),
    wish=st.builds(
        Wish,
        query=st.sampled_from(["", "steak sauce", "cheese under 3", "pop, please"]),
        max_price=st.sampled_from([None, 3.0, 0.0]),
        min_price=st.sampled_from([None, 2.0]),
        attributes=st.sampled_from([{}, {"brand_tier": ("Private",)}]),
        text_none=st.sampled_from([(), ("cat",)]),
        bought=st.sampled_from(["any", "again", "new"]),
        age_restricted=st.booleans(),
    ),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(context=contexts)
def test_whatever_is_asked_the_record_holds(shop: Opened, context: RankContext) -> None:
    shown = shop.rank(context)
    for one in shown:
        total = 0.0
        for part in one.parts:
            total += part.value
        assert one.score == total
        assert {part.name for part in one.parts} <= set(PARTS)
        bought = shop.history.bought(context.user_id, one.item.item_id)
        assert broken(one.item, context.wish, bought=bought) == ()
        for fact in one.facts:
            assert true(fact, one.item, context, shop), fact
    if context.task in ("search", "similar"):
        order = [(-one.score, one.item.item_id) for one in shown]
        assert order == sorted(order)
    assert len(set(ids(shown))) == len(shown)
    for found in shop.candidates(context):
        bought = shop.history.bought(context.user_id, found.item_id)
        assert broken(shop.items[found.item_id], context.wish, bought=bought) == ()
        assert found.item_id not in {*context.cart, *context.named} and found.sources
        assert found.item_id not in context.disliked or found.item_id in context.liked


def true(fact: Fact, item: Item, context: RankContext, shop: Opened) -> bool:
    """Check one fact against the log and the item, without the code that made it."""
    baskets = [held for _, held in shop.history.baskets(context.user_id)]
    everyone = [held for user in shop.history.users for _, held in shop.history.baskets(user)]
    match fact.kind:
        case "bought_trips":
            last = baskets[-10:]
            return (fact.count, fact.of) == (sum(item.item_id in held for held in last), len(last)) and bool(fact.count)
        case "bought_times":
            return fact.count == sum(item.item_id in held for held in baskets) > 0
        case "not_bought":
            return bool(baskets) and not any(item.item_id in held for held in baskets)
        case "under_price":
            return item.price + fact.amount == pytest.approx(fact.limit) == context.wish.max_price  # type: ignore[operator]
        case "over_price":
            return item.price - fact.amount == pytest.approx(fact.limit) == context.wish.min_price  # type: ignore[operator]
        case "matches":
            return all(contains(item.text, word) and word in context.wish.query for word in fact.words)
        case "goes_with":
            together = sum({item.item_id, fact.item_id} <= held for held in everyone)
            return fact.item_id in (*context.cart, *context.named) and fact.count == together > 0 and titled(fact, shop)
        case "because_of":
            own = set().union(*baskets, context.liked) if baskets or context.liked else set()
            return fact.item_id in own and fact.item_id != item.item_id and titled(fact, shop)
        case "popular":
            return fact.count == sum(
                any(item.item_id in held for _, held in shop.history.baskets(user)) for user in shop.history.users
            )
        case "brand_tier" | "size":
            return fact.words == (item.attributes[fact.kind],)
        case "cheaper" | "dearer":
            other = shop.items[fact.item_id].price
            return (other - item.price) * (1 if fact.kind == "cheaper" else -1) == pytest.approx(fact.amount)  # type: ignore[operator]
        case "liked":
            return item.item_id in context.liked
    return False


def titled(fact: Fact, shop: Opened) -> bool:
    return fact.words == (shop.items[fact.item_id].title,)


def test_the_checkerboard_is_recommended(shop: Opened) -> None:
    for shopper, own in (("u0", "i00"), ("u1", "i01")):
        parity = int(own[1:]) % 2
        shown = shop.rank(context := RankContext(user_id=shopper, task="again"), shop.candidates(context))
        assert ids(shown)[0] == own and all(int(item_id[1:]) % 2 == parity for item_id in ids(shown))
    context = RankContext(user_id="new", liked=("i02",), task="next_basket")
    assert all(int(item_id[1:]) % 2 == 0 for item_id in ids(shop.rank(context, shop.candidates(context), limit=4)))


def test_taking_the_cited_evidence_away_lowers_the_score() -> None:
    table = log(
        *[(f"u{n}", item_id, n % 3) for n in range(12) for item_id in ("i00", "i02", "i04")],
        ("me", "i00", 0),
        ("me", "i09", 0),
    )
    table = pd.concat([table, log(*[(f"v{n}", item_id, 0) for n in range(40) for item_id in ("i01", "i05", "i07")])])
    before, after = opened(table), opened(table[(table["user_id"] != "me") | (table["item_id"] != "i00")])
    context = RankContext(user_id="me", task="new")
    cited = part(one(before.rank(context), "i02"), "collaborative")
    assert cited.facts == (Fact(kind="because_of", words=("Soda, 2 litre bottle, name brand",), item_id="i00"),)
    assert cited.value > part_value(one(after.rank(context), "i02"), "collaborative") == 0

    cart = RankContext(cart=("i00",), task="next_basket")
    held, bare = one(before.rank(cart), "i02"), one(before.rank(replace(cart, cart=())), "i02")
    assert part(held, "goes_with").facts[0].item_id == "i00" and held.score > bare.score

    again = RankContext(user_id="me", task="again")
    assert one(before.rank(again), "i00").score > one(after.rank(again), "i00").score


def test_losing_the_strongest_purchase_always_lowers_the_part(shop: Opened) -> None:
    for user_id, item_id in itertools.product(("u0", "u1"), shop.items):
        profile = shop.scorer.profile(user_id)
        for other, value in shop.scorer.because(profile, item_id)[:1]:
            left = {key: weight for key, weight in profile.items() if key != other}
            row = shop.history.item_rows[item_id]
            assert shop.scorer.for_weights(left)[row] < shop.scorer.for_weights(profile)[row] and value > 0


def test_a_like_and_a_dislike_change_the_list_at_once(shop: Opened) -> None:
    cold = RankContext(task="next_basket")
    assert part_value(one(shop.rank(cold), "i04"), "collaborative") == 0
    liked = shop.rank(replace(cold, liked=("i02",)))
    assert part(one(liked, "i04"), "collaborative").facts[0].item_id == "i02"
    assert part(one(liked, "i02"), "taste").facts == (Fact(kind="liked"),)
    disliked = shop.rank(replace(cold, disliked=("i00",)))
    assert ids(disliked)[-1] == "i00"
    assert part_value(one(disliked, "i02"), "taste") < 0 == part_value(one(disliked, "i03"), "taste")
    assert "i00" not in ids(shop.candidates(replace(cold, disliked=("i00",))))


def test_the_talk_has_the_last_word_over_the_log() -> None:
    said = log(("u0", "i00", 900_000), ("u0", "i02", 900_000))
    said["event"] = ["dislike", "like"]
    shop = opened(pd.concat([history(), said]))
    context = RankContext(user_id="u0", task="again")
    assert ids(shop.rank(context))[-1] == "i00" and "i00" not in ids(shop.candidates(context))
    turned = replace(context, liked=("i00",), disliked=("i02",))
    assert ids(shop.rank(turned))[0] == "i00" and ids(shop.rank(turned))[-1] == "i02"


def test_words_outweigh_the_log_in_a_search(shop: Opened) -> None:
    found = [Candidate(item_id="i00", sources={"match": 0.1}), Candidate(item_id="i09", sources={"match": 0.9})]
    context = RankContext(user_id="u0", wish=Wish(query="ice cream topping"), task="search")
    first = shop.rank(context, found)[0]
    assert first.item.item_id == "i09" and part(first, "match").facts == (
        Fact(kind="matches", words=("ice", "cream", "topping")),
    )


def test_ties_go_by_item_id_and_repeats_count_once() -> None:
    found = [Candidate(item_id=item_id, sources={}) for item_id in ("i05", "i03", "i07", "i03", "gone")]
    assert ids(opened(log()).rank(RankContext(), found)) == ["i03", "i05", "i07"]


def test_what_breaks_a_wish_is_never_ranked(shop: Opened) -> None:
    wish = Wish(max_price=3.0, text_none=("milk",), bought="new")
    shown = ids(shop.rank(RankContext(user_id="u1", wish=wish, task="new")))
    assert shown and set(shown) == {
        i for i, item in shop.items.items() if not broken(item, wish, bought=i in shop.history.items("u1"))
    }
    assert "i11" not in ids(shop.candidates(RankContext(user_id="u1", task="next_basket")))
    assert "i11" in ids(shop.candidates(RankContext(user_id="u1", task="next_basket", wish=Wish(age_restricted=True))))


def test_again_and_new_keep_to_their_halves(shop: Opened) -> None:
    own = set(shop.history.items("u0"))
    assert set(ids(shop.candidates(RankContext(user_id="u0", task="again")))) == own
    fresh = ids(shop.candidates(RankContext(user_id="u0", task="new")))
    assert fresh and not set(fresh) & own
    shown = shop.rank(RankContext(user_id="u0", task="new"), shop.candidates(RankContext(user_id="u0", task="new")))
    assert all(Fact(kind="not_bought") in one.facts for one in shown)


def test_pools_say_where_a_candidate_came_from_and_share_the_limit(shop: Opened) -> None:
    found = shop.candidates(RankContext(user_id="u0", cart=("i02",), task="next_basket"), limit=4)
    assert len(found) == 4 and {name for one in found for name in one.sources} >= {"again", "collaborative", "popular"}


def test_more_of_the_same_kind_waits_for_other_kinds() -> None:
    items = [Item(item_id=f"s{n}", title=f"Soda, {n} oz", price=1.0) for n in range(5)]
    items.append(Item(item_id="tea", title="Tea", price=1.0))
    rows = [("a", item.item_id, day) for day, item in enumerate(items[:5]) for _ in range(2)] + [("b", "tea", 0)]
    shop = opened(log(*rows), items)
    context = RankContext(task="next_basket")
    assert ids(shop.rank(context, limit=3))[2] == "tea" and len(ids(shop.rank(context))) == 6
    assert "tea" not in ids(shop.rank(context, limit=3, diverse=False))
    assert ids(shop.rank(replace(context, task="search"), limit=5)) == ids(shop.rank(context, limit=5, diverse=False))


def test_what_goes_with_an_item_is_no_more_of_it() -> None:
    items = [
        Item(item_id=i, title=title)
        for i, title in (("a", "Pasta, 1 lb"), ("b", "Pasta, 2 lb"), ("c", "Sauce"), ("d", "Tea"))
    ]
    rows = [(f"u{n}", item_id, 0) for n in range(9) for item_id in "abc"] + [(f"v{n}", "d", 0) for n in range(20)]
    context = RankContext(named=("a",), task="goes_with")
    assert ids(opened(log(*rows), items).candidates(context)) == ["c"]


@pytest.mark.parametrize("price", [None, float("nan"), 0.0])
def test_an_item_without_a_usable_price_is_ranked_all_the_same(price: float | None) -> None:
    items = [replace(item, price=price) if item.item_id in ("i00", "i02") else item for item in twelve_items()]
    shop = opened(items=items)
    for task in TASKS:
        shown = shop.rank(RankContext(user_id="u0", task=task, named=("i00",)))
        assert len(shown) == 11 and all(one.score == one.score for one in shown)
    assert "i00" not in ids(shop.rank(RankContext(wish=Wish(min_price=1.0))))


@pytest.mark.parametrize(
    "table",
    [log(), log(*[(f"u{n}", item.item_id, 0) for n in range(4) for item in twelve_items()])],
    ids=["empty", "all equal"],
)
def test_any_log_is_ranked(table: pd.DataFrame) -> None:
    shop = opened(table)
    for task, user_id in itertools.product(TASKS, SHOPPERS):
        context = RankContext(user_id=user_id, task=task, cart=("i00",), named=("i01",))
        assert len(shop.rank(context)) == 11 and isinstance(shop.candidates(context), list)
    assert fit_weights(twelve_items(), shop.history) == Ranker()


def test_a_shelf_of_another_shop_is_told_plainly(shop: Opened) -> None:
    other = replace(shop, items={"x": Item(item_id="x", title="X")})
    with pytest.raises(ShopError, match="Prepare the shop again"):
        other.rank(RankContext())


def test_weights_are_saved_and_read_back(tmp_path: Path) -> None:
    ranker = Ranker(fitted={"shoppers": 3})
    ranker.save(tmp_path / "ranker.json")
    loaded = Ranker.load(tmp_path / "ranker.json")
    assert loaded.fitted == ranker.fitted
    for task, name in itertools.product(DEFAULT_WEIGHTS, PARTS):
        assert loaded.weight(task, name) == ranker.weight(task, name)
    for content in ("", "[]", '{"weights": {}}', '{"weights": {"search": 1}, "fitted": {}}'):
        (tmp_path / "ranker.json").write_text(content)
        with pytest.raises(ShopError, match="Prepare the shop again"):
            Ranker.load(tmp_path / "ranker.json")


def test_weights_are_learnt_from_what_was_bought_next() -> None:
    """Shoppers who always buy the same again teach that what was bought before comes first."""
    rows = [(f"u{n}", f"i{(n + step) % 12:02d}", day) for n in range(60) for day in range(7) for step in (0, 1, 2)]
    told: list[float] = []
    ranker = fit_ranker(twelve_items(), log(*rows), progress=lambda _, share: told.append(share))
    assert ranker.fitted["shoppers"] == 60 and told == sorted(told) and told[-1] == 1.0
    assert ranker.fitted["figures"]["again"]["recall@10"] > 0.9
    usual = ranker.weights["next_basket"]
    assert max(usual, key=lambda name: usual[name]) == "bought_before"
    for task in FITTED_TASKS:
        held = ranker.weights[task]
        assert all(value >= 0 for value in held.values()) and sum(held.values()) == pytest.approx(1, abs=0.01)
    assert ranker.weights["search"]["match"] >= 0.5
    assert fit_ranker(twelve_items(), log(*rows)).weights == ranker.weights


def test_why_not_names_the_broken_wish_or_the_weaker_part(shop: Opened) -> None:
    context = RankContext(user_id="u0", wish=Wish(query="cheese", max_price=3.0), task="search")
    shown = shop.rank(context, [Candidate(item_id="i06", sources={"match": 0.9})])
    dear = shop.items["i07"]
    free = replace(context, wish=Wish(query="cheese"))
    own = shop.rank(free, [Candidate(item_id="i07", sources={"match": 0.9})])[0]
    verdict = why_not(dear, shown, own, wish=context.wish, bought=False)
    assert verdict.broken == ("max_price",)
    assert verdict.weaker[0][0] in ("bought_before", "price_fit") and all(apart > 0 for _, apart in verdict.weaker)
    assert why_not(dear, (), own, wish=Wish(bought="again"), bought=False) == Verdict(broken=("bought_again",))
    assert why_not(dear, [own], own, wish=Wish(), bought=False) == Verdict()


def test_differences_add_up_to_the_difference(shop: Opened) -> None:
    for task in TASKS:
        shown = shop.rank(RankContext(user_id="u0", cart=("i02",), task=task))
        for a, b in itertools.pairwise(shown):
            assert sum(apart for _, apart in compare(a, b)) == pytest.approx(a.score - b.score, abs=1e-9)


def part(recommendation: Recommendation, name: str) -> Any:
    return next(held for held in recommendation.parts if held.name == name)


def part_value(recommendation: Recommendation, name: str) -> float:
    return sum(held.value for held in recommendation.parts if held.name == name)


def one(shown: list[Recommendation], item_id: str) -> Recommendation:
    return next(held for held in shown if held.item.item_id == item_id)
