"""One browser's or terminal's talk with the assistant: its turns as shown, one at a time, each one stoppable."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from agent.conversation import ToolCall
from agent.events import Event, Finished
from retrieval.records import ShopError
from ui.views import View, fold

if TYPE_CHECKING:
    from agent.assistant import Assistant
    from agent.store import Memory

BUSY = "I am still answering the last message. Wait for it, or press Stop."
MOST_WAITING = 3  # presses that wait for their turn; each holds a place in the page's queue
STOPPED = "Stopped. This turn was not kept."


@dataclass(frozen=True, slots=True, kw_only=True)
class Press:
    """A button that was pressed: the call it makes, and what the shopper is taken to have said."""

    call: ToolCall
    said: str


Said = str | Press


@dataclass(slots=True, kw_only=True)
class Talk:
    """The talk so far; `views` are the turns as shown, `asked` what began each of them.

    A turn runs in a thread of its own, so that Stop answers at once even while the model is silent. A turn
    that was stopped before it ended is not kept: the assistant is told to undo it where it was just kept.
    """

    assistant: Assistant
    user_id: str | None = None
    session_id: str | None = None
    views: list[View] = field(default_factory=list)
    asked: list[Said] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _running: threading.Lock = field(default_factory=threading.Lock)
    _waiting: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(MOST_WAITING))
    _worker: threading.Thread | None = None

    def session(self) -> str:
        """Give the session's id, starting it when this is the first thing said.

        Raises:
            ShopError: when the shopper is unknown or no more sessions may be open.
        """
        if self.session_id is None:
            self.session_id = self.assistant.start(user_id=self.user_id)
        return self.session_id

    def say(self, said: Said | Callable[[], Said], *, patience: float = 0.0) -> Generator[View]:
        """Run a turn; yield the turn's view after each thing that happens.

        Args:
            said: The message or the button; a function is called when the turn begins.
            patience: Seconds to wait for a turn that is running, so that two quick presses both count.

        Raises:
            ShopError: when a turn is still running, or the session cannot be started.
        """
        if not self._turn_comes(patience):
            raise ShopError(BUSY)
        try:
            said = said if isinstance(said, str | Press) else said()
            session_id = self.session()
            turns = self._turns()
            self._stop.clear()
            self.asked.append(said)
            self.views.append(View(said=said if isinstance(said, str) else said.said))
            yield self.views[-1]
            try:
                for event in self._events(said, session_id):
                    self.views[-1] = fold(self.views[-1], event)
                    yield self.views[-1]
            except ShopError as error:
                self._end("failed", str(error))
            except Exception:
                self._end("failed", "Something went wrong on this side and this turn was not kept. Please try again.")
                raise
            if self.views[-1].state == "running":
                self._end("stopped", STOPPED)
            elif self.views[-1].state == "kept" and self._turns() == turns:
                self.views[-1] = replace(self.views[-1], state="said")
            yield self.views[-1]
        finally:
            if self.views and self.views[-1].state == "running":
                self._end("stopped", STOPPED)
            self._running.release()

    def _end(self, state: str, why: str) -> None:
        self.views[-1] = replace(self.views[-1], state=state, ending=why)

    def _turn_comes(self, patience: float) -> bool:
        if patience <= 0 or not self._waiting.acquire(blocking=False):
            return self._running.acquire(blocking=False)
        try:
            return self._running.acquire(timeout=patience)
        finally:
            self._waiting.release()

    def _turns(self) -> int:
        """Count the turns that the assistant keeps; a message without a word is answered and not kept."""
        assert self.session_id is not None
        return sum(message.role == "user" for message in self.assistant.conversation(self.session_id).messages)

    def begin(self, user_id: str | None) -> None:
        """Start over, as this shopper; a running turn is stopped and not kept.

        Raises:
            ShopError: when the shopper is unknown or no more sessions may be open; the talk is empty then.
        """
        self.stop()
        if not self._running.acquire(timeout=5):
            raise ShopError(BUSY)
        try:
            if self._worker is not None:
                self._worker.join()
            self.close()
            self.views.clear()
            self.asked.clear()
            self.user_id = user_id
            if user_id is not None:
                self.session()
        finally:
            self._running.release()

    def stop(self) -> None:
        """End the running turn, if there is one, at once."""
        self._stop.set()

    def undo(self) -> Said | None:
        """Take the last turn back; give what it said, or None when there is none.

        Raises:
            ShopError: while a turn is running.
        """
        if not self._running.acquire(blocking=False):
            raise ShopError(BUSY)
        try:
            if not self.views:
                return None
            if self.views[-1].state == "kept" and self.session_id is not None:
                self.assistant.undo(session_id=self.session_id)
            self.views.pop()
            return self.asked.pop()
        finally:
            self._running.release()

    def cart(self) -> tuple[tuple[str, int], ...]:
        """Give the cart: item ids with quantities."""
        return () if self.session_id is None else self.assistant.cart(self.session_id)

    def memory(self) -> list[Memory]:
        """List what is remembered of the shopper."""
        return [] if self.session_id is None else self.assistant.memory(self.session_id)

    def set_quantity(self, item_id: str, quantity: int) -> None:
        """Change how many of an item the cart holds; none takes it out. An item it does not hold stays out.

        Raises:
            ShopError: while a turn is running, or when the cart cannot be written.
        """
        if not self._running.acquire(blocking=False):
            raise ShopError(BUSY)
        try:
            if self.session_id is not None:
                quantity = min(quantity, self.assistant.limits.cart_quantity)
                changed = [(one, quantity if one == item_id else count) for one, count in self.cart()]
                kept = [(one, count) for one, count in changed if count > 0]
                self.assistant.store.set_cart(self.assistant.owner(self.session_id), kept)
        finally:
            self._running.release()

    def forget(self, memory_ids: list[int] | None) -> None:
        """Erase some of what is remembered, or all of it.

        Raises:
            ShopError: while a turn is running, or when the store cannot be written.
        """
        if not self._running.acquire(blocking=False):
            raise ShopError(BUSY)
        try:
            if self.session_id is not None:
                self.assistant.forget(self.session_id, memory_ids)
        finally:
            self._running.release()

    def close(self) -> None:
        """End the talk; what was said and the cart stay on disk."""
        self.stop()
        if self.session_id is not None:
            self.assistant.end(self.session_id)
            self.session_id = None

    def shown(self) -> tuple[int, View] | None:
        """Find the list shown last: the turn's number and its view; a turn that was not kept has shown none."""
        for number in range(len(self.views) - 1, -1, -1):
            if self.views[number].cards and self.views[number].state in ("kept", "running"):
                return number, self.views[number]
        return None

    def _events(self, said: Said, session_id: str) -> Iterator[Event]:
        """Yield the assistant's events from a thread; end early when stopped."""
        if self._worker is not None:
            self._worker.join()  # a stopped turn that still waits for the model; it is bounded by the turn's seconds
        stop, results, left = self._stop, queue.Queue[Event | BaseException | None](), threading.Lock()
        state = {"left": False}

        def work() -> None:
            events = self._begin(said, session_id)
            try:
                for event in events:
                    with left:
                        if state["left"]:
                            if isinstance(event, Finished):
                                self.assistant.undo(session_id=session_id)
                            break
                        results.put(event)
            except BaseException as error:  # handed to the reader's thread, which raises it
                results.put(error)
            finally:
                if isinstance(events, Generator):
                    events.close()
                results.put(None)

        self._worker = threading.Thread(target=work, name="turn", daemon=True)
        self._worker.start()
        try:
            while True:
                try:
                    result = results.get(timeout=0.05)
                except queue.Empty:
                    if stop.is_set():
                        return
                    continue
                if result is None:
                    return
                if isinstance(result, BaseException):
                    raise result
                yield result
                if isinstance(result, Finished):
                    return
                if stop.is_set() and results.empty():
                    return
        finally:
            with left:
                state["left"] = True
                unread = [results.get_nowait() for _ in range(results.qsize())]
            if any(isinstance(one, Finished) for one in unread):
                self.assistant.undo(session_id=session_id)

    def _begin(self, said: Said, session_id: str) -> Iterator[Event]:
        if isinstance(said, str):
            return self.assistant.reply(said, session_id=session_id)
        return self.assistant.press(said.call, session_id=session_id, said=said.said)
