"""The metrics of a replay (`formats.md` §3), computed from the conversations as they went.

Every figure is a function of saved conversations and the shop's items and purchases; nothing is asked of a
model, so a saved run can be graded again. Standard errors treat conversations as the independent units, since
turns of one conversation hang together: ratios by linearisation over conversations (Cochran 1977, §6.4, §9A),
percentiles by a seeded bootstrap over conversations (Efron & Tibshirani 1993, ch. 6), counts as a sum over
conversations.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from agent.conversation import Conversation, Message
from eval.claims import Claim, unknown_names, unsupported, vocabulary
from eval.expectations import Check, Reply, check, reply_of
from eval.plans import arguments
from retrieval.records import Item

BOOTSTRAPS = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One graded turn: the user message's expectation, the reply, and what checking found."""

    conversation_id: str
    number: int
    content: str
    expect: Mapping[str, Any]
    reply: Reply
    check: Check
    false_claims: tuple[Claim, ...] = ()
    off_catalogue: tuple[str, ...] = ()
    usage: Mapping[str, float] = field(default_factory=dict)
    kinds: tuple[str, ...] = ()
    plain: bool = False
    sources: tuple[str, ...] = ()
    replaced: int = 0
    mended: int = 0


Value = tuple[float, float]
# A ratio metric: for one turn, what it adds to the numerator and to the denominator; None where it has no say.
Ratio = Callable[[Turn], Value | None]


def act_accuracy(turn: Turn) -> Value | None:
    """Share of user messages with `act` whose reply did (one of) it."""
    return _held(turn, "act")


def violation_rate(turn: Turn) -> Value | None:
    """Shown items that break `where`, over items shown in reply to messages with `where`."""
    return (turn.check.violations, len(turn.reply.items)) if "where" in turn.expect else None


def answered_rate(turn: Turn) -> Value | None:
    """Share of user messages with `where` or `items` that got at least one item."""
    if "where" not in turn.expect and "items" not in turn.expect:
        return None
    return float(bool(turn.reply.items)), 1


def honest_none_rate(turn: Turn) -> Value | None:
    """Share of user messages with `none` whose reply shows nothing and says that nothing fits."""
    return _held(turn, "none")


def about_accuracy(turn: Turn) -> Value | None:
    """Share of user messages with `about` whose explanation, comparison or detail is about that item."""
    return _held(turn, "about")


def cart_accuracy(turn: Turn) -> Value | None:
    """Share of user messages with `cart` after which the cart holds exactly that."""
    return _held(turn, "cart")


def new_rate(turn: Turn) -> Value | None:
    """Share of user messages with `new` after which no shown item was bought before; an empty list counts as kept."""
    return _held(turn, "new")


def again_rate(turn: Turn) -> Value | None:
    """Share of user messages with `again` after which every shown item was bought before."""
    return _held(turn, "again")


def unsupported_claim_rate(turn: Turn) -> Value | None:
    """Share of replies with at least one statement about an item that its evidence does not support (`eval.claims`)."""
    return None if turn.reply.failed else (float(bool(turn.false_claims)), 1)


def plain_rate(turn: Turn) -> Value | None:
    """Share of replies made without the model, because it failed or was slow."""
    return float(turn.plain), 1


def plan_accuracy(turn: Turn) -> Value | None:
    """Share of user messages with gold plans whose calls were one of them, every argument right."""
    return _held(turn, "plans")


def replaced_rate(turn: Turn) -> Value | None:
    """Share of the model's sentences that the checker did not let through."""
    kept = sum(source == "model" for source in turn.sources)
    return (turn.replaced, kept + turn.replaced) if kept + turn.replaced else None


def mended_rate(turn: Turn) -> Value | None:
    """Share of replies for which code changed what the model had planned: dropped what nobody said, turned it round, or searched by the message's own words."""
    return (bool(turn.mended), 1) if turn.reply.calls and not turn.plain else None


def llm_calls_per_turn(turn: Turn) -> Value | None:
    """Mean model calls of a turn."""
    return _used(turn, "llm_calls")


def prompt_tokens_per_turn(turn: Turn) -> Value | None:
    """Mean prompt tokens of a turn, over all its calls, as the server counts them."""
    return _used(turn, "prompt_tokens")


def completion_tokens_per_turn(turn: Turn) -> Value | None:
    """Mean completion tokens of a turn, over all its calls."""
    return _used(turn, "completion_tokens")


def _held(turn: Turn, key: str) -> Value | None:
    return (float(turn.check.holds[key]), 1) if key in turn.check.holds else None


def _used(turn: Turn, name: str) -> Value | None:
    return (float(turn.usage[name]), 1) if name in turn.usage else None


def recall(shown: Sequence[str], wanted: Sequence[str], *, k: int) -> float:
    """Share of the wanted items among the first k shown.

    >>> recall(["a", "b", "c"], ["b", "z"], k=5)
    0.5
    """
    return len(set(shown[:k]) & set(wanted)) / len(set(wanted))


