"""Our own ranking as a system of the ranking evaluation: fitted on the past it is given, asked through its public calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from eval.ranking_tasks import TASKS, Ask, Mask, Rows
from retrieval.history import History
from retrieval.ranking import RankContext, Ranker
from retrieval.records import Candidate, Item, ShopError
from retrieval.scorer import CollaborativeScorer
from retrieval.wish import Wish

if TYPE_CHECKING:
    from retrieval.catalog import Catalog
    from retrieval.deals import Deals
    from retrieval.embedder import Embedder
    from retrieval.ranking import Task
    from retrieval.shop import Shop

POOL = 300  # candidates, as many as a turn takes
WORDED = ("search", "cold_item")
_ASKED_AS: Mapping[str, Task] = {
    "again": "again",
    "new": "new",
    "next_basket": "next_basket",
    "goes_with": "next_basket",  # the rest of a basket; what the tool of that name finds is more of another kind
    "search": "search",
    "cold_shopper": "next_basket",
    "cold_item": "search",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Items:
    """Items without a search, which is all that ranking needs of a catalogue."""

    items: Mapping[str, Item]


class Shoptalk:
    """Ours. The shop gives the search, whose vectors and words know no purchase; without one, asks in words are left out."""

    name = "shoptalk"

    def __init__(self, *, shop: Shop | None = None, embedder: Embedder | None = None) -> None:
        self.tasks = frozenset(TASKS) if shop is not None else frozenset(TASKS) - set(WORDED)
        self._shop = shop
        self._embedder = embedder
        self._catalog: Catalog | None = None
        self._deals: Deals | None = None if shop is None else shop.deals

    def fit(self, past: History, *, items: Sequence[Item]) -> None:
        """Fit the models and the ranker on the past, as `prepare` does."""
        from retrieval.weights import fit_weights

        self.close()
        self._past = past
        self._catalog = self._open(past, items=items)
        self._shelved = self._catalog or _Items(items={item.item_id: item for item in items})
        search = None if self._catalog is None else lambda query: self._search(query, age_restricted=False)
        self._ranker: Ranker = fit_weights(items, past, search=search, deals=self._deals)
        self._scorer = CollaborativeScorer.fit(past)

    def rank(self, ask: Ask, *, allowed: Mask, most: int) -> Rows:
        """Propose and rank as a turn does, without the rule that a list shows few of a kind."""
        ids = self._past.item_ids
        context = RankContext(
            user_id=ask.user_id,
            cart=tuple(ids[row] for row in ask.cart),
            liked=tuple(ids[row] for row in ask.liked),
            wish=Wish(query=ask.words, age_restricted=True),
            task=_ASKED_AS[ask.task],
            limit=most,
            at=ask.at,
        )
        asked: dict[str, Any] = {
            "catalog": self._shelved,
            "history": self._past,
            "scorer": self._scorer,
            "deals": self._deals,
        }
        if ask.words:
            candidates = self._search(ask.words, age_restricted=True)
        else:
            candidates = self._ranker.candidates(context, limit=POOL, **asked)
        rows = self._past.item_rows
        candidates = [candidate for candidate in candidates if allowed[rows[candidate.item_id]]]
        ranked = self._ranker.rank(candidates, context=context, limit=most, diverse=False, **asked)
        return np.array([rows[one.item.item_id] for one in ranked], np.int64)

    def close(self) -> None:
        """Let the search go."""
        if self._catalog is not None:
            self._catalog.close()

    def _open(self, past: History, *, items: Sequence[Item]) -> Catalog | None:
        """Open the shop's search once more, its order among equals that of the past's buyers and not of today's."""
        if self._shop is None:
            return None
        from retrieval.catalog import Catalog
        from retrieval.embedder import Embedder
        from retrieval.generation import SAID, read_said

        if tuple(past.item_ids) != self._shop.catalog.item_ids:
            raise ShopError("The past to learn from is of another catalogue than the shop's")
        return Catalog.open(
            self._shop.folder,
            items,
            embedder=self._embedder or Embedder(),
            prior=past.buyers_by_row,
            said=read_said(self._shop.folder / SAID),
        )

    def _search(self, query: str, *, age_restricted: bool) -> list[Candidate]:
        assert self._catalog is not None
        return self._catalog.search([query], wish=Wish(query=query, age_restricted=age_restricted), limit=POOL)
