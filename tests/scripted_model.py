"""A model whose plans and answers are queued beforehand; it stands where the real one would."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from agent.conversation import ToolCall
from agent.model import Usage

Queued = str | Exception | Callable[[], str]


class ScriptedModel:
    """Give queued texts in order: one that is an exception is raised, a function is called. An empty queue gives "".

    `prompts` holds what it was asked, plans and answers alike; a grammar is noted and not kept to.
    """

    name = "scripted"

    def __init__(self, *, plans: Iterable[Queued] = (), answers: Iterable[Queued | Sequence[Queued]] = ()) -> None:
        self.plans: deque[Queued] = deque(plans)
        self.answers: deque[Queued | Sequence[Queued]] = deque(answers)
        self.prompts: list[list[Mapping[str, str]]] = []
        self.schemas: list[Mapping[str, Any]] = []
        self.grammars: list[str | None] = []  # of each answer

    def plan(
        self,
        messages: Sequence[Mapping[str, str]],
        *,
        schema: Mapping[str, Any],
        max_tokens: int,
        seconds: float,
        usage: Usage,
    ) -> str:
        """Give the next plan."""
        usage.llm_calls += 1
        self.prompts.append(list(messages))
        self.schemas.append(schema)
        return _said(self.plans.popleft()) if self.plans else ""

    def answer(
        self,
        messages: Sequence[Mapping[str, str]],
        *,
        max_tokens: int,
        seconds: float,
        usage: Usage,
        grammar: str | None = None,
    ) -> Iterator[str]:
        """Give the next answer in small pieces; an answer that is a list is given piece by piece."""
        usage.llm_calls += 1
        self.grammars.append(grammar)
        self.prompts.append(list(messages))
        queued = self.answers.popleft() if self.answers else ""
        pieces = list(queued) if isinstance(queued, list | tuple) else [queued]
        for piece in pieces:
            text = _said(piece)
            yield from (text[at : at + 7] for at in range(0, len(text), 7))


def _said(queued: Queued) -> str:
    if isinstance(queued, Exception):
        raise queued
    return queued() if callable(queued) else queued


def planned(*calls: ToolCall) -> str:
    """Write a plan as a model does, keeping to the schema or not."""
    return json.dumps({"calls": [{"tool": call.name, **call.arguments} for call in calls]})


def call(name: str, **arguments: Any) -> ToolCall:
    """Make a call."""
    return ToolCall(name=name, arguments=arguments)
