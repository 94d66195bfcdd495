"""How sure a figure is: intervals, paired tests and what a set of a given size can show.

Conversations are the independent units, since turns of one conversation hang together. A `Statistic` says what a
figure is when each conversation counts so and so often; everything here asks it again with other counts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
# From how often each conversation counts, (draws, conversations), to the figure of each draw, (draws,); nan: none.
Statistic = Callable[[Floats], Floats]
DRAWS = 4000
FEWEST = 5  # conversations: with fewer, hardly any other set can be drawn from them, and an interval would be too short
_CELLS = 2_000_000  # of one block of draws: 16 MB


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A figure, the ends of its interval, and its standard error; ends are None where they cannot be told."""

    value: float
    low: float | None
    high: float | None
    stderr: float | None
    conversations: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A figure of two runs over the same conversations; `difference` is b - a, `p` two-sided, of "no difference"."""

    a: float
    b: float
    difference: float
    low: float | None
    high: float | None
    stderr: float | None
    p: float
    conversations: int


def ratio(above: Sequence[float], below: Sequence[float]) -> Statistic:
    """Make the statistic of sums of `above` over sums of `below`, one of each a conversation.

    >>> ratio([1, 2], [2, 2])(np.array([[1.0, 1.0], [2.0, 0.0]])).tolist()
    [0.75, 0.5]
    """
    tops, bottoms = np.asarray(above, float), np.asarray(below, float)

    def statistic(counts: Floats) -> Floats:
        under = counts @ bottoms
        return np.divide(counts @ tops, under, out=np.full(len(counts), np.nan), where=under > 0)

    return statistic


def total(values: Sequence[float]) -> Statistic:
    """Make the statistic of the sum of `values`, one a conversation."""
    held = np.asarray(values, float)
    return lambda counts: counts @ held


def percentile(groups: Sequence[Sequence[float]], *, p: float) -> Statistic:
    """Make the statistic of the p-th percentile of all values, a group of them a conversation.

    Interpolated linearly between the two nearest values, as `eval.metrics.percentile` does.

    >>> percentile([[1.0, 4.0], [2.0]], p=50)(np.array([[1.0, 1.0], [0.0, 3.0]])).tolist()
    [2.0, 2.0]
    """
    values = np.array([value for group in groups for value in group], float)
    owner = np.array([place for place, group in enumerate(groups) for _ in group], int)
    order = np.argsort(values, kind="stable")
    values, owner = values[order], owner[order]

    def statistic(counts: Floats) -> Floats:
        if not len(values):
            return np.full(len(counts), np.nan)
        so_far = np.cumsum(counts[:, owner], axis=1)
        held = so_far[:, -1]
        at = np.maximum(held - 1, 0) * p / 100
        low, high = np.floor(at), np.minimum(np.floor(at) + 1, np.maximum(held - 1, 0))
        last = len(values) - 1
        below = values[np.minimum((so_far <= low[:, None]).sum(axis=1), last)]
        above = values[np.minimum((so_far <= high[:, None]).sum(axis=1), last)]
        return np.where(held > 0, below + (above - below) * (at - low), np.nan)

    return statistic


def interval(
    statistic: Statistic,
    *,
    conversations: int,
    seed: int = 0,
    draws: int = DRAWS,
    level: float = 0.95,
    exact: Literal["", "share", "count"] = "",
) -> Interval | None:
    """Give a figure with its bias-corrected, accelerated bootstrap interval (BCa; Efron 1987); None without a figure.

    Conversations are drawn with replacement. Where all of them agree, that tells the bootstrap nothing: a "share" of 0
    or 1 gets the exact interval of that many conversations (Clopper & Pearson 1934), a "count" of 0 that of a Poisson
    count (Garwood 1936), which ends at 3.7 for 95 %.
    """
    value = float(statistic(np.ones((1, conversations)))[0]) if conversations else math.nan
    if math.isnan(value):
        return None
    found = _drawn(statistic, conversations, seed=seed, draws=draws)
    low, high, stderr = _ends(statistic, found, value=value, conversations=conversations, level=level)
    agreed = len(found) > 0 and np.ptp(found) == 0
    if agreed and exact == "share" and value in (0.0, 1.0):
        reach = 1 - ((1 - level) / 2) ** (1 / conversations)
        low, high = (0.0, reach) if value == 0 else (1 - reach, 1.0)
    if agreed and exact == "count" and value == 0:
        low, high = 0.0, -math.log((1 - level) / 2)
    return Interval(value=value, low=low, high=high, stderr=stderr, conversations=conversations)


def difference(
    statistic: Statistic, *, conversations: int, seed: int = 0, draws: int = DRAWS, level: float = 0.95
) -> Difference | None:
    """Compare two runs over the same conversations, pair by pair; None where one of them has no figure.

    `statistic` takes 2 x `conversations` counts: those of run A, then those of run B in the same order. The interval
    is that of the paired bootstrap (Efron 1987; for two systems on one test set: Koehn 2004), `p` that of the paired
    permutation test, which swaps the two runs' conversations at random (Fisher 1935; Noreen 1989): exact where all
    swaps can be tried, else with the observed one counted in (Phipson & Smyth 2010).
    """

    def apart(counts: Floats) -> Floats:
        none = np.zeros_like(counts)
        return statistic(np.hstack([none, counts])) - statistic(np.hstack([counts, none]))

    one, none = np.ones((1, conversations)), np.zeros((1, conversations))
    a = float(statistic(np.hstack([one, none]))[0]) if conversations else math.nan
    b = float(statistic(np.hstack([none, one]))[0]) if conversations else math.nan
    if math.isnan(a) or math.isnan(b):
        return None
    found = _drawn(apart, conversations, seed=seed, draws=draws)
    low, high, stderr = _ends(apart, found, value=b - a, conversations=conversations, level=level)
    return Difference(
        a=a,
        b=b,
        difference=b - a,
        low=low,
        high=high,
        stderr=stderr,
        p=_swapped(statistic, conversations, observed=b - a, seed=seed, draws=draws),
        conversations=conversations,
    )


def _drawn(statistic: Statistic, conversations: int, *, seed: int, draws: int) -> Floats:
    """Ask the statistic of as many conversations drawn with replacement; draws without a figure are left out."""
    rng = np.random.default_rng(seed)
    out = []
    for rows in _blocks(conversations, draws):
        drawn = rng.integers(conversations, size=(rows, conversations)) + conversations * np.arange(rows)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=rows * conversations).reshape(rows, conversations)
        out.append(statistic(counts.astype(float)))
    found = np.concatenate(out)
    return found[~np.isnan(found)]


def _blocks(conversations: int, draws: int) -> Iterator[int]:
    most = max(1, _CELLS // max(1, conversations))
    for first in range(0, draws, most):
        yield min(most, draws - first)


def _ends(
    statistic: Statistic, found: Floats, *, value: float, conversations: int, level: float
) -> tuple[float | None, float | None, float | None]:
    """Give the ends of the interval and the standard error; None where there are too few conversations for them."""
    if conversations < FEWEST or len(found) < 2:
        return None, None, None
    return *_bca(statistic, found, value=value, conversations=conversations, level=level), float(found.std(ddof=1))


def _bca(statistic: Statistic, found: Floats, *, value: float, conversations: int, level: float) -> tuple[float, float]:
    from scipy.special import ndtr, ndtri

    if np.ptp(found) < 1e-12:
        return value, value
    # Ties count half, so that a figure of few distinct values is not called biased.
    share = (np.mean(found < value - 1e-12) + np.mean(found <= value + 1e-12)) / 2
    bias = ndtri(np.clip(share, 1 / (2 * len(found)), 1 - 1 / (2 * len(found))))
    left_out = np.concatenate(
        [
            statistic(1.0 - np.eye(conversations)[first : first + rows])
            for first, rows in zip(*_starts(conversations), strict=True)
        ]
    )
    left_out = left_out[~np.isnan(left_out)]
    spread = left_out.mean() - left_out if len(left_out) else np.zeros(1)
    squares = float((spread**2).sum())
    skew = float((spread**3).sum()) / (6 * squares**1.5) if squares > 1e-24 else 0.0
    ends = ndtri(np.array([(1 - level) / 2, (1 + level) / 2])) + bias
    low, high = np.quantile(found, ndtr(bias + ends / (1 - skew * ends)))
    return float(low), float(high)


def _starts(conversations: int) -> tuple[list[int], list[int]]:
    rows = list(_blocks(conversations, conversations))
    return [sum(rows[:place]) for place in range(len(rows))], rows


def _swapped(statistic: Statistic, conversations: int, *, observed: float, seed: int, draws: int) -> float:
    rng = np.random.default_rng(seed)
    exact = 2**conversations <= draws
    tried = as_extreme = 0
    for rows in _blocks(conversations, 2**conversations if exact else draws):
        if exact:
            swap = (np.arange(tried, tried + rows)[:, None] >> np.arange(conversations) & 1).astype(float)
        else:
            swap = rng.integers(2, size=(rows, conversations)).astype(float)
        found = statistic(np.hstack([swap, 1 - swap])) - statistic(np.hstack([1 - swap, swap]))
        tried += rows
        as_extreme += int((np.isnan(found) | (np.abs(found) >= abs(observed) - 1e-12)).sum())
    return as_extreme / tried if exact else (as_extreme + 1) / (tried + 1)


def holm(chances: Mapping[str, float]) -> dict[str, float]:
    """Adjust the p-values of a family, so that its chance of any false alarm stays that of one test (Holm 1979).

    >>> holm({"a": 0.01, "b": 0.04, "c": 0.03})
    {'a': 0.03, 'b': 0.06, 'c': 0.06}
    """
    out: dict[str, float] = {}
    highest = 0.0
    for place, name in enumerate(sorted(chances, key=lambda name: chances[name])):
        highest = max(highest, min(1.0, (len(chances) - place) * chances[name]))
        out[name] = highest
    return {name: out[name] for name in chances}


def detectable(stderr: float, *, conversations: int, power: float = 0.8, level: float = 0.95) -> float:
    """Give the smallest true difference that a two-sided test finds with `power` (Bloom 1995).

    It is (t of the level + t of the power) standard errors of the difference, with conversations - 1 degrees of
    freedom: 2.8 standard errors of a large set at 80 % power and 5 %.

    >>> round(detectable(1.0, conversations=100_000), 2), round(detectable(1.0, conversations=10), 2)
    (2.8, 3.15)
    """
    from scipy.special import stdtrit

    free = max(1, conversations - 1)
    return float(stdtrit(free, (1 + level) / 2) + stdtrit(free, power)) * stderr


def detectable_share(share: float, *, conversations: int, together: float = 0.0) -> float:
    """Give the smallest difference that a set of this size shows in a share, before a second run is made.

    One message a conversation; `together` is the correlation of the two runs over conversations, 0 where nothing
    is known of it, which makes the answer the cautious one. The standard error of the difference is
    sqrt(2 share (1 - share) (1 - together) / conversations).

    >>> round(detectable_share(0.8, conversations=100), 3), round(detectable_share(0.8, conversations=400), 3)
    (0.16, 0.079)
    """
    stderr = math.sqrt(2 * share * (1 - share) * (1 - together) / conversations)
    return detectable(stderr, conversations=conversations)


def conversations_for(smallest: float, *, stderr: float, conversations: int) -> int:
    """Say how many conversations would show a difference of `smallest`, given the error that some have (80 %, 5 %).

    >>> conversations_for(0.05, stderr=0.05, conversations=100)
    801
    """
    return math.ceil(conversations * (detectable(stderr, conversations=conversations) / smallest) ** 2)
