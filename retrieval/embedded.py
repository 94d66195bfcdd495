"""Vectors by what was embedded: a text that a generation has a vector of is not embedded again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from retrieval.embedder import Embedder

Floats = NDArray[np.float32]
Progress = Callable[[float], None]

TEXTS = "texts.npz"
_DIGEST = 16  # bytes of a text's hash


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedded:
    """The vectors of texts, by the hash of each text."""

    vectors: Mapping[bytes, Floats] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path, *, model: str, arrays: Sequence[str]) -> Embedded:
        """Read the vectors that a whole generation holds; none where it has no record of their texts.

        Args:
            folder: The generation.
            model: What made the vectors and how (see `named`): those of another model are left alone.
            arrays: The files of vectors, in the order in which `note` was given their texts.

        Raises:
            OSError, ValueError, KeyError: when a file cannot be read.
        """
        if not (folder / TEXTS).is_file():
            return cls()
        vectors: dict[bytes, Floats] = {}
        with np.load(folder / TEXTS, allow_pickle=False) as held:
            if held["model"].tobytes().decode() != model:
                return cls()
            for name in arrays:
                digests, array = held[name], np.load(folder / name, allow_pickle=False)
                if len(digests) == len(array):
                    vectors.update((digest.tobytes(), row) for digest, row in zip(digests, array, strict=True))
        return cls(vectors=vectors)

    def encode(self, texts: Sequence[str], *, embedder: Embedder, progress: Progress | None = None) -> Floats:
        """Give the vectors of texts, [texts, dim]; only the texts that are new here are embedded."""
        digests = [_digest(text) for text in texts]
        out = np.zeros((len(texts), embedder.dim), np.float32)
        new = [at for at, digest in enumerate(digests) if digest not in self.vectors]
        for at, digest in enumerate(digests):
            if (held := self.vectors.get(digest)) is not None:
                out[at] = held
        if new:
            out[new] = embedder.encode([texts[at] for at in new], progress=progress)
        return out


def named(embedder: Embedder, *, tokens: int) -> str:
    """Name what makes the vectors: the model, and how much of a text it reads."""
    return f"{embedder.name} {tokens}"


def note(folder: Path, texts: Mapping[str, Sequence[str]], *, model: str) -> None:
    """Write which texts the generation's files of vectors are of, row by row, as hashes."""
    arrays = {
        name: np.frombuffer(b"".join(map(_digest, held)), np.uint8).reshape(-1, _DIGEST) for name, held in texts.items()
    }
    np.savez(folder / TEXTS, model=np.frombuffer(model.encode(), np.uint8), **arrays)  # type: ignore[arg-type]


def _digest(text: str) -> bytes:
    return hashlib.blake2b(" ".join(text.split()).encode(), digest_size=_DIGEST).digest()
