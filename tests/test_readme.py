"""The README says what the code does: its tables are the code's own, and its commands run."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_parts_that_are_made_from_the_code_are_what_the_code_says() -> None:
    from ui.reference import filled

    assert filled(README) == README, "run: .venv/bin/python -m ui.reference README.md"


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


def test_the_make_targets_of_the_readme_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"`make (\w+)`|^make (\w+)", README, flags=re.MULTILINE)):
        name = target[0] or target[1]
        assert re.search(rf"^{name}:", makefile, flags=re.MULTILINE), name


def test_every_metric_and_tool_is_documented() -> None:
    from agent.tools import TOOLS

    contributing = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for tool in TOOLS:
        assert tool.description, tool.name
    for section in ("Add a source", "Add a tool", "Add a metric"):
        assert f"## {section}" in contributing
