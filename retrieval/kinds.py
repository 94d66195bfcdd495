"""Which kinds of thing a shop sells, and which of them a shopper's words name."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval.records import Item
from retrieval.vocabulary import CONTAINERS, Asked, Vocabulary, fold
from retrieval.wish import stems

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

LONGEST_NAME = 5  # words: a first title piece longer than that is a product's own name, not a kind's
MINED = 3  # items that must share the last words of their names for these to name a kind

# How sure a name is: the kind's own, another name for it, the end of either, its category's.
# "Such as" names what may be under the name.
OWN, ALSO, END, SUCH, ALSO_END, PART, CATEGORY, CATEGORY_END, DEPARTMENT = (
    1.0,
    0.97,
    0.9,
    0.84,
    0.8,
    0.88,
    0.85,
    0.7,
    0.7,
)
CONTAINED = 0.25  # how much of its weight a container's name keeps
INNER = 0.78  # two or more words in a row inside a name: hot chocolate is what hot chocolate mix is for
SURE = 0.7  # a name at least as sure as this tells what is meant


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of thing the shop sells; `score` in 0..1 says how well asked-for words name it."""

    name: str
    category: str
    item_ids: tuple[str, ...]
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Naming:
    """What a query's words name, by item.

    `match` in 0..1; how `sure` the name is; whether name and item text cover the `whole` query; the share of the
    words that the item's text `held`.
    """

    match: Floats
    sure: Floats
    whole: Mask
    held: Floats


