"""What each tool does with what a model asks of it, in the twelve-item shop."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from agent.events import Listed
from agent.tools import TOO_YOUNG
from retrieval.keeps import Keeps
from retrieval.quantity import item_quantity
from retrieval.records import Item
from retrieval.shop import Shop
from retrieval.wish import Wish, broken, stems
from tests.scripted_model import call
from tests.shops import small_source
from tests.small_shop import Talk, Told, small_shop

NINTH = "There is no number 9: the last list has 5 items. Which one do you mean?"
NO_LIST = "I have not shown you a list yet. Tell me what you are looking for."


@pytest.fixture
def talk(tmp_path: Path) -> Talk:
    """A talk with a shopper who buys the even items, the soda (i00) every week."""
    return Talk(tmp_path, user_id="u0")


@pytest.fixture
def guest(tmp_path: Path) -> Talk:
    return Talk(tmp_path)


def prices(told: Told) -> list[float]:
    return [card.recommendation.item.price or 0 for card in told.cards]


def amount(item_id: str) -> float:
    quantity = item_quantity(small_shop().catalog.items[item_id])
    assert quantity is not None
    return quantity.amount


def five(talk: Talk) -> Told:
    """Have a list of five shown."""
    told = talk.say("what do I usually get", call("recommend"))
    assert len(told.items) == 5
    return told


# search_catalog


def test_words_find_the_thing_and_nothing_beside_it(talk: Talk) -> None:
    """A short list of what was asked, not the shop's nearest things."""
    assert set(talk.say("shredded cheese", call("search_catalog", query="shredded cheese")).items) == {"i06", "i07"}
    assert talk.say("kitty litter", call("search_catalog", query="cat litter")).items == ["i03"]


def test_a_bound_holds_for_every_item_shown(talk: Talk) -> None:
    """Filters are exact: at the bound is in, past it is out."""
    at = talk.say("shredded cheese, 3.10 at most", call("search_catalog", query="shredded cheese", max_price=3.1))
    assert set(at.items) == {"i06", "i07"}
    past = talk.say("shredded cheese under 3.09", call("search_catalog", query="shredded cheese", max_price=3.09))
    assert past.items == ["i06"]
    assert talk.say("cheese over $3", call("search_catalog", query="shredded cheese", min_price=3)).items == ["i07"]


def test_nothing_that_fits_is_said_with_what_stands_in_the_way(talk: Talk) -> None:
    """An empty list is honest: no near miss is passed off as a hit, and the act says so."""
    told = talk.say("shredded cheese under $1", call("search_catalog", query="shredded cheese", max_price=1))
    assert told.of(Listed) == []
    assert told.sentences == [
        "Nothing in this shop fits shredded cheese (under $1).",
        "The cheapest one here costs $2.",
    ]
    assert told.reply.acts == ("recommend", "decline")
    assert told.reply.items == ()


def test_what_the_shop_does_not_carry_is_said(talk: Talk) -> None:
    """No substitute nobody asked for."""
    told = talk.say("laptop", call("search_catalog", query="laptop"))
    assert (told.items, told.sentences) == ([], ["Nothing in this shop fits laptop."])


def test_brand_size_demands_and_exclusions_are_kept(talk: Talk) -> None:
    """Each kind of wish filters by the item's own record."""
    brand = talk.say(
        "store brand shredded cheese", call("search_catalog", query="shredded cheese", brand="store brand")
    )
    assert brand.items == ["i06"]
    brand = talk.say("name brand shredded cheese", call("search_catalog", query="shredded cheese", brand="name brand"))
    assert brand.items == ["i07"]
    size = talk.say("ice cream 48 oz", call("search_catalog", query="ice cream", size="48 oz"))
    assert size.items == ["i10"]
    having = talk.say("ice cream with vanilla", call("search_catalog", query="ice cream", having=["vanilla"]))
    assert having.items == ["i10"]
    without = talk.say("ice cream without chocolate", call("search_catalog", query="ice cream", without=["chocolate"]))
    assert "i09" not in without.items


def test_a_wish_that_cannot_be_carried_out_is_said(talk: Talk) -> None:
    """Never dropped silently: an unknown brand, a size that is none, a size the shop does not have."""
    brand = talk.say("Acme cheese", call("search_catalog", query="shredded cheese", brand="Acme"))
    assert "No brand here is called Acme, so I left that out." in brand.sentences
    size = talk.say("cheese, 40 oz", call("search_catalog", query="shredded cheese", size="40 oz"))
    assert (size.items, size.sentences[0]) == ([], "Not in 40 oz; the sizes here are 8 oz.")
    label = talk.say("organic cheese", call("search_catalog", query="shredded cheese", having=["organic"]))
    assert label.items == []
    assert label.sentences[-1] == "I looked for organic on the labels, and none of them says so."


def test_what_no_label_tells_of_is_not_promised_to_be_left_out(talk: Talk) -> None:
    """As in "bread without gluten": a list of any bread, called "without gluten", was a lie that can hurt."""
    told = talk.say("milk without gluten", call("search_catalog", query="milk", without=["gluten"]))
    assert told.sentences[0] == "I can't leave out gluten: no label here tells of it."
    assert told.items[0] == "i08" and "text_none" not in told.reply.evidence["wish"]
    told = talk.say("I'm allergic to gluten", call("remember", kind="avoid", text="gluten"))
    assert told.sentences == [
        "I'll remember to leave out gluten, but no label here tells of it, so please check the packs."
    ]


def test_free_of_something_must_stand_on_the_label(talk: Talk) -> None:
    """As in "gluten free bread?", planned as one query: breads that say nothing of gluten were listed under that name."""
    told = talk.say("gluten free milk?", call("search_catalog", query="gluten free milk"))
    assert (told.items, told.sentences) == (
        [],
        [
            "Nothing in this shop fits milk (gluten free).",
            "I looked for gluten free on the labels, and none of them says so.",
        ],
    )


