"""Take away the reason that is told first, and the score falls: the reasons are the ranking."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest

from eval.counterfactual import first_fact, measure, score_after, told, unworded, without
from retrieval.ranking import RankContext
from retrieval.records import Fact, Item, Part, Recommendation
from tests.small_shop import small_shop


def test_the_score_falls_without_what_is_told_first() -> None:
    """Promise: in at least 95 of 100 cases the evidence that is named first is part of the score."""
    record = measure(small_shop(), cases=60, seed=2)
    assert record["cases"] == 60 and len(record["by_fact"]) >= 3
    assert record["fell"]["share"] >= 0.95, record["stood"]


def test_only_the_named_purchases_are_taken_away() -> None:
    """Promise: one shopper's lines of one item go, and nothing else; the shop itself is left as it was."""
    shop = small_shop()
    one = next(one for one in told(shop, cases=60, rng=Random(2)) if one.fact.kind in ("bought_trips", "bought_times"))
    user_id, item_id = one.context.user_id, one.recommendation.item.item_id
    before = {user: dict(shop.history.items(user)) for user in shop.history.users}
    other, context = without(shop, one)
    after = {user: dict(other.history.items(user)) for user in other.history.users}
    assert before[str(user_id)].pop(item_id) > 0
    assert after == before
    assert len(other.history.basket_time) == len(shop.history.basket_time)
    assert score_after(other, one, context=context) < one.recommendation.score
    assert np.isclose(score_after(shop, one, context=one.context), one.recommendation.score)


def test_the_strongest_part_with_a_weighed_fact_is_taken() -> None:
    """Promise: what only describes the item is no evidence, and a stronger part without facts is passed over."""
    popular = Fact(kind="popular", count=4)
    parts = (
        Part(name="match", value=0.9),
        Part(name="bought_before", value=0.5, facts=(Fact(kind="not_bought"),)),
        Part(name="popularity", value=0.2, facts=(popular,)),
    )
    row = Recommendation(item=Item(item_id="1", title="Tea"), score=1.6, parts=parts)
    assert first_fact(row) == ("popularity", popular)
    assert first_fact(Recommendation(item=row.item, score=0.9, parts=parts[:2])) is None


@pytest.mark.parametrize("word", ["milk", "dairy"])
def test_the_words_go_wherever_an_item_says_them(word: str) -> None:
    """Promise: a matched word is taken out of title, shelf and description alike."""
    item = Item(item_id="1", title="Milks, white, 1 gallon", description="Milk. Dairy.", categories=("Dairy", "Milk"))
    left = unworded(item, Fact(kind="matches", words=(word,)))
    assert word not in left.text.lower() and "white, 1 gallon" in left.title


def test_a_cart_item_is_taken_out_of_cart_and_question() -> None:
    """Promise: what an item goes with is looked for in both places."""
    shop = small_shop()
    one = next((o for o in told(shop, cases=80, rng=Random(4)) if o.fact.kind == "goes_with"), None)
    assert one is not None
    _, context = without(shop, one)
    assert one.fact.item_id in {*one.context.cart, *one.context.named}
    assert one.fact.item_id not in {*context.cart, *context.named} and isinstance(context, RankContext)
