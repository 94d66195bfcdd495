"""Test what checks sentences: plant one falsehood of a named sort in a true sentence, and see whether it is found.

Two checkers are asked: the agent's own (`agent.grounding`), which must find it before a shopper reads it, and the
grader's (`eval.claims`). The true sentences are asked of both as well: what is rejected of them is rejected wrongly.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from agent.grounding import REFERENCE, supported
from agent.plain import short_title, size_text
from eval.true_sentences import Truth, talks, truths
from retrieval.records import Fact, Recommendation, ShopError
from retrieval.wish import contains

if TYPE_CHECKING:
    from retrieval.shop import Shop

CHECKERS = ("agent.grounding", "eval.claims")
MISSES_LISTED = 200
Planter = Callable[[Truth, "Shop", Random], Iterator[str]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Case:
    """A sentence with one thing wrong in it, of what sort, and the true one that it was made from."""

    sort: str
    true: Truth
    sentence: str

    @property
    def planted(self) -> Truth:
        """Give the false sentence in the place of the true one."""
        return replace(self.true, sentence=self.sentence)


# What is planted. Each planter gives sentences that are false because the one they come from is true.


def _put(sentence: str, match: re.Match[str], text: str) -> str:
    return sentence[: match.start()] + text + sentence[match.end() :]


def _row(true: Truth) -> Recommendation | None:
    return true.talked.spoken.rows.get(true.position) if true.position else None


def wrong_number(true: Truth, shop: Shop, rng: Random) -> Iterator[str]:
    """Another count of trips, times, shoppers, baskets, items."""
    count = int(true.told.get("count") or 0)
    for match in re.finditer(rf"(?<![\d.$\[]){count}(?![\d\]]|\.\d| of |% )", true.sentence) if count else ():
        yield _put(true.sentence, match, str(count + rng.choice((-1, 1, 2, 10)) if count > 1 else count + 2))
        return
    for word, other in (("once", "twice"), ("one time", "six times"), ("twice", "9 times"), ("two times", "3 times")):
        if true.kind.startswith("bought") and re.search(rf"\b{word}\b", true.sentence):
            yield re.sub(rf"\b{word}\b", other, true.sentence, count=1)
            return


def swapped_count(true: Truth, shop: Shop, rng: Random) -> Iterator[str]:
    """The count of another fact in the place of this one's."""
    row, count = _row(true), true.told.get("count")
    if row is None or not count or true.fact is None:
        return
    same = {"bought_times", "bought_trips"}
    others = {
        fact.count
        for other in true.talked.spoken.rows.values()
        for fact in other.facts
        if fact.count and fact.count != count and not (other is row and {fact.kind, true.fact.kind} <= same)
    }
    match = re.search(rf"(?<![\d.$\[]){count}(?![\d\]]|\.\d)", true.sentence)
    if others and match:
        yield _put(true.sentence, match, str(rng.choice(sorted(others))))


def wrong_of(true: Truth, shop: Shop, rng: Random) -> Iterator[str]:
    """Another number of trips that the count is of."""
    of = int(true.told.get("of") or 0)
    found = (
        list(re.finditer(rf"(?<![\d.$\[]){of}(?= (?:most )?(?:trips|shopping|recent|baskets))", true.sentence))
        if of
        else []
    )
    if found:
        yield _put(true.sentence, found[-1], str(rng.choice([n for n in (of - 2, of + 2, of + 5, 20) if n > 0])))


def wrong_price(true: Truth, shop: Shop, rng: Random) -> Iterator[str]:
    """Another amount: a little off, another item's price, another fact's amount."""
    rows = true.talked.spoken.rows
    if not REFERENCE.search(true.sentence):
        return
    found = list(re.finditer(r"\$(\d+(?:\.\d+)?)(?![\d.]*\d)", true.sentence))
    if not found:
        return
    match = rng.choice(found)
    amount = float(match[1])
    off = {amount + 0.01, amount + 1, amount * 10, amount + 0.5}
    off |= {other.item.price for other in rows.values() if other.item.price is not None}
    off = {round(value, 2) for value in off if abs(value - amount) > 0.005}
    said = {float(one[1]) for one in found}  # an amount that stands in the sentence already could be true twice
    if wrong := sorted(off - said):
        yield _put(true.sentence, match, f"${rng.choice(wrong):.2f}")