def test_what_a_thing_is_free_of_is_not_in_it(tmp_path: Path) -> None:
    """As in "lactose-free milk": it was hidden from who wants no lactose, and took for told what no other label tells."""
    free = Item(item_id="f", title="Lactose-free milk, 64 oz", description="Non-dairy.", brand="Kraft", price=3.0)
    items = [
        free,
        Item(item_id="m", title="Milk, 1 gallon", price=2.0),
        Item(item_id="d", title="Dairy dip", price=1.0),
    ]
    items.append(Item(item_id="p", title="Yogurt, multipack, 4 pack", price=4.0))
    rows_with: dict[str, list[int]] = {}
    for row, item in enumerate(items):
        for word in set(stems(item.text)):
            rows_with.setdefault(word, []).append(row)
    keeps = Keeps(items, rows_with={word: np.array(rows) for word, rows in rows_with.items()})
    for phrase, told in (
        ("multi packs", [3]),
        ("lactose", []),
        ("dairy", [2]),
        ("lactose free", [0]),
        ("kraft", [0]),
        ("ilk", [0, 1]),
    ):
        assert keeps.telling(phrase).tolist() == told, phrase
        kept = [item for item in items if not broken(item, Wish(text_none=(phrase,)))]
        assert [item.item_id for item in kept] == [item.item_id for row, item in enumerate(items) if row not in told], (
            phrase
        )


def test_nothing_expensive_is_about_no_label(talk: Talk) -> None:
    """The cheapest come first, and nobody is told that no label tells of "expensive"."""
    for asked in (
        call("search_catalog", query="shredded cheese", without=["expensive"]),
        call("recommend", without=["expensive ones"]),
    ):
        told = talk.say("some shredded cheese, nothing expensive", asked)
        assert told.items and prices(told) == sorted(prices(told))
        assert not any("leave out" in sentence for sentence in told.sentences)


def test_a_clause_that_names_something_whole_is_not_the_whole_message(talk: Talk) -> None:
    """As in "the stuff for hair, after shampoo", planned as conditioner: shampoo was searched for."""
    told = talk.say("uh.. the thing you want for films, after soda", call("search_catalog", query="popcorn"))
    assert told.items == ["i02"]


def test_an_ordinary_thing_needs_no_label_that_says_so(talk: Talk) -> None:
    """As in "just normal wheat bread": no label says "normal"."""
    told = talk.say("just normal milk", call("search_catalog", query="milk", having=["normal"]))
    assert told.items[0] == "i08"


def test_a_taste_that_no_label_tells_of_hides_no_shelf(talk: Talk) -> None:
    """As in "ice cream, strawberry": nothing was shown, where no label in the shop tells of that taste."""
    told = talk.say("soda, cherry please", call("search_catalog", query="soda", having=["cherry"]))
    assert told.items == ["i00"]
    assert told.sentences[0] == "No label here says cherry, so I left that out."
    assert talk.say("vegan soda", call("search_catalog", query="soda", having=["vegan"])).items == []
    assert talk.say("soda", call("search_catalog", query="soda")).items == ["i00"]
    assert talk.say("cherry?", call("search_catalog", having=["cherry"])).items == []


def test_a_refinement_keeps_the_wish(talk: Talk) -> None:
    """A bare "store brand" after a search is that search with one bound more, then with two."""
    talk.say("shredded cheese under $5", call("search_catalog", query="shredded cheese", max_price=5))
    assert talk.say("store brand", call("search_catalog", brand="store brand")).items == ["i06"]
    last = talk.say("and without pizza", call("search_catalog", without=["pizza"]))
    assert last.items == []
    assert last.sentences[0] == "Nothing in this shop fits shredded cheese (under $5, store brand, without pizza)."


def test_another_thing_that_a_message_starts_with_is_no_refinement(talk: Talk) -> None:
    """What was planned as tacos of the store brand: "cheese for tacos, store brand", said after tacos were searched for."""
    talk.say("steak sauce", call("search_catalog", query="steak sauce"))
    assert talk.say("popcorn for the sauce, store brand", call("search_catalog", brand="store brand")).items == ["i02"]
    talk.say("steak sauce", call("search_catalog", query="steak sauce"))
    again = call("search_catalog", query="steak sauce", brand="store brand")
    assert talk.say("popcorn for the sauce, store brand", again).items == ["i02"]
    talk.say("shredded cheese", call("search_catalog", query="shredded cheese"))
    for said in ("store brand", "shredded cheese, store brand", "the popcorn one, store brand"):
        told = talk.say(said, call("search_catalog", brand="store brand"))
        assert told.items == ["i06"], said


def test_a_word_that_nobody_said_gives_way_to_what_the_message_names(talk: Talk) -> None:
    """A search for "smoking" finds nothing, and was planned for "pack of smokes"; what was said stays what is searched for."""
    assert talk.say("a crate of beer", call("search_catalog", query="zorbing")).items == ["i11"]
    assert talk.say("no beer but zorbing", call("search_catalog", query="zorbing")).items == []


def test_a_word_that_was_asked_for_twice_is_matched_once(talk: Talk) -> None:
    """A reason read "matches whole bean coffee whole bean"."""
    told = talk.say("dry cat food", call("search_catalog", query="dry cat food", having=["dry cat"]))
    assert [
        fact["words"] for item in told.reply.evidence["items"] for fact in item["facts"] if fact["kind"] == "matches"
    ] == [["dry", "cat", "food"]]


def test_past_purchases_and_their_absence_are_wishes_too(talk: Talk) -> None:
    """What was bought before and what never was: the history decides, not the model."""
    both = {"i06", "i07"}
    query = {"query": "shredded cheese"}
    assert set(talk.say("shredded cheese", call("search_catalog", **query)).items) == both
    assert talk.say("my usual cheese", call("search_catalog", bought="again", **query)).items == ["i06"]
    assert talk.say("a cheese I never had", call("search_catalog", bought="new", **query)).items == ["i07"]


def test_a_new_shopper_has_no_usual_things(guest: Talk) -> None:
    """Said plainly; no popular item is passed off as theirs."""
    told = guest.say("my usual cheese", call("search_catalog", query="shredded cheese", bought="again"))
    assert told.sentences[0] == "I have no past purchases of yours on record, so these are from the whole shop."
    assert set(told.items) == {"i06", "i07"}
    told = guest.say("my usual shop", call("recommend", bought="again"))
    assert (told.items, told.sentences) == ([], ["I have no past purchases of yours on record."])


