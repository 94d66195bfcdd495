"""What is on offer: told to whom it is, kept in every list that asks for it, and never said without its fact."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from agent.grounding import Spoken, readable, supported
from agent.record import wish_from_json, wish_to_json
from agent.turn import QUICK
from agent.wordings import fact_form, filled, load_replies
from eval.claims import unsupported
from retrieval.deals import Deals, Offer
from retrieval.keeps import Keeps
from retrieval.records import Fact, Item, Part, Recommendation
from retrieval.shop import Shop
from retrieval.wish import Wish, broken
from tests.scripted_model import call
from tests.shops import twelve_items
from tests.small_shop import Talk, small_shop
from ui.cards import cards

AD = "in this week's ad"
ALWAYS = {"starts": 0.0, "ends": 4e9}


@cache
def shop() -> Shop:
    """The small shop with an ad (soda, cat food, cheddar, beer), a display of one store in five, and a coupon of u0's."""
    offers = [
        Offer(kind="promotion", item_ids=["i00", "i01", "i07", "i11"], note=AD, **ALWAYS),  # type: ignore[arg-type]
        Offer(kind="promotion", item_ids=["i08"], strengths=[0.2], note="on display", **ALWAYS),  # type: ignore[arg-type]
        Offer(kind="promotion", item_ids=["i09"], starts=0.0, ends=5.0, note="long ago"),
        Offer(kind="promotion", item_ids=["i03"], note="2 for <b>$5</b>", **ALWAYS),  # type: ignore[arg-type]
        Offer(kind="coupon", item_ids=["i02", "i07"], user_ids=["u0"], **ALWAYS),  # type: ignore[arg-type]
    ]
    ids = [item.item_id for item in twelve_items()]
    return replace(small_shop(), deals=Deals.from_offers(offers, item_ids=ids, now=small_shop().history.now))


@pytest.fixture
def talk(tmp_path: Path) -> Talk:
    return Talk(tmp_path, user_id="u0", shop=shop())


@pytest.fixture
def guest(tmp_path: Path) -> Talk:
    return Talk(tmp_path, shop=shop())


def test_what_is_on_offer_is_told_to_whom_it_is(talk: Talk, guest: Talk) -> None:
    """Promise: a coupon is its household's; nothing past, of few stores or age-restricted is in the list."""
    assert set(talk.say("what's on sale", call("deals")).items) == {"i00", "i01", "i02", "i03", "i07"}
    assert set(guest.say("what's on sale", call("deals")).items) == {"i00", "i01", "i03", "i07"}


def test_every_item_of_the_list_says_why_it_is_in_it(talk: Talk) -> None:
    """The card of each holds the fact, so that the words rest on it."""
    told = talk.say("any deals", call("deals"))
    assert told.reply.evidence["labels"] == ["on offer"]
    for card in told.cards:
        kinds = {fact.kind for fact in card.recommendation.facts}
        assert kinds & {"promotion", "coupon"}, card.recommendation.item.item_id
    assert "Here are 5 items on offer." in told.sentences


def test_of_one_thing_and_within_a_price(talk: Talk) -> None:
    """A query and a bound are hard beside the offer."""
    assert talk.say("is cheese on offer", call("deals", query="shredded cheese")).items == ["i07"]
    assert set(talk.say("deals under $2", call("deals", max_price=2)).items) == {"i00"}


def test_a_refinement_keeps_to_what_is_on_offer(talk: Talk) -> None:
    """Promise: a hard wish holds until another thing is asked for."""
    talk.say("what's on offer", call("deals"))
    under = talk.say("under $3", call("search_catalog", max_price=3))
    assert set(under.items) == {"i00", "i02"}
    assert under.reply.evidence["labels"] == ["on offer (under $3)"]
    assert "on_offer" not in under.reply.evidence["wish"] and under.reply.evidence["wish"]["deal"] is True
    other = talk.say("milk", call("search_catalog", query="milk"))
    assert other.items == ["i08"]


def test_these_are_those_on_the_table(talk: Talk) -> None:
    """Any of "these" narrows the list; "what else" leaves it."""
    assert set(talk.say("shredded cheese", call("search_catalog", query="shredded cheese")).items) == {"i06", "i07"}
    assert talk.say("are any of these on sale?", call("deals")).items == ["i07"]
    assert len(talk.say("what else is on sale", call("deals")).items) == 5


