"""What tools give back beside their short text: typed values for the ranking, the page and the grader."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from retrieval.reasons import Change, Verdict
from retrieval.records import Candidate, Recommendation
from retrieval.wish import Wish

Task = Literal["search", "again", "new", "next_basket", "goes_with", "similar"]
Sort = Literal["cheapest", "dearest", "biggest", "smallest"]
ON_OFFER = "on offer"  # the label of a list of whatever is


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a list answers; kept with the list, so that the next message can refine it.

    `label` names the wish in the shop's words ("cat food under $5"); `anchors` are the items that
    "similar" or "goes with" start from; `queries` are the wordings the search was made with.
    """

    task: Task
    wish: Wish
    label: str
    queries: tuple[str, ...] = ()
    anchors: tuple[str, ...] = ()
    sort: Sort | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """Candidates for one request, before ranking.

    `notes` say what of the wish could not be done, `near` are the ids of the items that they speak of.
    """

    request: Request
    candidates: tuple[Candidate, ...]
    notes: tuple[str, ...] = ()
    near: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """Items that were explained, detailed or compared, with their recorded parts.

    Of an item that was not shown: the verdict, and the change of wish that would show it where one is known.
    """

    kind: Literal["explain", "why_not", "details", "compare"]
    recommendations: tuple[Recommendation, ...]
    positions: tuple[int, ...] = ()  # 1-based in the list shown last; 0 for an item that was not shown
    verdict: Verdict | None = None
    change: Change | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CartEdit:
    """A change of the cart: item ids with quantities to add, to remove or to have, or the wish to see or clear it.

    `spared` are the ids of items in the cart that the words name too, and that stay in it.
    """

    action: Literal["add", "remove", "set", "show", "clear"]
    items: tuple[tuple[str, int], ...] = ()
    spared: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryEdit:
    """A change of what is remembered of the shopper, or the wish to see it."""

    action: Literal["add", "forget", "show"]
    kind: str = "note"
    text: str = ""
    item_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question back, with the answers that would change the list; `request` is the wish that it is about."""

    text: str
    options: tuple[str, ...]
    request: Request


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """Talk that is not about items: what it is about."""

    topic: Literal["hello", "thanks", "bye", "help", "off_topic", "hostile"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A call that could not be carried out, in a sentence for the shopper."""

    text: str
    act: str


Outcome = Pool | Looked | CartEdit | MemoryEdit | Question | Line | Problem
