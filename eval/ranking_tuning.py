"""Choose a peer's settings on an earlier time: every setting is fitted and asked, and the best by nDCG@10 kept for each task."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eval.ranking_measures import DEPTH, MEASURES, measured
from eval.ranking_tasks import Ask, Exam, Mask, Rows, allowed, best
from retrieval.history import History
from retrieval.records import Item, ShopError

Settings = Mapping[str, Any]
Scores = NDArray[np.float32]  # [items]; -inf leaves an item out
Score = Callable[[Ask], Scores]
Fit = Callable[..., Score]  # fit(past, items=…, **settings)

MEASURE = "ndcg@10"
TRIALS = 6  # as many for every peer


class Peer:
    """A peer as a system of the ranking evaluation: a function that fits, and the settings to try it with.

    Args:
        name: What it is called in the results.
        tasks: What it can be asked.
        fit: Takes the past, `items` and one of the settings; gives a function from an ask to the scores of all rows.
        grid: Settings to try, published ones first; the first is taken where nothing is tuned.
    """

    def __init__(self, *, name: str, tasks: Collection[str], fit: Fit, grid: Sequence[Settings]) -> None:
        self.name = name
        self.tasks = frozenset(tasks)
        self.grid = tuple(grid)
        self._fit = fit
        self._chosen: dict[str, Settings] = {}
        self._scores: dict[str, Score] = {}

    def tune(self, validation: Exam, *, items: Sequence[Item]) -> dict[str, Any]:
        """Try every setting on the validation's asks and keep the best by nDCG@10 for each task; give all trials.

        Of equally good settings the earlier is kept. One that cannot be fitted is a trial without figures.

        Raises:
            ShopError: when none can be fitted.
        """
        asks = [ask for ask in validation.asks if ask.task in self.tasks]
        trials = [self._trial(settings, validation.past, asks, items=items) for settings in self.grid]
        done = [trial for trial in trials if "failed" not in trial]
        if not done:
            raise ShopError(str(trials[0]["failed"]))
        for task in sorted({ask.task for ask in asks}):
            winner = max(done, key=lambda trial: trial[MEASURE][task])
            self._chosen[task] = winner["settings"]
        return {"measure": MEASURE, "asks": len(asks), "chosen": dict(self._chosen), "trials": trials}

    def fit(self, past: History, *, items: Sequence[Item]) -> None:
        """Fit with the settings chosen for each task, the first where nothing was; equal settings are fitted once."""
        self._scores = {}
        fitted: list[tuple[Settings, Score]] = []
        # What was never asked on validation is fitted only if nothing else is.
        tasks = self._chosen or dict.fromkeys(self.tasks, self.grid[0])
        for task, settings in sorted(tasks.items()):
            score = next((score for tried, score in fitted if tried == settings), None)
            if score is None:
                score = self._fit(past, items=items, **settings)
                fitted.append((settings, score))
            self._scores[task] = score
        for task in self.tasks - self._scores.keys():
            self._scores[task] = fitted[0][1]

    def rank(self, ask: Ask, *, allowed: Mask, most: int) -> Rows:
        """Give at most `most` rows that are allowed, best first; ties by row."""
        return best(self._scores[ask.task](ask), allowed, most)

    def _trial(
        self, settings: Settings, past: History, asks: Sequence[Ask], *, items: Sequence[Item]
    ) -> dict[str, Any]:
        started = time.monotonic()
        try:
            score = self._fit(past, items=items, **settings)
        except ShopError as error:
            return {"settings": settings, "failed": str(error)}
        return {
            "settings": settings,
            MEASURE: {task: round(mean, 5) for task, mean in asked(score, asks, past=past).items()},
            "seconds": round(time.monotonic() - started, 2),
        }


def asked(score: Score, asks: Sequence[Ask], *, past: History) -> dict[str, float]:
    """Give each task's mean nDCG@10 of what is ranked by these scores."""
    at = MEASURES.index(MEASURE)
    found: dict[str, list[float]] = {}
    for ask in asks:
        rows = best(score(ask), allowed(ask, past=past), DEPTH)
        found.setdefault(ask.task, []).append(float(measured(rows, frozenset(ask.targets))[at]))
    return {task: float(np.mean(values)) for task, values in found.items()}


__all__ = ["MEASURE", "TRIALS", "Fit", "Peer", "Score", "Scores", "Settings", "asked"]
