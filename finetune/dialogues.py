"""Histories to conversations: a simulated shopper with a real next basket talks to the real tools.

The shop behind the tools was prepared from what happened before a cut in time; the shopper's wishes come from the
baskets after it. The gold calls are known because the wish is known; what the tools give back, the ranking and its
facts are real; the gold answers are worded from those facts and pass the same checker that serving uses.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from math import inf
from pathlib import Path
from random import Random
from typing import IO, TYPE_CHECKING, Any

from agent.context import Turn
from agent.conversation import Conversation, Message, ToolCall, read_conversations, to_json
from agent.limits import Limits
from agent.outcome import Problem, Question
from agent.plan import check_call
from agent.store import Memory
from agent.turn import Work, act, answer, code_sentences, keep, phrased
from finetune.adapter import readable_disk_errors
from finetune.answers import gold_answer
from finetune.phrasebook import (
    FIRST,
    Filled,
    Phrase,
    Phrasebook,
    Spoken,
    load_lists,
    load_phrases,
)
from finetune.spoken import roughen, speak_name
from retrieval.records import Item, Recommendation, ShopError

if TYPE_CHECKING:
    from retrieval.shop import Shop

# Share of each kind of message among those that fit at a point of a talk; a kind that is not named has weight 1.
SHARES: Mapping[str, float] = {
    "search": 5,
    "occasion": 20,
    "max_price": 4,
    "min_price": 1,
    "between": 0.7,
    "brand": 2,
    "size": 2,
    "with_words": 2,
    "without": 3,
    "combo": 4,
    "several": 4,
    "again": 2.5,
    "new": 2,
    "recommend": 3,
    "refine": 11,
    "similar": 6,
    "goes_with": 3,
    "deals": 3,
    "why": 5,
    "why_not": 3,
    "compare": 4,
    "details": 4,
    "cart": 10,
    "remember": 4,
    "forget": 2,
    "ask": 1.5,
    "nothing_fits": 2,
    "chat": 3,
    "off_topic": 3.5,
    "hostile": 1.5,
    "age_restricted": 1,
    "not_english": 1,
    "two_acts": 5,
    "sort": 2,
    "and_that": 10,
    "answers": 14,
}
NEEDING_LIST = ("list", "focus")
LOOKS: Mapping[str, str] = {
    "explain": "explained",
    "lookup_catalog": "detailed",
    "update_cart": "added",
    "ask_shopper": "asked",
}
BRANCH_FOLLOW = 4.0  # how much likelier than first messages, which openers teach, a branch takes up what came before
HEAD_OF = 3  # how many kinds must end in a word for people to say it alone
REPEATS = 4  # how often the same words may be used: "hi" and "cheaper" are common, and little else is said twice
ASKED = 3.0  # how much likelier than elsewhere a talk's own turn is asked back: its branches then answer
ANSWERED = 0.12  # share of branches that are answered too: an answer costs as much as four plans


@dataclass(slots=True, kw_only=True)
class Talk:
    """A talk in the making: what has been said and what the tools left behind."""

    user_id: str | None
    messages: list[Message] = field(default_factory=list)
    shown: tuple[Recommendation, ...] = ()
    request: Any = None
    cart: tuple[tuple[str, int], ...] = ()
    memories: tuple[Memory, ...] = ()
    focus: int | None = None
    options: tuple[str, ...] = ()  # what the last message was asked back
    untrained: list[int] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    branches: list[Branch] = field(default_factory=list)

    def copy(self) -> Talk:
        """Give a talk of its own that has come as far."""
        return replace(self, messages=[*self.messages], untrained=[*self.untrained], kinds=[*self.kinds], branches=[])


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    """Another way on from some point of a talk: its first `before` messages are the talk's."""

    before: int
    messages: tuple[Message, ...]
    untrained: tuple[int, ...]
    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """What the shop's items are called, for filling slots."""

    things: Mapping[str, tuple[str, ...]]  # everyday name -> other names for it
    by_item: Mapping[str, str]  # item id -> everyday name
    lists: Mapping[str, Mapping[str, tuple[str, ...]]]
    heads: frozenset[str] = frozenset()  # plain names that end those of several things: bread, soup
    apart: frozenset[str] = frozenset()  # folded messages that are never said: those of evaluation sets


