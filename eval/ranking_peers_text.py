"""Peers that know texts and no purchases: BM25, vectors of MiniLM, and both by reciprocal rank."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from eval.ranking_tasks import Ask
from eval.ranking_tuning import Score, Scores
from retrieval.catalog import spoken
from retrieval.history import History
from retrieval.records import Item
from retrieval.wish import stems

if TYPE_CHECKING:
    from retrieval.embedder import Embedder

Embedded = Literal["spoken", "title", "text"]
_TEXT: dict[Embedded, Callable[[Item], str]] = {
    "spoken": spoken,  # as the shop's own vectors
    "title": lambda item: item.title,
    "text": lambda item: item.text,
}


def fit_bm25(past: History, *, items: Sequence[Item], k1: float, b: float, titles: int = 2) -> Score:
    """Rank by BM25 (bm25s) over stemmed title and text, as the shop's catalogue; what has no word of the wish is left out.

    Args:
        past: Not looked at.
        items: Whose texts are searched.
        k1: How soon more of the same word counts no more.
        b: How much a long text counts less.
        titles: How often a title counts, with the one in the text.
    """
    import bm25s

    tokens = [stems(item.title) * (titles - 1) + stems(item.text) for item in items]
    none: Scores = np.full(len(items), -np.inf, np.float32)
    if not any(tokens):
        return lambda _ask: none
    index = bm25s.BM25(k1=k1, b=b)
    index.index(tokens, show_progress=False)

    def score(ask: Ask) -> Scores:
        words = [word for word in stems(ask.words) if word in index.vocab_dict]
        if not words:
            return none
        found = np.asarray(index.get_scores(words), np.float32)
        return np.where(found > 0, found, np.float32(-np.inf))

    return score


class Dense:
    """Ranking by the cosine of all-MiniLM-L6-v2's vectors; texts are turned into vectors once for all settings."""

    def __init__(self, embedder: Embedder | None = None) -> None:
        self._embedder = embedder
        self._items: Sequence[Item] | None = None
        self._vectors: dict[str, Scores] = {}
        self._asked: dict[str, Scores] = {}

    def fit(self, past: History, *, items: Sequence[Item], text: Embedded = "spoken", without: int = 0) -> Score:
        """Rank by cosine.

        Args:
            past: Not looked at.
            items: What is ranked.
            text: What of an item is embedded.
            without: Take so many leading directions, and the mean, out of all vectors ("All-but-the-top", Mu and
                Viswanath, ICLR 2018); 0 takes nothing.
        """
        vectors = self._of(items, text)
        mean = np.zeros(vectors.shape[1], np.float32)
        leading = np.zeros((0, vectors.shape[1]), np.float32)
        if without and len(items) > 1:
            mean = vectors.mean(axis=0)
            _, axes = np.linalg.eigh((vectors - mean).T @ (vectors - mean))
            leading = axes.T[::-1][:without].astype(np.float32)

        def turned(given: Scores) -> Scores:
            left = given - mean
            left = left - (left @ leading.T) @ leading
            unit: Scores = left / np.maximum(np.linalg.norm(left, axis=-1, keepdims=True), np.float32(1e-9))
            return unit

        held = turned(vectors)
        return lambda ask: np.asarray(held @ turned(self._query(ask.words)), np.float32)

    def _of(self, items: Sequence[Item], text: Embedded) -> Scores:
        if self._items is not items:
            self._items, self._vectors = items, {}
        if text not in self._vectors:
            self._vectors[text] = self._encoder().encode([_TEXT[text](item) for item in items])
        return self._vectors[text]

    def _query(self, words: str) -> Scores:
        if words not in self._asked:
            self._asked[words] = self._encoder().encode([words])[0]
        return self._asked[words]

    def _encoder(self) -> Embedder:
        if self._embedder is None:
            from retrieval.embedder import Embedder

            self._embedder = Embedder()
        return self._embedder


class Fused:
    """Ranking by both, by reciprocal rank (Cormack et al., SIGIR 2009)."""

    def __init__(self, embedder: Embedder | None = None) -> None:
        self._dense = Dense(embedder)

    def fit(
        self,
        past: History,
        *,
        items: Sequence[Item],
        k: float = 60.0,
        share: float = 0.5,
        text: Embedded = "spoken",
        k1: float = 1.5,
        b: float = 0.75,
    ) -> Score:
        """Rank by `share / (k + rank by vectors) + (1 - share) / (k + rank by BM25)`; equal scores have an equal rank."""
        dense = self._dense.fit(past, items=items, text=text)
        words = fit_bm25(past, items=items, k1=k1, b=b)

        def score(ask: Ask) -> Scores:
            by_vectors, by_words = reciprocal(dense(ask), k=k), reciprocal(words(ask), k=k)
            return (share * by_vectors + (1.0 - share) * by_words).astype(np.float32)

        return score


def reciprocal(scores: Scores, *, k: float) -> NDArray[np.float64]:
    """Give `1 / (k + rank)` of every score, the best rank 1; 0 where the score is -inf.

    >>> reciprocal(np.array([2.0, 5.0, 2.0, -np.inf], np.float32), k=1).tolist()
    [0.3333333333333333, 0.5, 0.3333333333333333, 0.0]
    """
    ordered = np.sort(-scores)
    ranks = np.searchsorted(ordered, -scores) + 1
    return np.where(np.isfinite(scores), 1.0 / (k + ranks), 0.0)


__all__ = ["Dense", "Fused", "fit_bm25", "reciprocal"]
