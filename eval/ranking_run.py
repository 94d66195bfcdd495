"""Ask systems what a shop's shoppers bought on the trips held out, and measure the lists (`formats.md` §3, "Ranking results")."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from eval import environment
from eval.ranking_lists import read_lists, write_lists, write_qrels
from eval.ranking_measures import MOST
from eval.ranking_report import graded
from eval.ranking_tasks import FEWEST_TRIPS, TASKS, Exam, Rows, System, allowed, draw
from eval.replay import write_whole
from retrieval.history import History
from retrieval.records import Item, ShopError

if TYPE_CHECKING:
    from retrieval.shop import Shop

Make = Callable[[], System]
Progress = Callable[[str, float], None]
Lists = dict[str, dict[str, dict[str, Rows]]]  # by task, system and ask

OURS = "shoptalk"
ALWAYS = "popularity"  # the peer of every run
FILTERS = {
    "again": "items that the shopper bought before",
    "new": "items that the shopper never bought",
    "next_basket": "all items",
    "goes_with": "items that are not in the cart",
    "search": "all items",
    "cold_shopper": "items that are not among the liked",
    "cold_item": "all items",
}
_NO_ASK = {
    "again": "nobody bought an item again on the trip held out",
    "new": "nobody bought a new item on the trip held out",
    "goes_with": "no trip held out has four items",
    "cold_shopper": "nobody of those left out of the log has five trips",
    "cold_item": "nobody bought one of the items whose purchases were taken on the trip held out",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """A system asked in one exam: where its lists and what is said of it are kept."""

    folder: Path
    exam: Exam
    name: str
    tasks: tuple[str, ...]

    @property
    def about(self) -> Path:
        """Give the file that says how it was tuned and how long it took; it is written when all is done."""
        return self.folder / f"{self.exam.round}.{self.name}.json"

    def lists(self, task: str) -> Path:
        """Give the TREC run of a task."""
        return self.folder / f"{task}.{self.name}.txt"


def peers(wanted: str) -> dict[str, Make]:
    """Give the peers that "a,b", "all" or "none" mean; `popularity` is always among them.

    Raises:
        ShopError: when there is no such peer.
    """
    from eval.ranking_peers import PEERS

    names = [name.strip() for name in wanted.split(",") if name.strip()]
    if names == ["all"]:
        return dict(PEERS)
    names = [] if names == ["none"] else names
    if unknown := [name for name in names if name not in PEERS]:
        raise ShopError(f"No peer is called {unknown[0]!r}. There are: {', '.join(PEERS)}; or all, or none")
    return {name: PEERS[name] for name in dict.fromkeys((ALWAYS, *names))}


def chosen_tasks(wanted: str) -> tuple[str, ...]:
    """Give the tasks that "a,b" or "all" mean.

    Raises:
        ShopError: when there is no such task.
    """
    names = [name.strip() for name in wanted.split(",") if name.strip()]
    if names in ([], ["all"]):
        return TASKS
    if unknown := [name for name in names if name not in TASKS]:
        raise ShopError(f"No task is called {unknown[0]!r}. There are: {', '.join(TASKS)}; or all")
    return tuple(task for task in TASKS if task in names)


def run_ranking(
    shop: Shop,
    *,
    output: Path,
    peers: Mapping[str, Make],
    tasks: Sequence[str] = TASKS,
    shoppers: int | None = None,
    seed: int = 0,
    fresh: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Evaluate our ranking and the peers on a prepared shop; write `results.json` and the runs, give the record.

    Args:
        shop: The opened shop; its log is split, its own fitted models are not used.
        output: Folder for the results.
        peers: Other systems, by name.
        tasks: Which of `TASKS`.
        shoppers: At most so many of those that can be asked for; by default all.
        seed: Chooses carts, words, likes, and who and what is cold, and draws the bootstrap.
        fresh: Start over, whatever the folder holds.
        progress: Told what is being done, and the share that is done.

    Raises:
        ShopError: when the log has no purchases, or the folder holds another run or a finished one.
    """
    from eval.ranking_ours import Shoptalk

    history, items = shop.history, list(shop.catalog.items.values())
    if not len(history.basket_time):
        raise ShopError(
            f"The shop at {shop.path} has no purchases in its log, so nothing can be held out. "
            "Prepare it with: shoptalk prepare --items ITEMS --interactions LOG"
        )
    config = {"shop": str(shop.path), "shop_generation": shop.generation, "shoppers": shoppers, "tasks": list(tasks)}
    claim(output, {**config, "seed": seed, "list_length": MOST}, fresh=fresh)
    exams = draw(history, items=items, tasks=tasks, shoppers=shoppers, seed=seed)
    made: dict[str, Make] = {OURS: lambda: Shoptalk(shop=shop), **peers}
    return evaluate(
        exams,
        items=items,
        systems=made,
        output=output,
        validate=lambda exam: earlier(exam, items=items, tasks=tasks, shoppers=shoppers, seed=seed),
        config={**config, "split": split(history, exams), "filters": {task: FILTERS[task] for task in tasks}},
        left_out=left_out(history, exams, tasks=tasks),
        seed=seed,
        progress=progress,
    )


