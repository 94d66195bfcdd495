"""The parts of the README that are made from the code: the settings' table and each command's help.

`python -m ui.reference README.md` writes them; a test fails when they are not what the code says.
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


def filled(readme: str) -> str:
    """Put what the code says between the markers of a README."""
    from ui.settings import settings_table

    for name, text in (("settings", settings_table()), ("commands", command_help())):
        pattern = rf"<!-- {name} -->.*?<!-- /{name} -->"
        block = f"<!-- {name} -->\n{text.strip()}\n<!-- /{name} -->"
        readme = re.sub(pattern, lambda _, block=block: block, readme, flags=re.DOTALL)  # type: ignore[misc]
    return readme


def main() -> None:
    """Rewrite the file named on the command line."""
    path = Path(sys.argv[1])
    path.write_text(filled(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
