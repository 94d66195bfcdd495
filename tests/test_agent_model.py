"""The client of an OpenAI-compatible server: whatever the server does, words or one kind of failure, in time."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from agent.model import ModelFailure, OpenAIModel, Usage

Serve = Callable[[BaseHTTPRequestHandler], None]
HELLO = [{"role": "user", "content": "hi"}]


@pytest.fixture
def server() -> Iterator[Any]:
    """A server on this machine that answers as it is told to; `requests` holds what it was asked."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            http.requests.append(json.loads(body))  # type: ignore[attr-defined]
            try:
                http.serve(self)  # type: ignore[attr-defined]
            except OSError:
                http.hung_up.set()  # type: ignore[attr-defined]
            self.close_connection = True

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    http.requests, http.hung_up = [], threading.Event()  # type: ignore[attr-defined]
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield http
    http.shutdown()
    thread.join()
    http.server_close()


def model(server: Any) -> OpenAIModel:
    return OpenAIModel(f"http://127.0.0.1:{server.server_address[1]}/v1", name="tiny")


def ask(server: Any, *, seconds: float = 5.0, usage: Usage | None = None) -> str:
    return "".join(model(server).answer(HELLO, max_tokens=9, seconds=seconds, usage=usage or Usage()))


def chunk(words: Any = None, *, finish: str | None = None, usage: Any = None) -> bytes:
    choices = [] if usage is not None else [{"index": 0, "delta": {"content": words}, "finish_reason": finish}]
    record = {"id": "1", "object": "chat.completion.chunk", "created": 0, "model": "tiny", "choices": choices}
    return b"data: " + json.dumps(record | ({"usage": usage} if usage is not None else {})).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"
COUNTS = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}