@pytest.mark.parametrize("sort", ["cheapest", "dearest", "biggest", "smallest"])
def test_a_sorted_list_is_in_that_order(talk: Talk, sort: str) -> None:
    """By price or by size, as asked."""
    told = talk.say(f"{sort} cheese first", call("search_catalog", query="shredded cheese", sort=sort))
    if sort in ("cheapest", "dearest"):
        assert prices(told) == sorted(prices(told), reverse=sort == "dearest")
    amounts = [amount(item_id) for item_id in told.items]
    assert len(told.items) == 2
    assert sort in ("cheapest", "dearest") or amounts == sorted(amounts, reverse=sort == "biggest")


def test_two_needs_in_one_message_are_one_list_with_something_of_each(talk: Talk) -> None:
    """Each is looked for by itself; "the second one" counts through the whole list."""
    told = talk.say(
        "milk and cat food", call("search_catalog", query="whole milk"), call("search_catalog", query="dry cat food")
    )
    assert set(told.items) == {"i08", "i01"}
    assert len(told.of(Listed)) == 1
    looked = talk.say("tell me about number 2", call("lookup_catalog", positions=[2]))
    assert looked.reply.evidence["about"] == [told.items[1]]


def test_the_same_thing_asked_twice_is_not_said_to_be_missing(talk: Talk) -> None:
    """The second search finds only what is in the list already: no reason to say that nothing fits."""
    told = talk.say(
        "shredded cheese, cheese",
        call("search_catalog", query="shredded cheese"),
        call("search_catalog", query="cheese, shredded"),
    )
    assert set(told.items) == {"i06", "i07"}
    assert not any("Nothing" in sentence for sentence in told.sentences)


# age-restricted goods


@pytest.mark.parametrize(
    "asked",
    [
        call("recommend"),
        call("recommend", bought="again"),
        call("recommend", bought="new"),
        call("goes_with", query="dry cat food"),
        call("similar_items", query="soda"),
        call("search_catalog", query="something to drink"),
        call("search_catalog", query="beer"),
        call("similar_items", query="beer"),
        call("goes_with", query="beer"),
        call("lookup_catalog", query="beer"),
    ],
    ids=lambda one: f"{one.name} {one.arguments}",
)
def test_beer_is_never_shown_unasked(tmp_path: Path, asked: object) -> None:
    """Not from the shopper's own history (u1 buys it every other week), not when the model alone thinks of it."""
    talk = Talk(tmp_path, user_id="u1")
    assert small_shop().history.bought("u1", "i11")
    told = talk.say("something for tonight", asked)  # type: ignore[arg-type]
    assert "i11" not in told.items
    assert "eer" not in told.text.replace("beef", "")


def test_beer_is_shown_when_asked_for_and_counts_as_usual(tmp_path: Path) -> None:
    """Asked for by name, it is goods like any other."""
    talk = Talk(tmp_path, user_id="u1")
    assert talk.say("beer please", call("search_catalog", query="beer")).items == ["i11"]
    assert talk.say("is the beer dear?", call("lookup_catalog", query="beer")).reply.acts == ("details",)
    assert talk.say("add the beer", call("update_cart", action="add", query="beer")).cart == (("i11", 1),)


@pytest.mark.parametrize(("age", "shown"), [(20, []), (21, ["i11"])])
def test_beer_is_not_sold_to_who_says_to_be_too_young(tmp_path: Path, age: int, shown: list[str]) -> None:
    """At the legal age it is shown, a year below it is not, whatever is asked for later in the talk."""
    talk = Talk(tmp_path)
    assert talk.say(f"im {age}, can i get beer", call("search_catalog", query="beer")).items == shown
    assert talk.say("beer!!", call("search_catalog", query="beer")).items == shown


def test_an_age_told_late_holds_for_the_list_on_the_table(tmp_path: Path) -> None:
    """Neither refined nor put into the cart."""
    talk = Talk(tmp_path)
    assert talk.say("beer", call("search_catalog", query="beer")).items == ["i11"]
    told = talk.say("i'm 16 btw, under 20 dollars?", call("search_catalog", max_price=20))
    assert (told.items, told.text) == ([], TOO_YOUNG)
    told = talk.say("add it", call("update_cart", action="add", positions=[1]))
    assert (told.cart, told.text) == (None, TOO_YOUNG)


def test_a_question_offers_nothing_that_would_be_refused(tmp_path: Path) -> None:
    """Age-restricted kinds are no answers to a question that did not ask for them, nor to who is too young."""
    talk = Talk(tmp_path)
    told = talk.say("I'm 16, what beer do you have", call("ask_shopper", query="beer"))
    assert (told.asked, told.items) == ([], [])
    assert TOO_YOUNG in told.sentences


def test_the_legal_age_is_a_setting(tmp_path: Path) -> None:
    """Elsewhere it is 18."""
    beer = call("search_catalog", query="beer")
    assert Talk(tmp_path, adult_age=18).say("im 18, beer", beer).items == ["i11"]
    assert Talk(tmp_path / "other", adult_age=18).say("im 17, beer", beer).items == []


# recommend


def test_the_usual_shop_is_what_was_bought_most(talk: Talk) -> None:
    """Only what this shopper bought, the weekly soda among it."""
    told = talk.say("my usual", call("recommend", bought="again"))
    assert "i00" in told.items
    assert all(small_shop().history.bought("u0", item_id) for item_id in told.items)


def test_something_new_was_never_bought(talk: Talk) -> None:
    """New to this shopper, every one."""
    told = talk.say("something new", call("recommend", bought="new"))
    assert told.items
    assert not any(small_shop().history.bought("u0", item_id) for item_id in told.items)


def test_a_recommendation_keeps_to_its_bounds(talk: Talk) -> None:
    """Price, brand and exclusions hold without a query too."""
    told = talk.say(
        "store brand under $3, no popcorn",
        call("recommend", max_price=3, brand="store brand", without=["popcorn"]),
    )
    assert told.items
    assert set(told.items) <= {"i06", "i08"}


