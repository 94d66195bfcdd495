"""Test reasons against the ranking: take away the evidence that is named first, and the item's score must fall.

Of real recommendations, the first fact of the strongest part that has one is taken at its word: the purchases, the past
item, the cart's item, the words, the buyers or the deal that it names are removed, and the item is ranked again. What
concerns one shopper is removed from that shopper's history only; the models keep what they learned of everybody.
"""

from __future__ import annotations

import argparse
import copy
import json
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from eval.planted import share
from retrieval.history import History
from retrieval.ranking import RankContext, Task
from retrieval.records import Candidate, Fact, Item, Recommendation, ShopError
from retrieval.wish import Wish, stems

if TYPE_CHECKING:
    from retrieval.embedder import Embedder
    from retrieval.shop import Shop

TASKS: tuple[Task, ...] = ("search", "again", "new", "next_basket", "goes_with", "similar")
POOL = 100  # candidates of a list
LISTED = 5  # items of a list that are looked at
# These tell how an item meets the list or the wish and weigh nothing in a score, so there is nothing to take away.
UNWEIGHED = ("not_bought", "cheapest", "bigger", "smaller")
OF_WORDS = ("matches", "attribute", "brand_tier", "size")  # what the item says of itself
LEFT_OUT = -np.inf  # the score of what no longer comes into question


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """An item that was recommended, in what list, and the fact that is told first of it."""

    context: RankContext
    candidates: tuple[Candidate, ...]
    recommendation: Recommendation
    part: str
    fact: Fact


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """The item's score before and after its evidence was taken away."""

    told: Told
    after: float

    @property
    def fell(self) -> bool:
        """Say whether the score fell."""
        return self.after < self.told.recommendation.score - 1e-9


def first_fact(recommendation: Recommendation) -> tuple[str, Fact] | None:
    """Give the strongest part that has a fact which weighs something, and its first such fact."""
    for part in sorted(recommendation.parts, key=lambda part: -part.value):
        for fact in part.facts:
            if fact.kind not in UNWEIGHED:
                return part.name, fact
    return None


def told(shop: Shop, *, cases: int, rng: Random) -> Iterator[Told]:
    """Make lists for shoppers drawn from the log, all tasks in turn, and give what is told first of one item of each."""
    users = [user_id for user_id in shop.history.users if shop.history.items(user_id)]
    items = [item for item in shop.catalog.items.values() if not item.age_restricted]
    made = tried = 0
    while made < cases and tried < 20 * cases:
        tried += 1
        task = TASKS[tried % len(TASKS)]
        context, candidates = _listed(shop, task, rng.choice(users), items, rng)
        shown = shop.rank(candidates, context=context, limit=LISTED)
        if not shown:
            continue
        recommendation = rng.choice(shown)
        found = first_fact(recommendation)
        if found is None:
            continue
        made += 1
        yield Told(
            context=context,
            candidates=tuple(candidates),
            recommendation=recommendation,
            part=found[0],
            fact=found[1],
        )


def _listed(
    shop: Shop, task: Task, user_id: str, items: Sequence[Item], rng: Random
) -> tuple[RankContext, list[Candidate]]:
    item = rng.choice(items)
    cart = tuple(one.item_id for one in rng.sample(items, min(rng.randint(0, 2), len(items))))
    context = RankContext(user_id=user_id, cart=cart, task=task)
    if task == "search":
        query = item.title.split(",")[0].lower()
        bound = round(item.price * rng.uniform(1.0, 1.5), 2) if item.price and rng.random() < 0.4 else None
        wish = Wish(query=query, max_price=bound)
        return replace(context, wish=wish), shop.catalog.search([query], wish=wish, limit=POOL)
    if task == "similar":
        # "Cheaper" and "dearer" bound the wish, as the tool of that name does.
        wish = rng.choice((Wish(), Wish(below_price=item.price), Wish(above_price=item.price)))
        candidates = shop.catalog.similar(item.item_id, wish=wish, limit=POOL)
        return replace(context, named=(item.item_id,), wish=wish), candidates
    if task == "goes_with":
        context = replace(context, named=(item.item_id,) if rng.random() < 0.5 else (), cart=(*cart, item.item_id))
    return context, shop.candidates(context, limit=POOL)


