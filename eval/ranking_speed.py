"""How fast the ranking is and how its time and memory grow (`python -m eval.ranking_speed --output OUT`).

The default shop is asked as the assistant asks it; synthetic shops of growing size are fitted and asked each in a process of
its own, so that a peak of memory is that size's and no other's. Neither the model that speaks nor the embedder is timed.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from eval import environment
from eval.replay import write_whole
from eval.request_speed import GIB, Stages, fit_shop, measure_shop, measure_size
from eval.synthetic_shop import Size, lopsided_history, synthetic_history, synthetic_items
from eval.table import Table
from retrieval.records import ShopError

ITEMS = (10_000, 30_000, 100_000, 300_000)
INTERACTIONS = (300_000, 1_000_000, 3_000_000, 10_000_000)
BESIDE_ITEMS, BESIDE_INTERACTIONS = 1_000_000, 30_000  # what stays the same while the other grows
LOPSIDED_ITEMS, LOPSIDED_PURCHASES, LOPSIDED_EVENTS = 10_000, 10_000_000, 100_000
LOPSIDED_SHOPPER = "u0"
AIMED_AT_ITEMS, MOST_MS, MOST_MS_THERE, MOST_FIT_S = 100_000, 20.0, 60.0, 60.0
OUT_OF_MEMORY = 3  # exit code


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """A row of sizes of which one number grows; "lopsided" is one shop with one huge item and one huge shopper."""

    name: str
    sizes: tuple[Size, ...]

    @property
    def lopsided(self) -> bool:
        """Say whether it is the lopsided shop."""
        return self.name == "lopsided"


def make_history(size: Size, *, file: Path, lopsided: bool, seed: int) -> None:
    """Write a synthetic log as arrays; apart from measuring, so that making it adds nothing to a peak."""
    item_ids = [item.item_id for item in synthetic_items(size, rng=np.random.default_rng(seed))]
    rng = np.random.default_rng(seed + 1)
    if lopsided:
        made = lopsided_history(item_ids=item_ids, purchases=size.interactions, events=LOPSIDED_EVENTS, rng=rng)
    else:
        made = synthetic_history(size, item_ids=item_ids, rng=rng)
    made.save(file)


def in_own_process(job: Mapping[str, Any], *, folder: Path, seconds: float, gib: float) -> dict[str, Any]:
    """Run one of this module's jobs by itself, within limits; where it goes beyond them, give {"skipped": why}.

    Raises:
        ShopError: when it ends with an error of another kind.
    """
    answer = folder / "answer.json"
    answer.unlink(missing_ok=True)
    asked = json.dumps({**job, "answer": str(answer), "gib": gib})
    command = [sys.executable, "-m", "eval.ranking_speed", "--job", asked]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return {"skipped": f"more than {seconds:g} s"}
    if done.returncode in (OUT_OF_MEMORY, -6, -9):  # raised, C++ aborted, the kernel killed
        return {"skipped": f"more than {gib:g} GiB of memory"}
    if done.returncode:
        raise ShopError(f"Measuring {dict(job)} ended with {done.returncode}: {done.stderr[-2_000:]}")
    found: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
    return found


def run_job(job: Mapping[str, Any]) -> None:
    """Do what `in_own_process` asked for, in the process that it started."""
    if job["what"] != "shop":  # Chroma and torch reserve far more than they touch
        most = int(job["gib"] * GIB)
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    try:
        found = _done(job)
    except MemoryError:
        sys.exit(OUT_OF_MEMORY)
    write_whole(Path(job["answer"]), json.dumps(found))


def _done(job: Mapping[str, Any]) -> dict[str, Any]:
    if job["what"] == "shop":
        return _measured_shop(Path(job["shop"]), requests=job["requests"], seed=job["seed"])
    size, file = Size(items=job["items"], interactions=job["interactions"]), Path(job["file"])
    if job["what"] == "make":
        make_history(size, file=file, lopsided=job["lopsided"], seed=job["seed"])
        return {}
    user_id = LOPSIDED_SHOPPER if job["lopsided"] else None
    return measure_size(size, file=file, requests=job["requests"], seed=job["seed"], user_id=user_id)


def _measured_shop(path: Path, *, requests: int, seed: int) -> dict[str, Any]:
    from retrieval.shop import Shop

    stages = Stages()
    with stages.stage("open"):
        shop = Shop.open(path)
    with shop:
        speeds = measure_shop(shop, requests=requests, seed=seed)
        with stages.stage("requests"):
            pass
        fit_shop(shop, stages=stages)
        return {
            "speeds": {task: asdict(speed) for task, speed in speeds.items()},
            "stages": asdict(stages),
            "items": len(shop.catalog.items),
            "shoppers": len(shop.history.users),
            "trips": len(shop.history.basket_time),
            "lines": len(shop.history.basket_items),
            "generation": shop.generation,
        }


def grow(growth: Growth, *, requests: int, seed: int, seconds: float, gib: float) -> Iterator[dict[str, Any]]:
    """Measure sizes, the smallest first; after one that goes beyond a limit the larger ones are not tried."""
    skipped = ""
    for size in growth.sizes:
        asked = {"items_asked": size.items, "interactions_asked": size.interactions}
        if skipped:
            yield asked | {"skipped": f"a smaller one took {skipped}"}
            continue
        with tempfile.TemporaryDirectory(prefix="shoptalk-") as made:
            folder = Path(made)
            job = {"file": str(folder / "history.npz"), "lopsided": growth.lopsided, "requests": requests, "seed": seed}
            job |= {"items": size.items, "interactions": size.interactions}
            limits: dict[str, Any] = {"folder": folder, "seconds": seconds, "gib": gib}
            found = in_own_process({**job, "what": "make"}, **limits)
            found = found or in_own_process({**job, "what": "measure"}, **limits)
        skipped = found.get("skipped", "")
        yield asked | found


def aims(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Set what was measured beside what issue 4 asks for; `met` is None where nothing was measured."""
    shop = results.get("default shop") or {}
    there = [row for row in results.get("items", ()) if row["items_asked"] == AIMED_AT_ITEMS]
    fitted = shop.get("stages", {}).get("seconds", {})
    fit = [seconds for stage, seconds in fitted.items() if stage.startswith("fit")]
    rows: list[tuple[str, float | None, float, str]] = [
        ("a request over the default shop, slowest task, p95", _slowest(shop), MOST_MS, "ms"),
        ("a request over 100,000 items, slowest task, p95", _slowest(there[0] if there else {}), MOST_MS_THERE, "ms"),
        ("fitting the default shop", round(sum(fit), 1) if fit else None, MOST_FIT_S, "s"),
    ]
    return [
        {"aim": aim, "value": value, "bound": bound, "unit": unit, "met": None if value is None else value <= bound}
        for aim, value, bound, unit in rows
    ]


