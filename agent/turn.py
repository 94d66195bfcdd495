"""One turn as a LangGraph graph: plan, act, rank and show, answer, keep."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from random import Random
from threading import Thread
from typing import Any, TypedDict

from langchain.tools import ToolRuntime
from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime

from agent import grounding, plain, wordings
from agent.context import Turn, sort_value
from agent.conversation import Message, ToolCall
from agent.events import Asked, Called, CartChanged, Event, Finished, Listed, Notice, Said, Shown
from agent.heard import hear
from agent.mend import mend_call
from agent.model import Model, ModelFailure, Usage
from agent.outcome import ON_OFFER, CartEdit, Line, Looked, MemoryEdit, Outcome, Pool, Problem, Question, Request
from agent.plan import check_call, plain_words, plan_schema, read_plan
from agent.prompt import chat_messages
from agent.record import recommendation_to_json, wish_to_json
from agent.store import Memory, Store
from agent.tools import TOOLS, kept_back, names_restricted
from retrieval.records import Fact, Item, Part, Recommendation
from retrieval.wish import Wish, contains

TOOLS_BY_NAME = {tool.name: tool for tool in TOOLS}
ACT_OF_LINE = {"off_topic": "decline", "hostile": "decline"}
RULES_TOKENS = 350  # rules and tools, and room for the newest rows
CHARS_PER_TOKEN = 3.2  # low for English, so that the prompt keeps under its bound of tokens
MODEL_IS_AWAY = "The model is not answering, so this is a plain search with plain reasons."
MODEL_STOPPED = "The model stopped, so the reasons below are plain ones."
MODEL_IS_SLOW = "The model is slow, so the reasons below are plain ones."
YOUR_WORDS = "your words"  # what a list is called that a plain search made of a whole message
LEAST_SECONDS = 1.0  # left of a turn for which the model is still asked for words
PLAN_SHARE = 0.75  # of a turn for its plan: a right list with plain reasons is better than a wrong one in good time
Cart = tuple[tuple[str, int], ...]


class Talk(TypedDict, total=False):
    """What a session keeps between turns, as plain JSON values: the checkpointer takes nothing else."""

    turns: list[dict[str, Any]]


@dataclass(slots=True, kw_only=True)
class Work:
    """The workspace of one turn; nothing of it outlives the turn but what `keep` puts into `Talk`."""

    turn: Turn
    model: Model | None
    store: Store
    owner: str
    history: tuple[Message, ...]
    calls: list[ToolCall] = field(default_factory=list)  # known beforehand when a button was pressed
    user_message: Message
    started: float = field(default_factory=time.monotonic)
    usage: Usage = field(default_factory=Usage)
    planned: bool = False
    model_away: bool = False
    outcomes: list[Outcome] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    shown: list[Recommendation] = field(default_factory=list)
    looked: Looked | None = None
    new_list: bool = False
    notes: list[str] = field(default_factory=list)
    near: list[str] = field(default_factory=list)  # ids of items that the notes speak of, and that are not shown
    rows: str = ""
    acts: list[str] = field(default_factory=list)
    raw: list[str] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)  # the model's sentences that were not said
    mended: int = 0  # calls that code changed before it made them
    first_list_seconds: float | None = None
    cart: Cart = ()
    carts: dict[int, tuple[Cart, Cart]] = field(default_factory=dict)  # by outcome: the cart before and after it
    memories: tuple[Memory, ...] = ()
    kept: dict[str, Any] = field(default_factory=dict)

    def left(self) -> float:
        """Give the seconds left of the turn."""
        return self.turn.limits.turn_seconds - (time.monotonic() - self.started)


Write = Callable[[Event], None]


def build_graph(checkpointer: Any) -> Any:
    """Compile the graph; a session is a thread of it."""
    graph = StateGraph(Talk, context_schema=Work)
    for stage in (plan, act, answer, keep):
        graph.add_node(stage.__name__, _node(stage))
    graph.add_edge(START, "plan")
    graph.add_edge("plan", "act")
    graph.add_edge("act", "answer")
    graph.add_edge("answer", "keep")
    graph.add_edge("keep", END)
    return graph.compile(checkpointer=checkpointer)


def _node(stage: Callable[[Work, Write], None]) -> Callable[[Talk, Runtime[Work]], Talk]:
    def run(state: Talk, runtime: Runtime[Work]) -> Talk:
        stage(runtime.context, runtime.stream_writer)
        return {}

    return run


def plan(work: Work, write: Write) -> None:
    """Have the model choose the calls; without an answer from it, make a plain search."""
    if work.calls:
        return
    limits = work.turn.limits
    if work.model is not None and limits.model_calls > 0:
        schema = plan_schema(TOOLS, max_calls=limits.tool_calls)
        try:
            with _reading_ahead(work.turn):
                text = work.model.plan(
                    _prompt(work, ()),
                    schema=schema,
                    max_tokens=limits.plan_tokens,
                    seconds=work.left() * PLAN_SHARE,
                    usage=work.usage,
                )
            work.calls = read_plan(text, tools=TOOLS, max_calls=limits.tool_calls)
            work.planned = True
            return
        except (ModelFailure, ValueError):
            pass
    work.model_away = True
    write(Notice(text=MODEL_IS_AWAY))
    work.calls = [_plain_search(work.turn.message)]


@contextmanager
def _reading_ahead(turn: Turn) -> Iterator[None]:
    """Have the catalogue take the message's words to what they mean while the model plans; it remembers them.

    Embedding them is most of a turn's own work, and a list can wait for the model and for this at once.
    """

    def read() -> None:
        with suppress(Exception):  # whoever needs the meaning asks again, and hears what is wrong
            turn.shop.catalog.understand(turn.message)

    reader = Thread(target=read, name="reading-ahead", daemon=True)
    reader.start()
    try:
        yield
    finally:
        reader.join()


def _plain_search(message: str) -> ToolCall:
    """Search for the message as it stands, within what it says in so many words: without a model, too, "under $3" holds."""
    heard = hear(message)
    bounds = {"max_price": heard.most, "min_price": heard.least, "brand": heard.tier}
    kept = {name: value for name, value in bounds.items() if value is not None}
    return ToolCall(name="search_catalog", arguments={"query": _as_query(message), **kept})


def _as_query(message: str) -> str:
    return plain_words(message)[:60].strip()


# act


def act(work: Work, write: Write) -> None:
    """Run the calls, rank what they found, show the list, and apply what changes cart and memory."""
    searches = sum(
        call.name in ("search_catalog", "recommend", "similar_items", "goes_with", "deals") for call in work.calls
    )
    wishes = tuple(str(call.arguments.get("query") or "") for call in work.calls if call.name == "search_catalog")
    turn = replace(work.turn, alone=searches <= 1 and len(work.calls) == 1, wishes=wishes)
    work.cart, work.memories = turn.cart, turn.memories
    calls = []
    for asked in work.calls[: turn.limits.tool_calls]:
        call = typed = _typed(asked)
        if call is not None and work.planned:
            call = _typed(_put_right(call, turn, alone=len(work.calls) == 1))
        if call is None:
            # A server that does not keep to the schema: the call is refused, the talk goes on.
            call, summary = ToolCall(name=asked.name), "refused"
            outcome: Outcome = Problem(text="I did not get that. Could you say it another way?", act="ask")
        else:
            outcome, summary = _run(call, turn)
            work.mended += work.planned and (call != typed or _read_otherwise(call, outcome, turn))
        if isinstance(outcome, Problem) and any(isinstance(one, Problem) for one in work.outcomes):
            continue
        calls.append(call)
        work.outcomes.append(outcome)
        write(Called(name=call.name, arguments=dict(call.arguments), summary=summary))
    work.calls = calls
    _rank(work)
    if work.new_list:
        write(Listed(cards=tuple(Shown(recommendation=r, reason=plain.reason(r)) for r in work.shown)))
        work.first_list_seconds = time.monotonic() - work.started
    _apply(work, write)
    work.rows = _rows(work)


def _read_otherwise(call: ToolCall, outcome: Outcome, turn: Turn) -> bool:
    """Say whether a search looks for something else than its plan says: the tool read the message's own words instead."""
    if call.name != "search_catalog" or not isinstance(outcome, Pool):
        return False
    held = turn.request.wish.query if turn.request is not None else outcome.request.wish.query
    return outcome.request.wish.query != call.arguments.get("query", held)