def wrong_name(true: Truth, shop: Shop, rng: Random) -> Iterator[str]:
    """The name of another thing: of what it goes with, is compared with or matches, or of the item itself."""
    rows = true.talked.spoken.rows.values()
    told = " ".join(
        [*true.talked.spoken.labels, *(w for r in rows for f in r.facts for w in f.words), *(r.item.text for r in rows)]
    )
    for _ in range(20):
        item = rng.choice(list(shop.catalog.items.values()))
        name = short_title(item).lower()
        if not re.search(r"[^\w\s-]", name) and not any(contains(told, word) for word in name.split()):
            break
    else:
        return
    words = str(true.told.get("words", ""))
    if words and true.kind in ("goes_with", "because_of", "cheaper", "dearer", "bigger", "smaller", "matches"):
        if words in true.sentence.lower():
            at = true.sentence.lower().index(words)
            yield true.sentence[:at] + name + true.sentence[at + len(words) :]
    elif found := REFERENCE.search(true.sentence):
        yield _put(
            true.sentence, found, rng.choice((f"{found[0]}, a {name},", f"the {name} {found[0]}", f"the {name}"))
        )


_TURNED = {
    "cheaper": "dearer", "dearer": "cheaper", "less expensive": "more expensive", "more expensive": "less expensive", "pricier": "cheaper",
    "less": "more", "more": "less", "under": "over", "over": "under", "below": "above", "above": "below", "bigger": "smaller",
    "larger": "smaller", "smaller": "bigger", "lower": "higher", "higher": "lower", "saves": "costs", "cheapest": "dearest",
    "lowest": "highest", "least expensive": "most expensive", "undercuts": "exceeds",
}  # fmt: skip
_COMPARES = (
    "cheaper",
    "dearer",
    "bigger",
    "smaller",
    "under_price",
    "over_price",
    "compare_cheaper",
    "compare_bigger",
    "cheapest",
)


def turned_round(true: Truth, shop: Shop, rng: Random) -> Iterator[str]:
    """The opposite comparison."""
    if true.kind not in _COMPARES:
        return
    words = "|".join(sorted(_TURNED, key=len, reverse=True))
    pattern = re.compile(rf"\b({words})\b(?! (?:reason|is number))(?<!Choosing over)")
    found = [m for m in pattern.finditer(true.sentence) if m[0] not in ("over",) or true.kind != "compare_cheaper"]
    found = [
        m
        for m in found
        if not re.search(r"(?i)(one|if you want) $|(picking|choosing) .*\] $|left $", true.sentence[: m.start()])
    ]
    if len(found) == 1:
        yield _put(true.sentence, found[0], _TURNED[found[0][0]])


def negated(true: Truth, shop: Shop, rng: Random) -> Iterator[str]:
    """The same sentence with a "not" in it, or without the one that it had."""
    bare = true.sentence
    if true.kind == "not_bought":
        for pattern, text in (
            (r"\bnever bought\b|\bnot bought\b", "bought"), (r"\bhaven't (\w+)\b", r"have \1"), (r"\bnever tried\b", "tried"),
            (r"\bhas never been\b", "has been"), (r"\bno (past )?purchase\b", "a purchase"), (r"\bdoes not appear\b", "appears"),
        ):  # fmt: skip
            if re.search(pattern, bare):
                yield re.sub(pattern, text, bare, count=1).replace(" yet", "")
                return
        return
    if re.search(r"\b(no|not|never|nothing|none)\b", bare, re.IGNORECASE):
        return
    head = re.escape(f"[{true.position}]")
    for pattern, text in rng.sample(
        [
            (rf"({head},?) (is|was|are)\b", r"\1 \2 not"),
            (rf"({head},?) (has|had)\b", r"\1 \2 never"),
            (rf"({head},?) (cost|fit|match|come|leave|save|goe?|sell|rank)(?:es|s)\b", r"\1 does not \2"),
            (r"\b([Yy]ou) (bought|took|picked|got|had|chose|like|liked|told|said)\b", r"\1 never \2"),
            (r"\b([Yy]ou) have (bought|had|picked|purchased)\b", r"\1 have never \2"),
            (r"\b(shoppers|households|people) (buy|bought|have)\b", r"\1 never \2"),
        ],
        6,
    ):
        changed = re.sub(pattern, text, bare, count=1)
        if changed != bare:
            yield changed
            return


