"""One false fact is planted in a true sentence about real rows: the checker must find it, and let the true one pass.

The true sentences are the ones that are really said: the wordings of `agent/replies`, filled from the
facts of lists that the real tools made, and the plain sentences of `agent/plain.py`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from agent import plain
from agent.context import Turn, money
from agent.conversation import Message, ToolCall
from agent.grounding import REFERENCE, Spoken, readable, sentence_end, supported
from agent.limits import Limits
from agent.turn import Work, act, plain_sentences, spoken_of
from agent.wordings import fact_form, filled, load_replies
from retrieval.quantity import item_quantity
from retrieval.records import Fact, Item, Part, Recommendation
from tests.scripted_model import call
from tests.small_shop import small_shop

CAUGHT, REJECTED = 0.99, 0.01  # shares: of the false that are caught at least, of the true that are refused at most


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """A true sentence, what it may speak of, and the fact it words, where it words one."""

    sentence: str
    spoken: Spoken
    position: int = 0
    fact: Fact | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Planted:
    """A sentence with one thing wrong in it, and which."""

    kind: str
    sentence: str
    true: str
    spoken: Spoken


# The turns whose rows are spoken of: list makers, and looks at the list before them.

LISTS: tuple[tuple[str, tuple[ToolCall, ...]], ...] = (
    ("shredded cheese", (call("search_catalog", query="shredded cheese"),)),
    ("shredded cheese under $4", (call("search_catalog", query="shredded cheese", max_price=4),)),
    ("shredded cheese over $2.50", (call("search_catalog", query="shredded cheese", min_price=2.5),)),
    ("store brand shredded cheese", (call("search_catalog", query="shredded cheese", brand="store brand"),)),
    ("cheese and milk under $3", (call("search_catalog", query="cheese", max_price=3), call("search_catalog", query="milk", max_price=3))),
    ("ice cream, cheapest first", (call("search_catalog", query="ice cream", sort="cheapest"),)),
    ("what do I usually get", (call("recommend", bought="again"),)),
    ("what is for me", (call("recommend"),)),
    ("what is for me under $5", (call("recommend", max_price=5),)),
    ("something new", (call("recommend", bought="new"),)),
)  # fmt: skip
LOOKS: tuple[ToolCall, ...] = (
    call("lookup_catalog", positions=[1]),
    call("lookup_catalog", positions=[2]),
    call("lookup_catalog", positions=[1, 2]),
    call("lookup_catalog", positions=[1, 2, 3]),
    call("explain", position=1),
    call("explain", position=2),
    call("similar_items", position=1),
    call("similar_items", position=1, than="cheaper"),
    call("similar_items", position=2, than="dearer"),
    call("similar_items", position=1, than="bigger"),
    call("goes_with", position=1),
)


def took(message: str, calls: tuple[ToolCall, ...], *, user_id: str | None, before: Work | None = None) -> Work:
    """Run the real tools on calls; no model, nothing is kept."""
    turn = Turn(
        shop=small_shop(),
        limits=Limits(),
        user_id=user_id,
        message=message,
        shown=tuple(before.shown) if before else (),
        request=before.requests[0] if before else None,
    )
    work = Work(
        turn=turn,
        model=None,
        store=None,  # type: ignore[arg-type]  # nothing is kept
        owner="",
        history=(),
        calls=list(calls),
        user_message=Message(role="user", content=message),
    )
    act(work, lambda _event: None)
    return work


@cache
def turns() -> tuple[Work, ...]:
    """Take every turn for a shopper of either half and for a new one."""
    out: list[Work] = []
    for user_id in ("u0", "u3", None):
        for number, (message, calls) in enumerate(LISTS):
            listed = took(message, calls, user_id=user_id)
            if not listed.shown:
                continue
            out.append(listed)
            for look in LOOKS[number % 2 :: 2]:
                looked = took("and that", (look,), user_id=user_id, before=listed)
                if looked.new_list or looked.looked is not None:
                    out.append(looked)
    return tuple(out)


@cache
def true_sentences() -> tuple[Said, ...]:
    """Say every turn in plain words, and every fact of its rows in one of its wordings."""
    rng = Random(7)
    out: dict[tuple[str, int], Said] = {}

    def put(said: Said) -> None:
        out.setdefault((said.sentence, id(said.spoken)), said)

    for work in turns():
        spoken = spoken_of(work)
        for sentence in plain_sentences(work):
            put(Said(sentence=sentence, spoken=spoken))
        for position, row in spoken.rows.items():
            for fact in row.facts:
                kind, values = fact_form(fact, position)
                if kind in load_replies() and (sentence := filled(wording(kind, rng), values)):
                    put(Said(sentence=sentence, spoken=spoken, position=position, fact=fact))
            price = row.item.price
            sentence = wording("details.price", rng).format(item=f"[{position}]", price=plain.price_text(row.item))
            put(Said(sentence=sentence, spoken=spoken, position=position, fact=Fact(kind="price", amount=price)))
            if row.facts:
                clause = plain.clause(plain.strongest(row, limit=1)[0])
                put(
                    Said(
                        sentence=wording("explain.because", rng).format(item=f"[{position}]", clause=clause),
                        spoken=spoken,
                    )
                )
        for sentence in compared(spoken, rng):
            put(Said(sentence=sentence, spoken=spoken))
        labels = " and ".join(label for label in spoken.labels if label)
        if work.new_list and labels and work.requests[0].task == "search" and len(spoken.rows) > 1:
            put(
                Said(
                    sentence=wording("list.many", rng).format(count=len(spoken.rows), label=labels),
                    spoken=spoken,
                )
            )
    return tuple(out.values())


def wording(kind: str, rng: Random) -> str:
    return rng.choice(load_replies()[kind])


def compared(spoken: Spoken, rng: Random) -> Iterator[str]:
    """Set the cheapest of the rows against the dearest."""
    priced = sorted((row.item.price or 0, position) for position, row in spoken.rows.items())
    if len(priced) < 2:
        return
    (low, first), (high, last) = priced[0], priced[-1]
    kinds = ("compare.same_price",) if low == high else ("compare.cheaper", "compare.prices")
    for kind in kinds:
        if kind == "compare.same_price" and len(priced) > 2:
            continue
        yield wording(kind, rng).format(
            item=f"[{first}]", other=f"[{last}]", amount=money(round(high - low, 2)), price=money(low), price2=money(high)
        )  # fmt: skip
    if low < high and [price for price, _ in priced].count(low) == 1:
        yield wording("compare.cheapest", rng).format(item=f"[{first}]", price=money(low))


# What is planted. Each planter gives sentences that are false because the one they come from is true.

Planter = Callable[[Said, Random], Iterator[str]]


def replaced(sentence: str, match: re.Match[str], text: str) -> str:
    return sentence[: match.start()] + text + sentence[match.end() :]


def wrong_amount(said: Said, rng: Random) -> Iterator[str]:
    """Another amount: another item's price, a little off, or far off."""
    for match in re.finditer(r"\$(\d+(?:\.\d+)?)(?![\d.]*\d)", said.sentence):
        amount = float(match[1])
        prices = [item.price or 0 for item in small_shop().catalog.items.values()]
        off = {*prices, amount + 0.01, amount + 1, amount * 10, 0.01} - {amount}
        if not REFERENCE.search(said.sentence):  # "under $4" of a whole list: only what is too low is false
            off = {0.01, 0.5, 0.75}
        for other in rng.sample(sorted(off), 2):
            yield replaced(said.sentence, match, f"${other:.2f}")