def without(shop: Shop, one: Told) -> tuple[Shop, RankContext]:
    """Give the shop and the request without the evidence of one fact; that an item matches words is `unworded`'s."""
    fact, context, item_id = one.fact, one.context, one.recommendation.item.item_id
    user_id, history = context.user_id, shop.history
    if fact.kind in ("bought_trips", "bought_times"):
        return _learned(shop, _unbought(history, item_id, user_id=user_id)), context
    if fact.kind in ("because_of", "liked"):
        past = fact.item_id or item_id
        history = _unsaid(_unbought(history, past, user_id=user_id), past, user_id=user_id)
        return _learned(shop, history), replace(context, liked=tuple(i for i in context.liked if i != past))
    if fact.kind == "goes_with":
        cart, named = ((tuple(i for i in held if i != fact.item_id)) for held in (context.cart, context.named))
        return shop, replace(context, cart=cart, named=named)
    if fact.kind == "popular":
        history = _unbought(history, item_id, user_id=None)
        return _fresh(replace(shop, history=history, scorer=replace(shop.scorer, history=history))), context
    if fact.kind in ("promotion", "coupon"):
        deals: Any = type(getattr(shop, "deals", None))
        return replace(shop, deals=deals.none(len(shop.catalog.items))), context  # type: ignore[call-arg,unused-ignore]
    bounds = {"under_price": ("max_price", "below_price"), "over_price": ("min_price", "above_price")}
    if fact.kind in bounds:
        unbound: dict[str, Any] = dict.fromkeys(bounds[fact.kind])
        return shop, replace(context, wish=replace(context.wish, **unbound))
    if fact.kind in ("cheaper", "dearer"):
        return shop, replace(context, named=(), wish=replace(context.wish, below_price=None, above_price=None))
    raise ShopError(
        f"There is no rule for taking away a fact of the kind {fact.kind!r}. Add one to eval/counterfactual.py"
    )


def _learned(shop: Shop, history: History) -> Shop:
    """Give the shop with another log of one shopper: what the models hold of all the others stays as it was."""
    scorer = copy.copy(shop.scorer)  # with all that it has worked out already
    object.__setattr__(scorer, "history", history)
    return replace(shop, history=history, scorer=scorer)


def _fresh(shop: Shop) -> Shop:
    """Give the shop with a ranker that remembers nothing of the one before."""
    return replace(shop, ranker=replace(shop.ranker))


def _unbought(history: History, item_id: str, *, user_id: str | None) -> History:
    """Take an item out of a shopper's trips, or out of everybody's; the trips stay."""
    lines = np.ones(len(history.basket_items), bool)
    row = history.item_rows.get(item_id, -1)
    first, end = (0, len(history.basket_time)) if user_id is None else history.trip_rows(user_id)
    held = slice(int(history.basket_start[first]), int(history.basket_start[end]))
    lines[held] = history.basket_items[held] != row
    kept = np.concatenate([np.zeros(1, np.int64), np.cumsum(lines, dtype=np.int64)])
    return replace(history, basket_items=history.basket_items[lines], basket_start=kept[history.basket_start])


def _unsaid(history: History, item_id: str, *, user_id: str | None) -> History:
    """Take a shopper's likes, dislikes and looks at an item out of the log."""
    user, row = history.user_rows.get(user_id or "", -1), history.item_rows.get(item_id, -1)
    starts = history.user_events
    keep = np.ones(len(history.event_item), bool)
    held = slice(int(starts[user]), int(starts[user + 1])) if user >= 0 else slice(0, 0)
    keep[held] = history.event_item[held] != row
    kept: NDArray[np.int64] = np.concatenate([np.zeros(1, np.int64), np.cumsum(keep, dtype=np.int64)])
    per_line = {
        one.name: getattr(history, one.name)[keep]
        for one in fields(history)
        if one.init and one.name.startswith("event_")
    }
    return replace(history, user_events=kept[starts], **per_line)


def unworded(item: Item, fact: Fact) -> Item:
    """Take the words or the value that a fact names out of everything that an item says of itself.

    >>> unworded(Item(item_id="1", title="Whole milk, 1 gallon", description="Milk."), Fact(kind="matches", words=("milk",))).text
    'Whole, 1 gallon .'
    """
    if fact.kind != "matches":
        name = fact.words[0] if fact.kind == "attribute" else fact.kind
        return replace(item, attributes={held: value for held, value in item.attributes.items() if held != name})
    gone = {stem for word in fact.words for stem in stems(word)}

    def rest(text: str) -> str:
        kept = re.sub(r"[A-Za-z0-9%&']+", lambda found: "" if set(stems(found[0])) & gone else found[0], text)
        return re.sub(r"\s+(?=[ ,])|^[ ,]+|[ ,]+$", "", kept)

    return replace(
        item,
        title=rest(item.title) or "Item",
        description=rest(item.description),
        categories=tuple(filter(None, map(rest, item.categories))),
    )


def _renewed(shop: Shop, changed: Mapping[str, Item], folder: Path, *, embedder: Embedder) -> Shop:
    """Give the shop with other items under the same ids, its search built anew on them."""
    from retrieval.catalog import Catalog, build_catalog, build_store
    from retrieval.generation import SAID, read_said

    items = [changed.get(item_id, item) for item_id, item in shop.catalog.items.items()]
    build_catalog(folder, items, embedder=embedder)
    build_store(folder, items)
    catalog = Catalog.open(
        folder, items, embedder=embedder, prior=shop.history.buyers_by_row, said=read_said(shop.folder / SAID)
    )
    return _fresh(replace(shop, catalog=catalog))


