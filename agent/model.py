"""The language model behind an OpenAI-compatible address: one planning call, one streamed answer."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol


class ModelFailure(Exception):
    """The model refused, answered garbage, stopped in mid-sentence or ran out of time."""


@dataclass(slots=True, kw_only=True)
class Usage:
    """What a turn has used of the model: calls, tokens, seconds."""

    llm_calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    model_seconds: float = 0.0


class Model(Protocol):
    """What a turn needs of a model; a test's scripted model has the same two methods."""

    name: str

    def plan(
        self,
        messages: Sequence[Mapping[str, str]],
        *,
        schema: Mapping[str, Any],
        max_tokens: int,
        seconds: float,
        usage: Usage,
    ) -> str:
        """Complete the messages with JSON that keeps to the schema."""
        ...

    def answer(
        self,
        messages: Sequence[Mapping[str, str]],
        *,
        max_tokens: int,
        seconds: float,
        usage: Usage,
        grammar: str | None = None,
    ) -> Iterator[str]:
        """Complete the messages with words, as they come; within a grammar (EBNF), where one is given."""
        ...


class OpenAIModel:
    """A model at an OpenAI-compatible address, such as vLLM's.

    Decoding is greedy: the same talk gets the same answer. `seconds` bounds a call as a whole, streaming
    included: a server that trickles is as dead as one that is silent.
    """

    def __init__(self, url: str, *, name: str, api_key: str = "none") -> None:
        import httpx
        from openai import OpenAI

        self.name = name
        self.url = url
        self._client = OpenAI(
            base_url=url,
            api_key=api_key,
            max_retries=0,
            http_client=httpx.Client(trust_env=False, timeout=httpx.Timeout(10.0, connect=2.0)),
        )

    def plan(
        self,
        messages: Sequence[Mapping[str, str]],
        *,
        schema: Mapping[str, Any],
        max_tokens: int,
        seconds: float,
        usage: Usage,
    ) -> str:
        """Complete the messages with JSON that keeps to the schema."""
        response_format = {"type": "json_schema", "json_schema": {"name": "plan", "schema": schema}}
        return "".join(
            self._stream(messages, max_tokens=max_tokens, seconds=seconds, usage=usage, response_format=response_format)
        )

    def answer(
        self,
        messages: Sequence[Mapping[str, str]],
        *,
        max_tokens: int,
        seconds: float,
        usage: Usage,
        grammar: str | None = None,
    ) -> Iterator[str]:
        """Complete the messages with words, as they come; a grammar is asked for in vLLM's own field."""
        bound = {} if grammar is None else {"extra_body": {"structured_outputs": {"grammar": grammar}}}
        yield from self._stream(messages, max_tokens=max_tokens, seconds=seconds, usage=usage, **bound)

    def _stream(
        self, messages: Sequence[Mapping[str, str]], *, max_tokens: int, seconds: float, usage: Usage, **more: Any
    ) -> Iterator[str]:
        """Give the pieces of a completion until it is whole, the time is over or the caller stops asking.

        A thread of its own reads: a server that sends bytes but never a whole chunk would hold the caller for ever.
        """
        started = time.monotonic()
        usage.llm_calls += 1
        reader = _Reader(
            self._client,
            {
                "model": self.name,
                "messages": list(messages),
                "max_tokens": max_tokens,
                "temperature": 0.0,
                "stream": True,
                "stream_options": {"include_usage": True},
                **more,
            },
            seconds=seconds,
        )
        reader.start()
        try:
            while True:
                try:
                    piece = reader.pieces.get(timeout=max(started + seconds - time.monotonic(), 0.0))
                except queue.Empty:
                    raise ModelFailure(f"the model took more than {seconds:.0f} s") from None
                if piece is None:
                    return
                if isinstance(piece, ModelFailure):
                    raise piece
                yield piece
        finally:
            reader.stop()
            usage.prompt_tokens += reader.prompt_tokens
            usage.completion_tokens += reader.completion_tokens
            usage.model_seconds += time.monotonic() - started

    def ping(self, *, seconds: float) -> None:
        """Have one token made within `seconds`; raise ModelFailure otherwise."""
        usage = Usage()
        for _ in self._stream([{"role": "user", "content": "hi"}], max_tokens=1, seconds=seconds, usage=usage):
            pass


class _Reader(threading.Thread):
    """Read one completion into `pieces`: words, then None when it is whole or the failure that ended it."""

    def __init__(self, client: Any, request: Mapping[str, Any], *, seconds: float) -> None:
        super().__init__(name="completion", daemon=True)
        self.pieces: queue.SimpleQueue[str | ModelFailure | None] = queue.SimpleQueue()
        self.prompt_tokens = 0
        self.completion_tokens = 0
        self._client = client
        self._request = request
        self._seconds = max(seconds, 0.1)
        self._stream: Any = None
        self._stopped = threading.Event()

    def run(self) -> None:
        """Read to the end."""
        import json

        import httpx
        from openai import OpenAIError

        try:
            timeout = httpx.Timeout(self._seconds, connect=min(2.0, self._seconds))
            self._stream = self._client.chat.completions.create(timeout=timeout, **self._request)
            if isinstance(self._stream, str) or not hasattr(self._stream, "close"):
                raise ModelFailure("the model's server answered something else than a completion")
            with self._stream:
                whole = self._read()
            self.pieces.put(None if whole else ModelFailure("the model stopped in mid-sentence"))
        except ModelFailure as failure:
            self.pieces.put(failure)
        except (OpenAIError, httpx.HTTPError, json.JSONDecodeError, UnicodeDecodeError) as error:
            self.pieces.put(ModelFailure(f"{type(error).__name__}: {error}"))
        except (AttributeError, TypeError, ValueError, RuntimeError, OSError) as error:
            # The client raises these where an answer has not the shape of a completion, or was closed under it.
            self.pieces.put(ModelFailure(f"{type(error).__name__}: {error}"))

    def _read(self) -> bool:
        whole = False
        for chunk in self._stream:
            if self._stopped.is_set():
                break
            counts = getattr(chunk, "usage", None)
            if counts is not None:
                self.prompt_tokens += counts.prompt_tokens or 0
                self.completion_tokens += counts.completion_tokens or 0
            for choice in getattr(chunk, "choices", None) or ():
                whole = whole or choice.finish_reason is not None
                words = choice.delta.content if choice.delta is not None else None
                if isinstance(words, str) and words:
                    self.pieces.put(words)
        return whole

    def stop(self) -> None:
        """Hang up, so that the server stops writing; a completion that was read to its end is left alone."""
        self._stopped.set()
        if self.is_alive() and hasattr(self._stream, "close"):
            with contextlib.suppress(Exception):  # the thread that reads may close it at the same time
                self._stream.close()