def _put_right(call: ToolCall, turn: Turn, *, alone: bool) -> ToolCall:
    """Take out of a planned call what was never said and, where it is the plan's only one, put in what plainly was."""
    checked = check_call(call, message=turn.message, said=turn.said)[0]
    if not alone:
        return checked
    mended = mend_call(
        checked,
        hear(turn.message),
        shown=len(turn.shown),
        focus=turn.focus,
        refused=turn.request is not None and bool(turn.request.wish.text_none or turn.request.wish.not_attributes),
        memories=[memory.text for memory in turn.memories],
    )
    return mended if _typed(mended) else checked


def _typed(call: ToolCall) -> ToolCall | None:
    """Give the call with its arguments as the tool's schema types them; None where they do not fit it."""
    from pydantic import ValidationError

    tool: Any = TOOLS_BY_NAME[call.name]
    try:
        arguments = tool.tool_call_schema.model_validate(dict(call.arguments)).model_dump(exclude_none=True)
    except ValidationError:
        return None
    return ToolCall(name=call.name, arguments=arguments)


def _run(call: ToolCall, turn: Turn) -> tuple[Outcome, str]:
    runtime: ToolRuntime[Turn, Any] = ToolRuntime(
        state={}, context=turn, config={}, stream_writer=lambda _: None, tool_call_id=call.name, store=None
    )
    tool: Any = TOOLS_BY_NAME[call.name]
    # Not `tool.invoke`: it would serialise the runtime, and with it the shop, on every call.
    content, outcome = tool.func(runtime=runtime, **call.arguments)
    return outcome, content


