"""How fast the base model is served, with an adapter merged into it, and with the adapter beside it (`python -m eval.serving_speed`).

The three servers run at once and are asked in turn, round after round, so that a machine that slows down slows them
all. One stream each: a shop's page has few people typing at the same moment.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

from agent.base_model import merge_adapter
from agent.local_vllm import LocalVllm, request_json, start_vllm
from eval import environment
from retrieval.records import ShopError

PROMPT_WORDS = 900  # about as many tokens: a talk of some turns
DECODED = 96  # tokens
SECONDS = 120.0  # for one request


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """Tokens a second of one server, each the median over rounds, and the share of the base's (median of the rounds' shares)."""

    name: str
    prefill: float
    decode: float
    prefill_share: float
    decode_share: float


def timed(server: LocalVllm, prompt: str, *, tokens: int) -> tuple[float, int]:
    """Have a prompt completed by exactly so many tokens; give the seconds and the prompt's length in tokens.

    Raises:
        ShopError: when the server does not answer.
    """
    body = {"model": server.name, "prompt": prompt, "max_tokens": tokens, "temperature": 0, "ignore_eos": True}
    started = time.monotonic()
    answer = request_json(server.port, "POST", "/v1/completions", body=body, seconds=SECONDS)
    seconds = time.monotonic() - started
    if not isinstance(answer, dict):
        raise ShopError(f"The server of {server.name} gave no completion: see {server.serving.log}")
    return seconds, int(answer["usage"]["prompt_tokens"])


def one_round(server: LocalVllm, rng: Random) -> tuple[float, float]:
    """Measure prefill and decode of one server, in tokens a second, on a prompt that it has not seen."""
    prompt = " ".join(
        rng.choice(("milk", "bread", "tea", "rice", "soap", "eggs", "corn", "ham")) for _ in range(PROMPT_WORDS)
    )
    first, length = timed(server, prompt, tokens=1)
    whole, _ = timed(server, prompt, tokens=1 + DECODED)  # the prompt is in the prefix cache now
    again, _ = timed(server, prompt, tokens=1)
    return length / first, DECODED / max(whole - again, 1e-6)


def measure(servers: Sequence[tuple[str, LocalVllm]], *, rounds: int, seed: int) -> list[Speed]:
    """Ask the servers in turn for so many rounds, after one that is not counted; the first is what the shares are of."""
    rng = Random(seed)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name, _ in servers}
    for number in range(rounds + 1):
        for name, server in servers:
            speed = one_round(server, rng)
            if number:
                found[name].append(speed)
    base = found[servers[0][0]]
    return [
        Speed(
            name=name,
            prefill=round(median(prefill for prefill, _ in own), 1),
            decode=round(median(decode for _, decode in own), 1),
            prefill_share=round(median(p / b for (p, _), (b, _) in zip(own, base, strict=True)), 3),
            decode_share=round(median(d / b for (_, d), (_, b) in zip(own, base, strict=True)), 3),
        )
        for name, own in found.items()
    ]


def main() -> None:
    """Start the three servers, measure, and print one JSON object."""
    parser = argparse.ArgumentParser(prog="python -m eval.serving_speed", description=__doc__)
    parser.add_argument("--base", type=Path, default=Path(".shoptalk/models/base"), help="folder of the base model")
    parser.add_argument("--adapter", type=Path, default=Path("finetune/adapter"), help="folder of the adapter")
    parser.add_argument("--rounds", type=int, default=7, help="how often each is measured")
    parser.add_argument("--seed", type=int, default=0, help="of the prompts")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="shoptalk-") as folder, ExitStack() as held:
        work = Path(folder)

        def serve(name: str, model: Path, **more: Any) -> tuple[str, LocalVllm]:
            sys.stderr.write(f"starting: {name}\n")
            return name, held.enter_context(start_vllm(model, served_name=name, log=work / f"{name}.log", **more))

        merged = merge_adapter(base=given.base, adapter=given.adapter, folder=work / "model")
        servers = [
            serve("base", given.base),
            serve("merged", merged),
            serve("beside", given.base, adapter=("adapter", given.adapter)),
        ]
        speeds = measure(servers, rounds=given.rounds, seed=given.seed)
    record = {
        "speeds": [asdict(speed) for speed in speeds],
        "rounds": given.rounds,
        "seed": given.seed,
        "prompt_words": PROMPT_WORDS,
        "decoded_tokens": DECODED,
        "versions": environment.versions(),
        "hardware": environment.hardware(),
    }
    sys.stdout.write(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    try:
        main()
    except ShopError as error:
        sys.exit(f"serving_speed: {error}")
