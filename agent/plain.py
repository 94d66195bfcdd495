"""Plain words for facts and turns: what cards say, what the model is shown, and what is said without a model."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from agent.context import money, tier
from agent.outcome import ON_OFFER, Looked, Request
from retrieval.reasons import Step, compare
from retrieval.records import Fact, Item, Recommendation

WISHED = ("matches", "under_price", "over_price", "cheaper", "dearer", "size", "brand_tier", "attribute")  # kept to
TOLD = 2  # facts an item is shown with in a list; looking at it closer shows more

# For a card and for plain sentences: a clause after the item, from the fact's own values.
CLAUSES: dict[str, Callable[[Fact], str]] = {
    "bought_trips": lambda f: f"you bought it on {f.count} of your last {f.of} trips",
    "bought_times": lambda f: f"you bought it {_times(f.count)} before",
    "not_bought": lambda f: "you have never bought it here",
    "under_price": lambda f: (
        f"it is {money(f.amount)} under your {money(f.limit or 0)}"
        if f.amount
        else f"it is just at your {money(f.limit or 0)}"
    ),
    "over_price": lambda f: f"it is above your {money(f.limit or 0)}",
    "matches": lambda f: f"it matches {' '.join(f.words)}",
    "goes_with": lambda f: f"it was in {f.count} baskets with {_short(f.words[0])}",
    "because_of": lambda f: f"it fits with {_short(f.words[0])}, which you chose before",
    "popular": lambda f: f"{f.count} shoppers buy it",
    "promotion": lambda f: f"it is {promoted(f)}",
    "coupon": lambda f: "you have a coupon for it",
    "brand_tier": lambda f: f"it is {tier(f.words[0])}",
    "size": lambda f: f"it is {f.words[0].lower()}",
    "cheaper": lambda f: f"it is {money(f.amount or 0)} cheaper than {_short(f.words[0])}",
    "dearer": lambda f: f"it is {money(f.amount or 0)} dearer than {_short(f.words[0])}",
    "bigger": lambda f: f"it is bigger than {_short(f.words[0])}",
    "smaller": lambda f: f"it is smaller than {_short(f.words[0])}",
    "cheapest": lambda f: "it is the cheapest here",
    "liked": lambda f: "you liked it",
    "attribute": lambda f: (
        f"it is {f.words[-1].lower()}"
        if f.words[0] == "brand"
        else f"its {f.words[0].replace('_', ' ')} is {f.words[-1].lower()}"
    ),
}


def clause(fact: Fact) -> str:
    """Word one fact.

    >>> clause(Fact(kind="bought_trips", count=6, of=10))
    'you bought it on 6 of your last 10 trips'
    >>> clause(Fact(kind="under_price", amount=1.71, limit=5))
    'it is $1.71 under your $5'
    """
    return CLAUSES[fact.kind](fact)


NOTES = ("in this week's ad", "on display")


def promoted(fact: Fact) -> str:
    """Say that something is promoted; a note in the shop's own words is shown on the card and said by nobody.

    >>> promoted(Fact(kind="promotion", words=("on display",))), promoted(Fact(kind="promotion", words=("2 for $5",)))
    ('on display', 'on promotion')
    """
    note = fact.words[0] if fact.words else ""
    return note if note in NOTES else "on promotion"


def fragment(fact: Fact) -> str:
    """Word one fact without its subject, for a card or a row.

    >>> fragment(Fact(kind="under_price", amount=1.71, limit=5)), fragment(Fact(kind="popular", count=412))
    ('$1.71 under your $5', '412 shoppers buy it')
    """
    text = clause(fact)
    for start in ("it is ", "it was ", "it "):
        if text.startswith(start):
            return text[len(start) :]
    return text


def _times(count: int | None) -> str:
    return {1: "once", 2: "twice"}.get(count or 0, f"{count} times")


def _short(title: str) -> str:
    return title.split(",")[0].lower()


def short_title(item: Item) -> str:
    """Give the first piece of a title: what the item is, without size and tier."""
    return item.title.split(",")[0]


def size_text(item: Item) -> str:
    """Give the size that the shop's record states, as it is written there; "" where it states none."""
    return str(item.attributes.get("shown_size", item.attributes.get("size", "")))


