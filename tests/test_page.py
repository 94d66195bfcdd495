"""The page in a real browser: a message is sent, cards are seen, buttons work, hostile text stays text."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent.local_vllm import free_port
from retrieval.records import Item, ShopError
from tests.scripted_assistant import ScriptedAssistant
from tests.shops import twelve_items
from ui.model_service import Status
from ui.port import check_port

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
HOSTILE = "Milk <img src=x onerror=\"document.title='owned'\"> [click](http://evil.example) $$x$$ ${1+1} {{value}}"

pytestmark = [pytest.mark.page, pytest.mark.slow]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("chromium is missing, so the page was NOT tested. Debian 12: sudo apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield opened
        opened.close()


def items() -> list[Item]:
    milk, tea = twelve_items()[8], twelve_items()[7]
    return [twelve_items()[6], tea, twelve_items()[11], replace(milk, title=HOSTILE), twelve_items()[10]]


class Shopper:
    """A page that one shopper has open, and what the browser asked for while it was."""

    def __init__(self, browser: Any, url: str, *, width: int = 1280) -> None:
        self.requests: list[str] = []
        self.errors: list[str] = []
        self.page = browser.new_page(viewport={"width": width, "height": 800})
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.goto(url)
        self.box = self.page.get_by_role("textbox", name="Your message")
        self.box.wait_for()

    def say(self, text: str) -> None:
        self.box.fill(text)
        self.page.get_by_role("button", name="Send").click()

    def press(self, name: str) -> None:
        self.page.get_by_role("button", name=name).click()

    def sees(self, text: str, *, within: str = "body") -> None:
        self.page.locator(within).get_by_text(text).last.wait_for(timeout=15_000)


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory, browser: Any) -> Iterator[tuple[ScriptedAssistant, str]]:
    from ui.page import build_page, launch_page

    assistant = ScriptedAssistant(items(), store=tmp_path_factory.mktemp("page") / "store.sqlite")
    page = build_page(
        assistant,  # type: ignore[arg-type]
        shoppers=[("Household u1 · 6 trips", "u1")],
        status=lambda: Status(text="The model is ready"),
    )
    yield assistant, launch_page(page, host="127.0.0.1", port=free_port())
    page.close(verbose=False)


@pytest.fixture
def shopper(opened: tuple[ScriptedAssistant, str], browser: Any) -> Iterator[Shopper]:
    visitor = Shopper(browser, opened[1])
    yield visitor
    visitor.page.close()


def test_a_talk_with_cards_reasons_and_a_cart(shopper: Shopper, tmp_path: Path) -> None:
    shopper.say("cheese for <b>tacos</b>")
    shopper.sees("suits you best. It costs the least.")
    shopper.sees("cheese for <b>tacos</b>")
    cards = shopper.page.locator(".st-card")
    assert cards.count() == 5
    words = cards.nth(0).inner_text().split("\n")
    assert words[:2] == ["1", "Shredded cheese, 8 oz, store brand"]
    assert "On 3 of your last 10 trips: Shredded cheese, 8 oz, store brand." in words
    assert "$2.00" in cards.nth(0).inner_text()
    assert "Age-restricted" in cards.nth(2).inner_text()
    shopper.press("Why Shredded cheese, 8 oz, name brand?")
    shopper.sees("Because 3 of your last 10 trips held Shredded cheese, 8 oz, name brand.")
    shopper.press("Add Shredded cheese, 8 oz, name brand to the cart")
    shopper.sees("$3.10", within="#st-cart .st-total")
    shopper.press("One more of Shredded cheese, 8 oz, name brand")
    shopper.sees("$6.20", within="#st-cart .st-total")
    shopper.sees("2 in cart")
    shopper.press("I like Shredded cheese, 8 oz, store brand")
    shopper.sees("Shredded cheese, 8 oz, store brand", within="#st-memory")
    shopper.page.screenshot(path=tmp_path / "page.png")
    shopper.press("Erase: Shredded cheese, 8 oz, store brand")
    shopper.sees("Nothing. Likes", within="#st-memory")
    shopper.press("Remove Shredded cheese, 8 oz, name brand from the cart")
    shopper.sees("Nothing yet.", within="#st-cart")
    assert (tmp_path / "page.png").stat().st_size > 20_000
    assert shopper.errors == []


def test_hostile_item_text_is_only_text(shopper: Shopper) -> None:
    shopper.say("milk <img src=x onerror=\"document.title='owned'\">")
    shopper.sees("suits you best")
    shopper.press(f"Why {HOSTILE}?")
    shopper.sees("Because 3 of your last 10 trips held Milk <img")
    shopper.press(f"Add {HOSTILE} to the cart")
    shopper.sees("Milk <img src=x", within="#st-cart")
    shopper.press(f"I like {HOSTILE}")
    shopper.sees("Milk <img src=x", within="#st-memory")
    page = shopper.page
    assert page.locator(".st-card").nth(3).inner_text().split("\n")[1] == HOSTILE
    assert page.title() == "Shoptalk"
    for inside in ("#st-talk", "#st-cart", "#st-memory"):
        assert page.locator(f"{inside} img, {inside} a, {inside} script, {inside} .katex, {inside} iframe").count() == 0
    address = page.url.split("/")[2]
    assert {url.split("/")[2] for url in shopper.requests if url.startswith("http")} == {address}


def test_quick_replies_retry_and_undo(shopper: Shopper) -> None:
    shopper.say("cheese")
    shopper.page.locator("#st-talk").get_by_role("button", name="Cheaper", exact=True).click()
    shopper.page.locator(".user-row").nth(1).wait_for()
    shopper.sees("suits you best")
    shopper.page.locator(".option").first.wait_for()
    assert shopper.page.locator(".st-past").count() == 1, "older lists have no buttons"
    shopper.press("Retry")
    shopper.page.locator(".option").first.wait_for()
    assert shopper.page.locator(".user-row").count() == 2
    shopper.press("Undo")
    shopper.page.wait_for_function("document.querySelectorAll('.user-row').length === 1")
    assert shopper.box.input_value() == "Cheaper"


def test_stop_ends_a_slow_turn_at_once(opened: tuple[ScriptedAssistant, str], shopper: Shopper) -> None:
    opened[0].gate.clear()
    shopper.say("slow cheese")
    shopper.page.locator(".st-card").first.wait_for()
    shopper.press("Stop")
    shopper.sees("Stopped. This turn was not kept.")
    opened[0].gate.set()
    shopper.say("tea")
    shopper.sees("suits you best")


def test_no_model_is_said_and_the_list_is_still_there(shopper: Shopper) -> None:
    shopper.say("dead cheese")
    shopper.sees("The model does not answer. These are plain reasons.")
    assert shopper.page.locator(".st-card").count() == 5


def test_errors_are_sentences(shopper: Shopper) -> None:
    shopper.say("   ")
    shopper.sees("Write what you are looking for")
    shopper.say("broken")
    shopper.sees("The shop folder is damaged. Build it again with: shoptalk prepare")
    shopper.say("bug")
    shopper.sees("Something went wrong on this side")
    shopper.say("tea")
    shopper.sees("suits you best")


def test_choosing_a_shopper_starts_a_new_talk(opened: tuple[ScriptedAssistant, str], shopper: Shopper) -> None:
    shopper.say("cheese")
    shopper.sees("suits you best")
    shopper.page.get_by_label("Who is shopping").click()
    shopper.page.get_by_role("option", name="Household u1 · 6 trips").click()
    shopper.page.wait_for_function("document.querySelectorAll('.user-row').length === 0")
    shopper.press("A snack I haven't tried before")
    shopper.sees("suits you best")
    assert "u1" in {session.user_id for session in opened[0].sessions.values()}


def test_two_visitors_do_not_see_each_other(
    opened: tuple[ScriptedAssistant, str], browser: Any, shopper: Shopper
) -> None:
    other = Shopper(browser, opened[1])
    shopper.say("cheese")
    shopper.sees("suits you best")
    shopper.press("Add Shredded cheese, 8 oz, name brand to the cart")
    shopper.sees("$3.10", within="#st-cart .st-total")
    other.say("tea")
    other.sees("suits you best")
    assert "Nothing yet." in other.page.locator("#st-cart").inner_text()
    other.page.close()


def test_every_control_has_a_name(shopper: Shopper) -> None:
    shopper.say("cheese")
    shopper.sees("suits you best")
    nameless = shopper.page.evaluate(
        """() => [...document.querySelectorAll('button, input, textarea, select, [role=button]')]
        .filter((e) => e.offsetParent && !(e.innerText || '').trim() && !e.getAttribute('aria-label') && !e.title
            && !(e.labels && e.labels.length))
        .map((e) => e.outerHTML.slice(0, 160))"""
    )
    # Gradio's own arrow inside a folded step is a button inside a named one.
    assert [html for html in nameless if "icon-button" not in html] == []


@pytest.mark.parametrize("width", [1280, 400])
def test_nothing_sticks_out(opened: tuple[ScriptedAssistant, str], browser: Any, width: int) -> None:
    visitor = Shopper(browser, opened[1], width=width)
    visitor.say("cheese")
    visitor.sees("suits you best")
    assert visitor.page.evaluate("document.documentElement.scrollWidth") <= width
    send = visitor.page.get_by_role("button", name="Send").bounding_box()
    assert send["y"] + send["height"] <= 800
    visitor.page.close()


def test_a_taken_port_is_a_sentence(opened: tuple[ScriptedAssistant, str]) -> None:
    port = int(opened[1].rsplit(":", 1)[1])
    with pytest.raises(ShopError, match=rf"Port {port} on 127.0.0.1 cannot be used: .*SHOPTALK_PORT={port + 1}"):
        check_port("127.0.0.1", port)
    with pytest.raises(ShopError, match=r"No address nowhere.invalid on this machine"):
        check_port("nowhere.invalid", port)
