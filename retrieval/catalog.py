"""Find items by words: vectors and BM25 fused, hard wishes kept exactly, and the thing that is meant told from its namesakes."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.embedded import Embedded, named, note
from retrieval.embedder import MAX_TOKENS, Embedder
from retrieval.keeps import Keeps
from retrieval.kinds import SURE, Kind, Kinds, Naming, vocabulary
from retrieval.quantity import parse_quantity, same_size
from retrieval.records import Candidate, Item
from retrieval.vectors import ARRAY, Vectors, best, build, save
from retrieval.vocabulary import Asked, fold
from retrieval.wish import Wish, stems

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]
Progress = Callable[[float], None]

PHRASES = "kinds.npy"
WORDS = "bm25"
MOST_NEEDS = 6  # parts of one query that may each be a need of its own
MOST_AHEAD = 16  # texts that the embedder takes as a query's and remembers
RRF_K = 60  # Cormack et al., 2009
POOL = 300  # rows that each retriever proposes before fusion

# Cosine of a query to a kind's name at which the name starts to fit, and at which it fits as if it were said.
# Measured on tests/data/search_pairs.jsonl: see there.
NEAR, SAME = 0.38, 0.80
APART, AGREED = 0.40, 0.60  # cosine of a kind to a query that its name covers in part: no agreement, full agreement
ALIKE = 0.3  # score from which another item is like one: a cosine of a half, or less on the same shelf
FLOOR = 0.35  # match below which an item is not worth showing
FOCUSED = 0.62  # match from which the words plainly name a kind
BESIDE = 0.88  # kinds within this share of the best one are meant too

# What people call the two tiers of brands, however the shop's items spell them.
_TIERS = {
    "Private": (
        "store brand, store, own brand, own label, house brand, private label, private, generic, no name, off brand, "
        "supermarket brand, shop brand, home brand, value brand"
    ),
    "National": (
        "name brand, name, national brand, national, brand name, big brand, branded, major brand, famous brand, "
        "well known brand, real brand"
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Understood:
    """What a query was taken to mean: `match` of every item, and the rows of the kinds it plainly names."""

    asked: Asked
    vector: Floats
    match: Floats
    named_whole: bool  # some name, with what its items say of themselves, covers every word
    focus: Ints | None


class Catalog:
    """The items of a shop, searchable; open one with `Catalog.open`.

    `items` maps item ids to items in catalogue order, the order of every array here.
    """

    def __init__(
        self,
        items: Sequence[Item],
        *,
        embedder: Embedder,
        kinds: Kinds,
        vectors: Vectors,
        phrase_vectors: Floats,
        words: Any,
        prior: NDArray[Any] | None = None,
    ) -> None:
        self.items: Mapping[str, Item] = {item.item_id: item for item in items}
        self.item_ids = tuple(self.items)
        self.vectors = vectors
        self._list = list(items)
        self._row = {item_id: row for row, item_id in enumerate(self.item_ids)}
        self._embedder = embedder
        self._kinds = kinds
        self._phrase_vectors = phrase_vectors
        self._phrase_starts = np.searchsorted(np.asarray(kinds.phrase_kind), np.arange(len(kinds.names)))
        self._phrases = {phrase: at for at, phrase in enumerate(kinds.phrases)}
        self._quantities: dict[str, Any] = {}
        self._words = words
        self._keeps = Keeps(items, rows_with=kinds.rows_with)
        self._vocabulary = vocabulary(kinds, knows=embedder.knows)
        prior = np.zeros(len(items)) if prior is None else np.asarray(prior, dtype=np.float64)
        self._prior = (prior / max(1.0, float(prior.max(initial=0.0)))).astype(np.float32)
        self._understood: OrderedDict[str, Understood] = OrderedDict()
        self.brands: Mapping[str, int] = _counts(item.brand for item in items if item.brand)
        values: dict[str, dict[str, int]] = {}
        for item in items:
            for name, held in item.attributes.items():
                for value in held if isinstance(held, tuple) else (held,):
                    counts = values.setdefault(name, {})
                    counts[str(value)] = counts.get(str(value), 0) + 1
        self._values = values
        self._heads = {
            (stems(name.split("(")[0].split(",")[0]) or [""])[-1]
            for name in (*kinds.names, *(p for p in kinds.phrases if " " not in p))
        }
        self.attribute_names = tuple(values)
        self._named_values: dict[tuple[str, ...], list[tuple[str, str]]] = {}
        for name, held_values in values.items():
            for value in held_values:
                self._named_values.setdefault(fold(value), []).append((name, value))

    @classmethod
    def open(
        cls,
        folder: Path,
        items: Sequence[Item],
        *,
        embedder: Embedder,
        prior: NDArray[Any] | None = None,
        said: Mapping[str, str] | None = None,
    ) -> Catalog:
        """Open what `build_catalog` wrote; a damaged Chroma is made again in the background.

        Args:
            folder: The generation's folder.
            items: The generation's items, in the order they were built in.
            embedder: Turns queries into vectors; the one that the catalogue was built with.
            prior: How often each item is bought; among items that match alike, the more bought come first.
            said: Words that shoppers say, to the name of the kind they mean; see `Kinds`.

        Raises:
            ValueError, OSError: when a file cannot be read or does not belong to these items.
        """
        import bm25s

        kinds = Kinds(items, said=said)
        phrase_vectors = np.load(folder / PHRASES, allow_pickle=False)
        if phrase_vectors.shape != (len(kinds.phrases), embedder.dim):
            raise ValueError(f"{PHRASES} holds {phrase_vectors.shape}, expected {len(kinds.phrases)} rows")
        words = bm25s.BM25.load(str(folder / WORDS), allow_pickle=False, show_progress=False)
        return cls(
            items,
            embedder=embedder,
            kinds=kinds,
            vectors=Vectors.open(folder, item_ids=[item.item_id for item in items]),
            phrase_vectors=phrase_vectors,
            words=words,
            prior=prior,
        )

    def warm(self) -> None:
        """Load the embedder now (seconds), so that the first search need not."""
        self._embedder.encode(["warm"])

    def close(self) -> None:
        """Let Chroma go."""
        self.vectors.close()

    def search(
        self,
        queries: Sequence[str],
        *,
        wish: Wish,
        limit: int = 50,
        bought: Callable[[str], bool] | None = None,
    ) -> list[Candidate]:
        """Find the items that fit the words and keep to the wish, best first; none when nothing fits.

        Args:
            queries: The need in words, the plainest wording first: the first that names a kind of thing decides
                what is meant, the others only order what is found. Where nothing of that kind keeps to the wish, a
                wider name among the others decides.
            wish: Hard wishes; an item that breaks one never comes out.
            limit: Most candidates to give.
            bought: Says whether the shopper bought an item before; needed where the wish asks for it.

        Returns:
            Candidates with the sources "match" (0..1, comparable across queries), "dense" (cosine), "bm25" and
            "rrf" (the fused rank score).
        """
        queries = [query for query in dict.fromkeys(query.strip() for query in queries) if query]
        mask = self._keeps.mask(wish)
        if not queries or not mask.any():
            return []
        understood = [self.understand(query) for query in queries]
        leading = _leading(understood, mask)
        if leading is not None:
            assert leading.focus is not None
            rows = leading.focus[mask[leading.focus]]
            match = leading.match
        else:
            match = np.max([each.match for each in understood], axis=0)
            rows = np.flatnonzero((match >= FLOOR) & mask)
        if not len(rows):
            return []
        fused = np.zeros(len(self._list), dtype=np.float32)
        bm25 = np.zeros(len(self._list), dtype=np.float32)
        for each in understood:
            lexical = self._lexical(each.asked)
            bm25 = np.maximum(bm25, lexical)
            fused += self._fuse(each, lexical, rows, filtered=len(rows) < len(self._list) // 2)
        dense = self.vectors.within(understood[0].vector, rows)
        # Match first, in steps that are felt; within a step the fused rank, then what more people buy.
        order = np.lexsort((rows, -self._prior[rows], -fused[rows], -np.round(match[rows] / 0.05)))
        out: list[Candidate] = []
        for at in order:
            row = int(rows[at])
            item_id = self.item_ids[row]
            if wish.bought != "any":
                before = bool(bought and bought(item_id))
                if before != (wish.bought == "again"):
                    continue
            sources = {
                "match": float(match[row]),
                "dense": float(dense[at]),
                "bm25": float(bm25[row]),
                "rrf": float(fused[row]),
            }
            out.append(Candidate(item_id=item_id, sources=sources))
            if len(out) == limit:
                break
        return out

    def similar(self, item_id: str, *, wish: Wish, limit: int = 50) -> list[Candidate]:
        """Find items like one, the same kind of thing first; the item itself never comes out.

        Returns:
            Candidates with the sources "similar" (0..1) and "dense" (cosine to the item).
        """
        row = self._row.get(item_id)
        if row is None:
            return []
        mask = self._keeps.mask(wish)
        mask[row] = False
        vector = self.vectors.array[row]
        kind = int(self._kinds.of_item[row])
        near, _ = self.vectors.nearest(vector, limit=max(POOL, 4 * limit))
        rows = np.union1d(self._kinds.rows(kind), near)
        rows = rows[mask[rows]]
        if len(rows) < limit and mask.sum() > len(rows):
            kept = np.flatnonzero(mask)
            rows = kept[best(self.vectors.within(vector, kept), limit=limit)[0]]
        dense = self.vectors.within(vector, rows)
        item = self._list[row]
        category = item.categories[-1] if item.categories else None
        score = np.clip(dense, 0, 1) * 0.6
        for at, other in enumerate(rows):
            if self._kinds.of_item[other] == kind:
                score[at] += 0.4
            elif category is not None and category in self._list[other].categories:
                score[at] += 0.25
        order = np.lexsort((rows, -self._prior[rows], -np.round(score, 3)))
        order = order[score[order] >= ALIKE][:limit]
        return [
            Candidate(
                item_id=self.item_ids[int(rows[at])], sources={"similar": float(score[at]), "dense": float(dense[at])}
            )
            for at in order
        ]

    def kinds(self, query: str, *, limit: int = 5) -> list[Kind]:
        """Say which kinds of thing the words mean, best first; `score` in 0..1."""
        understood = self.understand(query)
        kinds = self._kinds
        by_kind = np.zeros(len(kinds.names), dtype=np.float32)
        np.maximum.at(by_kind, kinds.of_item, understood.match)
        bought = np.zeros(len(kinds.names), dtype=np.float32)
        np.add.at(bought, kinds.of_item, self._prior)
        found: dict[tuple[str, str], list[int]] = {}
        for kind in np.lexsort((-bought, -np.round(by_kind / 0.05))):
            if by_kind[kind] < FLOOR:
                break
            found.setdefault((kinds.names[kind].lower(), kinds.categories[kind]), []).append(int(kind))
        return [
            Kind(
                name=kinds.names[same[0]],
                category=category,
                item_ids=tuple(self.item_ids[row] for kind in same for row in kinds.rows(kind)),
                score=float(by_kind[same[0]]),
            )
            for (_, category), same in list(found.items())[:limit]
        ]

    def focus(self, queries: Sequence[str]) -> frozenset[str] | None:
        """Give the ids of the items that the words plainly name, by the first query that names any; else None."""
        for query in queries:
            understood = self.understand(query)
            if understood.focus is not None:
                return frozenset(self.item_ids[row] for row in understood.focus)
        return None

    def mentions(self, words: str) -> bool:
        """Say whether any item tells of something, so that leaving it out can be promised; "lactose-free" does not."""
        return len(self._keeps.telling(words)) > 0

    def names_thing(self, words: str) -> bool:
        """Say whether words end as the name of some kind does: "green tea" names a thing, "herbal" only qualifies one."""
        found = stems(words)
        return bool(found) and found[-1] in self._heads

    def calls(self, words: str) -> bool:
        """Say whether some kind is called just that: "cake candles" is, "wipes" only end the names of several."""
        return self._kinds.called(fold(words))

    def other_scripts(self, text: str) -> tuple[str, ...]:
        """Name the scripts that items are titled in, where a text has letters of none of them; else nothing.

        "チーズ" means nothing to a shop whose labels are in Latin letters, and to vectors made of English something else.
        """
        letters = {character for character in text if character.isalpha()}
        if not letters or any(character.isascii() for character in letters) or letters & self._letters:
            return ()
        return () if {_script(letter) for letter in letters} & set(self._scripts) else self._scripts

    @cached_property
    def _letters(self) -> frozenset[str]:
        return frozenset(character for item in self._list for character in item.title if character.isalpha())

    @cached_property
    def _scripts(self) -> tuple[str, ...]:
        return tuple(sorted({_script(letter) for letter in self._letters}))

    def resolve_brand(self, text: str) -> tuple[str, str] | None:
        """Say which field and value a brand's name stands for: a brand tier, or one of the shop's brands.

        Returns:
            ("attributes.brand_tier"-like attribute name without the prefix, value), ("brand", name), or None.
        """
        words = fold(text)
        if not words:
            return None
        if "brand_tier" in self._values:
            for tier, names in _TIERS.items():
                if tier in self._values["brand_tier"] and words in {fold(name) for name in names.split(", ")}:
                    return ("brand_tier", tier)
        folded = {fold(brand): brand for brand in reversed(list(self.brands))}
        if words in folded:
            return ("brand", folded[words])
        joined = "".join(words)
        by_letters = {"".join(key): brand for key, brand in folded.items()}
        if joined in by_letters:
            return ("brand", by_letters[joined])
        near = difflib.get_close_matches(joined, list(by_letters), n=1, cutoff=0.82) if len(joined) > 3 else []
        return ("brand", by_letters[near[0]]) if near else None

    def resolve_attribute(self, words: str) -> list[tuple[str, str]]:
        """Give the (attribute, value) pairs that the words name exactly, after folding case and plurals."""
        return list(self._named_values.get(fold(words), ()))

    def sizes(self, text: str) -> tuple[str, ...]:
        """Give the values of the attribute "size" that are the same size as the text says."""
        wanted = parse_quantity(text)
        if wanted is None:
            return ()
        if not self._quantities:
            self._quantities = {value: parse_quantity(value) for value in self._values.get("size", {})}
        return tuple(value for value, held in self._quantities.items() if same_size(wanted, held))

    def understand(self, query: str) -> Understood:
        """Take a query's words to what they mean in this shop; remembered."""
        known = self._understood.get(query)
        if known is None:
            known = self._understand(query)
            self._understood[query] = known
            while len(self._understood) > 64:
                self._understood.popitem(last=False)
        return known

    def _understand(self, query: str) -> Understood:
        whole = self._understand_one(query)
        if whole.named_whole:
            return whole
        # "Milk, eggs and bread" is three needs where each is a thing by itself and the whole is none.
        between = r",|;|&|\+|\n|\b(?:and|or|plus)\b"
        clauses = r"[.,!;?\n]+" if whole.focus is None else None
        self._read_ahead([part for by in (between, clauses) if by for part in _split(by, query)])
        needs = self._parts(between, query)
        if 2 <= len(needs) <= MOST_NEEDS and all(need.focus is not None for need in needs):
            return replace(
                whole,
                match=np.max([need.match for need in needs], axis=0),
                focus=np.unique(np.concatenate([need.focus for need in needs if need.focus is not None])),
            )
        # "It's her birthday on Saturday! Candles for the cake": the first clause that names a thing says what is meant.
        if clauses is not None:
            return next((part for part in self._parts(clauses, query) if part.focus is not None), whole)
        return whole

    def _read_ahead(self, parts: Sequence[str]) -> None:
        """Have the embedder remember the parts of a query: all at once take little longer than one of them."""
        texts = dict.fromkeys(self._vocabulary.read(part).text for part in parts)
        self._embedder.encode([text for text in texts if text not in self._phrases][:MOST_AHEAD])

    def _parts(self, separator: str, query: str) -> list[Understood]:
        """Understand the parts of a query by themselves; none where it has no parts that say anything."""
        parts = _split(separator, query)
        if len(parts) < 2:
            return []
        return [each for each in map(self._understand_one, parts) if each.asked.words]

    def _understand_one(self, query: str) -> Understood:
        kinds = self._kinds
        asked = self._vocabulary.read(query)
        vector = self._vector(asked.text)
        kind_near = np.maximum.reduceat(self._phrase_vectors @ vector, self._phrase_starts)
        near = kind_near[kinds.of_item]
        naming = kinds.named(asked)
        # Where a name leaves words of the query over, the meaning has to agree: "engagement ring" is no onion ring.
        agreed = np.where(naming.whole, 1.0, np.clip((near - APART) / (AGREED - APART), 0.4, 1.0))
        named = (naming.match * agreed).astype(np.float32)
        evidence = self._evidence(asked)
        focus = self._focus(named, naming, near, evidence=evidence)
        if asked.size and (fits := self._of_size(asked.size)).any():
            if focus is not None and fits[focus].any():
                focus = focus[fits[focus]]
            named = np.where(fits, named, 0.9 * named)
        # Nothing names it: how near its kind's names are in meaning, and whether the item speaks of the words at all.
        meant = np.clip((near - NEAR) / (SAME - NEAR), 0, 1)
        names_a_thing = asked.head_end > 0 and not asked.sentence
        by_meaning, by_mention = (0.5, 0.25) if names_a_thing else (0.6, 0.4)
        if names_a_thing and not kinds.bears(asked.words[asked.head_end - 1]):
            by_mention = 0.1  # "sofa": what is said to be good for one is none
        match = np.maximum(named, (by_meaning * meant + by_mention * naming.held) * evidence)
        for word in asked.unwanted:
            speaking = kinds.rows_with.get(word)
            if speaking is not None:
                match[speaking] *= 0.5
                left = focus[~np.isin(focus, speaking)] if focus is not None else focus
                focus = left if left is not None and len(left) else focus
        return Understood(
            asked=asked,
            vector=vector,
            match=match.astype(np.float32),
            named_whole=bool(naming.whole.any()),
            focus=focus,
        )

    def _vector(self, text: str) -> Floats:
        at = self._phrases.get(text)
        return self._embedder.encode([text])[0] if at is None else self._phrase_vectors[at]

    def _of_size(self, size: str) -> Mask:
        """Say which items are of a size that was said."""
        out = np.zeros(len(self._list), dtype=bool)
        for value in self.sizes(size):
            out[self._keeps.rows_of("size", value)] = True
        return out

    def _evidence(self, asked: Asked) -> float:
        """Say how far nearness in meaning may be trusted: little where the thing itself is a word no item uses.

        "Laptop" is nearer to "notebook paper" than "Tylenol" is to "pain reliever"; but a laptop is ordinary
        English, and a shop that sold one would say so. An unknown name ("Tylenol") may be a brand.
        """
        if not asked.words or asked.head_end == 0 or asked.sentence:
            return 1.0
        head = asked.words[asked.head_end - 1]
        if self._vocabulary.ordinary(head):
            return 0.4
        return 0.7 if self._kinds.bears(head) and not self._kinds.ends(head) else 1.0

    def _focus(self, named: Floats, naming: Naming, near: Floats, *, evidence: float) -> Ints | None:
        """Give the rows of the kinds that are plainly meant: by name, or by a meaning as good as the name."""
        trusted = (named >= FOCUSED) | ((named >= 0.45) & (near >= 0.6))
        plain = np.where((naming.sure >= SURE * 0.9) & trusted, named, 0.0)
        top = float(plain.max(initial=0.0))
        nearest = float(near.max(initial=0.0))
        rows = np.flatnonzero(plain >= BESIDE * top) if top > 0 else np.zeros(0, dtype=np.int64)
        whole = naming.whole[rows]
        if whole.any():  # "canned fish": where some kinds bear every word, fresh fish is not meant
            return rows[whole]
        if len(rows) and near[rows].max() >= nearest - 0.12:
            return rows
        # "Hot chocolate" ends in the name of a candy, but means what is called "hot cocoa".
        return np.flatnonzero(near >= 0.95 * nearest) if nearest >= SAME and evidence == 1.0 else None

    def _lexical(self, asked: Asked) -> Floats:
        if not asked.words:
            return np.zeros(len(self._list), dtype=np.float32)
        return np.asarray(self._words.get_scores(list(asked.words)), dtype=np.float32)

    def _fuse(self, understood: Understood, lexical: Floats, rows: Ints, *, filtered: bool) -> Floats:
        """Give every row its reciprocal rank score over the vector ranking and the BM25 ranking."""
        out = np.zeros(len(self._list), dtype=np.float32)
        if filtered:
            # An exact scan of what is left is 5 to 13 times faster than Chroma's own filter, and exact (stack.md §5).
            order, _ = best(self.vectors.within(understood.vector, rows), limit=POOL)
            dense = rows[order]
        else:
            dense, _ = self.vectors.nearest(understood.vector, limit=POOL)
        out[dense] += 1.0 / (RRF_K + 1 + np.arange(len(dense), dtype=np.float32))
        by_words, scores = best(lexical[rows], limit=POOL)
        by_words = rows[by_words[scores > 0]]
        out[by_words] += 1.0 / (RRF_K + 1 + np.arange(len(by_words), dtype=np.float32))
        return out


