"""The checker of sentences is itself tested: one falsehood is planted in each of 2,000 true sentences about real lists."""

from __future__ import annotations

from functools import cache
from random import Random
from typing import Any

from agent.grounding import Spoken, supported
from agent.same_meaning import plainly
from eval.planted import SORTS, measure, plant, share
from eval.true_sentences import load_phrasings, talks, truths
from retrieval.records import Fact, Item, Part, Recommendation
from tests.small_shop import small_shop

CASES = 2000


@cache
def measured() -> dict[str, Any]:
    """Ask the checkers once, on a seed that nothing was tuned on."""
    return measure(small_shop(), cases=CASES, seed=20)


def test_planted_falsehoods_are_caught_and_true_sentences_pass() -> None:
    """Promise: of the falsehoods at least 99 in 100 are caught, of the true sentences at most 1 in 100 is rejected."""
    record = measured()
    found = record["agent.grounding"]
    assert record["cases"] >= 0.9 * CASES and found["wrongly_rejected"]["n"] >= 0.7 * CASES
    assert found["caught"]["share"] >= 0.99, found["missed"]
    assert found["wrongly_rejected"]["share"] <= 0.01, found["rejected"]


def test_every_sort_of_falsehood_was_planted_where_it_could_pass() -> None:
    """Promise: the catch rate does not rest on sorts that never occur, nor on true sentences that are refused anyway."""
    found = measured()["agent.grounding"]
    assert all(found["caught_by_sort"][sort]["n"] >= 50 for sort in SORTS), found["caught_by_sort"]
    assert (
        found["caught_of_accepted"]["share"] >= 0.99 and found["caught_of_accepted"]["n"] >= 0.95 * found["caught"]["n"]
    )


def test_other_wordings_are_many() -> None:
    """Promise: every common fact has 60 ways or more of being said: its wordings times what may frame them."""
    phrasings = load_phrasings()
    frames = len(phrasings["frames"])
    for kind in (
        "bought_trips",
        "bought_times",
        "not_bought",
        "under_price",
        "matches",
        "goes_with",
        "because_of",
        "popular",
        "price",
    ):
        assert len(set(phrasings[kind])) * frames >= 60, kind


def test_the_same_seed_gives_the_same_cases() -> None:
    """Promise: a figure can be made again."""
    drawn = [
        [true for held in talks(small_shop(), count=4, rng=Random(3)) for true in truths(held, Random(4))]
        for _ in range(2)
    ]
    cases = [[case.sentence for case in plant(true, shop=small_shop(), cases=60, rng=Random(5))] for true in drawn]
    assert cases[0] == cases[1] and len(cases[0]) > 40


def test_another_wording_is_held_to_the_same_record() -> None:
    """Promise: what is said in other words passes where it is true and fails where it is not."""
    facts = (Fact(kind="bought_times", count=3), Fact(kind="popular", count=41))
    shown = {
        place: Recommendation(
            item=Item(item_id=str(place), title=f"{name}, 8 oz", price=price),
            score=1.0,
            parts=(Part(name="match", value=1.0, facts=facts if place == 1 else (Fact(kind="not_bought"),)),),
        )
        for place, (name, price) in enumerate((("Soup", 2.5), ("Stew", 4.0)), start=1)
    }
    spoken = Spoken(rows=shown)
    for sentence, true in (
        ("Your history shows 3 purchases of [1].", True),
        ("Your history shows 4 purchases of [1].", False),
        ("I see no past purchase of [2].", True),
        ("I see a past purchase of [2].", False),
        ("I see no past purchase of [1].", False),
        ("Choosing [1] over [2] saves you $1.50.", True),
        ("Choosing [2] over [1] saves you $1.50.", False),
        ("The price difference between [1] and [2] is $1.50.", True),
        ("The price difference between [1] and [2] is $1.", False),
        ("Prices go from $2.50 to $4.", True),
        ("Prices go from $2.50 to $5.", False),
        ("A total of 41 shoppers bought [1].", True),
        ("A total of 41 shoppers bought [2].", False),
        ("[1] is number 1 on the list.", True),
        ("[1] is number 2 on the list.", False),
    ):
        assert supported(sentence, spoken) is true, (sentence, plainly(sentence))


def test_than_is_followed_by_a_whole_word() -> None:
    """As it was found on a real list: "than asparagus" was read as "than a", then "sparagus", and refused."""
    fact = Fact(kind="cheaper", amount=0.5, words=("Asparagus, canned",), item_id="9")
    row = Recommendation(
        item=Item(item_id="1", title="Peas", price=1.0),
        score=1.0,
        parts=(Part(name="price_fit", value=1.0, facts=(fact,)),),
    )
    assert supported("[1] is $0.50 cheaper than asparagus.", Spoken(rows={1: row}))
    assert not supported("[1] is $0.50 cheaper than artichokes.", Spoken(rows={1: row}))


def test_a_share_has_its_exact_interval() -> None:
    """Promise: none of thirty is not certainly none (Clopper and Pearson, 1934: below 0.1157)."""
    assert share([False] * 30) == {"share": 0.0, "low": 0.0, "high": 0.1157, "n": 30}
