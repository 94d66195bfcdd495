"""Write what a replay found as one page that needs no network, and the same tables as Markdown."""

from __future__ import annotations

import math
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from eval import environment, metrics, plot
from eval.grounds import Grounds
from eval.meanings import BETTER, DECIDING, exactly, meaning
from eval.metrics import Turn
from eval.replay import write_whole
from eval.run import Grouped, Run, has_a_say, read_run, seconds, see_shop, size, statistic_of
from eval.table import Table, escaped, marked
from eval.transcript import called, failed, titles, wanted, why_failed
from retrieval.records import Item

WORST = 10
_STYLE = """
:root { color-scheme: light; --ink: #1c2733; --soft: #5b6b7b; --line: #d8dee5; --fill: #3f7cac; --bad: #b3261e; }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: #fff; max-width: 64rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: .2rem; } h2 { font-size: 1.2rem; margin: 2.2rem 0 .4rem; }
h3 { font-size: 1rem; margin: 1.4rem 0 .3rem; }
.note, figcaption, .expect, .did { color: var(--soft); font-size: .9rem; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: .9rem; }
th, td { text-align: left; padding: .25rem .7rem .25rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
li, .said, code { overflow-wrap: anywhere; } td { overflow-wrap: break-word; }
td:last-child:not(.figure) { min-width: 16rem; }
.figure { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
figure { margin: 1.4rem 0; } svg { width: 100%; max-width: 44rem; height: auto; font: 12px system-ui, sans-serif; }
.bar { fill: var(--fill); opacity: .75; } .grid { stroke: var(--line); } .joined { fill: none; stroke: var(--fill); stroke-width: 2; }
.dot { fill: var(--fill); } .whisker { stroke: var(--ink); stroke-width: 1.5; } .mark { stroke: var(--bad); stroke-dasharray: 4 3; }
.label { fill: var(--ink); } .small { fill: var(--soft); font-size: 11px; }
.turn { border-left: 3px solid var(--line); padding-left: .8rem; margin: .7rem 0; } .turn.bad { border-color: var(--bad); }
.said { white-space: pre-wrap; margin: .1rem 0; } .failed { color: var(--bad); font-size: .9rem; margin: .1rem 0; }
ol { margin: .1rem 0 .1rem 1.2rem; padding: 0; font-size: .9rem; }
"""


def report(output: Path, *, grounds: Grounds) -> tuple[Path, Path]:
    """Grade a saved replay again and write `report.html` and `report.md` beside it; give both paths.

    Raises:
        ShopError: when the run is missing, unfinished, damaged or of another shop, or nothing can be written.
    """
    run = read_run(output, grounds=grounds)
    see_shop(run, grounds=grounds)
    tables = [figures(run), *parts(run)]
    settings, limits = configuration(run), not_shown(run)
    page, text = output / "report.html", output / "report.md"
    write_whole(page, _page(run, tables, settings, limits, items=grounds.items))
    write_whole(text, _markdown(run, [*tables, settings], limits))
    return page, text


def figures(run: Run) -> Table:
    """Table every metric that something was counted for, those that a release hangs on first."""
    from eval.statistics import detectable, interval

    rows = []
    for metric in sorted(_measured(run), key=lambda name: name not in DECIDING):
        groups = [group for group in run.groups if metric in metrics.COUNTS or has_a_say(metric, group)]
        found = interval(statistic_of(metric, groups), conversations=len(groups), seed=run.seed, exact=exactly(metric))
        if found is None:
            continue
        shows = detectable(found.stderr * math.sqrt(2), conversations=len(groups)) if found.stderr else None
        rows.append(
            (
                metric,
                figure(found.value, metric),
                _between(found.low, found.high, metric),
                f"{sum(size(metric, group) for group in groups):,}",
                f"{len(groups):,}",
                "–" if shows is None else figure(shows, metric),
                BETTER[metric],
                meaning(metric),
            )
        )
    note = (
        "95 % BCa bootstrap interval over conversations (Efron 1987); none for fewer than five; where all agree, the exact "
        f"one (Clopper & Pearson 1934; Garwood 1936 for counts). Seed {run.seed}. n: what the figure is over (messages; items for the "
        "violation rate; sentences for the replaced rate). shows: the smallest true difference that a second run of this "
        "size would show, were it on other conversations (80 % power, 5 %); on the same ones it is smaller."
    )
    head = ("metric", "value", "95 % interval", "n", "conversations", "shows", "better", "what it is")
    return Table(title="All metrics", head=head, rows=rows, note=note, words=(0, 6, 7))


def _measured(run: Run) -> list[str]:
    return [name for name in metrics.METRICS if any(has_a_say(name, group) for group in run.groups)]