def _slowest(found: Mapping[str, Any]) -> float | None:
    speeds = found.get("speeds", {})
    return max((speed["p95_ms"] for speed in speeds.values()), default=None)


def tables(record: Mapping[str, Any]) -> list[Table]:
    """Lay a record out as tables: the aims, the default shop by task, and each growth by size."""
    results, config = record["results"], record["config"]
    hardware = config["hardware"]
    on = (
        f"{hardware['processor']}, {hardware['cores']} cores, {hardware['memory_gib']} GiB, {config['load']:g} other "
        f"processes at work when it began; seed {config['seed']}. Own: what this process computed, without its waiting."
    )
    told = {True: "met", False: "not met", None: "not measured"}
    out = [
        Table(
            title="Aims",
            head=("aim", "measured", "at most", ""),
            rows=[
                (row["aim"], _figure(row["value"], row["unit"]), _figure(row["bound"], row["unit"]), told[row["met"]])
                for row in record["aims"]
            ],
            words=(0, 3),
            note=on,
        )
    ]
    shop = results.get("default shop") or {}
    if "speeds" in shop:
        counts = f"{shop['items']:,} items, {shop['lines']:,} purchases, {shop['shoppers']:,} shoppers"
        out.append(
            Table(
                title="One request over the default shop",
                head=("task", "requests", "p50 ms", "p95 ms", "own p95 ms"),
                rows=[
                    (task, *(f"{speed[name]:g}" for name in ("n", "p50_ms", "p95_ms", "cpu_p95_ms")))
                    for task, speed in shop["speeds"].items()
                ],
                note=f"{counts}. Proposing 300 items and ranking them; a search without the time of embedding its words.",
            )
        )
    for name in ("items", "interactions", "lopsided"):
        if rows := results.get(name):
            out.append(_growth_table(name, rows, requests=config["requests"]))
    return out


