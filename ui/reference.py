"""The parts of the documents that are made from the code: settings, commands, tools and metrics.

`python -m ui.reference README.md CONTRIBUTING.md` writes them; a test fails when they are not what the code says.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path


def command_help() -> str:
    """Write each command's help as one text block, 100 characters wide, without colour."""
    import typer
    from typer.testing import CliRunner

    from ui.cli import app

    names = sorted(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
    runner = CliRunner(env={"COLUMNS": "100", "TERMINAL_WIDTH": "100", "NO_COLOR": "1", "TERM": "dumb"})
    blocks = []
    for name in names:
        text = runner.invoke(app, [name, "--help"], prog_name="shoptalk").output
        blocks.append("\n".join(line.rstrip() for line in text.strip("\n").splitlines()))
    return "```\n" + "\n\n".join(blocks) + "\n```"


def settings_table() -> str:
    """Write every setting with its default."""
    from ui.settings import settings_table as table

    return table()


def tool_table() -> str:
    """Write every tool with the first line of what the model reads about it."""
    from agent.tools import TOOLS

    rows = [f"| `{tool.name}` | {_cell(tool.description.splitlines()[0])} |" for tool in TOOLS]
    return "\n".join(["| tool | what the model reads first |", "|---|---|", *rows])


def metric_table() -> str:
    """Write every metric of a replay with which way is good, whether a release hangs on it, and what it counts."""
    from eval.meanings import BETTER, DECIDING, meaning
    from eval.metrics import METRICS

    rows = [
        f"| `{name}` | {BETTER[name]} | {'yes' if name in DECIDING else ''} | {_cell(meaning(name))} |"
        for name in METRICS
    ]
    return "\n".join(["| metric | better | decides | is |", "|---|---|---|---|", *rows])


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


PARTS = {"settings": settings_table, "commands": command_help, "tools": tool_table, "metrics": metric_table}


def filled(document: str) -> str:
    """Put what the code says between the markers `<!-- name -->` and `<!-- /name -->` of a document."""
    for name, write in PARTS.items():
        pattern = re.compile(rf"<!-- {name} -->.*?<!-- /{name} -->", flags=re.DOTALL)
        if pattern.search(document):
            block = f"<!-- {name} -->\n{write().strip()}\n<!-- /{name} -->"
            document = pattern.sub(lambda _, block=block: block, document)  # type: ignore[misc]
    return document


def main() -> None:
    """Rewrite the files named on the command line."""
    for name in sys.argv[1:]:
        path = Path(name)
        path.write_text(filled(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
