"""What a ranking run found: figures by task and system, comparisons with the peers, slices, and a table to read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from eval.ranking_measures import COVERAGE, Floats, against, coverage, figures, table
from eval.ranking_tasks import LIKED, LIKES, TASKS, Ask, Exam, Rows
from retrieval.history import History

HEAD = 0.2  # of the items, the most bought; the others are the tail
TRIPS = ((4, 9), (10, 29), (30, 99), (100, None))  # that are known of a shopper
SHOWN = "ndcg@10"  # in the table on the terminal


def graded(
    lists: Mapping[str, Mapping[str, Mapping[str, Rows]]], exams: Sequence[Exam], *, ours: str, seed: int
) -> dict[str, Any]:
    """Measure the lists: `results`, `n`, `comparisons` and `slices` of the record.

    Of a task and measure the comparison is with the peer that is best in it on these very asks, which is the peer's
    advantage; `others` holds the same of the rest.

    Args:
        lists: Rows by task, system and ask.
        exams: What was asked.
        ours: The system that is compared with each other.
        seed: Draws the bootstrap.
    """
    out: dict[str, dict[str, Any]] = {"results": {}, "n": {}, "comparisons": {}, "slices": {}}
    for exam in exams:
        tail = ~_head(exam.past)
        for task in (task for task in TASKS if task in lists):
            asks = _main(exam.of(task))
            if not asks:
                continue
            held = lists[task]
            targets = [frozenset(ask.targets) for ask in asks]
            tables = _tables(held, asks, targets)
            results: dict[str, Any] = {}
            for name, found in held.items():
                shown = [found[ask.ask_id] for ask in asks]
                results[name] = {**figures(tables[name]), COVERAGE: coverage(shown, items=len(exam.past.item_ids))}
            out["results"][task], out["n"][task] = results, len(asks)
            if ours in tables and len(tables) > 1:
                out["comparisons"][task] = _comparisons(tables, ours=ours, seed=seed)
            out["slices"][task] = _slices(exam, task=task, asks=asks, held=held, tables=tables, tail=tail)
    return out


def _main(asks: Sequence[Ask]) -> list[Ask]:
    """Keep the asks that a task's figures are of: of cold shoppers, those with three likes."""
    return [ask for ask in asks if ask.task != "cold_shopper" or len(ask.liked) == LIKED]


def _comparisons(tables: Mapping[str, Floats], *, ours: str, seed: int) -> dict[str, Any]:
    theirs = {name: held for name, held in tables.items() if name != ours}
    out: dict[str, Any] = {}
    for measure, found in against(tables[ours], theirs, seed=seed).items():
        first, *others = sorted(found, key=lambda name: (-found[name].value, name))
        out[measure] = {
            "system": first,
            **asdict(found[first]),
            "others": {name: asdict(found[name]) for name in others},
        }
    return out


def _slices(
    exam: Exam,
    *,
    task: str,
    asks: Sequence[Ask],
    held: Mapping[str, Mapping[str, Rows]],
    tables: Mapping[str, Floats],
    tail: np.ndarray,
) -> dict[str, Any]:
    """Measure parts of a task: items of the tail only, shoppers by trips, cold shoppers by likes."""
    out: dict[str, Any] = {}
    rare = {ask.ask_id: frozenset(row for row in ask.targets if tail[row]) for ask in asks}
    some = [ask for ask in asks if rare[ask.ask_id]]
    if some and task != "cold_item":
        out["tail items"] = _slice(len(some), _tables(held, some, [rare[ask.ask_id] for ask in some]))
    trips = np.array([np.diff(exam.past.trip_rows(ask.user_id))[0] for ask in asks])
    for least, most in TRIPS if task != "cold_shopper" else ():
        chosen = (trips >= least) & (trips <= (most or np.inf))
        if chosen.any():
            name = f"shoppers with {least} to {most} trips" if most else f"shoppers with {least} trips or more"
            out[name] = _slice(int(chosen.sum()), {system: values[chosen] for system, values in tables.items()})
    for likes in LIKES if task == "cold_shopper" else ():
        few = [ask for ask in exam.of(task) if len(ask.liked) == likes]
        if few:
            out[f"{likes} likes"] = _slice(len(few), _tables(held, few, [frozenset(ask.targets) for ask in few]))
    return out


def _tables(
    held: Mapping[str, Mapping[str, Rows]], asks: Sequence[Ask], targets: Sequence[frozenset[int]]
) -> dict[str, Floats]:
    return {name: table([found[ask.ask_id] for ask in asks], targets) for name, found in held.items()}


def _slice(n: int, tables: Mapping[str, Floats]) -> dict[str, Any]:
    return {"n": n, "results": {name: figures(values) for name, values in tables.items()}}


def _head(past: History) -> np.ndarray:
    """Mark the items that were bought most: [items]."""
    bought = np.bincount(past.basket_items, minlength=len(past.item_ids))
    out = np.zeros(len(bought), bool)
    out[np.argsort(-bought, kind="stable")[: round(HEAD * len(bought))]] = True
    return out


def print_ranking(record: Mapping[str, Any], *, console: Any = None) -> None:
    """Print a line for each task: ours, the best peer, and by how much we differ; then what was left out and why."""
    from rich.console import Console
    from rich.table import Table

    console = console or Console()
    lines = Table(title=f"{SHOWN} ± standard error; difference with its 95 % interval", box=None, padding=(0, 2, 0, 0))
    for name in ("task", "asks", "shoptalk", "best peer", "its", "difference"):
        lines.add_column(name, justify="left" if name in ("task", "best peer") else "right", no_wrap=True)
    for task, results in record["results"].items():
        versus = record["comparisons"].get(task, {}).get(SHOWN)
        row = [task, f"{record['n'][task]:,}", _figure(results.get("shoptalk"))]
        if versus:
            row += [versus["system"], f"{versus['value']:.3f}", _difference(versus)]
        lines.add_row(*row)
    if record["results"]:
        console.print(lines)
    for task, why in record["left_out"].items():
        console.print(f"Left out: {task}, as {why}", markup=False, highlight=False, soft_wrap=True)
    for name, rounds in record["systems"].items():
        for why in dict.fromkeys(said["failed"] for said in rounds.values() if "failed" in said):
            console.print(f"Not asked: {name}: {why}", markup=False, highlight=False, soft_wrap=True)


def _figure(found: Mapping[str, Any] | None) -> str:
    if found is None or found[SHOWN] is None:
        return "–"
    stderr = found[f"{SHOWN}_stderr"]
    return f"{found[SHOWN]:.3f}" + (f" ± {stderr:.3f}" if stderr is not None else "")


def _difference(versus: Mapping[str, Any]) -> str:
    if versus["relative"] is None:
        return f"{versus['difference']:+.3f}"
    text = f"{100 * versus['relative']:+.1f} %"
    if versus["low"] is None:
        return text
    return f"{text} [{100 * versus['low']:+.0f}, {100 * versus['high']:+.0f}]"