# similar_items


def test_cheaper_and_dearer_are_strictly_so(talk: Talk) -> None:
    """Than the item that was pointed at, whose price is said rightly."""
    talk.say("dearest shredded cheese", call("search_catalog", query="shredded cheese", sort="dearest"))
    cheaper = talk.say("cheaper than the first", call("similar_items", position=1, than="cheaper"))
    assert cheaper.items
    assert max(prices(cheaper)) < 3.1
    talk.say("cheapest shredded cheese", call("search_catalog", query="shredded cheese", sort="cheapest"))
    dearer = talk.say("something dearer", call("similar_items", position=1, than="dearer"))
    assert dearer.items
    assert min(prices(dearer)) > 2.0


@pytest.fixture(scope="module")
def sizes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """Open the small shop with shredded cheese in two more sizes."""
    from dataclasses import replace

    from retrieval.prepare import prepare

    source, folder = small_source(), tmp_path_factory.mktemp("sizes")
    cheese = next(item for item in source.items if item.item_id == "i06")
    more = [
        replace(cheese, item_id=f"s{ounces}", title=f"Shredded cheese, {ounces} oz, store brand", price=ounces / 4)
        for ounces in (4, 16)
    ]
    more = [replace(item, attributes={**item.attributes, "size": item.title.split(", ")[1].upper()}) for item in more]
    prepare(replace(source, items=[*source.items, *more]), shop=folder)
    with Shop.open(folder) as shop:
        yield shop


def test_bigger_and_smaller_are_strictly_so(sizes: Shop, tmp_path: Path) -> None:
    """By the size on the label, and of the same thing."""
    talk = Talk(tmp_path, shop=sizes)
    for than, wanted in (("bigger", {"s16"}), ("smaller", {"s4"})):
        talk.say("8 oz cheese", call("search_catalog", query="shredded cheese", size="8 oz"))
        assert set(talk.say(than, call("similar_items", position=1, than=than)).items) == wanted


def test_a_size_gives_way_to_another(sizes: Shop, tmp_path: Path) -> None:
    """As in "16 oz" and then "4 oz": the second is not looked for among the first."""
    talk = Talk(tmp_path, shop=sizes)
    assert talk.say("16 oz cheese", call("search_catalog", query="shredded cheese", size="16 oz")).items == ["s16"]
    assert talk.say("4 oz then", call("search_catalog", size="4 oz")).items == ["s4"]
    asked = call("search_catalog", query="shredded cheese", size="16 oz")
    assert talk.say("a 16 oz bag of shredded cheese", asked).items == ["s16"]
    assert talk.say("how about 4 oz", call("search_catalog", size="4 oz")).items == ["s4"]


def test_a_word_that_names_nothing_qualifies_what_was_wished_for(talk: Talk) -> None:
    """As in "cheese" and then "for pizza": searched for alone, it would find whatever else says so."""
    talk.say("something from the dairy or the freezer", call("search_catalog", query="ice cream"))
    told = talk.say("vanilla", call("search_catalog", query="vanilla"))
    assert told.items == ["i10"]
    assert "vanilla" in told.reply.evidence["wish"].get("text_all", ())
    assert talk.say("milk", call("search_catalog", query="milk")).items[0] == "i08"


def test_nothing_unlike_is_cheaper(talk: Talk) -> None:
    """A cheaper thing of another kind is no answer to "cheaper"; that there is none is said, and by what it holds."""
    talk.say("popcorn", call("search_catalog", query="popcorn"))
    told = talk.say("cheaper", call("similar_items", position=1, than="cheaper"))
    assert (told.items, told.sentences) == ([], ["Nothing like it here is cheaper than popcorn."])
    told = talk.say("without nuts then", call("search_catalog", without=["nuts"]))
    assert told.items == ["i02"], "the list before is still on the table, and what is said narrows it"
    told = talk.say("popcorn under $1", call("search_catalog", query="popcorn", max_price=1))
    assert told.sentences[-1] == "The cheapest one here costs $2.50."
    assert told.reply.evidence["near"] == ["i02"]


def test_there_may_be_nothing_bigger(talk: Talk) -> None:
    """Said; nothing unlike is passed off as a bigger one."""
    talk.say("popcorn", call("search_catalog", query="popcorn"))
    told = talk.say("a bigger one", call("similar_items", position=1, than="bigger"))
    assert (told.items, told.sentences) == ([], ["Nothing like it here is bigger than popcorn."])


def test_the_other_brand_of_the_same_thing(talk: Talk) -> None:
    """As in "the store brand one of that"."""
    talk.say("name brand cheese", call("search_catalog", query="shredded cheese", brand="name brand"))
    told = talk.say("store brand of that", call("similar_items", position=1, brand="store brand"))
    assert told.items[0] == "i06"
    assert all(card.recommendation.item.attributes["brand_tier"] == "Private" for card in told.cards)


def test_something_else_shows_nothing_twice(talk: Talk) -> None:
    """Until there is nothing left, which is said."""
    seen = set(five(talk).items)
    while items := talk.say("something else", call("similar_items")).items:
        assert not seen & set(items)
        seen |= set(items)
    assert len(seen) == 11  # all but the beer


def test_an_item_without_a_price_is_not_compared_by_price(tmp_path: Path) -> None:
    """Nothing can be cheaper than an unknown price."""
    from dataclasses import replace

    from agent.context import Turn
    from agent.limits import Limits
    from agent.outcome import Problem
    from agent.turn import _run
    from retrieval.records import Recommendation

    item = replace(small_shop().catalog.items["i06"], price=None)
    shown = (Recommendation(item=item, score=1.0, parts=()),)
    turn = Turn(shop=small_shop(), limits=Limits(), user_id=None, message="cheaper", shown=shown)
    outcome, _ = _run(call("similar_items", position=1, than="cheaper"), turn)
    assert outcome == Problem(text="There is no price on record for shredded cheese to compare with.", act="recommend")


# goes_with