def strongest(recommendation: Recommendation, *, limit: int) -> list[Fact]:
    """Choose the facts to tell of an item in a list: strongest part first, but what only repeats the wish last."""
    out = by_weight(recommendation)
    telling = [fact for fact in out if fact.kind not in ("matches", "size", "brand_tier", "attribute", "not_bought")]
    rest = [fact for fact in out if fact not in telling]
    return (telling + rest)[:limit]


def by_weight(recommendation: Recommendation) -> list[Fact]:
    """List the facts of the parts that speak for an item, the strongest part's first; one a kind.

    Asked why, the shopper hears what weighed most, though it be that the item is what was asked for.
    """
    out: list[Fact] = []
    kinds: set[str] = set()
    against = {fact for part in recommendation.parts if part.value < 0 for fact in part.facts}
    for fact in recommendation.facts:
        if fact in against and fact.kind not in WISHED:
            continue
        if fact.kind in kinds or (fact.kind == "bought_times" and "bought_trips" in kinds) or fact.kind not in CLAUSES:
            continue
        kinds.add(fact.kind)
        out.append(fact)
    return out


def reason(recommendation: Recommendation) -> str:
    """Write a card's reason from the two strongest facts, as one sentence."""
    clauses = [fragment(fact) for fact in strongest(recommendation, limit=2)]
    if not clauses:
        return "It fits what you asked for."
    text = "; ".join(clauses)
    return text[0].upper() + text[1:] + "."


def price_text(item: Item) -> str:
    """Write an item's price, or say that it has none."""
    return "no price" if item.price is None else f"${item.price:.2f}"


def row(recommendation: Recommendation, *, position: int, chars: int, limit: int = TOLD) -> str:
    """Write the line about an item that the model is shown, its title cut at `chars`: every token is read each turn."""
    item = recommendation.item
    told = [fragment(fact) for fact in strongest(recommendation, limit=limit) if fact.kind != "matches" or limit > TOLD]
    return "; ".join([f"{position}. {item.title[:chars]} {price_text(item)}", *told])


def list_rows(
    recommendations: Sequence[Recommendation], *, requests: Sequence[Request], notes: Sequence[str], chars: int
) -> str:
    """Write what the model is shown of a list: how many, for what, and one line each."""
    labels = joined_labels(requests)
    head = f"{len(recommendations)} {labels}" if labels else f"{len(recommendations)} items"
    lines = [head, *(row(r, position=n, chars=chars) for n, r in enumerate(recommendations, start=1))]
    return "\n".join([*lines, *(f"note: {note}" for note in notes)])


def joined_labels(requests: Sequence[Request]) -> str:
    """Name what a list is for: "for milk and bread", "that go with salsa", "cheaper than salsa", "on offer"."""
    own = [
        request.label
        for request in requests
        if request.label and (request.task in ("similar", "goes_with") or request.label.split(" (")[0] == ON_OFFER)
    ]
    plain_ones = [request.label for request in requests if request.label and request.label not in own]
    own = [label.replace("goes with", "that go with", 1) for label in own]
    return " and ".join([*(["for " + " and ".join(plain_ones)] if plain_ones else []), *own])


def looked_rows(looked: Looked, *, chars: int) -> str:
    """Write what the model is shown when items are explained, detailed or compared."""
    names = {"explain": "why", "why_not": "why not", "details": "details", "compare": "compare"}
    lines = [names[looked.kind]]
    for position, recommendation in zip(looked.positions, looked.recommendations, strict=True):
        lines.append(row(recommendation, position=position, chars=chars, limit=4))
    return "\n".join(lines)


def listed(recommendations: Sequence[Recommendation], *, requests: Sequence[Request]) -> list[str]:
    """Say in plain sentences what a list holds: how many for what, and why the first is first or what it all costs."""
    labels = joined_labels(requests)
    count = len(recommendations)
    what = "one item" if count == 1 else f"{count} items"
    first = f"Here {'is' if count == 1 else 'are'} {what}" + (f" {labels}." if labels else ".")
    facts = [fact for fact in strongest(recommendations[0], limit=1) if fact.kind != "matches"]
    if facts:
        return [first, f"[1] comes first: {clause(facts[0])}."]
    # That it matches what was asked for is no news; what it costs may be.
    prices = [r.item.price for r in recommendations if r.item.price is not None]
    if prices and min(prices) < max(prices):
        return [first, f"Prices go from {money(min(prices))} to {money(max(prices))}."]
    return [first, f"[1] costs {money(prices[0])}."] if prices and count == 1 else [first]