def _rank(work: Work) -> None:
    """Rank every pool and join the lists: the first list of a turn is what "the second one" will mean."""
    pools = [outcome for outcome in work.outcomes if isinstance(outcome, Pool)]
    if work.model_away and not work.planned:  # a whole message was searched for, which makes no name for a list
        pools = [replace(pool, request=replace(pool.request, label=YOUR_WORDS)) for pool in pools]
    turn = work.turn
    ranked = [rank_pool(turn, pool, limit=turn.limits.list_length) for pool in pools]
    taken = shared_out(ranked, limit=turn.limits.list_length)
    for pool, found, fresh in zip(pools, ranked, taken, strict=True):
        work.notes += [note for note in pool.notes if note not in work.notes]
        work.near += pool.near
        if fresh:
            work.requests.append(pool.request)
            work.shown += fresh
        elif not found:
            sentences, near = nothing_fits(turn, pool)
            work.notes += sentences
            work.near += near
        work.acts.append("recommend")
    work.shown = with_list_facts(work.shown)
    work.new_list = bool(work.shown)
    if pools and not work.shown:
        work.acts.append("decline")
    for outcome in work.outcomes:
        if isinstance(outcome, Looked):
            work.looked = outcome
            work.acts.append("explain" if outcome.kind == "why_not" else outcome.kind)
            if outcome.kind == "details" and outcome.positions == (0,) and not work.shown:
                work.shown, work.new_list = list(outcome.recommendations), True
                work.looked = replace(outcome, positions=(1,))
        elif isinstance(outcome, Problem):
            work.acts.append(outcome.act)
        elif isinstance(outcome, CartEdit):
            work.acts.append("cart")
        elif isinstance(outcome, MemoryEdit):
            work.acts.append("forget" if outcome.action == "forget" else "remember")
        elif isinstance(outcome, Question):
            work.acts.append("ask")
        elif isinstance(outcome, Line):
            work.acts.append(ACT_OF_LINE.get(outcome.topic, "chat"))
    if work.looked is not None and work.requests:
        # Beside a new list the old numbers would point at the wrong cards: the item's place in the new one, or its name.
        places = {r.item.item_id: place for place, r in enumerate(work.shown, start=1)}
        positions = tuple(places.get(r.item.item_id, 0) for r in work.looked.recommendations)
        work.looked = replace(work.looked, positions=positions)
    work.acts = list(dict.fromkeys(work.acts))


def shared_out(ranked: Sequence[Sequence[Recommendation]], *, limit: int) -> list[list[Recommendation]]:
    """Take from several lists in turn, the best first and none twice, until `limit` are taken; each list's own together."""
    taken: list[list[Recommendation]] = [[] for _ in ranked]
    known: set[str] = set()
    left = [list(one) for one in ranked]
    while len(known) < limit and any(left):
        for own, rest in zip(taken, left, strict=True):
            while rest and rest[0].item.item_id in known:
                rest.pop(0)
            if rest and len(known) < limit:
                own.append(rest.pop(0))
                known.add(own[-1].item.item_id)
    return taken


def rank_pool(turn: Turn, pool: Pool, *, limit: int) -> list[Recommendation]:
    """Order a pool by the sum of parts, or by the order the shopper asked for, and add how it meets the wish."""
    request, shop = pool.request, turn.shop
    if not pool.candidates:
        return []
    wide = len(pool.candidates) if request.sort else 3 * limit
    ranked = shop.rank(pool.candidates, context=turn.rank_context(request, limit=wide), limit=wide)
    # Some shops have one thing under several ids; a list that reads the same twice helps nobody.
    ranked = list({r.item.title: r for r in reversed(ranked)}.values())[::-1]
    if request.sort:
        best = max((candidate.sources.get("match", 0.0) for candidate in pool.candidates), default=0.0)
        fitting = [r for r in ranked if r.sources.get("match", best) >= 0.6 * best]
        valued = [(sort_value(r.item, request.sort), n, r) for n, r in enumerate(fitting)]
        ranked = [r for value, _, r in sorted((v for v in valued if v[0] is not None), key=lambda v: v[:2])][:limit]
    ranked = ranked[:limit]
    if request.anchors and request.task == "similar":
        anchor = turn.item(request.anchors[0])
        ranked = [_asked(r, _against(r.item, anchor, request.wish)) for r in ranked]
    return ranked


def _against(item: Item, anchor: Item, wish: Wish) -> list[Fact]:
    """State how an item's size differs from that of the one it was asked to differ from; the price part tells prices."""
    from retrieval.quantity import item_quantity

    own, other = item_quantity(item), item_quantity(anchor)
    if wish.item_ids is None or own is None or other is None or own.unit != other.unit:
        return []
    kind = "bigger" if own.amount > other.amount else "smaller"
    return [Fact(kind=kind, words=(anchor.title,), item_id=anchor.item_id)]