def test_what_goes_with_an_item_is_of_another_kind(talk: Talk) -> None:
    """Bought in the same baskets, and not the item itself."""
    told = talk.say("what goes with soda", call("goes_with", query="soda"))
    assert told.items
    assert "i00" not in told.items
    assert set(told.items) <= {"i02", "i04", "i06", "i08", "i10"}


def test_what_goes_with_the_cart_is_not_in_it(talk: Talk) -> None:
    """The whole cart counts."""
    talk.say("add soda", call("update_cart", action="add", query="soda"))
    talk.say("add popcorn", call("update_cart", action="add", query="popcorn"))
    told = talk.say("what goes with my cart", call("goes_with"))
    assert told.items
    assert not {"i00", "i02"} & set(told.items)


def test_an_empty_cart_goes_with_nothing(guest: Talk) -> None:
    """Said, with what to do; no list out of thin air."""
    told = guest.say("what goes with my cart", call("goes_with"))
    assert told.items == []
    assert told.sentences == ["Your cart is empty, so I have nothing to match. Name an item to start from."]


# lookup_catalog


def test_one_position_is_told_in_detail_and_several_are_compared(talk: Talk) -> None:
    """The act follows from how many are pointed at; no new list is shown."""
    shown = five(talk).items
    one = talk.say("tell me about the second", call("lookup_catalog", positions=[2]))
    assert (one.reply.acts, one.reply.evidence["about"], one.items) == (("details",), [shown[1]], [])
    two = talk.say("compare 1 and 3", call("lookup_catalog", positions=[1, 3]))
    assert (two.reply.acts, two.reply.evidence["about"]) == (("compare",), [shown[0], shown[2]])
    both = [small_shop().catalog.items[shown[n]].price or 0 for n in (0, 2)]
    assert f"${max(both) - min(both):.2f}" in two.text or both[0] == both[1]


def test_the_ninth_of_five_is_asked_back(talk: Talk) -> None:
    """By every tool that takes a position, and nothing changes."""
    five(talk)
    for asked in (
        call("lookup_catalog", positions=[9]),
        call("lookup_catalog", positions=[1, 9]),
        call("explain", position=9),
        call("similar_items", position=9, than="cheaper"),
        call("goes_with", position=9),
        call("update_cart", action="add", positions=[1, 9]),
        call("update_cart", action="remove", positions=[9]),
        call("remember", kind="like", position=9),
        call("forget", position=9),
    ):
        told = talk.say("the ninth one", asked)
        assert (asked.name, told.sentences) == (asked.name, [NINTH])
        assert (told.items, told.reply.acts) == ([], ("ask",))
    assert (talk.cart, talk.memory) == ((), [])


def test_a_position_before_any_list_is_no_crash(guest: Talk) -> None:
    """As when "the second one" is the first message."""
    for asked in (
        call("lookup_catalog", positions=[2]),
        call("lookup_catalog"),
        call("explain", position=2),
        call("explain"),
        call("explain", query="milk"),
        call("similar_items", position=2),
        call("similar_items", than="cheaper"),
        call("goes_with", position=2),
        call("update_cart", action="add", positions=[2]),
        call("remember", kind="like", position=2),
        call("forget", position=2),
    ):
        told = guest.say("the second one", asked)
        assert (asked, told.sentences) == (asked, [NO_LIST])


def test_a_name_is_looked_for_in_the_list_first(talk: Talk) -> None:
    """What "the cheese" means is on the screen, not what the shop sells most of."""
    talk.say("name brand cheese", call("search_catalog", query="shredded cheese", brand="name brand"))
    told = talk.say("tell me about the cheese", call("lookup_catalog", query="the cheese"))
    assert told.reply.evidence["about"] == ["i07"]


def test_a_name_that_is_not_shown_is_looked_for_in_the_shop(talk: Talk) -> None:
    """And becomes the list that the next "it" means."""
    told = talk.say("how much is cat litter", call("lookup_catalog", query="cat litter"))
    assert (told.items, told.reply.acts) == (["i03"], ("details",))
    assert "$6.99" in told.text
    assert talk.say("add it", call("update_cart", action="add")).cart == (("i03", 1),)


def test_a_name_that_the_shop_does_not_know_is_said(talk: Talk) -> None:
    """No nearest thing in its place."""
    for asked in (
        call("lookup_catalog", query="laptop"),
        call("goes_with", query="laptop"),
        call("similar_items", query="laptop"),
    ):
        assert talk.say("laptop", asked).sentences == ["This shop does not carry laptop."]


# explain


def test_why_reads_the_record_of_the_list_that_was_shown(talk: Talk) -> None:
    """The facts told are those that were kept with the list, to the word."""
    shown = five(talk)
    for position in (1, 3, 5):
        told = talk.say(f"why number {position}", call("explain", position=position))
        (row,) = told.reply.evidence["looked"]
        kept = shown.reply.evidence["items"][position - 1]
        assert row == {name: value for name, value in kept.items() if name != "reason"}
        assert told.reply.acts == ("explain",)
        assert told.items == []


def test_why_by_name_and_without_a_name(talk: Talk) -> None:
    """A name among those shown; nothing named: the first."""
    shown = five(talk).items
    assert talk.say("why", call("explain")).reply.evidence["about"] == [shown[0]]
    name = small_shop().catalog.items[shown[2]].title.split(",")[0]
    assert talk.say(f"why the {name}", call("explain", query=name)).reply.evidence["about"] == [shown[2]]


def test_why_not_names_the_wish_that_the_item_breaks(talk: Talk) -> None:
    """Read off the wish that was in force; and what is said to show it does, at that place, when it is asked for."""
    cheese = call("search_catalog", query="shredded cheese")
    place = talk.say("shredded cheese", cheese).items.index("i07") + 1
    talk.say("store brand shredded cheese", call("search_catalog", query="shredded cheese", brand="store brand"))
    told = talk.say("why not the name brand", call("explain", query="name brand", why_not=True))
    assert told.sentences == [
        "I left out shredded cheese at $3.10: it is not of the brand or kind you asked for.",
        f"It would be number {place} if you did not ask for store brand.",
    ]
    place = (
        talk.say("up to $3.10", call("search_catalog", query="shredded cheese", max_price=3.1)).items.index("i07") + 1
    )
    talk.say("shredded cheese under $3", call("search_catalog", query="shredded cheese", max_price=3))
    told = talk.say("why not the name brand one", call("explain", query="name brand", why_not=True))
    assert told.sentences == [
        "I left out shredded cheese at $3.10: it costs more than you wanted to pay.",
        f"It would be number {place} if you allowed up to $3.10.",
    ]