def reciprocal_rank(shown: Sequence[str], wanted: Sequence[str], *, k: int) -> float:
    """One over the rank of the first wanted item among the first k; 0 where there is none.

    >>> reciprocal_rank(["a", "b", "c"], ["c", "b"], k=10)
    0.5
    """
    return next((1 / rank for rank, item_id in enumerate(shown[:k], start=1) if item_id in wanted), 0.0)


def ndcg(shown: Sequence[str], wanted: Sequence[str], *, k: int) -> float:
    """Discounted gain of the first k over the best possible (Järvelin & Kekäläinen 2002), gains 0 or 1.

    >>> ndcg(["a", "b"], ["a"], k=10), round(ndcg(["b", "a"], ["a"], k=10), 4)
    (1.0, 0.6309)
    """
    gain = sum(1 / math.log2(rank + 1) for rank, item_id in enumerate(shown[:k], start=1) if item_id in wanted)
    best = sum(1 / math.log2(rank + 1) for rank in range(1, min(k, len(set(wanted))) + 1))
    return gain / best


def _ranked(measure: Callable[..., float], k: int) -> Ratio:
    def ratio(turn: Turn) -> Value | None:
        wanted = turn.expect.get("items")
        return (measure(turn.reply.items, wanted, k=k), 1) if wanted else None

    return ratio


RATIOS: dict[str, Ratio] = {
    "act_accuracy": act_accuracy,
    "recall@5": _ranked(recall, 5),
    "recall@10": _ranked(recall, 10),
    "mrr@10": _ranked(reciprocal_rank, 10),
    "ndcg@10": _ranked(ndcg, 10),
    "violation_rate": violation_rate,
    "answered_rate": answered_rate,
    "honest_none_rate": honest_none_rate,
    "unsupported_claim_rate": unsupported_claim_rate,
    "about_accuracy": about_accuracy,
    "cart_accuracy": cart_accuracy,
    "new_rate": new_rate,
    "again_rate": again_rate,
    "plan_accuracy": plan_accuracy,
    "replaced_rate": replaced_rate,
    "mended_rate": mended_rate,
    "plain_rate": plain_rate,
    "llm_calls_per_turn": llm_calls_per_turn,
    "prompt_tokens_per_turn": prompt_tokens_per_turn,
    "completion_tokens_per_turn": completion_tokens_per_turn,
}
COUNTS: dict[str, Callable[[Turn], int]] = {
    "off_catalogue_items": lambda turn: len(turn.off_catalogue),
    "errors": lambda turn: int(turn.reply.failed),
}
# From the user message to the first ranked list, and to the end of the reply, on the replayer's own clock.
SECONDS = ("first_list_seconds", "turn_seconds")
PERCENTILES = (50, 95)
METRICS = (*RATIOS, *COUNTS, *(f"{name}_p{p}" for name in SECONDS for p in PERCENTILES))


def grade(
    conversations: Iterable[Conversation],
    *,
    items: Mapping[str, Item],
    bought: Callable[[str, str], bool] = lambda user_id, item_id: False,
) -> list[Turn]:
    """Check every turn of conversations as they went; `bought(user_id, item_id)` is the shop's log.

    A turn is a user message and the assistant's last message before the next one; its evidence may name the list
    shown `previous`ly, else that is the last one shown. Evidence with `model_away` was made without the model.
    """
    words = vocabulary(items)
    out: list[Turn] = []
    for conversation in conversations:
        said = ""
        shown: tuple[str, ...] = ()
        kinds = tuple(str(kind) for kind in conversation.metadata.get("kinds") or ())
        for number, (user, message) in enumerate(_turns(conversation), start=1):
            said += " " + user.content
            reply = reply_of(message)
            previous = reply.previous if "previous" in message.evidence else shown
            reply = replace(reply, previous=tuple(previous))

            def had(item_id: str, user_id: str | None = conversation.user_id) -> bool:
                return user_id is not None and bought(user_id, item_id)

            false = unsupported(message.content, message.evidence, items=items, previous=previous, said=said)
            missing = [item_id for item_id in message.items if item_id not in items]
            missing += unknown_names(message.content, items=items, words=words, said=said)
            out.append(
                Turn(
                    conversation_id=conversation.conversation_id,
                    number=number,
                    content=user.content,
                    expect=user.expect or {},
                    reply=reply,
                    check=check(user.expect or {}, reply, items=items, bought=had),
                    false_claims=tuple(false),
                    off_catalogue=tuple(missing),
                    usage=message.usage,
                    kinds=kinds,
                    plain=bool(message.evidence.get("model_away")),
                    sources=tuple(message.evidence.get("source") or ()),
                    replaced=int(message.evidence.get("replaced") or 0),
                    mended=int(message.evidence.get("mended") or 0),
                )
            )
            shown = reply.items or tuple(previous)
    return out


