"""One shopper's own habits at a moment: how often, how lately and how regularly each item and each kind was bought."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from retrieval.history import History

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]
DAY = 86_400.0
LAST = (5, 10, 20)  # trips looked back
DECAYS = (0.7, 0.9, 0.95, 0.98)  # what a trip counts of the one after it
FADE_DAYS = 30.0


@dataclass(frozen=True, eq=False, kw_only=True)
class Habits:
    """What a shopper's trips before a moment say; `rows` are the distinct items bought, ascending.

    Lines are the (trip, item) pairs sorted by item and then trip; trips are numbered from 0, the oldest.
    """

    at: float
    rows: Rows
    trip_time: Floats  # seconds since 1970, of each trip
    trip_sizes: Rows
    line_item: Rows
    line_trip: Rows

    @property
    def trips(self) -> int:
        """Count the trips."""
        return len(self.trip_time)

    @cached_property
    def trip_days(self) -> Floats:
        """Give the days since each trip."""
        days: Floats = (self.at - self.trip_time) / DAY
        return days

    @cached_property
    def starts(self) -> Rows:
        """Give the first line of each of `rows`."""
        return np.searchsorted(self.line_item, self.rows)

    @cached_property
    def times(self) -> Rows:
        """Count the trips that held each of `rows`."""
        return np.diff(np.append(self.starts, len(self.line_item)))

    @cached_property
    def trips_since(self) -> Rows:
        """Count the trips after the last one that held each of `rows`."""
        return self.trips - 1 - self.line_trip[self.starts + self.times - 1]

    def context(self) -> dict[str, float]:
        """Describe the shopper and the moment, whatever the item: trips, days since the last, usual gap, sizes, hour, weekday."""
        if not self.trips:
            return {}
        span = (self.trip_time[-1] - self.trip_time[0]) / DAY
        return {
            "trips": float(self.trips),
            "since": float(self.trip_days[-1]),
            "gap": float(span / max(self.trips - 1, 1)),
            "size": float(self.trip_sizes.mean()),
            "last_size": float(self.trip_sizes[-1]),
            "hour": self.at % DAY / 3600.0,
            "weekday": float((self.at // DAY + 4) % 7),
        }

    def of_items(self) -> dict[str, Floats]:
        """Measure each of `rows`; NaN where it was not bought often enough to tell."""
        if not len(self.rows):
            return {}
        age = (self.trips - 1 - self.line_trip).astype(np.float64)
        days = self.trip_days[self.line_trip]
        starts, times = self.starts, self.times.astype(np.float64)
        last = starts + self.times - 1

        def total(values: Floats) -> Floats:
            out: Floats = np.add.reduceat(values, starts)
            return out

        gaps = np.zeros(len(days))
        gaps[1:] = days[:-1] - days[1:]
        gaps[starts] = 0.0
        with np.errstate(invalid="ignore", divide="ignore"):
            mean_gap = np.where(times > 1, (days[starts] - days[last]) / (times - 1), np.nan)
            spread = np.sqrt(np.maximum(total(gaps * gaps) / (times - 1) - mean_gap**2, 0.0))
        first_age = age[starts]
        return {
            "times": times,
            "share": times / self.trips,
            **{f"last_{count}": total((age < count).astype(np.float64)) for count in LAST},
            **{f"decay_{int(100 * decay)}": total(decay**age) for decay in DECAYS},
            "fade": total(np.exp(-days / FADE_DAYS)),
            "days": days[last],
            "trips_since": age[last],
            "mean_gap": mean_gap,
            "due": _over(days[last], mean_gap),  # 1: as long ago as it usually is
            "due_trips": (age[last] + 1) * times / (first_age + 1),
            "spread": np.where(times > 2, spread, np.nan),
            "first_days": days[starts],
        }

    def of_groups(self, group: Rows, size: int) -> dict[str, Floats]:
        """Measure each of `size` groups of items, `group[item]` naming each item's: trips, days, gap, due, trips since."""
        times, days, mean_gap = np.zeros(size), np.full(size, np.nan), np.full(size, np.nan)
        since = np.full(size, np.nan)
        if self.trips:
            pairs = np.unique(group[self.line_item] * np.int64(self.trips) + self.line_trip)
            held, trip = pairs // self.trips, pairs % self.trips
            times = np.bincount(held, minlength=size).astype(np.float64)
            found, first = np.unique(held, return_index=True)
            last = np.append(first[1:], len(held)) - 1
            days[found] = self.trip_days[trip[last]]
            since[found] = self.trips - 1 - trip[last]
            often = times[found] > 1
            span = self.trip_days[trip[first]] - days[found]
            mean_gap[found[often]] = (span / np.maximum(times[found] - 1, 1))[often]
        return {"times": times, "days": days, "mean_gap": mean_gap, "due": _over(days, mean_gap), "trips_since": since}


def habits(history: History, user_id: str | None, *, at: float | None = None) -> Habits:
    """Look at a shopper's trips before `at`, in seconds since 1970; None: all, seen from the end of the log."""
    first, end = history.trip_rows(user_id)
    if at is not None:
        end = first + int(np.searchsorted(history.basket_time[first:end], at, side="left"))
    starts = history.basket_start[first : end + 1]
    items = history.basket_items[starts[0] : starts[-1]] if len(starts) else np.zeros(0, np.int64)
    sizes = np.diff(starts)
    trips = np.repeat(np.arange(end - first), sizes)
    order = np.lexsort((trips, items))
    line_item = items[order]
    return Habits(
        at=history.now if at is None else at,
        rows=np.unique(line_item),
        trip_time=history.basket_time[first:end],
        trip_sizes=sizes,
        line_item=line_item,
        line_trip=trips[order],
    )


def spread_out(values: Mapping[str, Floats], rows: Rows, wanted: Rows, names: Sequence[str], *, none: float) -> Floats:
    """Give the named values at the wanted rows, [wanted, names]; `none` where a row is not among `rows`."""
    out = np.full((len(wanted), len(names)), none)
    if len(rows):
        at = np.minimum(np.searchsorted(rows, wanted), len(rows) - 1)
        own = rows[at] == wanted
        for column, name in enumerate(names):
            out[own, column] = values[name][at[own]]
    return out


def _over(above: Floats, below: Floats) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        out: Floats = np.where(below > 0, above / below, np.nan)
    return out