def wrong_count(said: Said, rng: Random) -> Iterator[str]:
    """Another number: of trips, baskets, shoppers, items, ounces."""
    for match in re.finditer(r"(?<![\d.$\[])\d+(?![\d\].]*\d|\])", said.sentence):
        number = int(match[0])
        for other in rng.sample(sorted({number + 1, number + 2, number * 2 + 1, max(number - 1, 0)} - {number}), 2):
            yield replaced(said.sentence, match, str(other))
    for match in re.finditer(r"\b(once|twice)\b", said.sentence):
        yield replaced(said.sentence, match, {"once": "twice", "twice": "9 times"}[match[0]])
    for match in re.finditer(r"\ball of your last\b", said.sentence):
        yield replaced(said.sentence, match, "one of your last")


TURNED = {
    "cheaper": "dearer", "dearer": "cheaper", "less": "more", "more": "less", "under": "over", "below": "above", "above": "below",
    "over": "under", "bigger": "smaller", "larger": "smaller", "smaller": "bigger", "pricier": "cheaper", "lower": "higher", "higher": "lower",
    "cheapest": "dearest", "lowest": "highest", "least": "most", "store brand": "name brand", "name brand": "store brand",
    "more expensive": "less expensive", "never bought": "bought", "not bought": "bought", "comes first": "comes second",
}  # fmt: skip


