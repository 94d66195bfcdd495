"""Measure what the talk is like, what a person waits for and what the machine must hold, and set it beside the targets."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from agent.conversation import Conversation, read_conversations, to_json
from eval import environment, process_memory
from eval.metrics import percentile
from eval.replay import replay, write_whole
from retrieval.records import ShopError

GIB = 2**30
Report = Callable[[str, float], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A figure to reach: its name in `figures`, what it is, the most (or, with `least`, the least) it may be."""

    figure: str
    text: str
    unit: str
    bound: float
    least: bool = False

    def met(self, value: float | None) -> bool | None:
        """Say whether a value reaches the target; None where nothing was measured."""
        if value is None:
            return None
        return value >= self.bound if self.least else value <= self.bound


TARGETS = (
    Target(figure="act_accuracy", text="Act accuracy", unit="", bound=0.85, least=True),
    Target(figure="violation_rate", text="Violation rate", unit="", bound=0.05),
    Target(figure="answered_rate", text="Answered", unit="", bound=0.95, least=True),
    Target(figure="off_catalogue_items", text="Items that the shop does not have", unit="", bound=0),
    Target(figure="unsupported_claim_rate", text="Replies with an unsupported claim", unit="", bound=0),
    Target(figure="errors", text="Errors", unit="", bound=0),
    Target(figure="prepare_seconds", text="Default shop prepared", unit="s", bound=240),
    Target(figure="prepare_peak_gib", text="Memory while preparing (peak PSS)", unit="GiB", bound=3e9 / GIB),
    Target(figure="page_ready_seconds", text="Page ready", unit="s", bound=60),
    Target(figure="model_ready_seconds", text="Page ready with its model", unit="s", bound=60),
    Target(figure="system_peak_gib", text="Whole system resident (peak PSS)", unit="GiB", bound=9e9 / GIB),
    Target(figure="first_list_seconds_p50", text="First ranked list, p50", unit="s", bound=2.5),
    Target(figure="turn_seconds_p50", text="Whole turn, p50", unit="s", bound=5),
    Target(figure="turn_seconds_p95", text="Whole turn, p95", unit="s", bound=10),
    Target(figure="llm_calls_max", text="Model calls in a turn, most", unit="", bound=2),
    Target(figure="prompt_tokens_per_call", text="Mean prompt of a model call", unit="tokens", bound=1500),
    Target(figure="own_seconds_p95", text="A turn's time outside the model's calls, p95", unit="s", bound=0.15),
    Target(figure="no_model_turn_seconds_p95", text="A whole turn without a model, p95", unit="s", bound=0.15),
)


# The metrics of a replay that are figures of a bench, each with its standard error.
QUALITY = (
    "act_accuracy",
    "violation_rate",
    "answered_rate",
    "honest_none_rate",
    "off_catalogue_items",
    "unsupported_claim_rate",
    "replaced_rate",
    "mended_rate",
    "plain_rate",
    "errors",
)