def explained(looked: Looked) -> list[str]:
    """Say in plain sentences why an item was shown, or was not, strongest part first."""
    recommendation = looked.recommendations[0]
    name = _named(looked, 0)
    if looked.kind == "why_not":
        return [_why_not(looked, name), *(_would_change(looked) or _besides(looked))]
    facts = by_weight(recommendation)[:4]
    if not facts:
        return [f"{name} fits the words you used; nothing else speaks for it."]
    clauses = [clause(fact) for fact in facts]
    out = [f"{name} is here because {clauses[0]}."]
    if len(clauses) > 1:
        out.append("Also, " + "; ".join(clauses[1:]) + ".")
    return out


BROKEN = {
    "max_price": "it costs more than you wanted to pay",
    "below_price": "it is not cheaper",
    "min_price": "it costs less than you asked for",
    "above_price": "it is not dearer",
    "brands": "it is of another brand",
    "categories": "it is another kind of thing",
    "attributes": "it is not of the brand or kind you asked for",
    "not_attributes": "it is of the kind you left out",
    "text_all": "its label does not say what you asked for",
    "text_none": "it has what you asked to leave out",
    "bought_again": "you have not bought it before",
    "bought_new": "you have bought it before",
    "item_ids": "its size is not the one you asked for",
    "exclude_ids": "you have seen it already",
    "deal": "it is not on offer",
    "age_restricted": "it is age-restricted, and shown only when asked for",
}
WEAKER = {
    "match": "it fits your words less well",
    "collaborative": "it fits what you usually choose less well",
    "bought_before": "you buy it less often",
    "goes_with": "it goes less well with the rest",
    "popularity": "fewer shoppers buy it",
    "price_fit": "its price fits you less well",
    "taste": "it is further from what you like",
    "kind": "you buy that kind of thing less often",
    "order": "it comes later in the order you asked for",
    "twice": "one that reads the same is in the list",
    "room": "the list made room for other kinds of things",
    "deal": "it is less on offer",
}
# The parts of a score, as a picture of them is labelled.
PARTS = {
    "match": "your words",
    "collaborative": "shoppers like you",
    "bought_before": "bought before",
    "kind": "that kind bought before",
    "goes_with": "goes with",
    "popularity": "popular",
    "price_fit": "price",
    "taste": "taste",
    "deal": "on offer",
}


def _why_not(looked: Looked, name: str) -> str:
    verdict, item = looked.verdict, looked.recommendations[0].item
    price = f" at {money(item.price)}" if item.price is not None else ""
    if verdict is not None and verdict.broken:
        broken = [word for word in verdict.broken if word != "exclude_ids"] or list(verdict.broken)
        return f"I left out {name}{price}: " + " and ".join(BROKEN.get(word, word) for word in broken[:2]) + "."
    if verdict is not None and verdict.weaker:
        return f"{name[:1].upper()}{name[1:]}{price} ranked lower: {_weaker(looked, verdict.weaker[0][0])}."
    return f"{name[:1].upper()}{name[1:]}{price} was close, and just missed the list."


def _weaker(looked: Looked, part: str) -> str:
    """Word what an item's part lacks beside the item shown last: counted where the facts count it."""
    facts = looked.recommendations[0].facts
    own = {fact.kind: fact for fact in facts if fact.kind != "last_shown"}
    last = {fact.words[0]: fact for fact in facts if fact.kind == "last_shown"}
    if part == "bought_before" and "bought_trips" in last:
        theirs = last["bought_trips"]
        if "not_bought" in own:
            return f"you have never bought it here, and the last one shown on {theirs.count} of your last {theirs.of} trips"
        if "bought_trips" in own and own["bought_trips"].count:
            return f"{clause(own['bought_trips'])}, the last one shown on {theirs.count}"
        return f"you bought it on none of your last {theirs.of} trips, the last one shown on {theirs.count}"
    if part == "popularity" and "popular" in last and "popular" in own:
        return f"{_shoppers(own['popular'].count)} it, {last['popular'].count} the last one shown"
    if part == "price_fit" and "price" in last:
        return f"the last one shown costs {money(last['price'].amount or 0)}"
    return WEAKER.get(part, "it scored less")


def _shoppers(count: int | None) -> str:
    return "one shopper buys" if count == 1 else f"{count or 'no'} shoppers buy"


