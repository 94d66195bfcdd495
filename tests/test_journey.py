"""The whole way, every part real: an owner's files, a prepared shop, vLLM with the adapter, talk, grading."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from agent.events import Finished, Listed, Said
from tests.shops import twelve_items, write_files
from tests.small_shop import Told
from tests.test_page import Shopper, browser, page_of

if TYPE_CHECKING:
    from agent.assistant import Assistant
    from agent.local_vllm import LocalVllm

__all__ = ["browser"]  # the fixture

pytestmark = [pytest.mark.model, pytest.mark.slow]
ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def shop_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prepare a shop from the neutral files, by the command that an owner types."""
    from typer.testing import CliRunner

    from ui.cli import app

    folder = tmp_path_factory.mktemp("owner")
    items, interactions = write_files(folder)
    words = ["prepare", "--items", str(items), "--interactions", str(interactions), "--shop", str(folder / "shop")]
    ran = CliRunner().invoke(app, [*words, "--no-model"])
    assert ran.exit_code == 0, ran.output
    return folder / "shop"


@pytest.fixture(scope="module")
def assistant(
    shop_folder: Path, vllm_server: LocalVllm, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Assistant]:
    """Open the assistant as `shoptalk chat` does."""
    from agent.assistant import Assistant
    from agent.limits import Limits
    from agent.model import OpenAIModel
    from agent.store import Store
    from retrieval.shop import Shop

    store = Store(tmp_path_factory.mktemp("state") / "store.sqlite")
    model = OpenAIModel(vllm_server.url, name=vllm_server.name)
    with Shop.open(shop_folder) as shop:
        yield Assistant(shop=shop, model=model, store=store, limits=Limits(turn_seconds=60))
    store.close()


def test_a_shopper_finds_asks_why_and_fills_a_cart(assistant: Assistant) -> None:
    session = assistant.start()
    events = list(assistant.reply("i need cat food", session_id=session))
    listed = [at for at, event in enumerate(events) if isinstance(event, Listed)]
    said = [at for at, event in enumerate(events) if isinstance(event, Said)]
    assert listed and said and listed[0] < said[0], "the list is shown before the words"
    assert events[listed[0]].cards[0].recommendation.item.item_id == "i01"  # type: ignore[union-attr]
    finished = events[-1]
    assert isinstance(finished, Finished)
    assert finished.reply.usage["llm_calls"] <= 2
    assert finished.reply.evidence["model_away"] is False

    events = list(assistant.reply("why the first one?", session_id=session))
    assert "explain" in events[-1].reply.acts  # type: ignore[union-attr]
    assert events[-1].reply.evidence["about"] == ["i01"]  # type: ignore[union-attr]

    list(assistant.reply("add the first one to my cart", session_id=session))
    assert assistant.cart(session) == (("i01", 1),)


@pytest.mark.page
def test_the_page_shows_what_the_shop_has_within_the_bound_and_says_why(assistant: Assistant, browser: Any) -> None:
    """Browser, page, assistant, adapter and vLLM at once; the page's own tests have scripted replies."""
    from playwright.sync_api import expect

    prices = {item.title: item.price or 0 for item in twelve_items()}
    with page_of(assistant) as (_, url):
        shopper = Shopper(browser, url)
        words = shopper.page.locator("#st-talk .bot-row .message-content")
        shopper.say("cat food under $5")
        expect(words.first).to_have_text(re.compile(r"\w.*[.!]"), timeout=90_000)
        shown = shopper.cards()
        assert shown.items() <= {title: f"${price:.2f}" for title, price in prices.items() if price < 5}.items()
        (first, *_) = shown
        shopper.press(f"Why {first}?")
        expect(words.nth(1)).to_contain_text(first.split(",")[0], timeout=90_000)
        assert shopper.page.locator(".st-notice").count() == 0, "the model answered both times"
        assert shopper.errors == []
        shopper.page.close()


@pytest.mark.parametrize(
    "message",
    ["¿cuánto cuesta la leche?", "necesito comida para gatos", "haben Sie Käse?"],
    ids=["Spanish, the price of milk", "Spanish, cat food", "German, cheese"],
)
def test_a_message_that_is_not_english_is_answered_definitely(assistant: Assistant, message: str) -> None:
    """It may be misunderstood; it ends in the shop's items, in none, or in what to say next, and changes nothing."""
    session = assistant.start()
    told = Told(tuple(assistant.reply(message, session_id=session)))
    assert (told.notices, told.reply.evidence["model_away"]) == ([], False), "the model answered"
    assert {*told.items, *told.reply.items} <= set(assistant.shop.catalog.items)
    onward = re.search(r"\?( |$)|Tell me |Nothing in this shop fits ", told.text)
    assert (told.items and told.text) or told.asked or onward, told.text
    assert (assistant.cart(session), assistant.memory(session)) == ((), [])
    again = Told(tuple(assistant.reply("i need cat food", session_id=session)))
    assert again.items[:1] == ["i01"], "the talk goes on"


