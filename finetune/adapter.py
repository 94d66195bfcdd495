"""A base model with a LoRA adapter on it: opened, made fast to train, and saved as PEFT and vLLM read it."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from agent.base_model import base_name, file_hash, model_folder_problem, weights_hash
from retrieval.records import ShopError

Precision = Literal["bf16", "fp32"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """A base model ready to be adapted; `name` is public and never a path, `sha256` is over its weights and config."""

    model: Any
    tokenizer: Any
    name: str
    sha256: str
    precision: Precision
    device: str


def best_precision(device: str) -> Precision:
    """Choose bf16 where the machine multiplies it natively; elsewhere it is 10 times slower than fp32 (AVX2: 7 against 70 GFLOPS)."""
    import torch

    if device == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return "bf16" if any(getattr(torch.cpu, probe, bool)() for probe in probes) else "fp32"


def open_base(base: Path | str, *, name: str | None = None, precision: Precision | None = None) -> Base:
    """Load a causal model and its tokenizer from a folder or by its hub name, weights in safetensors only.

    Raises:
        ShopError: when the folder is not such a model, or has no chat template.
    """
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = Path(base)
    local = folder.is_dir()
    hub_name = not local and isinstance(base, str) and not folder.exists() and base.count("/") == 1
    if not hub_name and (problem := model_folder_problem(folder)):
        raise ShopError(problem)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    chosen = precision or best_precision(device)
    options: dict[str, Any] = {"local_files_only": local, "trust_remote_code": False}
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(base), **options)
        model = AutoModelForCausalLM.from_pretrained(
            str(base),
            dtype=torch.bfloat16 if chosen == "bf16" else torch.float32,
            attn_implementation="sdpa",  # eager took twice the memory in bf16 (13 GB, not 6.6), and as long
            use_safetensors=True,
            **options,
        )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise ShopError(f"{base} cannot be read as a causal language model: {_first_line(error)}") from error
    if not tokenizer.chat_template:
        raise ShopError(f"{base} has no chat template: use an instruction-tuned base model")
    return Base(
        model=model.to(device),
        tokenizer=tokenizer,
        name=name or (_own_name(folder) if local else str(base)),
        sha256=weights_hash(folder) if local else "",
        precision=chosen,
        device=device,
    )


def _own_name(folder: Path) -> str:
    """Name a base model that does not say its own name by its folder's, without the path."""
    return base_name(folder) or folder.resolve().name


def attach(
    base: Base, *, rank: int, alpha: int, dropout: float = 0.0, top_layers: int | None = None, seed: int = 0
) -> Any:
    """Put a fresh LoRA adapter (Hu et al., 2021) on the decoder's linear layers and return the PEFT model.

    With `top_layers` only the last so many layers get one, and the backward pass ends there.
    """
    import peft
    import torch

    torch.manual_seed(seed)
    layers = base.model.config.num_hidden_layers
    config = peft.LoraConfig(
        r=rank,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=linear_names(base.model),
        layers_to_transform=list(range(layers - top_layers, layers)) if top_layers and top_layers < layers else None,
        bias="none",
        task_type="CAUSAL_LM",
    )
    model = peft.get_peft_model(base.model, config, autocast_adapter_dtype=False)
    model.train()
    if dropout == 0.0:
        _fuse(model)
    return model


def take_weights(model: Any, folder: Path, *, base_sha256: str = "") -> str:
    """Put the weights of a finished adapter into one that `attach` has made on the base of this hash; return their own.

    Raises:
        ShopError: when the folder holds no such adapter, or one of another base model, rank or layers.
    """
    import peft
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = folder / "adapter_model.safetensors"
    if not path.is_file():
        raise ShopError(f"{folder} holds no adapter to start from: {path.name} is missing")
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ShopError(f"{path} cannot be read: {_first_line(error)}") from error
    own = {name: value.shape for name, value in peft.get_peft_model_state_dict(model).items()}
    alpha = read_record(folder / "adapter_config.json").get("lora_alpha")
    base = read_record(folder / "run.json").get("base", {}).get("sha256")
    if (
        own != {name: value.shape for name, value in tensors.items()}
        or alpha != model.peft_config["default"].lora_alpha
        or (base and base_sha256 and base != base_sha256)
    ):
        raise ShopError(f"{folder} cannot be started from: its base model, rank or layers are others than asked for")
    peft.set_peft_model_state_dict(model, tensors)
    return file_hash(path)


