"""Train a LoRA adapter on conversations: resumable, never half written, with its whole story in `run.json`."""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import json
import math
import os
import platform
import random
import resource
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from agent.base_model import file_hash
from agent.conversation import Conversation, read_conversations
from finetune.adapter import (
    Base,
    open_base,
    read_record,
    readable_disk_errors,
    save_adapter,
)
from finetune.batches import (
    FAMILY_TOKENS,
    Render,
    TokenSequence,
    encode,
    plan_steps,
    shared_starts,
    step_cost,
    step_tokens,
)
from finetune.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from finetune.graft import graft
from finetune.learner import Learner, Score, Settings
from retrieval.records import ShopError

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # from malloc.h


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """One step of training, as shown while it runs.

    `tokens` are sequence tokens, as a plain loop would count them; starts that sequences share are read once, so fewer
    go through the model.
    """

    step: int
    steps: int
    tokens: int
    tokens_per_second: float
    loss: float
    seconds_left: float
    score: Score | None = None

    def __str__(self) -> str:
        minutes, seconds = divmod(round(self.seconds_left), 60)
        line = (
            f"step {self.step}/{self.steps}  {self.tokens:,} tokens  {self.tokens_per_second:,.0f} tokens/s  "
            f"loss {self.loss:.4f}  {minutes}:{seconds:02d} left"
        )
        if self.score is not None:
            line += (
                f"\nvalidation: loss {self.score.loss:.4f}  tool calls right {self.score.plan_exact:.1%}  "
                f"(loss {self.score.plan_loss:.4f})  answers loss {self.score.answer_loss:.4f}"
            )
        return line


