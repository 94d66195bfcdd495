"""The README says what the code does: its tables are the code's own, and its commands run."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
import typer

from agent.conversation import read_conversations
from agent.local_vllm import free_port
from tests.shops import write_files
from tests.test_base_model import write_adapter

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "text"), [("README.md", README), ("CONTRIBUTING.md", CONTRIBUTING)], ids=["README", "CONTRIBUTING"]
)
def test_the_parts_that_are_made_from_the_code_are_what_the_code_says(name: str, text: str) -> None:
    from ui.reference import filled

    assert filled(text) == text, f"run: .venv/bin/python -m ui.reference {name}"


def commands() -> list[list[str]]:
    """List the shoptalk commands of the README's blocks, as words."""
    text = README.split("<!-- commands -->")[0]
    blocks = re.findall(r"```\n(.*?)```", text, flags=re.DOTALL)
    lines = [line.split("#")[0].strip() for block in blocks for line in block.splitlines()]
    return [shlex.split(line)[1:] for line in lines if line.startswith(".venv/bin/shoptalk")]


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_of_the_readme_exists_with_its_options(words: list[str]) -> None:
    from ui.cli import app

    group = typer.main.get_command(app)
    command = group.commands[words[0]]  # type: ignore[attr-defined]
    known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    assert {word for word in words[1:] if word.startswith("--")} <= known


