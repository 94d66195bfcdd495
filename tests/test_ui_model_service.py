"""The model in the background: it comes up, is watched by what it answers, and never outlives us."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from agent.local_vllm import free_port, port_taken
from agent.model import OpenAIModel
from retrieval.records import ShopError
from ui.model_service import ModelService, Served, first_model, running_server
from ui.settings import Settings, read_settings

FAKE = Path(__file__).with_name("fake_vllm.py")


def service(tmp_path: Path, fake: str, *, seen: list[Any] | None = None, **settings: str) -> ModelService:
    return ModelService(
        read_settings({f"SHOPTALK_{name.upper()}": value for name, value in settings.items()}, home=tmp_path),
        on_model=None if seen is None else seen.append,
        served=Served(folder=tmp_path, adapter=None, gpu=False),
        command=[sys.executable, str(FAKE), "--fake", fake],
        watch_seconds=0.2,
        answer_seconds=1.0,
    )


def until(true: Callable[[], bool], *, within: float = 30.0) -> None:
    deadline = time.monotonic() + within
    while not true():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


def test_it_starts_beside_us_says_so_and_is_stopped(tmp_path: Path) -> None:
    seen: list[OpenAIModel | None] = []
    with service(tmp_path, "serve", seen=seen) as started:
        assert not started.status.ready
        model = started.wait()
        assert started.status.ready and started.status.good and "ready" in started.status.text
        assert seen == [model]
        port = int(model.url.split(":")[2].split("/")[0])
        assert json.loads(started.record.read_text()) == {"url": model.url, "name": "shoptalk"}
    assert not port_taken(port)
    assert not started.record.exists()


def test_a_server_that_ends_is_told_with_what_it_said(tmp_path: Path) -> None:
    with service(tmp_path, "die") as started:
        with pytest.raises(ShopError, match="no room for the weights"):
            started.wait()
        assert started.status.ready and not started.status.good
        assert "Answers come with plain reasons" in started.status.text


def test_a_server_that_hangs_is_started_again(tmp_path: Path) -> None:
    seen: list[OpenAIModel | None] = []
    with service(tmp_path, "hang", seen=seen) as started:
        started.wait()
        until(lambda: len(seen) >= 3)
        assert seen[1] is None, "while it is away, nobody waits for it"
        assert seen[2] is not None


def test_closing_while_it_starts_leaves_nothing_behind(tmp_path: Path) -> None:
    started = service(tmp_path, "silent").start()
    until(lambda: started._server is not None and started._server.alive())
    server = started._server
    begun = time.monotonic()
    started.close()
    assert time.monotonic() - begun < 20
    assert server is not None and not server.alive()


@pytest.fixture
def elsewhere() -> Iterator[tuple[str, dict[str, Any]]]:
    """Somebody else's server; `answer` is what it says to a completion."""
    says: dict[str, Any] = {"models": b'{"data": [{"id": "theirs"}]}', "answer": _STREAM}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._send(says["models"], "application/json")

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self._send(says["answer"], "text/event-stream")

        def _send(self, content: bytes, kind: str) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1", says
    server.shutdown()


_STREAM = (
    b'data: {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "theirs", '
    b'"choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": "length"}]}\n\ndata: [DONE]\n\n'
)


def test_a_server_elsewhere_is_used_by_its_address_alone(tmp_path: Path, elsewhere: tuple[str, dict[str, Any]]) -> None:
    with service(tmp_path, "die", model_url=elsewhere[0]) as started:
        assert started.wait().name == "theirs"


def test_a_server_elsewhere_that_comes_back_is_used_again(
    tmp_path: Path, elsewhere: tuple[str, dict[str, Any]]
) -> None:
    url, says = elsewhere
    says["answer"] = b"<html>come back later</html>"
    seen: list[OpenAIModel | None] = []
    with service(tmp_path, "die", seen=seen, model_url=url) as started:
        with pytest.raises(ShopError, match=f"The model at {url} does not answer"):
            started.wait()
        assert not started.status.good
        says["answer"] = _STREAM
        until(lambda: started.model is not None)
        assert started.status.good
        says["answer"] = b""
        until(lambda: started.model is None)


def test_an_address_that_refuses_or_talks_nonsense_is_a_sentence(elsewhere: tuple[str, dict[str, Any]]) -> None:
    with pytest.raises(ShopError, match="Is the address right"):
        first_model(f"http://127.0.0.1:{free_port()}/v1")
    elsewhere[1]["models"] = b"hello"
    with pytest.raises(ShopError, match=r"gives no list of models\. Set SHOPTALK_MODEL_NAME"):
        first_model(elsewhere[0])


def test_a_server_that_another_command_runs_is_found(tmp_path: Path, elsewhere: tuple[str, dict[str, Any]]) -> None:
    settings: Settings = read_settings({}, home=tmp_path)
    assert running_server(settings) is None
    record = settings.models_folder / "serving.json"
    record.parent.mkdir()
    for text in ("", "{}", "[1]", '{"url": "http://127.0.0.1:1/v1", "name": "x"}'):
        record.write_text(text)
        assert running_server(settings, seconds=1) is None
    record.write_text(json.dumps({"url": elsewhere[0], "name": "theirs"}))
    found = running_server(settings, seconds=5)
    assert found is not None and found.name == "theirs"