def test_none_of_those_shown(talk: Talk, tmp_path: Path) -> None:
    """What is on offer beside them is shown with that said; where nothing is, that is said."""
    assert talk.say("cheese under $3", call("search_catalog", query="shredded cheese", max_price=3)).items == ["i06"]
    told = talk.say("are any of these on sale", call("deals"))
    assert (told.items, told.sentences) == ([], ["Nothing on offer here fits shredded cheese (under $3)."])
    (tmp_path / "short").mkdir()
    short = Talk(tmp_path / "short", user_id="u0", shop=shop(), list_length=1)
    assert short.say("shredded cheese", call("search_catalog", query="shredded cheese")).items == ["i06"]
    told = short.say("are any of these on sale", call("deals"))
    assert (told.items, told.sentences[0]) == (["i07"], "None of those shown is on offer; these are.")
    assert not unsupported(told.reply.content, told.reply.evidence, items=shop().catalog.items)


def test_a_coupon_is_answered_by_coupons(talk: Talk, guest: Talk) -> None:
    """Who asks for coupons sees what has one; where none has, that is said and what is promoted shown."""
    assert set(talk.say("do i have any coupons", call("deals")).items) == {"i02", "i07"}
    assert talk.say("under $3", call("search_catalog", max_price=3)).items == ["i02"]
    told = talk.say("any coupon for soda", call("deals", query="soda"))
    assert (told.items, told.sentences[0]) == (["i00"], "There is no coupon of yours for that now; these are promoted.")
    assert guest.say("my coupons", call("deals")).sentences[0] == told.sentences[0]
    evidence = told.reply.evidence
    assert not unsupported(told.reply.content, evidence, items=shop().catalog.items)


def test_whether_one_item_is_on_sale_is_answered(talk: Talk) -> None:
    """Yes with what the record says, no as what is known; never silence."""
    talk.say("shredded cheese", call("search_catalog", query="shredded cheese"))
    places = {
        card.recommendation.item.item_id: at
        for at, card in enumerate(talk.say("again", call("search_catalog", query="shredded cheese")).cards, 1)
    }
    for item_id, said in (("i07", "this week's ad"), ("i06", "I know of no promotion of")):
        told = talk.say("is it on sale", call("lookup_catalog", positions=[places[item_id]]))
        assert said in told.text
        assert not unsupported(told.reply.content, told.reply.evidence, items=shop().catalog.items), told.text


def test_that_nothing_is_on_offer_is_said(talk: Talk, guest: Talk, tmp_path: Path) -> None:
    """No near miss, no list."""
    told = talk.say("is steak on offer", call("deals", query="beef steak"))
    assert (told.items, told.sentences) == ([], ["Nothing on offer here fits beef steak."])
    told = talk.say("deals under $1", call("deals", max_price=1))
    assert (told.items, told.sentences) == ([], ["Nothing on offer here fits (under $1)."])
    (tmp_path / "bare").mkdir()
    bare = Talk(tmp_path / "bare", user_id="u0", shop=replace(shop(), deals=Deals.none(12)))
    told = bare.say("any coupons", call("deals"))
    assert (told.items, told.sentences) == ([], ["Nothing is on promotion now, and there is no coupon of yours."])
    assert told.reply.acts == ("recommend", "decline")


def test_age_restricted_goods_are_on_offer_only_by_name(talk: Talk) -> None:
    """The rule of every list: asked for by name, and by no one who is too young."""
    assert talk.say("is beer on offer", call("deals", query="beer")).items == ["i11"]
    young = talk.say("i'm 15, is beer on sale", call("deals", query="beer"))
    assert young.items == []


def test_the_button_asks_for_the_same(talk: Talk, guest: Talk) -> None:
    """Offered where there is something on offer."""
    told = talk.say("hi", call("chat", topic="hello"))
    assert "What is on offer" in told.finished.quick_replies
    assert len(talk.press(QUICK["What is on offer"]).items) == 5


