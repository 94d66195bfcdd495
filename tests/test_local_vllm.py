"""vLLM as a child: it answers or says why not, and it never outlives us."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.conversation import Message
from agent.local_vllm import (
    HOST,
    LocalVllm,
    Serving,
    arguments,
    environment,
    free_port,
    kv_cache_gib,
    lora_rank,
    port_taken,
    request_json,
    start_vllm,
    usable_cores,
)
from agent.model import OpenAIModel, Usage
from agent.plan import plan_schema
from agent.prompt import chat_messages
from agent.tools import TOOLS
from retrieval.records import ShopError
from tests.conftest import HOME
from ui.model_service import default_adapter, prepare_model
from ui.settings import read_settings

FAKE = Path(__file__).with_name("fake_vllm.py")


def serving(folder: Path, fake: str = "serve", **more: object) -> Serving:
    command = [sys.executable, str(FAKE), "--fake", fake, "--pids", str(folder / "pids")]
    settings: dict[str, object] = {
        "model": folder,
        "served_name": "shop",
        "log": folder / "vllm.log",
        "command": command,
        "stall_seconds": 60.0,
    }
    return Serving(**(settings | more))  # type: ignore[arg-type]


def gone(pid: int, *, within: float = 60.0) -> bool:
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
        time.sleep(0.05)
    return False


def wait_for(condition: Callable[[], bool], *, within: float = 60.0) -> bool:
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return False


def test_it_answers_tells_progress_and_is_gone_afterwards(tmp_path: Path) -> None:
    said: list[tuple[str, float]] = []
    server = LocalVllm(serving(tmp_path))
    server.start(lambda text, share: said.append((text, share)))
    assert server.alive() and server.answers(5)
    assert said[-1][0].startswith("The model is ready") and said[-1][1] == 1.0
    assert server.url == f"http://127.0.0.1:{server.port}/v1"
    port = server.port
    server.stop()
    server.stop()
    assert not server.alive() and not server.answers(1) and not port_taken(port)


def test_what_it_started_is_stopped_too_even_when_it_ignores_the_asking(tmp_path: Path) -> None:
    with LocalVllm(serving(tmp_path, "children")):
        child = int((tmp_path / "pids").read_text(encoding="utf-8"))
        assert Path(f"/proc/{child}").exists()
    assert gone(child)


def test_a_server_that_dies_is_reported_with_what_it_said(tmp_path: Path) -> None:
    with pytest.raises(ShopError) as raised:
        LocalVllm(serving(tmp_path, "die")).start()
    assert "vLLM ended while starting" in str(raised.value)
    assert "RuntimeError: no room for the weights" in str(raised.value)
    assert str(tmp_path / "vllm.log") in str(raised.value)


def test_a_server_that_makes_no_progress_is_given_up(tmp_path: Path) -> None:
    begun = time.monotonic()
    server = LocalVllm(serving(tmp_path, "silent", stall_seconds=1.5))
    with pytest.raises(ShopError, match="did not get ready"):
        server.start()
    assert not server.alive() and time.monotonic() - begun < 60


def test_a_server_that_hangs_is_alive_but_does_not_answer_and_a_restart_heals_it(tmp_path: Path) -> None:
    with LocalVllm(serving(tmp_path, "hang")) as server:
        begun = time.monotonic()
        assert server.alive() and not server.answers(0.5)
        assert time.monotonic() - begun < 20
        server.restart()
        assert server.alive()


def test_a_server_that_was_killed_is_not_alive_and_can_be_restarted(tmp_path: Path) -> None:
    with LocalVllm(serving(tmp_path)) as server:
        assert server._child is not None
        os.killpg(server._child.pid, signal.SIGKILL)
        assert wait_for(lambda: not server.alive())
        server.restart()
        assert server.answers(5)


def test_a_port_that_was_asked_for_and_is_taken_is_refused(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind((HOST, 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ShopError, match=f"Port {port} is taken"):
            LocalVllm(serving(tmp_path, port=port)).start()


def test_an_answer_that_is_no_json_or_a_refusal_is_no_answer() -> None:
    assert request_json(free_port(), "GET", "/v1/models", seconds=0.5) is None
    with socket.socket() as garbage:
        garbage.bind((HOST, 0))
        garbage.listen()
        port = garbage.getsockname()[1]
        begun = time.monotonic()
        assert request_json(port, "GET", "/v1/models", seconds=0.5) is None  # accepts, never answers
        assert time.monotonic() - begun < 20


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_it_does_not_outlive_a_starter_that_is_killed(tmp_path: Path, end: signal.Signals) -> None:
    program = (
        "import sys, time; from pathlib import Path; from agent.local_vllm import LocalVllm, Serving\n"
        f"folder = Path({str(tmp_path)!r})\n"
        f"command = [sys.executable, {str(FAKE)!r}, '--fake', 'children', '--pids', str(folder / 'pids')]\n"
        "serving = Serving(model=folder, served_name='shop', log=folder / 'vllm.log', command=command)\n"
        "server = LocalVllm(serving); server.start()\n"
        "(folder / 'port').write_text(str(server.port)); time.sleep(600)\n"
    )
    starter = subprocess.Popen([sys.executable, "-c", program], cwd=FAKE.parent.parent, stderr=subprocess.DEVNULL)
    try:
        assert wait_for(lambda: (tmp_path / "port").exists() and bool((tmp_path / "port").read_text("utf-8")))
        child = int((tmp_path / "pids").read_text(encoding="utf-8"))
        port = int((tmp_path / "port").read_text(encoding="utf-8"))
        starter.send_signal(end)
        starter.wait(timeout=60)
        assert gone(child, within=60) and wait_for(lambda: not port_taken(port))
    finally:
        starter.kill()


def test_a_folder_that_is_no_model_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(ShopError, match=r"it has no config\.json"):
        start_vllm(tmp_path, served_name="shop", log=tmp_path / "log")


def test_the_command_line_is_local_quiet_and_runs_no_code_of_the_model(tmp_path: Path) -> None:
    spelled = " ".join(arguments(serving(tmp_path), port=1234))
    for needed in (
        "--host 127.0.0.1 --port 1234",
        "--enforce-eager",
        "--no-trust-remote-code",
        "--no-enable-log-requests",
        '"disable_any_whitespace": true',
    ):
        assert needed in spelled
    assert environment(serving(tmp_path))["HF_HUB_OFFLINE"] == "1"
    assert environment(serving(tmp_path))["VLLM_NO_USAGE_STATS"] == "1"


def test_an_adapter_is_served_by_its_name_with_room_for_its_rank(tmp_path: Path) -> None:
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(json.dumps({"r": 24}), encoding="utf-8")
    served = serving(tmp_path, adapter=("tuned", adapter), gpu=True)
    spelled = " ".join(arguments(served, port=1234))
    assert f"--enable-lora --max-loras 1 --max-lora-rank 32 --lora-modules tuned={adapter}" in spelled
    large = tmp_path / "large"
    large.mkdir()
    (large / "adapter_config.json").write_text(json.dumps({"r": 64}), encoding="utf-8")
    both = serving(tmp_path, adapter=("tuned", adapter), more=(("large", large),), gpu=True)
    assert both.name == "tuned"
    assert f"--enable-lora --max-loras 2 --max-lora-rank 64 --lora-modules tuned={adapter} large={large}" in " ".join(
        arguments(both, port=1234)
    )
    assert "--enforce-eager" not in spelled
    assert served.name == "tuned"
    with LocalVllm(served) as server:
        assert server.answers(5)
    (adapter / "adapter_config.json").write_text(json.dumps({"r": 1024}), encoding="utf-8")
    with pytest.raises(ShopError, match="Merge it instead"):
        lora_rank(adapter)


def test_too_little_memory_is_said_before_vllm_starts() -> None:
    with pytest.raises(ShopError, match="vLLM needs about 4"):
        kv_cache_gib(2 * 1024**3)


def test_only_cores_that_we_may_use_are_bound() -> None:
    assert set(usable_cores()) <= os.sched_getaffinity(0)


@pytest.mark.model
@pytest.mark.slow
def test_the_real_server_keeps_to_a_schema_of_two_tools(vllm_server: LocalVllm) -> None:
    def tool(name: str, argument: str) -> dict[str, object]:
        return {
            "type": "object",
            "properties": {"tool": {"const": name}, argument: {"type": "string", "maxLength": 30}},
            "required": ["tool", argument],
            "additionalProperties": False,
        }

    schema = {
        "type": "object",
        "properties": {
            "calls": {
                "type": "array",
                "items": {"anyOf": [tool("search_catalog", "query"), tool("chat", "topic")]},
                "minItems": 1,
                "maxItems": 2,
            }
        },
        "required": ["calls"],
        "additionalProperties": False,
    }
    body = {
        "model": vllm_server.name,
        "messages": [{"role": "user", "content": "cat food under five dollars"}],
        "max_tokens": 120,
        "temperature": 0,
        "response_format": {"type": "json_schema", "json_schema": {"name": "plan", "schema": schema}},
    }
    answer = request_json(vllm_server.port, "POST", "/v1/chat/completions", body=body, seconds=240)
    calls = json.loads(answer["choices"][0]["message"]["content"])["calls"]
    assert 1 <= len(calls) <= 2
    assert all(set(call) in ({"tool", "query"}, {"tool", "topic"}) for call in calls)


@pytest.mark.model
@pytest.mark.slow
def test_adapters_by_name_say_what_they_say_when_merged(vllm_server: LocalVllm, tmp_path: Path) -> None:
    """Both ways of serving are real: the same plan from either; the bare base and an untrained adapter beside it plan another."""
    untrained = without_effect(default_adapter(), tmp_path / "untrained")
    served = prepare_model(read_settings({}, home=HOME, serve="lora", beside=str(untrained)))
    assert served.adapter is not None
    folder = served.folder.parent
    with start_vllm(
        served.folder,
        served_name="base",
        adapter=served.adapter,
        more=served.more,
        log=folder / "vllm-tests-lora.log",
        gpu=served.gpu,
    ) as server:
        assert server.name == served.adapter[0]
        by_name = plan_of("dry cat food under $4", server, server.name)
        bare = plan_of("dry cat food under $4", server, "base")
        assert plan_of("dry cat food under $4", server, "untrained") == bare
    assert by_name == plan_of("dry cat food under $4", vllm_server, vllm_server.name) != bare
    assert json.loads(by_name)["calls"] == [{"tool": "search_catalog", "query": "dry cat food", "max_price": 4}]


def without_effect(adapter: Path | None, folder: Path) -> Path:
    """Copy an adapter with all of one side of its products zero, as before its first step."""
    from safetensors.torch import load_file, save_file

    assert adapter is not None
    folder.mkdir()
    shutil.copy(adapter / "adapter_config.json", folder)
    weights = load_file(adapter / "adapter_model.safetensors")
    still = {name: 0 * tensor if ".lora_B." in name else tensor for name, tensor in weights.items()}
    save_file(still, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    return folder


def plan_of(message: str, server: LocalVllm, name: str) -> str:
    """Ask for a plan as a turn does, within the schema of the real tools."""
    schema = plan_schema(TOOLS, max_calls=4)
    messages = chat_messages([Message(role="user", content=message)])
    model = OpenAIModel(server.url, name=name)
    return model.plan(messages, schema=schema, max_tokens=60, seconds=240, usage=Usage())
