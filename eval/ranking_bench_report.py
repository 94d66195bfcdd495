"""The ranking benchmark as Markdown: tables by data set and task, settings and times, and what could not be run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from eval.ranking_measures import COVERAGE, MEASURES
from eval.ranking_run import OURS

VERSIONS = ("cornac", "recbole", "scikit-surprise", "torch", "numpy", "scipy")  # of the libraries' own environment


def report(record: Mapping[str, Any]) -> str:
    """Write what was found as Markdown: a table for each data set and task, then settings, times and what failed."""
    lines = ["# Ranking beside its peers", ""]
    for name, held in record["data"].items():
        lines += _tables(name, held)
    lines += ["## What could not be run", ""]
    lines += [f"- {what}: {why}" for what, why in record["could_not"].items()]
    for name, held in record["data"].items():
        for system, rounds in held["systems"].items():
            lines += [
                f"- {name}, {system}: {why}"
                for why in sorted({said["failed"] for said in rounds.values() if "failed" in said})
            ]
    pinned = [line for line in record["libraries"] if line.split("==")[0] in VERSIONS]
    return "\n".join([*lines, "", "Libraries: " + ", ".join(pinned) + ".", ""])


def _tables(name: str, held: Mapping[str, Any]) -> list[str]:
    config = held["config"]
    hardware, split = config["hardware"], config["split"]
    lines = [
        f"## {name}",
        "",
        f"{split['how']}. {split['users_asked']:,} of {split['users']:,} users asked, {split['items']:,} items ranked; "
        f"seed {config['seed']}; {hardware['processor']}, {hardware['cores']} cores, {hardware['memory_gib']} GiB; "
        f"commit {held['git_hash'] or 'unknown'}; {held['date']}. ± is one standard error.",
        "",
    ]
    for task, results in held["results"].items():
        lines += [f"### {name}: {task} ({held['n'][task]:,} asks)", ""]
        lines += [f"| | {' | '.join((*MEASURES, COVERAGE))} |", "|---" * (len(MEASURES) + 2) + "|"]
        for system in sorted(results, key=lambda one: -(results[one]["ndcg@10"] or 0)):
            found = results[system]
            shown = [_figure(found[measure], found.get(f"{measure}_stderr")) for measure in (*MEASURES, COVERAGE)]
            lines.append(f"| {'**' + system + '**' if system == OURS else system} | {' | '.join(shown)} |")
        versus = held["comparisons"].get(task, {}).get("ndcg@10")
        if versus and versus["relative"] is not None:
            low, high = (f"{100 * end:+.1f}" if end is not None else "?" for end in (versus["low"], versus["high"]))
            lines += [
                "",
                f"nDCG@10 against the best peer, {versus['system']}: {100 * versus['relative']:+.1f} % [{low}, {high}] (95 %, paired bootstrap)",
            ]
        lines.append("")
    lines += [
        "<details><summary>Settings and seconds</summary>",
        "",
        "| system | chosen | tried | tuning s | fit s |",
        "|---|---|---:|---:|---:|",
    ]
    for system, rounds in held["systems"].items():
        for said in rounds.values():
            tuned = said.get("tuned") or {}
            chosen = json.dumps(tuned.get("chosen", tuned.get("settings", ""))) if tuned else ""
            lines.append(
                f"| {system} | {chosen} | {len(tuned.get('trials', []))} | {said.get('tune_seconds', '')} | {said.get('fit_seconds', '')} |"
            )
    return [*lines, "", "</details>", ""]


def _figure(value: float | None, stderr: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.4f}" + (f" ± {stderr:.4f}" if stderr is not None else "")