def turned_round(said: Said, _rng: Random) -> Iterator[str]:
    """The opposite word."""
    words = "|".join(sorted(TURNED, key=len, reverse=True))
    for match in re.finditer(rf"\b({words})\b", said.sentence):
        if match[0] == "more" and said.sentence[match.end() :].startswith(" reason"):
            continue
        yield replaced(said.sentence, match, TURNED[match[0]])


def wrong_position(said: Said, _rng: Random) -> Iterator[str]:
    """Another shown item, of which this is not so, or a number that nothing has."""
    found = [int(number) for number in REFERENCE.findall(said.sentence)]
    if found:
        yield said.sentence.replace(f"[{found[0]}]", f"[{max(said.spoken.rows) + 4}]")
    if len(found) == 2 and found[0] != found[1]:
        one, other = (said.spoken.rows[position].item.price for position in found)
        if one != other:
            yield (
                said.sentence.replace(f"[{found[0]}]", "[x]")
                .replace(f"[{found[1]}]", f"[{found[0]}]")
                .replace("[x]", f"[{found[1]}]")
            )
    if said.fact is None or not said.position:
        return
    for position, row in said.spoken.rows.items():
        if not holds(said.fact, row):
            yield said.sentence.replace(f"[{said.position}]", f"[{position}]")


def holds(fact: Fact, row: Recommendation) -> bool:
    """Say whether what a fact says could be said of another row as well."""
    item, words = row.item, " ".join(fact.words).lower()
    if fact.kind == "price":
        return item.price == fact.amount
    if fact.kind in ("matches", "size", "brand_tier", "attribute"):
        own = " ".join([item.text, *map(str, item.attributes.values())]).lower()
        return all(word in own for word in re.findall(r"\w+", plain.tier(words)))
    if fact.kind == "over_price":
        return item.price is not None and fact.limit is not None and item.price > fact.limit
    if fact.kind in ("bigger", "smaller", "cheaper", "dearer"):
        return any(one.kind == fact.kind for one in row.facts) and fact.amount is None
    same = [
        one for one in row.facts if one.kind == fact.kind or {one.kind, fact.kind} <= {"bought_trips", "bought_times"}
    ]
    return any(
        (one.count, one.of, one.amount, one.words) == (fact.count, fact.of, fact.amount, fact.words) for one in same
    ) or (fact.kind in ("because_of", "not_bought") and bool(same))


QUALITIES = (
    "organic", "healthy", "fresh", "gluten free", "low fat", "sugar free", "vegan", "delicious", "halal", "natural", "on sale", "imported",
    "free range", "in stock", "a best seller", "good for you", "the best", "recommended by doctors", "non-GMO", "lactose-free", "locally made",
    "low in salt", "a great deal", "high in protein", "safe for children",
)  # fmt: skip


