"""What came of simulated talks (`formats.md` §3, Simulation results), computed from the conversations as they went.

Each conversation's `metadata` holds the shopper's wish, what of it was said by each message, what each reply asked, and
how the talk ended; so a saved run can be graded again. Standard errors are over conversations, as in `eval.metrics`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from agent.conversation import Conversation
from eval import metrics
from eval.expectations import Check
from eval.metrics import Turn, Value, mean_and_error
from eval.shopper import Card, Need, broken_parts, need_from_json
from retrieval.records import Item
from retrieval.wish import contains

TURNS = (1, 2, 3, 4, 5)
LEAST_ID = 6  # digits of an id that is only a number, from which it cannot be mistaken for a price or a size


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A simulated talk, read back: the wish, how it ended, and turn by turn what was said and asked.

    `accepted_at` is the number of the message after which an item was taken, None where the shopper left; `said` the
    parts of the wish told up to each message; `asked` (part asked about or "", needless or not) of each reply.
    """

    conversation_id: str
    need: Need
    accepted_at: int | None
    said: tuple[frozenset[str], ...]
    asked: tuple[tuple[str, bool], ...]
    turns: tuple[Turn, ...]


def success_by(outcome: Outcome, *, turn: int) -> Value:
    """Share of talks in which an item that keeps to the whole wish was taken by this message."""
    return float(outcome.accepted_at is not None and outcome.accepted_at <= turn), 1


def turns_to_success(outcome: Outcome) -> Value | None:
    """Mean messages until an item was taken, over the talks in which one was."""
    return None if outcome.accepted_at is None else (outcome.accepted_at, 1)


def abandon_rate(outcome: Outcome) -> Value:
    """Share of talks that the shopper left with nothing."""
    return float(outcome.accepted_at is None), 1


def questions_per_turn(outcome: Outcome) -> Value:
    """Replies that ask for a part of the wish, over replies."""
    return sum(bool(part) for part, _ in outcome.asked), len(outcome.turns)


def needless_question_rate(outcome: Outcome) -> Value | None:
    """Questions for what the shopper said or was asked before, over questions; after "what kind" the kinds must follow."""
    questions = [needless for part, needless in outcome.asked if part]
    return (sum(questions), len(questions)) if questions else None


def repeat_rate(outcome: Outcome) -> Value | None:
    """Items shown before in the talk, over items shown from the second reply on; none of them was wanted then."""
    before: set[str] = set()
    repeats = shown = 0
    for number, turn in enumerate(outcome.turns):
        if number:
            shown += len(turn.reply.items)
            repeats += sum(item_id in before for item_id in turn.reply.items)
        before |= set(turn.reply.items)
    return (repeats, shown) if shown else None


def _satisfied(outcome: Outcome, items: Mapping[str, Item]) -> Value:
    parts = len(outcome.need.parts)
    breaks = [len(broken_parts(outcome.need, card)) for turn in outcome.turns for card in _cards(turn, items)]
    return (parts - min(breaks, default=parts)) / parts, 1


RATIOS: Mapping[str, Callable[[Outcome], Value | None]] = {
    "turns_to_success": turns_to_success,
    "abandon_rate": abandon_rate,
    "questions_per_turn": questions_per_turn,
    "needless_question_rate": needless_question_rate,
    "repeat_rate": repeat_rate,
}
# Taken over from `eval.metrics`: `violation_rate` here is over what the shopper has said so far.
OF_TURNS = (
    "violation_rate",
    "answered_rate",
    "unsupported_claim_rate",
    "plain_rate",
    "llm_calls_per_turn",
    "prompt_tokens_per_turn",
    "completion_tokens_per_turn",
    "first_list_seconds_p50",
    "turn_seconds_p50",
    "off_catalogue_items",
    "errors",
)
METRICS = (*(f"success@{turn}" for turn in TURNS), *RATIOS, "satisfied_wishes", *OF_TURNS, "leaks")


def read_outcomes(
    conversations: Iterable[Conversation],
    *,
    items: Mapping[str, Item],
    bought: Callable[[str, str], bool] = lambda user_id, item_id: False,
) -> list[Outcome]:
    """Read simulated talks back, each shown item checked against what was said of the wish until then."""
    conversations = list(conversations)
    turns: dict[str, list[Turn]] = {one.conversation_id: [] for one in conversations}
    for turn in metrics.grade(conversations, items=items, bought=bought):
        turns[turn.conversation_id].append(turn)
    out = []
    for one in conversations:
        need = need_from_json(one.metadata["need"])
        steps = one.metadata["steps"]
        said = tuple(frozenset(step["said"]) for step in steps)
        accepted = one.metadata["outcome"] == "accepted"
        held = turns[one.conversation_id]
        out.append(
            Outcome(
                conversation_id=one.conversation_id,
                need=need,
                accepted_at=len(held) if accepted else None,
                said=said,
                asked=tuple((step.get("question", ""), bool(step.get("needless"))) for step in steps),
                turns=tuple(_checked(turn, need, told, items) for turn, told in zip(held, said, strict=True)),
            )
        )
    return out


def _checked(turn: Turn, need: Need, said: frozenset[str], items: Mapping[str, Item]) -> Turn:
    """Put what the shown items break of what was said in the place of an expectation's `where`."""
    breaks = {item_id: broken_words(need, said, items.get(item_id)) for item_id in turn.reply.items}
    return replace(turn, expect={"where": {"said": sorted(said)}}, check=Check(breaks=breaks))