def read_record(path: Path) -> dict[str, Any]:
    """Read a JSON file that tells of an adapter; empty where there is none, or nothing of the sort in it."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def linear_names(model: Any) -> list[str]:
    """List the last names of the linear layers inside the decoder, whatever the architecture calls them."""
    import torch

    head = model.get_output_embeddings()
    names = {
        name.rsplit(".", 1)[-1]
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and module is not head
    }
    if not names:
        raise ShopError(f"{type(model).__name__} has no linear layers to adapt")
    return sorted(names)


def _fuse(model: Any) -> None:
    """Replace the forward of PEFT's LoRA layers by one autograd step that keeps less and launches less."""
    import torch
    from peft.tuners.lora import Linear

    class Lora(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any, weight: Any, bias: Any, down: Any, up: Any, scale: float) -> Any:
            flat = x.reshape(-1, x.shape[-1])
            low = flat @ down.t()
            out = flat @ weight.t() if bias is None else torch.addmm(bias, flat, weight.t())
            out.addmm_(low, up.t(), alpha=scale)
            ctx.save_for_backward(flat, low, weight, down, up)
            ctx.scale = scale
            return out.view(*x.shape[:-1], out.shape[-1])

        @staticmethod
        def backward(ctx: Any, *grads: Any) -> Any:
            flat, low, weight, down, up = ctx.saved_tensors
            grad = grads[0]
            shape = grad.shape[:-1]
            grad = grad.reshape(-1, grad.shape[-1])
            grad_low = (grad @ up).mul_(ctx.scale)
            grad_up = (grad.t() @ low).mul_(ctx.scale)
            grad_down = grad_low.t() @ flat
            grad_x = None
            if ctx.needs_input_grad[0]:
                grad_x = (grad @ weight).addmm_(grad_low, down).view(*shape, flat.shape[-1])
            return grad_x, None, None, grad_down, grad_up, None

    def forward(layer: Any) -> Any:
        inner, down, up = layer.base_layer, layer.lora_A["default"], layer.lora_B["default"]
        scale = layer.scaling["default"]

        def run(x: Any, *_: Any, **__: Any) -> Any:
            return Lora.apply(x, inner.weight, inner.bias, down.weight, up.weight, scale)

        return run

    for module in model.modules():
        if type(module) is Linear and type(module.base_layer) is torch.nn.Linear:
            module.forward = forward(module)


def save_adapter(model: Any, folder: Path, *, base_name: str, run: Mapping[str, Any]) -> None:
    """Write a finished adapter whole: built in a folder beside, then renamed to `folder`.

    Raises:
        ShopError: when `folder` already holds something or the disk is full.
    """
    import peft
    import torch
    from safetensors.torch import save

    tensors = {
        name: value.detach().to("cpu", torch.bfloat16).contiguous()
        for name, value in sorted(peft.get_peft_model_state_dict(model).items())
    }
    config = model.peft_config["default"].to_dict()
    config["base_model_name_or_path"] = base_name
    config["inference_mode"] = True
    config["target_modules"] = sorted(config["target_modules"])
    config = {key: str(value.value) if hasattr(value, "value") else value for key, value in config.items()}
    aside = folder.with_name(f".{folder.name}.new")
    with readable_disk_errors(folder):
        aside.mkdir(parents=True, exist_ok=True)
        write_whole(aside / "adapter_model.safetensors", save(tensors, metadata={"format": "pt"}))
        write_whole(aside / "adapter_config.json", json.dumps(config, indent=2, sort_keys=True).encode() + b"\n")
        write_whole(aside / "run.json", json.dumps(run, indent=2).encode() + b"\n")
        try:
            aside.rename(folder)
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise ShopError(f"{folder} already exists; the new adapter is in {aside}") from error
            raise
        _sync(folder.parent)


def write_whole(path: Path, data: bytes) -> None:
    """Write a file beside its place, flush it to the disk and swap it in."""
    aside = path.with_name(path.name + ".new")
    try:
        with aside.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        aside.replace(path)
    except OSError:
        aside.unlink(missing_ok=True)
        raise


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def readable_disk_errors(path: Path) -> Iterator[None]:
    """Turn a full disk, a quota or a folder that cannot be written into a message for people."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise ShopError(f"No space left to write {path}: free some, then run the same command to go on") from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise ShopError(f"{path} cannot be written: {error.strerror}") from error
        raise


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