def streaming(*pieces: bytes, pause: float = 0.0) -> Serve:
    def serve(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("content-type", "text/event-stream")
        handler.send_header("connection", "close")
        handler.end_headers()
        for piece in pieces:
            handler.wfile.write(piece)
            handler.wfile.flush()
            time.sleep(pause)

    return serve


def answering(body: bytes, *, status: int = 200, kind: str = "application/json") -> Serve:
    def serve(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("content-type", kind)
        handler.send_header("content-length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return serve


def test_words_come_as_they_are_written_and_are_counted(server: Any) -> None:
    """Pieces in order, tokens and calls in the usage."""
    server.serve = streaming(chunk("Hel"), chunk("lo."), chunk("", finish="stop"), chunk(usage=COUNTS), DONE)
    usage = Usage()
    pieces = list(model(server).answer(HELLO, max_tokens=9, seconds=5, usage=usage))
    assert pieces == ["Hel", "lo."]
    assert (usage.llm_calls, usage.prompt_tokens, usage.completion_tokens) == (1, 7, 2)
    assert 0 < usage.model_seconds < 5
    (asked,) = server.requests
    assert (asked["messages"], asked["max_tokens"], asked["temperature"]) == (HELLO, 9, 0.0)


def test_a_plan_is_asked_for_with_its_schema(server: Any) -> None:
    """The grammar is the server's; it is sent with the request."""
    server.serve = streaming(chunk('{"calls":'), chunk("[]}", finish="stop"), DONE)
    schema = {"type": "object"}
    assert model(server).plan(HELLO, schema=schema, max_tokens=9, seconds=5, usage=Usage()) == '{"calls":[]}'
    assert server.requests[0]["response_format"]["json_schema"]["schema"] == schema


def test_words_are_there_before_the_answer_is_whole(server: Any) -> None:
    """Streaming is streaming: the first piece is not held back for the last."""
    go = threading.Event()

    def serve(handler: BaseHTTPRequestHandler) -> None:
        streaming(chunk("Hello."))(handler)
        go.wait(5)
        handler.wfile.write(chunk("", finish="stop") + DONE)

    server.serve = serve
    words = model(server).answer(HELLO, max_tokens=9, seconds=5, usage=Usage())
    assert next(words) == "Hello."
    go.set()
    assert list(words) == []


GARBAGE: dict[str, Serve] = {
    "an error of the server": answering(b'{"error":{"message":"boom"}}', status=500),
    "too long a prompt": answering(b'{"error":{"message":"maximum context length"}}', status=400),
    "no such page": answering(b"<html>nginx</html>", status=404, kind="text/html"),
    "not now": answering(b"", status=503),
    "a page of HTML": answering(b"<html>Welcome!</html>", kind="text/html"),
    "JSON of another kind": answering(b'{"hello":"world"}'),
    "a list": answering(b"[1,2,3]"),
    "a string": answering(b'"hello"'),
    "nothing": answering(b""),
    "bytes that are no text": answering(b"\xff\xfe\x00data: \xff", kind="text/event-stream"),
    "a line that is no JSON": streaming(b"data: {not json\n\n", DONE),
    "a line of bad bytes": streaming(b'data: {"choices": \xff}\n\n', DONE),
    "chunks that are lists": streaming(b"data: [1,2]\n\n", DONE),
    "chunks that are null": streaming(b"data: null\n\n", DONE),
    "choices that are text": streaming(b'data: {"choices":"abc"}\n\n', DONE),
    "a choice without words": streaming(b'data: {"choices":[{"index":0}]}\n\n', DONE),
    "words that are numbers": streaming(chunk(5), chunk([1]), DONE),
    "an error in the stream": streaming(chunk("Hel"), b'data: {"error":{"message":"out of memory"}}\n\n', DONE),
    "a stream that ends in mid-sentence": streaming(chunk("Hello, I wo")),
    "a stream that is done in mid-sentence": streaming(chunk("Hello, I wo"), DONE),
    "counts of another kind": streaming(b'data: {"choices":[],"usage":{"prompt_tokens":"many"}}\n\n', DONE),
}


@pytest.mark.parametrize("how", GARBAGE)
def test_garbage_is_one_kind_of_failure(server: Any, how: str) -> None:
    """The turn handles a ModelFailure; any other error would end it."""
    server.serve = GARBAGE[how]
    usage = Usage()
    with pytest.raises(ModelFailure):
        ask(server, usage=usage)
    assert usage.llm_calls == len(server.requests) == 1  # and no retry eats the shopper's time


def test_what_was_whole_before_the_failure_has_been_given(server: Any) -> None:
    """The reader may use it."""
    server.serve = GARBAGE["a stream that ends in mid-sentence"]
    words = model(server).answer(HELLO, max_tokens=9, seconds=5, usage=Usage())
    assert next(words) == "Hello, I wo"
    with pytest.raises(ModelFailure, match="mid-sentence"):
        next(words)


def test_a_token_limit_is_an_end_and_not_a_failure(server: Any) -> None:
    """The last half sentence is the turn's to drop."""
    server.serve = streaming(chunk("Hello. I wo", finish="length"), DONE)
    assert ask(server) == "Hello. I wo"


def test_an_address_that_refuses_fails_at_once() -> None:
    """Nobody listens there: no waiting for a timeout."""
    started = time.monotonic()
    with pytest.raises(ModelFailure):
        list(OpenAIModel("http://127.0.0.1:9/v1", name="tiny").answer(HELLO, max_tokens=9, seconds=5, usage=Usage()))
    assert time.monotonic() - started < 2.5


def forever(piece: bytes) -> Serve:
    def serve(handler: BaseHTTPRequestHandler) -> None:
        streaming()(handler)
        for _ in range(200):
            handler.wfile.write(piece)
            handler.wfile.flush()
            time.sleep(0.05)

    return serve


SLOW: dict[str, Serve] = {
    "says nothing": lambda handler: time.sleep(3),
    "says nothing after its head": streaming(b"", pause=3),
    "trickles words": forever(chunk("a ")),
    "trickles comments": forever(b": still here\n\n"),
    "trickles bytes of one line": forever(b"x"),
    "trickles empty chunks": forever(chunk("")),
    "stops after some words": streaming(chunk("Hello"), pause=3),
}


@pytest.mark.parametrize("how", SLOW)
def test_the_deadline_holds_however_the_server_dawdles(server: Any, how: str) -> None:
    """The seconds bound the call as a whole: a server that trickles is as dead as one that is silent."""
    server.serve = SLOW[how]
    usage = Usage()
    started = time.monotonic()
    with pytest.raises(ModelFailure):
        ask(server, seconds=0.6, usage=usage)
    assert time.monotonic() - started < 1.6
    assert usage.model_seconds < 1.6


def test_a_reader_that_goes_away_hangs_up(server: Any) -> None:
    """A turn that is stopped must not leave the server writing for nobody: the next shopper waits behind it."""
    server.serve = forever(chunk("a "))
    words = model(server).answer(HELLO, max_tokens=9, seconds=9, usage=Usage())
    next(words)
    words.close()  # type: ignore[attr-defined]
    assert server.hung_up.wait(5)


def test_ping_says_whether_it_answers(server: Any) -> None:
    """A deadline on progress, not a health page."""
    server.serve = streaming(chunk("hi", finish="stop"), DONE)
    model(server).ping(seconds=5)
    server.serve = SLOW["says nothing"]
    with pytest.raises(ModelFailure):
        model(server).ping(seconds=0.3)


def test_settings_of_a_proxy_are_not_used(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a shopper says goes to the address that was set, and nowhere else."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    server.serve = streaming(chunk("hi", finish="stop"), DONE)
    assert ask(server) == "hi"
