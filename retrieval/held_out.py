"""A shop as it was before a cut in time, and the baskets of its shoppers after it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from retrieval.records import ShopError

if TYPE_CHECKING:
    import pandas as pd

    from retrieval.shop import Shop

Progress = Callable[[str, float], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOut:
    """The baskets of each shopper at or after `cut` (seconds since 1970), oldest first, each as item ids in order."""

    cut: float
    baskets: Mapping[str, tuple[tuple[str, ...], ...]]


def baskets_after(log: pd.DataFrame, *, item_ids: tuple[str, ...], weeks: float) -> HeldOut:
    """Take each shopper's baskets of the last `weeks`; a shop without basket ids uses a shopper's day as one.

    Raises:
        ShopError: when there are no purchases, or none before the cut.
    """
    from retrieval.history import History

    bought = log[log["event"] == "purchase"]
    if not len(bought):
        raise ShopError("The shop's log has no purchases, so there are no baskets to wish from")
    cut = float(bought["timestamp"].max()) - weeks * 7 * 86_400
    if not (bought["timestamp"] < cut).any():
        raise ShopError(f"All purchases are in the last {weeks:g} weeks: choose fewer with --weeks")
    late = History.from_interactions(bought[bought["timestamp"] >= cut], item_ids=item_ids)
    baskets = {
        user_id: tuple(tuple(sorted(items)) for _, items in late.baskets(user_id)) for user_id in sorted(late.users)
    }
    return HeldOut(cut=cut, baskets=baskets)


def hold_out(shop: Shop, *, folder: Path, weeks: float, progress: Progress | None = None) -> HeldOut:
    """Prepare the shop once more in `folder`, from what happened before the last `weeks`; give the baskets after.

    The folder is kept: a second call with the same log and weeks finds the shop ready.

    Raises:
        ShopError: when the log is too short for the cut, or the folder cannot be written.
    """
    from retrieval.generation import SAID, read_said
    from retrieval.prepare import prepare
    from retrieval.source_files import Source

    log = shop.read_interactions()
    held = baskets_after(log, item_ids=shop.catalog.item_ids, weeks=weeks)
    source = Source(
        name=shop.manifest.source,
        items=list(shop.catalog.items.values()),
        interactions=log,
        said=read_said(shop.folder / SAID),
        offers=shop.deals.offers(),
    )
    prepare(source, shop=folder, until=held.cut, progress=progress)
    return held
