"""Set our ranking beside its peers and the models of public libraries, on three data sets: `make bench-ranking`.

One evaluator (`eval.ranking_run`), one split a data set, the full catalogue. What is done is kept: the same command goes
on where it stopped, and another with more models adds them. Our own ranking is asked anew where the code has changed; the
others' lists stay until `--again` names them.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from eval import environment
from eval.library_peers.environment import REQUIREMENTS, fetch_movielens, make_environment
from eval.library_peers.settings import GRID
from eval.library_peers.system import LibraryModel
from eval.ranking_bench_report import report
from eval.ranking_data import Data, movielens, movielens_random, questions
from eval.ranking_measures import MOST
from eval.ranking_run import OURS, Make, claim, evaluate, run_ranking
from eval.ranking_tasks import TASKS
from eval.replay import write_whole
from retrieval.records import ShopError

DATA = ("default", "movielens", "movielens-random", "office")
# Tried on 2026-11: what of the libraries cannot be run beside the others, in its own words.
COULD_NOT = {
    "cornac LightGCN": "needs dgl; with dgl 2.1.0 (its last wheel): ModuleNotFoundError: No module named 'torchdata' (RecBole's is used)",
    "cornac NeuMF": "its default backend is tensorflow, which is not installed (RecBole's is used)",
    "cornac ItemKNN, UserKNN": "run, but predict a weighted mean of ratings, which is the same for every item where nothing is rated (RecBole's are used)",
    "cornac TransformerRec with GPT-2": "runs, but one fit of MovieLens-100K took 438 s here, eight times the others'",
    "RecBole quick start": "recbole 1.2.1 requires ray <= 2.6.3, which has no wheel beside this torch; its models are called without it",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark from the command line; return the exit status."""
    parser = argparse.ArgumentParser(prog="ranking_bench", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, required=True, help="folder for results.json, report.md and the lists")
    parser.add_argument("--data", default="default,movielens", help=f"a,b of {', '.join(DATA)}; or all")
    parser.add_argument("--models", default="all", help=f"library models: a,b of {', '.join(GRID)}; all or none")
    parser.add_argument("--peers", default="all", help="peers of our own: a,b, all or none; popularity always is")
    parser.add_argument("--shop", type=Path, default=Path(".shoptalk/shop"), help="the prepared default shop")
    parser.add_argument(
        "--office", type=Path, help="folder with items.jsonl, interactions.csv and next_item_test.jsonl"
    )
    parser.add_argument("--environment", type=Path, default=Path(".shoptalk/peers"), help="the libraries' environment")
    parser.add_argument(
        "--again", default="", help="systems to ask anew, a,b; ours always is where the code has changed"
    )
    parser.add_argument("--shoppers", type=int, help="ask for at most so many of the default shop's shoppers")
    parser.add_argument("--minutes", type=float, default=15.0, help="the longest that one fit of a library may take")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    try:
        run_bench(
            output=given.output,
            data=_chosen(given.data, DATA, what="data set"),
            models=[] if given.models == "none" else _chosen(given.models, tuple(GRID), what="library model"),
            peers=given.peers,
            shop=given.shop,
            office=given.office,
            libraries=given.environment,
            again=[name.strip() for name in given.again.split(",") if name.strip()],
            shoppers=given.shoppers,
            seconds=60 * given.minutes,
            seed=given.seed,
            tell=_say,
        )
    except ShopError as error:
        sys.stderr.write(f"shoptalk: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("\nshoptalk: stopped. The same command goes on from here.\n")
        return 130
    return 0


def run_bench(
    *,
    output: Path,
    data: Sequence[str],
    models: Sequence[str],
    peers: str,
    shop: Path,
    office: Path | None,
    libraries: Path,
    again: Sequence[str] = (),
    shoppers: int | None = None,
    seconds: float = 900.0,
    seed: int = 0,
    tell: Callable[[str], None] = lambda _text: None,
) -> dict[str, Any]:
    """Evaluate every system on every data set; write `results.json` and `report.md`, give the record.

    A library that cannot be installed, or a model that fails or takes too long, is left out and said to be, with its
    own line; nothing else stops for it.

    `libraries` is the folder of their environment; `again` names systems to ask anew whose lists are there.

    Raises:
        ShopError: when a data set cannot be read, or the output holds a run of other settings.
    """
    from eval.ranking_run import peers as our_peers

    if "office" in data and office is None:
        raise ShopError("The office data set is not part of the project. Say where it is with --office DIR")
    python = _environment(libraries, tell=tell) if models else "no library model was asked for"
    started = time.monotonic()
    made: dict[str, dict[str, Any]] = {}
    for name in data:
        folder = output / name
        kept = _kept(folder)
        systems = {
            **our_peers(peers),
            **{peer: make for peer, make in our_peers("all").items() if peer in kept},
            **{
                model: _maker(model, python, folder=folder / "fits", seed=seed, seconds=seconds)
                for model in GRID
                if model in models or model in kept
            },
        }

        def progress(what: str, share: float, *, name: str = name) -> None:
            tell(f"{time.monotonic() - started:7.0f} s  {name} {100 * share:3.0f} %  {what}")

        _forget(folder, again)
        with _taken_up(folder, models=models):
            if name == "default":
                made[name] = _on_shop(
                    shop, output=folder, systems=systems, shoppers=shoppers, seed=seed, progress=progress
                )
            else:
                read = _data(name, office=office, fetched=libraries.parent / "peers-data", seed=seed, tell=tell)
                made[name] = _on_data(read, output=folder, systems=systems, seed=seed, progress=progress)
        for fit in (folder / "fits").glob("*.np[yz]"):
            fit.unlink()  # large, and not asked again: the lists are in runs/, the trials in fits/
        record = {
            "data": {**_earlier(output), **made},
            "libraries": REQUIREMENTS.read_text(encoding="utf-8").splitlines(),
            "could_not": {**COULD_NOT, **({"environment": python} if isinstance(python, str) else {})},
        }
        write_whole(output / "results.json", json.dumps(record, indent=2, ensure_ascii=False) + "\n")
        write_whole(output / "report.md", report(record))
    return record


def _environment(folder: Path, *, tell: Callable[[str], None]) -> Path | str:
    """Give the libraries' Python, or why there is none."""
    try:
        return make_environment(folder, tell=tell)
    except (ShopError, OSError) as error:
        tell(f"the libraries cannot be installed: {error}")
        return str(error)


def _maker(name: str, python: Path | str, *, folder: Path, seed: int, seconds: float) -> Make:
    return lambda: LibraryModel(name=name, python=python, folder=folder, seed=seed, seconds=seconds)


def _on_shop(
    shop: Path,
    *,
    output: Path,
    systems: Mapping[str, Make],
    shoppers: int | None,
    seed: int,
    progress: Callable[[str, float], None],
) -> dict[str, Any]:
    from retrieval.shop import Shop

    with Shop.open(shop) as opened:
        return run_ranking(
            opened, output=output, peers=systems, tasks=TASKS, shoppers=shoppers, seed=seed, progress=progress
        )


def _on_data(
    data: Data, *, output: Path, systems: Mapping[str, Make], seed: int, progress: Callable[[str, float], None]
) -> dict[str, Any]:
    from eval.ranking_ours import Shoptalk

    past = data.exam.past
    config = {
        "data": data.name,
        "split": {
            "how": data.how,
            "users": len(past.users),
            "users_asked": len({ask.ask_id for ask in data.exam.asks}),
            "users_validated": len({ask.ask_id for ask in data.validation.asks}) if data.validation else 0,
            "items": len(past.item_ids),
            "events": len(past.basket_items),
        },
    }
    claim(output, {"data": data.name, "seed": seed, "list_length": MOST}, fresh=False)
    return evaluate(
        [data.exam],
        items=data.items,
        systems={OURS: Shoptalk, **systems},
        output=output,
        validate=lambda _exam: data.validation,
        config=config,
        seed=seed,
        progress=progress,
    )


def _data(name: str, *, office: Path | None, fetched: Path, seed: int, tell: Callable[[str], None]) -> Data:
    if name == "office":
        assert office is not None
        return questions(office, seed=seed)
    folder = fetch_movielens(fetched, tell=tell)
    return movielens(folder, seed=seed) if name == "movielens" else movielens_random(folder, seed=seed)


def _kept(folder: Path) -> set[str]:
    """Name the systems that an earlier call asked: they stay in the results, whatever this one asks for."""
    return {file.name.removeprefix("known.").removesuffix(".json") for file in (folder / "runs").glob("known.*.json")}


@contextmanager
def _taken_up(folder: Path, *, models: Sequence[str]) -> Iterator[None]:
    """Let a run be gone on with, also a finished one and one of an earlier commit; where that fails, it stays as it was.

    Asked anew are ours, where the code is not that of the commit that was asked before, and those of `models` that failed.
    """
    file, claimed = folder / "results.json", folder / "ranking.json"
    finished = file.read_text(encoding="utf-8") if file.is_file() else None
    held = json.loads(claimed.read_text(encoding="utf-8")) if claimed.is_file() else {}
    commit = environment.git_hash()
    if held and (commit is None or commit.endswith("+changes") or held.get("git_hash") != commit):
        write_whole(claimed, json.dumps({**held, "git_hash": commit}, indent=2, ensure_ascii=False) + "\n")
        _forget(folder, [OURS])
    _forget(folder, [name for name in models if _failed(folder, name)])
    file.unlink(missing_ok=True)
    try:
        yield
    finally:
        if finished is not None and not file.is_file():
            write_whole(file, finished)


def _forget(folder: Path, names: Sequence[str]) -> None:
    for name in names:
        for about in (folder / "runs").glob(f"*.{name}.json"):
            about.unlink()


def _failed(folder: Path, name: str) -> bool:
    return any(
        "failed" in json.loads(about.read_text(encoding="utf-8")) for about in (folder / "runs").glob(f"*.{name}.json")
    )


def _earlier(output: Path) -> dict[str, Any]:
    """Give the results of data sets that an earlier call finished in the same folder."""
    found = {}
    for name in DATA:
        file = output / name / "results.json"
        if file.is_file():
            found[name] = json.loads(file.read_text(encoding="utf-8"))
    return found


def _chosen(wanted: str, known: Sequence[str], *, what: str) -> list[str]:
    names = [name.strip() for name in wanted.split(",") if name.strip()]
    if names == ["all"]:
        return list(known)
    if unknown := [name for name in names if name not in known]:
        raise ShopError(f"No {what} is called {unknown[0]!r}. There are: {', '.join(known)}; or all")
    return names


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