def test_why_not_of_what_is_in_the_list_says_why(talk: Talk) -> None:
    """It is not said to be missing, nor not carried."""
    talk.say("shredded cheese", call("search_catalog", query="shredded cheese"))
    told = talk.say("why no cheese?", call("explain", query="shredded cheese", why_not=True))
    assert told.reply.evidence["about"][0] in ("i06", "i07")
    assert "does not carry" not in told.text


def test_why_not_of_what_the_shop_lacks(talk: Talk) -> None:
    """Plainly: it does not carry it."""
    five(talk)
    assert talk.say("why no laptop", call("explain", query="laptop", why_not=True)).sentences == [
        "This shop does not carry laptop."
    ]


# update_cart


def test_the_cart_is_filled_shown_and_emptied(talk: Talk) -> None:
    """Titles, quantities and the total are the shop's own."""
    talk.say("cheapest shredded cheese", call("search_catalog", query="shredded cheese", sort="cheapest"))
    told = talk.say("add both", call("update_cart", action="add", positions=[1, 2]))
    assert told.cart == talk.cart == (("i06", 1), ("i07", 1))
    assert told.sentences == [
        "Added Shredded cheese, 8 oz, store brand and Shredded cheese, 8 oz, name brand.",
        "Your cart holds 2 items, $5.10 in all.",
    ]
    told = talk.say("three more of the first", call("update_cart", action="add", positions=[1], quantity=3))
    assert told.sentences[0] == "Added 3 x Shredded cheese, 8 oz, store brand."
    assert talk.cart == (("i06", 4), ("i07", 1))
    told = talk.say("show it", call("update_cart", action="show"))
    assert told.sentences == [
        "Your cart holds 5 items, $11.10 in all.",
        "4 x Shredded cheese, 8 oz, store brand, $2.00; 1 x Shredded cheese, 8 oz, name brand, $3.10.",
    ]
    told = talk.say("take two of the first out", call("update_cart", action="remove", positions=[1], quantity=2))
    assert (told.sentences[0], talk.cart) == (
        "Took out 2 x Shredded cheese, 8 oz, store brand.",
        (("i06", 2), ("i07", 1)),
    )
    told = talk.say("drop the name brand", call("update_cart", action="remove", query="name brand cheese"))
    assert talk.cart == (("i06", 2),)
    assert talk.say("empty it", call("update_cart", action="clear")).sentences == ["Your cart is empty now."]
    assert talk.cart == ()


def test_how_many_there_should_be_is_set(talk: Talk) -> None:
    """A wish to make it three is three, however many there were, of what was put in last, a place or a name in the cart."""
    talk.say("cheapest shredded cheese", call("search_catalog", query="shredded cheese", sort="cheapest"))
    talk.say("add the second", call("update_cart", action="add", positions=[2]))
    told = talk.say("make that three", call("update_cart", action="set", quantity=3))
    assert talk.cart == (("i07", 3),)
    assert told.sentences == [
        "Now 3 x Shredded cheese, 8 oz, name brand.",
        "Your cart holds 3 items, $9.30 in all.",
    ]
    talk.say("only one of the name brand", call("update_cart", action="set", query="name brand cheese", quantity=1))
    assert talk.cart == (("i07", 1),)
    talk.say("two of the first", call("update_cart", action="set", positions=[1], quantity=2))
    assert talk.cart == (("i07", 1), ("i06", 2))
    asked = talk.say("change the first", call("update_cart", action="set", positions=[1]))
    assert (asked.sentences, asked.reply.acts) == (["How many of it should be in the cart?"], ("ask",))
    assert talk.say("add 2 of it", call("update_cart", action="add", quantity=2)).cart == (("i07", 1), ("i06", 4))


def test_the_cheapest_of_those_shown_is_found_by_code(sizes: Shop, tmp_path: Path) -> None:
    """The model says which end is meant; prices and sizes are compared by code, and only where the message says so."""
    talk = Talk(tmp_path, shop=sizes)
    first = talk.say("put the cheapest in", call("update_cart", action="add", query="cheapest"))
    assert (first.sentences, talk.cart) == (
        ["I have not shown you a list yet. Tell me what you are looking for."],
        (),
    )
    talk.say("shredded cheese", call("search_catalog", query="shredded cheese"))
    talk.say("the cheapest one goes in my cart", call("update_cart", action="add", query="cheapest"))
    assert talk.cart == (("s4", 1),)
    talk.say("and the biggest", call("update_cart", action="add", query="biggest"))
    assert talk.cart == (("s4", 1), ("s16", 1))
    talk.say("no, take the biggest out", call("update_cart", action="remove", query="biggest"))
    assert talk.cart == (("s4", 1),)
    told = talk.say("why the biggest", call("explain", query="biggest"))
    assert (told.reply.acts, told.reply.evidence["about"]) == (("explain",), ["s16"])
    talk.say("add it", call("update_cart", action="add", query="cheapest"))
    assert talk.cart == (("s4", 1), ("s16", 1))  # nobody said "cheapest": it is what was talked about last
    talk.say("shredded cheese", call("search_catalog", query="shredded cheese"))
    for said in ("add the yellow one", "put the smallest in"):
        asked = talk.say(said, call("update_cart", action="add", query="biggest"))
        assert asked.sentences == ["Which one do you mean? Give me its number in the list."], said
    talk.say("add your cheapest soda", call("update_cart", action="add", query="cheapest soda"))
    assert talk.cart == (("s4", 1), ("s16", 1), ("i00", 1))


def test_nothing_is_added_when_it_is_not_clear_which(talk: Talk) -> None:
    """A bare "add it" after a list of five is asked back."""
    five(talk)
    told = talk.say("add it", call("update_cart", action="add"))
    assert (told.sentences, talk.cart) == (["Which one do you mean? Give me its number in the list."], ())