def invented_quality(said: Said, rng: Random) -> Iterator[str]:
    """A quality that no record holds, said of the item in one way or another."""
    found = REFERENCE.search(said.sentence)
    bare = said.sentence.rstrip(".")
    quality, other = rng.sample(QUALITIES, 2)
    yield f"{bare}, and it is {quality}."
    if found:
        yield replaced(
            said.sentence,
            found,
            rng.choice((f"{found[0]}, which is {quality},", f"the {other} {found[0]}", f"{quality} {found[0]}")),
        )
    yield f"{rng.choice(('Being', 'As it is', 'Since it is', 'All'))} {other}: {bare[0].lower() + bare[1:]}."


def wrong_size(said: Said, rng: Random) -> Iterator[str]:
    """A quantity that no item has."""
    bare = said.sentence.rstrip(".")
    size = rng.choice(("40 oz", "3 lb", "24 count", "5 gallons", "750 ml", "7 packs"))
    yield rng.choice((f"{bare}, in {size}.", f"{bare} for {size}.", f"{bare}: {size}."))


def another_name(said: Said, rng: Random) -> Iterator[str]:
    """The name of an item that this is not."""
    shown = {row.item.title.split(",")[0].lower() for row in said.spoken.rows.values()}
    told = " ".join(
        word for row in said.spoken.rows.values() for fact in row.facts for word in (*fact.words, row.item.text)
    ).lower()
    titles = {item.title.split(",")[0].lower() for item in small_shop().catalog.items.values()}
    others = sorted(
        name for name in titles - shown if name.split()[-1] not in " ".join([told, *shown, *said.spoken.labels]).lower()
    )
    found = REFERENCE.search(said.sentence)
    if found and others:
        name = rng.choice(others)
        yield replaced(
            said.sentence,
            found,
            rng.choice((f"{found[0]}, a {name},", f"the {name} {found[0]}", f"{name} and {found[0]}", f"the {name}")),
        )


def negated(said: Said, _rng: Random) -> Iterator[str]:
    """The same sentence with a "not" in it."""
    for pattern, text in (
        (r"\b(is|are|was|were)\b", r"\1 not"),
        (r"\b(costs|leaves|saves|fits|matches|goes|comes|ranks|has)\b", r"does not \1"),
        (r"\b([Yy]ou) (bought|took|picked|got|had|chose)\b", r"\1 have never \2"),
        (r"\b(shoppers|households|customers|people)\b(?! here)", r"\1 never"),
    ):
        text = re.sub(pattern, text, said.sentence, count=1)
        if text != said.sentence:
            yield text


def linked(said: Said, rng: Random) -> Iterator[str]:
    """A link, markup, or something that is no word."""
    bare = said.sentence.rstrip(".")
    extra = rng.choice(
        (
            "http://evil.example",
            "www.evil.example",
            "evil.com",
            "[here](http://a.b)",
            "<b>now</b>",
            "**now**",
            "`rm`",
            "💰",
            "★★★★★",
            "a_b",
        )
    )
    yield f"{bare} {extra}."


PLANTERS: dict[str, Planter] = {
    "amount": wrong_amount,
    "count": wrong_count,
    "turned round": turned_round,
    "position": wrong_position,
    "quality": invented_quality,
    "size": wrong_size,
    "name": another_name,
    "negation": negated,
    "link": linked,
}


@cache
def planted() -> tuple[Planted, ...]:
    """Plant every kind of falsehood in a share of the true sentences."""
    rng = Random(11)
    out: list[Planted] = []
    for said in rng.sample(true_sentences(), 450):
        for kind, planter in PLANTERS.items():
            for sentence in planter(said, rng):
                if sentence != said.sentence:
                    out.append(Planted(kind=kind, sentence=sentence, true=said.sentence, spoken=said.spoken))
    return tuple(out)


def report(missed: list[str], of: int) -> str:
    """Print and give what was missed, each once."""
    told = f"{len(missed)} of {of}:\n" + "\n".join(sorted(set(missed)))
    print(told)
    return told


def test_true_sentences_pass() -> None:
    """Promise: at most one in a hundred of the true sentences that are said of real rows is refused."""
    refused = [said.sentence for said in true_sentences() if not supported(said.sentence, said.spoken)]
    assert len(true_sentences()) >= 600
    assert len(refused) <= REJECTED * len(true_sentences()), report(refused, len(true_sentences()))


