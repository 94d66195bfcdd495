"""A disk that fills up while a command writes: one sentence, no half file, and the next run finishes.

A limit on the size of files, set on the running process, stands for the full disk: the write fails in the same place.
"""

from __future__ import annotations

import errno
import json
import resource
import threading
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import ui.settings
from tests.test_interrupts import (
    Place,
    answering,
    lines_of,
    model_settings,
    place,
    prepared,
    running,
    server,
    three_talks,
)
from ui.cli import DISK, app

__all__ = ["place", "prepared", "server"]  # the fixtures


@pytest.mark.parametrize(
    ("number", "why"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EDQUOT, "the disk quota is used up"),
        (errno.EFBIG, "the file would be larger than is allowed here"),
        (errno.EROFS, "the disk is read-only"),
    ],
)
def test_whatever_the_disk_refuses_is_a_sentence(number: int, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no command words it better, the command line does; other errors are bugs and stay what they are."""

    def refused(*_: Any, **__: Any) -> None:
        raise OSError(number, "refused", "/full/file")

    monkeypatch.setattr(ui.settings, "read_settings", refused)
    done = CliRunner().invoke(app, ["settings"])
    assert number in DISK and done.exit_code == 2
    assert done.stderr == (
        f"shoptalk: Cannot write /full/file: {why}. Nothing half-written was kept; "
        "once that is put right, run the same command again\n"
    )


def fill_the_disk(pid: int, *, free: Path, left: int) -> None:
    """Let a running process write no file beyond `left` bytes more than `free` has."""
    limit = free.stat().st_size + left
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (limit, limit))


@pytest.mark.slow
def test_dialogues_on_a_full_disk_leave_the_old_ones_and_no_half_file(place: Place) -> None:
    out = place.folder / "dialogues.jsonl"
    out.write_text("old\n")
    words = ("dialogues", "--output", out, "--weeks", "2", "--branches", "0", "--openers", "0", "--count")
    with running(*words, "5000", home=place.home, folder=place.folder / "first") as run:
        run.until(lambda run: "Conversations: Conversations " in run.told)
        fill_the_disk(run.process.pid, free=out.with_name(out.name + ".partial"), left=1000)
        assert run.end() == 2
        assert run.told.splitlines()[-1] == (
            f"shoptalk: No space left to write {out}: free some, then run the same command to go on"
        )
        assert "Traceback" not in run.told
    assert out.read_text() == "old\n"
    assert [path.name for path in place.folder.iterdir() if path.name.startswith(out.name)] == [out.name]
    with running(*words, "2", home=place.home, folder=place.folder / "again") as run:
        assert run.end() == 0, run.told
    assert len(lines_of(out)) == 2


@pytest.mark.slow
def test_an_eval_on_a_full_disk_keeps_what_was_finished_and_goes_on(place: Place) -> None:
    """The line that was cut short is taken off when the run goes on."""
    held, let_go = threading.Event(), threading.Event()
    answering(place.server, held=held, let_go=let_go)
    out = place.folder / "out"
    file = out / "conversations.jsonl"
    words, settings = ("eval", three_talks(place.folder), "--output", out), model_settings(place.server)
    with running(*words, home=place.home, folder=place.folder / "first", **settings) as run:
        run.until(lambda _: held.is_set())
        first = lines_of(file)
        fill_the_disk(run.process.pid, free=file, left=10)
        let_go.set()
        assert run.end() == 2
        assert run.told.splitlines()[-1] == (
            f"shoptalk: Cannot write {file}: File too large. Finished conversations are kept; free space and run again"
        )
        assert "Traceback" not in run.told
    assert len(first) == 1 and lines_of(file) == first
    assert not (out / "results.json").exists()
    with running(*words, home=place.home, folder=place.folder / "again", **settings) as run:
        assert run.end() == 0, run.told
    assert [json.loads(line)["conversation_id"] for line in lines_of(file)] == ["c0", "c1", "c2"]
    assert lines_of(file)[:1] == first
    assert json.loads((out / "results.json").read_text(encoding="utf-8"))["n"]["conversations"] == 3
