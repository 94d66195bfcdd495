"""vLLM as a child process: started with progress, watched by what it answers, and gone when we are."""

from __future__ import annotations

import atexit
import contextlib
import http.client
import json
import math
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from agent import child_guard
from agent.base_model import model_folder_problem
from retrieval.records import ShopError

Progress = Callable[[str, float], None]

HOST = "127.0.0.1"
MODULE = (sys.executable, "-m", "vllm.entrypoints.openai.api_server")
TYPICAL_START_SECONDS = 40.0
LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
GIB = 1024**3
# What a line of vLLM's log says about how far it is.
PHASES = (
    ("Application startup complete", "almost ready"),
    ("GPU KV cache size", "making room for talks"),
    ("CPU KV cache size", "making room for talks"),
    ("Loading weights took", "weights are loaded"),
    ("Starting to load model", "loading the weights"),
    ("Initializing a V1 LLM engine", "starting the engine"),
    ("Resolved architecture", "reading the model's description"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """What is served and how; `adapter` is (name, folder) of a LoRA adapter served beside the base, `more` are others."""

    model: Path
    served_name: str
    adapter: tuple[str, Path] | None = None
    more: Sequence[tuple[str, Path]] = ()
    gpu: bool = False
    max_model_len: int = 4096
    port: int | None = None
    log: Path
    stall_seconds: float = 300.0
    command: Sequence[str] = field(default=MODULE)

    @property
    def name(self) -> str:
        """Give the name to ask for: the adapter's where there is one."""
        return self.adapter[0] if self.adapter else self.served_name


class LocalVllm:
    """A vLLM server of our own at `url`; use it as a context manager, or call `stop`."""

    def __init__(self, serving: Serving) -> None:
        self.serving = serving
        self.name = serving.name
        self.port = serving.port or free_port()
        self._child: subprocess.Popen[bytes] | None = None
        self._lock = threading.RLock()

    @property
    def url(self) -> str:
        """Give the OpenAI-compatible address."""
        return f"http://{HOST}:{self.port}/v1"

    def start(self, progress: Progress | None = None) -> None:
        """Start the server and wait until it completes a token.

        Raises:
            ShopError: when it cannot be started, ends, or makes no progress for `stall_seconds`.
        """
        with self._lock:
            if self._child is not None and self._child.poll() is None:
                return
            if port_taken(self.port):
                if self.serving.port is not None:
                    raise ShopError(
                        f"Port {self.port} is taken, so vLLM cannot listen there. Leave it out to use a free one"
                    )
                self.port = free_port()
            self._launch()
            try:
                self._wait_until_it_answers(progress)
            except BaseException:
                self.stop()
                raise

    def stop(self) -> None:
        """Stop the server and everything it started; safe to repeat, and from another thread while it starts."""
        child, self._child = self._child, None
        atexit.unregister(self.stop)
        if child is None:
            return
        with contextlib.suppress(OSError):
            if child.stdin is not None:
                child.stdin.close()
        try:
            child.wait(timeout=child_guard.GRACE_SECONDS + 4)
        except subprocess.TimeoutExpired:
            pass
        finally:
            if child.poll() is None:
                _kill_group(child)

    def restart(self, progress: Progress | None = None) -> None:
        """Stop the server, dead or alive, and start it again on the same settings."""
        with self._lock:
            self.stop()
            self.start(progress)

    def alive(self) -> bool:
        """Say whether the process runs; a server that hangs is alive too: ask `answers`."""
        child = self._child
        return child is not None and child.poll() is None

    def answers(self, deadline_s: float = 20.0) -> bool:
        """Say whether the server completes one token within the deadline: progress, not a health page."""
        if not self.alive():
            return False
        body = {"model": self.name, "prompt": "a", "max_tokens": 1, "temperature": 0}
        answer = request_json(self.port, "POST", "/v1/completions", body=body, seconds=deadline_s)
        return isinstance(answer, dict) and bool(answer.get("choices"))

    def log_tail(self, lines: int = 12) -> str:
        """Give the last lines that the server logged, the ones that look like errors first of all."""
        try:
            text = self.serving.log.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""
        rows = [row[:300] for row in text.splitlines() if row.strip()]
        errors = [row for row in rows if "Error" in row and "Traceback" not in row]
        return "\n".join([*errors[-2:], *(row for row in rows[-lines:] if row not in errors[-2:])])

    def __enter__(self) -> LocalVllm:
        """Start it where it is not started yet."""
        if not self.alive():
            self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it."""
        self.stop()

    def _launch(self) -> None:
        guard = [sys.executable, "-I", str(Path(child_guard.__file__))]
        # `env` adds to what is inherited, so that nothing here has to read the environment.
        settings = [f"{name}={value}" for name, value in environment(self.serving).items()]
        command = ["env", *settings, *guard, *self.serving.command, *arguments(self.serving, port=self.port)]
        try:
            self.serving.log.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.serving.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        except OSError as error:
            raise ShopError(f"Cannot write vLLM's log {self.serving.log}: {error.strerror}. Put that right") from error
        with os.fdopen(descriptor, "wb") as log:
            self._child = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.serving.log.parent,
                start_new_session=True,
            )
        atexit.register(self.stop)

    def _wait_until_it_answers(self, progress: Progress | None) -> None:
        say = progress or (lambda text, share: None)
        begun = moved = time.monotonic()
        length, worked = 0, 0.0
        while True:
            if not self.alive():
                raise ShopError(self._complaint("vLLM ended while starting"))
            now = time.monotonic()
            size = self.serving.log.stat().st_size
            if size != length or self._cpu_seconds() > worked + 1.0:
                length, worked, moved = size, self._cpu_seconds(), now
            if now - moved > self.serving.stall_seconds or now - begun > 4 * self.serving.stall_seconds:
                raise ShopError(
                    self._complaint(
                        f"vLLM was stopped: in {now - begun:.0f} s it did not get ready. On a slow machine, set "
                        "SHOPTALK_START_SECONDS higher"
                    )
                )
            served = request_json(self.port, "GET", "/v1/models", seconds=2.0)
            names = [model.get("id") for model in served.get("data") or []] if isinstance(served, dict) else []
            if self.name in names and self.answers(self.serving.stall_seconds):
                say(f"The model is ready ({time.monotonic() - begun:.0f} s)", 1.0)
                return
            say(f"Starting the model: {self._phase()}", min(0.95, (now - begun) / TYPICAL_START_SECONDS))
            time.sleep(0.5)

    def _cpu_seconds(self) -> float:
        """Sum the processor time of everything the server runs: on a busy machine a start is slow, not stuck."""
        child = self._child
        if child is None:
            return 0.0
        ticks = 0
        for entry in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = entry.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            except OSError:
                continue
            if len(fields) > 12 and int(fields[2]) == child.pid:
                ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def _phase(self) -> str:
        try:
            text = self.serving.log.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return "starting vLLM"
        return next((phase for mark, phase in PHASES if mark in text), "starting vLLM")

    def _complaint(self, what: str) -> str:
        tail = self.log_tail()
        said = f" It said last:\n{tail}\n" if tail else " It said nothing. "
        return f"{what}.{said}The whole log: {self.serving.log}. Then repeat the command; `shoptalk doctor` shows what is missing"


def start_vllm(
    model: Path,
    *,
    served_name: str,
    log: Path,
    port: int | None = None,
    adapter: tuple[str, Path] | None = None,
    more: Sequence[tuple[str, Path]] = (),
    gpu: bool = False,
    progress: Progress | None = None,
    stall_seconds: float = 300.0,
    max_model_len: int = 4096,
    command: Sequence[str] = MODULE,
) -> LocalVllm:
    """Serve a model folder with vLLM and wait until it answers; use the result as a context manager.

    Args:
        model: Folder of the base, or of the base with the adapter merged into it.
        served_name: Name to ask for; with `adapter`, its name is asked for instead.
        log: File for what vLLM says; its folder also takes vLLM's caches.
        port: Where to listen on 127.0.0.1; a free port where it is None.
        adapter: Name and folder of a LoRA adapter to serve beside the base.
        more: Names and folders of others, which answer who asks for them by name.
        gpu: Whether to serve on a GPU; on a CPU, prefer a merged model.
        progress: Called with a text and a share of 1 while waiting.
        stall_seconds: Give up when it has neither logged nor computed for so long, or was not ready after four times that.
        max_model_len: Tokens of prompt and answer together.
        command: What to run with vLLM's arguments; tests run a stand-in.

    Raises:
        ShopError: when the model folder is none, the port is taken, or the server does not get ready.
    """
    if problem := model_folder_problem(model):
        raise ShopError(problem)
    server = LocalVllm(
        Serving(
            model=model,
            served_name=served_name,
            adapter=adapter,
            more=more,
            gpu=gpu,
            max_model_len=max_model_len,
            port=port,
            log=log,
            stall_seconds=stall_seconds,
            command=command,
        )
    )
    server.start(progress)
    return server


def arguments(serving: Serving, *, port: int) -> list[str]:
    """Spell vLLM's command line."""
    given = [
        *("--model", str(serving.model.absolute()), "--served-model-name", serving.served_name),
        *("--host", HOST, "--port", str(port)),
        *("--max-model-len", str(serving.max_model_len), "--generation-config", "vllm"),
        *("--structured-outputs-config", '{"backend": "xgrammar", "disable_any_whitespace": true}'),
        *("--disable-uvicorn-access-log", "--no-enable-log-requests", "--no-trust-remote-code"),
    ]
    if serving.gpu:
        given += ["--dtype", "auto"]
    else:
        given += ["--dtype", cpu_dtype(), "--enforce-eager"]
    if adapters := [*([serving.adapter] if serving.adapter else []), *serving.more]:
        given += ["--enable-lora", "--max-loras", str(len(adapters))]
        given += ["--max-lora-rank", str(max(lora_rank(folder) for _, folder in adapters))]
        given += ["--lora-modules", *(f"{name}={folder.absolute()}" for name, folder in adapters)]
    return given


def environment(serving: Serving) -> dict[str, str]:
    """Give the variables that vLLM is started with, beside those inherited."""
    given = {
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "VLLM_HOST_IP": HOST,
        "VLLM_LOGGING_LEVEL": "INFO",
        "VLLM_CACHE_ROOT": str(serving.log.parent.absolute() / "vllm-cache"),
        "VLLM_CONFIG_ROOT": str(serving.log.parent.absolute() / "vllm-config"),
        "PYTHONUNBUFFERED": "1",
    }
    if not serving.gpu:
        given["VLLM_CPU_KVCACHE_SPACE"] = str(kv_cache_gib(available_memory()))
        given["VLLM_CPU_OMP_THREADS_BIND"] = ",".join(map(str, usable_cores()))
    return given


def cpu_dtype() -> str:
    """Choose what a CPU computes in: bfloat16 where it has instructions for it, else float32, which is then faster."""
    return "bfloat16" if has_bfloat16(Path("/proc/cpuinfo").read_text(encoding="utf-8")) else "float32"


def has_bfloat16(cpuinfo: str) -> bool:
    """Say whether the processor that Linux describes multiplies bfloat16 matrices itself.

    Without the instructions every product is converted first: on an EPYC 7003 prompts were read about five times
    slower than in float32.

    >>> has_bfloat16("flags : sse2 avx2 fma"), has_bfloat16("flags : avx512f avx512_bf16")
    (False, True)
    """
    flags = {flag for row in cpuinfo.splitlines() if row.startswith(("flags", "Features")) for flag in row.split()}
    return bool(flags & {"avx512_bf16", "amx_bf16", "bf16"})


def kv_cache_gib(available: int) -> int:
    """Choose the room for talks, in GiB, from the bytes of memory that are free.

    Raises:
        ShopError: when the model itself would not fit.

    >>> kv_cache_gib(20 * GIB), kv_cache_gib(5 * GIB)
    (2, 1)
    """
    if available < 3 * GIB:
        raise ShopError(
            f"Only {available / GIB:.1f} GiB of memory are free, and vLLM needs about 4. Close other programs, "
            "or use a model elsewhere with SHOPTALK_MODEL_URL"
        )
    return 2 if available >= 7 * GIB else 1


def available_memory() -> int:
    """Count the bytes of memory that a new process can take, container limits included."""
    rows = dict(row.split(":", 1) for row in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines())
    free = int(rows["MemAvailable"].split()[0]) * 1024
    limit, used = _cgroup("memory.max"), _cgroup("memory.current")
    if limit and limit[0].isdigit() and used:
        free = min(free, int(limit[0]) - int(used[0]))
    return free


def usable_cores() -> list[int]:
    """List the cores to compute on: those we may use, at most as many as a container's quota pays for, at most 16.

    With more than four, one is left for the page and the server's own work.
    """
    cores = sorted(os.sched_getaffinity(0))
    quota = _cgroup("cpu.max")
    if len(quota) == 2 and quota[0].isdigit():
        cores = cores[: max(1, math.ceil(int(quota[0]) / int(quota[1])))]
    return cores[: min(16, len(cores) - 1)] if len(cores) > 4 else cores


def _cgroup(name: str) -> list[str]:
    try:
        return (Path("/sys/fs/cgroup") / name).read_text(encoding="utf-8").split()
    except OSError:
        return []


def lora_rank(adapter: Path) -> int:
    """Give the smallest rank that vLLM offers and the adapter fits into."""
    config = adapter / "adapter_config.json"
    try:
        rank = int(json.loads(config.read_text(encoding="utf-8"))["r"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ShopError(f"{adapter} is not a LoRA adapter: {config.name} does not say its rank") from error
    fitting = [offered for offered in LORA_RANKS if offered >= rank]
    if not fitting:
        raise ShopError(
            f"The adapter {adapter} has rank {rank}, and vLLM serves up to {LORA_RANKS[-1]}. Merge it instead"
        )
    return fitting[0]


def free_port() -> int:
    """Find a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def port_taken(port: int) -> bool:
    """Say whether somebody listens on the port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return True
    return False


def request_json(port: int, method: str, path: str, *, seconds: float, body: Any = None) -> Any:
    """Ask our own server; None when it refuses, answers something else than JSON, or takes longer than `seconds`."""
    deadline = time.monotonic() + seconds
    connection = http.client.HTTPConnection(HOST, port, timeout=seconds)
    try:
        content = None if body is None else json.dumps(body)
        connection.request(method, path, body=content, headers={"Content-Type": "application/json"})
        response = connection.getresponse()
        pieces = []
        while piece := response.read1(65536):
            pieces.append(piece)
            if time.monotonic() > deadline:
                return None
        return json.loads(b"".join(pieces)) if response.status == 200 else None
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()


def _kill_group(child: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