def _would_change(looked: Looked) -> list[str]:
    """Say which change of the wish brings the item in, and to which place."""
    change = looked.change
    if change is None:
        return []
    return [f"It would be number {change.place} if you {' and '.join(_step(step) for step in change.steps)}."]


def _besides(looked: Looked) -> list[str]:
    """Say what an item lacks beside the wish that it breaks, where no other wish that was tried would show it."""
    verdict = looked.verdict
    if verdict is None or not verdict.broken or not verdict.weaker or "age_restricted" in verdict.broken:
        return []
    return [f"Besides, {_weaker(looked, verdict.weaker[0][0])}."]


def _step(step: Step) -> str:
    """Word one move of a wish, after "if you".

    >>> _step(Step(name="max_price", bound=4.29)), _step(Step(name="brand_tier", value="Private", more=True))
    ('allowed up to $4.29', 'asked for store brand')
    """
    if step.name in ("max_price", "min_price"):
        if step.bound is None:
            return "set no bound of price"
        told = {("max_price", False): "allowed up to", ("max_price", True): "asked for at most"}
        return f"{told.get((step.name, step.more), 'allowed from')} {money(step.bound)}"
    if step.name == "bought":
        told_bought = {"again": "what you bought before", "new": "what is new to you"}
        return f"{'asked' if step.more else 'did not ask'} for {told_bought[step.value]}"
    if step.name == "without":
        return f"did not leave out {tier(step.value)}"
    if step.name == "seen":
        return "took what you have seen already"
    if step.name == "deal":
        return "did not ask for what is on offer"
    if step.name == "size" and not step.value:
        return "took any size"
    return f"{'asked' if step.more else 'did not ask'} for {tier(step.value)}"


def detailed(looked: Looked) -> list[str]:
    """Say an item's own record plainly."""
    recommendation = looked.recommendations[0]
    item = recommendation.item
    out = [f"{_named(looked, 0)} is {item.title}, {price_text(item)}."]
    if item.categories:
        out.append(f"It is in {' > '.join(item.categories)}.")
    told = [
        clause(fact)
        for fact in strongest(recommendation, limit=3)
        if fact.kind not in ("matches", "size", "brand_tier")
    ]
    if told:
        out.append((told[0][0].upper() + told[0][1:]) + ".")
    return out


_SIZE_ASKED = re.compile(
    r"\bhow (?:big|large|small|heavy|long)\b|\bhow (?:much|many)\b[^.?!]*\b(?:in|inside|come|comes|weighs?)\b|\b(?:what|which) size\b"
    r"|\bsize\?|\bhow many (?:ounces|oz|pounds|lbs|sheets|rolls|pieces|count|loads|cans|bottles)\b|\bweigh"
)


SIZE_COMPARED = re.compile(
    r"\b(?:bigg?er|bigg?est|larger|largest|smaller|smallest|sizes?|lasts? longer|holds?|more in)\b"
)


def answered(message: str, looked: Looked, said: Sequence[str]) -> list[str]:
    """Give the size of a looked-up item, or what is on offer of it, where the message asks and nothing said so far has it.

    >>> milk = Recommendation(item=Item(item_id="1", title="Milk, 1 gallon", attributes={"size": "1 gallon"}), score=0, parts=())
    >>> looked = Looked(kind="details", recommendations=(milk,), positions=(2,))
    >>> answered("how big is it", looked, ["[2] is $3."]), answered("how much is it", looked, []), answered("how big", looked, ["1 gallon"])
    (['[2] is 1 gallon.'], [], [])
    """
    if looked.kind != "details" or len(looked.recommendations) != 1:
        return []
    if _OFFER_ASKED.search(message.lower()):
        deals = [clause(fact) for fact in looked.recommendations[0].facts if fact.kind in ("coupon", "promotion")]
        new = [f"{deal[:1].upper()}{deal[1:]}." for deal in dict.fromkeys(deals) if not _told(deal, said)]
        return (
            new if deals else [f"I know of no promotion of {_named(looked, 0)} now, and of no coupon of yours for it."]
        )
    if not _SIZE_ASKED.search(message.lower()):
        return []
    size = size_text(looked.recommendations[0].item).lower()
    if not size:
        return [f"No size is on record for {_named(looked, 0)}."]
    return [] if any(size in sentence.lower() for sentence in said) else [f"{_named(looked, 0)} is {size}."]


