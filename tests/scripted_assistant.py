"""A stand-in for the assistant that front ends are tried against: same methods, scripted events, no model."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from agent.conversation import Conversation, Message, ToolCall
from agent.events import Called, CartChanged, Event, Finished, Listed, Notice, Said, Shown
from agent.limits import Limits
from agent.store import Memory, Store
from retrieval.records import Item, Recommendation, ShopError


@dataclass
class Session:
    """What one session holds: the items shown last, and how it was before each kept turn."""

    user_id: str | None
    shown: tuple[Item, ...] = ()
    said: list[str] = field(default_factory=list)
    before: list[Any] = field(default_factory=list)


class ScriptedAssistant:
    """Answer every message with the first items of a list; carry out presses; keep turns whole or not at all.

    A message holding "dead" answers without a model and says so; "slow" waits for `gate` after the list; "broken"
    raises what a person can put right, "bug" what nobody foresaw; "nothing" shows no item.
    """

    def __init__(self, items: Sequence[Item], *, store: Path, limit: int = 5, sessions: int = 8) -> None:
        self.shop = SimpleNamespace(catalog=SimpleNamespace(items={item.item_id: item for item in items}))
        self.items = tuple(items)[:limit]
        self.store = Store(store)
        self.limits = Limits(sessions=sessions)
        self.sessions: dict[str, Session] = {}
        self.gate = threading.Event()

    def start(self, *, user_id: str | None = None, session_id: str | None = None) -> str:
        """Open a session; only shoppers whose id starts with u are known."""
        if user_id is not None and not user_id.startswith("u"):
            raise ShopError(f"The shop has no shopper {user_id!r}. Leave it out to talk as a new shopper")
        if len(self.sessions) >= self.limits.sessions:
            raise ShopError(f"{self.limits.sessions} talks are open, which is the limit. Try again later")
        session_id = session_id or uuid.uuid4().hex
        self.sessions[session_id] = Session(user_id)
        return session_id

    def end(self, session_id: str) -> None:
        """Close a session."""
        self.sessions.pop(session_id, None)

    def owner(self, session_id: str) -> str:
        """Name whose cart and memory a session has."""
        return self.sessions[session_id].user_id or f"guest:{session_id}"

    def reply(self, message: str, *, session_id: str) -> Iterator[Event]:
        """Answer with a list."""
        yield Called(name="search_catalog", arguments={"query": message[:60]}, summary=f"{len(self.items)} candidates")
        if "broken" in message:
            raise ShopError("The shop folder is damaged. Build it again with: shoptalk prepare")
        if "bug" in message:
            raise ZeroDivisionError
        if "nothing" in message:
            yield from self._finish(session_id, message, "This shop has nothing like that.", ())
            return
        yield Listed(cards=tuple(_shown(item) for item in self.items))
        if "slow" in message:
            self.gate.wait(20)
        if "dead" in message:
            yield Notice(text="The model does not answer. These are plain reasons.")
        yield Said(sentence=f"{self.items[0].title} suits you best.", source="model")
        yield Said(sentence="It costs the least.", source="plain")
        yield from self._finish(session_id, message, "", self.items)

    def press(self, call: ToolCall, *, session_id: str, said: str) -> Iterator[Event]:
        """Carry out a button."""
        session, given, owner = self.sessions[session_id], call.arguments, self.owner(session_id)
        yield Called(name=call.name, arguments=given, summary="")
        position = given.get("position") or (given.get("positions") or [1])[0]
        if not 1 <= position <= len(session.shown):
            yield from self._finish(session_id, said, f"There is no number {position}.", ())
            return
        item = session.shown[position - 1]
        before = self._before(session_id)
        text = f"Because 3 of your last 10 trips held {item.title}."
        if call.name == "update_cart":
            held = dict(self.cart(session_id))
            held[item.item_id] = held.get(item.item_id, 0) + given.get("quantity", 1)
            self.store.set_cart(owner, tuple(held.items()))
            text = f"I put {item.title} in your cart."
            yield CartChanged(items=self.cart(session_id))
        if call.name == "remember":
            self.store.remember(owner, kind=given["kind"], text=item.title, item_ids=(item.item_id,))
            text = "Noted."
        yield from self._finish(session_id, said, text, (), before=before)

    def undo(self, *, session_id: str) -> str | None:
        """Put back how it was before the last turn."""
        session = self.sessions[session_id]
        if not session.said:
            return None
        session.shown, cart, memories = session.before.pop()
        self.store.set_cart(self.owner(session_id), cart)
        self.store.restore_memories(self.owner(session_id), memories)
        return session.said.pop()

    def conversation(self, session_id: str) -> Conversation:
        """Give what was said."""
        messages = tuple(Message(role="user", content=said) for said in self.sessions[session_id].said)
        return Conversation(conversation_id=session_id, messages=messages)

    def cart(self, session_id: str) -> tuple[tuple[str, int], ...]:
        """Give the cart."""
        return self.store.cart(self.owner(session_id))

    def memory(self, session_id: str) -> list[Memory]:
        """Give what is remembered."""
        return self.store.memories(self.owner(session_id))

    def forget(self, session_id: str, memory_ids: list[int] | None = None) -> int:
        """Forget some memories, or all."""
        return self.store.forget(self.owner(session_id), memory_ids)

    def _before(self, session_id: str) -> Any:
        return self.sessions[session_id].shown, self.cart(session_id), self.memory(session_id)

    def _finish(
        self, session_id: str, said: str, text: str, items: Sequence[Item], *, before: Any = None
    ) -> Iterator[Event]:
        if text:
            yield Said(sentence=text, source="plain")
        session = self.sessions[session_id]
        session.before.append(before or self._before(session_id))
        session.said.append(said)
        if items:
            session.shown = tuple(items)
        reply = Message(role="assistant", content=text, items=tuple(item.item_id for item in items))
        quick = ("Cheaper", "Store brand", "Something else") if items else ()
        yield Finished(messages=(Message(role="user", content=said), reply), quick_replies=quick)


def _shown(item: Item) -> Shown:
    recommendation = Recommendation(item=item, score=1.0, parts=())
    return Shown(recommendation=recommendation, reason=f"On 3 of your last 10 trips: {item.title}.")
