"""What each metric of a replay means to a person: which way is good, what it counts, whether a release hangs on it."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Literal

from eval import metrics
from retrieval.records import ShopError

BETTER: dict[str, Literal["higher", "lower"]] = {
    "act_accuracy": "higher",
    "recall@5": "higher",
    "recall@10": "higher",
    "mrr@10": "higher",
    "ndcg@10": "higher",
    "violation_rate": "lower",
    "answered_rate": "higher",
    "honest_none_rate": "higher",
    "unsupported_claim_rate": "lower",
    "about_accuracy": "higher",
    "cart_accuracy": "higher",
    "new_rate": "higher",
    "again_rate": "higher",
    "plan_accuracy": "higher",
    "replaced_rate": "lower",
    "mended_rate": "lower",
    "plain_rate": "lower",
    "llm_calls_per_turn": "lower",
    "prompt_tokens_per_turn": "lower",
    "completion_tokens_per_turn": "lower",
    "off_catalogue_items": "lower",
    "errors": "lower",
    "first_list_seconds_p50": "lower",
    "first_list_seconds_p95": "lower",
    "turn_seconds_p50": "lower",
    "turn_seconds_p95": "lower",
}
# What a release hangs on unless its owner says otherwise: what shoppers get. Cost and time are told, not decided on:
# a difference of one token can be certain and still not matter, and time depends on what else the machine does.
DECIDING = (
    *("act_accuracy", "plan_accuracy", "recall@10", "ndcg@10", "violation_rate", "answered_rate", "honest_none_rate"),
    *("unsupported_claim_rate", "about_accuracy", "cart_accuracy", "new_rate", "again_rate", "plain_rate"),
    *("off_catalogue_items", "errors"),
)
_MEANINGS = {
    "recall@5": "Share of the wanted items among the first 5 shown, mean over messages with `items`.",
    "recall@10": "Share of the wanted items among the first 10 shown, mean over messages with `items`.",
    "mrr@10": "One over the rank of the first wanted item among the first 10, mean over messages with `items`.",
    "ndcg@10": "Discounted gain of the first 10 over the best possible, mean over messages with `items`.",
    "off_catalogue_items": "Items named or shown that the shop does not have (a count).",
    "errors": "Turns that ended in an error (a count).",
    "first_list_seconds_p50": "Seconds from the message to the first ranked list, median.",
    "first_list_seconds_p95": "Seconds from the message to the first ranked list, 95th percentile.",
    "turn_seconds_p50": "Seconds from the message to the end of the reply, median.",
    "turn_seconds_p95": "Seconds from the message to the end of the reply, 95th percentile.",
}


def meaning(metric: str) -> str:
    """Say in one sentence what a metric counts."""
    if metric in _MEANINGS:
        return _MEANINGS[metric]
    return (metrics.RATIOS[metric].__doc__ or metric).split("\n")[0]


def exactly(metric: str) -> Literal["", "share", "count"]:
    """Say of what kind a metric is for an exact interval: a share of things that are so or not, a count, or neither.

    >>> exactly("act_accuracy"), exactly("errors"), exactly("recall@5")
    ('share', 'count', '')
    """
    if metric in metrics.COUNTS:
        return "count"
    return "share" if metric in metrics.RATIOS and not metric.endswith("_per_turn") and "@" not in metric else ""


def known(names: Sequence[str]) -> tuple[str, ...]:
    """Give back metric names that exist.

    Raises:
        ShopError: naming the first that does not, and the one it may have been meant to be.
    """
    for name in names:
        if name not in metrics.METRICS:
            near = get_close_matches(name, metrics.METRICS, n=1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise ShopError(f"There is no metric {name!r}.{hint} Known: {', '.join(metrics.METRICS)}")
    return tuple(dict.fromkeys(names))
