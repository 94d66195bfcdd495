"""How good lists are, ask by ask, and how sure it is that one system's are better than another's (`formats.md` §3)."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eval.ranking_tasks import Rows

Floats = NDArray[np.float64]

MEASURES = ("recall@5", "recall@10", "recall@20", "ndcg@10", "phr@10")
COVERAGE = "coverage@10"
MOST = 20  # places of a list that any measure looks at
DEPTH = 10
DRAWS = 4000
FEWEST = 5  # asks: with fewer, hardly any other set can be drawn from them, and an interval would be too short
_CELLS = 2_000_000  # of one block of draws: 16 MB
_GAINS: Floats = 1.0 / np.log2(np.arange(2, DEPTH + 2))


@dataclass(frozen=True, slots=True, kw_only=True)
class Against:
    """Two systems on the same asks: `difference` is ours - theirs, `relative` that as a share of theirs.

    `low` and `high` end the 95 % interval of `relative`. The three are None where theirs is 0, the interval also
    with fewer than `FEWEST` asks.
    """

    ours: float
    value: float
    difference: float
    relative: float | None
    low: float | None
    high: float | None


def measured(rows: Rows, targets: Collection[int]) -> Floats:
    """Measure one list: [MEASURES].

    Recall is hits over targets, nDCG is over the best possible list of ten, PHR is 1 with any hit in ten.

    >>> measured(np.array([7, 3, 9]), {3, 4}).round(3).tolist()
    [0.5, 0.5, 0.5, 0.387, 1.0]
    """
    hits = np.zeros(MOST)
    held = np.isin(rows[:MOST], list(targets))
    hits[: len(held)] = held
    ideal = float(_GAINS[: len(targets)].sum())
    ten = hits[:DEPTH]
    recalls = [hits[:depth].sum() / len(targets) for depth in (5, 10, 20)]
    return np.array([*recalls, float(ten @ _GAINS) / ideal, float(ten.any())])


def table(lists: Sequence[Rows], targets: Sequence[Collection[int]]) -> Floats:
    """Measure the lists of one system: [asks, MEASURES]."""
    rows = [measured(held, wanted) for held, wanted in zip(lists, targets, strict=True)]
    return np.stack(rows) if rows else np.zeros((0, len(MEASURES)))


def coverage(lists: Sequence[Rows], *, items: int) -> float:
    """Give the share of the catalogue that is in anybody's first ten."""
    shown = np.unique(np.concatenate([np.zeros(0, np.int64), *(rows[:DEPTH] for rows in lists)]))
    return len(shown) / max(items, 1)


def figures(values: Floats) -> dict[str, float | None]:
    """Give each measure's mean and standard error over the asks; None where there are too few to tell."""
    out: dict[str, float | None] = {}
    for at, name in enumerate(MEASURES):
        column = values[:, at]
        out[name] = float(column.mean()) if len(column) else None
        out[f"{name}_stderr"] = float(column.std(ddof=1) / np.sqrt(len(column))) if len(column) > 1 else None
    return out


def against(ours: Floats, theirs: Mapping[str, Floats], *, seed: int = 0) -> dict[str, dict[str, Against]]:
    """Compare our system with others on the same asks, by the paired percentile bootstrap (Efron 1979).

    All systems and measures are asked of the same drawn asks, so that a drawn set costs one product of matrices.

    Args:
        ours: [asks, MEASURES].
        theirs: The same of each other system.
        seed: Draws the asks.

    Returns:
        For each measure and system.
    """
    stacked = np.concatenate([ours, *theirs.values()], axis=1)
    means = stacked.mean(axis=0) if len(stacked) else np.full(stacked.shape[1], np.nan)
    drawn = np.concatenate(list(_drawn(stacked, seed=seed))) if len(stacked) >= FEWEST else None
    width = len(MEASURES)
    out: dict[str, dict[str, Against]] = {}
    for at, measure in enumerate(MEASURES):
        held = out.setdefault(measure, {})
        for number, name in enumerate(theirs, start=1):
            mine, other = float(means[at]), float(means[number * width + at])
            relative = low = high = None
            if other > 0:
                relative = mine / other - 1
                if drawn is not None:
                    low, high = _ends(drawn[:, at], drawn[:, number * width + at])
            held[name] = Against(ours=mine, value=other, difference=mine - other, relative=relative, low=low, high=high)
    return out


def _ends(mine: Floats, other: Floats) -> tuple[float | None, float | None]:
    """Give the ends of the relative difference over the draws; None where theirs is often 0, when it has no bound."""
    some = other > 0
    if some.mean() < 0.99:
        return None, None
    low, high = np.quantile(mine[some] / other[some] - 1, [0.025, 0.975])
    return float(low), float(high)


def _drawn(values: Floats, *, seed: int) -> Iterator[Floats]:
    """Give the columns' means over asks drawn with replacement, in blocks of draws."""
    rng = np.random.default_rng(seed)
    size = len(values)
    most = max(1, _CELLS // size)
    for first in range(0, DRAWS, most):
        rows = min(most, DRAWS - first)
        drawn = rng.integers(size, size=(rows, size)) + size * np.arange(rows)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=rows * size).reshape(rows, size)
        yield counts.astype(float) @ values / size