def test_a_set_is_replayed_and_graded(assistant: Assistant, tmp_path: Path) -> None:
    from eval.replay import run_eval

    wish = {"act": "recommend", "where": {"max_price": 5}}
    conversation = {
        "conversation_id": "c1",
        "messages": [
            {"role": "user", "content": "shredded cheese under 5 dollars", "expect": wish},
            {"role": "user", "content": "thanks!", "expect": {"act": "chat"}},
        ],
    }
    file = tmp_path / "set.jsonl"
    file.write_text(json.dumps(conversation) + "\n", encoding="utf-8")
    run_eval(file, assistant=assistant, output=tmp_path / "out")
    results = json.loads((tmp_path / "out" / "results.json").read_text(encoding="utf-8"))
    assert results["n"]["turns"] == 2
    assert results["results"]["violation_rate"] == 0
    assert results["results"]["off_catalogue_items"] == 0
    assert results["results"]["errors"] == 0
    kept = [json.loads(line) for line in (tmp_path / "out" / "conversations.jsonl").read_text().splitlines()]
    assert [message["role"] for message in kept[0]["messages"]][:4] == ["user", "assistant", "tool", "assistant"]


def shoptalk(
    *words: str | Path, server: LocalVllm, home: Path, shop: Path, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run a command as its owner does, with a model that is served elsewhere."""
    settings = {
        "SHOPTALK_HOME": str(home),
        "SHOPTALK_SHOP": str(shop),
        "SHOPTALK_MODEL_URL": server.url,
        "SHOPTALK_TURN_SECONDS": "60",
        "COLUMNS": "200",
    }
    return subprocess.run(
        [sys.executable, "-m", "ui.cli", *map(str, words)],
        env={**os.environ, **settings},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=300,
        cwd=ROOT,
        check=False,
    )


def test_a_piped_talk_with_the_model(shop_folder: Path, vllm_server: LocalVllm, tmp_path: Path) -> None:
    """`shoptalk chat --terminal` reads the messages from a pipe, and leaves a server that is not its own running."""
    typed = "i need cat food\nwhy the first one?\nadd the first one to my cart\n/cart\n"
    done = shoptalk("chat", "--terminal", server=vllm_server, home=tmp_path, shop=shop_folder, stdin=typed)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    for line in typed.splitlines():
        assert f"> {line}" in done.stdout
    assert "Dry cat food, 16 oz, name brand  $3.49" in done.stdout
    assert "Looked up why" in done.stdout
    assert "Total $3.49" in done.stdout
    assert "The model is not answering" not in done.stdout
    assert vllm_server.answers()
    assert not (tmp_path / "models").exists(), "no model of our own is made beside one that is served"


def test_a_set_is_graded_by_the_command(shop_folder: Path, vllm_server: LocalVllm, tmp_path: Path) -> None:
    """`shoptalk eval` grades what the served model does, and says which one that was."""
    wish = {"act": "recommend", "where": {"max_price": 5}}
    messages = [
        {"role": "user", "content": "shredded cheese under 5 dollars", "expect": wish},
        {"role": "user", "content": "thanks!", "expect": {"act": "chat"}},
    ]
    file = tmp_path / "set.jsonl"
    file.write_text(json.dumps({"conversation_id": "c1", "messages": messages}) + "\n", encoding="utf-8")
    out = tmp_path / "out"
    done = shoptalk("eval", file, "--output", out, server=vllm_server, home=tmp_path / "home", shop=shop_folder)
    assert done.returncode == 0, done.stderr
    results = json.loads((out / "results.json").read_text(encoding="utf-8"))
    assert (results["config"]["model"], results["config"]["base"]) == (vllm_server.name, vllm_server.url)
    assert results["n"]["turns"] == 2
    figures = {name: results["results"][name] for name in ("violation_rate", "off_catalogue_items", "errors")}
    assert figures == {"violation_rate": 0, "off_catalogue_items": 0, "errors": 0}
    assert results["results"]["plain_rate"] == 0, "the model answered"


def test_training_and_serving_render_the_same_tokens(vllm_server: LocalVllm) -> None:
    """What the trainer reads is what vLLM's chat template makes of the same messages, token by token."""
    import httpx
    from transformers import AutoTokenizer

    from agent.conversation import Conversation, Message, ToolCall
    from agent.prompt import chat_messages
    from finetune.batches import encode

    messages = (
        Message(role="user", content="cat food under $5"),
        Message(
            role="assistant",
            tool_calls=(ToolCall(name="search_catalog", arguments={"query": "cat food", "max_price": 5}),),
        ),
        Message(role="tool", content="1 for cat food (under $5)\n1. Dry cat food $3.49; $1.51 under your $5"),
        Message(role="assistant", content="[1] is $1.51 under your $5."),
    )
    tokenizer = AutoTokenizer.from_pretrained(vllm_server.serving.model)
    conversation = Conversation(conversation_id="t", messages=messages)
    (trained,) = encode(conversation, tokenizer=tokenizer, render=chat_messages, limit=2048).sequences
    for count, span in ((1, trained.spans[0]), (3, trained.spans[1])):
        body = {"model": vllm_server.name, "messages": chat_messages(messages[:count]), "add_generation_prompt": True}
        served = httpx.post(vllm_server.url.removesuffix("/v1") + "/tokenize", json=body, timeout=30).json()["tokens"]
        assert list(trained.ids[: span.start]) == served