def _asked(recommendation: Recommendation, facts: Sequence[Fact]) -> Recommendation:
    """Add facts that weigh nothing in the score but tell how the item meets what was asked."""
    if not facts:
        return recommendation
    held = tuple(fact for part in recommendation.parts if part.name == "asked" for fact in part.facts)
    parts = tuple(part for part in recommendation.parts if part.name != "asked")
    return replace(recommendation, parts=(*parts, Part(name="asked", value=0.0, facts=(*held, *facts))))


def with_list_facts(recommendations: Sequence[Recommendation]) -> list[Recommendation]:
    """Mark the one cheapest item of a list of three or more."""
    prices = sorted(r.item.price for r in recommendations if r.item.price is not None)
    out = list(recommendations)
    if len(prices) < 3 or prices[0] == prices[1]:
        return out
    return [_asked(r, [Fact(kind="cheapest")]) if r.item.price == prices[0] else r for r in out]


def _nothing_on_offer(request: Request) -> str:
    """Say that nothing is on offer: at all, or of what is wanted."""
    if not request.wish.on_offer:
        return "Nothing is on promotion now, and there is no coupon of yours."
    thing, _, bounds = request.label.partition(" (")
    bounds = bounds.removesuffix(")").removesuffix(ON_OFFER).removesuffix(", ")
    what = "" if thing == ON_OFFER else f" {thing}"
    return (
        f"Nothing on offer here fits{what}{f' ({bounds})' if bounds else ''}."
        if what or bounds
        else "Nothing is on offer now."
    )


def nothing_fits(turn: Turn, pool: Pool) -> tuple[list[str], list[str]]:
    """Say that the shop has nothing that fits, and what stands in the way where that is known.

    Returns:
        The sentences, and the ids of the items that they speak of.
    """
    request, wish = pool.request, pool.request.wish
    if request.task == "again" and any("past purchases" in note for note in pool.notes):
        return [], []
    label = request.label or "that"
    if label == YOUR_WORDS:
        return [f"Nothing in this shop fits {label}. Name a thing, such as milk or cat food."], []
    if request.task == "search" and not wish.age_restricted and names_restricted(turn, wish.query):
        return [kept_back(turn)], []
    if wish.deal:
        return [_nothing_on_offer(request)], []
    if request.task == "goes_with":
        return [f"Nothing here is bought often enough with {label.removeprefix('goes with ')} to say."], []
    if request.task == "similar" and request.label:
        return [f"Nothing like it here is {label}." if " than " in label else f"Nothing else here is {label}."], []
    out = [
        f"Nothing else here fits {label}."
        if wish.exclude_ids & turn.seen and request.task == "search"
        else f"Nothing in this shop fits {label}."
    ]
    if request.task == "search":
        if wish.max_price is not None or wish.below_price is not None:
            free = replace(wish, max_price=None, below_price=None)
            hits = turn.shop.catalog.search(list(request.queries), wish=free, limit=50, bought=turn.bought)
            known = [(item.price, item.item_id) for hit in hits if (item := turn.item(hit.item_id)).price is not None]
            if known:
                price, item_id = min(known)
                return [*out, f"The cheapest one here costs {plain.money(price)}."], [item_id]
        elif wish.text_all:
            free = replace(wish, text_all=())
            if turn.shop.catalog.search(list(request.queries), wish=free, limit=1, bought=turn.bought):
                out.append(f"I looked for {' and '.join(wish.text_all)} on the labels, and none of them says so.")
    return out, []


# answer


def answer(work: Work, write: Write) -> None:
    """Say what happened: code's own sentences first, then the model's, each checked before it is said."""
    for sentence in dict.fromkeys(code_sentences(work, write)):
        _say(work, write, sentence, source="plain")
    if not work.new_list and work.looked is None:
        return
    fallback = plain_sentences(work)
    if not phrased(work):
        for sentence in fallback:
            _say(work, write, sentence, source="plain")
        return
    if work.looked is not None and work.requests:
        for sentence in looked_sentences(work.looked):  # the words below are about the new list
            _say(work, write, sentence, source="plain")
    calls_left = work.turn.limits.model_calls - work.usage.llm_calls
    said_before = len(work.raw)
    asked = work.model is not None and not work.model_away and calls_left > 0
    if asked and work.left() <= LEAST_SECONDS:
        write(Notice(text=MODEL_IS_SLOW))
    elif asked:
        try:
            for sentence, true in _free_words(work) if work.turn.limits.free_words else _chosen_words(work):
                if len(work.raw) - said_before >= wordings.MOST_SENTENCES:
                    break
                if sentence in work.raw:
                    continue
                if true:
                    _say(work, write, sentence, source="model")
                else:
                    work.refused.append(sentence)
        except ModelFailure:
            write(Notice(text=MODEL_STOPPED))
    said = work.raw[said_before:]
    left_out = _left_out(work, said)
    more = [sentence for sentence in fallback if not said or any(place in sentence for place in left_out)]
    more = [sentence for sentence in more if sentence not in work.raw]
    if work.looked is not None:
        more += plain.answered(work.turn.message, work.looked, [*said, *more])
    for sentence in more:
        _say(work, write, sentence, source="plain")