def _growth_table(name: str, rows: Sequence[Mapping[str, Any]], *, requests: int) -> Table:
    titles = {
        "items": f"More items, {BESIDE_ITEMS:,} interactions",
        "interactions": f"More interactions, {BESIDE_INTERACTIONS:,} items",
        "lopsided": f"One item on every trip, one shopper with {LOPSIDED_EVENTS:,} events, who asks",
    }
    head = (
        "items",
        "interactions",
        "models, s",
        "ranking, s",
        "models, GiB",
        "peak, GiB",
        "first, s",
        "p50 ms",
        "p95 ms",
        "",
    )
    out = []
    for row in rows:
        size = (f"{row['items_asked']:,}", f"{row['interactions_asked']:,}")
        if "skipped" in row:
            out.append((*size, *[""] * 7, f"skipped: {row['skipped']}"))
            continue
        seconds, peak = row["stages"]["seconds"], row["stages"]["peak_gib"]
        slow = max(row["speeds"], key=lambda task: float(row["speeds"][task]["p95_ms"]))
        speed = row["speeds"][slow]
        figures = [seconds["fit the models"], seconds["fit the ranking"], row["models_gib"], max(peak.values())]
        figures += [seconds["first request"], speed["p50_ms"], speed["p95_ms"]]
        out.append((*size, *(f"{figure:g}" for figure in figures), slow))
    note = f"A size a process; {requests} requests of each task, the slowest task is shown."
    return Table(title=titles[name], head=head, rows=out, words=(len(head) - 1,), note=note)


def _figure(value: float | None, unit: str) -> str:
    return "" if value is None else f"{value:g} {unit}"


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(sorted(int(float(word)) for word in text.split(",") if word))


def main() -> None:
    """Measure, and write OUT/results.json and OUT/ranking_speed.md after each size."""
    parser = argparse.ArgumentParser(prog="python -m eval.ranking_speed", description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("ranking-speed"), help="folder of the results")
    parser.add_argument(
        "--shop", type=Path, default=Path(".shoptalk/shop"), help="the shop asked and fitted; '' for none"
    )
    parser.add_argument("--items", type=_numbers, default=ITEMS, help=f"sizes at {BESIDE_ITEMS:,} interactions")
    parser.add_argument(
        "--interactions", type=_numbers, default=INTERACTIONS, help=f"sizes at {BESIDE_INTERACTIONS:,} items"
    )
    parser.add_argument("--lopsided", type=_numbers, default=(LOPSIDED_PURCHASES,), help="purchases of the one item")
    parser.add_argument("--requests", type=int, default=200, help="timed of each task")
    parser.add_argument("--seed", type=int, default=0, help="of the synthetic shops and the requests")
    parser.add_argument(
        "--limit-seconds", type=float, default=600.0, help="of one size; one that takes longer is skipped"
    )
    parser.add_argument(
        "--limit-memory", type=float, default=16.0, help="GiB of one size; one that takes more is skipped"
    )
    parser.add_argument("--job", type=json.loads, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.job is not None:
        run_job(given.job)
        return
    given.output.mkdir(parents=True, exist_ok=True)
    asked = {"requests": given.requests, "seed": given.seed}
    limits = {"seconds": given.limit_seconds, "gib": given.limit_memory}
    config = {**asked, **limits, "versions": environment.versions(), "hardware": environment.hardware()}
    config["load"] = round(os.getloadavg()[0], 1)
    results: dict[str, Any] = {}

    def write() -> None:
        record = {
            "results": results,
            "aims": aims(results),
            "config": config,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "git_hash": environment.git_hash(),
        }
        write_whole(given.output / "results.json", json.dumps(record, indent=1))
        text = "\n".join(table.markdown() for table in tables(record))
        write_whole(given.output / "ranking_speed.md", f"# How fast the ranking is\n\n{text}")

    if str(given.shop) != ".":
        sys.stderr.write(f"the shop at {given.shop}\n")
        with tempfile.TemporaryDirectory(prefix="shoptalk-") as made:
            job = {"what": "shop", "shop": str(given.shop), **asked}
            results["default shop"] = in_own_process(job, folder=Path(made), **limits)
        write()
    for growth in (
        Growth(name="items", sizes=tuple(Size(items=n, interactions=BESIDE_ITEMS) for n in given.items)),
        Growth(
            name="interactions",
            sizes=tuple(Size(items=BESIDE_INTERACTIONS, interactions=n) for n in given.interactions),
        ),
        Growth(name="lopsided", sizes=tuple(Size(items=LOPSIDED_ITEMS, interactions=n) for n in given.lopsided)),
    ):
        results[growth.name] = []
        for found in grow(growth, **asked, **limits):
            sys.stderr.write(
                f"{growth.name}: {found['items_asked']:,} items, {found['interactions_asked']:,} interactions\n"
            )
            results[growth.name].append(found)
            write()
    sys.stdout.write((given.output / "ranking_speed.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    try:
        main()
    except ShopError as error:
        sys.exit(f"ranking_speed: {error}")
