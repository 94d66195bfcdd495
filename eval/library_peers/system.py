"""A library's model as a system of the ranking evaluation: fitted by a program of its own, asked from the file it wrote."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eval.library_peers.environment import last_error
from eval.library_peers.settings import GRID, Settings
from eval.ranking_measures import measured
from eval.ranking_tasks import Ask, Exam, Mask, Rows, allowed, best
from eval.replay import write_whole
from retrieval.history import History
from retrieval.records import Item, ShopError

ROOT = Path(__file__).resolve().parents[2]  # where `python -m` finds this package, in any environment
TASKS = frozenset({"again", "new", "next_basket"})  # a known shopper, and nothing else
MEASURE = 3  # nDCG@10, of `eval.ranking_measures.MEASURES`
Places = NDArray[np.unsignedinteger]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """What a fit left: where the places are, and what it took."""

    file: Path
    said: dict[str, Any]


class LibraryModel:
    """One model of a library. Its settings are chosen on validation, for each task by itself; fits are kept as files.

    Args:
        name: One of `GRID`.
        python: The Python of the peers' environment; or the reason why there is none.
        folder: Where fits are kept; one folder can serve all models and data.
        seed: Of the fit.
        seconds: The longest that one fit may take.
        grid: Settings to try; by default those of `GRID`.
    """

    tasks = TASKS

    def __init__(
        self,
        *,
        name: str,
        python: Path | str,
        folder: Path,
        seed: int = 0,
        seconds: float = 900.0,
        grid: Sequence[Settings] | None = None,
    ) -> None:
        self.name = name
        self._python = python
        self._folder = folder
        self._seed = seed
        self._seconds = seconds
        self._grid = list(grid if grid is not None else GRID[name])
        self._chosen: dict[str, Settings] = {}
        self._places: dict[str, Places] = {}

    def tune(self, validation: Exam, *, items: Sequence[Item]) -> dict[str, Any]:
        """Try every setting on the validation's asks and keep the best by nDCG@10 for each task; give all trials.

        A setting whose fit fails is a trial without figures.

        Raises:
            ShopError: when no setting can be fitted.
        """
        trials = [self._trial(settings, validation) for settings in self._grid]
        if all("failed" in trial for trial in trials):
            raise ShopError(str(trials[0]["failed"]))
        for task in sorted({ask.task for ask in validation.asks} & self.tasks):
            tried = [trial for trial in trials if "failed" not in trial]
            self._chosen[task] = max(tried, key=lambda trial: trial["ndcg@10"][task])["settings"]
        return {"measure": "ndcg@10", "seed": self._seed, "chosen": dict(self._chosen), "trials": trials}

    def fit(self, past: History, *, items: Sequence[Item]) -> None:
        """Fit with the settings chosen, or the first of them where nothing was; equal settings are fitted once."""
        otherwise = next(iter(self._chosen.values()), self._grid[0])
        self._past = past
        self._places = {}
        for task in sorted(self.tasks):
            fitted = self._fitted(self._chosen.get(task, otherwise), past)
            self._places[task] = np.load(fitted.file, mmap_mode="r")

    def rank(self, ask: Ask, *, allowed: Mask, most: int) -> Rows:
        """Give the allowed items in the order that the model put them in for the shopper."""
        return ordered(self._places[ask.task], ask, past=self._past, allowed=allowed, most=most)

    def _trial(self, settings: Settings, validation: Exam) -> dict[str, Any]:
        past = validation.past
        kept = self._file(settings, past).with_suffix(".trial.json")
        if kept.is_file():
            found: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
            return found
        try:
            fitted = self._fitted(settings, past)
        except ShopError as error:
            return {"settings": settings, "failed": str(error)}
        places = np.load(fitted.file, mmap_mode="r")
        scores: dict[str, list[float]] = {}
        for ask in validation.asks:
            if ask.task in self.tasks:
                rows = ordered(places, ask, past=past, allowed=allowed(ask, past=past), most=10)
                scores.setdefault(ask.task, []).append(float(measured(rows, frozenset(ask.targets))[MEASURE]))
        mean = {task: round(float(np.mean(values)), 5) for task, values in scores.items()}
        trial = {"settings": settings, "ndcg@10": mean, **fitted.said}
        write_whole(kept, json.dumps(trial) + "\n")
        fitted.file.unlink()  # of validation only the figures are needed again
        return trial

    def _file(self, settings: Settings, past: History) -> Path:
        told = json.dumps([self.name, dict(settings), self._seed, fingerprint(past)], sort_keys=True)
        return self._folder / f"{self.name}-{hashlib.sha256(told.encode()).hexdigest()[:16]}.npy"

    def _fitted(self, settings: Settings, past: History) -> Fitted:
        if isinstance(self._python, str):
            raise ShopError(self._python)
        file = self._file(settings, past)
        about = file.with_suffix(".json")
        if not (file.is_file() and about.is_file()):
            lines = self._folder / f"past-{fingerprint(past)}.npz"
            if not lines.is_file():
                write_past(past, lines)
            said = run_fit(
                self._python,
                name=self.name,
                past=lines,
                settings=settings,
                seed=self._seed,
                output=file,
                seconds=self._seconds,
            )
            write_whole(about, json.dumps(said) + "\n")
        return Fitted(file=file, said=json.loads(about.read_text(encoding="utf-8")))


def ordered(places: Places, ask: Ask, *, past: History, allowed: Mask, most: int) -> Rows:
    """Give the allowed items with a place, in the order of the places; none for a shopper without a past."""
    user = past.user_rows.get(ask.user_id) if ask.user_id is not None else None
    if user is None:
        return np.zeros(0, np.int64)
    row = places[user]
    return best(np.where(row == np.iinfo(row.dtype).max, -np.inf, -row.astype(np.float64)), allowed, most)


def run_fit(
    python: Path, *, name: str, past: Path, settings: Settings, seed: int, output: Path, seconds: float
) -> dict[str, Any]:
    """Have the peers' Python fit one model, and give what it said.

    Raises:
        ShopError: when it fails or takes too long, with the line that says why.
    """
    command = [str(python), "-m", "eval.library_peers.fit", "--past", str(past.resolve()), "--model", name]
    command += ["--settings", json.dumps(dict(settings)), "--seed", str(seed), "--output", str(output.resolve())]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds, cwd=ROOT)
    except subprocess.TimeoutExpired as error:
        raise ShopError(f"One fit took more than {seconds:.0f} s") from error
    if done.returncode:
        why = "not enough memory" if done.returncode == -9 else last_error(done.stderr)
        raise ShopError(f"The fit failed: {why}")
    said: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return said


def write_past(past: History, path: Path) -> None:
    """Write every line of a history as rows of users and items, with its time and trip, for `Purchases.load`."""
    sizes = np.diff(past.user_baskets)
    user = np.repeat(np.arange(len(past.users)), sizes)
    trip = np.arange(len(past.basket_time)) - past.user_baskets[:-1][user]
    lengths = past.trip_sizes
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial.npz")
    np.savez(
        partial,
        user=np.repeat(user, lengths),
        item=past.basket_items,
        time=np.repeat(past.basket_time, lengths),
        trip=np.repeat(trip, lengths),
        users=len(past.users),
        items=len(past.item_ids),
    )
    partial.replace(path)


def fingerprint(past: History) -> str:
    """Name a history by what it holds: the same purchases have the same name."""
    digest = hashlib.sha256()
    for array in (past.user_baskets, past.basket_start, past.basket_items, past.basket_time):
        digest.update(np.ascontiguousarray(array).tobytes())
    digest.update(str(len(past.item_ids)).encode())
    return digest.hexdigest()[:16]
