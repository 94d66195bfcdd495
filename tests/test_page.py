"""The page in a real browser: a message is sent, cards are seen, buttons work, hostile text stays text."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from agent.local_vllm import free_port
from retrieval.records import Item, ShopError
from tests.scripted_assistant import ScriptedAssistant
from tests.shops import twelve_items
from ui.model_service import Status
from ui.port import check_port

if TYPE_CHECKING:
    from agent.assistant import Assistant

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

    def cards(self) -> dict[str, str]:
        """Give the titles and prices of the cards on the page."""
        rows = self.page.locator(".st-card").all()
        return {row.locator(".st-title").text_content(): row.locator(".st-price").text_content() for row in rows}

    def sees(self, text: str, *, within: str = "body") -> None:
        self.page.locator(within).get_by_text(text).last.wait_for(timeout=15_000)


@contextmanager
def page_of(assistant: ScriptedAssistant | Assistant, **options: Any) -> Iterator[tuple[Any, str]]:
    """Open a page of its own; give it and its address."""
    from ui.page import build_page, launch_page

    page = build_page(assistant, **options)  # type: ignore[arg-type]
    try:
        yield page, launch_page(page, host="127.0.0.1", port=free_port())
    finally:
        page.close(verbose=False)


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory, browser: Any) -> Iterator[tuple[ScriptedAssistant, str]]:
    assistant = ScriptedAssistant(items(), store=tmp_path_factory.mktemp("page") / "store.sqlite")
    with page_of(
        assistant, shoppers=[("Household u1 · 6 trips", "u1")], status=lambda: Status(text="The model is ready")
    ) as (_, url):
        yield assistant, url


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


def choose(shopper: Shopper, option: str) -> None:
    shopper.page.get_by_label("Who is shopping").click()
    shopper.page.get_by_role("option", name=option).click()


def talk_is_empty(shopper: Shopper) -> None:
    shopper.page.wait_for_function("document.querySelectorAll('.user-row').length === 0")


def test_what_was_done_is_folded_and_opens(shopper: Shopper) -> None:
    """One line says what the assistant did; pressed, it shows with which words."""
    shopper.say("cheese")
    shopper.sees("suits you best")
    heading = shopper.page.locator("#st-talk .thought-group .title").first
    assert "Searched the shop" in heading.inner_text()
    details = shopper.page.locator("#st-talk .st-steps")
    assert not details.is_visible()
    heading.click()
    details.wait_for(state="visible", timeout=15_000)
    assert "query: cheese" in details.inner_text()
    heading.click()
    details.wait_for(state="hidden", timeout=15_000)


def test_a_dislike_is_remembered_and_marked_and_everything_can_be_erased(shopper: Shopper) -> None:
    """The thumb stays down while the dislike is kept; "Erase everything" takes likes and dislikes alike."""
    shopper.say("cheese")
    shopper.sees("suits you best")
    shopper.press("I do not like Shredded cheese, 8 oz, store brand")
    shopper.sees("Does not like", within="#st-memory")
    shopper.sees("Shredded cheese, 8 oz, store brand", within="#st-memory")
    marked = shopper.page.locator(".st-card button[aria-pressed=true]")
    marked.first.wait_for(timeout=15_000)
    assert [marked.count(), marked.first.get_attribute("data-press")] == [1, "dislike"]
    shopper.press("I like Shredded cheese, 8 oz, name brand")
    shopper.page.wait_for_function("document.querySelectorAll('#st-memory li').length === 2")
    shopper.press("Erase everything that is remembered")
    shopper.sees("Nothing. Likes", within="#st-memory")
    shopper.page.wait_for_function("document.querySelectorAll('.st-card button[aria-pressed=true]').length === 0")
    assert shopper.errors == []


def test_start_over_empties_the_talk_and_a_new_shoppers_cart(shopper: Shopper) -> None:
    """What a visitor without a name leaves is gone; the next message begins a talk of its own."""
    from playwright.sync_api import expect

    over = shopper.page.get_by_role("button", name="Start over")
    expect(over).to_be_disabled()  # there is nothing to start over
    shopper.say("cheese")
    shopper.sees("suits you best")
    shopper.press("Add Shredded cheese, 8 oz, name brand to the cart")
    shopper.sees("$3.10", within="#st-cart .st-total")
    over.click()
    talk_is_empty(shopper)
    shopper.sees("What can I find for you?")
    shopper.sees("Nothing yet.", within="#st-cart")
    expect(over).to_be_disabled()
    shopper.say("tea")
    shopper.sees("suits you best")
    assert shopper.page.locator(".user-row").count() == 1


def test_start_over_as_a_known_shopper_keeps_who_it_is_and_the_cart(shopper: Shopper) -> None:
    """The talk is new, the shopper is not."""
    shopper.say("cheese")
    shopper.sees("suits you best")
    choose(shopper, "Household u1 · 6 trips")
    talk_is_empty(shopper)
    shopper.say("cheese")
    shopper.sees("suits you best")
    shopper.press("Add Shredded cheese, 8 oz, name brand to the cart")
    shopper.sees("$3.10", within="#st-cart .st-total")
    shopper.press("Start over")
    talk_is_empty(shopper)
    shopper.sees("$3.10", within="#st-cart .st-total")
    shopper.press("Remove Shredded cheese, 8 oz, name brand from the cart")
    shopper.sees("Nothing yet.", within="#st-cart")


def test_the_models_status_is_shown_and_followed(browser: Any, tmp_path: Path) -> None:
    """While it starts, when it answers, and when it does not: each with its own light, without reloading."""
    now = [Status(text="The model is starting", ready=False)]
    with page_of(ScriptedAssistant(items(), store=tmp_path / "s.sqlite"), status=lambda: now[0]) as (_, url):
        visitor = Shopper(browser, url)
        light = visitor.page.locator("#st-status .st-status")
        for status, style in (
            (now[0], "st-wait"),
            (Status(text="The model is ready (shoptalk)"), "st-on"),
            (Status(text="No model: it <ended>. Answers come with plain reasons.", good=False), "st-off"),
        ):
            now[0] = status
            visitor.sees(status.text, within="#st-status")
            assert style in light.get_attribute("class").split()
            assert light.get_attribute("role") == "status"
        visitor.page.close()


def test_turns_wait_up_to_the_queues_length_and_one_more_is_refused_in_words(browser: Any, tmp_path: Path) -> None:
    """One turn at once and one that waits: the third visitor is told, keeps what was typed, and may send it again."""
    assistant = ScriptedAssistant(items(), store=tmp_path / "s.sqlite")
    with page_of(assistant, turns_at_once=1, queue_length=1) as (page, url):
        first, second, third = visitors = [Shopper(browser, url) for _ in range(3)]
        first.say("slow cheese")
        first.page.locator(".st-card").first.wait_for()
        second.say("tea")
        deadline = time.monotonic() + 15
        while len(page._queue) != 1:
            assert time.monotonic() < deadline, "the second turn does not wait"
            time.sleep(0.05)
        third.say("milk")
        third.sees("This application is currently busy. Please try again.")
        assert third.box.input_value() == "milk"
        assert second.page.locator(".user-row").count() == 0, "one turn at once"
        assistant.gate.set()
        for visitor in (first, second):
            visitor.sees("suits you best")
        third.press("Send")
        third.sees("suits you best")
        for visitor in visitors:
            visitor.page.close()


def test_a_taken_port_is_a_sentence(opened: tuple[ScriptedAssistant, str]) -> None:
    port = int(opened[1].rsplit(":", 1)[1])
    with pytest.raises(ShopError, match=rf"Port {port} on 127.0.0.1 cannot be used: .*SHOPTALK_PORT={port + 1}"):
        check_port("127.0.0.1", port)
    with pytest.raises(ShopError, match=r"No address nowhere.invalid on this machine"):
        check_port("nowhere.invalid", port)
