"""What is said to bring an item in really does, and is the least that does."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.reasons import Change, Step, change_facts, what_would_change
from retrieval.records import Item
from retrieval.wish import Wish, broken, contains
from tests.shops import twelve_items

ITEMS = {item.item_id: item for item in [*twelve_items(), Item(item_id="i12", title="Dip, no price")]}
LARGE = frozenset(["i03", "i08", "i10"])
Answer = Callable[[Wish], tuple[Sequence[str], Collection[str]]]


def ranking(scores: Sequence[int], bought: Collection[str], *, limit: int = 3) -> Answer:
    """Rank as any shop does: what keeps to the wish, by a score and how many of its words it has, cut at `limit`."""

    def answer(wish: Wish) -> tuple[Sequence[str], Collection[str]]:
        found = [one for one in ITEMS.values() if not broken(one, wish, bought=one.item_id in bought)]
        words = {one.item_id: sum(contains(one.text, word) for word in wish.query.split()) for one in found}
        order = sorted(words, key=lambda item_id: (-words[item_id], -scores[int(item_id[1:])], item_id))
        return order[:limit], order

    return answer


WISHES = st.builds(
    Wish,
    query=st.sampled_from(["", "cheese", "milk", "cat food"]),
    max_price=st.sampled_from([None, 1.5, 3.0, 5.0]),
    below_price=st.sampled_from([None, 2.5]),
    min_price=st.sampled_from([None, 2.0, 4.0]),
    above_price=st.sampled_from([None, 3.0]),
    attributes=st.sampled_from(
        [{}, {"brand_tier": ("Private",)}, {"brand_tier": ("National",), "department": ("DELI",)}]
    ),
    not_attributes=st.sampled_from([{}, {"department": ("GROCERY",)}]),
    text_all=st.sampled_from([(), ("tacos",), ("tacos", "pizza")]),
    text_none=st.sampled_from([(), ("cheese",), ("cat", "pop")]),
    bought=st.sampled_from(["any", "again", "new"]),
    item_ids=st.sampled_from([None, LARGE, frozenset[str]()]),
    exclude_ids=st.sampled_from([frozenset[str](), frozenset(["i00", "i06"])]),
    age_restricted=st.booleans(),
)
SCORES = st.lists(st.integers(0, 50), min_size=13, max_size=13)


@settings(max_examples=400, deadline=None)
@given(
    wish=WISHES, scores=SCORES, item_id=st.sampled_from(sorted(ITEMS)), bought=st.sets(st.sampled_from(sorted(ITEMS)))
)
def test_a_claimed_change_really_brings_the_item_in(
    wish: Wish, scores: list[int], item_id: str, bought: set[str]
) -> None:
    """Promise: the list for the changed wish has the item at the place that is told; else nothing is claimed."""
    answer, item = ranking(scores, bought), ITEMS[item_id]
    if item_id in answer(wish)[0]:
        return
    change = what_would_change(
        item, wish=wish, bought=item_id in bought, answer=answer, same_size=LARGE & {item_id} and LARGE, size="large"
    )
    lost = broken(item, wish, bought=item_id in bought)
    if "age_restricted" in lost:
        assert change is None, "no wish is proposed that shows what must be asked for by name"
    if change is None:
        return
    shown, _ = answer(change.wish)
    assert (shown[change.place - 1], len(shown)) == (item_id, change.of)
    assert change.steps and broken(item, change.wish, bought=item_id in bought) == ()
    given_up = [step for step in change.steps if not step.more]
    assert bool(given_up) <= bool(lost), "what the item keeps to is not given up"
    fields = ("text_all", "text_none", "exclude_ids")
    for name in fields:  # of several words only those that stand in the way
        kept, held = getattr(change.wish, name), getattr(wish, name)
        for word in set(held) - set(kept):
            one = replace(Wish(age_restricted=True), **{name: type(held)([word])})
            assert broken(item, one) == (name,)


@settings(max_examples=200, deadline=None)
@given(scores=SCORES, item_id=st.sampled_from(sorted(set(ITEMS) - {"i12"})), most=st.sampled_from([1.0, 2.0, 3.0]))
def test_a_price_bound_moves_to_the_price_and_no_further(scores: list[int], item_id: str, most: float) -> None:
    """Promise: the bound is exact; one cent less would not do, and where it alone does, it alone is told."""
    item, wish = ITEMS[item_id], Wish(max_price=most, age_restricted=True)
    if "max_price" not in broken(item, wish):
        return
    answer = ranking(scores, (), limit=4)
    change = what_would_change(item, wish=wish, bought=None, answer=answer)
    bound = next((step.bound for step in change.steps if step.name == "max_price") if change else iter(()), None)
    if change is not None:
        assert bound is not None and bound == item.price
        assert broken(item, replace(change.wish, max_price=round(bound - 0.01, 2))) == ("max_price",)
    alone = replace(wish, max_price=item.price)
    if item_id in answer(alone)[0]:
        assert change is not None and change.steps == (Step(name="max_price", bound=item.price),)


def test_one_thing_more_is_asked_where_nothing_is_broken() -> None:
    """The first that the item has and that shows it: its tier, else its size; else it is asked for by its name."""
    milk = ITEMS["i08"]

    def steps(scores: list[int], *, large: Collection[str]) -> tuple[Step, ...]:
        answer = ranking(scores, ())
        change = what_would_change(milk, wish=Wish(), bought=None, answer=answer, same_size=large, size="1 gallon")
        assert change is not None and milk.item_id in answer(change.wish)[0]
        return change.steps

    above_all_but_two_of_its_tier = [50, 49, 48, 47, 46, 45, 0, 43, 42, 41, 40, 39, 0]
    assert steps(above_all_but_two_of_its_tier, large=LARGE) == (Step(name="brand_tier", more=True, value="Private"),)
    below_three_of_its_tier = [50, 49, 48, 47, 46, 45, 44, 43, 42, 41, 40, 39, 0]
    assert steps(below_three_of_its_tier, large=LARGE) == (Step(name="size", more=True, value="1 gallon"),)
    assert steps(below_three_of_its_tier, large=()) == (Step(name="query", more=True, value="whole milk"),)


def test_what_no_tried_wish_shows_is_not_promised() -> None:
    """An item that no list has, such as one that the shopper never wants to see."""

    def without(wish: Wish) -> tuple[Sequence[str], Collection[str]]:
        return [item_id for item_id in ITEMS if item_id != "i06"][:3], ITEMS

    for wish in (Wish(), Wish(max_price=1), Wish(bought="new", query="milk")):
        assert what_would_change(ITEMS["i06"], wish=wish, bought=True, answer=without) is None


@pytest.mark.parametrize(
    ("wish", "step"),
    [
        (Wish(max_price=2), Step(name="max_price", bound=3.1)),
        (Wish(below_price=3.1), Step(name="max_price", bound=3.1)),
        (Wish(min_price=5), Step(name="min_price", bound=3.1)),
        (Wish(attributes={"brand_tier": ("Private",)}), Step(name="brand_tier", value="Private")),
        (Wish(not_attributes={"brand_tier": ("National",)}), Step(name="without", value="National")),
        (Wish(text_all=("tacos", "organic")), Step(name="label", value="organic")),
        (Wish(text_none=("nuts", "cheese")), Step(name="without", value="cheese")),
        (Wish(bought="again"), Step(name="bought", value="again")),
        (Wish(item_ids=frozenset(["i03"])), Step(name="size")),
        (Wish(exclude_ids=frozenset(["i07"])), Step(name="seen")),
    ],
)
def test_each_broken_wish_has_its_step(wish: Wish, step: Step) -> None:
    """Promise: only what is broken is given up."""
    change = what_would_change(ITEMS["i07"], wish=wish, bought=False, answer=ranking([0] * 7 + [9] + [0] * 5, ()))
    assert change is not None and (change.steps, change.place) == ((step,), 1)


def test_a_change_is_told_as_facts() -> None:
    """Each step with what it asks, then the place."""
    steps = (Step(name="size", more=True, value="16 oz"), Step(name="seen"))
    facts = change_facts(Change(wish=Wish(), steps=steps, place=2, of=5))
    assert [fact.words for fact in facts] == [("size", "more", "16 oz"), ("seen", "less"), ()]
    assert (facts[-1].kind, facts[-1].count, facts[-1].of) == ("would_show", 2, 5)