def folded(text: str) -> str:
    """Give a message's bare words, for comparing: case and marks are no difference.

    >>> folded("What's in my cart?!") == folded("whats in my cart")
    True
    """
    return " ".join(re.findall(r"[^\W_]+", re.sub(r"['’]", "", text.lower())))


def messages_of(sets: Iterable[Path], *, words: int = 3) -> frozenset[str]:
    """Fold what shoppers say in conversation sets, but for what is so short that everybody says it ("thanks").

    Raises:
        ShopError: when a set cannot be read.
    """
    said = {
        folded(message.content)
        for path in sets
        for conversation in read_conversations(path)
        for message in conversation.messages
        if message.role == "user"
    }
    return frozenset(text for text in said if len(text.split()) >= words)


def read_words(shop: Shop, *, apart: Iterable[Path] = ()) -> Words:
    """Collect what the shop's items are called: kinds from the titles, other names from the descriptions."""
    from retrieval.kinds import also_called

    things: dict[str, tuple[str, ...]] = {}
    by_item: dict[str, str] = {}
    for item in shop.catalog.items.values():
        if item.age_restricted:
            continue
        name = item.title.split(",")[0].strip().lower()
        by_item[item.item_id] = name
        if name not in things:
            things[name] = tuple(alias.lower() for alias in also_called(item.description) if len(alias) < 30)
    names = ("things", "qualities", "unqualities", "ingredients", "unwanted", "avoid")
    lists = {name: load_lists(name) for name in names}
    ends = Counter(name.split()[-1] for name in things)
    heads = frozenset(word for word in lists["things"] if ends[word] >= HEAD_OF)
    return Words(things=things, by_item=by_item, lists=lists, heads=heads, apart=messages_of(apart))