def _turns(conversation: Conversation) -> list[tuple[Message, Message]]:
    out: list[tuple[Message, Message]] = []
    user: Message | None = None
    last: Message | None = None
    for message in (*conversation.messages, None):
        if message is None or message.role == "user":
            if user is not None and last is not None:
                out.append((user, last))
            user, last = message, None
        elif message.role == "assistant":
            last = message
    return out


def summarise(turns: Sequence[Turn], *, seed: int = 0) -> dict[str, float | None]:
    """Compute every metric and its standard error; None where no turn has a say."""
    groups: dict[str, list[Turn]] = {}
    for turn in turns:
        groups.setdefault(turn.conversation_id, []).append(turn)
    out: dict[str, float | None] = {}
    for name, ratio in RATIOS.items():
        out[name], out[f"{name}_stderr"] = mean_and_error(
            [[ratio(turn) for turn in group] for group in groups.values()]
        )
    for name, count in COUNTS.items():
        sums = [sum(count(turn) for turn in group) for group in groups.values()]
        out[name] = sum(sums)
        out[f"{name}_stderr"] = math.sqrt(len(sums)) * _deviation(sums)
    for name in SECONDS:
        values = [
            [float(turn.usage[name]) for turn in group if turn.usage.get(name) is not None] for group in groups.values()
        ]
        for p in PERCENTILES:
            out[f"{name}_p{p}"], out[f"{name}_p{p}_stderr"] = _percentile(values, p=p, seed=seed)
    return out


def mean_and_error(groups: Sequence[Sequence[Value | None]]) -> tuple[float | None, float | None]:
    """Divide the sum of numerators by that of denominators, and give its standard error over conversations.

    >>> mean_and_error([[(1.0, 1.0), None], [(0.0, 1.0)]])
    (0.5, 0.5)
    """
    pairs = [
        (sum(value[0] for value in group if value), sum(value[1] for value in group if value))
        for group in groups
        if any(group)
    ]
    below = sum(pair[1] for pair in pairs)
    if not below:
        return None, None
    mean = sum(pair[0] for pair in pairs) / below
    n = len(pairs)
    if n < 2:
        return mean, None
    squares = sum((above - mean * under) ** 2 for above, under in pairs)
    return mean, math.sqrt(n / (n - 1) * squares) / below


def _deviation(values: Sequence[float]) -> float:
    if len(values) < 2:
        return 0.0
    mean = sum(values) / len(values)
    return math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))


def percentile(values: Sequence[float], p: float) -> float:
    """Give the p-th percentile, interpolated linearly between the two nearest values.

    >>> percentile([1.0, 2.0, 4.0], 50), percentile([1.0, 2.0], 95)
    (2.0, 1.95)
    """
    ordered = sorted(values)
    at = (len(ordered) - 1) * p / 100
    low = int(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (at - low)


def _percentile(groups: Sequence[Sequence[float]], *, p: float, seed: int) -> tuple[float | None, float | None]:
    import numpy as np

    groups = [group for group in groups if group]
    if not groups:
        return None, None
    figure = percentile([value for group in groups for value in group], p)
    if len(groups) < 2:
        return figure, None
    rng = np.random.default_rng(seed)
    arrays = [np.asarray(group) for group in groups]
    draws = [
        float(np.percentile(np.concatenate([arrays[i] for i in rng.integers(len(arrays), size=len(arrays))]), p))
        for _ in range(BOOTSTRAPS)
    ]
    return figure, _deviation(draws)


def slices(turns: Sequence[Turn]) -> dict[str, dict[str, float | int | None]]:
    """Give what failed where: act accuracy, violations and n by kind of conversation and by wanted act; the share
    of right ones and n by tool and argument of the gold plans.
    """
    groups: dict[str, list[Turn]] = {}
    for turn in turns:
        acts = turn.expect.get("act", [])
        for act in [acts] if isinstance(acts, str) else acts:
            groups.setdefault(f"act:{act}", []).append(turn)
        for kind in turn.kinds:
            groups.setdefault(f"kind:{kind}", []).append(turn)
    right: dict[str, list[bool]] = {}
    for turn in turns:
        if turn.expect.get("plans"):
            for name, held in arguments(turn.reply.calls, turn.expect["plans"]).items():
                right.setdefault(f"call:{name}", []).append(held)
    calls: dict[str, dict[str, float | int | None]] = {
        name: {"n": len(held), "right": sum(held) / len(held)} for name, held in sorted(right.items())
    }
    return calls | {
        name: {
            "n": len(group),
            "act_accuracy": mean_and_error([[act_accuracy(turn)] for turn in group])[0],
            "violation_rate": mean_and_error([[violation_rate(turn)] for turn in group])[0],
            "answered_rate": mean_and_error([[answered_rate(turn)] for turn in group])[0],
        }
        for name, group in sorted(groups.items())
    }
