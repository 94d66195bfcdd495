"""Mistakes that were made once, frozen: each test names what a shopper saw."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent.conversation import ToolCall
from agent.events import Asked
from agent.plan import check_call
from tests.scripted_model import call
from tests.small_shop import Talk


def kept(message: str, **arguments: Any) -> dict[str, Any]:
    call = ToolCall(name="search_catalog", arguments=arguments)
    return dict(check_call(call, message=message, said=())[0].arguments)


def test_a_word_of_the_schema_is_not_tidied_as_free_text() -> None:
    """Asked about the weather, the shopper was answered "I did not get that": the topic had lost its underscore."""
    call = ToolCall(name="chat", arguments={"topic": "off_topic"})
    assert check_call(call, message="whats the weather like", said=())[0] == call


@pytest.mark.parametrize(
    ("message", "arguments"),
    [
        ("buns too, for burgers", {"bought": "again"}),
        ("can i get some vodka here", {"bought": "new"}),
        ("decaf tho", {"brand": "store brand"}),
        ("what did household 18 have", {"sort": "dearest"}),
    ],
)
def test_a_filter_that_nobody_asked_for_hides_nothing(message: str, arguments: dict[str, str]) -> None:
    assert kept(message, query="x", **arguments) == {"query": "x"}


@pytest.mark.parametrize(
    ("message", "arguments"),
    [
        ("the coffee i usually buy", {"bought": "again"}),
        ("cookies i've never had", {"bought": "new"}),
        ("your own label is fine", {"brand": "store brand"}),
        ("cheapest milk", {"sort": "cheapest"}),
    ],
)
def test_a_filter_that_was_asked_for_stays(message: str, arguments: dict[str, str]) -> None:
    assert kept(message, query="x", **arguments) == {"query": "x", **arguments}


def test_a_name_that_the_shopper_did_not_say_names_nothing() -> None:
    """Asked "what goes with it" after cheese went into the cart, the assistant told what goes with deli turkey."""
    call = ToolCall(name="goes_with", arguments={"query": "deli turkey"})
    assert check_call(call, message="what goes with it", said=())[0].arguments == {}
    goes = ToolCall(name="goes_with", arguments={"query": "goes"})
    assert check_call(goes, message="what goes with it", said=())[0].arguments == {}
    assert check_call(call, message="what goes with turky", said=())[0] == call


def test_an_answer_to_a_question_stays_with_what_was_asked(tmp_path: Path) -> None:
    """Asked what kind of soup, "the microwave kind" got popcorn; asked what kind of detergent, "liquid" got dish soap."""
    talk = Talk(tmp_path)
    assert talk.say("ice cream stuff", call("ask_shopper", query="ice cream")).of(Asked)
    told = talk.say("the toppings kind", call("search_catalog", query="toppings"))
    assert (told.items, told.reply.evidence["labels"]) == (["i09"], ["Ice cream topping"])
    talk = Talk(tmp_path / "other")
    talk.say("ice cream stuff", call("ask_shopper", query="ice cream"))
    assert talk.say("beef", call("search_catalog", query="beef")).items[0] == "i04", "a wish of its own stays one"


def test_that_is_what_was_talked_about(tmp_path: Path) -> None:
    """Asked "how big is it", after a word about the second one, told the size of the first."""
    talk = Talk(tmp_path)
    talk.say("shredded cheese", call("search_catalog", query="shredded cheese"))
    talk.say("why the 2nd", call("explain", position=2))
    assert talk.say("how big is it", call("lookup_catalog")).reply.evidence["about"] == ["i07"]
    talk.say("popcorn", call("search_catalog", query="popcorn"))
    assert talk.say("how big is it", call("lookup_catalog")).reply.evidence["about"] == ["i02"], "a new list, a new it"


def test_only_the_one_that_was_pointed_at_goes_into_the_cart(tmp_path: Path) -> None:
    """What was asked with "k add that" put the whole list into the cart."""
    talk = Talk(tmp_path)
    talk.say("shredded cheese", call("search_catalog", query="shredded cheese"))
    talk.say("k add that", call("update_cart", action="add", positions=[1, 2]))
    assert [item_id for item_id, _ in talk.cart] == ["i06"]


def test_it_is_what_was_talked_about_whatever_place_was_planned(tmp_path: Path) -> None:
    """After a list of milk, "put it in" put the fourth into the cart: the plan pointed there."""
    talk = Talk(tmp_path)
    talk.say("shredded cheese", call("search_catalog", query="shredded cheese"))
    talk.say("put it in", call("update_cart", action="add", positions=[2]))
    assert talk.cart == (("i06", 1),)
    talk.say("tell me about the second", call("lookup_catalog", positions=[2]))
    talk.say("add it", call("update_cart", action="add", positions=[1]))
    assert talk.cart == (("i06", 1), ("i07", 1))


def test_an_end_of_size_is_no_thing_to_search_for(tmp_path: Path) -> None:
    """Asked for "as large a jug as they come", the reply was "Nothing in this shop fits biggest"."""
    talk = Talk(tmp_path)
    talk.say("shredded cheese", call("search_catalog", query="shredded cheese"))
    told = talk.say("as large as they come", call("search_catalog", query="biggest"))
    assert told.reply.evidence["labels"] == ["shredded cheese"]
    assert set(told.items) == {"i06", "i07"}


def test_a_word_on_the_label_of_another_thing_does_not_bring_that(tmp_path: Path) -> None:
    """Asked for "coffee creamer, powder", the shop showed baby powder."""
    told = Talk(tmp_path).say("popcorn, shredded", call("search_catalog", query="popcorn", having=["shredded"]))
    assert told.items == ["i02"]
    assert "No label here says shredded, so I left that out." in told.sentences


def test_what_the_shopper_plainly_names_wins_over_another_thing(tmp_path: Path) -> None:
    """Asked for TP, the model searched for tampons; where the message tells a story, its words name nothing."""
    told = Talk(tmp_path).say("need some kitty food asap", call("search_catalog", query="ice cream"))
    assert (told.items, told.reply.evidence["labels"]) == (["i01"], ["kitty food"])
    told = Talk(tmp_path / "other").say("something for popcorn", call("search_catalog", query="soda"))
    assert told.items == ["i00"]


def test_what_was_taken_out_of_the_cart_stays_on_record(tmp_path: Path) -> None:
    """Promise: "Took out Bananas, 8 oz." was counted as a made-up size: nothing in the record of the reply was 8 oz."""
    talk = Talk(tmp_path)
    talk.say("popcorn", call("search_catalog", query="popcorn"))
    talk.say("add it", call("update_cart", action="add", positions=[1]))
    told = talk.say("remove the popcorn", call("update_cart", action="remove", query="popcorn"))
    assert (told.cart, told.reply.evidence["near"]) == ((), ["i02"])


def test_a_wider_wish_is_met_where_the_narrower_words_leave_nothing(tmp_path: Path) -> None:
    """After "name brand cheese", "store brand is fine" was told that nothing fits: the first words still decided."""
    talk = Talk(tmp_path)
    talk.say("name brand cheese only please", call("search_catalog", query="cheese", brand="name brand"))
    assert talk.say("actually store brand is fine", call("search_catalog", brand="store brand")).items == ["i06"]