class Kinds:
    """The kinds of a shop, read off its items: the first piece of a title is the kind's name, its head noun last.

    "Steak sauce, 10 oz" is a "steak sauce", which is a sauce and no steak. Other names come from a description
    that says "Also called pop, soft drink." and from the categories. Where a first piece is long (a product's
    own name), the kind is its longest ending that other items share, before any "for" or "with".

    Args:
        items: The items, in catalogue order.
        said: What shoppers say, to the name of the kind that they mean by it ("kleenex": "facial tissue"); such words
            find the kind, and are never said of it.
    """

    def __init__(self, items: Sequence[Item], *, said: Mapping[str, str] | None = None) -> None:
        self.size = len(items)
        self.names: list[str] = []
        self.categories: list[str] = []
        self.of_item = np.zeros(len(items), dtype=np.int64)
        self.phrases: list[str] = []  # the names of kinds as texts, for embedding, and whose they are
        self.phrase_kind: list[int] = []
        self._named: dict[tuple[str, ...], dict[int, float]] = defaultdict(dict)  # folded name -> kind -> sureness
        heads = [_head(item.title) for item in items]
        ends: Counter[tuple[str, ...]] = Counter()
        for _, words in heads:
            for length in range(1, min(4, len(words)) + 1):
                ends[words[-length:]] += 1
        numbers: dict[tuple[object, ...], int] = {}
        pairs: set[tuple[str, str]] = set()
        for row, (item, (name, words)) in enumerate(zip(items, heads, strict=True)):
            if len(words) > LONGEST_NAME:
                length = max((n for n in range(1, 5) if ends[words[-n:]] >= MINED), default=2)
                name, words = " ".join(name.split()[-length:]), words[-length:]
            also, such = also_called(item.description), such_as(item.description)
            category = item.categories[-1] if item.categories else ""
            kind = numbers.setdefault((words, category.lower(), also, such), len(self.names))
            self.of_item[row] = kind
            if kind < len(self.names):
                continue
            self.names.append(name or item.title)
            self.categories.append(category)
            self._name(words, kind, own=True)
            for other in also:
                self._name(fold(other), kind, own=False)
            for other in such:
                self._put(fold(other), kind, SUCH)
            for level, text in enumerate(reversed(item.categories)):
                self._category(text, kind, narrowest=level == 0)
            for text in dict.fromkeys(text.lower() for text in (name or item.title, *also, *such)):
                self.phrases.append(text)
                self.phrase_kind.append(kind)
                folded = fold(text)
                pairs.update(zip(folded, folded[1:], strict=False))
        self._say(said or {})
        self.pairs = frozenset(pairs)
        self._in_names = frozenset(word for name in self._named for word in name)
        # item text, as an index from folded word to rows
        rows: dict[str, list[int]] = defaultdict(list)
        for row, item in enumerate(items):
            for word in set(stems(item.text)):
                rows[word].append(row)
        self.rows_with: Mapping[str, Ints] = {word: np.array(held, dtype=np.int64) for word, held in rows.items()}
        # A brand is no part of the text that wishes look in, but it is said: "hp toner", "store brand milk".
        branded: dict[str, list[int]] = defaultdict(list)
        for row, item in enumerate(items):
            for word in set(stems(item.brand)):
                branded[word].append(row)
        speaking = dict(self.rows_with)
        for word, held in branded.items():
            speaking[word] = np.union1d(speaking.get(word, np.zeros(0, dtype=np.int64)), held)
        self._speaking: Mapping[str, Ints] = speaking
        by_kind = np.argsort(self.of_item, kind="stable")
        self._by_kind = by_kind
        self._starts = np.searchsorted(self.of_item[by_kind], np.arange(len(self.names) + 1))

    def _say(self, words: Mapping[str, str]) -> None:
        """Let words that shoppers say lead to the kinds that bear a name."""
        self.said_words = frozenset(word for text in words for word in fold(text))
        for said, name in words.items():
            bearing = {kind: sureness for kind, sureness in self._named.get(fold(name), {}).items() if sureness >= END}
            own = [kind for kind, sureness in bearing.items() if sureness >= ALSO]
            for kind in own or bearing:
                self._put(fold(said), kind, ALSO)

    def rows(self, kind: int) -> Ints:
        """Give the rows of a kind's items."""
        return self._by_kind[self._starts[kind] : self._starts[kind + 1]]

    def ends(self, word: str) -> bool:
        """Say whether the name of any kind ends in the word: "ginger" is in one, but of ginger ale."""
        return max(self._named.get((word,), {}).values(), default=0.0) >= SURE

    def called(self, name: tuple[str, ...]) -> bool:
        """Say whether some kind bears just that name, as its own or as another one."""
        return max(self._named.get(name, {}).values(), default=0.0) >= ALSO

    def bears(self, word: str) -> bool:
        """Say whether the word is in the name of any kind, by itself or among others."""
        return word in self._in_names

    def counts(self) -> dict[str, int]:
        """Count the items that use each folded word, in their text or as their brand."""
        return {word: len(rows) for word, rows in self._speaking.items()}

    def weight(self, word: str) -> float:
        """Say how much a word tells: its inverse document frequency, and a little."""
        return math.log(1 + self.size / (1 + len(self._speaking.get(word, ())))) + 0.2

    def named(self, asked: Asked, *, modifiers: Mapping[str, Ints] | None = None) -> Naming:
        """Find what the words name: every run of words that is a name counts, weighted by what else the item covers.

        The last run before a "for" or "with" is the thing itself; the others say more about it.
        """
        match = np.zeros(self.size, dtype=np.float32)
        sure = np.zeros(self.size, dtype=np.float32)
        whole = np.zeros(self.size, dtype=bool)
        words = asked.words
        if not words:
            return Naming(match=match, sure=sure, whole=whole, held=match.copy())
        last = asked.head_end - 1
        weights = [
            self.weight(word)
            * (1.0 if at <= last else 0.5)
            * (CONTAINED if word in CONTAINERS and at != last else 1.0)  # a bag of chips is chips, a chip bag a bag
            for at, word in enumerate(words)
        ]
        total = sum(weights)
        # covers[i]: what share of the words an item's own text covers
        held = np.zeros((len(words), self.size), dtype=bool)
        for at, word in enumerate(words):
            found = self._speaking.get(word)
            if found is not None:
                held[at, found] = True
        # The last run of words that is a name is the thing itself: movie night snacks are snacks.
        ending = next((asked.head_end - at for at in range(asked.head_end) if self._sure(asked, at, asked.head_end)), 0)
        for start in range(asked.head_end):
            for end in range(asked.head_end, start, -1):
                hits = self._apart(self._names(asked, start, end), words[start:end])
                if not hits:
                    continue
                spanned = sum(weights[start:end])
                outside = [at for at in range(len(words)) if not start <= at < end]
                place = 1.0 if end == asked.head_end else 0.9 if end - start > ending else 0.72
                for kind, sureness in hits.items():
                    rows = self.rows(kind)
                    covered = np.full(len(rows), spanned)
                    for at in outside:
                        covered += weights[at] * held[at, rows]
                    score = (sureness * place * (0.35 + 0.65 * covered / total)).astype(np.float32)
                    better = score > match[rows]
                    sure[rows] = np.where(better, sureness * place, sure[rows])
                    whole[rows] = np.where(better, covered >= 0.95 * total, whole[rows])
                    match[rows] = np.maximum(match[rows], score)
        if asked.head_end and not self.bears(words[asked.head_end - 1]):
            # "Car insurance" is no kind of car: where no kind is called by the last word, the words before it say little.
            match *= 0.6
        mentioned = (np.array(weights, dtype=np.float32)[:, None] * held).sum(axis=0) / total
        return Naming(match=match, sure=sure, whole=whole, held=mentioned.astype(np.float32))

    def _sure(self, asked: Asked, start: int, end: int) -> bool:
        return max(self._names(asked, start, end).values(), default=0.0) >= END

    def _apart(self, hits: Mapping[int, float], words: tuple[str, ...]) -> Mapping[int, float]:
        """Tell a thing from what only ends in its name: where butter is sold, peanut butter is not butter.

        A kind whose name ends in the words stays as sure where no kind has just that name, where it stands on the
        same shelf as one that has, or where the shelf itself bears the words.
        """
        if any(sureness > INNER for sureness in hits.values()):
            hits = {kind: sureness for kind, sureness in hits.items() if sureness != INNER}
        shelves = {self.categories[kind] for kind, sureness in hits.items() if sureness >= ALSO}
        if not shelves:
            return hits
        return {
            kind: sureness
            if not ALSO_END < sureness < ALSO
            or self.categories[kind] in shelves
            or set(words) <= set(fold(self.categories[kind]))
            else ALSO_END
            for kind, sureness in hits.items()
        }

    def _names(self, asked: Asked, start: int, end: int) -> Mapping[int, float]:
        """Look a run of words up as a name, with and without the filler between and after them."""
        first, last = asked.places[start], asked.places[end - 1] + 1
        after = asked.places[end] if end < len(asked.places) else len(asked.tokens)
        runs = {asked.words[start:end], asked.tokens[first:last], asked.tokens[first:after]}
        found = [self._named[run] for run in runs if run in self._named]
        if len(found) < 2:
            return found[0] if found else {}
        return {kind: max(held.get(kind, 0.0) for held in found) for held in found for kind in held}

    def _name(self, words: tuple[str, ...], kind: int, *, own: bool) -> None:
        if not words:
            return
        self._put(words, kind, OWN if own else ALSO)
        for start in range(len(words)):
            for end in range(start + 2, len(words)):
                self._put(words[start:end], kind, INNER)
            if start:
                self._put(words[start:], kind, END if own else ALSO_END)
        if "and" in words:
            first = words[: words.index("and")]
            self._put(first, kind, PART)

    def _category(self, text: str, kind: int, *, narrowest: bool) -> None:
        words = fold(text)
        self._put(words, kind, CATEGORY if narrowest else DEPARTMENT)
        for part in re.split(r",|&|/|\band\b", text):
            folded = fold(part)
            if folded and folded != words:
                self._put(folded, kind, CATEGORY - 0.05 if narrowest else DEPARTMENT - 0.05)
                for start in range(1, len(folded)):
                    self._put(folded[start:], kind, CATEGORY_END if narrowest else 0.5)

    def _put(self, words: tuple[str, ...], kind: int, sureness: float) -> None:
        if words:
            held = self._named[words]
            held[kind] = max(held.get(kind, 0.0), sureness)