def score_after(shop: Shop, one: Told, *, context: RankContext) -> float:
    """Rank the list again in another shop or for another request; `LEFT_OUT` where the item is no longer in question."""
    item_id = one.recommendation.item.item_id
    if context.task in ("search", "similar"):
        candidates = list(one.candidates)
        if shop.catalog.items[item_id] != one.recommendation.item:
            candidates = _found_anew(shop, one)
    else:
        proposed = {candidate.item_id: candidate for candidate in shop.candidates(context, limit=POOL)}
        candidates = [proposed.get(c.item_id, replace(c, sources={})) for c in one.candidates]
    ranked = shop.rank(candidates, context=context, limit=len(candidates), diverse=False)
    return next((r.score for r in ranked if r.item.item_id == item_id), LEFT_OUT)


def _found_anew(shop: Shop, one: Told) -> list[Candidate]:
    """Search again where an item's own words changed; what is not found matches nothing."""
    context, item_id = one.context, one.recommendation.item.item_id
    if context.task == "similar":
        found = shop.catalog.similar(context.named[0], wish=context.wish, limit=len(shop.catalog.items))
    else:
        found = shop.catalog.search([context.wish.query], wish=context.wish, limit=len(shop.catalog.items))
    own = next((c for c in found if c.item_id == item_id), Candidate(item_id=item_id, sources={}))
    return [own if c.item_id == item_id else c for c in one.candidates]


def measure(shop: Shop, *, cases: int, seed: int) -> dict[str, Any]:
    """Take the first-named evidence away in so many cases and count how often the score falls, by kind of fact."""
    from retrieval.embedder import Embedder

    drawn = list(told(shop, cases=cases, rng=Random(seed)))
    of_words = [one for one in drawn if one.fact.kind in OF_WORDS]
    taken: list[Taken] = []
    for one in drawn:
        if one.fact.kind not in OF_WORDS:
            other, context = without(shop, one)
            taken.append(Taken(told=one, after=score_after(other, one, context=context)))
    embedder = Embedder()
    while of_words:  # one building of the search serves all cases of different items
        batch: dict[str, Told] = {}
        for one in of_words:
            batch.setdefault(one.recommendation.item.item_id, one)
        of_words = [one for one in of_words if batch[one.recommendation.item.item_id] is not one]
        changed = {item_id: unworded(one.recommendation.item, one.fact) for item_id, one in batch.items()}
        with tempfile.TemporaryDirectory(prefix="shoptalk-") as folder:
            other = _renewed(shop, changed, Path(folder), embedder=embedder)
            taken += [Taken(told=one, after=score_after(other, one, context=one.context)) for one in batch.values()]
            other.catalog.close()
    return _record(shop, taken, seed=seed)


def _record(shop: Shop, taken: Sequence[Taken], *, seed: int) -> dict[str, Any]:
    kinds = sorted({one.told.fact.kind for one in taken})
    stood = [one for one in taken if not one.fell]
    return {
        "cases": len(taken),
        "seed": seed,
        "shop": shop.generation,
        "fell": share([one.fell for one in taken]),
        "left_out": sum(one.after == LEFT_OUT for one in taken),
        "by_fact": {kind: share([one.fell for one in taken if one.told.fact.kind == kind]) for kind in kinds},
        "by_task": {
            task: share([one.fell for one in taken if one.told.context.task == task]) for task in TASKS
        },
        "stood_by_part": dict(Counter(f"{one.told.part}: {one.told.fact.kind}" for one in stood)),
        "stood": [
            {
                "task": one.told.context.task,
                "user": one.told.context.user_id,
                "item": one.told.recommendation.item.title,
                "part": one.told.part,
                "fact": one.told.fact.kind,
                "words": list(one.told.fact.words),
                "before": one.told.recommendation.score,
                "after": one.after,
            }
            for one in stood[:100]
        ],
    }  # fmt: skip


def main() -> None:
    """Measure on a prepared shop, write the whole record and print the shares."""
    from retrieval.shop import Shop

    parser = argparse.ArgumentParser(prog="python -m eval.counterfactual", description=__doc__)
    parser.add_argument("--shop", type=Path, default=Path(".shoptalk/shop"), help="folder of the prepared shop")
    parser.add_argument("--cases", type=int, default=1000, help="recommended items whose first reason is taken away")
    parser.add_argument("--seed", type=int, default=0, help="of shoppers, lists and items")
    parser.add_argument("--output", type=Path, help="JSON file for the record with the cases that stood")
    given = parser.parse_args()
    with Shop.open(given.shop) as shop:
        record = measure(shop, cases=given.cases, seed=given.seed)
    if given.output:
        given.output.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    record.pop("stood")
    sys.stdout.write(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    try:
        main()
    except ShopError as error:
        sys.exit(f"counterfactual: {error}")