QUALITIES = (
    "organic", "healthy", "healthier", "gluten free", "low fat", "sugar free", "vegan", "delicious", "halal", "kosher", "natural", "imported",
    "free range", "in stock", "a best seller", "good for you", "the best", "recommended by doctors", "non-GMO", "lactose-free", "locally made",
    "low in salt", "a great deal", "high in protein", "safe for children", "on sale", "on special offer", "half price", "top rated", "five star",
    "award winning", "great value", "a bargain", "worth it", "tasty", "fair trade", "sustainable", "high quality", "good quality", "a great choice",
    "well reviewed", "long lasting", "easy to cook", "rich in vitamins", "from Italy", "handmade", "new on the shelf", "almost sold out",
    "everybody's favourite", "perfect for a party", "good for kids", "allergen free", "low calorie", "grass fed", "cruelty free", "the right one",
    "suited to you", "a smart buy", "reduced", "discounted",
)  # fmt: skip


def invented(true: Truth, shop: Shop, rng: Random) -> Iterator[str]:
    """A quality that no record holds, said of the item in one way or another."""
    rows = true.talked.spoken.rows.values()
    held = " ".join(
        [*(r.item.text for r in rows), *true.talked.spoken.labels, *(w for r in rows for f in r.facts for w in f.words)]
    ).lower()
    quality = rng.choice([q for q in QUALITIES if not any(w in held for w in re.findall(r"[a-z]{3,}", q.lower()))])
    found, bare = REFERENCE.search(true.sentence), true.sentence.rstrip(".")
    ways = [
        f"{bare}, and it is {quality}.",
        f"As it is {quality}, {bare[0].lower()}{bare[1:]}.",
        f"{bare}, so it is {quality}.",
    ]
    if found:
        ways += [
            _put(true.sentence, found, f"{found[0]}, which is {quality},"),
            f"{found[0]} is {quality}.",
            f"I picked {found[0]} since it is {quality}.",
        ]
    yield rng.choice(ways)


def wrong_position(true: Truth, shop: Shop, rng: Random) -> Iterator[str]:
    """Another shown item, of which this is not so, or one that was not shown."""
    if not true.position or true.kind in ("why two", "plain") or len(set(REFERENCE.findall(true.sentence))) != 1:
        return
    rows = true.talked.spoken.rows
    others = [place for place, row in rows.items() if place and place != true.position and not _so(true, row)]
    others.append(max(rows) + 3)
    place = rng.choice(others[:-1] or others) if rng.random() < 0.85 else others[-1]
    yield re.sub(rf"\b(number|item) {true.position}, ", "", true.sentence).replace(f"[{true.position}]", f"[{place}]")


def _so(true: Truth, row: Recommendation) -> bool:
    """Say whether the true sentence could be true of another row as well."""
    fact = true.fact
    if true.kind == "place":
        return False
    if f"{true.told.get('price')}" in true.sentence and f"${row.item.price or 0:.2f}" != true.told["price"]:
        return False
    if fact is None:
        return true.kind.startswith("compare") or f"${row.item.price or 0:.2f}" == true.told.get("price")
    if fact.kind in ("matches", "size", "brand_tier", "attribute"):
        own = " ".join([row.item.text, row.item.brand, *map(str, row.item.attributes.values())])
        return all(contains(own, word) for word in re.findall(r"[\w.]+", str(true.told.get("words") or fact.words[-1])))
    same = [one for one in row.facts if one.kind == fact.kind]
    if fact.kind in ("bought_trips", "bought_times"):
        same = [one for one in row.facts if one.kind in ("bought_trips", "bought_times")]
        return any(one.count == fact.count for one in same) or (
            bool(same) and not re.search(r"\d (?:of|times|out)|once|twice", true.sentence)
        )
    exact = re.search(r"\$", true.sentence) or fact.amount is None
    return any(not exact or _same(one, fact) for one in same) or (
        fact.limit is not None and not true.sentence.count("$") > 1
    )


