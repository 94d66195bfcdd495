"""How much the bank of phrasings repeats itself: `python -m finetune.diversity [FILE.jsonl …]`.

Files are conversations (training data, or a set that is graded): of each the messages are measured, and how near they come
to the bank.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import numpy as np

from agent.conversation import read_conversations
from finetune.phrasebook import expansions, load_phrases
from retrieval.records import ShopError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from retrieval.embedder import Embedder

SAMPLE = 1000  # texts; shares of distinct n-grams fall with the number of texts, so they are of samples of one size
SAME = 0.05  # cosine distance below which two texts say the same in nearly the same words
BLOCK = 1024  # rows of the matrix of distances that are in memory at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Diversity:
    """What was measured of some texts.

    `distinct` are the shares of 1-, 2- and 3-grams of words that are different ones (distinct-n; Li et al., 2016), in a
    sample; `nearest` are the 10th, 50th and 90th percentile of the cosine distance from a text to the nearest other one
    (0: the same meaning, 1: nothing in common); `same` is the share nearer than `SAME`.
    """

    texts: int
    different: int
    most_repeated: int
    distinct: tuple[float, float, float]
    nearest: tuple[float, float, float]
    same: float


def diversity(texts: Sequence[str], *, embedder: Embedder, beside: Sequence[str] = (), seed: int = 0) -> Diversity:
    """Measure texts among themselves, or how near they come to those `beside`.

    Raises:
        ShopError: when there are fewer than two texts.
    """
    counts = Counter(map(_in_one_case, texts))
    if len(counts) < 2:
        raise ShopError("There are fewer than two different texts, so nothing can be said of their diversity")
    kinds = list(counts)
    sample = Random(seed).sample(kinds, min(SAMPLE, len(kinds)))
    known = list(dict.fromkeys(map(_in_one_case, beside)))
    distances = nearest(embedder.encode(kinds), embedder.encode(known) if known else None)
    ten, fifty, ninety = np.percentile(distances, (10, 50, 90))
    one, two, three = (distinct(sample, size) for size in (1, 2, 3))
    return Diversity(
        texts=len(texts),
        different=len(kinds),
        most_repeated=max(counts.values()),
        distinct=(one, two, three),
        nearest=(float(ten), float(fifty), float(ninety)),
        same=float(np.mean(distances < SAME)),
    )


def distinct(texts: Sequence[str], size: int) -> float:
    """Give the share of n-grams of words that are different ones; 0 where there is none.

    >>> distinct(["any milk", "any bread"], 1), distinct(["any milk", "any bread"], 2), distinct(["milk"], 2)
    (0.75, 1.0, 0.0)
    """
    grams = [tuple(words[at : at + size]) for words in map(str.split, texts) for at in range(len(words) - size + 1)]
    return len(set(grams)) / len(grams) if grams else 0.0


def nearest(vectors: NDArray[np.float32], others: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
    """Give the cosine distance of each unit vector to the nearest other one, or to the nearest of `others`."""
    out = np.empty(len(vectors), dtype=np.float32)
    for start in range(0, len(vectors), BLOCK):
        rows = np.arange(start, min(start + BLOCK, len(vectors)))
        alike = vectors[rows] @ (vectors if others is None else others).T
        if others is None:
            alike[np.arange(len(rows)), rows] = -1.0
        out[rows] = 1.0 - alike.max(axis=1)
    return np.clip(out, 0.0, None)


def said(path: Path) -> Iterator[str]:
    """Give what shoppers say in a file of conversations; a branch's own message only, not what it shares with its talk."""
    for one in read_conversations(path):
        messages = [message.content for message in one.messages if message.role == "user"]
        yield from messages[-1:] if "branch_of" in one.metadata else messages


def phrasings() -> list[str]:
    """Give the bank's phrasings, slots by their names, the first of each choice."""
    held = (phrase for kind in load_phrases().phrases.values() for phrase in kind)
    return [re.sub(r"[{}]", "", next(expansions(phrase.text))) for phrase in held]


def _in_one_case(text: str) -> str:
    return " ".join(text.lower().split())


def row(name: str, found: Diversity) -> str:
    """Write a row of the table."""
    grams = " / ".join(f"{share:.2f}" for share in found.distinct)
    near = " / ".join(f"{distance:.2f}" for distance in found.nearest)
    return f"| {name} | {found.texts:,} | {found.different:,} | {found.most_repeated} | {grams} | {near} | {found.same:.1%} |"


def main(files: Sequence[str]) -> None:
    """Print the table."""
    from retrieval.embedder import Embedder

    embedder = Embedder()
    bank = phrasings()
    print(  # noqa: T201
        f"| | texts | different | most repeated | distinct 1- / 2- / 3-grams in {SAMPLE:,} "
        f"| cosine distance to the nearest, 10 / 50 / 90 % | nearer than {SAME} |\n|---|---:|---:|---:|---:|---:|---:|"
    )
    print(row("bank", diversity(bank, embedder=embedder)))  # noqa: T201
    for file in map(Path, files):
        messages = list(said(file))
        print(row(file.name, diversity(messages, embedder=embedder)))  # noqa: T201
        print(row(f"{file.name}, to the bank", diversity(messages, embedder=embedder, beside=bank)))  # noqa: T201


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except ShopError as error:
        sys.exit(str(error))
