"""Replay a set of conversations against an assistant, and grade what came back (`formats.md` §2 and §3)."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Protocol

from agent.conversation import Conversation, Message, from_json, read_conversations, to_json
from agent.events import Event, Finished, Listed
from eval import environment, metrics
from eval.expectations import problems
from retrieval.records import Item, ShopError

History = Literal["live", "given"]
NO_CALLS = {"llm_calls": 0, "prompt_tokens": 0, "completion_tokens": 0}  # of a turn that never came to the model
AWAY_IN_A_ROW = 3  # conversations answered without the model, one after the other, before the run stops


class Talker(Protocol):
    """What a replay needs of an assistant; `agent.assistant.Assistant` has it, and so has a test's stand-in."""

    def start(self, *, user_id: str | None = None, session_id: str | None = None) -> str:
        """Begin a talk and give the session's id."""
        ...

    def reply(self, message: str, *, session_id: str) -> Iterator[Event]:
        """Answer a message, event by event."""
        ...

    def cart(self, session_id: str) -> tuple[tuple[str, int], ...]:
        """Give the cart of a session's shopper."""
        ...

    def given(self, messages: list[Message], *, session_id: str) -> None:
        """Take messages as said."""
        ...


def run_eval(
    set_path: Path,
    *,
    assistant: Any,
    output: Path,
    history: History = "live",
    limit: int | None = None,
    seed: int = 0,
    fresh: bool = False,
    config: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Replay a set with a progress bar, print the table of metrics, and give what `OUT/results.json` holds.

    `config` says what was run (model, adapter, base, shop, assistant); versions, hardware and the rest are added.

    Raises:
        ShopError: when the set cannot be read or checked, or `output` holds another run.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("Replaying", total=None)

        def progress(text: str, share: float, *, done: int = 0, total: int = 0) -> None:
            bar.update(task, description=text, completed=done, total=total)

        record = replay(
            set_path,
            assistant=assistant,
            items=assistant.shop.catalog.items,
            bought=assistant.shop.history.bought,
            output=output,
            history=history,
            limit=limit,
            seed=seed,
            fresh=fresh,
            config=config,
            progress=progress,
        )
    print_results(record, console=console)
    console.print(f"Conversations and results are in {output}", highlight=False, soft_wrap=True)
    return record


def replay(
    set_path: Path,
    *,
    assistant: Talker,
    items: Mapping[str, Item],
    output: Path,
    bought: Callable[[str, str], bool] = lambda user_id, item_id: False,
    history: History = "live",
    limit: int | None = None,
    seed: int = 0,
    fresh: bool = False,
    config: Mapping[str, Any] | None = None,
    progress: Callable[..., None] | None = None,
) -> dict[str, Any]:
    """Replay the first `limit` conversations of a set and grade them; give what `OUT/results.json` holds.

    Each finished conversation is on disk at once: a run that was stopped goes on where it was when it is started
    again with the same settings; `fresh` starts over. A turn that raises is counted as an error and the
    conversation goes on.

    Raises:
        ShopError: when the set cannot be read or checked, `output` holds another run, or the model stays away.
    """
    conversations = read_set(set_path, items=items, limit=limit)
    described = {
        "assistant": "shoptalk",
        **dict(config or {}),
        "set": set_path.name,
        "set_hash": hashlib.sha256(set_path.read_bytes()).hexdigest()[:16],
        "history": history,
        "seed": seed,
        "limit": limit,
        "versions": environment.versions(),
        "hardware": environment.hardware(),
    }
    by_id = {conversation.conversation_id: conversation for conversation in conversations}
    ordered = hold_all(
        list(by_id),
        lambda name: replay_one(by_id[name], assistant=assistant, history=history),
        output=output,
        config=described,
        watched=getattr(assistant, "model", None) is not None,
        fresh=fresh,
        progress=progress,
    )
    record = results(ordered, items=items, bought=bought, config=described, seed=seed)
    write_whole(output / "results.json", json.dumps(record, indent=2, ensure_ascii=False) + "\n")
    return record


def hold_all(
    names: Sequence[str],
    hold: Callable[[str], Conversation],
    *,
    output: Path,
    config: Mapping[str, Any],
    watched: bool = False,
    fresh: bool = False,
    progress: Callable[..., None] | None = None,
) -> list[Conversation]:
    """Hold every conversation that `output` does not have yet, each on disk as soon as it is finished; give all.

    Args:
        names: The conversations' ids, in their order.
        hold: Holds the conversation of this id.
        output: The run's folder.
        config: What is run; a folder that holds another run is refused.
        watched: A model is there: conversations that it left alone are not kept when it stays away.
        fresh: Start over.
        progress: Called with a text and the share done, and `done` and `total`.

    Raises:
        ShopError: when `output` holds another run or cannot be written, or the model stays away.
    """
    _claim_folder(output, config, fresh=fresh)
    finished = _finished(output, names)
    total = len(names)
    unsure: list[Conversation] = []  # held without the model, not yet on disk: perhaps it is about to be dead

    def keep(conversation: Conversation) -> None:
        finished[conversation.conversation_id] = conversation
        _append(output / "conversations.jsonl", conversation)

    for done, name in enumerate(names):
        if progress is not None:
            progress(f"Talking: {name}", done / total, done=done, total=total)
        if name in finished:
            continue
        went = hold(name)
        unsure.append(went)
        if not (watched and _all_away(went)):
            for one in unsure:
                keep(one)
            unsure.clear()
        elif len(unsure) >= AWAY_IN_A_ROW:
            raise ShopError(
                f"The model has not answered for {len(unsure)} conversations. What was finished is kept in {output}: "
                "see that the model runs, then run the same command again"
            )
    for one in unsure:
        keep(one)
    if progress is not None:
        progress("Grading", 1.0, done=total, total=total)
    return [finished[name] for name in names]


def read_set(set_path: Path, *, items: Mapping[str, Item], limit: int | None = None) -> list[Conversation]:
    """Read a set and see that every expectation in it can be checked.

    Raises:
        ShopError: naming the first things that are wrong, and how many there are.
    """
    conversations = list(read_conversations(set_path))
    if not conversations:
        raise ShopError(f"{set_path} holds no conversations: expected one JSON object a line")
    ids = [conversation.conversation_id for conversation in conversations]
    wrong = [f"two conversations are called {one!r}" for one in sorted({one for one in ids if ids.count(one) > 1})]
    for conversation in conversations:
        wrong += problems(conversation, items=items)
    if wrong:
        more = f", and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise ShopError(f"{set_path} cannot be checked: {'; '.join(wrong[:3])}{more}")
    return conversations[:limit]


def replay_one(conversation: Conversation, *, assistant: Talker, history: History = "live") -> Conversation:
    """Hold one conversation with the assistant; give it as it went, expectations beside the user's messages.

    The shopper starts with an empty cart and nothing remembered. With `given`, each user message is answered on
    the past that the file holds.
    """
    messages: list[Message] = []
    shown: tuple[str, ...] = ()
    session = begin(assistant, user_id=conversation.user_id)
    try:
        for place, message in enumerate(conversation.messages):
            if message.role != "user":
                if history == "given" and message.items:
                    shown = message.items
                continue
            if history == "given" and place:
                end(assistant, session)
                session = begin(assistant, user_id=conversation.user_id)
                assistant.given(list(conversation.messages[:place]), session_id=session)
            went = hold_turn(message, assistant=assistant, session=session, shown=shown)
            messages += went
            shown = went[-1].items or shown
    finally:
        end(assistant, session)
    return replace(conversation, messages=tuple(messages))


def hold_turn(message: Message, *, assistant: Talker, session: str, shown: tuple[str, ...]) -> list[Message]:
    """Have a message answered, and give it with all that came of it; a turn that raises gives a reply that says so.

    The last message is the reply, with the seconds it took on our own clock, the cart after it, and `shown`: the
    list shown before it.
    """
    started = time.perf_counter()
    first_list: float | None = None
    finished: Finished | None = None
    error = ""
    try:
        for event in assistant.reply(message.content, session_id=session):
            if isinstance(event, Listed) and first_list is None:
                first_list = time.perf_counter() - started
            elif isinstance(event, Finished):
                finished = event
    except Exception as raised:  # whatever a turn raises is a figure of the run, not its end
        error = f"{type(raised).__name__}: {raised}"
    seconds = time.perf_counter() - started
    if not error and finished is None:
        error = "the turn ended without a reply"
    if error or finished is None:
        reply = Message(
            role="assistant",
            evidence={"error": error, "previous": list(shown)},
            usage={**NO_CALLS, "turn_seconds": seconds},
        )
        return [message, reply]
    reply = finished.reply
    usage = {**NO_CALLS, **reply.usage, "turn_seconds": round(seconds, 4)}
    usage.pop("first_list_seconds", None)
    if first_list is not None:
        usage["first_list_seconds"] = round(first_list, 4)
    cart = [[item_id, quantity] for item_id, quantity in assistant.cart(session)]
    evidence = {**reply.evidence, "cart": cart, "previous": list(shown)}
    between = [one for one in finished.messages[:-1] if one.role != "user"]
    calls = tuple(call for one in between for call in one.tool_calls)
    graded = replace(reply, evidence=evidence, usage=usage, tool_calls=reply.tool_calls or calls)
    return [message, *between, graded]


def begin(assistant: Talker, *, user_id: str | None) -> str:
    """Start a talk of a shopper whose cart is empty and of whom nothing is remembered; give the session's id."""
    session = assistant.start(user_id=user_id)
    store, owner = getattr(assistant, "store", None), getattr(assistant, "owner", None)
    if store is not None and owner is not None:
        store.erase(owner(session))
    return session


def end(assistant: Talker, session: str) -> None:
    """Close a talk, where the assistant closes talks."""
    close = getattr(assistant, "end", None)
    if close is not None:
        close(session)


def _all_away(conversation: Conversation) -> bool:
    replies = [message for message in conversation.messages if message.role == "assistant" and message.usage]
    away = [message for message in replies if message.evidence.get("model_away")]
    return bool(away) and len(away) == len(replies)


def results(
    conversations: Sequence[Conversation],
    *,
    items: Mapping[str, Item],
    bought: Callable[[str, str], bool],
    config: Mapping[str, Any],
    seed: int = 0,
) -> dict[str, Any]:
    """Grade conversations as they went; give the record that `results.json` holds."""
    turns = metrics.grade(conversations, items=items, bought=bought)
    keys = ("act", "where", "items", "none", "about", "new", "again", "cart")
    n: dict[str, int] = {
        "turns": len(turns),
        "conversations": len(conversations),
        "items_shown": sum(len(turn.reply.items) for turn in turns),
        **{f"with_{key}": sum(key in turn.expect for turn in turns) for key in keys},
    }
    return {
        "results": metrics.summarise(turns, seed=seed),
        "n": n,
        "slices": metrics.slices(turns),
        "config": dict(config),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "git_hash": environment.git_hash(),
        "failures": failures(turns),
    }


def failures(turns: Iterable[metrics.Turn]) -> list[dict[str, Any]]:
    """List the turns that failed something, with what failed, for a person to read."""
    out = []
    for turn in turns:
        failed = [key for key, holds in turn.check.holds.items() if not holds]
        if turn.reply.failed:
            failed.append("error")
        if ("where" in turn.expect or "items" in turn.expect) and not turn.reply.items:
            failed.append("answered")
        row: dict[str, Any] = {
            "conversation_id": turn.conversation_id,
            "turn": turn.number,
            "said": turn.content,
            "failed": failed,
            "acts": list(turn.reply.acts),
            "reply": turn.reply.content,
        }
        broken = {item_id: list(names) for item_id, names in turn.check.breaks.items() if names}
        if broken:
            row["broken"] = broken
        if turn.false_claims:
            failed.append("unsupported")
            row["unsupported"] = [[claim.kind, claim.words, claim.sentence] for claim in turn.false_claims]
        if turn.off_catalogue:
            failed.append("off_catalogue")
            row["off_catalogue"] = list(turn.off_catalogue)
        if failed:
            out.append(row)
    return out


def regrade(output: Path, *, items: Mapping[str, Item], bought: Callable[[str, str], bool]) -> dict[str, Any]:
    """Compute the metrics of a saved run again from its conversations, with no model; swap `results.json` in whole.

    Raises:
        ShopError: when the folder holds no finished run.
    """
    before = read_results(output)
    conversations = list(read_conversations(output / "conversations.jsonl"))
    seed = int(before["config"].get("seed") or 0)
    record = results(conversations, items=items, bought=bought, config=before["config"], seed=seed)
    record |= {
        "date": before["date"],
        "git_hash": before["git_hash"],
        "graded": record["date"],
        "graded_git_hash": record["git_hash"],
    }
    write_whole(output / "results.json", json.dumps(record, indent=2, ensure_ascii=False) + "\n")
    return record


def read_results(output: Path) -> dict[str, Any]:
    """Read `results.json` of a run.

    Raises:
        ShopError: when there is none, or it cannot be read.
    """
    path = output / "results.json"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ShopError(f"No results at {path}. Make them with: shoptalk eval SET.jsonl --output {output}") from error
    except json.JSONDecodeError as error:
        raise ShopError(f"{path} is damaged ({error.msg}). Run shoptalk eval with the same --output again") from error
    if not isinstance(record, dict) or "results" not in record or "config" not in record:
        raise ShopError(f"{path} does not hold results of a replay")
    return record


def print_results(record: Mapping[str, Any], *, console: Any = None) -> None:
    """Print the metrics of a run as a table, each with its standard error."""
    n = record["n"]
    title = f"{record['config'].get('set', '')}: {n['conversations']} conversations, {n['turns']} turns"
    print_figures(record["results"], names=metrics.METRICS, title=title, console=console)


def print_figures(found: Mapping[str, Any], *, names: Sequence[str], title: str, console: Any = None) -> None:
    """Print these metrics of `found` as a table, each with its standard error."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title)
    table.add_column("metric")
    table.add_column("value", justify="right")
    table.add_column("± standard error", justify="right")
    for name in names:
        table.add_row(name, _figure(found.get(name)), _figure(found.get(f"{name}_stderr")))
    (console or Console()).print(table)


def _figure(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:d}" if isinstance(value, int) else f"{value:.3f}" if abs(value) < 100 else f"{value:.0f}"


def _claim_folder(output: Path, config: Mapping[str, Any], *, fresh: bool) -> None:
    """Make the output folder this run's own, or see that what it holds is this run."""
    run = output / "run.json"
    wanted = json.loads(json.dumps(config))
    try:
        output.mkdir(parents=True, exist_ok=True)
        held = json.loads(run.read_text(encoding="utf-8")) if run.is_file() else None
    except json.JSONDecodeError:
        held = {}
    except OSError as error:
        raise ShopError(
            f"Cannot write results to {output}: {error.strerror or error}. Name another folder with --output"
        ) from error
    if held is not None and not fresh:
        differ = sorted(key for key in {*held, *wanted} if held.get(key) != wanted.get(key))
        if differ:
            raise ShopError(
                f"{output} holds another run: it differs in {', '.join(differ)}. "
                "Name another folder with --output, or start over with --fresh"
            )
        return
    for name in ("conversations.jsonl", "results.json"):
        (output / name).unlink(missing_ok=True)
    write_whole(run, json.dumps(wanted, indent=2, ensure_ascii=False) + "\n")


def _finished(output: Path, names: Sequence[str]) -> dict[str, Conversation]:
    """Read the conversations that are finished; a last line cut short by a crash is taken off the file."""
    path = output / "conversations.jsonl"
    if not path.is_file():
        return {}
    text = path.read_text(encoding="utf-8", errors="replace")
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        write_whole(path, whole)
    wanted = set(names)
    held = (from_json(json.loads(line), where=str(path)) for line in whole.splitlines() if line.strip())
    return {one.conversation_id: one for one in held if one.conversation_id in wanted}


def _append(path: Path, conversation: Conversation) -> None:
    line = json.dumps(to_json(conversation), ensure_ascii=False, default=str) + "\n"
    try:
        with path.open("a", encoding="utf-8") as out:
            out.write(line)
            out.flush()
            os.fsync(out.fileno())
    except OSError as error:
        raise ShopError(
            f"Cannot write {path}: {error.strerror or error}. Finished conversations are kept; free space and run again"
        ) from error


def write_whole(path: Path, text: str) -> None:
    """Write a file beside its place and swap it in whole.

    Raises:
        ShopError: when it cannot be written.
    """
    beside = path.with_name(path.name + ".part")
    try:
        with beside.open("w", encoding="utf-8") as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise ShopError(f"Cannot write {path}: {error.strerror or error}. Free space, then run again") from error