def _same(one: Fact, other: Fact) -> bool:
    """Say whether two facts read the same: another thing is told by the first piece of its title."""
    names = [[word.split(",")[0] for word in fact.words] for fact in (one, other)]
    return (one.count, one.amount, names[0]) == (other.count, other.amount, names[1])


def superlative(true: Truth, shop: Shop, rng: Random) -> Iterator[str]:
    """The cheapest, dearest, or most bought, said of one that is not."""
    rows, row = true.talked.spoken.rows, _row(true)
    if row is None or len(rows) < 2 or row.item.price is None or 0 in rows:
        return
    prices = [other.item.price for other in rows.values() if other.item.price is not None]
    buyers = [shop.history.buyers(other.item.item_id) for other in rows.values()]
    head, out = f"[{true.position}]", []
    if row.item.price > min(prices):
        out += [
            f"{head} is the cheapest here.",
            f"{head} has the lowest price.",
            f"Of these, {head} costs the least.",
            f"{head} is the least expensive at ${row.item.price:.2f}.",
            f"Nothing here costs less than {head}.",
            f"No other item is cheaper than {head}.",
        ]
    if row.item.price < max(prices):
        out += [
            f"{head} is the most expensive.",
            f"{head} has the highest price here.",
            f"{head} is the dearest of the list.",
            f"{head} costs the most.",
        ]
    if shop.history.buyers(row.item.item_id) < max(buyers):
        out += [
            f"{head} is the most popular here.",
            f"{head} is bought the most.",
            f"Most shoppers choose {head}.",
            f"{head} is the most bought of these.",
        ]
    if out:
        yield rng.choice(out)


def wrong_size(true: Truth, shop: Shop, rng: Random) -> Iterator[str]:
    """Another size than the label's."""
    row = _row(true)
    if row is None or not (size := size_text(row.item).lower()) or not re.match(r"[\d.]+ [a-z]+$", size):
        return
    number, unit = size.split()
    told = f"{row.item.text} {size} " + " ".join(w for f in row.facts for w in f.words)
    off = [
        n
        for n in (f"{float(number) * 2:g}", f"{float(number) + 1:g}", f"{float(number) + 10:g}", "37")
        if n not in re.findall(r"[\d.]+", told)
    ]
    if not off:
        return
    if len(set(REFERENCE.findall(true.sentence))) != 1:
        return
    head, other = f"[{true.position}]", rng.choice(off)
    units = [u for u in ("oz", "lb", "count", "gallon", "ml", "kg") if u not in told.lower()]
    yield rng.choice(
        (
            f"{head} comes in {other} {unit}.",
            f"{head} is {other} {unit}.",
            f"The size of {head} is {other} {unit}.",
            f"{true.sentence.rstrip('.')}, in {other} {unit}.",
            f"{head} is {number} {rng.choice(units)}.",
        )
    )


def wrong_tier(true: Truth, shop: Shop, rng: Random) -> Iterator[str]:
    """The other brand tier."""
    row = _row(true)
    tier = row.item.attributes.get("brand_tier") if row else None
    if tier not in ("National", "Private"):
        return
    said = "name brand" if tier == "Private" else "store brand"
    if match := re.search("store brand" if tier == "Private" else "name brand", true.sentence):
        yield _put(true.sentence, match, said)
        return
    head = f"[{true.position}]"
    yield rng.choice(
        (
            f"{head} is a {said} item.",
            f"{head} is {said}.",
            f"The {said} {head} is here.",
            f"{true.sentence.rstrip('.')}, and it is {said}.",
            f"{head} is the {said} one.",
            f"{head} is sold as {said}.",
        )
    )