def run_bench(
    *,
    output: Path,
    set_path: Path,
    open_assistant: Callable[[], AbstractContextManager[Any]],
    prepare_command: Sequence[str] | None = None,
    page_command: Sequence[str] | None = None,
    page_url: str = "http://127.0.0.1:7860/",
    turns: int | None = None,
    seed: int = 0,
    open_without_model: Callable[[], AbstractContextManager[Any]] | None = None,
    describe: Callable[[Any], Mapping[str, Any]] | None = None,
    progress: Report | None = None,
) -> dict[str, Any]:
    """Measure preparing, starting and talking one after the other; write `bench.json` and `bench.md`, print the table.

    `turns` is how many messages of the set are answered, in whole conversations; None for all of them.
    `prepare_command` builds a shop in a fresh folder and ends; `page_command` serves the page at `page_url` until
    it is interrupted; `open_assistant` gives the assistant with its model running under this process,
    `open_without_model` one that has none; `describe` says what an assistant is made of. What is left out is not measured.

    Raises:
        ShopError: when a command fails or the page does not answer.
    """
    from rich.console import Console

    def tell(text: str, share: float) -> None:
        if progress is not None:
            progress(text, share)

    output.mkdir(parents=True, exist_ok=True)
    figures: dict[str, float] = {}
    if prepare_command is not None:
        tell("Preparing the shop in a fresh folder", 0.0)
        figures |= measure_prepare(prepare_command, log=output / "prepare.log")
    if page_command is not None:
        tell("Starting the page", 0.3)
        figures |= measure_page(page_command, url=page_url, log=output / "page.log")
    tell("Talking" if turns is None else f"Talking for {turns} turns", 0.5)
    figures |= measure_turns(
        set_path, open_assistant=open_assistant, output=output, turns=turns, seed=seed, describe=describe
    )
    if open_without_model is not None:
        tell("Talking without the model", 0.95)
        figures |= measure_without_model(output / set_path.name, open_assistant=open_without_model, seed=seed)
    graded = json.loads((output / "replay" / "results.json").read_text(encoding="utf-8"))
    record = {
        "figures": {name: round(value, 4) for name, value in figures.items()},
        "targets": [
            {**asdict(target), "value": figures.get(target.figure), "met": target.met(figures.get(target.figure))}
            for target in TARGETS
        ],
        "seed": seed,
        "config": graded["config"],
        "versions": environment.versions(),
        "hardware": environment.hardware(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "git_hash": environment.git_hash(),
    }
    write_whole(output / "bench.json", json.dumps(record, indent=2) + "\n")
    text = markdown(record)
    write_whole(output / "bench.md", text)
    Console().print(text, markup=False, highlight=False, soft_wrap=True)
    return record


def measure_prepare(command: Sequence[str], *, log: Path) -> dict[str, float]:
    """Run the command to its end; give its seconds and the peak memory of all its processes."""
    started = time.perf_counter()
    with started_process(command, log=log) as process, process_memory.watched(process.pid) as peak:
        code = process.wait()
    seconds = time.perf_counter() - started
    if code:
        raise ShopError(f"Preparing failed with exit code {code}. See {log}")
    return {"prepare_seconds": seconds, "prepare_peak_gib": peak.pss / GIB, "prepare_peak_rss_gib": peak.rss / GIB}


def measure_page(
    command: Sequence[str],
    *,
    url: str,
    log: Path,
    model_ready: str | None = "The model is ready",
    deadline_s: float = 300,
) -> dict[str, float]:
    """Start the page, wait until it answers and says that its model does, look at its memory, and stop it.

    `model_ready` is what the command then prints; None for a page without a model.
    """
    if _answers(url):
        raise ShopError(f"Something answers at {url} already. Stop it, or measure with another port")
    started = time.perf_counter()
    with started_process(command, log=log) as process:

        def wait(what: str, done: Callable[[], bool]) -> float:
            while not done():
                if process.poll() is not None:
                    raise ShopError(f"The page ended with exit code {process.returncode} before {what}. See {log}")
                if time.perf_counter() - started > deadline_s:
                    raise ShopError(
                        f"The page took more than {deadline_s:.0f} s and still {what} was missing. See {log}"
                    )
                time.sleep(0.2)
            return time.perf_counter() - started

        out = {"page_ready_seconds": wait("its first answer", lambda: _answers(url))}
        if model_ready is not None:
            wanted = model_ready.encode()
            out["model_ready_seconds"] = wait("its model", lambda: wanted in log.read_bytes())
        time.sleep(2)
        rss, pss = process_memory.held(process.pid)
    return {**out, "page_idle_gib": pss / GIB, "page_idle_rss_gib": rss / GIB}


def measure_turns(
    set_path: Path,
    *,
    open_assistant: Callable[[], AbstractContextManager[Any]],
    output: Path,
    turns: int | None,
    seed: int,
    describe: Callable[[Any], Mapping[str, Any]] | None = None,
) -> dict[str, float]:
    """Hold whole conversations of a set, drawn by seed, until `turns` user messages were answered; None holds them all.

    A turn's own work is its time on the replayer's clock less the time spent in the model's calls; what is done beside
    a call (the message is embedded while the model plans) is not in it, but in what `measure_without_model` gives.
    """
    chosen = list(read_conversations(set_path))
    if turns is not None:
        chosen = draw(chosen, turns=turns, rng=random.Random(seed))
    subset = output / set_path.name
    write_whole(subset, "".join(json.dumps(to_json(one), ensure_ascii=False) + "\n" for one in chosen))
    with process_memory.watched(os.getpid()) as peak, open_assistant() as assistant:
        config = describe(assistant) if describe is not None else None
        record = replay_afresh(subset, assistant=assistant, output=output / "replay", seed=seed, config=config)
    usages = [
        dict(message.usage)
        for conversation in read_conversations(output / "replay" / "conversations.jsonl")
        for message in conversation.messages
        if message.role == "assistant" and message.usage
    ]
    found = record["results"]
    out = {
        "turns": float(record["n"]["turns"]),
        "conversations": float(record["n"]["conversations"]),
        "system_peak_gib": peak.pss / GIB,
        "system_peak_rss_gib": peak.rss / GIB,
    }
    out |= {name: float(value) for name in QUALITY if (value := found[name]) is not None}
    out |= {name: float(value) for name in map("{}_stderr".format, QUALITY) if (value := found.get(name)) is not None}
    for name in ("first_list_seconds", "turn_seconds"):
        for p in (50, 95):
            if found[f"{name}_p{p}"] is not None:
                out[f"{name}_p{p}"] = float(found[f"{name}_p{p}"])
    calls = [float(usage.get("llm_calls", 0)) for usage in usages]
    own = [max(0.0, usage["turn_seconds"] - usage.get("model_seconds", 0.0)) for usage in usages]
    prompt = sum(usage.get("prompt_tokens", 0) for usage in usages)
    return out | {
        "llm_calls_per_turn": sum(calls) / len(calls),
        "llm_calls_max": max(calls),
        "prompt_tokens_per_turn": prompt / len(usages),
        "prompt_tokens_per_call": prompt / sum(calls) if sum(calls) else 0.0,
        "completion_tokens_per_turn": sum(usage.get("completion_tokens", 0) for usage in usages) / len(usages),
        "own_seconds_p50": percentile(own, 50),
        "own_seconds_p95": percentile(own, 95),
    }


def measure_without_model(
    set_path: Path, *, open_assistant: Callable[[], AbstractContextManager[Any]], seed: int
) -> dict[str, float]:
    """Hold the same conversations without the model: each turn's work is done one step after the other, and nothing waits."""
    with tempfile.TemporaryDirectory(prefix="shoptalk-") as folder, open_assistant() as assistant:
        found = replay_afresh(set_path, assistant=assistant, output=Path(folder) / "replay", seed=seed)["results"]
    return {f"no_model_turn_seconds_p{p}": float(found[f"turn_seconds_p{p}"]) for p in (50, 95)}


def replay_afresh(
    set_path: Path, *, assistant: Any, output: Path, seed: int, config: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Replay a set from its start and grade it by the assistant's own shop."""
    return replay(
        set_path,
        assistant=assistant,
        items=assistant.shop.catalog.items,
        bought=assistant.shop.history.bought,
        output=output,
        config=config,
        seed=seed,
        fresh=True,
    )


def draw(conversations: Sequence[Conversation], *, turns: int, rng: random.Random) -> list[Conversation]:
    """Draw whole conversations in random order until they hold at least `turns` user messages."""
    out: list[Conversation] = []
    count = 0
    for one in rng.sample(list(conversations), len(conversations)):
        if count >= turns:
            break
        out.append(one)
        count += sum(message.role == "user" for message in one.messages)
    return out


def markdown(record: Mapping[str, Any]) -> str:
    """Write a bench record as the table that goes into a README."""
    hardware, figures = record["hardware"], record["figures"]
    lines = ["| | measured | target | |", "|---|---:|---:|---|"]
    for target in record["targets"]:
        value = target["value"]
        sign = "≥" if target["least"] else "≤"
        shown = "not measured" if value is None else f"{value:.3g} {target['unit']}".strip()
        if error := figures.get(f"{target['figure']}_stderr"):
            shown += f" ± {error:.2g}"
        mark = {True: "met", False: "missed", None: ""}[target["met"]]
        lines.append(f"| {target['text']} | {shown} | {sign} {target['bound']:.3g} {target['unit']} | {mark} |")
    machine = f"{hardware['processor']}, {hardware['cores']} cores, {hardware['memory_gib']} GiB"
    if hardware.get("gpu"):
        machine += f", {hardware['gpu']}"
    lines += [
        "",
        f"{figures['turns']:.0f} turns of {figures['conversations']:.0f} conversations, seed {record['seed']}; {machine}; "
        f"Python {record['versions']['python']}; commit {record['git_hash'] or 'unknown'}; {record['date']}.",
        "",
        "Versions: " + ", ".join(f"{name} {version}" for name, version in record["versions"].items()) + ".",
        "",
    ]
    return "\n".join(lines)


@contextlib.contextmanager
def started_process(command: Sequence[str], *, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Start a command in a group of its own, its output in `log`; interrupt the group and wait when the block ends."""
    with log.open("wb") as out:
        try:
            process = subprocess.Popen(
                list(command), stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True
            )
        except OSError as error:
            raise ShopError(f"Cannot start {command[0]}: {error.strerror or error}") from error
        try:
            yield process
        finally:
            for sent, patience in ((signal.SIGINT, 20), (signal.SIGTERM, 10), (signal.SIGKILL, 10)):
                if process.poll() is not None:
                    break
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, sent)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=patience)


def _answers(url: str) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError, ValueError):
        return False