def test_one_planted_falsehood_is_found() -> None:
    """Promise: of each kind of falsehood at least 99 in 100 are caught."""
    counts = Counter(one.kind for one in planted())
    assert sum(counts.values()) >= 600 and set(counts) == set(PLANTERS)
    missed = [one for one in planted() if supported(one.sentence, one.spoken)]
    told = report([f"{one.kind}: {one.sentence} (it was: {one.true})" for one in missed], len(planted()))
    for kind, count in counts.items():
        assert sum(one.kind == kind for one in missed) <= (1 - CAUGHT) * count, told


# Falsehoods in words of their own, as a model makes them up from plain words: by what would make them true.


def price(row: Recommendation) -> float:
    return row.item.price or 0


def bigger(one: Recommendation, other: Recommendation) -> bool:
    own, theirs = item_quantity(one.item), item_quantity(other.item)
    return own is not None and theirs is not None and own.unit == theirs.unit and own.amount > theirs.amount


def store(row: Recommendation) -> bool:
    return "store brand" in row.item.title


def has(row: Recommendation, *kinds: str) -> bool:
    return any(fact.kind in kinds for fact in row.facts)


def trips(row: Recommendation) -> int:
    return next((fact.count or 0 for fact in row.facts if fact.kind == "bought_trips"), 0)