def parts(run: Run) -> list[Table]:
    """Table the run by what the message wanted, by its place in the talk, by kind of conversation, and by argument."""
    out = [
        _sliced(run, "By what the message wanted", "act", _by_act(run.groups)),
        _sliced(run, "By place in the conversation", "message", _by_number(run.groups)),
    ]
    kinds = sorted({kind for group in run.groups for turn in group for kind in turn.kinds})
    by_kind = {kind: [[turn for turn in group if kind in turn.kinds] for group in run.groups] for kind in kinds}
    if by_kind:
        out.append(_sliced(run, "By kind of conversation", "kind", by_kind))
    calls = {
        name.removeprefix("call:"): found
        for name, found in metrics.slices([turn for group in run.groups for turn in group]).items()
        if name.startswith("call:")
    }
    if calls:
        rows = [(name, figure(found["right"], "plan_accuracy"), str(found["n"])) for name, found in calls.items()]
        note = "Share of gold calls (by tool) and of their arguments that were made right; n: how often one was due or made."
        out.append(Table(title="By call and argument", head=("call", "right", "n"), rows=rows, note=note))
    return out


def _by_act(groups: Grouped) -> dict[str, Grouped]:
    def acts(turn: Turn) -> list[str]:
        held = turn.expect.get("act", [])
        return [held] if isinstance(held, str) else list(held)

    named = sorted({act for group in groups for turn in group for act in acts(turn)})
    return {act: [[turn for turn in group if act in acts(turn)] for group in groups] for act in named}


def _by_number(groups: Grouped) -> dict[str, Grouped]:
    numbers = sorted({turn.number for group in groups for turn in group})
    return {str(number): [[turn for turn in group if turn.number == number] for group in groups] for number in numbers}


def _sliced(run: Run, title: str, what: str, slices: Mapping[str, Grouped]) -> Table:
    shown = ("act_accuracy", "violation_rate", "answered_rate", "unsupported_claim_rate")
    rows = []
    for name, groups in slices.items():
        cells = []
        for metric in shown:
            point = _point(run, name, metric, groups)
            cells.append("–" if point is None else f"{point.value:.2f} ({_between(point.low, point.high, metric)})")
        rows.append((name, str(sum(map(len, groups))), str(sum(map(bool, groups))), *cells))
    note = "Share and 95 % interval. A message may want one of several acts; it then counts under each."
    return Table(title=title, head=(what, "n", "conversations", *shown), rows=rows, note=note if what == "act" else "")


def _point(run: Run, label: str, metric: str, groups: Grouped) -> plot.Point | None:
    from eval.statistics import interval

    held = [group for group in groups if has_a_say(metric, group)]
    found = (
        interval(statistic_of(metric, held), conversations=len(held), seed=run.seed, exact=exactly(metric))
        if held
        else None
    )
    if found is None:
        return None
    n = sum(size(metric, group) for group in held)
    return plot.Point(label=label, value=found.value, low=found.low, high=found.high, n=n)


def plots(run: Run) -> list[str]:
    """Draw accuracy by act and by place, the recall curve, seconds, calls and tokens; leave out what has no data."""
    turns = [turn for group in run.groups for turn in group]
    out = []
    by_act = [_point(run, act, "act_accuracy", groups) for act, groups in _by_act(run.groups).items()]
    if points := [point for point in by_act if point is not None]:
        out.append(plot.bars(points, title="Act accuracy by what the message wanted (95 % interval)", most=1.0))
    by_number = [_point(run, number, "act_accuracy", groups) for number, groups in _by_number(run.groups).items()]
    if points := [point for point in by_number if point is not None]:
        title = "Act accuracy by place of the message in its conversation (95 % interval)"
        out.append(plot.curve(points, title=title, across="message of the conversation"))
    if points := recall_curve(turns):
        out.append(plot.curve(points, title="Recall of the wanted items by length of the list", across="items shown"))
    for name, title in (
        ("first_list_seconds", "Seconds to the first list"),
        ("turn_seconds", "Seconds of a whole turn"),
    ):
        if held := seconds(name, turns):
            found = {f"p{p}": metrics.percentile(held, p) for p in metrics.PERCENTILES}
            out.append(plot.histogram(held, title=f"{title} (messages)", across="seconds", marks=found))
    if calls := Counter(int(turn.usage["llm_calls"]) for turn in turns if "llm_calls" in turn.usage):
        found_calls = [
            plot.Point(label="1 call" if number == 1 else f"{number} calls", value=calls[number])
            for number in sorted(calls)
        ]
        out.append(plot.bars(found_calls, title="Model calls of a turn (messages)", places=0))
    for name, title in (
        ("prompt_tokens", "Prompt tokens of a turn"),
        ("completion_tokens", "Completion tokens of a turn"),
    ):
        if tokens := [float(turn.usage[name]) for turn in turns if name in turn.usage]:
            mean = {"mean": sum(tokens) / len(tokens)}
            out.append(plot.histogram(tokens, title=f"{title} (messages)", across="tokens", marks=mean))
    return out