def test_what_is_not_in_the_cart_is_not_taken_out(talk: Talk) -> None:
    """Said, and the cart stays."""
    five(talk)
    talk.say("add the first", call("update_cart", action="add", positions=[1]))
    cart = talk.cart
    assert talk.say("drop the litter", call("update_cart", action="remove", query="cat litter")).sentences == [
        "There is no cat litter in your cart."
    ]
    assert talk.cart == cart


@pytest.mark.parametrize(
    ("message", "query", "left", "said"),
    [
        ("take the cheese out again", "cheese", (("i06", 1),), "Shredded cheese, 8 oz, store brand stays in."),
        ("drop all the cheese", "cheese", (), "Your cart is empty."),
        ("no cheeses", "cheeses", (), "Your cart is empty."),
        ("drop the 8 oz cheese", "cheese 8 oz", (), "Your cart is empty."),
    ],
)
def test_a_name_for_one_thing_takes_out_what_was_put_in_last(
    talk: Talk, message: str, query: str, left: tuple[tuple[str, int], ...], said: str
) -> None:
    """Two milks were lost to "take the milk out again", said right after one of them went in."""
    talk.store.set_cart("u0", [("i06", 1), ("i07", 1)])
    told = talk.say(message, call("update_cart", action="remove", query=query))
    assert talk.cart == left
    assert told.sentences[1] == said


def test_a_size_that_names_a_thing_is_no_count_of_it(talk: Talk) -> None:
    """Sixty-four jars, $319.36, came of "put the store brand 64 in"; six of the 48 oz are six."""
    talk.say("ice cream", call("search_catalog", query="vanilla ice cream"))
    told = talk.say("put the store brand 48 in", call("update_cart", action="add", positions=[1], quantity=48))
    assert (talk.cart, told.sentences[0]) == ((("i10", 1),), "Added Vanilla ice cream, 48 oz, store brand.")
    talk.say("and 20 more of it", call("update_cart", action="add", positions=[1], quantity=20))
    assert talk.cart == (("i10", 21),)


def test_lines_of_the_cart_are_counted_where_there_is_no_list(tmp_path: Path) -> None:
    """As when a new talk begins with "drop number 2", and the cart of the last one is on the screen."""
    talk = Talk(tmp_path, user_id="u0")
    talk.store.set_cart("u0", [("i06", 1), ("i08", 2)])
    assert talk.say("drop number 3", call("update_cart", action="remove", positions=[3])).sentences == [
        "There is no number 3 in your cart."
    ]
    talk.say("drop number 2", call("update_cart", action="remove", positions=[2]))
    assert talk.cart == (("i06", 1),)


def test_the_cart_holds_as_many_as_allowed_and_no_more(tmp_path: Path) -> None:
    """At the limit all is well; just past it the rest stays out and the shopper is told."""
    talk = Talk(tmp_path, user_id="u0", cart_quantity=3, cart_items=2)
    talk.say("cheapest shredded cheese", call("search_catalog", query="shredded cheese", sort="cheapest"))
    assert talk.say("add 3", call("update_cart", action="add", positions=[1], quantity=3)).sentences == [
        "Added 3 x Shredded cheese, 8 oz, store brand.",
        "Your cart holds 3 items, $6 in all.",
    ]
    assert talk.say("one more", call("update_cart", action="add", positions=[1])).sentences == [
        "A cart takes 3 of one item at most.",
        "Your cart holds 3 items, $6 in all.",
    ]
    assert talk.say("add 5", call("update_cart", action="add", positions=[2], quantity=5)).sentences == [
        "Added 3 x Shredded cheese, 8 oz, name brand.",
        "A cart takes 3 of one item at most.",
        "Your cart holds 6 items, $15.30 in all.",
    ]
    assert talk.say("add milk", call("update_cart", action="add", query="whole milk")).sentences == [
        "The cart is full at 2 items, so not everything went in.",
        "Your cart holds 6 items, $15.30 in all.",
    ]
    assert talk.cart == (("i06", 3), ("i07", 3))


def test_two_changes_in_one_message_are_each_told_and_the_total_once(talk: Talk) -> None:
    """What the cart comes to is said after the last change; between them it would soon be wrong."""
    talk.store.set_cart("u0", [("i06", 1)])
    told = talk.say(
        "add milk, then empty my cart",
        call("update_cart", action="add", query="whole milk"),
        call("update_cart", action="clear"),
    )
    assert told.sentences == [
        "Added Whole milk, gallon, store brand.",
        "Your cart is empty now.",
    ]
    assert talk.cart == ()


# remember and forget


def test_avoided_words_stay_out_of_every_later_list(talk: Talk) -> None:
    """Of searches, proposals, similar things and refinements alike, until they are asked for by name."""
    talk.say("shredded cheese", call("search_catalog", query="cheese"))
    told = talk.say("I never want popcorn", call("remember", kind="avoid", text="popcorn"))
    assert (told.sentences, talk.memory) == (["I'll keep popcorn out of your lists."], [("avoid", "popcorn")])
    for asked in (
        call("recommend"),
        call("recommend", bought="again"),
        call("search_catalog", query="a snack for films"),
        call("goes_with", query="soda"),
        call("similar_items", query="soda"),
        call("search_catalog", max_price=9),
    ):
        assert "i02" not in talk.say("something under 9", asked).items, asked
    assert talk.say("ok, popcorn", call("search_catalog", query="popcorn")).items == ["i02"]


def test_what_is_avoided_after_a_list_is_kept_out_of_its_refinement(talk: Talk) -> None:
    """The promise holds from the next list on, also where that list refines an older one."""
    five(talk)
    talk.say("never milk again", call("remember", kind="avoid", text="milk"))
    assert "i08" not in talk.say("under 9", call("search_catalog", max_price=9)).items
    assert "i08" not in talk.say("cheaper", call("similar_items", than="cheaper")).items