def _left_out(work: Work, said: Sequence[str]) -> list[str]:
    """List the places of compared items that no sentence names: a comparison of two is not told by one."""
    if work.looked is None or work.looked.kind != "compare":
        return []
    places = [f"[{position}]" for position in work.looked.positions if position]
    return [place for place in places if not any(place in sentence for sentence in said)]


def phrased(work: Work) -> bool:
    """Say whether the model words this reply: lists and looks, but not a verdict, which is one exact sentence."""
    return (work.new_list or work.looked is not None) and not (
        work.looked is not None and work.looked.kind == "why_not"
    )


def spoken_of(work: Work) -> grounding.Spoken:
    """Give what the sentences of this turn may speak of."""
    return grounding.Spoken(
        rows=_spoken_rows(work),
        wishes=tuple(request.wish for request in work.requests),
        labels=tuple(request.label for request in work.requests),
    )


def _free_words(work: Work) -> Iterator[tuple[str, bool]]:
    """Give the model's own sentences, and whether the record supports each."""
    spoken = spoken_of(work)
    for sentence in _sentences(_model_words(work)):
        yield sentence, grounding.supported(sentence, spoken)


def _chosen_words(work: Work) -> Iterator[tuple[str, bool]]:
    """Give the sentences that the model chooses of all that may be said, and whether each is one of these.

    A server that does not keep to a grammar may write others.
    """
    rng = Random(f"{len(work.history)} {work.turn.message}")  # another turn has other words for the same fact
    said = wordings.wordings(topics(work), spoken=spoken_of(work), rng=rng)
    if not any(one.topic.starts for one in said):
        return
    texts, held = {one.text for one in said}, ""
    for sentence in _sentences(_model_words(work, grammar=wordings.grammar(said))):
        held = f"{held} {sentence}".strip()  # a title may hold what looks like the end of a sentence
        if held in texts or not any(text.startswith(held) for text in texts):
            yield held, held in texts
            held = ""
    if held:
        yield held, False


def topics(work: Work) -> list[wordings.Topic]:
    """Say what the words of this turn may be about: a new list, else what is looked at."""
    if work.looked is not None and not work.requests:
        return wordings.look_topics(work.looked, message=work.turn.message)
    return wordings.list_topics(work.shown, work.requests)


def _model_words(work: Work, *, grammar: str | None = None) -> Iterator[str]:
    assert work.model is not None
    tail = (Message(role="assistant", tool_calls=tuple(work.calls)), Message(role="tool", content=work.rows))
    return work.model.answer(
        _prompt(work, tail),
        grammar=grammar,
        max_tokens=work.turn.limits.answer_tokens,
        seconds=work.left(),
        usage=work.usage,
    )


def _prompt(work: Work, tail: Sequence[Message]) -> list[dict[str, str]]:
    budget = int((work.turn.limits.prompt_tokens - RULES_TOKENS) * CHARS_PER_TOKEN)
    return chat_messages([*work.history, work.user_message, *tail], budget=budget)


def _sentences(pieces: Iterator[str]) -> Iterator[str]:
    """Cut a stream of text into sentences, each as soon as it is whole."""
    held = ""
    for piece in pieces:
        held += piece
        while (cut := grounding.sentence_end(held)) is not None:
            sentence, held = " ".join(held[:cut].split()), held[cut:]
            if sentence:
                yield sentence
    # What the token limit cut off in the middle is no sentence, and is not shown.
    if held.strip() and held.rstrip()[-1] in ".!?":
        yield " ".join(held.split())


def _say(work: Work, write: Write, raw: str, *, source: Any) -> None:
    work.raw.append(raw)
    work.sources.append(source)
    write(Said(sentence=grounding.readable(raw, _spoken_rows(work)), source=source))


def _spoken_rows(work: Work) -> dict[int, Recommendation]:
    if work.looked is not None and not work.requests:
        return dict(zip(work.looked.positions, work.looked.recommendations, strict=True))
    return dict(enumerate(work.shown or work.turn.shown, start=1))


def plain_sentences(work: Work) -> list[str]:
    """Say a list or a look in code's own words."""
    looked = looked_sentences(work.looked) if work.looked is not None else []
    if work.looked is not None and not work.requests:
        return looked
    return looked + plain.listed(work.shown, requests=work.requests)


