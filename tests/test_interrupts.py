"""Ctrl-C at a real command: one sentence, exit code 130, what was there is still there, and the next run finishes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from agent.conversation import to_json
from agent.local_vllm import free_port
from agent.store import Store
from retrieval.generation import MANIFEST, POINTER, generations
from retrieval.shop import Shop
from tests.shops import twelve_items, write_files
from tests.test_agent_model import DONE, chunk, server, streaming
from tests.test_page import Shopper, browser, choose
from tests.tiny_models import talk, write_tiny_model

__all__ = ["browser", "server"]  # the fixtures

ROOT = Path(__file__).parents[1]
PATIENCE = 240.0  # seconds, for a machine that does much else
WITHOUT_SYSTEM = (
    "{% for m in messages if m['role'] != 'system' %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
    "{% endfor %}"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A command under way, and what it has written so far."""

    process: subprocess.Popen[bytes]
    output: Path
    errors: Path

    @property
    def said(self) -> str:
        """Give its standard output."""
        return self.output.read_text(encoding="utf-8")

    @property
    def told(self) -> str:
        """Give its standard error."""
        return self.errors.read_text(encoding="utf-8")

    def until(self, true: Callable[[Running], bool]) -> None:
        """Wait until something holds while the command runs."""
        deadline = time.monotonic() + PATIENCE
        while not true(self):
            assert self.process.poll() is None, f"it ended first, with {self.process.returncode}: {self.told}"
            assert time.monotonic() < deadline, f"it did not come to it: {self.told}"
            time.sleep(0.02)

    def end(self) -> int:
        """Wait for its end; give its exit code."""
        return self.process.wait(timeout=PATIENCE)


@contextmanager
def running(
    *words: str | Path, home: Path, folder: Path, stdin: str | None = None, **settings: str
) -> Iterator[Running]:
    """Run a command as a person would start it; its standard input stays open where `stdin` is given."""
    folder.mkdir(parents=True, exist_ok=True)
    output, errors = folder / "output", folder / "errors"
    # A shell starts what runs in its background with SIGINT ignored, and children inherit that.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with output.open("wb") as out, errors.open("wb") as err:
            process = subprocess.Popen(
                [sys.executable, "-m", "ui.cli", *map(str, words)],
                env={**os.environ, "COLUMNS": "200", "SHOPTALK_HOME": str(home), **settings},
                stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
                stdout=out,
                stderr=err,
                cwd=ROOT,
                start_new_session=True,
            )
    finally:
        signal.signal(signal.SIGINT, before)
    try:
        if process.stdin is not None:
            process.stdin.write((stdin or "").encode())
            process.stdin.flush()
        yield Running(process=process, output=output, errors=errors)
    finally:
        process.kill()
        process.wait()
        if process.stdin is not None:
            process.stdin.close()


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prepare the twelve-item shop once; tests copy its home."""
    folder = tmp_path_factory.mktemp("prepared")
    items, interactions = write_files(folder)
    words = ("prepare", "--items", items, "--interactions", interactions, "--no-model")
    with running(*words, home=folder / "home", folder=folder) as run:
        assert run.end() == 0, run.told
    return folder / "home"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a case takes place: a home of its own with the small shop, a free folder, and a model's server."""

    home: Path
    folder: Path
    server: Any


@pytest.fixture
def place(prepared: Path, tmp_path: Path, server: Any) -> Place:
    shutil.copytree(prepared, tmp_path / "home")
    (tmp_path / "work").mkdir()
    return Place(home=tmp_path / "home", folder=tmp_path / "work", server=server)


def nothing(*_: Any) -> None:
    """Look at nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A command, when Ctrl-C comes, what must then hold, and how the next run is started and has ended."""

    words: tuple[str | Path, ...]
    ready: Callable[[Running], bool]
    kept: Callable[[], None]
    finished: Callable[[str], None] = nothing
    again: tuple[str | Path, ...] | None = None  # the same words, where nothing is given
    before_again: Callable[[], None] = nothing
    settings: dict[str, str] = field(default_factory=dict)
    stdin: str | None = None


