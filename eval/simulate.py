"""Let simulated shoppers talk to an assistant and say what came of it (`formats.md` §3, Simulation results)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from agent.conversation import Conversation, Message
from eval import environment, outcomes
from eval.replay import Talker, begin, end, hold_all, hold_turn, print_figures, write_whole
from eval.shopper import (
    Card,
    Seen,
    Shopper,
    draw_shopper,
    kind_name,
    need_to_json,
    open_talk,
    respond,
    shelves,
)
from retrieval.records import Item, ShopError

if TYPE_CHECKING:
    from retrieval.held_out import HeldOut
    from retrieval.shop import Shop

NEW_SHARE = 0.25  # of the shoppers whom the shop knows, those who talk as new ones


def run_simulation(
    *,
    assistant: Any,
    shop: Shop,
    held: HeldOut,
    shoppers: int,
    output: Path,
    seed: int = 0,
    fresh: bool = False,
    config: Mapping[str, Any] | None = None,
    progress: Callable[[str, float], None] | None = None,
) -> dict[str, Any]:
    """Draw shoppers from the held-out baskets, have them talk to the assistant, print the table, give the record.

    `shop` is the one that the assistant serves, prepared from before `held.cut`. The rest is as in `simulate`.

    Raises:
        ShopError: when the shop knows what happened after the cut, no basket can be wished from, or `output` holds
            another run.
    """
    until = shop.manifest.until
    if until is None or until > held.cut:
        raise ShopError(
            f"The shop at {shop.path} was not prepared from before the held-out baskets, so it knows what the shoppers "
            "will buy. Prepare it with the cut"
        )
    items, history = shop.catalog.items, shop.history
    first = {user_id: baskets[0] for user_id, baskets in held.baskets.items()}
    people = draw_shoppers(
        first, items=items, known=lambda user_id: user_id in history.user_rows, count=shoppers, seed=seed
    )
    cut = datetime.fromtimestamp(held.cut, UTC).isoformat(timespec="seconds")
    record = simulate(
        people,
        assistant=assistant,
        items=items,
        bought=history.bought,
        output=output,
        seed=seed,
        fresh=fresh,
        config={**dict(config or {}), "simulator": "agenda", "cut": cut},
        progress=progress,
    )
    print_results(record)
    return record


def draw_shoppers(
    baskets: Mapping[str, Sequence[str]],
    *,
    items: Mapping[str, Item],
    known: Callable[[str], bool] = lambda user_id: True,
    count: int,
    seed: int = 0,
) -> list[Shopper]:
    """Draw `count` shoppers, each with a wish out of the next basket of one whom the log knows.

    Shopper n depends on the baskets, the seed and n only. One who is not `known` to the shop, and a quarter of the others,
    talks as a new shopper.

    Raises:
        ShopError: when no basket holds an item that can be wished for.
    """
    by_kind = shelves(items.values())
    wished = {
        user_id: [item_id for item_id in basket if item_id in items and not items[item_id].age_restricted]
        for user_id, basket in sorted(baskets.items())
    }
    users = [user_id for user_id, basket in wished.items() if basket]
    if not users:
        raise ShopError("No next basket holds an item of this shop: choose another cut with --weeks")
    out = []
    for number in range(count):
        rng = Random(f"{seed}:{number}")
        user_id = rng.choice(users)
        item = items[rng.choice(wished[user_id])]
        new = rng.random() < NEW_SHARE or not known(user_id)
        out.append(
            draw_shopper(
                item,
                shelf=by_kind[kind_name(item.title)],
                shopper_id=f"s{seed}-{number}",
                user_id=None if new else user_id,
                rng=rng,
            )
        )
    return out


def simulate(
    people: Sequence[Shopper],
    *,
    assistant: Talker,
    items: Mapping[str, Item],
    output: Path,
    bought: Callable[[str, str], bool] = lambda user_id, item_id: False,
    seed: int = 0,
    fresh: bool = False,
    config: Mapping[str, Any] | None = None,
    progress: Callable[[str, float], None] | None = None,
) -> dict[str, Any]:
    """Have every shopper talk to the assistant; give what `OUT/results.json` holds.

    Each finished talk is on disk at once, and a run that was stopped goes on where it was; `fresh` starts over.

    Raises:
        ShopError: when `output` holds another run or cannot be written, or the model stays away.
    """
    described = {
        **dict(config or {}),
        "shoppers": len(people),
        "seed": seed,
        "versions": environment.versions(),
        "hardware": environment.hardware(),
    }
    by_id = {shopper.shopper_id: shopper for shopper in people}

    def report(text: str, share: float, **_: int) -> None:
        if progress is not None:
            progress(text, share)

    talks = hold_all(
        list(by_id),
        lambda name: talk_with(by_id[name], assistant=assistant, items=items),
        output=output,
        config=described,
        watched=getattr(assistant, "model", None) is not None,
        fresh=fresh,
        progress=report,
    )
    record = results(talks, items=items, bought=bought, config=described, seed=seed)
    write_whole(output / "results.json", json.dumps(record, indent=2, ensure_ascii=False) + "\n")
    return record


def talk_with(shopper: Shopper, *, assistant: Talker, items: Mapping[str, Item]) -> Conversation:
    """Let one shopper talk until something is taken or patience is spent; give the conversation as it went.

    `metadata` holds the wish, the parts of it said by each message, what each reply asked, and the outcome. The
    shopper sees titles, prices and words; the id of what it took is looked up after it took it.
    """
    rng = Random(f"talk:{shopper.shopper_id}")
    messages: list[Message] = []
    steps: list[dict[str, Any]] = []
    shown: tuple[str, ...] = ()
    accepted: str | None = None
    mind, text = open_talk(shopper, rng=rng)
    session = begin(assistant, user_id=shopper.user_id)
    try:
        while text:
            step: dict[str, Any] = {"said": sorted(mind.said)}
            went = hold_turn(Message(role="user", content=text), assistant=assistant, session=session, shown=shown)
            messages += went
            reply = went[-1]
            shown = reply.items or shown
            mind, move = respond(shopper, mind, seen_of(reply, items=items), rng=rng)
            if move.question:
                step |= {"question": move.question, "needless": move.needless}
            steps.append(step)
            text = move.text
            if move.kind == "accept":
                accepted = reply.items[move.position - 1]
    finally:
        end(assistant, session)
    metadata: dict[str, Any] = {
        "source": "simulate",
        "kinds": _kinds(shopper),
        "need": need_to_json(shopper.need),
        "patience": shopper.patience,
        "knowledge": shopper.knowledge,
        "steps": steps,
        "outcome": "left" if accepted is None else "accepted",
    }
    if accepted is not None:
        metadata["accepted"] = accepted
    return Conversation(
        conversation_id=shopper.shopper_id, user_id=shopper.user_id, messages=tuple(messages), metadata=metadata
    )


def seen_of(reply: Message, *, items: Mapping[str, Item]) -> Seen:
    """Give what a person sees of a reply: titles, prices and words; an item that the shop does not have is no card."""
    held = [items.get(item_id) for item_id in reply.items]
    cards = tuple(Card(title="", price=None) if one is None else Card(title=one.title, price=one.price) for one in held)
    return Seen(cards=cards, text=reply.content)


def _kinds(shopper: Shopper) -> list[str]:
    """Name the slices that a talk is counted in."""
    need = shopper.need
    called = "by its shelf" if need.broad else "by its name" if need.name == need.kind else "by another name"
    who = "new shopper" if shopper.user_id is None else "known shopper"
    return [f"{len(need.details)} details", *(f"wants {part}" for part in need.details), f"opens {called}", who]


def results(
    talks: Sequence[Conversation],
    *,
    items: Mapping[str, Item],
    bought: Callable[[str, str], bool] = lambda user_id, item_id: False,
    config: Mapping[str, Any],
    seed: int = 0,
) -> dict[str, Any]:
    """Grade simulated talks as they went; give the record that `results.json` holds."""
    held = outcomes.read_outcomes(talks, items=items, bought=bought)
    secret = outcomes.secrets(items)
    leaked = {talk.conversation_id: found for talk in talks if (found := outcomes.leaks(talk, secret=secret))}
    return {
        "results": outcomes.summarise(held, items=items, leaks=sum(map(len, leaked.values())), seed=seed),
        "n": {
            "conversations": len(held),
            "turns": sum(len(one.turns) for one in held),
            "items_shown": sum(len(turn.reply.items) for one in held for turn in one.turns),
            "questions": sum(bool(part) for one in held for part, _ in one.asked),
        },
        "slices": outcomes.slices(held),
        "violations": outcomes.violations(held),
        "leaked": leaked,
        "config": dict(config),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "git_hash": environment.git_hash(),
        "failures": [
            {"conversation_id": one.conversation_id, "need": need_to_json(one.need), "said": _said(one)}
            for one in held
            if one.accepted_at is None
        ],
    }


def _said(outcome: outcomes.Outcome) -> list[str]:
    return [turn.content for turn in outcome.turns]


def print_results(record: Mapping[str, Any], *, console: Any = None) -> None:
    """Print the metrics of a simulation as a table, each with its standard error."""
    n = record["n"]
    title = f"{record['config'].get('assistant', '')}: {n['conversations']} simulated shoppers, {n['turns']} turns"
    print_figures(record["results"], names=outcomes.METRICS, title=title, console=console)