def looked_sentences(looked: Looked) -> list[str]:
    """Say plainly what there is to say of items that are looked at."""
    tell = {
        "explain": plain.explained,
        "why_not": plain.explained,
        "details": plain.detailed,
        "compare": plain.compared,
    }
    return tell[looked.kind](looked)


def _rows(work: Work) -> str:
    parts, chars = [], work.turn.limits.item_chars
    if work.looked is not None:
        parts.append(plain.looked_rows(work.looked, chars=chars))
    if work.requests:
        parts.append(plain.list_rows(work.shown, requests=work.requests, notes=work.notes, chars=chars))
    elif work.notes:
        parts.append("none\n" + "\n".join(f"note: {note}" for note in work.notes))
    for outcome in work.outcomes:
        if isinstance(outcome, CartEdit):
            parts.append(f"cart: {outcome.action}, {len(work.cart)} in it")
        elif isinstance(outcome, MemoryEdit):
            parts.append(f"memory: {outcome.action}")
        elif isinstance(outcome, Question):
            parts.append("asked")
        elif isinstance(outcome, Problem):
            parts.append("not possible")
        elif isinstance(outcome, Line):
            parts.append("talk")
    return "\n".join(parts) or "nothing"


def code_sentences(work: Work, write: Write) -> list[str]:
    """Say what needs no model: questions, notes, the cart, memory, and talk that is not about items."""
    out = list(work.notes)
    last = max((at for at, outcome in enumerate(work.outcomes) if isinstance(outcome, CartEdit)), default=None)
    for at, outcome in enumerate(work.outcomes):
        match outcome:
            case Problem(text=text):
                out.append(text)
            case Question(text=text, options=options):
                write(Asked(question=text, options=options))
                out.append(text)
            case Line(topic=topic):
                out.append(plain.line(topic, turn_number=len(work.history)))
            case CartEdit():
                told = _cart_sentences(work, outcome, *work.carts[at])
                # What the cart comes to is said once, after the last change.
                out += told if at == last or outcome.action in ("show", "clear") else told[:-1]
            case MemoryEdit():
                out += _memory_sentences(work, outcome)
            case _:
                pass
    return out


def _apply(work: Work, write: Write) -> None:
    """Make the changes of cart and memory, in the workspace; `keep` puts them on disk."""
    limits = work.turn.limits
    for at, outcome in enumerate(work.outcomes):
        if isinstance(outcome, CartEdit):
            before = work.cart
            if outcome.action != "show":
                work.cart = changed_cart(
                    before, outcome, most_items=limits.cart_items, most_of_one=limits.cart_quantity
                )
                write(CartChanged(items=work.cart))
                # What was taken out is named in the reply, and in no list any more.
                work.near += [item_id for item_id, _ in before if item_id not in dict(work.cart)]
            work.carts[at] = before, work.cart
        elif isinstance(outcome, MemoryEdit) and outcome.action != "show":
            work.memories = changed_memory(work.memories, outcome, most=limits.memories)


def changed_cart(
    cart: Sequence[tuple[str, int]], edit: CartEdit, *, most_items: int, most_of_one: int
) -> tuple[tuple[str, int], ...]:
    """Give the cart after an edit; more than `most_items` kinds or `most_of_one` of one are not taken.

    >>> changed_cart([("a", 1)], CartEdit(action="add", items=(("b", 2),)), most_items=9, most_of_one=9)
    (('a', 1), ('b', 2))
    >>> changed_cart([("a", 1)], CartEdit(action="set", items=(("a", 3),)), most_items=9, most_of_one=9)
    (('a', 3),)
    """
    if edit.action == "clear":
        return ()
    held = dict(cart)
    for item_id, quantity in edit.items:
        if edit.action in ("add", "set") and (item_id in held or len(held) < most_items):
            before = held.get(item_id, 0) if edit.action == "add" else 0
            held[item_id] = min(before + quantity, most_of_one)
        elif edit.action == "remove" and item_id in held:
            left = held[item_id] - quantity if quantity else 0
            held[item_id] = left
            if left <= 0:
                del held[item_id]
    return tuple(held.items())


def changed_memory(memories: Sequence[Memory], edit: MemoryEdit, *, most: int) -> tuple[Memory, ...]:
    """Give what is remembered after an edit; the oldest goes when there is no room."""
    if edit.action == "forget":
        if edit.text.lower() in ("all", "everything"):
            return ()
        gone = _forgotten(memories, edit)
        return tuple(memory for memory in memories if memory not in gone)
    fresh = Memory(memory_id=0, kind=edit.kind, text=edit.text, item_ids=edit.item_ids)
    kept = [m for m in memories if m.text.lower() != edit.text.lower() or (m.kind == "note") != (edit.kind == "note")]
    return tuple([*kept, fresh][-most:])


