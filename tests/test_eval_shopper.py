"""A simulated shopper wants something real, tells the truth, sees only what a person sees, and has its limits."""

from __future__ import annotations

from dataclasses import asdict
from random import Random

import pytest

from eval import shopper_words
from eval.shopper import (
    Card,
    Mind,
    Need,
    Seen,
    Shopper,
    asked_about,
    broken_parts,
    draw_shopper,
    kind_name,
    make_need,
    need_from_json,
    need_to_json,
    open_talk,
    respond,
    shelves,
)
from retrieval.records import Item
from tests.shops import twelve_items

ITEMS = twelve_items()
SHELVES = shelves(ITEMS)
PIZZAS = [
    Item(item_id=f"p{number}", title=title, price=price, categories=("Grocery", "Frozen meals"), description=about)
    for number, (title, price, about) in enumerate(
        [
            ("Frozen pizza, premium, 12 oz", 5.5, "Also called pizza pie. For supper."),
            ("Frozen pizza, premium, 12 oz, store brand", 3.9, "Also called pizza pie. For supper."),
            ("Frozen pizza, economy, 21.8 oz, store brand", 2.2, "Also called pizza pie. For supper."),
            ("Frozen pizza, traditional, 2 x 12 oz", 7.0, "Also called pizza pie. For supper."),
        ]
    )
]
NEED = Need(kind="frozen pizza", name="frozen pizza", max_price=4, tier="store brand")
PICKY = Shopper(shopper_id="s", need=NEED)


def card(number: int) -> Card:
    return Card(title=PIZZAS[number].title, price=PIZZAS[number].price)


def all_said(name: str = "frozen pizza", **more: object) -> tuple[Shopper, Mind]:
    shopper = Shopper(shopper_id="s", need=Need(kind="frozen pizza", name=name, **more))  # type: ignore[arg-type]
    return shopper, Mind(said=frozenset(shopper.need.parts))


def wording(options: tuple[str, ...] | list[str], text: str) -> bool:
    """Say whether a text was made from one of the templates: its fixed words occur in it."""
    return any(all(piece.strip(" ,") in text for piece in _fixed(template)) for template in options)


def _fixed(template: str) -> list[str]:
    for slot in ("{thing}", "{detail}", "{said}"):
        template = template.replace(slot, "\0")
    return template.split("\0")


def test_a_wish_is_made_of_attributes_the_item_has_and_others_lack() -> None:
    """Promise: every wish fits the item it is made from, has two details at most, and each detail tells items apart."""
    for number in range(200):
        rng = Random(number)
        item = rng.choice(PIZZAS)
        need = make_need(item, shelf=PIZZAS, details=2, knowledge=0.6, rng=rng)
        assert broken_parts(need, Card(title=item.title, price=item.price)) == ()
        assert len(need.details) <= 2
        for detail in need.details:
            alone = Need(kind=need.kind, name=need.name, **{detail: getattr(need, detail)})
            assert any(broken_parts(alone, Card(title=other.title, price=other.price)) for other in PIZZAS)


def test_a_wish_holds_neither_id_nor_title() -> None:
    """Promise: what the shopper knows could be any person's wish: no id, no whole title."""
    for number in range(200):
        rng = Random(number)
        item = rng.choice(PIZZAS)
        shopper = draw_shopper(item, shelf=PIZZAS, shopper_id="s", user_id=None, rng=rng)
        known = [str(value) for value in asdict(shopper.need).values()]
        known.append(open_talk(shopper, rng=rng)[1])
        for text in known:
            assert item.item_id not in text.split()
            assert item.title.lower().replace(",", "") not in text.lower().replace(",", "")


def test_age_restricted_goods_are_not_wished_for() -> None:
    """Promise: what is shown only when asked for by name is no simulated shopper's wish."""
    assert "beer" not in SHELVES
    assert "shredded cheese" in SHELVES