def recall_curve(turns: Sequence[Turn]) -> list[plot.Point]:
    """Give recall at 1 to 10 over the messages with wanted items; empty where there are none."""
    asked = [turn for turn in turns if turn.expect.get("items")]
    if not asked:
        return []
    return [
        plot.Point(
            label=str(k),
            value=sum(metrics.recall(turn.reply.items, turn.expect["items"], k=k) for turn in asked) / len(asked),
        )
        for k in range(1, 11)
    ]


def worst(run: Run, *, limit: int = WORST) -> list[str]:
    """Name the conversations with the most failed messages; of equals, the one that failed more of its messages."""
    bad = {name: sum(bool(failed(turn)) for turn in turns) for name, turns in run.turns.items()}
    named = [name for name in run.turns if bad[name]]
    return sorted(named, key=lambda name: (-bad[name], -bad[name] / len(run.turns[name])))[:limit]


def configuration(run: Run) -> Table:
    """Table what was run, on what, when, and the command that makes it again."""
    rows = [("command", command(run))]
    for name, value in run.config.items():
        if isinstance(value, Mapping):
            rows += [(f"{name}: {key}", str(held)) for key, held in value.items()]
        else:
            rows.append((name, "none" if value is None else str(value)))
    rows += [
        ("commit of the run", str(run.record.get("git_hash") or "unknown")),
        ("date of the run", str(run.record.get("date") or "unknown")),
        ("commit of this report", environment.git_hash() or "unknown"),
        ("date of this report", datetime.now(UTC).isoformat(timespec="seconds")),
    ]
    return Table(title="Configuration", head=("", "value"), rows=rows, words=(0, 1))


def command(run: Run) -> str:
    """Write the command that makes the run again, as far as its record says."""
    config = run.config
    words = ["shoptalk", "eval", str(config.get("set", "SET.jsonl")), "--output", run.path.name]
    if config.get("history") not in (None, "live"):
        words += ["--history", str(config["history"])]
    if config.get("limit") is not None:
        words += ["--limit", str(config["limit"])]
    words += ["--seed", str(run.seed)]
    if config.get("model", "") is None:
        words.append("--no-model")
    return shlex.join(words)


def not_shown(run: Run) -> list[str]:
    """Say what a reader must not take from these numbers, with the run's own counts."""
    turns = [turn for group in run.groups for turn in group]
    missing = [name for name in metrics.METRICS if name not in _measured(run)]
    few = [f"{act} ({n})" for act, groups in _by_act(run.groups).items() if (n := sum(map(len, groups))) < 20]
    lists = sum("items" in turn.expect for turn in turns)
    hardware = run.config.get("hardware") or {}
    cores = hardware.get("cores", "an unknown number of") if isinstance(hardware, Mapping) else "an unknown number of"
    saved = run.record["results"]
    now = metrics.summarise(turns, seed=run.seed)
    regraded = [name for name in metrics.METRICS if name in saved and not _same(saved[name], now[name])]
    out = [
        f"They are over {len(run.talks)} conversations with {len(turns)} messages that were written for the test. "
        "They say nothing about how often shoppers ask such things, nor whether shoppers are content or buy.",
        "The intervals say how much the figures would change with other conversations of the same kind. They do not hold "
        "what another author, another shop, another seed of the model or another day of the machine would change.",
        "Every metric has its own interval: of twenty true figures, one is expected to lie outside of its own.",
        "Act accuracy says that the right kind of reply was given, not that its words were good; the violation rate says "
        "that items keep to what was asked, not that they are the best ones.",
        "Unsupported statements are found by rules: a false statement that no rule reads is not counted.",
        "After a reply that went astray, the next message of the script is still said: a real shopper would say another.",
        f"Seconds are those of {cores} cores as busy as they were; one conversation was held at a time.",
    ]
    if run.config.get("history") == "given":
        out[5] = (
            "Each message is answered on a past that was written: how the assistant's own mistakes add up is not seen."
        )
    if lists:
        out.append(
            f"Recall, MRR and nDCG are over {lists} messages whose wanted items were listed beforehand: other shown items "
            "may suit as well and count as misses."
        )
    if few:
        out.append(f"Acts wanted by fewer than 20 messages tell little by themselves: {', '.join(few)}.")
    if missing:
        out.append(f"Not measured, because no message of this run asks for it: {', '.join(missing)}.")
    if regraded:
        out.append(
            "The conversations were graded again for this page, and the present grader finds other figures than the run's "
            f"results.json for: {', '.join(regraded)}."
        )
    return out


