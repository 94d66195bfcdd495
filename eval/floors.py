"""Assistants that any real one must beat: random, bad, popular, and a search box; they understand nothing of a talk."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from agent.conversation import Message
from agent.events import Asked, Event, Finished, Listed, Said, Shown
from retrieval.records import Candidate, Recommendation
from retrieval.wish import Wish

if TYPE_CHECKING:
    from retrieval.shop import Shop

LENGTH = 5  # items a list shows, as many as ours
ASK_AGAIN = "What are you looking for?"


@dataclass(frozen=True, slots=True, kw_only=True)
class Talked:
    """A talk as a floor assistant knows it: the shopper's messages, newest last, and the ids shown."""

    said: tuple[str, ...]
    shown: frozenset[str] = frozenset()


Choose = Callable[["Shop", Talked], Sequence[str]]


class Floor:
    """Show what `choose` gives, best first, in the events and messages of a real assistant.

    With `asks`, every second reply ends in a question whose answer was given before.
    """

    model = None

    def __init__(self, *, shop: Shop, choose: Choose, length: int = LENGTH, asks: bool = False) -> None:
        self.shop = shop
        self._choose, self._length, self._asks = choose, length, asks
        self._talks: dict[str, Talked] = {}

    def start(self, *, user_id: str | None = None, session_id: str | None = None) -> str:
        """Begin a talk and give the session's id; whose it is makes no difference."""
        session_id = session_id or uuid.uuid4().hex
        self._talks[session_id] = Talked(said=())
        return session_id

    def end(self, session_id: str) -> None:
        """Close a talk."""
        self._talks.pop(session_id, None)

    def cart(self, session_id: str) -> tuple[tuple[str, int], ...]:
        """Give the cart, which stays empty."""
        return ()

    def given(self, messages: list[Message], *, session_id: str) -> None:
        """Take messages as said."""
        said = tuple(message.content for message in messages if message.role == "user")
        shown = frozenset(item_id for message in messages for item_id in message.items)
        self._talks[session_id] = Talked(said=said, shown=shown)

    def reply(self, message: str, *, session_id: str) -> Iterator[Event]:
        """Answer a message, event by event."""
        before = self._talks[session_id]
        talked = Talked(said=(*before.said, message), shown=before.shown)
        item_ids = tuple(self._choose(self.shop, talked))[: self._length]
        sentences = ["Here is what I have." if item_ids else "Nothing in this shop fits that."]
        if item_ids:
            items = [self.shop.catalog.items[item_id] for item_id in item_ids]
            yield Listed(
                cards=tuple(
                    Shown(recommendation=Recommendation(item=item, score=0.0, parts=()), reason="") for item in items
                )
            )
        asks = self._asks and len(talked.said) % 2 == 0
        if asks:
            sentences.append(ASK_AGAIN)
            yield Asked(question=ASK_AGAIN)
        for sentence in sentences:
            yield Said(sentence=sentence, source="plain")
        self._talks[session_id] = Talked(said=talked.said, shown=talked.shown | frozenset(item_ids))
        acts = ("recommend", *(() if item_ids else ("decline",)), *(("ask",) if asks else ()))
        reply = Message(
            role="assistant",
            content=" ".join(sentences),
            items=item_ids,
            acts=acts,
            usage={"llm_calls": 0, "prompt_tokens": 0, "completion_tokens": 0},
        )
        yield Finished(messages=(Message(role="user", content=message), reply))


def random_items(shop: Shop, talked: Talked, *, seed: int = 0) -> list[str]:
    """Choose items at random; the same talk gets the same ones."""
    rng = Random(f"{seed}:{talked.said}")
    unrestricted = [item.item_id for item in shop.catalog.items.values() if not item.age_restricted]
    return rng.sample(unrestricted, min(LENGTH, len(unrestricted)))


def bad_items(shop: Shop, talked: Talked) -> list[str]:
    """Choose the dearest items that have nothing to do with what was said."""
    meant = {
        candidate.item_id for said in talked.said for candidate in _found(shop, said, limit=len(shop.catalog.items))
    }
    others = [item for item in shop.catalog.items.values() if item.item_id not in meant]
    return [item.item_id for item in sorted(others, key=lambda item: (-(item.price or 0), item.item_id))[:LENGTH]]


def popular_items(shop: Shop, talked: Talked) -> list[str]:
    """Choose what most shoppers buy and was not shown yet, whatever was said."""
    buyers = shop.history.buyers
    left = [
        item for item in shop.catalog.items.values() if not item.age_restricted and item.item_id not in talked.shown
    ]
    return [item.item_id for item in sorted(left, key=lambda item: (-buyers(item.item_id), item.item_id))[:LENGTH]]


def found_items(shop: Shop, talked: Talked) -> list[str]:
    """Choose what the catalogue's search finds for the last message, as a search box does."""
    return [candidate.item_id for candidate in _found(shop, talked.said[-1], limit=LENGTH)]


def _found(shop: Shop, words: str, *, limit: int) -> list[Candidate]:
    return shop.catalog.search([words], wish=Wish(query=words), limit=limit)


def floors(*, seed: int = 0) -> Mapping[str, tuple[Choose, bool]]:
    """Name the floor assistants: what each chooses, and whether it asks what it was told."""
    return {
        "random": (lambda shop, talked: random_items(shop, talked, seed=seed), False),
        "bad": (bad_items, True),
        "popularity": (popular_items, False),
        "search": (found_items, False),
    }


def open_floor(name: str, *, shop: Shop, length: int = LENGTH, seed: int = 0) -> Floor:
    """Make a floor assistant over a shop."""
    choose, asks = floors(seed=seed)[name]
    return Floor(shop=shop, choose=choose, length=length, asks=asks)
