"""What tests share: one real vLLM for all that need it, and no settings from outside."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from agent.local_vllm import LocalVllm
    from retrieval.embedder import Embedder
    from retrieval.shop import Shop

ROOT = Path(__file__).resolve().parent.parent
WITH_MODEL = ("test_base_model", "test_journey", "test_local_vllm")
HOME = ROOT / ".shoptalk" / "tests"  # kept between runs, and apart from the shop and the model of whoever runs them


def pytest_configure(config: pytest.Config) -> None:
    """Give each of several workers cores of its own: threads of two workers on one core wait for each other.

    A shell that starts the suite in the background has it, and all that it starts, ignore Ctrl-C, which tests press.
    """
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    worker = getattr(config, "workerinput", None)
    cores = sorted(os.sched_getaffinity(0))
    if worker is not None and len(cores) > 1:
        number, count = int(worker["workerid"].removeprefix("gw")), int(worker["workercount"])
        os.sched_setaffinity(0, cores[number % len(cores) :: count])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that need the one vLLM, then those with slow tests, so that no worker ends with a long one."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: (item.path.stem not in WITH_MODEL, item.path not in slow))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Keep together what shares a costly fixture: a file's tests, and the files that need the one vLLM."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFixture(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.split("::")[0]
            return "model" if Path(file).stem in WITH_MODEL else file

    return ByFixture(config, log)


@pytest.fixture(scope="session", autouse=True)
def no_settings_from_outside() -> Iterator[None]:
    """Run the suite as on a fresh machine: what a person has set for their own shop is put aside."""
    patch = pytest.MonkeyPatch()
    for name in [name for name in os.environ if name.upper().startswith("SHOPTALK_")]:
        patch.delenv(name)
    patch.setenv("GRADIO_ANALYTICS_ENABLED", "False")
    patch.setenv("HF_HUB_OFFLINE", "1")
    yield
    patch.undo()


@pytest.fixture(scope="session")
def vllm_server() -> Iterator[LocalVllm]:
    """Serve what `make chat` serves on a CPU: the base with the default adapter merged in, or the bare base.

    Started once for the whole run (half a minute and more). The model folders are kept under `HOME`, made where they
    are missing.
    """
    from agent.local_vllm import start_vllm
    from ui.model_service import SERVED_NAME, prepare_model
    from ui.settings import read_settings

    served = prepare_model(read_settings({}, home=HOME, serve="merged"))
    log = HOME / "models" / "vllm-tests.log"  # beside its caches, which make the next start quicker
    with start_vllm(served.folder, served_name=SERVED_NAME, log=log, gpu=served.gpu) as server:
        yield server


@pytest.fixture(scope="session")
def embedder() -> Embedder:
    """Give the real embedder, loaded once (seconds) for all tests."""
    from retrieval.embedder import Embedder

    return Embedder()


@pytest.fixture(scope="session")
def small_shop(tmp_path_factory: pytest.TempPathFactory, embedder: Embedder) -> Iterator[Shop]:
    """Open the twelve-item shop, prepared once; tests must leave its folder as it is."""
    from retrieval.prepare import prepare
    from retrieval.shop import Shop
    from tests.shops import small_source

    folder = tmp_path_factory.mktemp("small") / "shop"
    prepare(small_source(), shop=folder, embedder=embedder)
    with Shop.open(folder, embedder=embedder) as shop:
        yield shop


@pytest.fixture(scope="session")
def default_shop(embedder: Embedder) -> Iterator[Shop]:
    """Open the default shop, prepared under `HOME` (a minute or more) where it is not there yet."""
    from retrieval.prepare import prepare
    from retrieval.shop import Shop
    from retrieval.source_completejourney import read_completejourney
    from ui.settings import read_settings

    folder = read_settings({}, home=HOME).shop_folder
    prepare(read_completejourney(), shop=folder, embedder=embedder)
    with Shop.open(folder, embedder=embedder) as shop:
        yield shop