def _same(saved: Any, now: float | None) -> bool:
    if saved is None or now is None or not isinstance(saved, int | float):
        return saved is now
    return math.isclose(saved, now, rel_tol=1e-9, abs_tol=1e-9)


def figure(value: float | int | None, metric: str) -> str:
    """Write a figure with as many digits as its kind deserves.

    >>> figure(0.83809, "act_accuracy"), figure(883.97, "prompt_tokens_per_turn"), figure(2, "errors"), figure(None, "x")
    ('0.838', '884', '2', '–')
    """
    if value is None:
        return "–"
    if metric in metrics.COUNTS:
        return f"{value:.3g}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if "tokens" in metric else f"{value:.3f}"


def _between(low: float | None, high: float | None, metric: str) -> str:
    return "–" if low is None or high is None else f"{figure(low, metric)} to {figure(high, metric)}"


def _summary(run: Run) -> str:
    config = run.config
    model = config.get("model") or "no model"
    adapter = f" with adapter {config['adapter']}" if config.get("adapter") else ""
    turns = sum(map(len, run.groups))
    return (
        f"{config.get('set', 'a set')}: {len(run.talks)} conversations, {turns} messages. {model}{adapter} over "
        f"{config.get('base', 'an unknown base')}. {run.record.get('date', '')}"
    )


def _page(
    run: Run, tables: Sequence[Table], settings: Table, limits: Sequence[str], *, items: Mapping[str, Item]
) -> str:
    first, *rest = tables
    shown = worst(run)
    note = (
        f"{len(shown)} of {len(run.talks)}, most failed messages first. What failed stands in red."
        if shown
        else "No message failed anything."
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>Replay of {escaped(run.config.get('set', 'a set'))}</title><style>{_STYLE}</style></head><body>\n"
        f"<h1>Replay of {escaped(run.config.get('set', 'a set'))}</h1>\n"
        f'<p class="note">{escaped(_summary(run))}<br><code>{escaped(command(run))}</code></p>\n'
        f"{first.html()}<h2>Plots</h2>\n{''.join(plots(run))}{''.join(table.html() for table in rest)}"
        f'<h2>Worst conversations</h2>\n<p class="note">{escaped(note)}</p>\n'
        f"{''.join(_talk(name, run.turns[name], run, items=items) for name in shown)}"
        f"<h2>What these numbers do not show</h2>\n<ul>{''.join(f'<li>{escaped(line)}</li>' for line in limits)}</ul>\n"
        f"{settings.html()}</body></html>\n"
    )


def _talk(name: str, turns: Sequence[Turn], run: Run, *, items: Mapping[str, Item]) -> str:
    user_id = run.talks[name].user_id
    bad = sum(bool(failed(turn)) for turn in turns)
    who = "a new shopper" if user_id is None else f"shopper {user_id}"
    out = [f"<h3>{escaped(name)}, {escaped(who)}: {bad} of {len(turns)} messages failed</h3>\n"]
    for turn in turns:
        wrong = why_failed(turn, items=items)
        listed = "".join(f"<li>{_isolated(title)}</li>" for title in titles(turn.reply.items, items=items))
        words = turn.reply.content or ("(the turn ended in an error)" if turn.reply.failed else "(no words)")
        took = turn.usage.get("turn_seconds")
        did = f"did: {', '.join(turn.reply.acts) or 'nothing'}" + (f" · {called(turn)}" if turn.reply.calls else "")
        did += f" · {took:.1f} s" if isinstance(took, int | float) else ""
        out.append(
            f'<div class="turn{" bad" if wrong else ""}">'
            f'<p class="said"><b>Shopper:</b> {_isolated(turn.content)}</p>'
            f'<p class="expect said">wanted: {_isolated(wanted(turn.expect, items=items))}</p>'
            f'<p class="said"><b>Assistant:</b> {_isolated(words)}</p>'
            + (f"<ol>{listed}</ol>" if listed else "")
            + f'<p class="did said">{_isolated(did)}</p>'
            + "".join(f'<p class="failed">failed: {_isolated(line)}</p>' for line in wrong)
            + "</div>\n"
        )
    return "".join(out)


def _isolated(text: str) -> str:
    return f"<bdi>{escaped(text)}</bdi>"


def _markdown(run: Run, tables: Sequence[Table], limits: Sequence[str]) -> str:
    *first, settings = tables
    lines = "\n".join(f"- {marked(line)}" for line in limits)
    return "\n".join(
        [
            f"# Replay of {marked(run.config.get('set', 'a set'))}",
            "",
            marked(_summary(run)),
            "",
            *(table.markdown() for table in first),
            f"## What these numbers do not show\n\n{lines}\n",
            settings.markdown(),
        ]
    )
