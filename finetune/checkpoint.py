"""Where a training run stands, in one safetensors file: weights, optimiser, position, curves."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune.adapter import readable_disk_errors, write_whole
from retrieval.records import ShopError


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """Everything a run needs to go on as if it had never stopped.

    `tensors` are the fp32 master weights and AdamW's two moments, each flat; `state` is JSON: the step, tokens and
    seconds so far, the curves. No generator state is kept: each step's dropout is seeded by the run's seed and the step.
    """

    identity: str
    tensors: Mapping[str, Any]
    state: Mapping[str, Any]


def save_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Write a checkpoint beside the last one and swap it in, so that a kill at any moment leaves one whole."""
    from safetensors.torch import save

    metadata = {"identity": checkpoint.identity, "state": json.dumps(checkpoint.state)}
    with readable_disk_errors(path):
        write_whole(path, save(dict(checkpoint.tensors), metadata=metadata))


def load_checkpoint(path: Path, *, identity: str) -> Checkpoint | None:
    """Read a checkpoint of the run with this identity; None when there is none.

    Raises:
        ShopError: when the checkpoint is of a run with other data or settings, or is damaged.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as stream:
            metadata = stream.metadata() or {}
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
        state = json.loads(metadata["state"])
    except (SafetensorError, KeyError, ValueError) as error:
        raise ShopError(f"{path} is damaged ({error}): remove {path.parent} and train again") from error
    if metadata.get("identity") != identity:
        raise ShopError(
            f"{path.parent} holds an unfinished run with other data, base model or settings. "
            "Run that command again to finish it, or remove the folder to start over"
        )
    return Checkpoint(identity=identity, tensors=tensors, state=state)