def preparing(place: Place) -> Case:
    """Build a shop without milk over the old one: the old one is there, whole, until the new one is."""
    shop = place.home / "shop"
    old = (shop / POINTER).read_text()
    _, interactions = write_files(place.folder)
    items = place.folder / "without_milk.jsonl"
    lines = (place.folder / "items.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    items.write_text("".join(line for line in lines if '"i08"' not in line), encoding="utf-8")

    def begun() -> list[Path]:
        return [one for one in generations(shop) if one.name != old.strip()]

    def kept() -> None:
        assert (shop / POINTER).read_text() == old
        assert not any((one / MANIFEST).exists() for one in begun())
        with Shop.open(shop) as opened:
            assert list(opened.catalog.items) == [item.item_id for item in twelve_items()]

    def finished(said: str) -> None:
        assert said.startswith(f"The shop is ready in {shop}: 11 items")
        assert [one.name for one in generations(shop)] == [(shop / POINTER).read_text().strip()]

    return Case(
        words=("prepare", "--items", items, "--interactions", interactions, "--no-model"),
        ready=lambda run: bool(begun()),
        kept=kept,
        finished=finished,
    )


def making_dialogues(place: Place) -> Case:
    """Write conversations over those of an earlier run."""
    out = place.folder / "dialogues.jsonl"
    out.write_text("old\n")
    words = ("dialogues", "--output", out, "--weeks", "2", "--branches", "0", "--openers", "0", "--count")

    def kept() -> None:
        assert out.read_text() == "old\n"
        assert [path.name for path in place.folder.iterdir() if path.name.startswith(out.name)] == [out.name]

    def finished(said: str) -> None:
        assert said.startswith("2 conversations with ")
        assert len(out.read_text(encoding="utf-8").splitlines()) == 2

    return Case(
        words=(*words, "5000"),
        ready=lambda run: "Conversations: Conversations " in run.told,
        kept=kept,
        again=(*words, "2"),
        finished=finished,
    )


def talking(place: Place) -> Case:
    """Leave a talk with something in the cart."""

    def finished(said: str) -> None:
        assert "in the cart: 1 × i0" in said

    return Case(
        words=("chat", "--terminal", "--no-model", "--shopper", "u0"),
        ready=lambda run: "Total $" in run.said,
        stdin="cheese\n/add 1\n/cart\n",
        kept=nothing,
        again=("memory", "show", "u0"),
        finished=finished,
    )


def answering(server: Any, *, held: threading.Event, let_go: threading.Event, thing: str = "milk") -> None:
    """Have the server plan a search for every message, and wait with the one that names a thing until it is let go."""
    plan = json.dumps({"calls": [{"tool": "search_catalog", "query": "cheese"}]})

    def serve(handler: Any) -> None:
        asked = server.requests[-1]
        if asked["messages"][-1]["content"].startswith(thing) and not let_go.is_set():
            held.set()
            let_go.wait(PATIENCE)
        words = plan if "response_format" in asked else "Here you are."
        streaming(chunk(words, finish="stop"), DONE)(handler)

    server.serve = serve


def three_talks(folder: Path) -> Path:
    """Write a set of three conversations, the second about milk."""
    path = folder / "set.jsonl"
    rows = [
        {"conversation_id": f"c{number}", "messages": [{"role": "user", "content": said}]}
        for number, said in enumerate(("cheese", "milk", "soda"))
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def model_settings(server: Any) -> dict[str, str]:
    """Name the server as the model's."""
    return {
        "SHOPTALK_MODEL_URL": f"http://127.0.0.1:{server.server_address[1]}/v1",
        "SHOPTALK_MODEL_NAME": "tiny",
    }


def lines_of(path: Path) -> list[str]:
    """Give the whole lines of a file; none where there is no file."""
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    return text[: text.rfind("\n") + 1].splitlines()


def evaluating(place: Place) -> Case:
    """Stop a replay while the model thinks about the second of three conversations."""
    held, let_go = threading.Event(), threading.Event()
    answering(place.server, held=held, let_go=let_go)
    out = place.folder / "out"
    first: list[str] = []

    def kept() -> None:
        assert sorted(path.name for path in out.iterdir()) == ["conversations.jsonl", "run.json"]
        first.extend(lines_of(out / "conversations.jsonl"))
        assert [json.loads(line)["conversation_id"] for line in first] == ["c0"]
        assert (out / "conversations.jsonl").read_text(encoding="utf-8") == first[0] + "\n"

    def finished(said: str) -> None:
        held_now = lines_of(out / "conversations.jsonl")
        assert [json.loads(line)["conversation_id"] for line in held_now] == ["c0", "c1", "c2"]
        assert held_now[:1] == first
        assert json.loads((out / "results.json").read_text(encoding="utf-8"))["n"]["conversations"] == 3

    return Case(
        words=("eval", three_talks(place.folder), "--output", out),
        settings=model_settings(place.server),
        ready=lambda run: held.is_set(),
        kept=kept,
        before_again=let_go.set,
        finished=finished,
    )


def training(place: Place) -> Case:
    """Stop a training run after its first steps; the adapter appears when it is finished and not before."""
    # The rules of serving are longer than the tiny model reads, so its template leaves them out.
    base = write_tiny_model(place.folder / "base", template=WITHOUT_SYSTEM)
    conversations = place.folder / "conversations.jsonl"
    conversations.write_text("".join(json.dumps(to_json(talk(n))) + "\n" for n in range(40)), encoding="utf-8")
    out = place.folder / "adapter"

    def kept() -> None:
        assert not out.exists()
        assert {path.name for path in (place.folder / "adapter.partial").iterdir()} <= {
            "lock",
            "checkpoint.safetensors",
        }

    def finished(said: str) -> None:
        assert said.startswith(f"The adapter is in {out}.")
        assert (out / "adapter_model.safetensors").is_file()
        assert not (place.folder / "adapter.partial").exists()

    return Case(
        words=("train", "--conversations", conversations, "--output", out, "--rank", "4", "--epochs", "16"),
        settings={"SHOPTALK_BASE_MODEL": str(base), "OMP_NUM_THREADS": "1"},
        ready=lambda run: "Training: step " in run.told,
        kept=kept,
        finished=finished,
    )


def measuring(place: Place) -> Case:
    """Stop a bench while the shop that it measures is being built by a process of its own."""
    out, rest = place.folder / "bench", place.folder / "tmp"
    out.mkdir()
    rest.mkdir()
    (out / "bench.json").write_text("old\n")
    children: list[int] = []

    def ready(run: Running) -> bool:
        log = out / "prepare.log"
        children[:] = children_of(run.process.pid)
        return bool(children) and log.is_file() and log.stat().st_size > 0

    def kept() -> None:
        assert (out / "bench.json").read_text() == "old\n"
        deadline = time.monotonic() + 20
        while any(alive(child) for child in children):
            assert time.monotonic() < deadline, "a process of the bench outlives it"
            time.sleep(0.05)
        assert list(rest.iterdir()) == []
        assert "Traceback" not in (out / "prepare.log").read_text(encoding="utf-8")

    return Case(
        words=("bench", "--output", out, "--no-page", "--turns", "1"),
        settings={"TMPDIR": str(rest)},
        ready=ready,
        kept=kept,
        again=("settings",),  # a whole bench takes minutes and the real model
    )


def children_of(pid: int) -> list[int]:
    """List the processes that a process has started and that still run."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):  # a thread that has ended meanwhile
            found += map(int, task.read_text().split())
    return found


def alive(pid: int) -> bool:
    """Say whether a process runs; one that has ended and that nobody has asked after does not."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


@pytest.mark.slow
@pytest.mark.parametrize("make", [preparing, making_dialogues, talking, evaluating, training, measuring])
def test_ctrl_c_ends_a_command_cleanly_and_the_next_run_finishes(make: Callable[[Place], Case], place: Place) -> None:
    case = make(place)
    with running(
        *case.words, home=place.home, folder=place.folder / "first", stdin=case.stdin, **case.settings
    ) as stopped:
        stopped.until(case.ready)
        stopped.process.send_signal(signal.SIGINT)
        assert stopped.end() == 130, stopped.told
        assert stopped.told.endswith("\nStopped. What was finished is kept.\n")
        assert "Traceback" not in stopped.told + stopped.said
    case.kept()
    case.before_again()
    with running(*(case.again or case.words), home=place.home, folder=place.folder / "again", **case.settings) as done:
        assert done.end() == 0, done.told
    case.finished(done.said)


def processes_of(home: Path) -> set[int]:
    """List what runs for a home folder, children of children and what nobody owns any more included: all inherit it."""
    mark, found = f"SHOPTALK_HOME={home}".encode(), set()
    for environment in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):  # one that has ended meanwhile, or is somebody else's
            if mark in environment.read_bytes().split(b"\0"):
                found.add(int(environment.parent.name))
    return found


def press_ctrl_c(run: Running, *, home: Path, within: float) -> None:
    """Press it as a terminal does, for the whole group; all has ended in time, with one sentence and nothing left."""
    stop(run, signal.SIGINT, home=home, within=within)
    assert run.told.endswith("\nStopped. What was finished is kept.\n")


def stop(run: Running, sent: signal.Signals, *, home: Path, within: float) -> None:
    """Send a signal to the whole group; all has ended in time, and nothing is left."""
    begun = time.monotonic()
    os.killpg(run.process.pid, sent)
    assert run.end() == 128 + sent, run.told
    assert time.monotonic() - begun < within
    assert processes_of(home) == set(), "what it started outlives it"
    assert "Traceback" not in run.told + run.said


# What stands where vLLM is looked for: it loads for ever, with a process of its own as vLLM's engine is.
LOADING = """\
import runpy, subprocess, sys
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
sys.argv += ["--fake", "silent"]
runpy.run_path({fake!r}, run_name="__main__")
"""


def a_model(folder: Path) -> Path:
    """Write what looks like a model to all but vLLM."""
    import numpy as np
    from safetensors.numpy import save_file

    (folder / "base").mkdir()
    (folder / "base" / "config.json").write_text('{"architectures": ["LlamaForCausalLM"]}', encoding="utf-8")
    (folder / "base" / "tokenizer.json").write_text("{}", encoding="utf-8")
    save_file({"weight": np.zeros(1, np.float32)}, folder / "base" / "model.safetensors")
    return folder / "base"


def never_loading(folder: Path) -> Path:
    """Write a `vllm` that is found before the real one; give the folder to put on Python's path."""
    package = folder / "path" / "vllm" / "entrypoints" / "openai"
    package.mkdir(parents=True)
    for place in (package, *package.parents[:2]):
        (place / "__init__.py").touch()
    fake = Path(__file__).with_name("fake_vllm.py")
    (package / "api_server.py").write_text(LOADING.format(fake=str(fake)), encoding="utf-8")
    return folder / "path"


@pytest.mark.slow
@pytest.mark.parametrize("where", ["page", "terminal"])
def test_ctrl_c_while_the_model_starts_leaves_no_vllm_and_keeps_cart_and_memory(place: Place, where: str) -> None:
    """Loading takes half a minute, which is when people change their minds; a vLLM left behind holds gigabytes."""
    with closing(Store(place.home / "store.sqlite")) as store:
        store.set_cart("u0", [("i06", 2)])
        store.remember("u0", kind="avoid", text="nuts")
    settings = {"SHOPTALK_BASE_MODEL": str(a_model(place.folder)), "PYTHONPATH": str(never_loading(place.folder))}
    words = ("chat", "--port", str(free_port())) if where == "page" else ("chat", "--terminal", "--shopper", "u0")
    with running(*words, home=place.home, folder=place.folder / "first", **settings) as stopped:
        stopped.until(lambda run: len(lines_of(place.home / "models" / "vllm.log")) > 0)
        stopped.until(lambda run: where == "terminal" or "The page is on " in run.said)
        assert len(processes_of(place.home)) >= 4, "the command, its guard, vLLM and vLLM's own"
        press_ctrl_c(stopped, home=place.home, within=10)
    assert not (place.home / "models" / "serving.json").exists(), "nobody is told of a server that never was"
    with running("memory", "show", "u0", home=place.home, folder=place.folder / "again") as again:
        assert again.end() == 0, again.told
    assert again.said == "avoid: nuts\nin the cart: 2 × i06\n0 talks are kept\n"


def wording_for_ever(server: Any, *, held: threading.Event, let_go: threading.Event) -> None:
    """Have the server plan a cart line and a list for a message about milk, and say half a sentence about them."""
    put = {"tool": "update_cart", "action": "add", "query": "whole milk"}
    search = {"tool": "search_catalog", "query": "shredded cheese"}

    def serve(handler: Any) -> None:
        asked = server.requests[-1]
        about_milk = "milk" in asked["messages"][-1]["content"]
        if "response_format" in asked:
            plan = json.dumps({"calls": [put, search] if about_milk else [search]})
            streaming(chunk(plan, finish="stop"), DONE)(handler)
        elif any("milk" in message["content"] for message in asked["messages"] if message["role"] == "user"):
            streaming(chunk("Here are 2 for"))(handler)
            held.set()
            let_go.wait(PATIENCE)
        else:
            streaming(chunk("Here are 2 for shredded cheese.", finish="stop"), DONE)(handler)

    server.serve = serve


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda sent: sent.name)
def test_a_command_that_is_stopped_in_the_middle_of_a_turn_does_not_wait_for_the_model(
    place: Place, sent: signal.Signals
) -> None:
    """A turn may take 12 seconds, or what its owner allows; who presses Ctrl-C, or closes the terminal, wants no end of it."""
    held, let_go = threading.Event(), threading.Event()
    wording_for_ever(place.server, held=held, let_go=let_go)
    settings, typed = model_settings(place.server), "milk, and more cheese\n"
    with running(
        *("chat", "--terminal"), home=place.home, folder=place.folder / "first", stdin=typed, **settings
    ) as stopped:
        stopped.until(lambda run: held.is_set())
        try:
            stop(stopped, sent, home=place.home, within=6)
        finally:
            let_go.set()


