"""A small model's slips of grammar do not reach the shopper: sentences are made of taught sequences of words."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from agent.grounding import Spoken
from agent.wordings import FILE, known
from finetune.phrasebook import load_replies
from finetune.wordings import sequences
from retrieval.records import Fact, Part, Recommendation
from tests.scripted_model import call
from tests.shops import twelve_items
from tests.small_shop import Talk

MILK, CHEESE = (next(item for item in twelve_items() if item.item_id == item_id) for item_id in ("i08", "i06"))
FACTS = (
    Fact(kind="bought_trips", count=5, of=10),
    Fact(kind="popular", count=1509),
    Fact(kind="because_of", words=("Deli turkey, sliced",), item_id="x"),
    Fact(kind="cheaper", amount=0.5, words=("Soda, 2 litre bottle",), item_id="i00"),
)
SPOKEN = Spoken(
    rows={
        1: Recommendation(item=MILK, score=1.0, parts=(Part(name="again", value=1.0, facts=FACTS),)),
        2: Recommendation(item=CHEESE, score=0.5, parts=()),
    },
    labels=("milk (under $3)", "cheaper than soda"),
)


def test_the_file_is_what_the_bank_teaches() -> None:
    """Written again whenever a wording changes: `python -m finetune.wordings`."""
    assert FILE.read_text(encoding="utf-8").splitlines() == sequences()


@pytest.mark.parametrize(
    "sentence",
    [
        "Here are 2 for milk (under $3).",
        "[1] was on 5 of your last 10 trips.",
        "1509 shoppers buy [1].",
        "[1] is $0.50 cheaper than soda.",
        "2 items cheaper than soda.",
        "[1] is $0.90 dearer than [2].",
    ],
)
def test_a_taught_wording_passes(sentence: str) -> None:
    """Whatever the names, numbers and amounts in it are: whether they are true is another check."""
    assert known(sentence, SPOKEN)


@pytest.mark.parametrize(
    "sentence",
    [
        "[1] was bought by 5 of your last 10 trips.",
        "[1] was on 1509 shoppers' record.",
        "[1] is in 1509 shoppers.",
        "[1] was in deli turkey before.",
        "[2] is bought by 3 times before.",
        "[1] is the choice before.",
    ],
)
def test_a_slip_of_grammar_does_not(sentence: str) -> None:
    """Each of these was said by the model in a real talk, or nearly so; each is true in a way."""
    assert not known(sentence, SPOKEN)


def test_each_half_of_a_known_pair_of_wordings_is_not_enough() -> None:
    """Two beginnings do not make a sentence: mixed halves of wordings mostly fail."""
    rng = Random(0)
    wordings = [text for kind, texts in load_replies().wordings.items() if kind.startswith("fact.") for text in texts]
    filled = [
        text.format_map(
            dict.fromkeys(("item",), "[1]")
            | dict.fromkeys(("count", "of"), "5")
            | dict.fromkeys(("amount", "limit"), "$5")
            | dict.fromkeys(("words", "name", "value", "other"), "deli turkey, sliced")
        )
        for text in wordings
        if "[" not in text
    ]
    mixed = []
    while len(mixed) < 300:
        one, other = rng.choice(filled).split(), rng.choice(filled).split()
        text = " ".join(one[: len(one) // 2] + other[len(other) // 2 :])
        if text not in filled:
            mixed.append(text)
    assert sum(known(text, SPOKEN) for text in mixed) < 0.35 * len(mixed)


def test_a_larger_model_may_speak_freely(tmp_path: Path) -> None:
    """With `free_words` the check of wordings is off, and that of truth is not."""
    free, strict = Talk(tmp_path / "free", free_words=True), Talk(tmp_path / "strict")
    slip = "For cheese there is [1]. [1] is organic."
    for talk, said in ((free, True), (strict, False)):
        told = talk.say("cheese", call("search_catalog", query="shredded cheese"), answer=slip)
        assert ("For cheese there is" in told.text) is said
        assert "organic" not in told.text
        assert told.sentences