def dialogues(
    shop: Shop,
    *,
    work: Path,
    out: Path,
    count: int,
    weeks: float = 4.0,
    seed: int = 0,
    progress: Callable[[str, float], None] | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Turn a prepared shop's histories into conversations, with nothing after the cut seen by the tools.

    The shop is prepared once more in `work` from what happened up to `weeks` before its last event; the wishes
    come from the baskets after that.

    Args:
        shop: The shop whose histories are used.
        work: Folder for the earlier shop; kept, so that a second run finds it.
        out: The JSON-lines file to write.
        count: How many conversations.
        weeks: Length of the held-out end of the log, in weeks.
        seed: See `write_dialogues`.
        progress: Told what is being done, and the share that is done.
        options: Passed on to `write_dialogues`.

    Raises:
        ShopError: when the log is too short for the cut, or a folder cannot be written.
    """
    from retrieval.held_out import hold_out
    from retrieval.shop import Shop as Opened

    tell = progress or (lambda _what, _share: None)
    held = hold_out(
        shop, folder=work, weeks=weeks, progress=lambda what, share: tell(f"Earlier shop: {what}", 0.4 * share)
    )
    with Opened.open(work) as earlier:
        counted = write_dialogues(
            earlier,
            held.baskets,
            out=out,
            count=count,
            seed=seed,
            progress=lambda done, of: tell(f"Conversations {done} of {of}", 0.4 + 0.6 * done / of),
            **options,
        )
    return {**counted, "cut": held.cut, "weeks": weeks, "seed": seed}


def read_shares(texts: Sequence[str]) -> dict[str, float]:
    """Read "kind=weight" as they stand on a command line, beside which the others keep the weights of `SHARES`.

    >>> read_shares(["ask=3", "hostile=0"])
    {'ask': 3.0, 'hostile': 0.0}

    Raises:
        ShopError: when a kind is none, a weight is no number or below 0, or every kind is left out.
    """
    out: dict[str, float] = {}
    for text in texts:
        kind, _, weight = text.partition("=")
        if kind not in SHARES:
            near = get_close_matches(kind, SHARES, n=1)
            raise ShopError(
                f"No kind of message is called {kind}. "
                + (f"Did you mean {near[0]}?" if near else f"There are: {', '.join(SHARES)}")
            )
        try:
            out[kind] = float(weight)
        except ValueError:
            out[kind] = -1.0
        if not 0 <= out[kind] < inf:
            raise ShopError(f"A share is a kind and its weight, as in {kind}=3; got {text}")
    if not any({**SHARES, **out}.values()):
        raise ShopError("Every kind of message is left out, so nothing can be said")
    return out


def write_dialogues(
    shop: Shop,
    baskets: Mapping[str, Sequence[Sequence[str]]],
    *,
    out: Path,
    count: int,
    seed: int = 0,
    max_turns: int = 5,
    new_share: float = 0.3,
    openers: int = 0,
    branches: int = 0,
    shares: Mapping[str, float] | None = None,
    apart: Sequence[Path] = (),
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Write `count` conversations as JSON lines, built aside and swapped in whole; give what was counted.

    Args:
        shop: A shop prepared from what happened before the cut.
        baskets: By shopper, the baskets after the cut as lists of item ids: where wishes come from.
        out: The file to write.
        count: How many conversations.
        seed: Conversation n depends on the seed and n only.
        max_turns: Most messages of the shopper in one conversation.
        new_share: Share of talks with a new shopper, who has no history.
        openers: How many first messages with their plan to add beside the talks: the cheapest way to hear many wordings.
        branches: How many other messages with their plan to add after each turn of a talk: what else could be said there.
        shares: Weights of the kinds of message; see `SHARES`.
        apart: Conversation sets whose messages of three words or more are never said here: what is graded is not trained on.
        progress: Called with (done, count).

    Raises:
        ShopError: when no shopper has a basket after the cut, or `out` cannot be written.
    """
    known = sorted(user for user, held in baskets.items() if any(held))
    if not known:
        raise ShopError("No shopper has a basket after the cut: choose an earlier --cut, or more interactions")
    words, book = read_words(shop, apart=apart), load_phrases()
    kinds: dict[str, int] = {}
    repeats: dict[str, int] = {}
    turns = branched = 0
    seen: set[str] = set()
    with _written_whole(out) as lines:
        for number in range(count):
            rng = Random(f"{seed}:{number}")
            user_id = rng.choice(known)
            basket = rng.choice([held for held in baskets[user_id] if held])
            talk = make_talk(
                shop,
                user_id=None if rng.random() < new_share else user_id,
                basket=basket,
                rng=rng,
                words=words,
                book=book,
                turns=rng.choices(range(1, max_turns + 1), [2, 4, 4, 3, 2, 1, 1, 1][:max_turns])[0],
                shares={**SHARES, **(shares or {})},
                branches=branches,
            )
            for kind in talk.kinds:
                kinds[kind] = kinds.get(kind, 0) + 1
            turns += len(talk.kinds)
            seen |= {message.content for message in talk.messages if message.role == "user"}
            conversation = Conversation(
                conversation_id=f"d{seed}-{number}",
                user_id=talk.user_id,
                messages=tuple(talk.messages),
                metadata={"source": "dialogues", "untrained": talk.untrained, "kinds": talk.kinds},
            )
            lines.write(json.dumps(to_json(_light(conversation)), ensure_ascii=False) + "\n")
            for place, branch in enumerate(talk.branches):
                said = branch.messages[branch.before].content
                seen.add(said)
                repeats[said] = repeats.get(said, 0) + 1
                if repeats[said] > REPEATS:
                    continue
                branched += 1
                other = Conversation(
                    conversation_id=f"d{seed}-{number}/{place}",
                    user_id=talk.user_id,
                    messages=branch.messages,
                    metadata={
                        "source": "branches",
                        "branch_of": conversation.conversation_id,
                        "train_from": branch.before,
                        "untrained": branch.untrained,
                        "kinds": [branch.kind],
                    },
                )
                lines.write(json.dumps(to_json(_light(other)), ensure_ascii=False) + "\n")
            if progress is not None:
                progress(number + 1, count)
        for conversation in _openers(
            shop, known, baskets, openers, seed=seed, words=words, book=book, shares=shares or {}
        ):
            seen.add(conversation.messages[0].content)
            lines.write(json.dumps(to_json(conversation), ensure_ascii=False) + "\n")
    return {
        "conversations": count,
        "turns": turns,
        "branches": branched,
        "distinct_messages": len(seen),
        "kinds": dict(sorted(kinds.items())),
    }


@contextmanager
def _written_whole(out: Path) -> Iterator[IO[str]]:
    """Give a file beside `out` to write, swapped in when it is whole and gone when anything comes between."""
    with readable_disk_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        aside = out.with_name(out.name + ".partial")
        try:
            with aside.open("w", encoding="utf-8") as lines:
                yield lines
                lines.flush()
                os.fsync(lines.fileno())
            aside.replace(out)
        finally:
            aside.unlink(missing_ok=True)


def _openers(
    shop: Shop,
    known: Sequence[str],
    baskets: Mapping[str, Sequence[Sequence[str]]],
    count: int,
    *,
    seed: int,
    words: Words,
    book: Phrasebook,
    shares: Mapping[str, float],
) -> Iterator[Conversation]:
    """Draw first messages with their plans, no wording often; nothing is run, as nothing comes before them."""
    weights = {**SHARES, **shares}
    rng = Random(f"{seed}:openers")
    repeats: dict[str, int] = {}
    for number in range(count):
        for _attempt in range(50):
            user_id = rng.choice(known)
            basket = [item_id for held in baskets[user_id] for item_id in held if item_id in words.by_item]
            if not basket:
                continue
            filled, kind = _next_message(Talk(user_id=user_id), shop, basket, rng, words, book, weights)
            if filled is None or repeats.get(filled.text, 0) >= REPEATS:
                continue
            calls = [_renamed(call) for call in filled.calls]
            if any(check_call(call, message=filled.text, said=())[1] for call in calls):
                continue
            repeats[filled.text] = repeats.get(filled.text, 0) + 1
            yield Conversation(
                conversation_id=f"o{seed}-{number}",
                messages=(
                    Message(role="user", content=filled.text),
                    Message(role="assistant", tool_calls=tuple(calls)),
                ),
                metadata={"source": "openers", "kinds": [kind]},
            )
            break


def _light(conversation: Conversation) -> Conversation:
    """Keep of the evidence only what training reads: the model's own words with positions."""
    return replace(
        conversation,
        messages=tuple(
            replace(message, evidence={"raw": message.evidence["raw"]} if message.evidence.get("raw") else {}, usage={})
            for message in conversation.messages
        ),
    )


def make_talk(
    shop: Shop,
    *,
    user_id: str | None,
    basket: Sequence[str],
    rng: Random,
    words: Words,
    book: Phrasebook,
    turns: int,
    shares: Mapping[str, float],
    branches: int = 0,
) -> Talk:
    """Let a simulated shopper with this next basket talk to the real tools for some turns.

    After each turn, `branches` other ways on are tried and kept beside it.
    """
    talk = Talk(user_id=user_id)
    wanted = [item_id for item_id in basket if item_id in words.by_item] or list(words.by_item)[:50]
    own = {**shares, "ask": ASKED * shares.get("ask", 1.0)}
    for _ in range(turns):
        for _attempt in range(12):
            filled, kind = _next_message(talk, shop, wanted, rng, words, book, own)
            if filled is not None and _take_turn(talk, shop, filled, kind, rng):
                break
        for _attempt in range(2 * branches):
            if sum(branch.before == len(talk.messages) for branch in talk.branches) == branches:
                break
            filled, kind = _next_message(talk, shop, wanted, rng, words, book, shares, follow=BRANCH_FOLLOW)
            other, before = talk.copy(), len(talk.messages)
            if filled is not None and _take_turn(other, shop, filled, kind, rng):
                answered = rng.random() < ANSWERED
                kept = other.messages if answered else other.messages[: before + 2]
                unlearned = tuple(at for at in other.untrained if before <= at < len(kept))
                talk.branches.append(Branch(before=before, messages=tuple(kept), untrained=unlearned, kind=kind))
    return talk


def _next_message(
    talk: Talk,
    shop: Shop,
    wanted: Sequence[str],
    rng: Random,
    words: Words,
    book: Phrasebook,
    shares: Mapping[str, float],
    follow: float = 2.0,
) -> tuple[Filled | None, str]:
    """Draw a phrase that makes sense now, and fill it with what this shopper wants."""
    available = {"nothing"} if talk.request is not None or talk.shown else {*FIRST}
    if talk.shown:
        available |= {"list"}
        if talk.focus is not None:
            available |= {"focus"}
    if talk.cart:
        available.add("cart")
    if talk.memories:
        available.add("memory")
    before = LOOKS.get(_last_call(talk), "")
    if before and (talk.options if before == "asked" else talk.shown):
        available.add(before)
    weights = {}
    for kind in book.kinds:
        fitting = [phrase for phrase in book.phrases[kind] if phrase.needs in available]
        if fitting:
            # Follow-ups are what a talk is made of once there is a list; openers start it.
            taking_up = sum(phrase.needs not in FIRST for phrase in fitting) / len(fitting)
            weights[kind] = shares.get(kind, 1.0) * (1 + (follow - 1) * taking_up), taking_up
    kind = rng.choices(list(weights), [weight for weight, _ in weights.values()])[0]
    taking_up = weights[kind][1]
    taken_up = rng.random() < follow * taking_up / (1 + (follow - 1) * taking_up)
    phrase = book.sample(kind, rng, where=lambda one: one.needs in available and (one.needs not in FIRST) == taken_up)
    values = _values(phrase, talk, shop, wanted, rng, words)
    if values is None:
        return None, kind
    filled = phrase.fill(values, rng, count=len(talk.shown) or None)
    rough = roughen(filled.text, rng, keep=_kept_words(filled))
    if folded(rough) in words.apart:
        return None, kind
    return Filled(text=rough, calls=filled.calls), kind


def _last_call(talk: Talk) -> str:
    calls = [message.tool_calls for message in talk.messages if message.tool_calls]
    return calls[-1][0].name if calls and len(calls[-1]) == 1 else ""


def _kept_words(filled: Filled) -> list[str]:
    """List the words that must stay readable: a name to leave out or to require is copied, not guessed."""
    out = []
    for call in filled.calls:
        for name in ("having", "with", "without", "text"):
            value = call.arguments.get(name)
            out += [value] if isinstance(value, str) else list(value or ())
    return out


def _values(
    phrase: Phrase, talk: Talk, shop: Shop, wanted: Sequence[str], rng: Random, words: Words
) -> dict[str, Any] | None:
    """Fill each slot of a phrase from what this shopper wants and what is shown; None when one cannot be filled."""
    values: dict[str, Any] = {}
    items = shop.catalog.items
    count = len(talk.shown)
    targets = rng.sample(list(wanted), min(4, len(wanted)))
    carried = _carried(talk)
    for slot in phrase.slots:
        stem, number = slot.rstrip("0123456789"), slot[len(slot.rstrip("0123456789")) :]
        at = int(number or 1) - 1
        target = items[targets[at % len(targets)]]
        thing = values.get("thing" + number)
        match stem:
            case "thing":
                values[slot] = _thing(target, words, rng, phrase)
            case "price":
                near = _price_near(talk, shop, thing or carried, target, rng)
                if slot == "price2":
                    near = max(near, float(values.get("price", 0)) + 1)
                values[slot] = near
            case "brand":
                store = "store" in target.brand.lower()
                values[slot] = "store brand" if store == (rng.random() < 0.85) else "name brand"
            case "size":
                size = _size_of(target, talk, rng, phrase)
                if size is None:
                    return None
                values[slot] = size
            case "quality" | "unquality" | "ingredient" | "without":
                name = {
                    "quality": "qualities",
                    "unquality": "unqualities",
                    "ingredient": "ingredients",
                    "without": "unwanted",
                }[stem]
                if phrase.kind in ("remember", "recommend", "forget") and stem == "without":
                    name = "avoid"
                held = words.lists[name]
                head = str(thing.value if isinstance(thing, Spoken) else thing or carried or "")
                if head not in held:
                    head = next((key for key in held if head and (key in head or head in key)), rng.choice(list(held)))
                    if "thing" + number in phrase.slots and name != "avoid":
                        values["thing" + number] = _other_name(head, words, rng)
                choices = [word for word in held[head] if word not in values.values()]
                if not choices:
                    return None
                values[slot] = rng.choice(choices)
            case "position":
                free = [place for place in range(1, count + 1) if place not in values.values()]
                values[slot] = rng.choice(free) if free else None
            case "positions":
                if count < 2:
                    return None
                values[slot] = sorted(rng.sample(range(1, count + 1), 2 if rng.random() < 0.8 or count < 3 else 3))
            case "all":
                if not 1 < count <= 5:
                    return None
                values[slot] = list(range(1, count + 1))
            case "it":
                values[slot] = talk.focus
            case "name":
                title = _name_from(phrase, talk, shop, rng)
                if title is None:
                    return None
                values[slot] = speak_name(title, rng)
            case "other":
                values[slot] = _other_name(rng.choice(list(words.things)), words, rng)
            case "option":
                values[slot] = _option(talk, rng)
            case "quantity":
                one = 5 if any(call.arguments.get("action") == "set" for call in phrase.calls) else 0
                values[slot] = rng.choices([1, 2, 3, 4, 5, 6, 10, 12], [one, 6, 4, 2, 1, 2, 0.5, 1])[0]
            case _:
                return None
        if values.get(slot) is None:
            return None
    return values


def _thing(target: Item, words: Words, rng: Random, phrase: Phrase) -> Any:
    name = words.by_item[target.item_id]
    if rng.random() < 0.1 and name.split()[-1] in words.heads:
        return name.split()[-1]
    return _other_name(name, words, rng)


def _option(talk: Talk, rng: Random) -> Any:
    """Take one of the answers offered, as people do: whole, or by the words that the others lack."""
    option = rng.choice(talk.options).lower()
    others = {word for other in talk.options if other.lower() != option for word in other.lower().split()}
    asked = talk.request.wish.query.lower().split() if talk.request is not None else []
    own = [word for word in option.split() if word not in others and word not in asked and len(word) > 3]
    return Spoken(text=" ".join(own), value=option) if own and rng.random() < 0.5 else option


def _other_name(name: str, words: Words, rng: Random) -> Any:
    """Say a thing by its own name or another; the plan holds the words that were said."""
    others = [*words.things.get(name, ()), *words.lists["things"].get(name, ())]
    if others and rng.random() < 0.4:
        return rng.choice(others)
    if rng.random() < 0.15:
        return rng.choice(list(words.lists["things"]))
    return name


def _carried(talk: Talk) -> str:
    return talk.shown[0].item.title.split(",")[0].lower() if talk.shown else ""


def _price_near(talk: Talk, shop: Shop, thing: Any, target: Item, rng: Random) -> float:
    """Choose a bound as people do: round, and mostly one that something keeps to."""
    prices = [r.item.price for r in talk.shown if r.item.price] or [target.price or 3.0]
    amount = rng.choice(prices) * rng.uniform(0.6, 1.7)
    steps = [0.25, 0.5, 1.0] if amount < 3 else [0.5, 1.0, 1.0] if amount < 10 else [1.0, 5.0, 5.0]
    step = rng.choice(steps)
    rounded = max(step, round(amount / step) * step)
    return rounded - 0.01 if rng.random() < 0.08 and rounded >= 1 else float(rounded)


def _size_of(target: Item, talk: Talk, rng: Random, phrase: Phrase) -> str | None:
    from retrieval.quantity import parse_quantity

    pool = [r.item for r in talk.shown] if phrase.needs in NEEDING_LIST and talk.shown else [target]
    pieces = [piece for item in pool for piece in item.title.split(", ")[1:] if parse_quantity(piece)]
    return rng.choice(pieces).lower() if pieces else None


def _name_from(phrase: Phrase, talk: Talk, shop: Shop, rng: Random) -> str | None:
    """Name an item of the cart where one is taken out of it, else a shown one."""
    removing = any(
        call.name == "update_cart" and call.arguments.get("action") in ("remove", "set") for call in phrase.calls
    )
    if removing:
        return shop.catalog.items[rng.choice(talk.cart)[0]].title if talk.cart else None
    if phrase.kind == "forget":
        return rng.choice(talk.memories).text if talk.memories else None
    return rng.choice(talk.shown).item.title if talk.shown else None


def _take_turn(talk: Talk, shop: Shop, filled: Filled, kind: str, rng: Random) -> bool:
    """Run the real tools on the gold calls and word the reply; False when the phrase does not work here."""
    calls = [_renamed(call) for call in filled.calls]
    said = tuple(message.content for message in talk.messages if message.role == "user")
    if len(set(map(str, calls))) < len(calls):
        return False
    for call in calls:
        _, dropped = check_call(call, message=filled.text, said=said)
        if dropped:
            return False
    turn = Turn(
        shop=shop,
        limits=Limits(),
        user_id=talk.user_id,
        message=filled.text,
        said=said,
        shown=talk.shown,
        request=talk.request,
        options=talk.options,
        seen=frozenset(item_id for message in talk.messages for item_id in message.items),
        cart=talk.cart,
        memories=talk.memories,
    )
    work = Work(
        turn=turn,
        model=None,
        store=None,  # type: ignore[arg-type]  # act and keep touch no store; the caller keeps what they give
        owner="",
        history=tuple(talk.messages),
        calls=calls,
        user_message=Message(role="user", content=filled.text),
    )
    work.planned = True
    work.model_away = True  # no model is asked: the words below are gold
    act(work, _nothing)
    if any(isinstance(outcome, Problem) for outcome in work.outcomes) and rng.random() < 0.7:
        return False
    if kind == "ask" and not any(isinstance(outcome, Question) for outcome in work.outcomes):
        return False
    gold = gold_answer(work, rng) if phrased(work) else []
    if gold:
        _say_gold(work, gold)
    else:
        answer(work, _nothing)
    keep(work, _nothing)
    messages = work.kept["messages"]
    start = len(talk.messages)
    talk.messages += messages
    if not gold:
        talk.untrained.append(start + 3)
    if work.new_list:
        talk.shown = tuple(work.shown)
        talk.focus = None
    if work.looked is not None and len(work.looked.positions) == 1 and work.looked.positions[0]:
        talk.focus = work.looked.positions[0]
    changed = work.kept["messages"][3].evidence["changed"]
    if len(changed) == 1 and work.looked is None and not work.new_list:
        places = [place for place, one in enumerate(talk.shown, start=1) if one.item.item_id == changed[0]]
        talk.focus = places[0] if places else None
    talk.request = work.kept["request"] or talk.request
    asked = next((outcome for outcome in work.outcomes if isinstance(outcome, Question)), None)
    talk.options = asked.options if asked is not None else ()
    talk.cart, talk.memories = work.cart, work.memories
    talk.kinds.append(kind)
    return True


def _renamed(call: ToolCall) -> ToolCall:
    """Give a call of the bank as the tools name its arguments: `with` is a word that Python keeps for itself."""
    if call.arguments.get("more"):
        return ToolCall(name="similar_items", arguments={})
    arguments = {("having" if name == "with" else name): value for name, value in call.arguments.items()}
    return ToolCall(name=call.name, arguments=arguments)


def _nothing(_: Any) -> None:
    return None


def _say_gold(work: Work, gold: Sequence[str]) -> None:
    """Put gold sentences where the model's would be, after code's own."""
    for sentence in code_sentences(work, _nothing):
        work.raw.append(sentence)
        work.sources.append("plain")
    for sentence in gold:
        work.raw.append(sentence)
        work.sources.append("model")
