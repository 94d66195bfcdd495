"""The command line: `shoptalk COMMAND --help` says what each does; heavy libraries are imported where they are used."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from retrieval.records import ShopError
from ui.words import visible

if TYPE_CHECKING:
    from agent.assistant import Assistant
    from ui.settings import Settings

DISK = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file would be larger than is allowed here",
    errno.EROFS: "the disk is read-only",
}


STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
STOPPED = tuple(128 + number for number in STOPS)  # exit codes


class Commands(TyperGroup):
    """Turn what a person can put right into one clear sentence and exit code 2; Ctrl-C into exit code 130."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except ShopError as error:
            _complain(str(error))
            raise typer.Exit(2) from error
        except KeyboardInterrupt as stopped:
            sys.stderr.write("\nStopped. What was finished is kept.\n")
            raise typer.Exit(130) from stopped
        except BrokenPipeError:
            # The reader of our output has gone (`| head`); nothing is left to say, and Python must not try at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(141) from None
        except OSError as error:
            if error.errno not in DISK:
                raise
            _complain(
                f"Cannot write {error.filename or 'a file'}: {DISK[error.errno]}. Nothing half-written was kept; "
                "once that is put right, run the same command again"
            )
            raise typer.Exit(2) from error


def _complain(text: str) -> None:
    sys.stderr.write(f"shoptalk: {visible(text)}\n")


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
memory_app = typer.Typer(no_args_is_help=True, help="Show, export or erase what is kept of a shopper.")
app.add_typer(memory_app, name="memory", rich_help_panel="Looking after it")

USE, MAKE, CARE = "Using a shop", "Making and grading", "Looking after it"
ShopOption = Annotated[
    Path | None, typer.Option("--shop", metavar="DIR", help="Shop folder. Default: the setting SHOPTALK_SHOP.")
]