Rows = list[Recommendation]
MADE_UP: tuple[tuple[Callable[[Recommendation, Recommendation, Rows], bool], tuple[str, ...]], ...] = (
    (lambda a, b, _: price(a) < price(b), (
        "[{a}] costs less than [{b}].", "[{a}] is cheaper than [{b}].", "[{a}] is not as dear as [{b}].", "[{a}], cheaper than [{b}], is here.",
        "Of the two, [{a}] is the cheaper one and [{b}] the dearer.", "Cheaper than [{b}] is [{a}].", "Next to [{b}], [{a}] is cheaper.",
        "[{a}] beats [{b}] on price.", "[{a}] has a better price than [{b}].", "[{a}] is ahead of [{b}] on price.", "[{a}] is priced below [{b}].",
        "The price of [{a}] is lower than that of [{b}].", "[{b}] is priced above [{a}].", "[{b}] costs more than [{a}].", "[{b}] is dearer than [{a}].",
    )),
    (lambda a, b, _: price(a) == price(b), (
        "[{a}] costs as much as [{b}].", "[{a}] is as cheap as [{b}].", "[{a}] and [{b}] cost the same.", "[{a}] costs the same as [{b}].",
    )),
    (lambda a, _b, rows: price(a) == min(map(price, rows)), (
        "The cheapest is [{a}].", "Nothing costs less than [{a}].", "None is cheaper than [{a}].", "[{a}] costs less than all the others.",
        "[{a}] is cheaper than the others.", "[{a}] is cheaper than most.", "The others cost more than [{a}].", "[{a}] is the least expensive.",
        "Compared with the others, [{a}] is cheaper.", "[{a}] leads on price.", "[{a}] is first on price.", "By price, [{a}] comes first.",
        "[{a}] is the cheaper.",
    )),
    (lambda a, _b, rows: price(a) == max(map(price, rows)), ("[{a}] costs the most.", "[{a}] is the dearest.", "[{a}] has the highest price.")),
    (lambda a, b, _: bigger(a, b), (
        "[{a}] is bigger than [{b}].", "[{b}] is smaller than [{a}].", "[{a}] gives you more than [{b}].", "[{a}] has more in it than [{b}].",
        "On size, [{a}] is ahead of [{b}].", "The pack of [{a}] is larger than [{b}].",
    )),
    (lambda a, _b, rows: all(a is row or bigger(a, row) for row in rows), ("[{a}] is the biggest.", "[{a}] is the largest pack.")),
    (lambda a, _b, _rows: store(a), (
        "[{a}] is store brand.", "[{a}] is the store's own brand.", "[{a}] is our own brand.", "[{a}] is own label.", "[{a}] is our brand.",
        "[{a}] is the shop's own.",
    )),
    (lambda a, _b, _rows: not store(a), ("[{a}] is a national brand.", "[{a}] is name brand.")),
    (lambda a, b, _: store(a) and store(b), ("[{a}] and [{b}] are both store brand.", "Both [{a}] and [{b}] are store brand.")),
    (lambda a, _b, rows: store(a) and sum(map(store, rows)) == 1, ("[{a}] is the only store brand.",)),
    (lambda _a, _b, rows: all(map(store, rows)), ("All are store brand.", "They are all store brand.", "It is store brand.")),
    (lambda _a, _b, rows: all(price(row) < 3 for row in rows), ("All are under $3.", "None is over $3.", "All {n} are under $3.")),
    (lambda _a, _b, rows: len({price(row) for row in rows}) == 1, ("All of these cost the same.", "They cost the same.")),
    (lambda a, _b, _rows: has(a, "not_bought"), ("You have never bought [{a}].", "[{a}] is new.", "[{a}] is new here.", "You haven't tried [{a}].")),
    (lambda a, _b, _rows: has(a, "bought_trips", "bought_times"), (
        "You buy [{a}] often.", "[{a}] is your usual.", "You bought [{a}] before.", "You regularly buy [{a}].", "You bought [{a}] again.",
    )),
    (lambda a, b, _: trips(a) > trips(b), ("You bought [{a}] more often than [{b}].", "You buy [{a}] more than [{b}].")),
    (lambda a, _b, _rows: has(a, "under_price"), ("[{a}] fits your budget.", "[{a}] is within your limit.")),
    (lambda a, _b, _rows: has(a, "over_price"), ("[{a}] is over your budget.",)),
    (lambda a, _b, _rows: has(a, "under_price", "cheaper"), ("[{a}] saves you money.", "[{a}] helps you spend less.")),
    (lambda a, _b, rows: a is rows[0], ("[{a}] is the first.", "[{a}] is on top.", "[{a}] leads the list.", "Number 1 is [{a}].")),
    (lambda a, b, rows: rows.index(a) < rows.index(b), (
        "[{a}] ranks higher than [{b}].", "[{a}] comes before [{b}].", "[{b}] comes after [{a}].", "[{a}] is above [{b}] in the list.", "[{b}] is below [{a}].",
    )),
    (lambda a, _b, rows: a is rows[-1], ("[{a}] comes last.", "The last one is [{a}].", "[{a}] is at the bottom.")),
    (lambda a, _b, rows: len(rows) > 2 and a is rows[2], ("Number 3 is [{a}].", "The third one is [{a}].")),
    (lambda _a, _b, rows: len(rows) == 1, ("I found one.", "[{a}] is the only one.", "Only [{a}] fits.", "There is just one.")),
    (lambda _a, _b, rows: len(rows) == 2, ("There are only two.", "Here are two.", "Here are 2 items.", "I found 2.")),
    (lambda a, b, _: abs(price(b) - price(a) - 1) < 0.005, ("[{a}] is a dollar less than [{b}].", "With [{a}] instead of [{b}] you save $1.")),
    (lambda _a, _b, _rows: False, (
        "[{a}] costs half of [{b}].", "[{a}] costs twice as much as [{b}].", "[{a}] is twice the price of [{b}].", "You get more for less with [{a}].",
        "[{a}] is the same brand as [{b}].", "Unlike [{b}], [{a}] is the fine one.", "[{a}] has a low price.", "[{a}] is at its lowest price.",
        "[{a}] is lower in price now.", "[{a}] now costs less.", "[{a}] costs less now than before.", "[{a}] costs $99.", "[{a}] costs 99 cents.",
        "[{a}] costs ten dollars.", "[{a}] costs 10 dollars.", "[{a}] costs 8.", "[{a}] costs 16.", "[{a}] is priced at 10.", "For 12 you get [{a}].",
        "[{a}] costs nothing.", "[{a}] comes at no cost.", "You pay nothing for [{a}].", "[{a}] costs one dollar.", "[{a}] saves you a dollar.",
        "[{a}] is a big brand.", "[{a}] is the only one of its brand.", "You always buy [{a}].", "You buy [{a}] on each trip.", "[{a}] is your favorite.",
        "[{a}] is one you love.", "You like [{a}].", "You would like [{a}].", "You liked [{a}] last time.", "You said you like [{a}].",
        "You bought [{a}] and [{b}] together.", "You bought [{a}] on 9 of your last 10 trips.", "You bought [{a}] nine times.", "You bought [{a}] every week.",
        "You bought [{a}] on your last trip.", "You bought [{a}] last.", "You bought it last time.", "You haven't bought [{a}] in a while.",
        "You picked [{a}] over [{b}].", "You choose [{a}] over [{b}].", "More shoppers buy [{a}] than [{b}].", "All shoppers buy [{a}].", "Most shoppers buy [{a}].",
        "Shoppers like [{a}].", "Shoppers love [{a}].", "[{a}] is the most popular.", "[{a}] is more popular than [{b}].", "Few shoppers buy [{a}].",
        "No shoppers buy [{a}].", "Many people buy [{a}].", "99 shoppers buy [{a}].", "4 of 5 shoppers buy [{a}].", "Only one shopper buys [{a}].",
        "Shoppers who buy [{a}] also buy [{b}].", "[{a}] goes with [{b}].", "[{a}] pairs with [{b}].", "[{a}] is in your cart.", "I put [{a}] in your cart.",
        "[{a}] is on its way.", "I bought [{a}] for you.", "You have [{a}] in the cart.", "[{a}] is sold out.", "[{a}] is the last one left.",
        "There is just one [{a}] left.", "[{a}] is new in the shop.", "[{a}] is under your $9.", "You asked for under $9.", "[{a}] matches pizza.",
        "[{a}] matches all you said.", "[{a}] is a match for [{b}], which you chose before.", "[{a}] comes in a pack of 24.", "[{a}] holds 99 oz.", "[{a}] is 12 lb.", "[{a}] comes in two sizes.",
        "You get two for one with [{a}].", "Buy one [{a}], get one.", "Buy two [{a}] and save.", "Here are 99 items.", "I looked at 99 items.",
        "No other shop has [{a}].", "[{a}] costs less than in other shops.", "[{a}] costs less here than in another shop.", "[{a}] is the best sold.",
        "[{a}] is sold most.", "[{a}] sells more than [{b}].", "[{a}] sold out last time.", "[{a}] is half off.", "[{a}] is 20 % less.", "[{a}] has less in it.",
        "[{a}] is made in the shop.", "[{a}] is made for you.", "[{a}] suits people with allergies.", "[{a}] is without nuts.", "[{a}] has no nuts.",
        "[{a}] is a well known brand.", "[{a}] is the one that most people like.", "[{a}] is just like [{b}].", "[{a}] is the same as [{b}].",
        "[{a}] is another name for [{b}].", "Since you bought [{b}], [{a}] is here.", "Instead of [{b}] you bought [{a}].", "It is $99.",
        "[{a}] costs more than it should.", "[{a}] and [{b}] cost $99 together.", "Together they cost $99.", "The difference is $99.",
        "[{a}] is 4 oz bigger than [{b}].", "[{a}] is 8 oz less than [{b}].", "You can get 2 of [{a}] for the price of [{b}].", "You get two [{a}] for one [{b}].",
    )),
)  # fmt: skip


