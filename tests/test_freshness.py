"""What a shopper does in a talk changes the next list of the same talk: what they like, dislike, and put in the cart.

In the small shop nobody ever bought an even and an odd item, so that what an even item changes can be told.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.scripted_model import call
from tests.small_shop import Talk, Told

ASKED = "what do you have for me"


def asked(talk: Talk) -> Told:
    return talk.say(ASKED, call("recommend"))


def odd(told: Told) -> list[bool]:
    """Say of every item of a list whether only odd shoppers buy it."""
    return [int(item_id[1:]) % 2 == 1 for item_id in told.items]


def part(told: Told, name: str) -> dict[str, float]:
    """Give the value of a part for every item of the list that has it."""
    return {
        card.recommendation.item.item_id: found.value
        for card in told.cards
        for found in card.recommendation.parts
        if found.name == name and found.value
    }


@pytest.fixture
def guest(tmp_path: Path) -> Talk:
    """Talk as somebody whom the shop does not know, to whom it shows what most people buy."""
    talk = Talk(tmp_path)
    first = asked(talk)
    assert first.items[:2] == ["i00", "i01"] and len(set(odd(first))) == 2
    assert part(first, "collaborative") == part(first, "goes_with") == {}
    assert asked(talk).items == first.items  # asking again changes nothing by itself
    return talk


def test_a_like_changes_the_next_list(guest: Talk) -> None:
    """What those buy who buy the liked item comes up, and its score says so."""
    guest.say("I like the second", call("remember", kind="like", position=2))
    told = asked(guest)
    assert odd(told) == [True] * 5
    assert set(part(told, "collaborative")) >= set(told.items) - {"i01"}


def test_a_dislike_takes_the_item_off_the_next_list_and_a_like_brings_it_back(guest: Talk) -> None:
    guest.say("I don't like the first", call("remember", kind="dislike", position=1))
    told = asked(guest)
    assert "i00" not in told.items and told.items[0] == "i01"
    shown = told.items.index("i01") + 1
    guest.say("nor this", call("remember", kind="dislike", position=shown))
    assert not {"i00", "i01"} & set(asked(guest).items)
    guest.say("forget all that", call("forget", text="all"))
    assert asked(guest).items[:2] == ["i00", "i01"]


def test_the_cart_changes_the_next_list_as_it_fills_and_empties(guest: Talk) -> None:
    """What is in it is not proposed; what is bought with it comes up."""
    before = asked(guest)
    guest.say("add the second", call("update_cart", action="add", positions=[2]))
    assert guest.cart == (("i01", 1),)
    told = asked(guest)
    assert "i01" not in told.items
    with_it = part(told, "goes_with")
    assert [item_id in with_it for item_id in told.items] == odd(told)  # an odd item raises odd items only
    assert sum(odd(told)) > sum(odd(before))
    guest.say("take the cat food out", call("update_cart", action="remove", query="cat food"))
    assert guest.cart == ()
    assert asked(guest).items == before.items


def test_a_known_shoppers_list_changes_too(tmp_path: Path) -> None:
    """Their habits do not outweigh what they say now."""
    talk = Talk(tmp_path, user_id="u0")
    first = asked(talk)
    assert first.items[0] == "i00"
    talk.say("I like the third", call("remember", kind="like", position=3))
    liked = asked(talk)
    scores = {card.recommendation.item.item_id: card.recommendation.score for card in first.cards}
    gained = {
        card.recommendation.item.item_id: card.recommendation.score - scores[card.recommendation.item.item_id]
        for card in liked.cards
    }
    assert max(gained, key=lambda item_id: gained[item_id]) == first.items[2]
    talk.say("I don't like soda", call("remember", kind="dislike", text="soda"))
    talk.say("add popcorn", call("update_cart", action="add", query="popcorn"))
    last = asked(talk)
    assert not {"i00", "i02"} & set(last.items)
