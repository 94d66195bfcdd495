"""The language model behind an OpenAI-compatible address: one planning call, one streamed answer."""

from __future__ import annotations

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
        self, messages: Sequence[Mapping[str, str]], *, max_tokens: int, seconds: float, usage: Usage
    ) -> Iterator[str]:
        """Complete the messages with words, as they come."""
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
        self, messages: Sequence[Mapping[str, str]], *, max_tokens: int, seconds: float, usage: Usage
    ) -> Iterator[str]:
        """Complete the messages with words, as they come."""
        yield from self._stream(messages, max_tokens=max_tokens, seconds=seconds, usage=usage)

    def _stream(
        self, messages: Sequence[Mapping[str, str]], *, max_tokens: int, seconds: float, usage: Usage, **more: Any
    ) -> Iterator[str]:
        import json

        import httpx
        from openai import OpenAIError

        started = time.monotonic()
        usage.llm_calls += 1
        finished = False
        try:
            stream = self._client.chat.completions.create(
                model=self.name,
                messages=list(messages),  # type: ignore[arg-type]
                max_tokens=max_tokens,
                temperature=0.0,
                stream=True,
                stream_options={"include_usage": True},
                timeout=httpx.Timeout(max(seconds, 0.1), connect=min(2.0, max(seconds, 0.1))),
                **more,
            )
            if isinstance(stream, str) or not hasattr(stream, "close"):
                raise ModelFailure("the model's server answered something else than a completion")
            with stream:
                for chunk in stream:
                    if time.monotonic() - started > seconds:
                        raise ModelFailure(f"the model took more than {seconds:.0f} s")
                    counts = getattr(chunk, "usage", None)
                    if counts is not None:
                        usage.prompt_tokens += counts.prompt_tokens
                        usage.completion_tokens += counts.completion_tokens
                    for choice in getattr(chunk, "choices", None) or ():
                        finished = finished or choice.finish_reason is not None
                        if choice.delta is not None and choice.delta.content:
                            yield choice.delta.content
        except (
            OpenAIError,
            httpx.HTTPError,
            json.JSONDecodeError,
            UnicodeDecodeError,
            AttributeError,
            TypeError,
        ) as error:
            # The client raises the last three where a server's answer has not the shape of a completion.
            raise ModelFailure(f"{type(error).__name__}: {error}") from error
        finally:
            usage.model_seconds += time.monotonic() - started
        if not finished:
            raise ModelFailure("the model stopped in mid-sentence")

    def ping(self, *, seconds: float) -> None:
        """Have one token made within `seconds`; raise ModelFailure otherwise."""
        usage = Usage()
        for _ in self._stream([{"role": "user", "content": "hi"}], max_tokens=1, seconds=seconds, usage=usage):
            pass
