"""What a turn yields, in order; every front end and the evaluator is a function of these."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from agent.conversation import Message
from retrieval.records import Recommendation


@dataclass(frozen=True, slots=True, kw_only=True)
class Called:
    """A tool was run: its name, the arguments after validation, and a short text of what came back."""

    name: str
    arguments: Mapping[str, Any]
    summary: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One card: the recommendation and its plain reason, made by code from the record."""

    recommendation: Recommendation
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """The ranked list is ready; positions count from 1."""

    cards: tuple[Shown, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """One sentence for the shopper; `source` says whether the model or code worded it."""

    sentence: str
    source: Literal["model", "plain"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A question back, with the answers that would change the list."""

    question: str
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CartChanged:
    """The cart after the turn: item ids with their quantities, in the order they were added."""

    items: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """Something the shopper should know that is no part of the answer: the model is slow, a message was cut."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """The turn is kept: its messages as logged (user, tool calls, tool rows, reply) and quick replies to offer."""

    messages: tuple[Message, ...]
    quick_replies: tuple[str, ...] = field(default=())

    @property
    def reply(self) -> Message:
        """Give the assistant's last message."""
        return self.messages[-1]


Event = Called | Listed | Said | Asked | CartChanged | Notice | Finished