def evaluate(
    exams: Sequence[Exam],
    *,
    items: Sequence[Item],
    systems: Mapping[str, Make],
    output: Path,
    validate: Callable[[Exam], Exam | None],
    config: Mapping[str, Any],
    left_out: Mapping[str, str] | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Tune, fit and ask every system in every exam; write `results.json` and the runs in TREC form, give the record.

    What a system answered is on disk when it is done: a run that was stopped goes on with the next.

    Args:
        exams: What to learn from and what is asked; a task is in one of them.
        items: In the order of the exams' `past.item_ids`.
        systems: Makes each system, by its name; one is made for every exam, and closed where it can be. One that
            cannot do its part says so with a `ShopError`, and is left out of that exam.
        output: A folder that is this run's own; see `claim`.
        validate: Gives the exam of an earlier time on which a system that can be tuned is tuned.
        config: Said of the run in the record, beside seed, list length, versions and hardware.
        left_out: Tasks that nothing is asked of, and why.
        seed: Draws the bootstrap.
        progress: Told what is being done, and the share that is done.
    """
    tell = progress or (lambda _what, _share: None)
    folder = output / "runs"
    folder.mkdir(parents=True, exist_ok=True)
    lists: Lists = {}
    about: dict[str, dict[str, Any]] = {name: {} for name in systems}
    steps = [(exam, name) for exam in exams for name in systems]
    for done, (exam, name) in enumerate(steps):

        def step(what: str, *, done: int = done, name: str = name, exam: Exam = exam) -> None:
            tell(f"{name}, {exam.round.replace('_', ' ')}: {what}", done / len(steps))

        asked = {ask.task for ask in exam.asks}
        for task in asked:
            write_qrels(folder / f"{task}.qrels", exam=exam, task=task)
        run = _Run(folder=folder, exam=exam, name=name, tasks=tuple(task for task in TASKS if task in asked))
        said = _read_about(run)
        if said is None:
            said = _ask(run, make=systems[name], items=items, validate=validate, tell=step)
            write_whole(run.about, json.dumps(said, indent=1, default=float) + "\n")
        about[name][exam.round] = said
        for task in said["tasks"]:
            lists.setdefault(task, {})[name] = read_lists(run.lists(task), exam=exam, task=task)
    tell("measuring", 1.0)
    record = {
        **graded(lists, exams, ours=OURS, seed=seed),
        "left_out": dict(left_out or {}),
        "systems": about,
        "config": {
            **config,
            "seed": seed,
            "list_length": MOST,
            "ties": "by the catalogue's order (shoptalk: by item id)",
            "versions": environment.versions(),
            "hardware": environment.hardware(),
        },
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "git_hash": environment.git_hash(),
    }
    write_whole(output / "results.json", json.dumps(record, indent=2, ensure_ascii=False) + "\n")
    return record


def earlier(
    exam: Exam, *, items: Sequence[Item], tasks: Collection[str], shoppers: int | None, seed: int
) -> Exam | None:
    """Draw the same tasks from an exam's own past, one trip earlier, for tuning; None where the past is too short.

    With the seed after the exam's, as its own would choose the same cold shoppers and items, who have no past left.
    """
    wanted = {ask.task for ask in exam.asks} & set(tasks)
    drawn = draw(exam.past, items=items, tasks=wanted, shoppers=shoppers, seed=seed + 1)
    return next((one for one in drawn if one.round == exam.round), None)


def split(history: History, exams: Sequence[Exam]) -> dict[str, Any]:
    """Say how the log was split: dates, users, trips and items."""
    times = [ask.at for exam in exams for ask in exam.asks]
    return {
        "how": f"leave the last trip out: test is the newest trip of every shopper with {FEWEST_TRIPS} or more, "
        "validation the one before it; a model may know what others bought at that time",
        "log": _dates(history.basket_time),
        "test": _dates(np.array(times)),
        "users": len(history.users),
        "users_asked": len({ask.ask_id for exam in exams if exam.round == "known" for ask in exam.asks}),
        "trips": len(history.basket_time),
        "purchases": len(history.basket_items),
        "items": len(history.item_ids),
        "past": {
            exam.round: {"trips": len(exam.past.basket_time), "purchases": len(exam.past.basket_items)}
            for exam in exams
        },
    }


def left_out(history: History, exams: Sequence[Exam], *, tasks: Collection[str]) -> dict[str, str]:
    """Say why nothing is asked of some tasks."""
    asked = {ask.task for exam in exams for ask in exam.asks}
    if not (np.diff(history.user_baskets) >= FEWEST_TRIPS).any():
        return dict.fromkeys(tasks, f"no shopper has {FEWEST_TRIPS} trips or more, so no trip can be held out")
    return {task: _NO_ASK.get(task, "no trip can be asked for") for task in tasks if task not in asked}


def claim(output: Path, config: Mapping[str, Any], *, fresh: bool) -> None:
    """Make the output folder this run's own; what an unfinished run of the same settings and commit left there is kept.

    Raises:
        ShopError: when it holds another run, a finished one or other files, or cannot be written.
    """
    file = output / "ranking.json"
    wanted = json.loads(json.dumps({**config, "git_hash": environment.git_hash()}))
    try:
        output.mkdir(parents=True, exist_ok=True)
        held = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None
        other = held is None and any(output.iterdir())
    except ValueError:
        held, other = {}, False
    except OSError as error:
        raise ShopError(
            f"Cannot write results to {output}: {error.strerror or error}. Name another folder with --output"
        ) from error
    again = "Name another folder with --output, or start over with --fresh"
    if other:
        raise ShopError(
            f"{output} is not empty, and what it holds is no ranking run. Name another folder with --output"
        )
    if held is not None and not fresh:
        if differ := sorted(key for key in {*held, *wanted} if held.get(key) != wanted.get(key)):
            raise ShopError(f"{output} holds another run: it differs in {', '.join(differ)}. {again}")
        if (output / "results.json").is_file():
            raise ShopError(f"{output} holds a finished run. {again}")
        return
    for old in [output / "results.json", *sorted((output / "runs").glob("*"))]:
        old.unlink(missing_ok=True)
    write_whole(file, json.dumps(wanted, indent=2, ensure_ascii=False) + "\n")


def _ask(
    run: _Run,
    *,
    make: Make,
    items: Sequence[Item],
    validate: Callable[[Exam], Exam | None],
    tell: Callable[[str], None],
) -> dict[str, Any]:
    """Tune, fit and ask one system in one exam; write its lists, and give what is to be said of it."""
    exam, system = run.exam, make()
    said: dict[str, Any] = {"tasks": []}
    tasks = [task for task in run.tasks if task in system.tasks]
    if not tasks:
        return said
    try:
        tune = getattr(system, "tune", None)
        if tune is not None and (validation := validate(exam)) is not None:
            tell("choosing settings on the trips before")
            started = time.monotonic()
            said["tuned"] = tune(validation, items=items)
            said["tune_seconds"] = round(time.monotonic() - started, 2)
        tell("fitting")
        started = time.monotonic()
        system.fit(exam.past, items=items)
        said["fit_seconds"] = round(time.monotonic() - started, 2)
        for task in tasks:
            asks = exam.of(task)
            tell(f"{task.replace('_', ' ')}, {len(asks):,} asks")
            started = time.monotonic()
            found = {}
            for ask in asks:
                may = allowed(ask, past=exam.past)
                rows = np.asarray(system.rank(ask, allowed=may, most=MOST), np.int64)
                _see(rows, may, name=run.name, ask_id=ask.ask_id)
                found[ask.ask_id] = rows
            said[f"{task}_milliseconds"] = round(1000 * (time.monotonic() - started) / len(asks), 3)
            write_lists(run.lists(task), found=found, exam=exam, name=run.name)
            said["tasks"].append(task)
    except ShopError as error:
        return {**said, "failed": str(error)}
    finally:
        close = getattr(system, "close", None)
        if close is not None:
            close()
    return said


def _see(rows: Rows, may: Any, *, name: str, ask_id: str) -> None:
    """See that a list keeps to the rules; one that does not would make every figure of its system worthless."""
    if len(rows) > MOST or len(np.unique(rows)) < len(rows) or not may[rows].all():
        raise AssertionError(f"{name} gave rows for {ask_id} that are too many, twice the same, or not allowed: {rows}")


def _dates(times: Any) -> list[str]:
    if not len(times):
        return []
    ends = (float(times.min()), float(times.max()))
    return [datetime.fromtimestamp(end, UTC).isoformat(timespec="seconds") for end in ends]


def _read_about(run: _Run) -> dict[str, Any] | None:
    """Read what is said of a system that was asked already; None where it was not, or not to the end."""
    if not run.about.is_file():
        return None
    said: dict[str, Any] = json.loads(run.about.read_text(encoding="utf-8"))
    return said if all(run.lists(task).is_file() for task in said["tasks"]) else None