@pytest.mark.slow
@pytest.mark.page
def test_ctrl_c_at_the_page_in_the_middle_of_a_turn_keeps_what_was_before_it(place: Place, browser: Any) -> None:
    """The list is on the screen and the milk as good as in the cart; the turn is not finished, so it was not."""
    held, let_go = threading.Event(), threading.Event()
    wording_for_ever(place.server, held=held, let_go=let_go)
    port = free_port()
    settings = {**model_settings(place.server), "SHOPTALK_TURN_SECONDS": "6"}
    words = ("chat", "--port", str(port))
    with running(*words, home=place.home, folder=place.folder / "first", **settings) as stopped:
        stopped.until(lambda run: "The page is on " in run.said and "The model is ready" in run.told)
        shopper = Shopper(browser, f"http://127.0.0.1:{port}")
        choose(shopper, "Shopper u0 · 6 trips")
        shopper.say("cheese")
        shopper.sees("Here are 2 for shredded cheese.")
        shopper.press("Add Shredded cheese, 8 oz, store brand to the cart")
        shopper.sees("$2.00", within="#st-cart .st-total")
        shopper.press("I like Shredded cheese, 8 oz, store brand")
        shopper.sees("Shredded cheese, 8 oz, store brand", within="#st-memory")
        shopper.say("milk, and more cheese")
        stopped.until(lambda run: held.is_set())
        try:
            press_ctrl_c(stopped, home=place.home, within=15)
        finally:
            let_go.set()
            shopper.page.close()
    with running("memory", "show", "u0", home=place.home, folder=place.folder / "again") as again:
        assert again.end() == 0, again.told
    assert again.said == "like: Shredded cheese, 8 oz, store brand\nin the cart: 1 × i06\n1 talks are kept\n"
    with closing(Store(place.home / "store.sqlite")) as store:
        assert store.connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        (kept,) = store.export("u0")["conversations"]
    said = [message["content"] for message in kept["messages"] if message["role"] == "user"]
    assert (said[0], len(said)) == ("cheese", 3), "the message and the two buttons, and not what was under way"
