"""The assistant that front ends and the evaluator talk to: sessions of turns over one shop."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

from agent.context import Turn
from agent.conversation import Conversation, Message, ToolCall, from_json, to_json
from agent.events import Event, Finished, Notice, Said
from agent.limits import Limits
from agent.model import Model
from agent.record import recommendation_from_json, request_from_json, request_to_json
from agent.store import Memory, Store
from agent.turn import QUICK, Work, build_graph
from retrieval.records import Recommendation, ShopError
from retrieval.shop import Shop

NOT_IN_WORDS = "Tell me in a few words what you are looking for."
OTHER_SCRIPT = "I can't read that. Tell me in {} letters, as on this shop's labels, what you are looking for."
OVER = "This talk is over. Start a new one"


class Assistant:
    """Answer shoppers of one shop; safe to share between threads, one turn at a time a session.

    `model` may be None: then every message gets a plain search with plain reasons, marked as such.
    """

    def __init__(self, *, shop: Shop, model: Model | None, store: Store, limits: Limits | None = None) -> None:
        from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
        from langgraph.checkpoint.sqlite import SqliteSaver

        self.shop = shop
        self.model = model
        self.store = store
        self.limits = limits or Limits()
        # Talks hold plain JSON values only, so the saver needs no other types, and no pickle.
        self._saver = SqliteSaver(store.connection, serde=JsonPlusSerializer(pickle_fallback=False))
        self._saver.setup()
        # A turn runs without a checkpointer and is saved as one value at its end, in one transaction with cart
        # and memory: so it is kept whole or not at all, and a turn that is stopped leaves no trace.
        self._graph = build_graph(None)
        self._talks = build_graph(self._saver)
        self._offered: dict[str, tuple[str, ...]] = {}
        self._owners: dict[str, str | None] = {}
        self._locks: dict[str, threading.Lock] = {}
        self._guard = threading.Lock()

    # sessions

    def start(self, *, user_id: str | None = None, session_id: str | None = None) -> str:
        """Begin a talk with a known shopper, or with a new one; give the session's id.

        Raises:
            ShopError: when the shop has no such shopper, the talk is another shopper's, or too many are open.
        """
        if user_id is not None and user_id not in self.shop.history.user_rows:
            raise ShopError(f"The shop has no shopper {user_id!r}. Leave it out to talk as a new shopper")
        session_id = session_id or uuid.uuid4().hex
        owner = _owner(user_id, session_id)
        with self._guard:
            held = self._owners.get(session_id, user_id)
            if held != user_id or self.store.logged_owner(session_id) not in (None, owner):
                raise ShopError("This talk is another shopper's. Start a new one")
            if session_id not in self._owners and len(self._owners) >= self.limits.sessions:
                raise ShopError(f"{self.limits.sessions} talks are open, which is the limit. Try again later")
            self._owners[session_id] = user_id
            self._locks.setdefault(session_id, threading.Lock())
        return session_id

    def end(self, session_id: str) -> None:
        """Close a talk; what was said and the cart stay on disk."""
        with self._guard:
            self._owners.pop(session_id, None)
            self._locks.pop(session_id, None)
            self._offered.pop(session_id, None)

    def owner(self, session_id: str) -> str:
        """Name whose cart and memory a session has: the shopper's, or the session's own for a new one."""
        if session_id not in self._owners:
            raise ShopError(OVER)
        return _owner(self._owners[session_id], session_id)

    # turns

    def reply(self, message: str, *, session_id: str) -> Iterator[Event]:
        """Answer a message, event by event; the turn is kept when `Finished` has been given.

        A quick reply that was offered in the last turn is a known call and needs no planning.
        """
        offered = self._offered.get(session_id, ())
        call = QUICK.get(message) if message in offered else None
        return self._turn(message, session_id=session_id, call=call)

    def press(self, call: ToolCall, *, session_id: str, said: str) -> Iterator[Event]:
        """Answer a button: the call is known, so the model does not plan. `said` is logged as the message."""
        return self._turn(said, session_id=session_id, call=call)

    def _turn(self, message: str, *, session_id: str, call: ToolCall | None) -> Iterator[Event]:
        if session_id not in self._owners:
            raise ShopError(OVER)
        lock = self._locks[session_id]
        if not lock.acquire(blocking=False):
            raise ShopError("I am still answering your last message. Stop it, or wait a moment")
        try:
            yield from self._locked_turn(message, session_id=session_id, call=call)
        finally:
            lock.release()

    def _locked_turn(self, message: str, *, session_id: str, call: ToolCall | None) -> Iterator[Event]:
        turns = self._turns(session_id)
        if len(turns) >= self.limits.session_turns:
            raise ShopError(f"This talk has {len(turns)} turns, which is the limit. Start a new one")
        owner = self.owner(session_id)
        limits = self.limits
        if len(message) > limits.message_chars:
            message = message[: limits.message_chars]
            yield Notice(text=f"I read the first {limits.message_chars} characters of that.")
        # What no file can hold (half of a character, as broken clients send it) is said with question marks.
        said = message.encode("utf-8", "replace").decode("utf-8").strip()
        if call is None and not any(character.isalnum() for character in said):
            yield from self._unread(said, answer=NOT_IN_WORDS, acts=("chat", "ask"))
            return
        if call is None and (read := self.shop.catalog.other_scripts(said)):
            # A small model plans something for it all the same, mostly something else than what was meant.
            yield from self._unread(said, answer=OTHER_SCRIPT.format(" or ".join(read)), acts=("decline", "ask"))
            return
        history = _messages(turns)
        shown = self._shown(turns)
        turn = Turn(
            shop=self.shop,
            limits=limits,
            user_id=self._owners[session_id],
            message=said,
            said=tuple(one.content for one in history if one.role == "user"),
            shown=shown,
            request=request_from_json(turns[-1]["request"]) if turns else None,
            options=tuple(history[-1].evidence.get("options", ())) if history else (),
            focus=_focus(history, [r.item.item_id for r in shown]),
            seen=frozenset(item_id for one in history for item_id in one.items),
            cart=tuple(entry for entry in self.store.cart(owner) if entry[0] in self.shop.catalog.items),
            memories=tuple(self.store.memories(owner)),
        )
        work = Work(
            turn=turn,
            model=self.model,
            store=self.store,
            owner=owner,
            history=tuple(history),
            calls=[call] if call is not None else [],
            user_message=Message(role="user", content=said),
        )
        finished: Finished | None = None
        for event in self._graph.stream({}, context=work, stream_mode="custom"):
            if isinstance(event, Finished):
                finished = event
            else:
                yield event
        assert finished is not None
        self._keep(session_id, owner=owner, turns=turns, work=work)
        self._offered[session_id] = finished.quick_replies
        yield finished

    def _unread(self, said: str, *, answer: str, acts: tuple[str, ...]) -> Iterator[Event]:
        """Answer a message that holds nothing to read; it is not worth a turn, so nothing is kept."""
        yield Said(sentence=answer, source="plain")
        reply = Message(role="assistant", content=answer, acts=acts, evidence={"items": [], "cart": []})
        yield Finished(messages=(Message(role="user", content=said), reply), quick_replies=())

    def _keep(self, session_id: str, *, owner: str, turns: list[dict[str, Any]], work: Work) -> None:
        """Put the turn on disk: cart, memory, talk and log, all or nothing."""
        kept = work.kept
        record = {
            "messages": to_json(Conversation(conversation_id="", messages=kept["messages"]))["messages"],
            "shown": kept["shown"] if kept["new_list"] else (turns[-1]["shown"] if turns else []),
            "request": request_to_json(kept["request"])
            if kept["request"]
            else (turns[-1]["request"] if turns else None),
        }
        # Only what this turn changed: undoing it leaves alone what the shopper changed since then by hand.
        if work.cart != work.turn.cart:
            record["cart_before"] = [list(entry) for entry in work.turn.cart]
        if work.memories != work.turn.memories:
            record["forgotten"] = [_memory_row(m) for m in work.turn.memories if m not in work.memories]
            record["remembered"] = [_memory_row(m) for m in work.memories if m not in work.turn.memories]
        with self.store.transaction():
            if work.cart != work.turn.cart:
                self.store.set_cart(owner, work.cart)
            for memory in work.turn.memories:
                if memory not in work.memories:
                    self.store.forget(owner, [memory.memory_id])
            for memory in work.memories:
                if memory.memory_id == 0:
                    self.store.remember(owner, kind=memory.kind, text=memory.text, item_ids=memory.item_ids)
            self._save(session_id, [*turns, record], owner=owner)

    # the state of a session

    def conversation(self, session_id: str) -> Conversation:
        """Give the talk so far, as it is logged."""
        return Conversation(
            conversation_id=session_id,
            user_id=self._owners.get(session_id),
            messages=tuple(_messages(self._turns(session_id))),
        )

    def cart(self, session_id: str) -> tuple[tuple[str, int], ...]:
        """Give the cart of a session's shopper: item ids with quantities."""
        return self.store.cart(self.owner(session_id))

    def memory(self, session_id: str) -> list[Memory]:
        """List what is remembered of a session's shopper."""
        return self.store.memories(self.owner(session_id))

    def forget(self, session_id: str, memory_ids: list[int] | None = None) -> int:
        """Erase some of what is remembered of a session's shopper, or all of it."""
        return self.store.forget(self.owner(session_id), memory_ids)

    def undo(self, *, session_id: str) -> str | None:
        """Take back the last turn, with what it did to cart and memory; give the message that began it."""
        turns = self._turns(session_id)
        if not turns:
            return None
        last = turns[-1]
        owner = self.owner(session_id)
        with self.store.transaction():
            if "cart_before" in last:
                self.store.set_cart(owner, [(item_id, quantity) for item_id, quantity in last["cart_before"]])
            if "forgotten" in last:
                added = {(kind, text) for _, kind, text, _ in last["remembered"]}
                held = [m for m in self.store.memories(owner) if (m.kind, m.text) not in added]
                back = [
                    Memory(memory_id=n, kind=kind, text=text, item_ids=tuple(ids))
                    for n, kind, text, ids in last["forgotten"]
                ]
                self.store.restore_memories(owner, sorted([*held, *back], key=lambda m: m.memory_id))
            self._save(session_id, turns[:-1], owner=owner)
        self._offered.pop(session_id, None)
        return str(last["messages"][0]["content"])

    def given(self, messages: list[Message], *, session_id: str) -> None:
        """Take messages as said: the evaluator's past, when every turn is judged on the same one."""
        turns: list[dict[str, Any]] = []
        for message in messages:
            if message.role == "user" or not turns:
                turns.append(
                    {
                        "messages": [],
                        "shown": turns[-1]["shown"] if turns else [],
                        "request": None,
                    }
                )
            turns[-1]["messages"] += to_json(Conversation(conversation_id="", messages=(message,)))["messages"]
            if message.items:
                turns[-1]["shown"] = [
                    _bare_row(item_id, n, self.shop)
                    for n, item_id in enumerate(message.items, start=1)
                    if item_id in self.shop.catalog.items
                ]
        with self.store.transaction():
            self._save(session_id, turns, owner=self.owner(session_id))

    def _turns(self, session_id: str) -> list[dict[str, Any]]:
        state = self._talks.get_state(_config(session_id)).values
        return list(state.get("turns") or [])

    def _save(self, session_id: str, turns: list[dict[str, Any]], *, owner: str) -> None:
        conversation = Conversation(
            conversation_id=session_id, user_id=self._owners.get(session_id), messages=tuple(_messages(turns))
        )
        self.store.log(session_id, owner=owner, conversation=conversation)
        self._talks.update_state(_config(session_id), {"turns": turns}, as_node="keep")
        self.store.keep_newest_state(session_id)

    def _shown(self, turns: list[dict[str, Any]]) -> tuple[Recommendation, ...]:
        rows = turns[-1]["shown"] if turns else []
        read = (recommendation_from_json(row, items=self.shop.catalog.items) for row in rows)
        return tuple(recommendation for recommendation in read if recommendation is not None)


