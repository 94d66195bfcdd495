"""The numbers that the fitted ranking reads of an item, in groups: each group belongs to one part of the score."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from retrieval.habit import spread_out

if TYPE_CHECKING:
    from retrieval.evidence import Evidence

# What is the same for all items of a request; every part may read it.
CONTEXT = ("trips", "since", "gap", "size", "last_size", "hour", "weekday", "cart_size")
_OWN = (
    *("times", "share", "last_5", "last_10", "last_20", "decay_70", "decay_90", "decay_95", "decay_98", "fade"),
    *("days", "trips_since", "mean_gap", "due", "due_trips", "spread", "first_days"),
)
SIGNALS: Mapping[str, tuple[str, ...]] = {
    "bought_before": (*_OWN, "again", "repeat", "repeat_share", "share_of_kind"),
    "kind": ("kind_times", "kind_days", "kind_due", "kind_since", "family_times", "family_share", "category_share"),
    "collaborative": ("shoppers", "items", "items_lately", "linear", "follows"),
    "goes_with": ("lift", "mean_lift", "kind_in_cart"),
    "popularity": ("sold_7", "sold_14", "sold_28", "buyers", "trend", "kind_sold"),
    "price_fit": ("price_apart", "brand_share"),
    "deal": ("promotion", "more_than_usual", "coupon"),
}
# What a part may read of another's: whether bread is due depends on all the bread, not on this loaf alone.
SHARED: Mapping[str, tuple[str, ...]] = {"bought_before": ("kind_times", "kind_days", "kind_due", "kind_since")}
COLUMNS = (*CONTEXT, *(name for names in SIGNALS.values() for name in names))
# Where nothing speaks for an item: what parts are counted from.
_NOTHING: Mapping[str, float] = dict.fromkeys(
    (
        *("days", "trips_since", "mean_gap", "due", "due_trips", "spread", "first_days", "share_of_kind"),
        *("kind_days", "kind_due", "kind_since", "price_apart"),
    ),
    np.nan,
)


def columns_of(part: str) -> tuple[int, ...]:
    """Give the columns that a part's trees may read: its own, those it shares, and the context.

    >>> [COLUMNS[column] for column in columns_of("deal")][:3]
    ['promotion', 'more_than_usual', 'coupon']
    """
    return tuple(COLUMNS.index(name) for name in (*SIGNALS[part], *SHARED.get(part, ()), *CONTEXT))


def nothing(context: NDArray[np.float32]) -> NDArray[np.float32]:
    """Give the row of an item that nothing speaks for, beside this context: [1, columns]."""
    row = np.array([_NOTHING.get(name, 0.0) for name in COLUMNS], np.float32)
    row[: len(CONTEXT)] = context
    return row[None, :]


def context_row(evidence: Evidence) -> NDArray[np.float32]:
    """Describe the shopper and the moment: [len(CONTEXT)]; NaN where it is not known."""
    held = {**evidence.habits.context(), "cart_size": float(len(evidence.context.cart))}
    if evidence.context.at is None:  # the end of the log is no hour of shopping
        held["hour"] = held["weekday"] = np.nan
    return np.array([held.get(name, np.nan) for name in CONTEXT], np.float32)


def signals(evidence: Evidence, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Measure the items at these rows of the shelf: [rows, columns]."""
    shelf, scorer, habits = evidence.shelf, evidence.scorer, evidence.habits
    kind = shelf.kind[rows]
    own = spread_out(habits.of_items(), habits.rows, rows, _OWN, none=np.nan)
    counted = [column for column, name in enumerate(_OWN) if name not in _NOTHING]
    own[:, counted] = np.nan_to_num(own[:, counted])
    kinds = habits.of_groups(shelf.kind, len(shelf.kinds))
    held, weights = evidence.held
    lines = max(float(weights.sum()), 1.0)
    family = np.bincount(shelf.family[held], weights, minlength=shelf.families)
    category = np.bincount(shelf.category[held], weights, minlength=shelf.categories)
    brand = np.bincount(shelf.brand[held], weights, minlength=shelf.brands)
    cart = [shelf.rows[item_id] for item_id in evidence.context.cart if item_id in shelf.rows]
    in_cart = np.bincount(shelf.kind[cart], minlength=len(shelf.kinds)) if cart else np.zeros(len(shelf.kinds))
    sold = {days: scorer.sold(days, at=evidence.context.at) for days in (7, 14, 28)}
    ever = scorer.sold(None, at=evidence.context.at)
    promotion = evidence.promotion[rows]
    with np.errstate(invalid="ignore", divide="ignore"):
        apart = np.log(shelf.price[rows] / evidence.usual_price[kind])
        share_of_kind = own[:, 0] / kinds["times"][kind]
    found: dict[str, NDArray[Any]] = {
        **{name: own[:, column] for column, name in enumerate(_OWN)},
        "again": evidence.again[rows],
        "repeat": scorer.repeat[rows],
        "repeat_share": scorer.repeat_share[rows],
        "share_of_kind": share_of_kind,
        "kind_times": kinds["times"][kind],
        "kind_days": kinds["days"][kind],
        "kind_due": kinds["due"][kind],
        "kind_since": kinds["trips_since"][kind],
        "family_times": family[shelf.family[rows]],
        "family_share": family[shelf.family[rows]] / lines,
        "category_share": category[shelf.category[rows]] / lines,
        "shoppers": evidence.shoppers[rows],
        "items": evidence.collaborative[rows],
        "items_lately": evidence.lately[rows],
        "linear": evidence.linear[rows],
        "follows": evidence.follows[rows],
        "lift": evidence.goes_with[rows],
        "mean_lift": evidence.goes_with[rows] / max(len(cart), 1),
        "kind_in_cart": in_cart[kind].astype(np.float64),
        **{f"sold_{days}": np.log1p(counts[rows]) for days, counts in sold.items()},
        "buyers": np.log1p(ever[rows]),
        "trend": (sold[14][rows] + 1.0) / (ever[rows] * (14.0 / max(evidence.log_days, 14.0)) + 1.0),
        "kind_sold": np.log1p(np.bincount(shelf.kind, sold[28], minlength=len(shelf.kinds))[kind]),
        "price_apart": np.where(np.isfinite(apart), apart, np.nan),
        "brand_share": brand[shelf.brand[rows]] / lines,
        "promotion": promotion,
        "more_than_usual": promotion - evidence.usual_promotion[rows],
        "coupon": evidence.coupon[rows].astype(np.float64),
    }
    out = np.empty((len(rows), len(COLUMNS)), np.float32)
    out[:, : len(CONTEXT)] = context_row(evidence)
    for column, name in enumerate(COLUMNS[len(CONTEXT) :], start=len(CONTEXT)):
        out[:, column] = found[name]
    return out