def _script(letter: str) -> str:
    """Name the script of a letter.

    >>> [_script(letter) for letter in "aéЖ猫"]
    ['Latin', 'Latin', 'Cyrillic', 'Cjk']
    """
    return unicodedata.name(letter, "unknown").split()[0].capitalize()


def _split(separator: str, query: str) -> list[str]:
    return [part.strip() for part in re.split(separator, query.lower()) if part.strip()]


def _leading(understood: Sequence[Understood], mask: Mask) -> Understood | None:
    """Choose the words that say what is meant: the first that name a kind, or wider ones where the wish leaves none of it."""
    naming = [(each, each.focus) for each in understood if each.focus is not None]
    if not naming:
        return None
    first, meant = naming[0]
    if not mask[meant].any():
        for each, wider in naming[1:]:
            if mask[wider].any() and np.isin(meant, wider).all():
                return each
    return first


def build_catalog(
    folder: Path,
    items: Sequence[Item],
    *,
    embedder: Embedder,
    known: Path | None = None,
    progress: Progress | None = None,
) -> None:
    """Write a generation's vectors, the vectors of its kinds' names, and the BM25 index.

    Args:
        folder: The generation's folder.
        items: Its items.
        embedder: Turns texts into vectors.
        known: A whole generation whose vectors are taken over where the text is the same.
        progress: Told the share that is done.

    Raises:
        OSError: when the disk is full.
    """
    import bm25s

    tell = progress or (lambda _: None)
    kinds = Kinds(items)
    texts = {PHRASES: kinds.phrases, ARRAY: [spoken(item) for item in items]}
    model = named(embedder, tokens=MAX_TOKENS)
    held = Embedded() if known is None else Embedded.read(known, model=model, arrays=list(texts))
    phrases = held.encode(texts[PHRASES], embedder=embedder, progress=lambda share: tell(0.25 * share))
    np.save(folder / PHRASES, phrases, allow_pickle=False)
    array = held.encode(texts[ARRAY], embedder=embedder, progress=lambda share: tell(0.25 + 0.7 * share))
    save(folder, array)
    note(folder, texts, model=model)
    index = bm25s.BM25()
    # The title counts twice: it says what the item is, the description what it is near.
    tokens = [stems(item.title) + stems(item.text) for item in items]
    index.index(tokens, show_progress=False)
    index.save(str(folder / WORDS), allow_pickle=False, show_progress=False)
    tell(1.0)


def build_store(folder: Path, items: Sequence[Item]) -> None:
    """Write the generation's Chroma store from its array of vectors."""
    build(folder, item_ids=[item.item_id for item in items], array=np.load(folder / "vectors.npy", allow_pickle=False))


def spoken(item: Item) -> str:
    """Give the text of an item that is embedded: without size and brand tier, of which vectors make nothing.

    Sizes, prices and brands are kept exactly by filters; leaving them out makes 8,191 items 1,832 texts.
    """
    said = {str(value).lower() for value in item.attributes.values()} | {item.brand.lower()}
    first, *rest = item.title.split(", ")
    title = ", ".join([first, *(piece for piece in rest if piece.lower() not in said)])
    return ". ".join(part for part in (title, *item.categories, item.description) if part)


def _counts(values: Any) -> dict[str, int]:
    out: dict[str, int] = {}
    for value in values:
        out[value] = out.get(value, 0) + 1
    return out


__all__ = ["Catalog", "Understood", "build_catalog", "build_store", "spoken"]