@app.callback()
def start() -> None:
    """A shopping assistant over your own catalogue, log and machine.

    First `shoptalk prepare`, then `shoptalk chat`. `shoptalk doctor` says what works and what does not,
    `shoptalk settings` what can be set.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)  # so that everything that was opened is closed, the model's server first

    for number in STOPS[1:]:
        signal.signal(number, stop)


# Using a shop


@app.command(rich_help_panel=USE)
def prepare(
    items: Annotated[Path | None, typer.Option(metavar="FILE", help="Items of your own shop: JSON lines.")] = None,
    interactions: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Its log of purchases: CSV, JSON lines or Parquet.")
    ] = None,
    deals: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Its promotions and coupons: CSV or JSON lines.")
    ] = None,
    shop: ShopOption = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Leave out what `shoptalk update` added.")] = False,
    model: Annotated[bool, typer.Option(help="Make the model ready too.")] = True,
) -> None:
    """Build the shop folder, and make the model ready.

    Without files: the default grocery shop, or the shop of your own that is there already. Nothing is done twice: what is
    ready already is only checked, and an interrupted run is simply started again. What `shoptalk update` added stays in.
    """
    from retrieval.prepare import prepare as build
    from retrieval.prepare import prepared
    from ui.model_service import prepare_model
    from ui.progress import progress_bar
    from ui.settings import read_settings

    settings = read_settings(shop=shop)
    if interactions is not None and items is None:
        raise ShopError("The log needs its items: give --items FILE as well")
    if deals is not None and items is None:
        raise ShopError("The deals need their items: give --items FILE as well")
    with progress_bar("Shop") as progress:
        if items is not None:
            from retrieval.source_files import read_files

            progress("Reading the files", 0.0)
            manifest = build(
                read_files(items=items, interactions=interactions, deals=deals),
                shop=settings.shop_folder,
                progress=progress,
                fresh=fresh,
            )
        else:
            from retrieval.source_completejourney import PACKAGE, fingerprint, read_completejourney

            progress("Looking at what is there", 0.0)
            there = prepared(settings.shop_folder)
            if there is not None and there.source != PACKAGE and fresh:
                raise ShopError(f"To build the shop in {settings.shop_folder} afresh, give its --items FILE as well")
            known = there is not None and there.fingerprint == fingerprint() and not (fresh and there.added)
            if there is not None and (there.source != PACKAGE or known):
                manifest = there  # an owner's own shop is never replaced by the default one
            else:
                progress("Reading the Complete Journey grocery data", 0.0)
                manifest = build(read_completejourney(), shop=settings.shop_folder, progress=progress, fresh=fresh)
    _say(_about(manifest, settings.shop_folder))
    if model and not settings.model_url:
        with progress_bar("Model") as progress:
            prepare_model(settings, progress=progress)


@app.command(rich_help_panel=USE)
def update(
    items: Annotated[
        Path | None, typer.Option(metavar="FILE", help="New items, and whole those that changed: JSON lines.")
    ] = None,
    interactions: Annotated[
        Path | None, typer.Option(metavar="FILE", help="New lines of the log: CSV, JSON lines or Parquet.")
    ] = None,
    shop: ShopOption = None,
    refit: Annotated[bool, typer.Option("--refit", help="Fit the ranking's weights anew too, which is slow.")] = False,
) -> None:
    """Add new items and log lines to a prepared shop, without preparing it again.

    What the shop has already is passed over, so that a file may be given twice. The ranking's weights are kept; all else
    is as if the shop had been prepared from everything at once, and `shoptalk prepare` keeps it.
    """
    from retrieval.update import update as add
    from ui.progress import progress_bar
    from ui.settings import read_settings

    folder = read_settings(shop=shop).shop_folder
    with progress_bar("Shop") as progress:
        done = add(folder, items=items, interactions=interactions, refit=refit, progress=progress)
    _say(_added(done, folder))


def _added(done: Any, folder: Path) -> str:
    """Say what an update did, and when it is seen."""
    had = _counted([(done.same_items, "item"), (done.repeated, "interaction")])
    said = []
    if new := _counted(
        [(done.new_items, "new item"), (done.changed_items, "changed item"), (done.interactions, "interaction")]
    ):
        said.append(f"Added {new} in {done.seconds:.0f} s{f'; {had} were there already' if had else ''}.")
    elif had:
        said.append(f"Nothing is new: the shop has the {had} already.")
    if done.rejected:
        rows = _counted([(done.rejected, "row")])
        said.append(f"{rows} of no use {'is' if done.rejected == 1 else 'are'} listed in {folder / 'rejected.jsonl'}.")
    if done.changed:
        said.append(f"{_about(done.manifest, folder, short=True)}.")
        said.append("A page that is running goes on with the shop as it was: start it again for it to see the new one.")
    return " ".join(said)


def _counted(counts: list[tuple[int, str]]) -> str:
    """Name the counts above 0, as in "1 new item, 2 changed items and 10 interactions"."""
    *most, last = [f"{count:,} {name}{'' if count == 1 else 's'}" for count, name in counts if count] or [""]
    return f"{', '.join(most)} and {last}" if most else last


def _about(manifest: Any, folder: Path, *, short: bool = False) -> str:
    """Say what was built; a shop whose rows were partly of no use says how many, one with updates what they added."""
    counts, added = manifest.counts, manifest.added
    parts = [f"{counts[name]:,} {name}" for name in ("items", "interactions", "shoppers") if counts.get(name)]
    if short:
        return f"The shop is ready in {folder}: {', '.join(parts)}"
    if added:
        brought = _counted([(added["items"], "item"), (added["interactions"], "interaction")])
        parts[-1] += f"; {brought} of it from updates (--fresh leaves them out)"
    lost = folder / "rejected.jsonl"
    refused = f". Rows of no use are listed in {lost}" if lost.is_file() and lost.stat().st_size else ""
    dropped = [f"{count:,} {name}" for name, count in counts.items() if " dropped: " in name and count]
    left_out = f". Left out: {', '.join(dropped).replace(' dropped:', ':')}" if dropped else ""
    return f"The shop is ready in {folder}: {', '.join(parts)}{left_out}{refused}"


@app.command(rich_help_panel=USE)
def chat(
    terminal: Annotated[bool, typer.Option("--terminal", help="Talk here instead of in a page.")] = False,
    shopper: Annotated[str | None, typer.Option(metavar="ID", help="Be this shopper (terminal).")] = None,
    shop: ShopOption = None,
    host: Annotated[str | None, typer.Option(help="Address the page listens on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port of the page.")] = None,
    model: Annotated[bool, typer.Option(help="Use the model; without it, answers are plain searches.")] = True,
    browser: Annotated[bool, typer.Option(help="Open the page in the browser.")] = False,
) -> None:
    """Talk to the shop, in a page or in the terminal.

    The page is up within seconds, while the model starts beside it. `--terminal` reads from a pipe too:
    `echo "cat food under $5" | shoptalk chat --terminal`.
    """
    from ui.settings import read_settings

    settings = read_settings(shop=shop, host=host, port=port)
    if terminal:
        _chat_in_terminal(settings, shopper=shopper, model=model)
    else:
        _chat_in_page(settings, model=model, browser=browser)


def _chat_in_terminal(settings: Settings, *, shopper: str | None, model: bool) -> None:
    from ui.terminal import terminal_talk

    with _served(settings, wanted=model, needed=False) as assistant:
        terminal_talk(assistant, user_id=shopper)


def _chat_in_page(settings: Settings, *, model: bool, browser: bool) -> None:
    from ui.model_service import ModelService, Status
    from ui.port import check_port
    from ui.progress import progress_bar

    check_port(settings.host, settings.port)
    with contextlib.ExitStack() as stack:
        service = stack.enter_context(ModelService(settings)) if model else None
        with progress_bar("Page") as progress:
            progress("opening the shop", 0.0)
            assistant = stack.enter_context(_assistant(settings))
            if service is not None:
                service.listen(lambda found: setattr(assistant, "model", found))
            progress("loading the page", 0.3)
            from ui.page import build_page, launch_page
            from ui.shoppers import known_shoppers

            household = assistant.shop.manifest.source.startswith("completejourney")
            off = Status(text="No model: answers are plain searches with plain reasons", good=False)
            progress("building the page", 0.7)
            page = build_page(
                assistant,
                shoppers=known_shoppers(assistant.shop.history, noun="Household" if household else "Shopper"),
                status=lambda: service.status if service is not None else off,
                turns_at_once=settings.turns_at_once,
                queue_length=settings.queue_length,
            )
            address = launch_page(page, host=settings.host, port=settings.port)
            stack.callback(page.close, verbose=False)
            progress("ready", 1.0)
        _say(f"The page is on {address}  (Ctrl-C stops it)")
        assistant.shop.catalog.warm()  # beside the model's start, so that the first search is as quick as the next
        if browser:
            import webbrowser

            webbrowser.open(address)
        _wait_and_report(service)


def _wait_and_report(service: Any) -> None:
    """Wait for Ctrl-C; say on the terminal when the model comes or goes."""
    import time

    from rich.console import Console

    console, said = Console(stderr=True), ""
    while True:
        if service is not None and service.status.text != said:
            said = service.status.text
            console.print(visible(said), markup=False, highlight=False, style="dim")
        time.sleep(0.5)


# Making and grading


@app.command("eval", rich_help_panel=MAKE)
def evaluate(
    conversations: Annotated[Path, typer.Argument(metavar="SET", help="Conversations with expectations: JSON lines.")],
    output: Annotated[Path, typer.Option(metavar="DIR", help="Folder for results.json and conversations.jsonl.")],
    shop: ShopOption = None,
    history: Annotated[
        Literal["live", "given"],
        typer.Option(help="live: the agent's own replies stay; given: the file's are taken as said."),
    ] = "live",
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many conversations.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap errors.")] = 0,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Start over instead of going on with an interrupted run.")
    ] = False,
    model: Annotated[bool, typer.Option(help="Use the model; without it, what plain search does is graded.")] = True,
) -> None:
    """Replay a conversation set against the shop and grade it.

    Starts the model where none is running. An interrupted run goes on where it stopped.
    """
    from eval.replay import run_eval
    from ui.settings import read_settings

    settings = read_settings(shop=shop)
    with _served(settings, wanted=model, scratch=True) as assistant:
        run_eval(
            conversations,
            assistant=assistant,
            output=output,
            history=history,
            limit=limit,
            seed=seed,
            fresh=fresh,
            config=_described(settings, assistant),
        )


@app.command(rich_help_panel=MAKE)
def compare(
    a: Annotated[Path, typer.Argument(metavar="OUT_A", help="Folder of the run to compare with.")],
    b: Annotated[Path, typer.Argument(metavar="OUT_B", help="Folder of the run in question.")],
    shop: ShopOption = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(help="Only this metric, which then decides; may be given several times."),
    ] = None,
    changed: Annotated[int, typer.Option(min=0, help="How many changed messages to show.")] = 5,
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap and the test.")] = 0,
) -> None:
    """Say whether run OUT_B is better or worse than run OUT_A of the same set.

    Exit code 1 when something that a release hangs on is worse, else 0: cost and time decide only where --metric
    names them. Exit code 2 when the two cannot be compared.
    """
    from eval.compare import compare as judge
    from eval.compare import text
    from eval.grounds import read_grounds
    from ui.settings import read_settings

    grounds = read_grounds(read_settings(shop=shop).shop_folder)
    found = judge(a, b, grounds=grounds, chosen=metric or (), seed=seed)
    _say(text(found, items=grounds.items, limit=changed))
    if found.worse:
        raise typer.Exit(1)


@app.command(rich_help_panel=MAKE)
def report(
    output: Annotated[Path, typer.Argument(metavar="OUT", help="Folder of the run.")], shop: ShopOption = None
) -> None:
    """Write what a run found as a page, OUT/report.html, and as OUT/report.md.

    The run is graded again from its saved conversations; the page needs no network.
    """
    from eval.grounds import read_grounds
    from eval.report import report as write
    from ui.settings import read_settings

    page, tables = write(output, grounds=read_grounds(read_settings(shop=shop).shop_folder))
    _say(f"The report is in {page}, its tables also in {tables}")


@app.command(rich_help_panel=MAKE)
def simulate(
    output: Annotated[Path, typer.Option(metavar="DIR", help="Folder for results.json and conversations.jsonl.")],
    assistant: Annotated[
        Literal["shoptalk", "no-model", "search", "popularity", "random", "bad"],
        typer.Option(help="Who answers: ours; ours without its model; a search box; or one that any must beat."),
    ] = "shoptalk",
    shoppers: Annotated[int, typer.Option(min=1, help="How many simulated shoppers.")] = 100,
    seed: Annotated[int, typer.Option(help="The same seed gives the same shoppers.")] = 0,
    weeks: Annotated[float, typer.Option(min=0.1, help="Wishes come from the last so many weeks of the log.")] = 4.0,
    shop: ShopOption = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Start over instead of going on with an interrupted run.")
    ] = False,
) -> None:
    """Let simulated shoppers talk to an assistant and say how they fared.

    Each wants something of its next basket; the shop is prepared once more from before it. An interrupted run goes
    on where it stopped.
    """
    from eval.simulate import run_simulation
    from retrieval.held_out import hold_out
    from retrieval.shop import Shop
    from ui.progress import progress_bar
    from ui.settings import read_settings

    settings = read_settings(shop=shop)
    folder = settings.home / "earlier"
    with Shop.open(settings.shop_folder) as opened, progress_bar("Earlier shop") as progress:
        held = hold_out(opened, folder=folder, weeks=weeks, progress=progress)
    earlier = settings.model_copy(update={"shop": folder})
    with _talker(earlier, name=assistant, seed=seed) as talker, progress_bar("Simulation") as progress:
        described = _described(earlier, talker) if assistant == "shoptalk" else {"model": None}
        run_simulation(
            assistant=talker,
            shop=talker.shop,
            held=held,
            shoppers=shoppers,
            output=output,
            seed=seed,
            fresh=fresh,
            config={
                **described,
                "assistant": assistant,
                "weeks": weeks,
                "shop": str(settings.shop_folder),
                "shop_generation": talker.shop.generation,
            },
            progress=progress,
        )
    _say(f"Conversations and results are in {output}")


@contextlib.contextmanager
def _talker(settings: Settings, *, name: str, seed: int) -> Iterator[Any]:
    """Open the assistant of a name over the shop of the settings."""
    from eval.floors import floors, open_floor
    from retrieval.shop import Shop

    if name in floors():
        with Shop.open(settings.shop_folder) as opened:
            yield open_floor(name, shop=opened, length=settings.list_length, seed=seed)
    else:
        with _served(settings, wanted=name == "shoptalk", scratch=True) as assistant:
            yield assistant


@app.command(rich_help_panel=MAKE)
def rank(
    output: Annotated[Path, typer.Option(metavar="DIR", help="Folder for results.json and the lists, in TREC form.")],
    shop: ShopOption = None,
    peers: Annotated[
        str,
        typer.Option(metavar="NAMES", help="Other rankings in the same run: a,b, all or none; popularity always is."),
    ] = "none",
    tasks: Annotated[str, typer.Option(metavar="NAMES", help="What is asked: a,b or all.")] = "all",
    shoppers: Annotated[
        int | None, typer.Option(min=1, help="Ask for at most so many shoppers. Default: all with five trips.")
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed asks the same.")] = 0,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Start over instead of going on with an interrupted run.")
    ] = False,
) -> None:
    """Say how well the ranking finds what shoppers bought next.

    Each shopper's newest trip is held out and asked for, of our ranking and of its peers, all fitted on the trips before.
    An interrupted run goes on where it stopped.
    """
    from eval import ranking_run
    from eval.ranking_report import print_ranking
    from retrieval.shop import Shop
    from ui.progress import progress_bar
    from ui.settings import read_settings

    settings = read_settings(shop=shop)
    others, wanted = ranking_run.peers(peers), ranking_run.chosen_tasks(tasks)
    with Shop.open(settings.shop_folder) as opened, progress_bar("Ranking") as progress:
        record = ranking_run.run_ranking(
            opened,
            output=output,
            peers=others,
            tasks=wanted,
            shoppers=shoppers,
            seed=seed,
            fresh=fresh,
            progress=progress,
        )
    print_ranking(record)
    _say(f"The results and the lists are in {output}")


@app.command(rich_help_panel=MAKE)
def dialogues(
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Default: dialogues.jsonl in the home folder.")
    ] = None,
    shop: ShopOption = None,
    count: Annotated[int, typer.Option(min=1, help="How many conversations.")] = 170,
    openers: Annotated[
        int, typer.Option(min=0, help="How many first messages with their plan beside them: cheap to train on.")
    ] = 3000,
    branches: Annotated[int, typer.Option(min=0, help="How many other ways on to try after each turn.")] = 8,
    weeks: Annotated[float, typer.Option(min=0.1, help="Wishes come from the last so many weeks of the log.")] = 4.0,
    apart: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="SET.jsonl", help="A conversation set none of whose messages is to be trained on; repeat."
        ),
    ] = None,
    share: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KIND=WEIGHT", help="How often a kind of message is said beside the others; repeat. 0: never."
        ),
    ] = None,
    turns: Annotated[int, typer.Option(min=1, max=8, help="Most messages of the shopper in one conversation.")] = 5,
    seed: Annotated[int, typer.Option(help="The same seed makes the same conversations.")] = 0,
) -> None:
    """Make training conversations from the shop's histories, with the real tools.

    The tools see nothing of the last weeks: they run on a shop prepared from what came before.
    """
    import time

    from finetune.dialogues import dialogues as make
    from finetune.dialogues import read_shares
    from retrieval.shop import Shop
    from ui.progress import progress_bar
    from ui.settings import read_settings

    settings, shares = read_settings(shop=shop), read_shares(share or ())
    out = output or settings.home / "dialogues.jsonl"
    started = time.monotonic()
    with Shop.open(settings.shop_folder) as opened, progress_bar("Conversations") as progress:
        counted = make(
            opened,
            work=settings.home / "earlier",
            out=out,
            count=count,
            openers=openers,
            branches=branches,
            weeks=weeks,
            seed=seed,
            apart=apart or (),
            shares=shares,
            max_turns=turns,
            progress=progress,
        )
    _say(
        f"{counted['conversations']:,} conversations with {counted['turns']:,} messages are in {out}, made in "
        f"{time.monotonic() - started:.0f} s. Next: shoptalk train"
    )


@app.command(rich_help_panel=MAKE)
def train(
    conversations: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Default: what `shoptalk dialogues` wrote.")
    ] = None,
    output: Annotated[Path | None, typer.Option(metavar="DIR", help="Default: adapter in the home folder.")] = None,
    validation: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Conversations to measure on; default: a share of the others.")
    ] = None,
    start_from: Annotated[
        Path | None, typer.Option(metavar="DIR", help="A finished adapter to train further; default: fresh weights.")
    ] = None,
    epochs: Annotated[float | None, typer.Option(help="Passes over the conversations.")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Stop after so many tokens.")] = None,
    rank: Annotated[int | None, typer.Option(help="Rank of the adapter.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Highest learning rate.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed.")] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Start over instead of going on with an interrupted run.")
    ] = False,
) -> None:
    """Train a LoRA adapter on conversations; an interrupted run goes on where it stopped.

    Use it with `SHOPTALK_ADAPTER=DIR shoptalk chat`.
    """
    from agent.base_model import prepare_base_model
    from finetune.train import Progress, Settings
    from finetune.train import train as fit
    from ui.progress import progress_bar
    from ui.settings import read_settings

    settings = read_settings()
    source = conversations or settings.home / "dialogues.jsonl"
    if not source.is_file():
        raise ShopError(f"No conversations at {source}. Make them with: shoptalk dialogues")
    base = settings.base_model
    if base is None:
        with progress_bar("Base model") as progress:
            base = prepare_base_model(settings.models_folder / "base", progress=progress)
    given = {
        "epochs": epochs,
        "max_tokens": max_tokens,
        "rank": rank,
        "alpha": None if rank is None else 2 * rank,
        "learning_rate": learning_rate,
        "seed": seed,
    }
    chosen = Settings(**{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]
    with progress_bar("Training") as progress:

        def report(now: Progress) -> None:
            progress(str(now), now.step / max(1, now.steps))

        folder = fit(
            source,
            base=base,
            out=output or settings.home / "adapter",
            settings=chosen,
            start=start_from,
            validation=validation,
            resume=not fresh,
            progress=report,
        )
    _say(f"The adapter is in {folder}. Use it with: SHOPTALK_ADAPTER={folder} shoptalk chat")


@app.command(rich_help_panel=MAKE)
def adapters(
    runs: Annotated[
        list[Path] | None, typer.Argument(metavar="OUT", help="Folders of replays, beside those in the home folder.")
    ] = None,
) -> None:
    """List the adapters that are there, how each was made and what replays found, and say which one answers."""
    from ui.adapters import adapters as found
    from ui.adapters import text
    from ui.settings import read_settings

    _say(text(found(read_settings(), runs=runs or ())))


@app.command(rich_help_panel=MAKE)
def bench(
    output: Annotated[Path | None, typer.Option(metavar="DIR", help="Default: bench in the home folder.")] = None,
    shop: ShopOption = None,
    turns: Annotated[
        int | None, typer.Option(min=1, help="How many messages to answer. Default: all of the set.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Which conversations are drawn.")] = 0,
    preparing: Annotated[bool, typer.Option(help="Measure preparing the default shop too.")] = True,
    page: Annotated[bool, typer.Option(help="Measure starting the page too.")] = True,
) -> None:
    """Measure what the talk is like, what a person waits for and what the machine must hold, beside the targets.

    The talk is all of eval/sets/grocery.jsonl; the replay is kept beside the figures, for shoptalk compare and report.
    """
    import tempfile

    import eval as grading
    from eval.bench import run_bench
    from ui.progress import progress_bar
    from ui.settings import read_settings

    settings = read_settings(shop=shop)
    this = [sys.executable, "-m", "ui.cli"]
    page_command = [*this, "chat", "--shop", str(settings.shop_folder)]
    if shop is None and Path(__file__).resolve().parents[1] == Path.cwd():
        page_command = ["make", "chat"]  # as a person types it, with all that it looks at before
    with tempfile.TemporaryDirectory(prefix="shoptalk-") as fresh, progress_bar("Bench") as progress:
        run_bench(
            output=output or settings.home / "bench",
            set_path=Path(grading.__file__).parent / "sets" / "grocery.jsonl",
            # Not one that runs already: its memory would not be counted.
            open_assistant=lambda: _served(settings, wanted=True, scratch=True, own=True),
            open_without_model=lambda: _served(settings, wanted=False, scratch=True),
            describe=lambda assistant: _described(settings, assistant),
            prepare_command=[*this, "prepare", "--no-model", "--shop", f"{fresh}/shop"] if preparing else None,
            page_command=page_command if page else None,
            page_url=f"http://{settings.host}:{settings.port}/",
            turns=turns,
            seed=seed,
            progress=progress,
        )


def _described(settings: Settings, assistant: Assistant) -> dict[str, Any]:
    """Say what is graded: shop, model, adapter, limits."""
    from dataclasses import asdict

    from eval.environment import git_hash
    from ui.model_service import served_as

    model = assistant.model
    return {
        "model": None if model is None else model.name,
        **({"base": None, "adapter": None} if model is None else served_as(settings)),
        "commit": git_hash(),
        "shop": str(settings.shop_folder),
        "shop_generation": assistant.shop.generation,
        "limits": asdict(assistant.limits),
    }


# Looking after it


@app.command(rich_help_panel=CARE)
def doctor(
    start: Annotated[
        bool, typer.Option("--start", help="Start the model to see whether it comes up (half a minute).")
    ] = False,
    shop: ShopOption = None,
) -> None:
    """Say what works, what does not, and what to do about it."""
    from rich.console import Console
    from rich.text import Text

    from ui.doctor import examine
    from ui.settings import read_settings

    settings = read_settings(shop=shop)
    console = Console(highlight=False)
    bad = 0
    for check in examine(settings, start=start):
        mark, style = {"ok": ("ok ", "green"), "bad": ("bad", "bold red"), "note": ("·  ", "dim")}[check.state]
        bad += check.state == "bad"
        console.print(
            Text.assemble((f"{mark}  ", style), (f"{check.name:<12}", "bold"), visible(check.text)), soft_wrap=True
        )
        if check.fix and check.state != "ok":
            console.print(Text(f"     {'':<12}→ {visible(check.fix)}", style="yellow"), soft_wrap=True)
    if bad:
        raise typer.Exit(1)


@app.command(rich_help_panel=CARE)
def settings(
    markdown: Annotated[bool, typer.Option("--markdown", help="As the table of the README.")] = False,
) -> None:
    """Print every setting, its value and what it does; set one with an environment variable."""
    from ui.settings import read_settings, settings_rows, settings_table

    if markdown:
        sys.stdout.write(settings_table())
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    for variable, value, changed, about in settings_rows(read_settings()):
        line = Text.assemble(
            (variable, "bold"), (f" = {value}" if value else " (unset)", "green" if changed else "dim")
        )
        console.print(line, soft_wrap=True)
        console.print(Text(f"    {about}", style="dim"), soft_wrap=True)


ShopperArgument = Annotated[str, typer.Argument(metavar="SHOPPER", help="The shopper's id, as in the log.")]


@memory_app.command("show")
def memory_show(shopper: ShopperArgument) -> None:
    """List what is remembered of a shopper, and the cart."""
    with _store() as store:
        kept = store.export(shopper)
    for memory in kept["memory"]:
        _say(f"{memory['kind']}: {memory['text']}")
    for line in kept["cart"]:
        _say(f"in the cart: {line['quantity']} × {line['item_id']}")
    if not kept["memory"] and not kept["cart"]:
        _say(f"Nothing is remembered of {shopper}, and the cart is empty")
    _say(f"{len(kept['conversations'])} talks are kept")


@memory_app.command("export")
def memory_export(
    shopper: ShopperArgument,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where to write; default: standard output.")
    ] = None,
) -> None:
    """Write everything kept of a shopper as JSON: memory, cart, talks."""
    import json

    with _store() as store:
        text = json.dumps(store.export(shopper), indent=2, ensure_ascii=False) + "\n"
    if output is None:
        sys.stdout.write(text)
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ShopError(f"Cannot write {output}: {error.strerror}. Name another file") from error


@memory_app.command("erase")
def memory_erase(
    shopper: ShopperArgument, yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False
) -> None:
    """Erase everything kept of a shopper: memory, cart, talks. It cannot be undone."""
    if not yes and not typer.confirm(f"Erase everything kept of {shopper}?"):
        _say("Nothing was erased")
        return
    with _store() as store:
        _say(f"Erased {store.erase(shopper)} entries of {shopper}")


# What several commands need


def _say(text: str) -> None:
    sys.stdout.write(visible(text) + "\n")
    sys.stdout.flush()


@contextlib.contextmanager
def _store() -> Iterator[Any]:
    from agent.store import Store
    from ui.settings import read_settings

    settings = read_settings()
    if not settings.store_file.is_file():
        raise ShopError(f"Nothing is kept yet: there is no {settings.store_file}. Talk first with: shoptalk chat")
    with contextlib.closing(Store(settings.store_file)) as store:
        yield store


@contextlib.contextmanager
def _assistant(settings: Settings, *, scratch: bool = False) -> Iterator[Assistant]:
    """Open the shop and the assistant over it; `scratch` keeps carts and talks in a file that is thrown away."""
    import tempfile

    from retrieval.shop import Shop

    with contextlib.ExitStack() as stack:
        shop = Shop.open(settings.shop_folder)  # first: a shop that is missing is told before anything is loaded
        stack.callback(shop.close)
        from agent.assistant import Assistant
        from agent.store import Store

        file = settings.store_file
        if scratch:
            file = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="shoptalk-"))) / "store.sqlite"
        store = stack.enter_context(contextlib.closing(Store(file)))
        yield Assistant(shop=shop, model=None, store=store, limits=settings.limits)


@contextlib.contextmanager
def _served(
    settings: Settings, *, wanted: bool, scratch: bool = False, needed: bool = True, own: bool = False
) -> Iterator[Assistant]:
    """Open the assistant with a model that answers: the one set, the one another command runs, or one of our own.

    A model that is not `needed` may fail to come up: that is said, and plain searches answer until it does. With `own`
    another command's model is left alone.
    """
    from ui.model_service import ModelService, running_server
    from ui.progress import progress_bar

    with contextlib.ExitStack() as stack:
        running = running_server(settings) if wanted and not own and not settings.model_url else None
        if not wanted or running is not None:
            with progress_bar("Shop") as progress:
                progress("opening it", 0.1)
                assistant = stack.enter_context(_assistant(settings, scratch=scratch))
                progress("loading what reads its words", 0.5)
                assistant.shop.catalog.warm()
                progress("ready", 1.0)
            assistant.model = running
            yield assistant
            return
        with progress_bar("Model") as progress:
            service = stack.enter_context(ModelService(settings, progress=progress))
            assistant = stack.enter_context(_assistant(settings, scratch=scratch))  # beside the model's start
            assistant.shop.catalog.warm()
            try:
                service.wait()
            except ShopError as error:
                if needed:
                    raise
                typer.echo(f"{error} Until it does, answers come with plain reasons.", err=True)
        service.listen(lambda found: setattr(assistant, "model", found))
        yield assistant


def main() -> None:
    """Run the command line. When it is stopped all is put away already: a thread that waits for a model is not waited for."""
    try:
        app()
    except SystemExit as done:
        if done.code not in STOPPED:
            raise
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(int(done.code))


if __name__ == "__main__":
    main()