def test_the_card_shows_the_note_and_nothing_in_it_runs(talk: Talk) -> None:
    """A note is the owner's text: shown as it stands, said by nobody."""
    told = talk.say("is cat litter on sale", call("deals", query="cat litter"))
    page = cards(told.cards, turn=1, live=True)
    assert "2 for &lt;b&gt;$5&lt;/b&gt;" in page
    assert "$5" not in told.text
    assert "In this week&#x27;s ad" in cards(
        talk.say("soda on sale?", call("deals", query="soda")).cards, turn=1, live=True
    )


def test_a_wish_for_offers_is_read_back(talk: Talk) -> None:
    """It is kept between turns, in a file."""
    wish = Wish(deal=True, on_offer=frozenset({"i00", "i07"}), max_price=3)
    assert wish_from_json(wish_to_json(wish)) == wish


def test_the_catalogue_s_filter_and_the_item_s_agree() -> None:
    """One rule, read twice."""
    items = twelve_items()
    keeps = Keeps(items, rows_with={})
    for wish in (
        Wish(deal=True),
        Wish(deal=True, on_offer=frozenset({"i00", "i11", "gone"})),
        Wish(on_offer=frozenset()),
    ):
        assert keeps.mask(wish).tolist() == [not broken(item, wish) for item in items]
    assert broken(items[1], Wish(deal=True, on_offer=frozenset({"i00"}))) == ("deal",)


FACTS = {
    "ad": Fact(kind="promotion", words=(AD,)),
    "display": Fact(kind="promotion", words=("on display",)),
    "note": Fact(kind="promotion", words=("2 for $5",)),
    "coupon": Fact(kind="coupon"),
}


def shown(*facts: Fact) -> Recommendation:
    item = Item(item_id="i07", title="Shredded cheese, 8 oz, name brand", price=3.1)
    return Recommendation(item=item, score=1.0, parts=(Part(name="deal", value=1.0, facts=facts),))


def evidence(row: Recommendation) -> dict[str, object]:
    facts = [{"part": "deal", "kind": f.kind, "words": list(f.words)} for p in row.parts for f in p.facts]
    return {"items": [{"item_id": "i07", "position": 1, "facts": facts}], "labels": ["shredded cheese"]}


@pytest.mark.parametrize("name", FACTS)
def test_no_deal_is_said_without_its_fact(name: str) -> None:
    """Promise: both checkers pass every wording with its fact, and refuse it with none or another."""
    kind, values = fact_form(FACTS[name], 1)
    others = [shown(), *(shown(fact) for other, fact in FACTS.items() if other != name)]
    if name == "note":  # said as "on promotion", which holds of any promotion
        others = [shown(), shown(FACTS["coupon"])]
    items = {"i07": shown().item}
    said = [sentence for text in load_replies()[kind] if (sentence := filled(text, values))]
    assert len(said) >= 15
    for sentence in said:
        own = Spoken(rows={1: shown(FACTS[name])})
        assert supported(sentence, own), sentence
        assert not unsupported(readable(sentence, own.rows), evidence(own.rows[1]), items=items), sentence
        for other in others:
            assert not supported(sentence, Spoken(rows={1: other})), (sentence, other.facts)
            text = readable(sentence, {1: other})
            assert unsupported(text, evidence(other), items=items), (text, other.facts)


def test_what_is_said_of_a_list_on_offer_is_true(talk: Talk) -> None:
    """Every opening passes both checkers over a list whose items are on offer, and fails where one is not."""
    rows = {1: shown(FACTS["ad"]), 2: shown(FACTS["coupon"])}
    for text in load_replies()["list.on_offer"]:
        for label in ("on offer", "on offer (under $5)"):
            sentence = filled(text, {"count": 2, "label": label})
            assert sentence is not None
            spoken = Spoken(rows=rows, wishes=(Wish(deal=True, max_price=5),), labels=(label,))
            assert supported(sentence, spoken), sentence
            assert not supported(sentence, replace(spoken, rows={1: rows[1], 2: shown()})), sentence


@pytest.mark.parametrize(
    "sentence",
    [
        "[1] is on sale.",
        "[1] is a deal.",
        "[1] is half off.",
        "[1] is discounted.",
        "[1] is cheaper now.",
        "[1] is on special.",
    ],
)
def test_no_discount_is_ever_said(sentence: str) -> None:
    """A promotion says where it is shown, not that it costs less than it did: no record has that."""
    assert not supported(sentence, Spoken(rows={1: shown(*FACTS.values())}))
