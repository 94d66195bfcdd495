"""Conversations turned into token sequences that know what to learn, and sequences grouped into training steps."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agent.conversation import Conversation, Message
from retrieval.records import ShopError

Render = Callable[[Sequence[Message]], Sequence[Mapping[str, str]]]

FAMILY_TOKENS = (
    16  # sequences that begin with the same 16 tokens may share their start; a shorter start is not worth a pass
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Tokens `start` to `end` of a sequence that the model itself has to write; `plan` says that they are tool calls."""

    start: int
    end: int
    plan: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Tokens `start` to `end` of a sequence that go on after its first `after` tokens, and see none between."""

    start: int
    end: int
    after: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenSequence:
    """What the model reads and writes in one conversation; only the tokens inside `spans` are learned.

    `branches` are other ways on from some point of it, behind it in `ids` (see `finetune.graft`).
    """

    conversation_id: str
    ids: tuple[int, ...]
    spans: tuple[Span, ...]
    branches: tuple[Piece, ...] = ()

    @property
    def learned(self) -> int:
        """Count the tokens that the loss is taken over."""
        return sum(span.end - span.start for span in self.spans)

    @property
    def trunk(self) -> int:
        """Count the tokens before the first branch."""
        return self.branches[0].start if self.branches else len(self.ids)

    @property
    def read(self) -> int:
        """Count the tokens as if every branch were a sequence of its own."""
        return self.trunk + sum(branch.after + branch.end - branch.start for branch in self.branches)


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """Sequences, and how many assistant messages were left out because they would not fit."""

    sequences: tuple[TokenSequence, ...]
    cut_messages: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """Sequences that go through the model together; their first `shared` tokens are the same and are read once."""

    members: tuple[int, ...]
    shared: int

    def own_cost(self, sequences: Sequence[TokenSequence]) -> int:
        """Count the tokens beside the shared start that go through the model, padding included."""
        longest = max(len(sequences[index].ids) for index in self.members)
        return len(self.members) * (longest - self.shared)


Step = tuple[Pass, ...]


def step_cost(step: Step, sequences: Sequence[TokenSequence]) -> int:
    """Count the tokens that go through the model in a step: each family's shared start once, and all the rest."""
    shared = {sequences[one.members[0]].ids[: one.shared] for one in step}
    return sum(map(len, shared)) + sum(one.own_cost(sequences) for one in step)


def step_tokens(step: Step, sequences: Sequence[TokenSequence]) -> int:
    """Count the tokens of a step's sequences, as a plain loop would read them."""
    return sum(sequences[index].read for one in step for index in one.members)


def encode(conversation: Conversation, *, tokenizer: Any, render: Render, limit: int) -> Encoded:
    """Turn one conversation into as few sequences as hold exactly what the model is sent and has to answer.

    For every assistant message the prompt is rendered as serving renders it, with everything before the message; the
    message's own tokens follow, up to and including the token that ends the turn. A later message continues the same
    sequence when its prompt begins with all tokens so far, and starts a new one when it does not (a prompt that rewrites
    its past). `metadata["train_from"]` (an index) and `metadata["untrained"]` (a list of indices) name
    messages that are read but not learned.

    Raises:
        ShopError: when the chat template does not write a message after its own prompt, or does not end a turn.
    """
    first = int(conversation.metadata.get("train_from", 0))
    untrained = {int(index) for index in conversation.metadata.get("untrained", ())}
    sequences: list[TokenSequence] = []
    ids: tuple[int, ...] = ()
    spans: list[Span] = []
    cut = 0

    def close() -> None:
        if spans:
            sequences.append(
                TokenSequence(conversation_id=conversation.conversation_id, ids=ids, spans=tuple(spans)),
            )

    for index, message in enumerate(conversation.messages):
        if message.role != "assistant" or index < first or index in untrained:
            continue
        prompt, answer, plan = _prompt_and_answer(
            conversation.messages[: index + 1], tokenizer=tokenizer, render=render, where=conversation.conversation_id
        )
        if len(prompt) + len(answer) > limit:
            cut += 1
            continue
        if prompt[: len(ids)] != ids:
            close()
            spans = []
        ids = prompt + answer
        spans.append(Span(start=len(prompt), end=len(ids), plan=plan))
    close()
    return Encoded(sequences=tuple(sequences), cut_messages=cut)


def _prompt_and_answer(
    messages: Sequence[Message], *, tokenizer: Any, render: Render, where: str
) -> tuple[tuple[int, ...], tuple[int, ...], bool]:
    before = [dict(message) for message in render(messages[:-1])]
    own = dict(render(messages)[-1])
    if own["role"] != "assistant" or (before and before[-1]["role"] == "assistant"):
        raise ShopError(
            f"Conversation {where}: message {len(messages)} is not an answer to a shopper or to tool results"
        )
    after = [*before, own]
    prompt = tokenizer.apply_chat_template(before, tokenize=False, add_generation_prompt=True)
    whole = tokenizer.apply_chat_template(after, tokenize=False, add_generation_prompt=False)
    if not whole.startswith(prompt):
        raise ShopError(
            "The chat template of the base model does not write an assistant message right after its own prompt "
            f"(conversation {where}), so the tokens to learn cannot be told apart. Use a base model with a plain chat template"
        )
    answer = _tokens(whole[len(prompt) :], tokenizer)
    ending = max((at for at, token in enumerate(answer) if token in _special(tokenizer)), default=None)
    if ending is None:
        raise ShopError(
            "The chat template of the base model does not end an assistant message with a special token "
            f"(conversation {where}), so the model would never learn to stop. Use a base model with a chat template that does"
        )
    return _tokens(prompt, tokenizer), answer[: ending + 1], own["content"].lstrip().startswith("{")


