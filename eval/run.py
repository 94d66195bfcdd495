"""A finished replay read back from its folder and graded again, so that two of them can be set side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.conversation import Conversation, read_conversations
from eval import metrics
from eval.expectations import problems
from eval.grounds import Grounds
from eval.metrics import Turn
from eval.replay import read_results
from retrieval.records import ShopError

if TYPE_CHECKING:
    from eval.statistics import Statistic

Grouped = Sequence[Sequence[Turn]]  # the turns of each conversation


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A replay as it was saved, and its turns as graded now; `record` is what `results.json` holds."""

    path: Path
    record: Mapping[str, Any]
    talks: Mapping[str, Conversation]
    turns: Mapping[str, tuple[Turn, ...]]

    @property
    def config(self) -> Mapping[str, Any]:
        """Give what was run: model, adapter, shop, set, seed, versions, hardware."""
        config: Mapping[str, Any] = self.record["config"]
        return config

    @property
    def groups(self) -> list[tuple[Turn, ...]]:
        """Give the turns, conversation by conversation."""
        return list(self.turns.values())

    @property
    def seed(self) -> int:
        """Give the seed of its intervals."""
        seed = self.config.get("seed")
        return seed if isinstance(seed, int) else 0


def read_run(output: Path, *, grounds: Grounds) -> Run:
    """Read a finished replay and grade its conversations again; nothing is asked of a model.

    Raises:
        ShopError: when the folder is missing, or the run unfinished or damaged.
    """
    if not output.is_dir():
        raise ShopError(f"No run at {output}. Make one with: shoptalk eval SET.jsonl --output {output}")
    file = output / "conversations.jsonl"
    if not (output / "results.json").is_file() and file.is_file():
        done = sum(1 for line in file.read_bytes().splitlines() if line.strip())
        raise ShopError(
            f"The run in {output} is not finished: {done} conversations are there, but no results.json. "
            f"Finish it by running the same shoptalk eval command, with --output {output}, again"
        )
    try:
        record = read_results(output)
        talks = {one.conversation_id: one for one in read_conversations(file)}
    except (ValueError, TypeError) as error:  # text that is not UTF-8, arguments that are not JSON, a number for a list
        raise _damaged(output, str(error)) from error
    config, counts = record["config"], record.get("n")
    if not isinstance(config, dict) or not isinstance(record["results"], dict) or not isinstance(counts, dict):
        raise _damaged(output, 'results.json lacks an object "config", "results" or "n"')
    if counts.get("conversations") != len(talks):
        raise _damaged(output, f"it was graded on {counts.get('conversations')} conversations, {len(talks)} are there")
    for talk in talks.values():
        if wrong := problems(talk):
            raise _damaged(output, wrong[0])
        for number, message in enumerate(talk.messages, start=1):
            if not isinstance(message.evidence, dict) or not isinstance(message.usage, dict):
                raise _damaged(output, f'{talk.conversation_id}, message {number}: "evidence" or "usage" is no object')
    turns: dict[str, list[Turn]] = {conversation_id: [] for conversation_id in talks}
    for turn in metrics.grade(talks.values(), items=grounds.items, bought=grounds.bought):
        turns[turn.conversation_id].append(turn)
    return Run(path=output, record=record, talks=talks, turns={name: tuple(held) for name, held in turns.items()})


def see_shop(run: Run, *, grounds: Grounds) -> None:
    """See that a run was made on the shop that graded it; a shop built again from the same source is the same.

    Raises:
        ShopError: when it was made on another one.
    """
    made_on = str(run.config.get("shop_generation") or "")
    if made_on and source_of(made_on) != source_of(grounds.generation):
        raise ShopError(
            f"The run in {run.path} was made on another shop ({run.config.get('shop')}, {made_on}) than the one open now "
            f"({grounds.generation}), so its items cannot be looked up. Name its shop with --shop"
        )


def _damaged(output: Path, why: str) -> ShopError:
    return ShopError(f"The run in {output} is damaged: {why}. Make it again with: shoptalk eval, --fresh")


def source_of(generation: str) -> str:
    """Give the part of a generation's name that says from what it was built; the rest counts the builds.

    >>> source_of("g-fef436ee5afc-1")
    'g-fef436ee5afc'
    """
    return generation.rsplit("-", 1)[0] if generation.count("-") > 1 else generation


def statistic_of(metric: str, groups: Grouped) -> Statistic:
    """Make the statistic of a metric over conversations, the same figure as `eval.metrics.summarise` gives.

    Raises:
        KeyError: when there is no such metric.
    """
    from eval import statistics

    if metric in metrics.RATIOS:
        pairs = [sums(metric, group) for group in groups]
        return statistics.ratio([above for above, _ in pairs], [below for _, below in pairs])
    if metric in metrics.COUNTS:
        return statistics.total([sum(metrics.COUNTS[metric](turn) for turn in group) for group in groups])
    name, p = metric.rsplit("_p", 1)
    if name not in metrics.SECONDS:
        raise KeyError(metric)
    return statistics.percentile([seconds(name, group) for group in groups], p=float(p))


def sums(metric: str, turns: Sequence[Turn]) -> tuple[float, float]:
    """Sum what turns add to the numerator and the denominator of a ratio metric."""
    found = [value for turn in turns if (value := metrics.RATIOS[metric](turn)) is not None]
    return sum(above for above, _ in found), sum(below for _, below in found)


def seconds(name: str, turns: Sequence[Turn]) -> list[float]:
    """List the seconds of the turns that have them."""
    return [float(turn.usage[name]) for turn in turns if turn.usage.get(name) is not None]


def size(metric: str, turns: Sequence[Turn]) -> int:
    """Count what a metric is over: items for the violation rate, sentences for the replaced rate, else turns."""
    if metric in metrics.RATIOS:
        return round(sums(metric, turns)[1])
    if metric in metrics.COUNTS:
        return len(turns)
    return len(seconds(metric.rsplit("_p", 1)[0], turns))


def has_a_say(metric: str, turns: Sequence[Turn]) -> bool:
    """Say whether a conversation counts in a metric at all."""
    return size(metric, turns) > 0
