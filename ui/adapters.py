"""The adapters that are there: what each was made for and of, how it did, and which one answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune.adapter import read_record
from retrieval.records import ShopError

if TYPE_CHECKING:
    from ui.settings import Settings

SCORES = ("act_accuracy", "plan_accuracy", "violation_rate", "answered_rate", "honest_none_rate", "replaced_rate")


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What a replay of a conversation set found with an adapter: metrics with their standard errors."""

    folder: Path
    set_name: str
    turns: int
    date: str
    scores: dict[str, tuple[float, float | None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """An adapter's folder; `told` is its `run.json`, empty where it has none, and `runs` those that measured these weights."""

    folder: Path
    sha256: str
    base: str
    rank: int | None
    mib: float
    told: dict[str, Any]
    runs: tuple[Run, ...] = ()
    answers: bool = False


def adapters(settings: Settings, *, runs: Sequence[Path] = ()) -> list[Adapter]:
    """List the adapter that comes with Shoptalk, the one that is set, and those in the home folder.

    Args:
        settings: Say which one answers, and where the home folder is.
        runs: Folders of replays to look for scores in, beside those under the home folder.

    Raises:
        ShopError: when one of `runs` holds no results.
    """
    from agent.base_model import file_hash
    from ui.model_service import chosen_adapter, default_adapter

    chosen = chosen_adapter(settings) if not settings.model_url else None
    measured = list(_runs(settings.home, runs))
    out = []
    for folder in dict.fromkeys(path.resolve() for path in _folders(settings, chosen, default_adapter())):
        weights = folder / "adapter_model.safetensors"
        sha256 = file_hash(weights)
        config = read_record(folder / "adapter_config.json")
        out.append(
            Adapter(
                folder=folder,
                sha256=sha256,
                base=str(config.get("base_model_name_or_path") or "unknown"),
                rank=config.get("r"),
                mib=weights.stat().st_size / 2**20,
                told=read_record(folder / "run.json"),
                runs=tuple(run for of, run in measured if of == sha256),
                answers=chosen is not None and folder == chosen.resolve(),
            )
        )
    return out


def text(found: Sequence[Adapter]) -> str:
    """Write the list as a person reads it.

    >>> print(text([]))
    No adapter is here. Train one with: shoptalk dialogues, then shoptalk train
    """
    if not found:
        return "No adapter is here. Train one with: shoptalk dialogues, then shoptalk train"
    lines = []
    for one in found:
        lines.append(f"{'*' if one.answers else ' '} {one.folder}")
        lines.append(f"    for {one.base}, rank {one.rank or '?'}, {one.mib:.1f} MiB, sha256 {one.sha256[:12]}")
        if one.told:
            lines.append(f"    {_trained(one.told)}")
        lines += [f"    {_scored(run)}" for run in one.runs]
        if not one.runs:
            lines.append(
                "    no replay of it is on record. Measure it: SHOPTALK_ADAPTER=… shoptalk eval SET --output DIR"
            )
    lines.append("* answers now. Choose another with SHOPTALK_ADAPTER=FOLDER")
    return "\n".join(lines)


def _trained(told: dict[str, Any]) -> str:
    parts = [f"trained {str(told.get('date', ''))[:10]}".strip()]
    if tokens := told.get("tokens"):
        parts.append(f"on {tokens:,} tokens")
    if start := told.get("start"):
        parts.append(f"from the adapter {str(start.get('sha256', ''))[:12]}")
    if scores := told.get("evaluations"):
        last = scores[-1]
        parts.append(f"held-out plans: loss {last.get('plan_loss')}, {last.get('plan_exact', 0):.0%} exact")
    return ", ".join(parts)


def _scored(run: Run) -> str:
    words = [
        f"{name.removesuffix('_rate').replace('_', ' ')} {value:.3f}" + (f" ± {error:.3f}" if error is not None else "")
        for name, (value, error) in run.scores.items()
    ]
    return f"{run.set_name} ({run.turns} turns, {run.date[:10]}): {', '.join(words)}  [{run.folder}]"


def _folders(settings: Settings, chosen: Path | None, own: Path | None) -> Iterator[Path]:
    near = sorted(path.parent for path in settings.home.glob("*/adapter_config.json"))
    for folder in (chosen, own, *settings.adapters_beside, *near):
        if folder is not None and (folder / "adapter_model.safetensors").is_file():
            yield folder


def _runs(home: Path, named: Sequence[Path]) -> Iterator[tuple[str, Run]]:
    """Find replays and the adapter that each measured, the newest first."""
    for folder in named:
        if not (folder / "results.json").is_file():
            raise ShopError(f"No results in {folder}: expected the folder of a run, with its results.json")
    files = {path.resolve() for path in (*home.glob("*/results.json"), *home.glob("*/*/results.json"))}
    files |= {(folder / "results.json").resolve() for folder in named}
    records = [(path, read_record(path)) for path in sorted(files)]
    for path, record in sorted(records, key=lambda one: str(one[1].get("date", "")), reverse=True):
        config, results = record.get("config") or {}, record.get("results") or {}
        if not isinstance(config, dict) or not config.get("adapter_sha256"):
            continue
        scores = {
            name: (results[name], results.get(f"{name}_stderr")) for name in SCORES if results.get(name) is not None
        }
        run = Run(
            folder=path.parent,
            set_name=Path(str(config.get("set", "a set"))).name,
            turns=int((record.get("n") or {}).get("turns", 0)),
            date=str(record.get("date", "")),
            scores=scores,
        )
        yield str(config["adapter_sha256"]), run
