"""The twelve-item shop, prepared once for a whole test run, and a talk in it with a scripted model."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.conversation import Message, ToolCall
from agent.events import Asked, Called, CartChanged, Event, Finished, Listed, Notice, Said, Shown
from agent.limits import Limits
from agent.store import Store
from tests.scripted_model import Queued, ScriptedModel, planned
from tests.shops import small_source

if TYPE_CHECKING:
    from agent.assistant import Assistant
    from retrieval.shop import Shop


@cache
def small_shop() -> Shop:
    """Prepare and open the shop; its folder goes when the run ends."""
    from retrieval.embedder import Embedder
    from retrieval.prepare import prepare
    from retrieval.shop import Shop

    folder = Path(tempfile.mkdtemp(prefix="small-shop-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    embedder = Embedder()
    prepare(small_source(), shop=folder, embedder=embedder)
    shop = Shop.open(folder, embedder=embedder)
    atexit.register(shop.close)
    return shop


@dataclass(frozen=True)
class Told:
    """What came of one message."""

    events: tuple[Event, ...]

    def of(self, kind: type[Any]) -> list[Any]:
        """Give the events of a kind."""
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def cards(self) -> tuple[Shown, ...]:
        """Give the cards of the list; none where none was shown."""
        return tuple(card for listed in self.of(Listed) for card in listed.cards)

    @property
    def items(self) -> list[str]:
        """Give the ids of the list."""
        return [card.recommendation.item.item_id for card in self.cards]

    @property
    def sentences(self) -> list[str]:
        """Give what was said."""
        return [said.sentence for said in self.of(Said)]

    @property
    def text(self) -> str:
        """Give what was said as one text."""
        return " ".join(self.sentences)

    @property
    def sources(self) -> set[str]:
        """Say who worded it."""
        return {said.source for said in self.of(Said)}

    @property
    def notices(self) -> list[str]:
        """Give the notices."""
        return [notice.text for notice in self.of(Notice)]

    @property
    def calls(self) -> list[tuple[str, dict[str, Any]]]:
        """Give the calls that were made, after validation."""
        return [(called.name, dict(called.arguments)) for called in self.of(Called)]

    @property
    def cart(self) -> tuple[tuple[str, int], ...] | None:
        """Give the cart as it was told; None where it was not."""
        changed = self.of(CartChanged)
        return changed[-1].items if changed else None

    @property
    def asked(self) -> list[Asked]:
        """Give the questions back."""
        return self.of(Asked)

    @property
    def finished(self) -> Finished:
        """Give the last event."""
        (finished,) = self.of(Finished)
        assert finished is self.events[-1]
        return finished

    @property
    def reply(self) -> Message:
        """Give the reply as it is logged."""
        return self.finished.reply


class Talk:
    """A talk with the small shop: `say` queues what the model answers, and collects what comes of it."""

    def __init__(
        self, folder: Path, *, user_id: str | None = None, model: bool = True, shop: Shop | None = None, **limits: Any
    ) -> None:
        from agent.assistant import Assistant

        self.model = ScriptedModel()
        self.store = Store(folder / "state.sqlite")
        self.assistant: Assistant = Assistant(
            shop=shop or small_shop(),
            model=self.model if model else None,
            store=self.store,
            limits=Limits(**{"free_words": True, **limits}),  # what is queued is in words of its own
        )
        self.session = self.assistant.start(user_id=user_id)

    def say(self, message: str, *calls: ToolCall, answer: Queued | Iterable[Queued] = "") -> Told:
        """Say something; the model plans these calls and gives this answer."""
        self.model.plans.clear()
        self.model.answers.clear()
        self.model.plans.append(planned(*calls))
        self.model.answers.append(answer)  # type: ignore[arg-type]
        return Told(tuple(self.assistant.reply(message, session_id=self.session)))

    def press(self, call: ToolCall, said: str = "a button") -> Told:
        """Press a button."""
        return Told(tuple(self.assistant.press(call, session_id=self.session, said=said)))

    @property
    def cart(self) -> tuple[tuple[str, int], ...]:
        """Give the cart on disk."""
        return self.assistant.cart(self.session)

    @property
    def memory(self) -> list[tuple[str, str]]:
        """Give kind and text of what is remembered."""
        return [(memory.kind, memory.text) for memory in self.assistant.memory(self.session)]