def test_the_same_rng_gives_the_same_shopper_and_the_same_words() -> None:
    """Promise: same seed, same talk."""

    def talk(seed: int) -> tuple[Shopper, str, str]:
        rng = Random(seed)
        shopper = draw_shopper(PIZZAS[1], shelf=PIZZAS, shopper_id="s", user_id="u", rng=rng)
        mind, opening = open_talk(shopper, rng=rng)
        _, move = respond(shopper, mind, Seen(cards=(Card(title="Soap", price=None),)), rng=rng)
        return shopper, opening, move.text

    assert [talk(seed) for seed in range(20)] == [talk(seed) for seed in range(20)]
    assert len({talk(seed) for seed in range(20)}) > 10


def test_the_first_card_that_fits_the_whole_wish_is_taken() -> None:
    """Promise: an item is taken when it keeps to every part of the wish, said or not, and never else."""
    mind, _ = open_talk(PICKY, rng=Random(1))
    _, move = respond(PICKY, mind, Seen(cards=(card(0), card(1), card(2))), rng=Random(1))
    assert (move.kind, move.position) == ("accept", 2)
    _, move = respond(PICKY, mind, Seen(cards=(card(0), card(3))), rng=Random(1))
    assert move.kind == "say"


def test_cards_are_read_as_people_read_them() -> None:
    """Promise: another thing with the same words is another thing; sizes are compared as sizes."""
    assert broken_parts(NEED, Card(title="Frozen pizza rolls, store brand", price=1.0)) == ("thing",)
    assert broken_parts(Need(kind="ice cream", name="x"), Card(title="Vanilla ice cream, 48 oz", price=1.0)) == ()
    assert broken_parts(Need(kind="ice cream", name="x"), Card(title="Ice cream topping, 12 oz", price=1.0)) == (
        "thing",
    )
    assert broken_parts(Need(kind="milk", name="milk", size="1 gallon"), Card(title="Milk, 128 oz", price=1.0)) == ()
    assert broken_parts(Need(kind="milk", name="milk", max_price=1), Card(title="Milk", price=None)) == ("max_price",)


def test_what_the_shown_items_break_is_said() -> None:
    """Promise: a refinement names the part that the nearest cards break, in the shopper's own true words."""
    mind = Mind(said=frozenset({"thing"}))
    after, move = respond(PICKY, mind, Seen(cards=(card(0), card(3))), rng=Random(0))
    assert move.kind == "say"
    assert after.said - mind.said <= {"max_price", "tier"} and after.said != mind.said
    after, move = respond(PICKY, mind, Seen(cards=(Card(title="Frozen pizza, store brand", price=9.0),)), rng=Random(0))
    assert after.said == {"thing", "max_price"}
    assert "4" in move.text
    after, move = respond(PICKY, Mind(), Seen(cards=(Card(title="Soap, store brand", price=1.0),)), rng=Random(0))
    assert after.said == {"thing"}
    assert "frozen pizza" in move.text


def test_what_was_said_and_is_broken_again_is_said_again() -> None:
    """Promise: the shopper does not change its wish when it is not heard."""
    shopper, mind = all_said(max_price=4)
    for seed in range(10):
        _, move = respond(shopper, mind, Seen(cards=(card(0),)), rng=Random(seed))
        assert wording(list(shopper_words.REMINDERS), move.text)
        assert "4" in move.text


@pytest.mark.parametrize(
    ("question", "part", "words"),
    [
        ("What kind of pizza: frozen pizza, pizza sauce or pizza rolls?", "thing", "frozen pizza"),
        ("How much would you like to spend?", "max_price", "4"),
        ("Which brand do you like?", "tier", "brand"),
    ],
)
def test_questions_are_answered_truthfully(question: str, part: str, words: str) -> None:
    """Promise: an answer says what the wish says, and that is remembered as said."""
    assert asked_about(question) == part
    for seed in range(10):
        after, move = respond(PICKY, Mind(), Seen(text=question), rng=Random(seed))
        assert (move.kind, move.question, move.needless) == ("say", part, False)
        assert words in move.text
        assert part in after.said
        assert "name brand" not in move.text