def broken_words(need: Need, said: frozenset[str], item: Item | None) -> tuple[str, ...]:
    """Name the parts said of a wish that an item breaks; an item that the shop does not have breaks all of them.

    Of the thing only what is plainly something else counts: an item whose title, categories and description say
    neither the kind nor what the shopper called it.

    >>> need = Need(kind="frozen pizza", name="pizza", max_price=3)
    >>> sauce = Item(item_id="1", title="Pizza sauce, 8 oz", price=4.0)
    >>> broken_words(need, frozenset(), sauce), broken_words(need, frozenset({"thing", "max_price"}), sauce)
    ((), ('thing', 'max_price'))
    """
    if item is None:
        return ("thing", *(part for part in need.details if part in said))
    names = {need.kind} if "thing" in said else {need.kind, need.name}
    beside = any(contains(item.text, name) for name in names)
    out = [] if beside else ["thing"]
    own = broken_parts(need, Card(title=item.title, price=item.price))
    return tuple(out + [part for part in own if part in said and part != "thing"])


def _cards(turn: Turn, items: Mapping[str, Item]) -> list[Card]:
    held = [items[item_id] for item_id in turn.reply.items if item_id in items]
    return [Card(title=item.title, price=item.price) for item in held]


def summarise(
    outcomes: Sequence[Outcome], *, items: Mapping[str, Item], leaks: int, seed: int = 0
) -> dict[str, float | None]:
    """Compute every metric of `METRICS` and its standard error; None where no talk has a say."""
    out: dict[str, float | None] = {}

    def put(name: str, values: Sequence[Value | None]) -> None:
        out[name], out[f"{name}_stderr"] = mean_and_error([[value] for value in values])

    for turn in TURNS:
        put(f"success@{turn}", [success_by(outcome, turn=turn) for outcome in outcomes])
    for name, ratio in RATIOS.items():
        put(name, [ratio(outcome) for outcome in outcomes])
    put("satisfied_wishes", [_satisfied(outcome, items) for outcome in outcomes])
    of_turns = metrics.summarise([turn for outcome in outcomes for turn in outcome.turns], seed=seed)
    for name in OF_TURNS:
        out[name], out[f"{name}_stderr"] = of_turns[name], of_turns[f"{name}_stderr"]
    out["leaks"] = leaks
    return out


def violations(outcomes: Iterable[Outcome]) -> dict[str, int]:
    """Count, by part of the wish, the shown items that break what was said of it."""
    out: dict[str, int] = {}
    for outcome in outcomes:
        for turn in outcome.turns:
            for parts in turn.check.breaks.values():
                for part in parts:
                    out[part] = out.get(part, 0) + 1
    return dict(sorted(out.items()))


def slices(outcomes: Sequence[Outcome]) -> dict[str, dict[str, float | int | None]]:
    """Give success within five messages, violations and n by kind of talk."""
    groups: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        for kind in dict.fromkeys(kind for turn in outcome.turns for kind in turn.kinds):
            groups.setdefault(kind, []).append(outcome)
    return {
        kind: {
            "n": len(group),
            "success@5": mean_and_error([[success_by(outcome, turn=5)] for outcome in group])[0],
            "violation_rate": mean_and_error(
                [[metrics.violation_rate(turn) for turn in outcome.turns] for outcome in group]
            )[0],
        }
        for kind, group in sorted(groups.items())
    }


# What a shopper must not know


def secrets(items: Mapping[str, Item]) -> dict[str, tuple[str, ...]]:
    """Give, by item id, the words that a shopper must not know before the item was shown: its id and its whole title.

    A title of one piece is the name of a kind, which a shopper may say, and a short number is no telling id.
    """
    out = {}
    for item_id, item in items.items():
        known = [item.title] if ", " in item.title else []
        known += [] if item_id.isdigit() and len(item_id) < LEAST_ID else [item_id]
        out[item_id] = tuple(f" {_words(one)} " for one in known)
    return out


def leaks(conversation: Conversation, *, secret: Mapping[str, Sequence[str]]) -> list[str]:
    """List the items that a simulated shopper knew before they were shown, by what `secrets` gives of the shop.

    Looked for in the wish, and in each message against what was shown before it; only words count, so that no comma
    hides a title.

    >>> from agent.conversation import Message
    >>> tea = Item(item_id="i7", title="Green tea, 20 count")
    >>> said = (Message(role="user", content="I want green tea - 20 count"),)
    >>> leaks(Conversation(conversation_id="c", messages=said), secret=secrets({"i7": tea}))
    ['i7']
    """
    shown: set[str] = set()
    out: list[str] = []

    def look(text: str) -> None:
        words = f" {_words(text)} "
        for item_id, known in secret.items():
            if item_id not in shown and any(one in words for one in known):
                out.append(item_id)

    wish: Mapping[str, Any] = conversation.metadata.get("need") or {}
    for value in wish.values():
        look(str(value))
    for message in conversation.messages:
        if message.role == "user":
            look(message.content)
        elif message.role == "assistant":
            shown |= set(message.items)
    return out


def _words(text: str) -> str:
    return " ".join(re.findall(r"[a-z0-9]+", text.lower()))
