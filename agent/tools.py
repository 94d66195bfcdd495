"""The tools that the model may call: LangChain tools whose schemas are the plan protocol.

Each answers twice: a short text, and an `Outcome` as its artefact. None takes a shopper's id; none writes:
changes of cart and memory come back as values and are made by the turn, for the shopper the server bound.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Literal

from langchain.tools import ToolRuntime, tool
from langchain_core.tools import BaseTool
from pydantic import Field

from agent.company import settle
from agent.context import Turn, extreme, furthest, named, narrow
from agent.heard import bare_words
from agent.outcome import ON_OFFER, CartEdit, Line, Looked, MemoryEdit, Outcome, Pool, Problem, Question, Request, Sort
from agent.record import recommend_one
from retrieval.quantity import item_quantity, parse_quantity, same_size
from retrieval.records import Candidate, Item
from retrieval.wish import Wish, broken, contains, stems

Text = Annotated[str, Field(max_length=60)]
Word = Annotated[str, Field(max_length=24)]
Words = Annotated[list[Word], Field(max_length=4)]
Price = Annotated[float, Field(ge=0, le=9999)]
Position = Annotated[int, Field(ge=1, le=10)]
Positions = Annotated[list[Position], Field(max_length=5)]
Answer = tuple[str, Outcome]
NO_LIST = "I have not shown you a list yet. Tell me what you are looking for."
WHICH = "Which one do you mean? Give me its number in the list."
TOO_YOUNG = "That is age-restricted, so I can't offer it to somebody of your age."
ASK_FOR_IT = "That is age-restricted, and shown only when you ask for it by name."
ORDINARY = frozenset(["normal", "regular", "ordinary", "standard", "basic", "usual"])  # mostly on no label
# What somebody must or must not eat, or holds by: shown only where the label says so.
DIET = frozenset(
    "organic natural healthy vegan vegetarian kosher halal decaf diet light lite low less reduced no non not without free sugarless"
    " unsweetened unsalted unscented hypoallergenic nonfat skim whole raw safe".split()
)
AS_LIKELY = 0.8  # how well a kind must fit the words, beside the best, to be an answer that a question offers
DEAR = frozenset(["expensive", "pricey", "costly", "overpriced"])  # "nothing expensive" is about no label
FREE_OF = ("gluten", "wheat", "dairy", "lactose", "egg", "soy", "nut", "peanut", "sugar", "fat", "salt", "caffeine")
FREE_ELSE = frozenset("feel for get one any have are is be it and buy hands stress care toll duty set with".split())
VAGUE = frozenset(["something", "anything", "stuff"])  # there is no kind of "something sweet" to ask for
MANY = 12  # of one thing; more may be the size that names it
# Words by which a question about offers takes up the list on the table.
OF_THESE = re.compile(
    r"\b(?:(?:these|those)(?! days)|(?:of|on|for|with) them|(?:are|r) they|which ones?|(?:in|from|on) (?:this|that|the) list)\b"
)
COUPON = re.compile(r"\b(?:c(?:ou?|u)?pu?o?ns?|vouchers?)\b")
NO_COUPON = "There is no coupon of yours for that now; these are promoted."
NONE_OF_THESE = "None of those shown is on offer; these are."
RETRIEVED = 80  # candidates a tool hands to the ranking: beyond it the order no longer changes the first five


@tool(response_format="content_and_artifact", parse_docstring=True)
def search_catalog(
    runtime: ToolRuntime,
    query: Text | None = None,
    max_price: Price | None = None,
    min_price: Price | None = None,
    brand: Word | None = None,
    size: Word | None = None,
    having: Words | None = None,
    without: Words | None = None,
    bought: Literal["again", "new"] | None = None,
    sort: Sort | None = None,
) -> Answer:
    """Find items by words and bounds. Without query: keep the last wish and add these bounds.

    Args:
        query: What is wanted.
        max_price: Most it may cost.
        min_price: Least it may cost.
        brand: store brand, name brand or a brand's name.
        size: Size of the pack.
        having: Words that must be on the item.
        without: Words that must not.
        bought: Only what this shopper bought before, or never.
        sort: Order by price or size.
    """
    turn: Turn = runtime.context
    notes: list[str] = []
    near: list[str] = []
    if turn.alone:
        query = _named_anew(turn, query, said=[*(having or ()), *(without or ())]) or query
    if query and turn.request is not None and (end := extreme(query))[0] and not end[1]:
        query, sort = None, sort or end[0]  # "as large a jug as they come", planned as a search for "biggest"
    if query:
        query = _option(turn, query) or query
        if qualifier := _qualifier(turn, query):
            having, query = [*(having or ()), qualifier], None
    if query:
        query, claims = _claims(query)
        having = [*(having or ()), *claims]
    if query:
        query = (_own_words(turn, query) if turn.alone else None) or query
        settled = settle(turn, query)
        query = settled or query
        queries = _wordings(turn, query) if turn.alone and not settled else (query,)
        base = Request(
            task="search",
            wish=Wish(query=query, text_none=turn.unwanted(query), age_restricted=_asks_for_restricted(turn, query)),
            label=query,
            queries=queries,
        )
    elif turn.request is not None:
        base = turn.request
    else:
        base = Request(
            task="search",
            wish=Wish(query=turn.message, text_none=turn.unwanted(turn.message)),
            label="",
            queries=(turn.message,),
        )
    wish = replace(
        base.wish,
        max_price=base.wish.max_price if max_price is None else max_price,
        min_price=base.wish.min_price if min_price is None else min_price,
        bought=bought or base.wish.bought,
    )
    if brand:
        wish = _with_brand(turn, wish, brand, notes)
    for word in having or ():
        if not _may_go(word, first=bool(query)) or _on_some_label(turn, wish, word, queries=base.queries, named=True):
            wish = _with_word(turn, wish, word)
        elif word.lower() not in ORDINARY or word.lower() == "regular":
            notes.append(f"No label here says {word}, so I left that out.")
    without, cheap = _not_dear(without)
    sort = sort or cheap
    for word in without:
        wish = _without_word(turn, wish, word, notes, queries=base.queries)
    if size and not query:
        # "Half a gallon of milk" is no longer what is searched for once another size is wanted.
        bare = [turn.shop.catalog.understand(one).asked.text or one for one in base.queries]
        base = replace(base, queries=tuple(dict.fromkeys(bare)))
    if size:
        wish, near = _with_size(turn, wish, base, size, notes)
    request = replace(base, wish=wish, sort=sort or base.sort)
    if bought == "again" and turn.user_id is None:
        notes.append("I have no past purchases of yours on record, so these are from the whole shop.")
        request = replace(request, wish=replace(wish, bought="any"))
    return _pooled(turn, request, notes, near=near)


@tool(response_format="content_and_artifact", parse_docstring=True)
def recommend(
    runtime: ToolRuntime,
    bought: Literal["again", "new"] | None = None,
    max_price: Price | None = None,
    brand: Word | None = None,
    without: Words | None = None,
) -> Answer:
    """Propose items for this shopper when no item is named.

    Args:
        bought: again = what is usually bought; new = never bought before.
        max_price: Most it may cost.
        brand: store brand, name brand or a brand's name.
        without: Words that must not be on the item.
    """
    turn: Turn = runtime.context
    notes: list[str] = []
    wish = Wish(max_price=max_price, bought=bought or "any", text_none=turn.unwanted(""))
    if brand:
        wish = _with_brand(turn, wish, brand, notes)
    without, cheap = _not_dear(without)
    for word in without:
        wish = _without_word(turn, wish, word, notes)
    task = {"again": "again", "new": "new", None: "next_basket"}[bought]
    labels = {"again": "your usual shop", "new": "something new for you", None: "your next trip"}
    label = labels[bought]
    if bought == "again" and (turn.user_id is None or not turn.shop.history.items(turn.user_id)):
        notes.append("I have no past purchases of yours on record.")
        return _pooled(turn, Request(task="again", wish=wish, label=label), notes)
    if turn.user_id is None and bought is None:
        label = "a first trip"
    request = Request(task=task, wish=wish, label=label, sort=cheap)  # type: ignore[arg-type]
    return _pooled(turn, request, notes)


@tool(response_format="content_and_artifact", parse_docstring=True)
def similar_items(
    runtime: ToolRuntime,
    position: Position | None = None,
    than: Literal["cheaper", "dearer", "bigger", "smaller"] | None = None,
    brand: Word | None = None,
    query: Text | None = None,
) -> Answer:
    """Find items like a shown one; without arguments: others than those already shown.

    Args:
        position: Which shown item, counted from 1.
        than: How they must differ from it.
        brand: store brand, name brand or a brand's name.
        query: A named item to start from.
    """
    turn: Turn = runtime.context
    if turn.request is not None and position is None and not query and than is None and brand is None:
        others = replace(
            turn.request, wish=replace(turn.request.wish, exclude_ids=turn.request.wish.exclude_ids | turn.seen)
        )
        return _pooled(turn, others, [])
    found = _one(turn, position=position, query=query, act="recommend", default_first=True)
    if isinstance(found, Problem):
        return found.text, found
    anchor = found
    if than in ("cheaper", "dearer") and anchor.price is None:
        unpriced = Problem(text=f"There is no price on record for {_short(anchor)} to compare with.", act="recommend")
        return unpriced.text, unpriced
    notes: list[str] = []
    held = turn.request.wish if turn.request is not None else Wish()
    wish = replace(
        held,
        query=anchor.title.split(",")[0].lower(),
        item_ids=None,
        deal=False,
        bought="any" if held.bought == "again" else held.bought,
        age_restricted=anchor.age_restricted,
        exclude_ids=frozenset(
            {anchor.item_id} | ({item.item.item_id for item in turn.shown} if position is None else set())
        ),
        below_price=anchor.price if than == "cheaper" else held.below_price,
        above_price=anchor.price if than == "dearer" else held.above_price,
    )
    if brand:
        wish = _with_brand(turn, replace(wish, brands=()), brand, notes)
    if than in ("bigger", "smaller"):
        wish = replace(wish, item_ids=_by_size(turn, anchor, than))
    words = {"cheaper": "cheaper than", "dearer": "dearer than", "bigger": "bigger than", "smaller": "smaller than"}
    label = f"{words[than]} {_short(anchor)}" if than else f"like {_short(anchor)}"
    request = Request(
        task="similar",
        wish=wish,
        label=label,
        anchors=(anchor.item_id,),
        sort=None,
    )
    return _pooled(turn, request, notes)


@tool(response_format="content_and_artifact", parse_docstring=True)
def goes_with(runtime: ToolRuntime, position: Position | None = None, query: Text | None = None) -> Answer:
    """Find what is bought together with an item, or with the cart when none is named.

    Args:
        position: Which shown item, counted from 1.
        query: A named item.
    """
    turn: Turn = runtime.context
    if position is None and not query:
        anchors = tuple(item_id for item_id, _ in turn.cart) or tuple(r.item.item_id for r in turn.shown[:1])
        if not anchors:
            problem = Problem(
                text="Your cart is empty, so I have nothing to match. Name an item to start from.", act="recommend"
            )
            return problem.text, problem
        label = "your cart" if turn.cart else _short(turn.item(anchors[0]))
    else:
        found = _one(turn, position=position, query=query, act="recommend")
        if isinstance(found, Problem):
            return found.text, found
        anchors, label = (found.item_id,), _short(found)
    held = frozenset(anchors) | {item_id for item_id, _ in turn.cart}
    wish = Wish(exclude_ids=held, text_none=turn.unwanted(""))
    return _pooled(turn, Request(task="goes_with", wish=wish, label=f"goes with {label}", anchors=anchors), [])


@tool(response_format="content_and_artifact", parse_docstring=True)
def deals(runtime: ToolRuntime, query: Text | None = None, max_price: Price | None = None) -> Answer:
    """Show what is on promotion or has a coupon for this shopper.

    Args:
        query: Only such things.
        max_price: Most it may cost.
    """
    turn: Turn = runtime.context
    wish = Wish(max_price=max_price, deal=True, on_offer=turn.on_offer)
    taken_up = False
    if query:
        query, claims = _claims(query)
        query = settle(turn, query) or query
        wish = replace(
            wish,
            query=query,
            text_none=turn.unwanted(query),
            age_restricted=_asks_for_restricted(turn, query),
            text_all=tuple(claims),
        )
        request = Request(task="search", wish=wish, label=query, queries=(query,))
    elif turn.request is not None and turn.shown and OF_THESE.search(turn.message.lower()):
        held = turn.request.wish  # "are any of these on sale" is about the list on the table
        bound = held.max_price if max_price is None else max_price
        request = replace(turn.request, wish=replace(held, deal=True, max_price=bound))
        taken_up = True
    else:
        request = Request(task="next_basket", wish=replace(wish, text_none=turn.unwanted("")), label=ON_OFFER)
    if COUPON.search(turn.message.lower()):
        answer = _offered(turn, request, turn.coupons, taken_up=taken_up)
        if isinstance(answer[1], Pool) and answer[1].candidates:
            return answer
    text, pool = _offered(turn, request, turn.on_offer, taken_up=taken_up)
    if isinstance(pool, Pool) and pool.candidates and COUPON.search(turn.message.lower()):
        pool = replace(pool, notes=(NO_COUPON, *pool.notes))
    return text, pool


def _offered(turn: Turn, request: Request, offered: frozenset[str], *, taken_up: bool) -> Answer:
    """Keep a request to what is offered: of the list on the table where that is taken up, else of all that it is about."""
    request = replace(request, wish=replace(request.wish, on_offer=offered))
    shown = offered & {one.item.item_id for one in turn.shown} if taken_up else frozenset()
    if shown:
        return _pooled(turn, replace(request, wish=replace(request.wish, item_ids=shown)), [])
    text, pool = _pooled(turn, request, [])
    if taken_up and isinstance(pool, Pool) and pool.candidates:
        pool = replace(pool, notes=(NONE_OF_THESE,))
    return text, pool


@tool(response_format="content_and_artifact", parse_docstring=True)
def lookup_catalog(runtime: ToolRuntime, positions: Positions | None = None, query: Text | None = None) -> Answer:
    """Tell details of one item, or compare several.

    Args:
        positions: Which shown items, counted from 1; two or more are compared.
        query: A named item instead.
    """
    turn: Turn = runtime.context
    kept, problem = _shown_at(turn, positions or [], act="compare" if len(positions or []) > 1 else "details")
    if problem is not None:
        return problem.text, problem
    if not kept:
        found = _one(turn, position=None, query=query, act="details", default_first=True)
        if isinstance(found, Problem):
            return found.text, found
        kept = [_position(turn, found)]
        if kept == [0]:
            looked = Looked(kind="details", recommendations=(recommend_one(turn, found),), positions=(0,))
            return "details", looked
    kind: Literal["compare", "details"] = "compare" if len(kept) > 1 else "details"
    looked = Looked(kind=kind, recommendations=tuple(turn.shown[place - 1] for place in kept), positions=tuple(kept))
    return kind, looked


@tool(response_format="content_and_artifact", parse_docstring=True)
def explain(
    runtime: ToolRuntime,
    position: Position | None = None,
    query: Text | None = None,
    why_not: Literal[True] | None = None,
) -> Answer:
    """Tell why an item was shown, or why not.

    Args:
        position: Which shown item, counted from 1.
        query: A named item.
        why_not: True for an item that was not shown.
    """
    from agent.turn import rank_pool  # what is shown is decided there, and the turn imports these tools
    from agent.why_not import look_why_not

    turn: Turn = runtime.context
    if position is not None or not query:
        found = _one(turn, position=position, query=None, act="explain", default_first=True)
        if isinstance(found, Problem):
            return found.text, found
        return "why", _why(turn, found)
    among = named(query, [r.item for r in turn.shown])
    if among and not why_not:
        return "why", _why(turn, among[0])
    if not turn.shown:
        problem = Problem(text=NO_LIST, act="explain")
        return problem.text, problem
    sort, rest = extreme(query)
    if sort is not None and not rest:
        problem = Problem(text=WHICH, act="ask")
        return problem.text, problem
    hits = _meant(turn, query)
    shown_ids = {r.item.item_id for r in turn.shown}
    absent = [turn.item(hit.item_id) for hit in hits if hit.item_id not in shown_ids]
    if not absent and hits:
        return "why", _why(turn, turn.item(hits[0].item_id))
    if not absent:
        problem = Problem(text=f"This shop does not carry {query}.", act="explain")
        return problem.text, problem
    # The nearest miss is the most telling: the item that breaks the fewest wishes, in the order found.
    wish = turn.request.wish if turn.request is not None else Wish()
    item = min(absent[:8], key=lambda one: len(broken(one, wish, bought=turn.bought(one.item_id))))

    def pooled(request: Request) -> Pool:
        pool = _pooled(turn, request, [])[1]
        assert isinstance(pool, Pool)
        return pool

    return "why not", look_why_not(
        turn, item, pooled=pooled, ranked=lambda pool: rank_pool(turn, pool, limit=turn.limits.list_length)
    )


@tool(response_format="content_and_artifact", parse_docstring=True)
def update_cart(
    runtime: ToolRuntime,
    action: Literal["add", "remove", "set", "show", "clear"],
    positions: Positions | None = None,
    query: Text | None = None,
    quantity: Annotated[int, Field(ge=1, le=99)] | None = None,
) -> Answer:
    """Change or show the cart.

    Args:
        action: What to do; set = change how many there are of it.
        positions: Which shown items, counted from 1.
        query: A named item, or the cheapest, dearest, biggest or smallest of those shown.
        quantity: How many of each.
    """
    turn: Turn = runtime.context
    if action in ("show", "clear"):
        return action, CartEdit(action=action)
    in_cart = [turn.item(item_id) for item_id, _ in turn.cart if item_id in turn.shop.catalog.items]
    spared: list[Item] = []
    of_cart = named(query, in_cart) if query and not positions and action in ("remove", "set") else []
    if action == "set" and of_cart:
        items = of_cart[-1:]
    elif action == "remove" and query and not positions:
        items = of_cart
        if not items:
            missing = Problem(text=f"There is no {query} in your cart.", act="cart")
            return missing.text, missing
        if _one_of_several(turn.message, query):
            *spared, last = items  # "take the milk out again": the milk that was put in last
            items = [last]
    else:
        by_cart_line = action == "remove" and not turn.shown and bool(in_cart)
        kept, problem = _shown_at(turn, [] if by_cart_line else positions or [], act="cart")
        if problem is not None:
            return problem.text, problem
        items = [turn.shown[place - 1].item for place in kept]
        if by_cart_line and positions:
            items = [in_cart[place - 1] for place in positions if place <= len(in_cart)]
            if not items:
                missing = Problem(text=f"There is no number {positions[0]} in your cart.", act="cart")
                return missing.text, missing
        if action == "remove" and not items and len(in_cart) == 1:
            items = in_cart
        if not items:
            found = _one(
                turn,
                position=None,
                query=query,
                act="cart",
                default_first=len(turn.shown) == 1 or turn.focus is not None,
            )
            if isinstance(found, Problem):
                return found.text, found
            items = [found]
    if action in ("add", "set") and turn.too_young and any(item.age_restricted for item in items):
        refused = Problem(text=kept_back(turn), act="decline")
        return refused.text, refused
    if action == "remove":
        held = {item_id for item_id, _ in turn.cart}
        items = [item for item in items if item.item_id in held]
        if not items:
            # "Drop number 2" may count the cart's own lines, where none of those shown is in it.
            items = [in_cart[place - 1] for place in positions or () if place <= len(in_cart)]
        if not items:
            missing = Problem(text="That item is not in your cart.", act="cart")
            return missing.text, missing
    if action == "add" and quantity and any(_is_its_size(quantity, item) for item in items):
        quantity = None  # "put the store brand 64 in" is one jar of 64 oz
    if action == "set" and quantity is None:
        unsaid = Problem(text="How many of it should be in the cart?", act="ask")
        return unsaid.text, unsaid
    # Removing without a number takes all of an item out; 0 stands for all.
    edit = CartEdit(
        action=action,
        items=tuple((item.item_id, quantity or (1 if action == "add" else 0)) for item in items),
        spared=tuple(item.item_id for item in spared),
    )
    return action, edit


@tool(response_format="content_and_artifact", parse_docstring=True)
def remember(
    runtime: ToolRuntime,
    kind: Literal["like", "dislike", "avoid", "note", "show"],
    position: Position | None = None,
    text: Text | None = None,
) -> Answer:
    """Remember a taste or fact about the shopper, or show what is remembered.

    Args:
        kind: avoid = never show it; show = list what is remembered.
        position: Which shown item, counted from 1.
        text: What it is.
    """
    turn: Turn = runtime.context
    if kind == "show":
        return kind, MemoryEdit(action="show")
    if position is not None:
        kept, problem = _shown_at(turn, [position], act="remember")
        if problem is not None:
            return problem.text, problem
        item = turn.shown[kept[0] - 1].item
        return kind, MemoryEdit(action="add", kind=kind, text=item.title, item_ids=(item.item_id,))
    if not text or (kind != "note" and not _says(turn, text)):
        problem = Problem(text="Tell me in a few words what I should remember.", act="remember")
        return problem.text, problem
    item_ids: tuple[str, ...] = ()
    if kind == "like":
        hits = turn.shop.catalog.search([text], wish=Wish(query=text), limit=3)
        item_ids = tuple(hit.item_id for hit in hits)
    return kind, MemoryEdit(action="add", kind=kind, text=text, item_ids=item_ids)


@tool(response_format="content_and_artifact", parse_docstring=True)
def forget(runtime: ToolRuntime, text: Text | None = None, position: Position | None = None) -> Answer:
    """Forget something remembered of the shopper.

    Args:
        text: What to forget; "all" for everything.
        position: Which shown item, counted from 1.
    """
    turn: Turn = runtime.context
    if position is not None:
        kept, problem = _shown_at(turn, [position], act="forget")
        if problem is not None:
            return problem.text, problem
        item = turn.shown[kept[0] - 1].item
        return "forget", MemoryEdit(action="forget", text=item.title, item_ids=(item.item_id,))
    if not text or not text.strip():
        problem = Problem(text="What should I forget? Name it, or say everything.", act="forget")
        return problem.text, problem
    return "forget", MemoryEdit(action="forget", text=text)


@tool(response_format="content_and_artifact", parse_docstring=True)
def ask_shopper(runtime: ToolRuntime, query: Text) -> Answer:
    """Ask back which kind is meant, when the need is too broad for one list.

    Args:
        query: The broad need.
    """
    turn: Turn = runtime.context
    if turn.options:
        # Asked back once already: what was answered is shown, however little it says.
        return search_catalog.func(runtime, query=query)  # type: ignore[attr-defined]
    wish = Wish(query=query, text_none=turn.unwanted(query), age_restricted=_asks_for_restricted(turn, query))
    kinds = [
        kind
        for kind in turn.shop.catalog.kinds(query, limit=30)
        if wish.age_restricted or not all(turn.item(item_id).age_restricted for item_id in kind.item_ids)
    ]
    meant = [kind for kind in kinds if kind.score >= AS_LIKELY * kinds[0].score]
    meant.sort(key=lambda kind: -sum(map(turn.shop.history.buyers, kind.item_ids)))
    names: dict[tuple[str, ...], str] = {}  # "candy bar" and "candy bars" are one answer, named as more shoppers buy it
    for kind in meant:
        names.setdefault(tuple(stems(kind.name)), kind.name)
    if len(names) < 2:
        # One answer only: asking would not change the list, so show it.
        return search_catalog.func(runtime, query=query)  # type: ignore[attr-defined]
    options = tuple(names.values())[:4]
    listed = ", ".join(name.lower() for name in options[:-1]) + " or " + options[-1].lower()
    question = Question(
        text=f"Which would it be: {listed}?" if stems(query)[0] in VAGUE else f"What kind of {query}: {listed}?",
        options=options,
        request=Request(task="search", wish=wish, label=query, queries=(query,)),
    )
    return question.text, question


@tool(response_format="content_and_artifact", parse_docstring=True)
def chat(runtime: ToolRuntime, topic: Literal["hello", "thanks", "bye", "help", "off_topic", "hostile"]) -> Answer:
    """Answer talk that is not about items.

    Args:
        topic: What it is.
    """
    return topic, Line(topic=topic)


TOOLS: tuple[BaseTool, ...] = (
    search_catalog,
    recommend,
    similar_items,
    goes_with,
    deals,
    lookup_catalog,
    explain,
    update_cart,
    remember,
    forget,
    ask_shopper,
    chat,
)


def _pooled(turn: Turn, request: Request, notes: list[str], *, near: Sequence[str] = ()) -> Answer:
    """Retrieve the candidates of a request; the pool is empty where nothing fits.

    What the shopper wants to be spared is kept out here, so that no tool and no refinement can miss it.
    """
    shop, wish = turn.shop, replace(request.wish, age_restricted=request.wish.age_restricted and not turn.too_young)
    request = replace(request, wish=wish)
    if wish.deal:  # what was on offer when it was asked for may be no more
        wish = replace(wish, on_offer=wish.on_offer & turn.on_offer)
        request = replace(request, wish=wish)
    spared = [word for word in turn.unwanted(wish.query) if word not in wish.text_none]
    if spared:
        wish = replace(wish, text_none=(*wish.text_none, *spared))
        request = replace(request, wish=wish)
    if request.label and narrow(wish) and request.task in ("search", "again", "new", "next_basket"):
        told = replace(wish, text_none=_asked_out(turn, wish))
        if request.task in ("again", "new"):
            told = replace(told, bought="any")  # the label says so already
        if request.label.split(" (")[0] == ON_OFFER:
            told = replace(told, deal=False)
        request = replace(request, label=f"{request.label.split(' (')[0]} ({narrow(told)})".replace(" ()", ""))
    candidates: list[Candidate]
    if (wish.item_ids is not None and not wish.item_ids) or (wish.deal and not wish.on_offer):
        candidates = []
    elif request.task == "search":
        candidates = shop.catalog.search(list(request.queries), wish=wish, limit=RETRIEVED, bought=turn.bought)
    elif request.task == "similar":
        candidates = _alike(turn, request, shop.catalog.similar(request.anchors[0], wish=wish, limit=RETRIEVED))
    elif request.task == "again" and turn.user_id is None:
        candidates = []
    else:
        candidates = shop.candidates(turn.rank_context(request, limit=RETRIEVED), limit=RETRIEVED)
    if request.task in ("goes_with", "again", "new", "next_basket"):
        candidates = [c for c in candidates if not broken(turn.item(c.item_id), wish, bought=turn.bought(c.item_id))]
    candidates = [candidate for candidate in candidates if candidate.item_id not in turn.avoided]
    pool = Pool(request=request, candidates=tuple(candidates), notes=tuple(notes), near=tuple(near))
    return f"{len(candidates)} candidates", pool


def _alike(turn: Turn, request: Request, candidates: list[Candidate]) -> list[Candidate]:
    """Keep to the same thing, else its own category: a cheaper yogurt is no soup, however little the soup costs.

    Where nothing was asked but "like it", other things may fill up a short list.
    """
    anchor, wish = turn.item(request.anchors[0]), request.wish
    asked = wish.below_price is not None or wish.above_price is not None or wish.item_ids is not None
    same = [c for c in candidates if _short(turn.item(c.item_id)) == _short(anchor)]
    own = [c for c in candidates if anchor.categories and turn.item(c.item_id).categories == anchor.categories]
    for kept in (same, own):
        if len(kept) >= (1 if asked else 3):
            return kept
    return [] if asked and anchor.categories else candidates


def _asked_out(turn: Turn, wish: Wish) -> tuple[str, ...]:
    remembered = {memory.text for memory in turn.memories}
    return tuple(word for word in wish.text_none if word not in remembered)


def _short(item: Item) -> str:
    return item.title.split(",")[0].lower()


def _asks_for_restricted(turn: Turn, query: str) -> bool:
    """Say whether the words name age-restricted goods: then, and only then, such goods may be shown."""
    said = (turn.message, *turn.said[-3:])
    asked = names_restricted(turn, query) and (
        _says(turn, query) or any(names_restricted(turn, message) for message in said)
    )
    return asked and not turn.too_young  # last, as it reads the whole talk


def kept_back(turn: Turn) -> str:
    """Say why age-restricted goods are not shown."""
    return TOO_YOUNG if turn.too_young else ASK_FOR_IT


def names_restricted(turn: Turn, words: str) -> bool:
    """Say whether words plainly name goods that are age-restricted."""
    focus = turn.shop.catalog.focus([words]) or frozenset()
    return sum(turn.item(item_id).age_restricted for item_id in focus) > len(focus) / 2


def _says(turn: Turn, words: str) -> bool:
    return any(contains(" ".join(turn.said[-3:]) + " " + turn.message, word) for word in words.split() if len(word) > 2)


FEW = 4  # items; words that name fewer may do so by a number or a name in passing


def _wordings(turn: Turn, query: str) -> tuple[str, str]:
    """Give the query and the shopper's own words; these first where they plainly name some of what the query names.

    "detergant for dishwaher" became the query "detergent", which names laundry detergents too.
    """
    focus = turn.shop.catalog.focus
    own, asked = focus([turn.message]), focus([query])
    narrower = own is not None and asked is not None and own < asked and len(own) >= FEW
    return (turn.message, query) if narrower else (query, turn.message)


def _own_words(turn: Turn, query: str) -> str | None:
    """Give the shopper's own words where they plainly name a thing, every word of them, and the query names another.

    A small model writes "tampons" for "TP"; what tells a story ("grape juice on the carpet") names nothing whole. Where
    no word of a query was said and it finds nothing ("smoking" for "a pack of smokes"), what the message names is meant.
    """
    catalog = turn.shop.catalog
    if not any(contains(turn.message, word) for word in query.split()) and (meant := catalog.focus([turn.message])):
        found = catalog.search([query], wish=Wish(query=query, age_restricted=True), limit=1)
        if not found:
            return turn.message
    if len([part for part in re.split(r"[,.;:!?]+", turn.message) if len(part.split()) > 1]) > 1:
        return None  # what one clause names ("the stuff for hair, after shampoo") need not be what is wanted
    own = catalog.understand(turn.message)
    vague = any(word in ("something", "anything", "stuff") for word in own.asked.tokens)
    told = vague or own.asked.sentence or own.asked.head_end < len(own.asked.words)
    if told or not own.named_whole or all(contains(turn.message, word) for word in query.split()):
        return None
    meant, asked = catalog.focus([turn.message]), catalog.focus([query])
    return own.asked.text if meant and (asked is None or meant.isdisjoint(asked)) else None


def _named_anew(turn: Turn, query: str | None, *, said: Sequence[str]) -> str | None:
    """Give the other thing that a message starts with: "cheese for tacos, store brand", planned as tacos again after tacos.

    Only where the plan has no query, or that of the wish on the table once more; `said` are the words that it takes for
    some of the list ("with nuts", after ice cream).
    """
    held, catalog = turn.request, turn.shop.catalog
    if held is None or turn.options or (query and stems(query) != stems(held.wish.query)):
        return None
    head = re.split(r"[,.;:!?]|\bfor\b|\bunder\b", turn.message.lower())[0]
    thing = re.sub(
        r"^(?:(?:and|ok(?:ay)?|now|then|also|some|next|i need|i want|find|show me|please)\s+)+", "", head
    ).strip()
    if not catalog.calls(thing) or any(contains(thing, word) for word in said):
        return None
    other, now = catalog.focus([thing]), catalog.focus(held.queries) or frozenset()
    shown = {one.item.item_id for one in turn.shown}
    return thing if other and other.isdisjoint(now | shown) else None


def _claims(query: str) -> tuple[str, list[str]]:
    """Part a query from what must stand on the label: "gluten free bread" is no wish for any bread.

    >>> _claims("gluten free bread"), _claims("free range eggs"), _claims("feel free to show milk")
    (('bread', ['gluten free']), ('free range eggs', []), ('feel free to show milk', []))
    >>> _claims("gluten and dairy free bread"), _claims("milk and sugar-free gum")
    (('bread', ['gluten free', 'dairy free']), ('milk and gum', ['sugar free']))
    """
    claims: list[str] = []

    def part(match: re.Match[str]) -> str:
        words = re.findall(r"[a-z]+", match[0].lower())[:-1]
        if words[-1] in FREE_ELSE:
            return match[0]
        claims.extend(f"{word} free" for word in words if word != "and")
        return " "

    # In a row ("gluten and dairy free") only what things are known to be free of: "milk and sugar free gum" is two things.
    row = "|".join(FREE_OF)
    rest = re.sub(rf"\b(?:(?:{row})(?:,? and |, ?|/))*[a-z]+[- ]free\b(?![- ]range)", part, query, flags=re.IGNORECASE)
    rest = " ".join(rest.split())
    return (rest, claims) if rest else (query, [])


def _option(turn: Turn, words: str) -> str | None:
    """Give the one answer to the last question that words stand for: "the microwave kind" of "microwavable soup"."""
    if len(words.split()) > 3:
        return None
    about = set(stems(turn.request.wish.query)) if turn.request is not None else set()
    said = {word[:6] for word in stems(words) if len(word) > 3 and word not in about}
    named = [option for option in turn.options if said & {word[:6] for word in stems(option) if word not in about}]
    return named[0] if len(named) == 1 else None


def _qualifier(turn: Turn, query: str) -> str | None:
    """Give the words of a query that stand on what was just wished for: "gel" after detergents, "herbal" after teas.

    Words that a model added to those said ("herbal medicine") are left out. What names a kind of thing is a wish of
    its own, but for an answer to a question ("the bathroom", when asked what is to be cleaned).
    """
    held, catalog = turn.request, turn.shop.catalog
    if held is None or held.task != "search" or query in turn.options:
        return None
    bare = " ".join(word for word in turn.message.lower().split() if bare_words(word))
    words = " ".join(word for word in query.split() if contains(turn.message, word)) or bare
    if len(words.split()) > 2 or len(turn.message.split()) > 5 or stems(words) == stems(held.wish.query):
        return None
    if not turn.options and catalog.names_thing(words) and catalog.focus([words]):
        return None
    wish = _with_word(turn, held.wish, words)
    return words if catalog.search(list(held.queries), wish=wish, limit=1, bought=turn.bought) else None


def _with_brand(turn: Turn, wish: Wish, brand: str, notes: list[str]) -> Wish:
    resolved = turn.shop.catalog.resolve_brand(brand)
    if resolved is None:
        notes.append(f"No brand here is called {brand}, so I left that out.")
        return wish
    name, value = resolved
    # Where the attribute says no more than the item's brand does, the brand is what shoppers read.
    brands = {
        item.brand for item in turn.shop.catalog.items.values() if item.brand and item.attributes.get(name) == value
    }
    if name == "brand" or len(brands) == 1:
        return replace(wish, brands=(value,) if name == "brand" else tuple(brands))
    return replace(wish, attributes={**wish.attributes, name: (value,)})


def _with_word(turn: Turn, wish: Wish, word: str) -> Wish:
    return replace(wish, text_all=tuple(dict.fromkeys((*wish.text_all, word))))


def _may_go(word: str, *, first: bool) -> bool:
    """Say whether a wish goes on without a word that no label has: a taste in a first wish, with a note, but no diet.

    Ice cream is shown to who asks for vanilla where no label tells of tastes; bread is not to who must not eat gluten.
    In a refinement the list is on the table already, and a word that no label has narrows it to nothing.

    >>> [_may_go(word, first=True) for word in ("vanilla", "gluten free", "low-salt", "organic", "normal")]
    [True, False, False, False, True]
    """
    parts = re.findall(r"[a-z]+", word.lower())
    return word.lower() in ORDINARY or (first and DIET.isdisjoint(parts))


def _on_some_label(turn: Turn, wish: Wish, word: str, *, queries: Sequence[str], named: bool = False) -> bool:
    """Say whether anything that fits the wish so far has this word on its label.

    Where it has to be `named`, one of those that the words plainly name: baby powder is no coffee creamer that says powder.
    """
    catalog = turn.shop.catalog
    hits = catalog.search(list(queries), wish=_with_word(turn, wish, word), limit=RETRIEVED, bought=turn.bought)
    kind = catalog.focus(queries) if named else None
    return any(kind is None or hit.item_id in kind for hit in hits)


def _not_dear(without: Sequence[str] | None) -> tuple[list[str], Sort | None]:
    """Part what must not be on the label from "nothing expensive", which orders a list instead.

    >>> _not_dear(["nuts", "expensive ones"])
    (['nuts'], 'cheapest')
    """
    kept = [word for word in without or () if DEAR.isdisjoint(word.lower().split())]
    return kept, "cheapest" if len(kept) < len(without or ()) else None


def _without_word(turn: Turn, wish: Wish, word: str, notes: list[str], *, queries: Sequence[str] = ()) -> Wish:
    """Keep a word out; where labels say that they are free of it ("lactose free"), what says so is what is wanted.

    What no label in the shop tells of is not promised to be left out: "bread without gluten" would be any bread.
    """
    free = f"{word} free"
    if queries and _on_some_label(turn, wish, free, queries=queries):
        return _with_word(turn, wish, free)
    resolved = turn.shop.catalog.resolve_brand(word)
    if resolved is not None and resolved[0] != "brand":
        name, value = resolved
        return replace(wish, not_attributes={**wish.not_attributes, name: (value,)})
    if not turn.shop.catalog.mentions(word):
        notes.append(f"I can't leave out {word}: no label here tells of it.")
        return wish
    return replace(wish, text_none=tuple(dict.fromkeys((*wish.text_none, word))))


def _with_size(turn: Turn, wish: Wish, base: Request, size: str, notes: list[str]) -> tuple[Wish, list[str]]:
    """Keep what has this size; without any, note the sizes there are and give the items that have them."""
    wanted = parse_quantity(size)
    if wanted is None:
        notes.append(f"I can't read {size} as a size, so I left that out.")
        return wish, []
    wish = replace(wish, item_ids=None)  # a size asked for before gives way
    queries = list(base.queries) or [base.wish.query]
    near = turn.shop.catalog.search(queries, wish=wish, limit=400, bought=turn.bought)
    fits, sizes = set(), []
    for candidate in near:
        item = turn.item(candidate.item_id)
        held = item_quantity(item)
        if held is not None and same_size(held, wanted):
            fits.add(item.item_id)
        elif held is not None:
            sizes.append(item)
    if not fits and sizes:
        known: dict[str, str] = {}
        for item in sizes[:8]:
            for part in item.title.split(", ")[1:]:
                if parse_quantity(part):
                    known.setdefault(part, item.item_id)
        told = list(known)[:4]
        if told:
            notes.append(f"Not in {size}; the sizes here are {', '.join(told)}.")
            return replace(wish, item_ids=frozenset()), [known[part] for part in told]
    return replace(wish, item_ids=frozenset(fits)), []


def _by_size(turn: Turn, anchor: Item, than: str) -> frozenset[str]:
    own = item_quantity(anchor)
    if own is None:
        return frozenset()
    kept = set()
    for candidate in turn.shop.catalog.similar(
        anchor.item_id, wish=Wish(age_restricted=anchor.age_restricted), limit=400
    ):
        other = item_quantity(turn.item(candidate.item_id))
        if other is None or other.unit != own.unit:
            continue
        if other.amount > own.amount * 1.02 if than == "bigger" else other.amount < own.amount * 0.98:
            kept.add(candidate.item_id)
    return frozenset(kept)


def _is_its_size(number: int, item: Item) -> bool:
    """Say whether a number beyond what people take of one thing is the size on its label."""
    return number > MANY and re.search(rf"(?<![\d.]){number}(?![\d.])", item.title) is not None


def _one_of_several(message: str, name: str) -> bool:
    """Say whether a name in a message means one thing, and not all that are called so.

    >>> _one_of_several("take the milk out", "milk"), _one_of_several("no apples", "apples"), _one_of_several("drop both milks", "milk")
    (True, False, False)
    """
    last = name.lower().split()[-1:] or [""]
    plural = re.search(rf"\b{re.escape(last[0])}e?s\b|\b(?:all|both|every\w*|any|each|two|three)\b|\d", message.lower())
    return plural is None and (not last[0].endswith("s") or last[0].endswith("ss"))


def _shown_at(turn: Turn, positions: list[int], *, act: str) -> tuple[list[int], Problem | None]:
    """Keep the positions that the list shown last has; a problem when one is past its end."""
    count = len(turn.shown)
    kept = list(dict.fromkeys(place for place in positions if 1 <= place <= count))
    if len(kept) < len(set(positions)):
        if not count:
            return [], Problem(text=NO_LIST, act=act)
        wrong = next(place for place in positions if not 1 <= place <= count)
        have = "one item" if count == 1 else f"{count} items"
        return [], Problem(
            text=f"There is no number {wrong}: the last list has {have}. Which one do you mean?", act="ask"
        )
    return kept, None


def _why(turn: Turn, item: Item) -> Looked:
    place = _position(turn, item)
    return Looked(kind="explain", recommendations=(turn.shown[place - 1],), positions=(place,))


def _meant(turn: Turn, words: str) -> list[Candidate]:
    """Find what was asked after beside the list: a brand or tier of the same thing, else another thing."""
    catalog, request = turn.shop.catalog, turn.request
    if request is not None and request.wish.query and catalog.resolve_brand(words) is not None:
        wish = _with_brand(turn, Wish(query=request.wish.query, age_restricted=True), words, [])
        hits = catalog.search([request.wish.query], wish=wish, limit=20)
        if hits:
            return hits
    return catalog.search([words], wish=Wish(query=words, age_restricted=True), limit=20)


def _position(turn: Turn, item: Item) -> int:
    return next((place for place, r in enumerate(turn.shown, start=1) if r.item.item_id == item.item_id), 0)


def _one(
    turn: Turn, *, position: int | None, query: str | None, act: str, default_first: bool = False
) -> Item | Problem:
    """Resolve a reference to one item: by position, by name among those shown, then in the shop."""
    if position is not None:
        kept, problem = _shown_at(turn, [position], act=act)
        return problem if problem is not None else turn.shown[kept[0] - 1].item
    if query:
        among = named(query, [r.item for r in turn.shown])
        if among:
            return among[0]
        sort, rest = extreme(query)
        if sort is not None and not rest:
            return Problem(text=WHICH, act="ask") if turn.shown else Problem(text=NO_LIST, act=act)
        query = rest if sort is not None else query
        wish = Wish(query=query, age_restricted=_asks_for_restricted(turn, query))
        hits = turn.shop.catalog.search([query], wish=wish, limit=20)
        if not hits:
            if names_restricted(turn, query):
                return Problem(text=kept_back(turn), act=act)
            return Problem(text=f"This shop does not carry {query}.", act=act)
        if sort is not None and (ends := furthest([turn.item(hit.item_id) for hit in hits], sort)):
            return ends[0]
        own = [hit for hit in hits[:10] if turn.bought(hit.item_id)]
        best = max(own or hits[:10], key=lambda hit: turn.shop.history.buyers(hit.item_id))
        return turn.item(best.item_id)
    if default_first and turn.shown:
        return turn.shown[(turn.focus or 1) - 1].item
    return Problem(text=WHICH, act="ask") if turn.shown else Problem(text=NO_LIST, act=act)