def _forgotten(memories: Sequence[Memory], edit: MemoryEdit) -> list[Memory]:
    """Choose what is meant: that item, else what is called so, else what shares most words with it."""
    if edit.item_ids:
        return [m for m in memories if m.item_ids == edit.item_ids or m.text.lower() == edit.text.lower()]
    called = [m for m in memories if contains(m.text, edit.text) or contains(edit.text, m.text)]
    if called:
        return called
    words = {word for word in edit.text.split() if len(word) > 3}
    shared = [sum(contains(m.text, word) for word in words) for m in memories]
    return [m for m, count in zip(memories, shared, strict=True) if count and count == max(shared)]


def _cart_sentences(work: Work, edit: CartEdit, before: Cart, after: Cart) -> list[str]:
    items, limits = work.turn.shop.catalog.items, work.turn.limits
    cart = [(items[item_id], quantity) for item_id, quantity in after if item_id in items]
    if edit.action == "clear":
        return ["Your cart is empty now."]
    if edit.action == "show":
        lines = [f"{quantity} x {item.title}, {plain.price_text(item)}" for item, quantity in cart]
        return [plain.cart_text(cart), *([("; ".join(lines)) + "."] if lines else [])]
    held, now = dict(before), dict(after)
    if edit.action == "set" and all(item_id in now for item_id, _ in edit.items):
        told = [f"{now[item_id]} x {items[item_id].title}" for item_id, _ in edit.items if item_id in items]
        over = any(now[item_id] < quantity for item_id, quantity in edit.items)
        most = [f"A cart takes {limits.cart_quantity} of one item at most."] if over else []
        return [f"Now {' and '.join(told)}.", *most, plain.cart_text(cart)]
    moved = {item_id: abs(now.get(item_id, 0) - held.get(item_id, 0)) for item_id, _ in edit.items}
    names = _counted([(items[item_id].title, count) for item_id, count in moved.items() if count and item_id in items])
    out = []
    if names:
        out.append(f"{'Added' if edit.action == 'add' else 'Took out'} {names}.")
    if left := [(items[item_id].title, 1) for item_id in edit.spared if item_id in items]:
        out.append(f"{_counted(left)} {'stay' if len(left) > 1 else 'stays'} in.")
    if edit.action in ("add", "set") and any(item_id not in now for item_id, _ in edit.items):
        out.append(f"The cart is full at {limits.cart_items} items, so not everything went in.")
    elif edit.action == "add" and any(moved[item_id] < quantity for item_id, quantity in edit.items):
        out.append(f"A cart takes {limits.cart_quantity} of one item at most.")
    return [*out, plain.cart_text(cart)]


def _counted(names: Sequence[tuple[str, int]]) -> str:
    """List titles with how many of each: "2 x milk", "2 x milk and tea" where it is two of both.

    >>> _counted([("Milk", 1), ("Tea", 1)]), _counted([("Milk", 2), ("Tea", 2)]), _counted([("Milk", 3), ("Tea", 1)])
    ('Milk and Tea', '2 x Milk and Tea', '3 x Milk and 1 x Tea')
    """
    counts = {count for _, count in names}
    out = [name if len(counts) == 1 else f"{count} x {name}" for name, count in names]
    joined = " and ".join(out) if len(out) < 3 else ", ".join(out[:-1]) + " and " + out[-1]
    return f"{counts.pop()} x {joined}" if len(counts) == 1 and counts != {1} else joined


def _memory_sentences(work: Work, edit: MemoryEdit) -> list[str]:
    words = {"like": "you like", "dislike": "you don't like", "avoid": "to leave out", "note": "noted:"}
    if edit.action == "show":
        if not work.memories:
            return [
                "I remember nothing about you beyond past purchases."
                if work.turn.user_id
                else "I remember nothing about you."
            ]
        said = [f"{words[m.kind]} {_alone(m.text) if m.kind == 'note' else m.text}" for m in work.memories]
        return ["I remember: " + "; ".join(said) + "."]
    if edit.action == "forget":
        gone = len(work.turn.memories) - len(work.memories)
        if not gone:
            return [
                f"I had nothing remembered about {edit.text}." if edit.text != "all" else "I had nothing remembered."
            ]
        return ["Forgotten, all of it." if edit.text.lower() in ("all", "everything") else f"Forgotten: {edit.text}."]
    sentence = {
        "like": f"I'll remember that you like {edit.text}.",
        "dislike": f"I'll remember that you don't like {edit.text}.",
        "avoid": f"I'll keep {edit.text} out of your lists."
        if work.turn.shop.catalog.mentions(edit.text)
        else f"I'll remember to leave out {edit.text}, but no label here tells of it, so please check the packs.",
        "note": f"Noted: {_alone(edit.text)}.",
    }[edit.kind]
    return [sentence]


def _alone(note: str) -> str:
    """Take the verb off a note that only it joined to the shopper.

    >>> _alone("is lactose intolerant"), _alone("has two cats"), _alone("isn't a cook")
    ('lactose intolerant', 'has two cats', "isn't a cook")
    """
    return re.sub(r"^(?:is|am|are) (?=\w)", "", note)