def _tokens(text: str, tokenizer: Any) -> tuple[int, ...]:
    return tuple(tokenizer(text, add_special_tokens=False)["input_ids"])


def _special(tokenizer: Any) -> frozenset[int]:
    added = getattr(tokenizer, "added_tokens_decoder", {})
    marked = {index for index, token in added.items() if getattr(token, "special", False)}
    return frozenset(marked | set(tokenizer.all_special_ids))


def shared_starts(sequences: Sequence[TokenSequence]) -> list[int]:
    """Find, for every sequence, how many first tokens it has in common with all others that begin like it.

    Sequences are of one family when their first 16 tokens agree. The shared part ends before the position that
    predicts a family member's first learned token.
    """
    families = _families(sequences)
    starts = [0] * len(sequences)
    for members in families.values():
        pattern = sequences[members[0]].ids
        length = len(pattern)
        for index in members:
            sequence = sequences[index]
            after = min((branch.after for branch in sequence.branches), default=sequence.trunk)
            length = min(length, sequence.spans[0].start - 1, sequence.trunk - 1, after)
            while sequence.ids[:length] != pattern[:length]:
                length = _common(sequence.ids, pattern, length)
        for index in members:
            starts[index] = length if length >= FAMILY_TOKENS else 0
    return starts


def _families(sequences: Sequence[TokenSequence]) -> dict[tuple[int, ...], list[int]]:
    families: dict[tuple[int, ...], list[int]] = {}
    for index, sequence in enumerate(sequences):
        families.setdefault(sequence.ids[:FAMILY_TOKENS], []).append(index)
    return families


def _common(left: Sequence[int], right: Sequence[int], limit: int) -> int:
    for at in range(limit):
        if left[at] != right[at]:
            return at
    return limit


def passes(
    sequences: Sequence[TokenSequence],
    order: Iterable[int],
    *,
    starts: Sequence[int],
    tokens: int,
    window: int = 1024,
) -> list[Pass]:
    """Group sequences of nearly one length, so that a pass has about `tokens` tokens of its own and almost no padding.

    `order` is cut into windows of 1,024 sequences, each sorted by length, so that every epoch makes other groups.
    """
    indices = list(order)
    groups: list[Pass] = []
    for at in range(0, len(indices), window):
        part = sorted(
            indices[at : at + window],
            key=lambda index: (sequences[index].ids[:FAMILY_TOKENS], len(sequences[index].ids), index),
        )
        members: list[int] = []
        for index in part:
            candidate = Pass(members=(*members, index), shared=starts[index])
            same = not members or sequences[members[0]].ids[:FAMILY_TOKENS] == sequences[index].ids[:FAMILY_TOKENS]
            if members and (not same or candidate.own_cost(sequences) > tokens):
                groups.append(Pass(members=tuple(members), shared=starts[members[0]]))
                members = []
            members.append(index)
        if members:
            groups.append(Pass(members=tuple(members), shared=starts[members[0]]))
    return groups


def plan_steps(
    sequences: Sequence[TokenSequence],
    *,
    epochs: float,
    max_tokens: int | None,
    batch_tokens: int,
    passes_per_step: int,
    seed: int,
    share: bool = True,
) -> list[Step]:
    """Lay out every step of a training run; the same arguments always give the same steps.

    Args:
        sequences: What to train on.
        epochs: How often each sequence is used; 1.5 uses every one once and half of them again.
        max_tokens: End after this many sequence tokens (shared starts counted for every sequence), or None.
        batch_tokens: Tokens that go through the model in one step, beside shared starts.
        passes_per_step: How many passes a step is made of; more use less memory and mix lengths in a step.
        share: Whether shared starts are read once a step.
        seed: Of the order.
    """
    starts = shared_starts(sequences) if share else [0] * len(sequences)
    steps: list[Step] = []
    left = max_tokens if max_tokens is not None else float("inf")
    epoch = 0
    while epochs - epoch > 1e-9 and left > 0:
        rng = random.Random(f"{seed}/{epoch}")
        order = list(range(len(sequences)))
        rng.shuffle(order)
        order = order[: max(1, round(len(order) * min(1.0, epochs - epoch)))]
        kept = []
        for index in order:
            if left <= 0:
                break
            left -= sequences[index].read
            kept.append(index)
        groups = passes(sequences, kept, starts=starts, tokens=max(1, batch_tokens // passes_per_step))
        rng.shuffle(groups)
        steps.extend(tuple(groups[at : at + passes_per_step]) for at in range(0, len(groups), passes_per_step))
        epoch += 1
    return steps
