"""The talk in a terminal, scripted line by line."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from retrieval.records import Item, ShopError
from tests.scripted_assistant import ScriptedAssistant
from tests.shops import twelve_items
from tests.small_shop import Talk as SmallTalk
from ui.terminal import HELP, terminal_talk


def talk(tmp_path: Path, *lines: str, items: list[Item] | None = None, user_id: str | None = None) -> str:
    assistant = ScriptedAssistant(items or twelve_items()[6:9], store=tmp_path / "store.sqlite")
    out = io.StringIO()
    console = Console(file=out, width=200, highlight=False)
    terminal_talk(assistant, user_id=user_id, lines=lines, console=console)  # type: ignore[arg-type]
    return out.getvalue()


def test_a_talk_reads_well(tmp_path: Path) -> None:
    assert talk(tmp_path, "cheese", "/why 2", "/add 2 3", "/cart", "/quit", "never said").splitlines() == [
        "You are here as a new shopper. What can I find for you? /help lists the commands, /quit ends.",
        "  · Searched the shop  query: cheese",
        "  1. Shredded cheese, 8 oz, store brand  $2.00",
        "     On 3 of your last 10 trips: Shredded cheese, 8 oz, store brand.",
        "  2. Shredded cheese, 8 oz, name brand  $3.10",
        "     On 3 of your last 10 trips: Shredded cheese, 8 oz, name brand.",
        "  3. Whole milk, gallon, store brand  $2.90",
        "     On 3 of your last 10 trips: Whole milk, gallon, store brand.",
        "Shredded cheese, 8 oz, store brand suits you best.",
        "It costs the least.",
        "  [Cheaper] [Store brand] [Something else]",
        "  · Looked up why  position: 2",
        "Because 3 of your last 10 trips held Shredded cheese, 8 oz, name brand.",
        "  · Changed the cart  action: add · positions: 2 · quantity: 3",
        "I put Shredded cheese, 8 oz, name brand in your cart.",
        "  1. 3 × Shredded cheese, 8 oz, name brand  $9.30",
        "     Total $9.30",
    ]


def test_memory_can_be_seen_and_erased(tmp_path: Path) -> None:
    out = talk(tmp_path, "cheese", "/like 1", "/memory", "/forget 1", "/like 2", "/like 3", "/forget all", user_id="u1")
    assert "  1. like: Shredded cheese, 8 oz, store brand\n" in out
    assert out.count("I remember nothing about you.") == 2


def test_undo_and_another_shopper(tmp_path: Path) -> None:
    out = talk(tmp_path, "cheese", "/add 1", "/undo", "/cart", "/shopper u2", "/shopper new", "/undo")
    assert "Undone: Add Shredded cheese, 8 oz, store brand to my cart\nYour cart is empty.\n" in out
    assert "You are here as shopper u2." in out
    assert out.endswith("There is nothing to undo.\n")


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("/why", "The last list goes from 1 to 3; name a number"),
        ("/why 9", "The last list goes from 1 to 3; there is no 9"),
        ("/why two", "The last list goes from 1 to 3; there is no two"),
        ("/why ٢", "The last list goes from 1 to 3; there is no ٢"),
        ("/remove 1", "The cart is empty; there is no 1"),
        ("/forget 1", "What I remember is empty; there is no 1"),
        ("/shopper nobody", "The shop has no shopper 'nobody'. Leave it out to talk as a new shopper"),
        ("/shopper", "Say which: /shopper ID, or /shopper new"),
        ("/dance", "There is no command /dance. /help lists them"),
    ],
)
def test_what_cannot_be_done_is_said_and_the_talk_goes_on(tmp_path: Path, line: str, sentence: str) -> None:
    out = talk(tmp_path, "cheese", line, "/cart")
    assert out.endswith(f"{sentence}\nYour cart is empty.\n")


def test_a_button_before_any_list(tmp_path: Path) -> None:
    assert "I have not shown you a list yet" in talk(tmp_path, "/why 1")


def test_an_unknown_shopper_ends_it_with_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ShopError, match="no shopper 'nobody'"):
        talk(tmp_path, user_id="nobody")


def test_every_command_is_in_the_help(tmp_path: Path) -> None:
    for command in ["why", "add", "like", "dislike", "remove", "cart", "memory", "forget", "undo", "shopper", "quit"]:
        assert f"/{command}" in HELP
    assert HELP in talk(tmp_path, "/help")


def test_escape_codes_and_markup_of_items_stay_text(tmp_path: Path) -> None:
    title = "Milk\x1b[2J\x1b]0;owned\x07 [bold red]x[/] \u202egnp"
    items = [replace(twelve_items()[0], title=title)]
    out = talk(tmp_path, "milk", "/add 1", "/cart", items=items)
    assert not set(out) & set("\x1b\x07\u202e\r")
    assert "Milk[2J]0;owned [bold red]x[/] gnp  $1.25" in out


def test_why_draws_the_parts_of_the_score(tmp_path: Path) -> None:
    """Promise: the bars beside the words are the parts of the list that was shown, and their numbers add up."""
    out = io.StringIO()
    console = Console(file=out, width=200, highlight=False)
    assistant = SmallTalk(tmp_path, model=False).assistant
    terminal_talk(assistant, user_id="u0", lines=["shredded cheese", "/why 1"], console=console)
    said = out.getvalue().splitlines()
    (head,) = [at for at, line in enumerate(said) if ", score " in line]
    parts = [line.split()[-1].replace("−", "-") for line in said[head + 1 :] if "|" in line]
    assert said[head].startswith("  Shredded cheese, 8 oz") and any("your words" in line for line in said[head:])
    assert sum(round(float(part) * 100) for part in parts) == round(float(said[head].split()[-1]) * 100)
