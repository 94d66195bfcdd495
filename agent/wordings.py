"""Whether a sentence is made of word sequences that replies are made of: a small model's slips of grammar end here.

True words can still be no English ("Milk (#1) was bought by 5 of your last 10 trips"). Every three neighbouring words
of a sentence must follow each other in some wording that the model was taught; names, numbers and amounts stand for
each other. `agent/wordings.txt` is written by `python -m finetune.wordings`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from agent.grounding import REFERENCE, Spoken
from agent.plain import short_title

FILE = Path(__file__).parent / "wordings.txt"
ITEM, NAME, NUMBER, AMOUNT = "#", "~", "0", "$"
RELATIVE = ("cheaper than ", "dearer than ", "bigger than ", "smaller than ", "like ", "goes with ")
_TOKEN = re.compile(r"[#~0$]|[a-z][a-z'-]*|[.,;:!?]")


def known(sentence: str, spoken: Spoken) -> bool:
    """Say whether every three neighbouring words of a sentence, with items as [1], are taught ones."""
    named = names(spoken)
    # "5 items cheaper than soda" names its list, "[1] is $0.50 cheaper than soda" does not.
    bare = [name for name in named if not name.startswith(RELATIVE)]
    return any(all(three in taught() for three in threes(shape(sentence, some))) for some in (named, bare))


@cache
def taught() -> frozenset[str]:
    """Read the sequences of three that replies are made of."""
    return frozenset(FILE.read_text(encoding="utf-8").splitlines())


def names(spoken: Spoken) -> list[str]:
    """List what may stand for a name in a sentence: labels of lists, items, and the words of facts; longest first."""
    found = {label.lower() for label in spoken.labels}
    found |= {label.lower().removeprefix(word) for label in spoken.labels for word in RELATIVE}
    for row in spoken.rows.values():
        found |= {short_title(row.item).lower(), " > ".join(row.item.categories).lower(), row.item.brand.lower()}
        for fact in row.facts:
            found |= {" ".join(fact.words).lower(), *(word.lower() for word in fact.words)}
            found |= {word.split(",")[0].lower() for word in fact.words}
            if fact.kind == "brand_tier":
                found |= {"store brand", "name brand", "the store brand", "a name brand"}
    return sorted((name for name in found if name), key=len, reverse=True)


def shape(sentence: str, named: Iterable[str]) -> list[str]:
    """Cut a sentence into words, with one sign for every item, name, number and amount.

    >>> shape("[1] is $0.50 cheaper than deli ham.", ["deli ham"])
    ['#', 'is', '$', 'cheaper', 'than', '~', '.']
    """
    text = REFERENCE.sub(" # ", sentence.lower().replace("’", "'"))
    for name in named:
        text = re.sub(rf"(?<![\w~]){re.escape(name)}(?![\w~])", " ~ ", text)
    text = re.sub(r"\$\d+(?:[.,]\d+)*", " $ ", text)
    text = re.sub(r"\d+(?:[.,]\d+)*", " 0 ", text)
    text = re.sub(r"~(?:[\s,]+(?:and )?\s*~)+", "~", text)
    return _TOKEN.findall(text)


def threes(words: list[str]) -> Iterator[str]:
    """Go through every three neighbours, the ends of the sentence included.

    >>> list(threes(["so", "be", "it"]))
    ['^ so be', 'so be it', 'be it ^']
    """
    held = ["^", *words, "^"]
    return (" ".join(held[at : at + 3]) for at in range(len(held) - 2))