HOUSEHOLD = "367"  # of the default shop; here the small shop's shopper u1 has its number
# What the test adds to a command of the README, by its first word: no vLLM, and little of what is counted.
SHORTER = {
    "chat": ["--no-model"],
    "eval": ["--no-model"],
    "simulate": ["--assistant", "no-model", "--shoppers", "2"],
    "dialogues": ["--count", "2", "--openers", "4", "--branches", "1"],
    "train": ["--max-tokens", "600", "--rank", "2"],
}
SAID = "cheese for tacos\n/add 1\n/cart\n"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand where `make prepare` has been: a default shop, base and adapter, an owner's two files, a conversation set."""
    from tests.tiny_models import write_tiny_model

    items, interactions = write_files(tmp_path)
    rows = interactions.read_text(encoding="utf-8")
    interactions.write_text(re.sub(r"^u1,", f"{HOUSEHOLD},", rows, flags=re.MULTILINE), encoding="utf-8")
    (tmp_path / "today.csv").write_text(f"user_id,item_id,timestamp\n{HOUSEHOLD},i06,2024-01-05\n", encoding="utf-8")
    base = write_tiny_model(tmp_path / "base")
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    # Its tokenizer knows few words, so that a prompt has more tokens than the model was made to read.
    (base / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 4096}), encoding="utf-8")
    wish = {"act": "recommend", "where": {"max_price": 3}}
    messages = [{"role": "user", "content": "cheese under $3", "expect": wish}]
    talks = [{"conversation_id": name, "messages": messages} for name in ("c1", "c2")]
    (tmp_path / "eval" / "sets").mkdir(parents=True)
    (tmp_path / "eval" / "sets" / "grocery.jsonl").write_text(
        "".join(json.dumps(talk) + "\n" for talk in talks), encoding="utf-8"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SHOPTALK_BASE_MODEL", str(base))
    monkeypatch.setenv("SHOPTALK_ADAPTER", str(write_adapter(tmp_path / "adapter", base)))
    monkeypatch.setenv("SHOPTALK_PORT", str(free_port()))
    assert "The shop is ready in .shoptalk/shop: 12 items" in ran(
        ["prepare", "--items", str(items), "--interactions", str(interactions), "--no-model"]
    )
    return tmp_path


def ran(words: list[str], *, ends: tuple[int, ...] = (0,)) -> str:
    """Run a command in this process, which spares each the seconds that importing takes; give what it printed."""
    from typer.testing import CliRunner

    from ui.cli import app

    done = CliRunner().invoke(app, words, input=SAID, env={"COLUMNS": "200"})
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code in ends, (words, done.output)
    return done.output


@contextmanager
def a_visitor_who_stops_it(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Open the page once it is up, then press Ctrl-C; what it answered is kept."""
    from ui import cli

    seen: list[str] = []

    def visit(_: Any) -> None:
        from ui.settings import read_settings

        with urlopen(f"http://127.0.0.1:{read_settings().port}/", timeout=10) as page:
            seen.append(page.read().decode())
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(cli, "_wait_and_report", visit)
        yield seen


@pytest.mark.slow
def test_the_commands_of_the_readme_run_in_their_order(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each as it is written, in a fresh folder, one after the other.

    Shortened: the default shop is the small one of twelve items, whose household 367 has six weeks of history; the
    base is a random model of two layers with an adapter of its own; no vLLM is started (`--no-model`); the set has two
    messages; two shoppers are simulated; two conversations and four openers are made, and a rank-2 adapter is trained
    for a step or two on them. The page is opened once it is up and stopped by Ctrl-C. `shoptalk compare` gets the
    second run that it compares.
    """
    told: dict[str, str] = {}
    for words in commands():
        short = [*words, *SHORTER.get(words[0], [])]
        if words[0] == "chat" and "--terminal" not in words:
            with a_visitor_who_stops_it(monkeypatch) as seen:
                told["page"] = ran(short, ends=(130,))
            assert "Shoptalk" in seen[0]
            continue
        if words[0] == "compare":
            ran(["eval", "eval/sets/grocery.jsonl", "--output", words[2], "--no-model"])
        # The port and the memory that are free are this machine's: doctor may find something to put right.
        told[" ".join(words)] = ran(short, ends=(0, 1) if words[0] == "doctor" else (0,))

    def said(start: str) -> str:
        (found,) = {text for words, text in told.items() if words.startswith(start)}
        return found

    for who in ("chat --terminal", f"chat --terminal --shopper {HOUSEHOLD}"):
        assert "Shredded cheese, 8 oz, store brand" in told[who] and "Total $" in told[who]
    assert f"as shopper {HOUSEHOLD}" in told[f"chat --terminal --shopper {HOUSEHOLD}"]
    assert re.search(r"ok +shop ", said("doctor"))
    assert "The shop is ready in myshop: 12 items" in said("prepare")
    assert "Added 1 interaction in " in said("update")
    assert (home / ".shoptalk" / "models" / "tuned" / "model.safetensors").is_file()
    assert "The page is on http://127.0.0.1:" in told["page"]
    results = json.loads((home / "out" / "results.json").read_text(encoding="utf-8"))
    assert (results["n"]["turns"], results["results"]["errors"]) == (2, 0)
    assert "act_accuracy" in said("compare")
    assert "act accuracy" in (home / "out" / "report.html").read_text(encoding="utf-8").lower()
    assert len(list(read_conversations(home / "talks" / "conversations.jsonl"))) == 2
    made = list(read_conversations(home / ".shoptalk" / "dialogues.jsonl"))
    assert {one.metadata["source"] for one in made} >= {"dialogues", "openers"}
    assert f"Use it with: SHOPTALK_ADAPTER={Path('.shoptalk/adapter')} shoptalk chat" in said("train")
    assert (home / ".shoptalk" / "adapter" / "adapter_model.safetensors").is_file()


def test_the_make_targets_of_the_readme_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"`make (\w+)`|^make (\w+)", README, flags=re.MULTILINE)):
        name = target[0] or target[1]
        assert re.search(rf"^{name}:", makefile, flags=re.MULTILINE), name


def test_every_setting_command_tool_and_metric_is_documented() -> None:
    """Each has its marked place, so that none is left out because a marker was lost."""
    from ui.reference import PARTS

    both = README + CONTRIBUTING
    assert {name for name in PARTS if f"<!-- {name} -->" in both and f"<!-- /{name} -->" in both} == set(PARTS)
    for section in ("Add a source", "Add a tool", "Add a metric"):
        assert f"## {section}" in CONTRIBUTING
