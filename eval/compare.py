"""Say whether run B of a set is better or worse than run A, metric by metric, and which conversations changed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from eval import metrics
from eval.grounds import Grounds
from eval.meanings import BETTER, DECIDING, known
from eval.metrics import Turn
from eval.run import Run, has_a_say, read_run, see_shop, source_of, statistic_of
from eval.transcript import failed, titles, wanted
from retrieval.records import Item, ShopError

Verdict = Literal["better", "worse", "cannot tell"]
SLICED = ("act_accuracy", "plan_accuracy", "violation_rate", "answered_rate", "unsupported_claim_rate")
LEVEL = 0.05
_NOTED = ("model", "base", "adapter", "assistant", "serve", "limits", "limit", "seed", "versions", "hardware")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One metric of both runs: the figures, the 95 % interval of B - A, and the verdict.

    `part` is the wanted act that the messages were taken by, empty for all; `p` is adjusted for the rows that are
    judged together; `detectable` is the smallest true difference that these conversations would show (80 %, 5 %).
    """

    metric: str
    part: str
    a: float
    b: float
    difference: float
    low: float | None
    high: float | None
    p: float
    detectable: float | None
    conversations: int
    verdict: Verdict
    decides: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """One message that one of the runs met and the other did not; what B `broke` and what it `mended`."""

    a: Turn
    b: Turn
    broke: tuple[str, ...]
    mended: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two runs over the conversations that both have; `apart` says in what else than results they differ."""

    a: Path
    b: Path
    conversations: int
    turns: int
    alone: tuple[int, int]
    rows: tuple[Row, ...]
    slices: tuple[Row, ...]
    changed: tuple[Changed, ...]
    apart: tuple[str, ...]
    seed: int

    @property
    def worse(self) -> tuple[Row, ...]:
        """Give the rows that a release is held up by."""
        return tuple(row for row in self.rows if row.decides and row.verdict == "worse")


def compare(
    a: Path,
    b: Path,
    *,
    grounds: Grounds,
    chosen: Sequence[str] = (),
    seed: int = 0,
) -> Comparison:
    """Compare two saved replays over the conversations they share, graded again from what was saved.

    `chosen` are the metrics to compare, all of which then decide; by default all are compared and those of
    `eval.meanings.DECIDING` decide.

    Raises:
        ShopError: when a metric is unknown, a run cannot be read, or the two cannot be compared.
    """
    chosen = known(chosen)
    first, second = (read_run(path, grounds=grounds) for path in (a, b))
    apart = _comparable(first, second)
    see_shop(first, grounds=grounds)
    shared = [name for name in first.talks if name in second.talks]
    if not shared:
        raise ShopError(f"{a} and {b} share no conversations. Replay both with the same set and --limit")
    for name in shared:
        if _asked(first, name) != _asked(second, name) or len(first.turns[name]) != len(second.turns[name]):
            raise ShopError(
                f"{a} and {b} cannot be compared: conversation {name} is not the same in both. "
                "Replay both on the same set with: shoptalk eval SET.jsonl --output DIR"
            )
    pairs = [(first.turns[name], second.turns[name]) for name in shared]
    timed = first.config.get("hardware") == second.config.get("hardware")
    names = chosen or metrics.METRICS
    deciding = set(chosen or DECIDING)
    return Comparison(
        a=a,
        b=b,
        conversations=len(pairs),
        turns=sum(len(left) for left, _ in pairs),
        alone=(len(first.talks) - len(shared), len(second.talks) - len(shared)),
        rows=(
            *_judged([(name, "", pairs) for name in names if name in deciding], decides=True, timed=timed, seed=seed),
            *_judged(
                [(name, "", pairs) for name in names if name not in deciding], decides=False, timed=timed, seed=seed
            ),
        ),
        slices=_judged(
            [
                (name, act, _about(pairs, act))
                for act in _acts(pairs)
                for name in (chosen or SLICED)
                if name in metrics.RATIOS
            ],
            decides=False,
            timed=timed,
            seed=seed,
        ),
        changed=_changed(pairs),
        apart=apart,
        seed=seed,
    )


Pairs = Sequence[tuple[Sequence[Turn], Sequence[Turn]]]  # the turns of each conversation in A and in B


def _comparable(a: Run, b: Run) -> tuple[str, ...]:
    """See that two runs are of one set, shop and way of replaying; say in what else they differ."""
    held, other = a.config, b.config
    key = "set_hash" if held.get("set_hash") and other.get("set_hash") else "set"
    for name, what in ((key, "set"), ("history", "way of replaying (--history)")):
        if held.get(name) != other.get(name):
            raise ShopError(
                f"{a.path} and {b.path} cannot be compared: they were made with another {what}, "
                f"{held.get('set')} ({held.get(name)}) and {other.get('set')} ({other.get(name)}). "
                "Replay both alike with: shoptalk eval SET.jsonl --output DIR"
            )
    shops = [str(one.config.get("shop_generation") or one.config.get("shop")) for one in (a, b)]
    if source_of(shops[0]) != source_of(shops[1]):
        raise ShopError(
            f"{a.path} and {b.path} cannot be compared: they were made on different shops, {shops[0]} and {shops[1]}. "
            "Replay both on one shop with: shoptalk eval SET.jsonl --shop DIR --output DIR"
        )
    out = [f"{name}: {_short(held.get(name))} → {_short(other.get(name))}" for name in _NOTED if name != "versions"]
    versions = (held.get("versions") or {}, other.get("versions") or {})
    out += [
        f"{name}: {versions[0].get(name)} → {versions[1].get(name)}"
        for name in sorted({*versions[0], *versions[1]})
        if versions[0].get(name) != versions[1].get(name)
    ]
    out.append(f"commit: {_short(a.record.get('git_hash'))} → {_short(b.record.get('git_hash'))}")
    return tuple(line for line in out if len(set(line.split(": ", 1)[1].split(" → "))) > 1)


def _short(value: Any) -> str:
    if isinstance(value, Mapping):
        return json.dumps(value, sort_keys=True, ensure_ascii=False)
    return str(value)


def _asked(run: Run, name: str) -> list[tuple[str, Any]]:
    talk = run.talks[name]
    asked: list[tuple[str, Any]] = [
        (message.content, message.expect) for message in talk.messages if message.role == "user"
    ]
    return [("", talk.user_id), *asked]


def _acts(pairs: Pairs) -> list[str]:
    return sorted({act for turns, _ in pairs for turn in turns for act in _wanted_acts(turn)})


def _wanted_acts(turn: Turn) -> tuple[str, ...]:
    acts = turn.expect.get("act", [])
    return (acts,) if isinstance(acts, str) else tuple(acts)


def _about(pairs: Pairs, act: str) -> Pairs:
    return [
        ([turn for turn in a if act in _wanted_acts(turn)], [turn for turn in b if act in _wanted_acts(turn)])
        for a, b in pairs
    ]


def _judged(asked: Iterable[tuple[str, str, Pairs]], *, decides: bool, timed: bool, seed: int) -> tuple[Row, ...]:
    """Test one family of figures together (Holm 1979): with fifteen at once, one would else be called by luck."""
    from eval.statistics import detectable, difference, holm

    found = {}
    for metric, part, pairs in asked:
        said = [(a, b) for a, b in pairs if metric in metrics.COUNTS or has_a_say(metric, a) or has_a_say(metric, b)]
        statistic = statistic_of(metric, [a for a, _ in said] + [b for _, b in said])
        held = difference(statistic, conversations=len(said), seed=seed) if said else None
        if held is not None:
            found[metric, part] = held
    adjusted = holm({f"{metric}\n{part}": held.p for (metric, part), held in found.items()})
    out = []
    for (metric, part), held in found.items():
        p = adjusted[f"{metric}\n{part}"]
        verdict = verdict_of(metric, held.difference, low=held.low, high=held.high, p=p)
        if not timed and "_seconds_" in metric:
            verdict = "cannot tell"
        out.append(
            Row(
                metric=metric,
                part=part,
                a=held.a,
                b=held.b,
                difference=held.difference,
                low=held.low,
                high=held.high,
                p=p,
                detectable=detectable(held.stderr, conversations=held.conversations) if held.stderr else None,
                conversations=held.conversations,
                verdict=verdict,
                decides=decides,
            )
        )
    return tuple(out)


def verdict_of(metric: str, difference: float, *, low: float | None, high: float | None, p: float) -> Verdict:
    """Judge B - A: told apart when both the adjusted p-value and the interval leave out "no difference".

    What the assistant promises never to do (errors, items that the shop does not have) is not a matter of chance:
    one more of them is worse.

    >>> verdict_of("act_accuracy", -0.2, low=-0.3, high=-0.1, p=0.001)
    'worse'
    >>> verdict_of("errors", 1.0, low=0.0, high=3.0, p=1.0), verdict_of("errors", -1.0, low=-3.0, high=0.0, p=1.0)
    ('worse', 'cannot tell')
    """
    gain = difference if BETTER[metric] == "higher" else -difference
    if metric in metrics.COUNTS and gain < 0:
        return "worse"
    apart = low is not None and high is not None and (low > 0 or high < 0)
    if p > LEVEL or not apart:
        return "cannot tell"
    return "better" if gain > 0 else "worse"


def _changed(pairs: Pairs) -> tuple[Changed, ...]:
    """List the messages that fared differently: those that B broke first, most broken first."""
    out = []
    for left, right in pairs:
        for a, b in zip(left, right, strict=True):
            before, after = failed(a), failed(b)
            broke = tuple(name for name in after if name not in before)
            mended = tuple(name for name in before if name not in after)
            if broke or mended:
                out.append(Changed(a=a, b=b, broke=broke, mended=mended))
    return tuple(sorted(out, key=lambda one: (not one.broke, len(one.mended) - len(one.broke))))


def text(found: Comparison, *, items: Mapping[str, Item], limit: int = 5) -> str:
    """Write a comparison for a terminal: the verdicts, the slices, and the first `limit` conversations that changed."""
    lines = [
        f"A  {found.a}",
        f"B  {found.b}",
        f"{_counted(found.conversations, 'conversation')} and {_counted(found.turns, 'message')} in both"
        + (f"; left out: {found.alone[0]} only in A, {found.alone[1]} only in B" if any(found.alone) else ""),
        *(f"differs in {line}" for line in found.apart),
        "",
        "What a release hangs on",
        *_aligned([row for row in found.rows if row.decides]),
    ]
    rest = [row for row in found.rows if not row.decides]
    if rest:
        lines += ["", "What it does not hang on", *_aligned(rest)]
    apart = [row for row in found.slices if row.difference]
    if found.slices:
        alike = f"{len(found.slices) - len(apart)} of {len(found.slices)} figures are the same in both"
        lines += ["", f"By what the message wanted (decides nothing; {alike})", *(_aligned(apart) if apart else ())]
    lines += ["", *_changes(found, items=items, limit=limit)]
    lines += [
        "",
        "Interval: 95 %, paired BCa bootstrap over conversations. p: paired permutation test, adjusted by Holm within "
        f"each table. n: conversations. shows: the smallest true difference that this many show (80 %, 5 %). "
        f"Seed {found.seed}.",
        _conclusion(found),
    ]
    return "\n".join(lines)


def _conclusion(found: Comparison) -> str:
    if found.worse:
        return f"B is worse than A in {', '.join(row.metric for row in found.worse)}"
    better = [row.metric for row in found.rows if row.decides and row.verdict == "better"]
    if better:
        return f"B is better than A in {', '.join(better)}, and nothing that decides is shown to be worse"
    return "Nothing that decides is shown to be better or worse; see n and what it shows before calling them equal"


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _aligned(rows: Sequence[Row]) -> list[str]:
    table = [("metric", "A", "B", "B - A", "95 % interval", "p", "n", "shows", "")]
    table += [
        (
            row.metric if not row.part else f"{row.part}: {row.metric}",
            _number(row.a, row.metric),
            _number(row.b, row.metric),
            _number(row.difference, row.metric, signed=True),
            "–"
            if row.low is None or row.high is None
            else f"{_number(row.low, row.metric, signed=True)} to {_number(row.high, row.metric, signed=True)}",
            f"{row.p:.3f}",
            str(row.conversations),
            "–" if row.detectable is None else _number(row.detectable, row.metric),
            row.verdict,
        )
        for row in rows
    ]
    widths = [max(len(line[place]) for line in table) for place in range(len(table[0]))]
    out = []
    for line in table:
        cells = [cell.rjust(width) for cell, width in zip(line[1:-1], widths[1:-1], strict=True)]
        out.append("  ".join(["", line[0].ljust(widths[0]), *cells, line[-1]]).rstrip())
    return out


def _number(value: float, metric: str, *, signed: bool = False) -> str:
    places = 0 if metric in metrics.COUNTS or abs(value) >= 100 else 1 if "tokens" in metric else 3
    return f"{value:{'+' if signed and value else ''}.{places}f}"


def _changes(found: Comparison, *, items: Mapping[str, Item], limit: int) -> list[str]:
    broke = sum(bool(one.broke) for one in found.changed)
    talks = len({one.a.conversation_id for one in found.changed})
    if not found.changed:
        return ["No message fared differently"]
    out = [
        f"Messages that fared differently: {len(found.changed)}, in {_counted(talks, 'conversation')}; B broke something in {broke}"
    ]
    for one in found.changed[:limit]:
        said = [*(f"broke {name}" for name in one.broke), *(f"mended {name}" for name in one.mended)]
        out += ["", f"  {one.a.conversation_id}, message {one.a.number}: {', '.join(said)}"]
        out += [f"    shopper  {' '.join(one.a.content.split())}"]
        out += [f"    wanted   {wanted(one.a.expect, items=items)}"]
        out += [f"    A        {_reply(one.a, items)}", f"    B        {_reply(one.b, items)}"]
    if len(found.changed) > limit:
        out += ["", f"  and {len(found.changed) - limit} more: see them with --changed {len(found.changed)}"]
    return out


def _reply(turn: Turn, items: Mapping[str, Item]) -> str:
    said = " ".join(turn.reply.content.split()) or ("(an error)" if turn.reply.failed else "(no words)")
    shown = titles(turn.reply.items, items=items)
    return f"[{', '.join(turn.reply.acts) or 'no act'}] {said}" + (f" — {'; '.join(shown)}" if shown else "")