def _bare_row(item_id: str, position: int, shop: Shop) -> dict[str, Any]:
    item = shop.catalog.items[item_id]
    return {
        "position": position,
        "item_id": item_id,
        "title": item.title,
        "price": item.price,
        "score": 0.0,
        "parts": {},
        "facts": [],
        "sources": {},
    }


def _owner(user_id: str | None, session_id: str) -> str:
    return user_id or f"guest:{session_id}"


def _memory_row(memory: Memory) -> list[Any]:
    return [memory.memory_id, memory.kind, memory.text, list(memory.item_ids)]


def _config(session_id: str) -> dict[str, Any]:
    return {"configurable": {"thread_id": session_id}}


def _focus(history: Sequence[Message], shown: Sequence[str]) -> int | None:
    """Find the place, from 1, of the one item that was talked about, or put in the cart, since the list was shown."""
    for message in reversed(history):
        about = message.evidence.get("about") or message.evidence.get("changed", ())
        if len(about) == 1:
            return shown.index(about[0]) + 1 if about[0] in shown else None
        if message.items:
            return None
    return None


def _messages(turns: list[dict[str, Any]]) -> list[Message]:
    records = [message for turn in turns for message in turn["messages"]]
    return list(from_json({"conversation_id": "", "messages": records}).messages)