def train(
    conversations: Path,
    *,
    base: Path | str,
    out: Path,
    settings: Settings | None = None,
    base_name: str | None = None,
    start: Path | None = None,
    validation: Path | None = None,
    resume: bool = True,
    checkpoint_every: int = 50,
    threads: int | None = None,
    render: Render | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Path:
    """Train a LoRA adapter on the assistant's messages of `conversations` and return its folder.

    The unfinished run lives in `OUT.partial` and goes on from there when the same command is run again, with the same
    result to the bit on the same machine. `out` appears once, finished.

    Args:
        conversations: JSON lines of `Conversation`.
        base: Folder of the base model, or its hub name.
        out: Folder to make; it must not exist yet.
        settings: What decides the result.
        base_name: Public name of the base model, written into the adapter; read from the folder when left out.
        start: Folder of a finished adapter whose weights training begins with; without it, fresh ones.
        validation: Conversations to measure on; without it a share of `conversations` is held out.
        resume: Go on with an unfinished run; False starts over.
        checkpoint_every: Steps between checkpoints.
        threads: CPU threads; None leaves torch's choice.
        render: Messages to chat messages; what serving uses when left out.
        progress: Called after every step.

    Raises:
        ShopError: for anything a person can put right.
    """
    settings = settings or Settings()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ShopError(f"{out} already holds an adapter or other files: choose another folder, or remove it first")
    work = out.with_name(out.name + ".partial")
    held = _read(conversations, validation=validation, settings=settings)
    with _only_one(work):
        if not resume:
            (work / "checkpoint.safetensors").unlink(missing_ok=True)
        _keep_freed_memory()
        opened = open_base(base, name=base_name, precision=settings.precision)
        if threads is not None:
            import torch

            torch.set_num_threads(threads)
        run = _Run(
            opened,
            settings=settings,
            start=start,
            conversations=conversations,
            validation=validation,
            held=held,
            render=render or _serving_render(),
            work=work,
        )
        run.restore()
        run.go(checkpoint_every=checkpoint_every, progress=progress)
        save_adapter(run.learner.model, out, base_name=opened.name, run=run.story())
        shutil.rmtree(work, ignore_errors=True)
    return out


def _serving_render() -> Render:
    from agent.prompt import chat_messages

    return chat_messages


def _keep_freed_memory() -> None:
    """Tell glibc to keep freed memory: training frees and takes the same large blocks, and 8 % of its time went there."""
    try:
        glibc = ctypes.CDLL(None)
        glibc.mallopt(_M_MMAP_MAX, 0)
        glibc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
    except (OSError, AttributeError):  # another C library: only slower
        return


@dataclass(frozen=True, slots=True, kw_only=True)
class _Held:
    train: list[Conversation]
    validation: list[Conversation]


def _read(path: Path, *, validation: Path | None, settings: Settings) -> _Held:
    everything = list(read_conversations(path))
    if not everything:
        raise ShopError(f"{path} holds no conversations")
    if validation is not None:
        return _Held(train=everything, validation=list(read_conversations(validation))[: settings.validation_limit])
    talks = list(dict.fromkeys(map(_talk, everything)))  # a talk and its branches are held out together
    count = min(settings.validation_limit, round(len(talks) * settings.validation_share), len(talks) - 1)
    chosen = set(random.Random(settings.seed).sample(talks, count))
    return _Held(
        train=[one for one in everything if _talk(one) not in chosen],
        validation=[one for one in everything if _talk(one) in chosen],
    )


def _talk(conversation: Conversation) -> str:
    return str(conversation.metadata.get("branch_of", conversation.conversation_id))


@contextmanager
def _only_one(work: Path) -> Iterator[None]:
    """Hold the folder of the unfinished run, so that two processes cannot write the same adapter."""
    with readable_disk_errors(work):
        work.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(work).free
        if free < 256 * 2**20:
            raise ShopError(f"No space left at {work}: training needs 256 MB, {free // 2**20} MB are free")
        lock = (work / "lock").open("w")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ShopError(
                f"Another process is training into {work}: wait for it, or choose another folder"
            ) from error
        yield


class _Run:
    """A learner on its way through the plan of steps."""

    def __init__(
        self,
        base: Base,
        *,
        settings: Settings,
        start: Path | None,
        conversations: Path,
        validation: Path | None,
        held: _Held,
        render: Render,
        work: Path,
    ) -> None:
        self.base, self.settings, self.file = base, settings, work / "checkpoint.safetensors"
        limit = min(settings.max_length, getattr(base.model.config, "max_position_embeddings", None) or 10**9)
        self.sequences, cut = _encode_all(held.train, base=base, render=render, limit=limit)
        self.validation, _ = _encode_all(held.validation, base=base, render=render, limit=limit)
        if settings.share_prefix and not _sliding(base.model.config):
            every = [start for start in shared_starts([*self.sequences, *self.validation]) if start]
            gain = min(every, default=0) + FAMILY_TOKENS
            self.sequences = graft(self.sequences, gain=gain, limit=limit)
            self.validation = graft(self.validation, gain=gain, limit=limit)
        if not self.sequences:
            raise ShopError(
                f"{conversations} has no assistant message to learn from that fits {limit} tokens: "
                "write conversations first with the assistant's plans and answers in them"
            )
        self.data = {
            "file": conversations.name,
            "sha256": file_hash(conversations),
            "conversations": len(held.train),
            "sequences": len(self.sequences),
            "tokens": sum(sequence.read for sequence in self.sequences),
            "learned_tokens": sum(sequence.learned for sequence in self.sequences),
            "messages_left_out_as_too_long": cut,
            "validation_file": validation.name if validation else None,
            "validation_sha256": file_hash(validation) if validation else None,
            "validation_conversations": len(held.validation),
            "validation_sequences": len(self.validation),
        }
        self.learner = Learner(base, settings=settings, start=start)
        self.start = start
        self.identity = _identity(
            [*self.sequences, *self.validation], base=base, settings=settings, start=self.learner.start
        )
        self.plan = plan_steps(
            self.sequences,
            epochs=settings.epochs,
            max_tokens=settings.max_tokens,
            batch_tokens=settings.batch_tokens,
            passes_per_step=settings.passes_per_step,
            seed=settings.seed,
            share=settings.share_prefix,
        )
        self.best: Any = None
        self.done = self.tokens = self.computed = self.without_gain = 0
        self.seconds = 0.0
        self.curve: list[list[float]] = []
        self.evaluations: list[dict[str, float]] = []

    _COUNTED = ("done", "tokens", "computed", "without_gain", "seconds", "curve", "evaluations")

    def restore(self) -> None:
        """Go to where the checkpoint stands, if there is one."""
        found = load_checkpoint(self.file, identity=self.identity)
        if found is None:
            return
        self.learner.restore(found.tensors)
        self.best = found.tensors.get("best")
        for name in self._COUNTED:
            setattr(self, name, found.state[name])

    def checkpoint(self) -> None:
        """Write where the run stands."""
        tensors = self.learner.tensors() | ({} if self.best is None else {"best": self.best})
        save_checkpoint(
            Checkpoint(
                identity=self.identity,
                tensors={name: tensor.detach().cpu() for name, tensor in tensors.items()},
                state={name: getattr(self, name) for name in self._COUNTED},
            ),
            self.file,
        )

    def go(self, *, checkpoint_every: int, progress: Callable[[Progress], None] | None) -> None:
        """Train to the end of the plan, or until validation stops getting better."""
        steps, settings = len(self.plan), self.settings
        evaluate_at = {round(steps * part / settings.evaluations) for part in range(1, settings.evaluations + 1)}
        pace: list[tuple[float, int, int]] = []  # of the last 20 steps: seconds, tokens through the model, tokens
        while self.done < steps and not self._given_up():
            started = time.monotonic()
            step = self.plan[self.done]
            loss = self.learner.step(step, self.sequences, number=self.done, of=steps)
            if not math.isfinite(loss):
                raise ShopError(
                    f"The loss is not a number at step {self.done + 1}: lower the learning rate "
                    f"(now {settings.learning_rate}) and start over"
                )
            computed, tokens = step_cost(step, self.sequences), step_tokens(step, self.sequences)
            self.done, self.tokens, self.computed = self.done + 1, self.tokens + tokens, self.computed + computed
            self.curve.append([self.done, self.tokens, round(loss, 5)])
            pace = [*pace[-19:], (time.monotonic() - started, computed, tokens)]
            self.seconds += pace[-1][0]
            score = self._evaluate() if self.validation and self.done in evaluate_at else None
            if self.done % checkpoint_every == 0 or self.done == steps:
                self.checkpoint()
            if progress is not None:
                progress(self._progress(loss, pace, score))
        if self.best is not None:
            self.learner.put(self.best)

    def _progress(self, loss: float, pace: Sequence[tuple[float, int, int]], score: Score | None) -> Progress:
        seconds, computed, tokens = (max(sum(column), 1e-9) for column in zip(*pace, strict=True))
        left = sum(step_cost(step, self.sequences) for step in self.plan[self.done :])
        return Progress(
            step=self.done,
            steps=len(self.plan),
            tokens=self.tokens,
            tokens_per_second=tokens / seconds,
            loss=loss,
            seconds_left=left * seconds / computed,
            score=score,
        )

    def _evaluate(self) -> Score:
        started = time.monotonic()
        score = self.learner.evaluate(self.validation)
        self.evaluations.append({"step": self.done, "tokens": self.tokens, **asdict(score)})
        if self.settings.patience is not None:
            if score.loss <= min(one["loss"] for one in self.evaluations):
                self.best, self.without_gain = self.learner.master.detach().clone(), 0
            else:
                self.without_gain += 1
        self.seconds += time.monotonic() - started
        return score

    def _given_up(self) -> bool:
        return self.settings.patience is not None and self.without_gain >= self.settings.patience

    def story(self) -> dict[str, Any]:
        """Tell what was trained on what, with which settings and versions, how fast and how well."""
        import torch

        seconds = max(self.seconds, 1e-9)
        return {
            "base": {"name": self.base.name, "sha256": self.base.sha256},
            "start": self._started_from(),
            "data": self.data,
            "settings": {**asdict(self.settings), "precision": self.base.precision},
            "identity": self.identity,
            "steps": self.done,
            "steps_planned": len(self.plan),
            "tokens": self.tokens,
            "tokens_through_the_model": self.computed,
            "seconds": round(self.seconds, 1),
            "tokens_per_second": round(self.tokens / seconds, 1),
            "tokens_through_the_model_per_second": round(self.computed / seconds, 1),
            "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
            "evaluations": self.evaluations,
            "curve": {"columns": ["step", "tokens", "loss"], "rows": self.curve},
            "versions": {"python": platform.python_version(), **_versions()},
            "hardware": {
                "processor": _processor(),
                "cores": os.cpu_count(),
                "threads": torch.get_num_threads(),
                "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
                "system": platform.system(),
            },
            "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }

    def _started_from(self) -> dict[str, Any] | None:
        """Tell which adapter this one began as, with the story of that one but for its curve."""
        if self.start is None:
            return None
        run = {name: value for name, value in read_record(self.start / "run.json").items() if name != "curve"}
        return {"adapter": self.start.name, "sha256": self.learner.start, "run": run}


def _identity(sequences: Sequence[TokenSequence], *, base: Base, settings: Settings, start: str | None) -> str:
    """Hash everything that decides a run's result: an unfinished run is gone on with only by the same."""
    digest = hashlib.sha256(json.dumps([asdict(settings), base.name, base.sha256, base.precision, start]).encode())
    for sequence in sequences:
        parts = [sequence.ids, [asdict(one) for one in sequence.spans], [asdict(one) for one in sequence.branches]]
        digest.update(json.dumps(parts).encode())
    return digest.hexdigest()


def _encode_all(
    conversations: Sequence[Conversation], *, base: Base, render: Render, limit: int
) -> tuple[list[TokenSequence], int]:
    sequences: list[TokenSequence] = []
    cut = 0
    for conversation in conversations:
        encoded = encode(conversation, tokenizer=base.tokenizer, render=render, limit=limit)
        sequences.extend(encoded.sequences)
        cut += encoded.cut_messages
    return sequences, cut


def _sliding(config: Any) -> bool:
    """Tell whether some layers look back only so far: a mask of our own would lift that."""
    return "sliding_attention" in (getattr(config, "layer_types", None) or ())


def _versions() -> Mapping[str, str]:
    found = {}
    for name in ("torch", "transformers", "tokenizers", "peft", "safetensors"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or sys.platform
