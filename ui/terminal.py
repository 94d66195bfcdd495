"""The talk in a terminal; also from a pipe, so that it can be scripted."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from agent.events import Shown
from retrieval.records import ShopError
from ui.bars import lines as bar_lines
from ui.talk import Press, Said, Talk
from ui.views import View
from ui.words import arguments, money, offer, press, step, visible

if TYPE_CHECKING:
    from agent.assistant import Assistant

HELP = """\
Just say what you need. Or:
  /why 2       why the second item is on the list     /add 1 [3]   put it in the cart (three of it)
  /like 1      /dislike 1                             /remove 1    take line 1 out of the cart
  /cart        show the cart                          /memory      show what is remembered
  /forget 1    erase one thing, /forget all: all      /undo        take the last turn back
  /shopper ID  be that shopper; /shopper new: nobody  /quit        end"""


class Quit(Exception):
    """The shopper is done."""


def terminal_talk(
    assistant: Assistant,
    *,
    user_id: str | None = None,
    lines: Iterable[str] | None = None,
    console: Console | None = None,
) -> None:
    """Talk until the shopper quits or the lines end; `lines` default to what is typed or piped in.

    Raises:
        ShopError: when the shopper is unknown.
    """
    console = console or Console(highlight=False)
    talk = Talk(assistant=assistant, user_id=user_id)
    talk.session()
    console.print(Text(_greeting(user_id), style="dim"))
    try:
        for line in _typed(console) if lines is None else lines:
            try:
                talk = _line(talk, line.strip(), console)
            except ShopError as error:
                console.print(Text(visible(error), style="yellow"))
    except Quit:
        pass
    finally:
        talk.close()


def _greeting(user_id: str | None) -> str:
    who = "as a new shopper" if user_id is None else f"as shopper {visible(user_id)}"
    return f"You are here {who}. What can I find for you? /help lists the commands, /quit ends."


def _typed(console: Console) -> Iterator[str]:
    if sys.stdin.isatty():
        while True:
            try:
                yield console.input("[bold green]> [/]")
            except EOFError:
                return
    else:
        for line in sys.stdin:
            console.print(Text(f"> {visible(line.rstrip())}", style="bold"))
            yield line


def _line(talk: Talk, line: str, console: Console) -> Talk:
    """Carry out one line; give the talk that goes on."""
    if not line:
        return talk
    if not line.startswith("/"):
        _say(talk, line, console)
        return talk
    command, *words = line[1:].split()
    match command.lower():
        case "quit" | "exit" | "q":
            raise Quit
        case "why" | "add" | "like" | "dislike" as action:
            _say(talk, _press(talk, action, words), console)
        case "remove":
            item_id = [item_id for item_id, _ in talk.cart()][_number(words, most=len(talk.cart()), of="the cart") - 1]
            talk.set_quantity(item_id, 0)
            _print_cart(talk, console)
        case "cart":
            _print_cart(talk, console)
        case "memory":
            _print_memory(talk, console)
        case "forget":
            kept = talk.memory()
            if words == ["all"]:
                talk.forget(None)
            else:
                talk.forget([kept[_number(words, most=len(kept), of="what I remember") - 1].memory_id])
            _print_memory(talk, console)
        case "undo":
            said = talk.undo()
            text = (
                "There is nothing to undo."
                if said is None
                else f"Undone: {said if isinstance(said, str) else said.said}"
            )
            console.print(Text(visible(text), style="dim"))
        case "shopper":
            if len(words) != 1:
                raise ShopError("Say which: /shopper ID, or /shopper new")
            fresh = Talk(assistant=talk.assistant, user_id=None if words[0] == "new" else words[0])
            fresh.session()
            talk.close()
            console.print(Text(_greeting(fresh.user_id), style="dim"))
            return fresh
        case "help":
            console.print(HELP, markup=False)
        case _:
            raise ShopError(f"There is no command /{visible(command)}. /help lists them")
    return talk


def _press(talk: Talk, action: str, words: list[str]) -> Press:
    last = talk.shown()
    if last is None:
        raise ShopError("I have not shown you a list yet. Tell me what you are looking for")
    position = _number(words, most=len(last[1].cards), of="the last list")
    call, said = press(action, item=last[1].cards[position - 1].recommendation.item, position=position)
    if action == "add" and len(words) > 1:
        count = _number(words[1:], most=talk.assistant.limits.cart_quantity, of="pieces")
        call = type(call)(name=call.name, arguments={**call.arguments, "quantity": count})
    return Press(call=call, said=said)


def _number(words: list[str], *, most: int, of: str) -> int:
    text = words[0] if words else ""
    number = int(text) if text.isascii() and text.isdigit() else 0
    if not 1 <= number <= most:
        have = "is empty" if most == 0 else f"goes from 1 to {most}"
        raise ShopError(
            f"{of[0].upper()}{of[1:]} {have}; {f'there is no {visible(text)}' if text else 'name a number'}"
        )
    return number


def _say(talk: Talk, said: Said, console: Console) -> None:
    """Run a turn and print what happens as it happens."""
    printed = View(said="")
    views = talk.say(said)
    try:
        with console.status("…") if console.is_terminal else nullcontext():
            for view in views:
                for called in view.steps[len(printed.steps) :]:
                    console.print(Text(visible(f"  · {step(called.name)}  {arguments(called.arguments)}"), style="dim"))
                for number, card in enumerate(view.cards[len(printed.cards) :], start=1):
                    _print_card(number, card, console)
                for notice in view.notices[len(printed.notices) :]:
                    console.print(Text(visible(f"({notice})"), style="yellow"))
                for sentence in view.sentences[len(printed.sentences) :]:
                    console.print(Text(visible(sentence)))
                if view.ending and not printed.ending:
                    console.print(Text(visible(f"({view.ending})"), style="yellow"))
                printed = view
    finally:
        views.close()
    for line in bar_lines(printed.looked):
        console.print(Text(f"  {line}", style="dim"))
    if printed.quick_replies:
        console.print(Text(visible("  [" + "] [".join(printed.quick_replies) + "]"), style="cyan"))


def _print_card(number: int, card: Shown, console: Console) -> None:
    item, reason = card.recommendation.item, card.reason
    line = Text(f"{number:>3}. ", style="bold green")
    line.append(visible(item.title).replace("\n", " "), style="bold")
    line.append(f"  {money(item.price)}")
    if item.age_restricted:
        line.append("  age-restricted", style="yellow")
    for fact in card.recommendation.facts:
        if fact.kind in ("coupon", "promotion"):
            line.append(f"  {visible(offer(fact))}".replace("\n", " "), style="green")
    console.print(line)
    if reason:
        console.print(Text(f"     {visible(reason)}", style="dim"))


def _print_cart(talk: Talk, console: Console) -> None:
    items = talk.assistant.shop.catalog.items
    lines, total = talk.cart(), 0.0
    if not lines:
        console.print(Text("Your cart is empty.", style="dim"))
        return
    for number, (item_id, quantity) in enumerate(lines, start=1):
        item = items.get(item_id)
        price = None if item is None else item.price
        total += (price or 0.0) * quantity
        title = visible(item.title if item else item_id)
        console.print(Text(f"{number:>3}. {quantity} × {title}  {money(None if price is None else price * quantity)}"))
    console.print(Text(f"     Total {money(total)}", style="bold"))


def _print_memory(talk: Talk, console: Console) -> None:
    kept = talk.memory()
    if not kept:
        console.print(Text("I remember nothing about you.", style="dim"))
    for number, memory in enumerate(kept, start=1):
        console.print(Text(f"{number:>3}. {visible(memory.kind)}: {visible(memory.text)}"))
