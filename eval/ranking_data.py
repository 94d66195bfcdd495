"""The data sets of the ranking benchmark beside a shop's own log: MovieLens-100K, and a shop with next-item questions."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from eval.ranking_tasks import Ask, Exam, draw
from retrieval.history import History
from retrieval.records import Item, ShopError

if TYPE_CHECKING:
    import pandas as pd

TEST_SHARE = 0.1  # of a user's ratings, in the random split; as many are for validation


@dataclass(frozen=True, eq=False, kw_only=True)
class Data:
    """A data set, split: what is asked, what settings are chosen on, and how it was done, in words."""

    name: str
    items: Sequence[Item]
    exam: Exam
    validation: Exam | None
    how: str


def movielens(folder: Path, *, seed: int) -> Data:
    """Split MovieLens-100K by leave-one-out in time: each user's last rating is asked for, the one before is for validation.

    A rating of any height is an event, each event a basket of its own; times are sorted stably, so that equal ones stay
    in the order of the file.

    Raises:
        ShopError: when a file is missing or is not what it should be.
    """
    items, events = read_movielens(folder)
    history = each_its_own(events, items=items)
    exam = draw(history, items=items, tasks=("new",), seed=seed)[0]
    return Data(
        name="movielens",
        items=items,
        exam=exam,
        validation=draw(exam.past, items=items, tasks=("new",), seed=seed)[0],
        how="MovieLens-100K: every rating an event; a user's last one in time (stable sort) is asked for, the one before "
        "is for validation; all films that the user has not rated are ranked",
    )


def movielens_random(folder: Path, *, seed: int) -> Data:
    """Split MovieLens-100K at random, 8:1:1 in each user: models learn from the eight also for the test.

    Raises:
        ShopError: when a file is missing or is not what it should be.
    """
    items, events = read_movielens(folder)
    rng = np.random.default_rng(seed)
    place = events.assign(order=rng.random(len(events))).groupby("user_id")["order"].rank(pct=True).to_numpy()
    past = each_its_own(events[place <= 1 - 2 * TEST_SHARE], items=items)
    validation, test = (place > 1 - 2 * TEST_SHARE) & (place <= 1 - TEST_SHARE), place > 1 - TEST_SHARE
    return Data(
        name="movielens-random",
        items=items,
        exam=Exam(round="known", past=past, asks=_asks(events[test], past=past)),
        validation=Exam(round="known", past=past, asks=_asks(events[validation], past=past)),
        how=f"MovieLens-100K: each user's ratings split at random 8:1:1 (seed {seed}); models learn from the eight parts, "
        "validation and test are one each; all films that are not among the user's eight parts are ranked",
    )


def questions(folder: Path, *, seed: int) -> Data:
    """Take a shop with next-item questions: items.jsonl, interactions.csv and next_item_test.jsonl.

    The log is the past, as it is. Asked is each user's first question, whose history is what the log holds of the user;
    a later one's history holds the answers of those before it, which no model may learn from here.

    Raises:
        ShopError: when a file is missing or is not what it should be.
    """
    from retrieval.source_files import read_files

    source = read_files(items=folder / "items.jsonl", interactions=folder / "interactions.csv")
    items = list(source.items)
    past = History.from_interactions(source.interactions, item_ids=[item.item_id for item in items])
    first: dict[str, dict[str, Any]] = {}
    for question in _lines(folder / "next_item_test.jsonl"):
        first.setdefault(str(question["user_id"]), question)
    asks: list[Ask] = []
    for user_id, question in first.items():
        row = past.item_rows.get(str(question["target"]))
        if row is None or user_id not in past.user_rows:
            continue
        plain = Ask(ask_id=user_id, task="next_basket", user_id=user_id, at=past.now + 86_400, targets=(row,))
        bought = row in past.bought_rows(user_id)[0]
        asks += [plain] if bought else [plain, replace(plain, task="new")]
    if not asks:
        raise ShopError(f"No question in {folder / 'next_item_test.jsonl'} is of a user and an item of the shop")
    exam = Exam(round="known", past=past, asks=tuple(asks))
    drawn = draw(past, items=items, tasks=("next_basket", "new"), seed=seed)
    return Data(
        name="office",
        items=items,
        exam=exam,
        validation=drawn[0] if drawn else None,
        how=f"next-item questions of {len(first):,} users: the log is the past, each user's first question is asked (a later "
        "one's history holds answers of earlier ones); validation is the last event of users with five or more; "
        "next_basket ranks all items, new those that the user never bought",
    )


def read_movielens(folder: Path) -> tuple[list[Item], pd.DataFrame]:
    """Read the films, and the ratings as events in the order of the file, from the two files in RecBole's form."""
    import pandas as pd

    items = []
    for row in _table(folder / "ml-100k.item"):
        genres = tuple(row["class"].split())
        year = row["release_year"]
        items.append(
            Item(
                item_id=row["item_id"],
                title=f"{row['movie_title']} ({year})" if year else row["movie_title"],
                categories=genres[:1],
                attributes={"genres": genres, **({"year": year} if year else {})},
            )
        )
    rated = list(_table(folder / "ml-100k.inter"))
    events = pd.DataFrame(
        {
            "user_id": [row["user_id"] for row in rated],
            "item_id": [row["item_id"] for row in rated],
            "timestamp": [float(row["timestamp"]) for row in rated],
        }
    )
    return items, events


def each_its_own(events: pd.DataFrame, *, items: Sequence[Item]) -> History:
    """Make a history in which every event is a basket of its own, so that the order within a day is kept."""
    named = events.assign(basket_id=[f"e{place}" for place in range(len(events))])
    return History.from_interactions(named, item_ids=[item.item_id for item in items])


def _asks(events: pd.DataFrame, *, past: History) -> tuple[Ask, ...]:
    out = []
    for user_id, held in events.groupby("user_id", sort=True):
        if user_id not in past.user_rows:
            continue
        rows = tuple(sorted(past.item_rows[item_id] for item_id in held["item_id"]))
        out.append(Ask(ask_id=str(user_id), task="new", user_id=str(user_id), at=past.now, targets=rows))
    return tuple(out)


def _table(path: Path) -> list[dict[str, str]]:
    """Read one of RecBole's atomic files: tab-separated, each column named `name:type`."""
    try:
        with path.open(encoding="utf-8", newline="") as lines:
            read = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
            names = [name.split(":")[0] for name in next(read)]
            return [dict(zip(names, row, strict=True)) for row in read]
    except (OSError, ValueError, StopIteration) as error:
        raise ShopError(f"Cannot read {path}: {error}") from error


def _lines(path: Path) -> list[dict[str, Any]]:
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise ShopError(
            f"Cannot read {path}: {error}. A question a line is expected: user_id, history, target"
        ) from error
