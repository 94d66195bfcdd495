"""Cards, cart and memory: every text is escaped, every button says what it does."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.events import Shown
from agent.store import Memory
from retrieval.records import Item, Recommendation
from tests.shops import twelve_items
from ui.cards import cards, cart, memory, plain, prose
from ui.words import visible

HOSTILE = (
    "<img src=x onerror=alert(1)>",
    "<script>alert(1)</script>",
    '"><svg onload=alert(1)>',
    "' onmouseover='alert(1)",
    "[click](http://evil.example)",
    "![x](http://evil.example/x.png)",
    "javascript:alert(1)",
    "</li></ol><h1>Free</h1>",
    "${1+1} {{value}} $$x$$",
)


class Tags(HTMLParser):
    """Collect the tags and attributes that a browser would see, and the text between them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.text = ""
        self.buttons: list[dict[str, str | None]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag == "button":
            self.buttons.append(dict(attrs))

    def handle_data(self, data: str) -> None:
        self.text += data


def shown(title: str, reason: str = "") -> Shown:
    item = replace(twelve_items()[0], title=title)
    return Shown(recommendation=Recommendation(item=item, score=1.0, parts=()), reason=reason)


def everything(text: str) -> str:
    """Put a text wherever a text can be put."""
    item = Item(item_id=text or "x", title=text, price=1.0, attributes={"age_restricted": "yes"})
    card = Shown(recommendation=Recommendation(item=item, score=1.0, parts=()), reason=text)
    return (
        cards([card], turn=0, live=True)
        + cart([(item.item_id, 2), (text + "?", 1)], catalog={item.item_id: item})
        + memory([Memory(memory_id=1, kind=text, text=text)])
    )


HARMLESS = Tags(everything("Milk"))


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_shows_as_text(text: str) -> None:
    seen = Tags(everything(text))
    assert seen.tags == HARMLESS.tags
    assert seen.attributes == HARMLESS.attributes
    assert text.partition(",")[0] in seen.text


@given(st.text(st.characters(codec="utf-8", exclude_characters=","), min_size=1, max_size=60))
def test_no_text_whatever_changes_the_markup(text: str) -> None:
    seen = Tags(everything(text))
    assert (seen.tags, seen.attributes) == (HARMLESS.tags, HARMLESS.attributes)


@given(st.text())
def test_escaping_loses_nothing_that_can_be_seen(text: str) -> None:
    for escape in (plain, prose):
        assert Tags(escape(text)).text.split() == visible(text).split() or "&" in text


def test_a_card_says_title_size_price_reason_and_age() -> None:
    beer = next(item for item in twelve_items() if item.item_id == "i11")
    card = Shown(recommendation=Recommendation(item=beer, score=1.0, parts=()), reason="You bought it twice.")
    text = Tags(cards([card], turn=0, live=True)).text
    assert text.startswith("1Beer, 12 x 12 oz, name brandAge-restrictedYou bought it twice.$11.00")


def test_every_button_has_a_name_of_its_own() -> None:
    html = cards([shown("Milk"), shown("Tea")], turn=3, live=True)
    labels = [button["aria-label"] for button in Tags(html).buttons]
    assert labels == [
        f"{words} {title}{end}"
        for title in ("Milk", "Tea")
        for words, end in (("Why", "?"), ("I like", ""), ("I do not like", ""), ("Add", " to the cart"))
    ]
    assert {(button["data-position"], button["data-turn"]) for button in Tags(html).buttons} == {("1", "3"), ("2", "3")}


def test_older_lists_have_no_buttons() -> None:
    assert Tags(cards([shown("Milk")], turn=0, live=False)).buttons == []


def test_what_was_liked_and_what_is_in_the_cart_is_marked() -> None:
    html = cards([shown("Milk")], turn=0, live=True, in_cart={"i00": 2}, liked={"i00"})
    seen = Tags(html)
    assert "2 in cart" in seen.text
    assert [button.get("aria-pressed") for button in seen.buttons] == [None, "true", "false", None]


def test_the_cart_adds_up() -> None:
    items = {item.item_id: item for item in twelve_items()}
    seen = Tags(cart([("i00", 2), ("i08", 1), ("gone", 1)], catalog=items))
    assert seen.text.endswith("Total$5.40")
    assert "gone" in seen.text and "no price" in seen.text
    assert [button["data-press"] for button in seen.buttons] == ["less", "more", "remove"] * 3


def test_memory_can_be_erased_one_by_one_or_whole() -> None:
    seen = Tags(memory([Memory(memory_id=7, kind="avoid", text="nuts")]))
    assert "Avoids nuts" in seen.text
    assert [(button["data-press"], button.get("data-memory")) for button in seen.buttons] == [
        ("forget", "7"),
        ("forget-all", None),
    ]
