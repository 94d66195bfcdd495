"""What tests share: one real vLLM for all that need it, and no settings from outside."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from agent.local_vllm import LocalVllm

ROOT = Path(__file__).resolve().parent.parent


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

    Started once for the whole run (half a minute and more). The model folders are those of the checkout's
    `.shoptalk`, made where they are missing.
    """
    from agent.local_vllm import start_vllm
    from ui.model_service import SERVED_NAME, prepare_model
    from ui.settings import read_settings

    served = prepare_model(read_settings({}, home=ROOT / ".shoptalk", serve="merged"))
    log = ROOT / ".shoptalk" / "models" / "vllm-tests.log"  # beside its caches, which make the next start quicker
    with start_vllm(served.folder, served_name=SERVED_NAME, log=log, gpu=served.gpu) as server:
        yield server