def test_falsehoods_made_of_plain_words_are_found() -> None:
    """Promise: words that claim nothing one by one do not claim something together that no record holds."""
    rng = Random(5)
    cases = 0
    missed: list[str] = []
    for true, sentences in MADE_UP:
        for text in sentences:
            for work in rng.sample(turns(), 30):
                spoken = spoken_of(work)
                rows, places = list(spoken.rows.values()), list(spoken.rows)
                if len(rows) < 2:
                    continue
                one, other = rng.sample(range(len(rows)), 2)
                if true(rows[one], rows[other], rows):
                    continue
                sentence = text.format(a=places[one], b=places[other], n=len(rows))
                cases += 1
                if supported(sentence, spoken):
                    missed.append(f"{sentence} ({rows[one].item.title}; {rows[other].item.title})")
    report(missed, cases)
    assert cases >= 600
    assert len(missed) <= (1 - CAUGHT) * cases, report(missed, cases)


def row(title: str, *facts: Fact, price: float | None = 2.5, **more: object) -> Recommendation:
    """Make a shown item."""
    item = Item(item_id=title, title=title, price=price, **more)  # type: ignore[arg-type]
    return Recommendation(item=item, score=1.0, parts=(Part(name="match", value=1.0, facts=facts),))


def test_nothing_can_be_said_of_no_rows() -> None:
    """Promise: without a record there is nothing to hold a sentence against, so none passes."""
    for sentence in ("Here are 2.", "[1] is $2.", "It is here.", "Hello.", ""):
        assert not supported(sentence, Spoken(rows={}))


