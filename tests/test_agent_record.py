"""What was shown is read back as it was: through JSON and out of it, nothing is lost and nothing is made up."""

from __future__ import annotations

import json
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from agent.outcome import Request
from agent.record import (
    recommendation_from_json,
    recommendation_to_json,
    request_from_json,
    request_to_json,
    wish_from_json,
    wish_to_json,
)
from retrieval.wish import Wish
from tests.scripted_model import call
from tests.small_shop import Talk, small_shop

WORDS = st.tuples(st.text(max_size=8))
PRICES = st.none() | st.floats(0.01, 1e6)
WISHES = st.builds(
    Wish,
    query=st.text(max_size=20),
    max_price=PRICES,
    min_price=PRICES,
    below_price=PRICES,
    above_price=PRICES,
    brands=st.just(()) | WORDS,
    categories=st.just(()) | WORDS,
    text_all=st.just(()) | WORDS,
    text_none=st.just(()) | WORDS,
    attributes=st.dictionaries(st.text(min_size=1, max_size=5), WORDS, max_size=2),
    not_attributes=st.dictionaries(st.text(min_size=1, max_size=5), WORDS, max_size=2),
    item_ids=st.none() | st.frozensets(st.text(max_size=3), max_size=3),
    exclude_ids=st.frozensets(st.text(max_size=3), max_size=3),
    age_restricted=st.booleans(),
)


def test_a_shown_list_is_read_back_whole(tmp_path: Path) -> None:
    """Promise: "why?" reads what was shown: item, score, parts, facts and sources, the same values in the same order."""
    talk = Talk(tmp_path, user_id="u0")
    cards = talk.say("my usual under $5", call("recommend", max_price=5)).cards
    assert len(cards) > 2
    for position, card in enumerate(cards, start=1):
        row = json.loads(json.dumps(recommendation_to_json(card.recommendation, position=position)))
        assert (row["position"], row["title"]) == (position, card.recommendation.item.title)
        assert recommendation_from_json(row, items=small_shop().catalog.items) == card.recommendation


def test_an_item_that_the_shop_dropped_is_none(tmp_path: Path) -> None:
    """Promise: a record outlives its item: what is gone is left out, not invented."""
    (card, *_) = Talk(tmp_path).say("shredded cheese", call("search_catalog", query="shredded cheese")).cards
    assert recommendation_from_json(recommendation_to_json(card.recommendation, position=1), items={}) is None


@given(WISHES)
def test_any_wish_is_read_back_the_same(wish: Wish) -> None:
    """Promise: a refinement starts from the very wish; one for no item at all stays so and does not turn into any item."""
    assert wish_from_json(json.loads(json.dumps(wish_to_json(wish)))) == wish


@given(WISHES, st.sampled_from([None, "cheapest", "biggest"]))
def test_any_request_is_read_back_the_same(wish: Wish, sort: object) -> None:
    """Promise: task, wish, label, queries, anchors and order survive; a talk without a list has no request."""
    request = Request(task="similar", wish=wish, label="like soda", queries=("pop",), anchors=("i00",), sort=sort)  # type: ignore[arg-type]
    assert request_from_json(json.loads(json.dumps(request_to_json(request)))) == request
    assert request_from_json(request_to_json(None)) is None


def test_a_wish_that_asks_nothing_takes_no_room() -> None:
    """Promise: the log holds what was asked, not a page of empty fields."""
    assert wish_to_json(Wish(query="milk")) == {"query": "milk"}
    assert wish_to_json(Wish()) == {}
