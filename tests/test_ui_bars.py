"""The picture of a score is the score: its numbers are the recorded parts, and add up."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.scripted_model import call
from tests.small_shop import Talk
from tests.test_ui_cards import HOSTILE, Tags
from ui.bars import Scored, lines, looked_at, number, picture, scored
from ui.cards import cards
from ui.views import View, fold

VALUES = st.dictionaries(st.sampled_from("abcdefgh"), st.floats(-3, 3), min_size=1)


@given(VALUES)
def test_what_is_shown_adds_up_and_is_near_the_record(parts: dict[str, float]) -> None:
    """Promise: no part is off by a hundredth or more, and the parts shown give the score shown."""
    item = scored("Milk", parts)
    assert item.score == round(sum(parts.values()) * 100)
    told = dict(item.parts)
    assert all(abs(told.get(name, 0) - value * 100) < 1.0001 for name, value in parts.items())


def test_what_speaks_against_is_on_the_left() -> None:
    """Promise: the line of zero is between; every number is in the text, for who cannot see bars."""
    item = Scored(title="Milk", parts=(("match", 60), ("taste", -30), ("deal", 10)))
    seen = Tags(picture([item]))
    assert seen.text == "Milkscore 0.40your words+0.60taste−0.30on offer+0.10"
    html = picture([item])
    assert 'st-bar" style="left:33.3%;width:66.7%' in html and 'st-against" style="left:0.0%;width:33.3%' in html
    assert 'st-zero" style="left:33.3%' in html
    drawn = lines([item], width=9)
    assert [line.split("|")[0].strip() for line in drawn[1:]] == ["your words", "taste ###", "on offer"]
    assert [line.split()[-1] for line in drawn[1:]] == ["+0.60", "−0.30", "+0.10"]


def test_compared_items_share_scale_and_order() -> None:
    """Promise: bars of two items can be set against each other; what one lacks is shown as nothing."""
    one = Scored(title="A", parts=(("match", 50),))
    other = Scored(title="B", parts=(("popularity", 100), ("match", 25)))
    text = Tags(picture([one, other])).text
    assert text == "Ascore 0.50popular0.00your words+0.50Bscore 1.25popular+1.00your words+0.25"
    assert "width:25.0%" in picture([one, other])


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_names_stay_text(text: str) -> None:
    """A title or a part's name changes no markup."""
    harmless = Tags(picture([scored("Milk", {"a": 1.0})]))
    seen = Tags(picture([scored(text, {text: 1.0})]))
    assert (seen.tags, seen.attributes) == (harmless.tags, harmless.attributes)
    assert text in seen.text


def test_no_parts_draw_nothing_that_breaks() -> None:
    """An item nothing is known of has a score of 0 and no bar."""
    assert Tags(picture([scored("Milk", {})])).text == "Milkscore 0.00"
    assert lines([scored("Milk", {"asked": 0.0})]) == ["Milk, score 0.00"]
    assert lines([]) == [] and picture([]) == ""


def test_a_turn_shows_the_parts_of_what_it_explains(tmp_path: object) -> None:
    """Promise: the picture is of the list that was shown, for why, why not and compare; no other turn has one."""
    talk = Talk(tmp_path, user_id="u0")  # type: ignore[arg-type]

    def looked(message: str, *calls: object) -> tuple[Scored, ...]:
        view = View(said=message)
        for event in talk.say(message, *calls).events:  # type: ignore[arg-type]
            view = fold(view, event)
        return view.looked

    told = talk.say("store brand cheese", call("search_catalog", query="cheese", brand="store brand"))
    card = told.cards[0].recommendation
    (why,) = looked("why", call("explain", position=1))
    assert why.title == card.item.title and why.score == round(card.score * 100)
    assert f"score {number(why.score, signed=False)}" in Tags(cards(told.cards, turn=0, live=True)).text
    assert "st-parts" not in cards(told.cards, turn=0, live=False)
    absent, last = looked("why not the name brand", call("explain", query="name brand", why_not=True))
    assert (
        absent.title.endswith("name brand") and last.title == f"Shown last: {told.cards[-1].recommendation.item.title}"
    )
    assert last.score == round(told.cards[-1].recommendation.score * 100)
    assert looked("how big is it", call("lookup_catalog", positions=[1])) == ()
    assert looked("hello", call("chat", topic="hello")) == ()
    assert looked_at({}) == ()