def test_what_does_not_matter_is_said_not_to_matter() -> None:
    """Promise: a question about what the wish leaves open gets no made-up answer."""
    shopper = Shopper(shopper_id="s", need=Need(kind="frozen pizza", name="frozen pizza"))
    after, move = respond(shopper, Mind(), Seen(text="What is your budget?"), rng=Random(0))
    assert wording(list(shopper_words.NO_MATTER["max_price"]), move.text)
    assert not any(character.isdigit() for character in move.text)
    assert after.said == frozenset()


def test_none_of_the_offered_kinds_is_said_to_be_none() -> None:
    """Promise: where the right answer is not among the options, the shopper does not pick a wrong one."""
    _, move = respond(PICKY, Mind(), Seen(text="What kind: pizza sauce or pizza rolls?"), rng=Random(0))
    assert wording(list(shopper_words.NONE_OF_THEM), move.text)


def test_a_question_for_what_was_said_is_needless_and_costs_patience() -> None:
    """Promise: needless is what was said, what was asked before, and "what do you want?" after it was told."""
    said = Mind(said=frozenset({"thing", "max_price"}))
    after, move = respond(PICKY, said, Seen(text="What is your budget?"), rng=Random(0))
    assert (move.needless, after.spent) == (True, 3)
    after, move = respond(PICKY, said, Seen(text="Which brand do you like?"), rng=Random(0))
    assert (move.needless, after.spent) == (False, 2)
    _, move = respond(PICKY, after, Seen(text="Store brand or name brand?"), rng=Random(0))
    assert move.needless
    _, move = respond(PICKY, Mind(), Seen(text="What are you looking for?"), rng=Random(0))
    assert move.needless


def test_patience_ends_a_talk() -> None:
    """Promise: a shopper leaves after as many messages as it has patience, sooner when nothing new is shown."""
    soap = Seen(cards=(Card(title="Soap", price=2.0),))
    for patience in (3, 4, 5):
        shopper = Shopper(shopper_id="s", need=NEED, patience=patience)
        mind, _ = open_talk(shopper, rng=Random(0))
        messages = 1
        while True:
            fresh = Seen(cards=(Card(title=f"Soap {messages}", price=2.0),))
            mind, move = respond(shopper, mind, fresh, rng=Random(messages))
            if move.kind == "leave":
                break
            messages += 1
        assert messages == patience
    mind, _ = open_talk(PICKY, rng=Random(0))
    for _ in range(2):
        mind, move = respond(PICKY, mind, soap, rng=Random(0))
    assert mind.spent == 4


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", ""),
        ("Nothing here fits that.", ""),
        ("Is there a size you need?", "size"),
        ("Anything you want to leave out?", "without"),
        ("Here are five. Anything else for the basket?", ""),
        ("Here are five. Do you want the store brand?", "tier"),
        ("I found 3 kinds. What kind of soup: canned or dry?", "thing"),
    ],
)
def test_questions_are_told_from_offers(text: str, part: str) -> None:
    """Promise: only a question about the wish counts as one."""
    assert asked_about(text) == part


def test_a_wish_is_kept_as_json() -> None:
    """Promise: what is kept of a wish reads back as the wish."""
    assert need_from_json(need_to_json(NEED)) == NEED
    assert kind_name("Pie crust mix (or shell), 8 oz") == "pie crust mix"


def test_no_wording_is_one_the_model_was_taught() -> None:
    """Promise: the simulator's words are its own, so that training on the phrase bank is no preparation for it."""
    import re
    from pathlib import Path

    import finetune

    def bare(line: str) -> str:
        return " ".join(re.findall(r"[a-z']+", re.sub(r"\{[^}]*\}|\[[^\]]*\]", " ", line.lower())))

    taught = {
        bare(line)
        for file in (Path(finetune.__file__).parent / "phrases").glob("*.txt")
        for line in file.read_text(encoding="utf-8").splitlines()
        if not line.startswith(("#", ">"))
    }
    banks = [value for name, value in vars(shopper_words).items() if name.isupper()]
    own = [line for bank in banks for held in (bank.values() if isinstance(bank, dict) else [bank]) for line in held]
    assert len(own) > 60
    assert [line for line in own if bare(line) in taught and len(bare(line).split()) > 1] == []
