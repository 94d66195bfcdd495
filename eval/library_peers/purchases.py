"""What a library's model learns from: the past as it was handed over in a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False, kw_only=True)
class Purchases:
    """Every line of the log, as rows of users and items, oldest first within a user; `trip` counts a user's trips."""

    user: Ints
    item: Ints
    time: NDArray[np.float64]
    trip: Ints
    users: int
    items: int

    @classmethod
    def load(cls, path: Path) -> Purchases:
        """Read the file that `eval.library_models` writes."""
        with np.load(path, allow_pickle=False) as held:
            return cls(
                user=held["user"].astype(np.int64),
                item=held["item"].astype(np.int64),
                time=held["time"],
                trip=held["trip"].astype(np.int64),
                users=int(held["users"]),
                items=int(held["items"]),
            )

    def pairs(self) -> tuple[Ints, Ints, Ints]:
        """Give each (user, item) that occurs, and on how many trips, ordered by user and item."""
        pair, times = np.unique(self.user * self.items + self.item, return_counts=True)
        return pair // self.items, pair % self.items, times.astype(np.int64)

    def sequences(self, *, last: int) -> list[tuple[int, Sequence[int]]]:
        """Give each user with purchases, and the items of at most the `last` newest lines, oldest first."""
        ends = np.searchsorted(self.user, np.arange(self.users + 1))
        return [
            (user, self.item[max(int(start), int(end) - last) : end].tolist())
            for user, (start, end) in enumerate(zip(ends[:-1], ends[1:], strict=True))
            if end > start
        ]

    def ratings(self, *, counted: bool, zeros: int, rng: np.random.Generator) -> tuple[Ints, Ints, Floats]:
        """Give what a model of ratings learns from: each pair bought, and pairs never bought with a rating of 0.

        Without zeros, ratings that are all alike teach such a model nothing.

        Args:
            counted: Rate a pair log2(1 + trips); else 1.
            zeros: Pairs never bought, drawn at random, for each pair bought.
            rng: Draws them.
        """
        user, item, times = self.pairs()
        rating = np.log2(1 + times) if counted else np.ones(len(times))
        drawn_user = np.repeat(user, zeros)
        drawn_item = rng.integers(self.items, size=len(drawn_user))
        drawn = np.unique(drawn_user * self.items + drawn_item)
        drawn = np.setdiff1d(drawn, user * self.items + item, assume_unique=True)
        users = np.concatenate([user, drawn // self.items])
        order = rng.permutation(len(users))  # SGD goes through them as they come
        return (
            users[order],
            np.concatenate([item, drawn % self.items])[order],
            np.concatenate([rating, np.zeros(len(drawn))])[order].astype(np.float32),
        )


def empty_scores(past: Purchases) -> Floats:
    """Make a table of no scores, [users, items]: -inf is what a model does not know."""
    return np.full((past.users, past.items), -np.inf, np.float32)