_OFFER_ASKED = re.compile(
    r"\bon (?:sale|offer|promo\w*|special)\b|\bcoupons?\b|\bdiscount(?:s|ed)?\b|\bmarked down\b|\b(?:deals?|offers?) on\b|\bin the ad\b"
)


def _told(deal: str, said: Sequence[str]) -> bool:
    return any(
        word in sentence.lower() for word in ("coupon", *NOTES, "promotion") if word in deal for sentence in said
    )


def compared(looked: Looked) -> list[str]:
    """Compare items plainly: price first, then what else sets them apart."""
    items = looked.recommendations
    priced = [(r.item.price, n) for n, r in enumerate(items) if r.item.price is not None]
    out = []
    if len(priced) > 1:
        low, high = min(priced), max(priced)
        if low[0] == high[0]:
            out.append(f"They cost the same, {money(float(low[0]))}.")
        else:
            out.append(
                f"{_named(looked, low[1])} is the cheapest at {money(float(low[0]))}, "
                f"{money(round(float(high[0]) - float(low[0]), 2))} less than {_named(looked, high[1])}."
            )
    if (apart := most_apart(items)) is not None:
        one, fact = apart
        out.append(f"What sets {_named(looked, one)} apart: {clause(fact)}.")
    for place, recommendation in enumerate(items):
        facts = [
            fact
            for fact in strongest(recommendation, limit=3)
            if fact.kind not in ("matches", "under_price", "cheapest")
        ]
        if facts:
            out.append(f"{_named(looked, place)}: {'; '.join(fragment(fact) for fact in facts[:2])}.")
    return out


def most_apart(items: Sequence[Recommendation]) -> tuple[int, Fact] | None:
    """Find what most sets the item with the highest score above that with the lowest: its index, and the fact of it.

    The fact is of the part of the score that differs most in its favour, of those that have a fact to tell; what the
    other has, too, tells nothing apart.
    """
    if len(items) < 2:
        return None
    ordered = sorted(range(len(items)), key=lambda at: -items[at].score)
    one, other = ordered[0], ordered[-1]
    known = {(fact.kind, fact.count, fact.words) for fact in items[other].facts}
    for name, apart in compare(items[one], items[other]):
        facts = [fact for part in items[one].parts if part.name == name for fact in part.facts]
        told = [fact for fact in facts if fact.kind in CLAUSES and (fact.kind, fact.count, fact.words) not in known]
        if apart > 0 and told:
            return one, told[0]
    return None


def _named(looked: Looked, place: int) -> str:
    position, item = looked.positions[place], looked.recommendations[place].item
    if position:
        return f"[{position}]"
    names = [short_title(recommendation.item) for recommendation in looked.recommendations]
    return short_title(item).lower() if names.count(short_title(item)) == 1 else item.title


LINES: dict[str, tuple[str, ...]] = {
    "hello": (
        "Hello! What are you shopping for today?",
        "Hi there! Tell me what you need, or ask for your usual shop.",
    ),
    "thanks": ("You're welcome. Anything else for the basket?", "Happy to help. What else do you need?"),
    "bye": ("Bye, and thanks for stopping by.", "See you next time."),
    "help": (
        "Tell me what you need and I look through the shop. You can say a price, a size or a brand, ask why, compare, or fill a cart.",
    ),
    "off_topic": (
        "I only know this shop. What can I find for you here?",
        "That is outside my shop. Is there something you need from the shelves?",
    ),
    "hostile": (
        "Sorry this is going badly. Tell me what you need and I'll look again.",
        "I hear you. What can I find for you?",
    ),
}


def line(topic: str, *, turn_number: int) -> str:
    """Choose a line for talk that is not about items; the same turn gets the same line."""
    lines = LINES[topic]
    return lines[turn_number % len(lines)]


def cart_text(cart: Sequence[tuple[Item, int]]) -> str:
    """Say how much is in the cart, and what it comes to."""
    if not cart:
        return "Your cart is empty."
    count = sum(quantity for _, quantity in cart)
    total = sum((item.price or 0) * quantity for item, quantity in cart)
    return f"Your cart holds {'one item' if count == 1 else f'{count} items'}, {money(round(total, 2))} in all."


def quick(kind: str, **values: Any) -> str:
    """Name the quick replies; kept here so that page and terminal say the same."""
    return {
        "cheaper": "Cheaper",
        "store": "Store brand",
        "else": "Something else",
        "why": "Why the first one?",
        "cart": "Show my cart",
    }[kind]