_UNITS = {
    "trips": ("weeks", "months", "orders"), "times": ("weeks", "days", "bottles"), "shoppers": ("stores", "experts", "chefs"),
    "baskets": ("weeks", "recipes", "stores"), "households": ("stores", "countries"), "people": ("doctors", "chefs"), "customers": ("stores", "experts"),
}  # fmt: skip


def wrong_unit(true: Truth, shop: Shop, rng: Random) -> Iterator[str]:
    """A count of something else than what was counted; a size in another unit."""
    row = _row(true)
    for word, others in _UNITS.items():
        match = re.search(rf"(?<=\d )(other )?{word}\b", true.sentence)
        if match and true.told.get("count"):
            yield _put(true.sentence, match, rng.choice(others))
            return
    if row is None or true.kind not in ("size", "price", "place"):
        return
    told = f"{row.item.text} {size_text(row.item)} " + " ".join(w for f in row.facts for w in f.words)
    match = re.fullmatch(r"([\d.]+) (oz|lb|count|gallon)", size_text(row.item).lower())
    units = [u for u in ("oz", "lb", "count", "gallons", "ml", "kg", "inches", "liters") if u[:5] not in told.lower()]
    if match and units:
        yield f"[{true.position}] comes in {match[1]} {rng.choice(units)}."


def wrong_currency(true: Truth, shop: Shop, rng: Random) -> Iterator[str]:
    """An amount in other money, or for something else than one item."""
    found = list(re.finditer(r"\$(\d+(?:\.\d+)?)(?![\d.]*\d)", true.sentence))
    if not found or not REFERENCE.search(true.sentence):
        return
    match = rng.choice(found)
    n = match[1]
    yield _put(
        true.sentence,
        match,
        rng.choice(
            (
                f"€{n}",
                f"£{n}",
                f"{n} euros",
                f"{n} pounds",
                f"{n} cents",
                f"{n} yen",
                f"CAD {n}",
                f"${n} per ounce",
                f"${n} a pound",
                f"${n} per month",
                f"${n} for two",
            )
        ),
    )


SORTS: Mapping[str, Planter] = {
    "number": wrong_number,
    "swapped count": swapped_count,
    "of how many": wrong_of,
    "price": wrong_price,
    "name": wrong_name,
    "direction": turned_round,
    "negation": negated,
    "unsupported": invented,
    "position": wrong_position,
    "superlative": superlative,
    "size": wrong_size,
    "brand tier": wrong_tier,
    "unit": wrong_unit,
    "currency": wrong_currency,
}


def plant(true: Sequence[Truth], *, shop: Shop, cases: int, rng: Random) -> list[Case]:
    """Plant as many falsehoods of each sort as of the others, at most one of a sort in a sentence."""
    out: list[Case] = []
    for sort, planter in SORTS.items():
        wanted = cases // len(SORTS) + (len(out) < cases % len(SORTS))
        for one in rng.sample(true, len(true)):
            if wanted == 0:
                break
            if one.kind == "plain":
                continue
            for sentence in planter(one, shop, rng):
                if sentence != one.sentence:
                    out.append(Case(sort=sort, true=one, sentence=sentence))
                    wanted -= 1
                    break
    return out


def rejected(one: Truth, *, shop: Shop) -> dict[str, bool]:
    """Say of each checker whether it rejects a sentence."""
    from eval.claims import unsupported

    talked = one.talked
    found = unsupported(
        one.text, talked.evidence, items=shop.catalog.items, previous=talked.previous, said=talked.message
    )
    return {"agent.grounding": not supported(one.sentence, talked.spoken), "eval.claims": bool(found)}


