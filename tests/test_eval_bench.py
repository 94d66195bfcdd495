"""The bench measures what it says: time, memory of a whole process tree, turns; and writes it beside the targets."""

from __future__ import annotations

import contextlib
import json
import os
import random
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from agent.conversation import Conversation, Message
from eval import bench, process_memory
from retrieval.records import ShopError
from tests.shops import twelve_items
from tests.test_eval_replay import Parrot, write_set

HOLD = "import sys, time; held = bytearray({mib} * 2**20); print('held', flush=True); time.sleep({seconds})"


def test_memory_of_the_children_is_counted(tmp_path: Path) -> None:
    """Promise: a server started by the process counts towards the whole system."""
    child = HOLD.format(mib=120, seconds=1.5)
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    found = bench.measure_prepare([sys.executable, "-c", parent], log=tmp_path / "log")
    assert found["prepare_peak_gib"] * 1024 > 120
    assert 1.4 < found["prepare_seconds"] < 30


def test_a_command_that_fails_is_no_figure(tmp_path: Path) -> None:
    """Promise: a failed step is an error that names its log."""
    with pytest.raises(ShopError, match=r"exit code 3\. See"):
        bench.measure_prepare([sys.executable, "-c", "raise SystemExit(3)"], log=tmp_path / "log")
    with pytest.raises(ShopError, match="Cannot start"):
        bench.measure_prepare(["no-such-program"], log=tmp_path / "log")


def test_the_page_is_ready_when_it_answers_and_is_gone_afterwards(tmp_path: Path) -> None:
    """Promise: page-ready is the time to the first answer, and nothing is left running."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    serve = (
        "import threading, time, http.server as h; time.sleep(1);"
        "threading.Timer(1, lambda: print('ready now', flush=True)).start();"
        f"h.test(h.SimpleHTTPRequestHandler, port={port}, bind='127.0.0.1')"
    )
    found = bench.measure_page(
        [sys.executable, "-c", serve],
        url=f"http://127.0.0.1:{port}/",
        log=tmp_path / "log",
        model_ready="ready now",
    )
    assert found["model_ready_seconds"] > found["page_ready_seconds"]
    assert found["page_ready_seconds"] >= 1
    assert found["page_idle_gib"] > 0
    time.sleep(0.2)
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


def test_a_page_that_ends_before_it_answers_is_an_error(tmp_path: Path) -> None:
    """Promise: a page that cannot start does not make the bench wait for ever."""
    with pytest.raises(ShopError, match="before its first answer"):
        bench.measure_page([sys.executable, "-c", "pass"], url="http://127.0.0.1:9/", log=tmp_path / "log")


def test_turns_are_drawn_whole_and_by_seed() -> None:
    """Promise: same seed, same conversations; a conversation is never cut."""
    talks = [Conversation(conversation_id=str(n), messages=(Message(role="user", content="x"),) * 3) for n in range(40)]
    first, again = (bench.draw(talks, turns=10, rng=random.Random(7)) for _ in range(2))
    assert first == again
    assert len(first) == 4


def test_the_record_holds_figures_targets_and_on_what(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Promise: every figure stands beside its target, with n, seed, hardware and versions."""
    items = {item.item_id: item for item in twelve_items()}

    @contextlib.contextmanager
    def open_assistant() -> Iterator[Parrot]:
        parrot = Parrot()
        parrot.shop = SimpleNamespace(  # type: ignore[attr-defined]
            catalog=SimpleNamespace(items=items), history=SimpleNamespace(bought=lambda user_id, item_id: False)
        )
        yield parrot

    record = bench.run_bench(
        output=tmp_path / "out",
        set_path=write_set(tmp_path, ["soda", "cat"], ["beef"]),
        open_assistant=open_assistant,
        open_without_model=open_assistant,
        describe=lambda assistant: {"model": type(assistant).__name__},
    )
    written = json.loads((tmp_path / "out" / "bench.json").read_text(encoding="utf-8"))
    assert written == json.loads(json.dumps(record))
    assert {"seed", "hardware", "versions", "date", "git_hash"} <= set(written)
    values = {target["figure"]: target["value"] for target in written["targets"]}
    assert values["prepare_seconds"] is None
    assert values["llm_calls_max"] == 1
    assert values["no_model_turn_seconds_p95"] is not None
    kept = json.loads((tmp_path / "out" / "replay" / "results.json").read_text(encoding="utf-8"))
    assert record["config"] == kept["config"] and kept["config"]["model"] == "Parrot", "whose figures these are"
    assert record["figures"]["llm_calls_per_turn"] == kept["results"]["llm_calls_per_turn"]
    assert (values["errors"], values["off_catalogue_items"]) == (0, 0)
    assert record["figures"]["turns"] == 3, "all of the set where no number is named"
    assert values["system_peak_gib"] > 0
    text = (tmp_path / "out" / "bench.md").read_text(encoding="utf-8")
    assert text.strip() in capsys.readouterr().out
    assert all(target.text in text for target in bench.TARGETS)


def test_a_gone_process_counts_nothing() -> None:
    """Promise: a process that ends between two looks is no error."""
    assert process_memory.held(2**22 + 1) == (0, 0)
    assert os.getpid() in process_memory.tree(os.getpid())