def also_called(description: str) -> tuple[str, ...]:
    """Read the other names that a description gives.

    >>> also_called("Also called pop, soft drink. For parties.")
    ('pop', 'soft drink')
    """
    return _listed("also called", description)


def such_as(description: str) -> tuple[str, ...]:
    """Read the examples that a description gives.

    >>> such_as("Also called shaker cheese. Such as parmesan, romano.")
    ('parmesan', 'romano')
    """
    return _listed("such as", description)


def _listed(opening: str, description: str) -> tuple[str, ...]:
    found = re.search(rf"(?:^|\. ?){opening} ([^.]+)", description, re.IGNORECASE)
    return tuple(part.strip() for part in re.split(r",| or ", found[1]) if part.strip()) if found else ()


def _head(title: str) -> tuple[str, tuple[str, ...]]:
    """Give the piece of a title that names the thing, and its folded words.

    >>> _head("Steak sauce, 10 oz")[0], _head("ACME 3-hole punch for binders (black), 2 pack")[0]
    ('Steak sauce', 'ACME 3-hole punch')
    """
    piece = re.split(r",|\(| - |;|:|\b(?:for|with|w/)\s", title, maxsplit=1)[0].strip() or title.strip()
    return piece, fold(piece)


def vocabulary(kinds: Kinds, *, knows: Callable[[str], bool] | None = None) -> Vocabulary:
    """Make the vocabulary of a shop's items."""
    counts = kinds.counts()
    for word in kinds.said_words:
        counts.setdefault(word, 1)
    return Vocabulary(counts, pairs=kinds.pairs, knows=knows)
