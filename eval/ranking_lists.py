"""Ranked lists and what was bought, in the form of the TREC tools: `topic Q0 item place score system`, `topic 0 item 1`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

import numpy as np

from eval.ranking_measures import MOST
from eval.ranking_tasks import Exam, Rows
from eval.replay import write_whole


def trec(name: str) -> str:
    r"""Write an id without white space, which parts the columns.

    >>> trec("a b%"), trec("i17")
    ('a%20b%25', 'i17')
    """
    return re.sub(r"[\s%]", lambda found: quote(found[0]), name)


def write_qrels(path: Path, *, exam: Exam, task: str) -> None:
    """Write what was bought, ask by ask, where it is not written yet.

    Raises:
        ShopError: when it cannot be written.
    """
    if not path.is_file():
        ids = exam.past.item_ids
        lines = (f"{trec(ask.ask_id)} 0 {trec(ids[row])} 1\n" for ask in exam.of(task) for row in ask.targets)
        write_whole(path, "".join(lines))


def write_lists(path: Path, *, found: Mapping[str, Rows], exam: Exam, name: str) -> None:
    """Write the lists of one system, by ask; the score says the place, as the tools sort by it.

    Raises:
        ShopError: when it cannot be written.
    """
    ids = exam.past.item_ids

    def lines() -> Iterator[str]:
        for ask_id, rows in found.items():
            for place, row in enumerate(rows.tolist()):
                yield f"{trec(ask_id)} Q0 {trec(ids[row])} {place + 1} {MOST - place} {name}\n"

    write_whole(path, "".join(lines()))


def read_lists(path: Path, *, exam: Exam, task: str) -> dict[str, Rows]:
    """Read the lists of a task, best first; an ask without a line has an empty one."""
    names = {trec(ask.ask_id): ask.ask_id for ask in exam.of(task)}
    rows = {trec(item_id): row for item_id, row in exam.past.item_rows.items()}
    found: dict[str, list[int]] = {ask_id: [] for ask_id in names.values()}
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            topic, _, item, *_ = line.split()
            found[names[topic]].append(rows[item])
    return {ask_id: np.array(held, np.int64) for ask_id, held in found.items()}
