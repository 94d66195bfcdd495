"""Progress on the terminal: a bar where there is one, a line at each new step where there is not."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape

from ui.words import visible

EACH_SECONDS = 2.0  # between two lines where there is no bar


@contextmanager
def progress_bar(title: str, *, console: Console | None = None) -> Iterator[Callable[[str, float], None]]:
    """Give a function that takes what is being done and the share done (0 to 1)."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    console = console or Console(stderr=True)
    if not console.is_terminal:
        last, due = [""], [0.0]

        def line(text: str, share: float) -> None:
            now = time.monotonic()
            if text != last[0] and (share >= 1.0 or now >= due[0]):
                last[0], due[0] = text, now + EACH_SECONDS
                console.print(f"{title}: {text}", markup=False, highlight=False)

        yield line
        return
    columns = (
        TextColumn("[bold]{task.description}[/bold]"),
        BarColumn(bar_width=28),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TextColumn("[dim]{task.fields[step]}[/dim]"),
    )
    with Progress(*columns, console=console, transient=False) as bar:
        task = bar.add_task(title, total=1.0, step="")

        def move(text: str, share: float) -> None:
            bar.update(task, completed=max(0.0, min(1.0, share)), step=escape(visible(text)))

        yield move