def test_an_item_avoided_by_its_number_stays_out(talk: Talk) -> None:
    """That item, and not everything that shares a word with it."""
    shown = five(talk).items
    talk.say("never show me the second one", call("remember", kind="avoid", position=2))
    seen: set[str] = set()
    for asked in (call("recommend"), *[call("similar_items")] * 3):
        seen |= set(talk.say("more", asked).items)
    assert shown[1] not in seen
    assert len(seen) == 10  # everything else but the beer


def test_likes_and_dislikes_are_remembered_by_number_and_by_name(talk: Talk) -> None:
    """The newer wins, and all of it can be shown."""
    shown = five(talk)
    title = shown.cards[0].recommendation.item.title
    assert talk.say("I like the first", call("remember", kind="like", position=1)).sentences == [
        f"I'll remember that you like {title}."
    ]
    talk.say("no, I don't", call("remember", kind="dislike", position=1))
    talk.say("I have a cat", call("remember", kind="note", text="I have a cat"))
    assert talk.memory == [("dislike", title), ("note", "I have a cat")]
    assert talk.say("what do you know", call("remember", kind="show")).sentences == [
        f"I remember: you don't like {title}; noted: I have a cat."
    ]


def test_a_taste_that_nobody_spoke_of_is_not_remembered(talk: Talk) -> None:
    """The model cannot make one up."""
    told = talk.say("hello there", call("remember", kind="avoid", text="cheese"))
    assert (talk.memory, told.sentences) == ([], ["Tell me in a few words what I should remember."])


@pytest.mark.parametrize("asked", [call("forget"), call("forget", text=""), call("forget", text="  ")], ids=repr)
def test_forgetting_without_a_name_erases_nothing(talk: Talk, asked: object) -> None:
    """Never everything by accident."""
    talk.store.remember("u0", kind="like", text="cheese")
    told = talk.say("forget it", asked)  # type: ignore[arg-type]
    assert told.sentences == ["What should I forget? Name it, or say everything."]
    assert talk.memory == [("like", "cheese")]


def test_forgetting_erases_what_is_named_and_nothing_else(talk: Talk) -> None:
    """By words, by number, all; an item's brand tier is no reason to forget another of the same tier."""
    shown = five(talk)
    store_brand = [n for n, card in enumerate(shown.cards, start=1) if "store brand" in card.recommendation.item.title][
        :2
    ]
    for position in store_brand:
        talk.say(f"I like number {position}", call("remember", kind="like", position=position))
    talk.say("no nuts", call("remember", kind="avoid", text="nuts"))
    assert len(talk.memory) == 3
    talk.say("forget the first of them", call("forget", position=store_brand[0]))
    other = shown.cards[store_brand[1] - 1].recommendation.item.title
    assert talk.memory == [("like", other), ("avoid", "nuts")]
    assert talk.say("forget the nuts thing", call("forget", text="nuts")).sentences == ["Forgotten: nuts."]
    assert talk.say("forget fish", call("forget", text="fish")).sentences == ["I had nothing remembered about fish."]
    assert talk.memory == [("like", other)]
    assert talk.say("forget all", call("forget", text="all")).sentences == ["Forgotten, all of it."]
    assert talk.memory == []


def test_what_is_asked_to_be_forgotten_is_forgotten_whatever_was_planned(talk: Talk) -> None:
    """Late in a talk "forget the peanuts" was planned as a search; "forget that I like X" as the end of all memory."""
    for kind, text in (("avoid", "peanuts"), ("like", "cheese"), ("note", "I have a cat")):
        talk.store.remember("u0", kind=kind, text=text)
    told = talk.say("forget the peanuts", call("search_catalog", query="milk"))
    assert (told.sentences, told.reply.acts) == (["Forgotten: peanuts."], ("forget",))
    talk.say("forget that i like cheese", call("forget", text="all"))
    assert talk.memory == [("note", "I have a cat")]
    assert talk.say("forget the soda, show me milk", call("search_catalog", query="milk")).reply.acts == ("recommend",)


def test_all_is_forgotten_only_where_the_message_speaks_of_memory(talk: Talk) -> None:
    """As the end of all memory "clear it" was planned, said of the cart."""
    talk.store.remember("u0", kind="like", text="cheese")
    for said in ("clear it", "empty it"):
        told = talk.say(said, call("forget", text="all"))
        assert told.sentences == ["What should I forget? Name it, or say everything."]
    assert talk.memory == [("like", "cheese")]
    talk.say("clean slate please", call("forget", text="all"))
    assert talk.memory == []


# ask_shopper and chat


def test_a_question_is_asked_only_where_its_answer_changes_the_list(talk: Talk) -> None:
    """One kind only: the list is shown instead. Several: they are the options."""
    told = talk.say("dry cat food", call("ask_shopper", query="dry cat food"))
    assert (told.items, told.asked) == (["i01"], [])
    told = talk.say("something for my cat", call("ask_shopper", query="cat"))
    if told.asked:
        assert len(told.asked[0].options) > 1
        assert told.finished.quick_replies == told.asked[0].options
        assert told.reply.acts == ("ask",)
    else:
        assert told.items


def test_nobody_is_asked_back_twice_in_a_row(talk: Talk) -> None:
    """As in "stuff for cleaning" and then "the bathroom": the answer gets a list, not another question."""
    told = talk.say("something for my cat", call("ask_shopper", query="cat"))
    assert told.asked and len(told.asked[0].options) > 1
    told = talk.say("for my cat, I said", call("ask_shopper", query="cat"))
    assert (told.asked, set(told.items)) == ([], {"i01", "i03"})


@pytest.mark.parametrize(
    ("topic", "act"),
    [
        ("hello", "chat"),
        ("thanks", "chat"),
        ("bye", "chat"),
        ("help", "chat"),
        ("off_topic", "decline"),
        ("hostile", "decline"),
    ],
)
def test_talk_that_is_not_about_items_needs_no_model(talk: Talk, topic: str, act: str) -> None:
    """One line of the house's own; no second call."""
    told = talk.say("hm", call("chat", topic=topic))
    assert (told.items, told.reply.acts, len(told.sentences)) == ([], (act,), 1)
    assert told.reply.usage["llm_calls"] == 1