def draw(shop: Shop, *, cases: int, rng: Random) -> list[Truth]:
    """Draw true sentences, of every kind of fact and both sorts of wording alike, from enough lists for so many cases."""
    talked = talks(shop, count=max(8, cases // 40), rng=rng)
    found: dict[tuple[str, str], list[Truth]] = {}
    for one in (true for held in talked for true in truths(held, rng)):
        found.setdefault((one.kind, one.bank), []).append(one)
    out: list[Truth] = []
    left = sorted(found.values(), key=len)
    for at, group in enumerate(left):  # the rare kinds whole, the common ones alike
        most = (cases - len(out)) // (len(left) - at)
        out += rng.sample(group, min(most, len(group)))
    return out


def measure(shop: Shop, *, cases: int, seed: int) -> dict[str, Any]:
    """Count what each checker catches and what it rejects wrongly: by sort, by kind of fact, by whose wording."""
    rng = Random(seed)
    true = draw(shop, cases=cases, rng=rng)
    planted = plant(true, shop=shop, cases=cases, rng=rng)
    asked = [(one, rejected(one.planted, shop=shop)) for one in planted]
    passed = [(one, rejected(one, shop=shop)) for one in true]
    out: dict[str, Any] = {"cases": len(planted), "true_sentences": len(true), "seed": seed, "shop": shop.generation}
    refused = [rejected(case.true, shop=shop) for case in planted]
    for checker in CHECKERS:
        # Of a true sentence that is rejected as well, it is no merit to reject the false one.
        honest = [hit[checker] for (_, hit), was in zip(asked, refused, strict=True) if not was[checker]]
        caught = [(case.sort, verdict[checker]) for case, verdict in asked]
        wrongly = [(one.kind, one.bank, verdict[checker]) for one, verdict in passed]
        out[checker] = {
            "caught": share([hit for _, hit in caught]),
            "caught_of_accepted": share(honest),
            "caught_by_sort": {sort: share([hit for s, hit in caught if s == sort]) for sort in SORTS},
            "wrongly_rejected": share([hit for _, _, hit in wrongly]),
            "wrongly_rejected_by_fact": {k: share([h for kind, _, h in wrongly if kind == k]) for k in sorted({k for k, _, _ in wrongly})},
            "wrongly_rejected_by_wording": {b: share([h for _, bank, h in wrongly if bank == b]) for b in sorted({b for _, b, _ in wrongly})},
            "missed": [
                {"sort": case.sort, "sentence": case.sentence, "was": case.true.sentence, "wording": case.true.bank}
                for case, verdict in asked
                if not verdict[checker]
            ][:MISSES_LISTED],
            "rejected": [
                {"kind": one.kind, "sentence": one.sentence, "wording": one.bank}
                for one, verdict in passed
                if verdict[checker]
            ][:MISSES_LISTED],
        }  # fmt: skip
    return out


def share(hits: Sequence[bool]) -> dict[str, float | int]:
    """Give a share with its exact interval (Clopper and Pearson, 1934)."""
    from scipy.stats import beta

    n, k = len(hits), sum(hits)
    low = float(beta.ppf(0.025, k, n - k + 1)) if k else 0.0
    high = float(beta.ppf(0.975, k + 1, n - k)) if k < n else 1.0
    return {"share": round(k / n, 4) if n else 0.0, "low": round(low, 4), "high": round(high, 4), "n": n}


def main() -> None:
    """Measure on a prepared shop, write the whole record and print the shares."""
    from retrieval.shop import Shop

    parser = argparse.ArgumentParser(prog="python -m eval.planted", description=__doc__)
    parser.add_argument("--shop", type=Path, default=Path(".shoptalk/shop"), help="folder of the prepared shop")
    parser.add_argument("--cases", type=int, default=3000, help="falsehoods to plant, and true sentences to ask")
    parser.add_argument("--seed", type=int, default=0, help="of lists, wordings and falsehoods")
    parser.add_argument("--output", type=Path, help="JSON file for the record with all that was missed")
    given = parser.parse_args()
    with Shop.open(given.shop) as shop:
        record = measure(shop, cases=given.cases, seed=given.seed)
    if given.output:
        given.output.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    short = {
        k: {n: v for n, v in held.items() if n not in ("missed", "rejected")} if isinstance(held, dict) else held
        for k, held in record.items()
    }
    sys.stdout.write(json.dumps(short, indent=1) + "\n")


if __name__ == "__main__":
    try:
        main()
    except ShopError as error:
        sys.exit(f"planted: {error}")