# keep


def keep(work: Work, write: Write) -> None:
    """Put together what is kept of the turn: its messages, the list and the wish."""
    rows = [
        {**recommendation_to_json(r, position=n), "reason": plain.reason(r)} for n, r in enumerate(work.shown, start=1)
    ]
    wish: dict[str, Any] = {}
    failed = _failed_request(work)
    for request in work.requests or ([failed] if failed else []):  # what nothing fits is told with its bounds, too
        wish |= wish_to_json(request.wish)
    wish.pop("exclude_ids", None)
    wish.pop("item_ids", None)
    wish.pop("on_offer", None)
    evidence: dict[str, Any] = {
        "wish": wish,
        "labels": [request.label for request in work.requests],
        "items": rows,
        "about": [r.item.item_id for r in work.looked.recommendations] if work.looked else [],
        "cart": [list(entry) for entry in work.cart],
        "changed": [item_id for one in work.outcomes if isinstance(one, CartEdit) for item_id, _ in one.items],
        "notes": work.notes,
        "near": work.near,
        "raw": " ".join(_own_words(work)),
        "sentences": len(work.raw),
        "source": work.sources,
        "replaced": len(work.refused),
        "refused": work.refused,
        "mended": work.mended,
        "model_away": work.model_away,
    }
    if question := next((outcome for outcome in work.outcomes if isinstance(outcome, Question)), None):
        evidence["options"] = list(question.options)
    if work.looked is not None:
        evidence["looked"] = [
            recommendation_to_json(r, position=n)
            for n, r in zip(work.looked.positions, work.looked.recommendations, strict=True)
        ]
    spoken = _spoken_rows(work)
    usage = {
        "llm_calls": work.usage.llm_calls,
        "prompt_tokens": work.usage.prompt_tokens,
        "completion_tokens": work.usage.completion_tokens,
        "model_seconds": round(work.usage.model_seconds, 4),
        "turn_seconds": round(time.monotonic() - work.started, 4),
    }
    if work.first_list_seconds is not None:
        usage["first_list_seconds"] = round(work.first_list_seconds, 4)
    messages = (
        work.user_message,
        Message(role="assistant", tool_calls=tuple(work.calls)),
        Message(role="tool", content=work.rows),
        Message(
            role="assistant",
            content=" ".join(grounding.readable(sentence, spoken) for sentence in work.raw),
            items=tuple(r.item.item_id for r in work.shown),
            acts=tuple(work.acts),
            evidence=evidence,
            usage=usage,
        ),
    )
    work.kept = {
        "messages": messages,
        "shown": rows,
        "new_list": work.new_list,
        # Where nothing is cheaper than it, the list before stays on the table, and so does its wish.
        "request": work.requests[0] if work.requests else failed if failed and failed.task != "similar" else None,
    }
    write(Finished(messages=messages, quick_replies=tuple(quick_replies(work))))


def _own_words(work: Work) -> list[str]:
    """Give what the model reads later as its own reply: its sentences, or code's where it said nothing."""
    own = [sentence for sentence, source in zip(work.raw, work.sources, strict=True) if source == "model"]
    return own or work.raw


def _failed_request(work: Work) -> Request | None:
    """Give the wish that nothing fits, or that a question is about: what is said next may narrow it."""
    return next((outcome.request for outcome in work.outcomes if isinstance(outcome, Pool | Question)), None)


QUICK: dict[str, ToolCall] = {
    "Cheaper": ToolCall(name="similar_items", arguments={"than": "cheaper"}),
    "Store brand": ToolCall(name="search_catalog", arguments={"brand": "store brand"}),
    "Something else": ToolCall(name="similar_items", arguments={}),
    "Why the first one?": ToolCall(name="explain", arguments={"position": 1}),
    "Show my cart": ToolCall(name="update_cart", arguments={"action": "show"}),
    "My usual shop": ToolCall(name="recommend", arguments={"bought": "again"}),
    "Something new": ToolCall(name="recommend", arguments={"bought": "new"}),
    "Goes with my cart": ToolCall(name="goes_with", arguments={}),
    "What is on offer": ToolCall(name="deals", arguments={}),
}


def quick_replies(work: Work) -> list[str]:
    """Offer what is likely next; each is a call that is known, so that it needs no planning."""
    question = next((outcome for outcome in work.outcomes if isinstance(outcome, Question)), None)
    if question is not None:
        return list(question.options)
    if work.new_list:
        brand = work.turn.shop.catalog.resolve_brand("store brand")
        return ["Cheaper", *(["Store brand"] if brand is not None else []), "Something else", "Why the first one?"]
    if "cart" in work.acts and work.cart:
        return ["Goes with my cart", "Show my cart"]
    offers = ["What is on offer"] if work.turn.on_offer else []
    return ["My usual shop", "Something new", *offers] if work.turn.user_id else ["Something new", *offers]