def test_a_share_is_said_only_where_the_label_says_it() -> None:
    """Promise: "2% milk" is a name, "20% less" is a claim."""
    spoken = Spoken(rows={1: row("2% milk, gallon")})
    assert supported("[1] is 2% milk for $2.50.", spoken)
    assert not supported("[1] is 20% milk.", spoken)
    assert not supported("[1] is 2% cheaper.", spoken)


def test_the_name_of_an_item_is_no_claim() -> None:
    """Promise: an item may be called by its name, whatever the words of it claim elsewhere."""
    names = ("Bottom round roast", "Top sirloin", "Shopping cart cover", "Last minute lasagna", "Left over wrap")
    spoken = Spoken(rows={place: row(f"{name}, 12 oz") for place, name in enumerate(names, start=1)})
    for place, name in enumerate(names, start=1):
        assert supported(f"[{place}] is {name.lower()}, $2.50.", spoken), name
    assert not supported("[1] is at the bottom.", spoken)
    assert not supported("[2] is on top.", spoken)


def test_an_item_without_a_price_has_none() -> None:
    """Promise: no amount is made up for it, and it is compared by price with nothing."""
    spoken = Spoken(rows={1: row("Soup", price=None), 2: row("Stew")})
    for sentence in (
        "[1] costs $2.50.",
        "[1] is cheaper than [2].",
        "[1] is the cheapest.",
        "[2] is the cheapest.",
        "They cost the same.",
    ):
        assert not supported(sentence, spoken), sentence
    assert supported("[2] costs $2.50.", spoken)


def test_what_others_buy_is_no_proof_that_you_do() -> None:
    """As a small model put two true facts together: "is one you buy: 317 shoppers"."""
    facts = (Fact(kind="popular", count=317), Fact(kind="bought_times", count=1))
    spoken = Spoken(rows={1: row("Crackers", *facts)})
    assert supported("[1] is popular: 317 shoppers buy it.", spoken)
    assert not supported("[1] is one you buy: 317 shoppers.", spoken)
    assert not supported("You've had [1], one you bought: 317 people.", spoken)


@given(st.text(max_size=200))
def test_any_text_is_judged(text: str) -> None:
    """Promise: whatever a model writes, the checker answers, and a sentence ends within the text or not at all."""
    spoken = Spoken(rows={1: row("Soup")}, labels=("soup", "\\", "("))
    assert supported(text, spoken) in (True, False)
    end = sentence_end(text)
    assert end is None or 0 < end <= len(text)


def test_positions_are_read_as_names() -> None:
    """Promise: a shopper reads the name with its number; a number that nothing has stays as it is."""
    assert readable("[1] beats [2].", {1: row("Soup, 12 oz")}) == "Soup (#1) beats [2]."
