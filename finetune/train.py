"""Train a LoRA adapter on conversations: resumable, never half written, with its whole story in `run.json`."""

from __future__ import annotations

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
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from agent.base_model import file_hash
from agent.conversation import Conversation, read_conversations
from finetune.adapter import (
    Base,
    Precision,
    attach,
    open_base,
    readable_disk_errors,
    save_adapter,
)
from finetune.batches import Pass, Render, TokenSequence, encode, passes, plan_steps, shared_starts
from finetune.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from retrieval.records import ShopError


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What decides the adapter, beside the data and the base model.

    `batch_tokens` go through the model in one optimiser step, in `passes_per_step` passes. `epochs` and `max_tokens` both
    end the run, whichever comes first. `evaluations` are spread evenly over the run; with `patience`, the run
    ends after that many evaluations without a better validation loss, and the best weights are kept.
    """

    rank: int = 16
    alpha: int = 32
    dropout: float = 0.0
    epochs: float = 1.0
    max_tokens: int | None = None
    learning_rate: float = 1e-3
    warmup: float = 0.05
    final_share: float = 0.05
    weight_decay: float = 0.0
    clip: float = 1.0
    batch_tokens: int = 2048
    passes_per_step: int = 1
    max_length: int = 2048
    share_prefix: bool = True
    validation_share: float = 0.02
    validation_limit: int = 100
    evaluations: int = 8
    patience: int | None = None
    precision: Precision | None = None
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """How the adapter does on conversations it does not train on, each token given the true ones before it.

    `plan_exact` and `answer_exact` are the shares of messages in which every token was the model's first choice.
    """

    loss: float
    plan_loss: float
    plan_exact: float
    answer_loss: float
    answer_exact: float


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
        opened = open_base(base, name=base_name, precision=settings.precision)
        if threads is not None:
            import torch

            torch.set_num_threads(threads)
        run = _Run(
            opened,
            settings=settings,
            conversations=conversations,
            validation=validation,
            held=held,
            render=render or _serving_render(),
            work=work,
        )
        run.restore()
        run.go(checkpoint_every=checkpoint_every, progress=progress)
        save_adapter(run.model, out, base_name=opened.name, run=run.story())
        shutil.rmtree(work, ignore_errors=True)
    return out


def _serving_render() -> Render:
    from agent.prompt import chat_messages

    return chat_messages


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
    count = min(settings.validation_limit, round(len(everything) * settings.validation_share), len(everything) - 1)
    chosen = set(random.Random(settings.seed).sample(range(len(everything)), count))
    return _Held(
        train=[one for index, one in enumerate(everything) if index not in chosen],
        validation=[everything[index] for index in sorted(chosen)],
    )


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
    """A model in training: the one thing here that is held open and changes."""

    def __init__(
        self,
        base: Base,
        *,
        settings: Settings,
        conversations: Path,
        validation: Path | None,
        held: _Held,
        render: Render,
        work: Path,
    ) -> None:
        import torch

        self.base, self.settings, self.work = base, settings, work
        limit = min(settings.max_length, getattr(base.model.config, "max_position_embeddings", None) or 10**9)
        self.sequences, cut = _encode_all(held.train, base=base, render=render, limit=limit)
        self.validation, _ = _encode_all(held.validation, base=base, render=render, limit=limit)
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
            "tokens": sum(len(sequence.ids) for sequence in self.sequences),
            "learned_tokens": sum(sequence.learned for sequence in self.sequences),
            "messages_left_out_as_too_long": cut,
            "validation_file": validation.name if validation else None,
            "validation_sha256": file_hash(validation) if validation else None,
            "validation_conversations": len(held.validation),
            "validation_sequences": len(self.validation),
        }
        self.steps = plan_steps(
            self.sequences,
            epochs=settings.epochs,
            max_tokens=settings.max_tokens,
            batch_tokens=settings.batch_tokens,
            passes_per_step=settings.passes_per_step,
            seed=settings.seed,
        )
        if not settings.share_prefix:
            self.steps = [tuple(replace(one, shared=0) for one in step) for step in self.steps]
        tokens_hash = hashlib.sha256()
        for sequence in (*self.sequences, *self.validation):
            tokens_hash.update(json.dumps([sequence.ids, [asdict(span) for span in sequence.spans]]).encode())
        about = [asdict(settings), base.sha256, base.name, base.precision, tokens_hash.hexdigest()]
        self.identity = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()

        self.model = attach(
            base, rank=settings.rank, alpha=settings.alpha, dropout=settings.dropout, seed=settings.seed
        )
        self.parameters = [p for _, p in sorted(self.model.named_parameters()) if p.requires_grad]
        self.master = torch.cat([p.detach().float().reshape(-1) for p in self.parameters])
        self.optimiser = torch.optim.AdamW(
            [self.master], lr=settings.learning_rate, betas=(0.9, 0.99), weight_decay=settings.weight_decay
        )
        self.done = 0
        self.tokens = self.computed = 0
        self.seconds = 0.0
        self.curve: list[list[float]] = []
        self.evaluations: list[dict[str, float]] = []
        self.best: Any = None
        self.without_gain = 0

    # --- position ---------------------------------------------------------------------------------------------------

    def restore(self) -> None:
        """Go to where the checkpoint in the work folder stands, if there is one."""
        import torch

        found = load_checkpoint(self.work / "checkpoint.safetensors", identity=self.identity)
        if found is None:
            return
        self.master.copy_(found.tensors["master"])
        self.optimiser.state[self.master] = {
            "step": torch.tensor(float(found.state["updates"])),
            "exp_avg": found.tensors["exp_avg"].to(self.master.device),
            "exp_avg_sq": found.tensors["exp_avg_sq"].to(self.master.device),
        }
        self.best = found.tensors.get("best")
        for name in ("done", "tokens", "computed", "seconds", "curve", "evaluations", "without_gain"):
            setattr(self, name, found.state[name])
        self._lower()

    def checkpoint(self) -> None:
        """Write where the run stands."""
        state = self.optimiser.state[self.master]
        tensors = {"master": self.master, "exp_avg": state["exp_avg"], "exp_avg_sq": state["exp_avg_sq"]}
        if self.best is not None:
            tensors["best"] = self.best
        names = ("done", "tokens", "computed", "seconds", "curve", "evaluations", "without_gain")
        save_checkpoint(
            Checkpoint(
                identity=self.identity,
                tensors={name: tensor.detach().cpu() for name, tensor in tensors.items()},
                state={"updates": float(state["step"]), **{name: getattr(self, name) for name in names}},
            ),
            self.work / "checkpoint.safetensors",
        )

    def _lower(self, source: Any = None) -> None:
        """Copy the fp32 master weights into the model's own."""
        import torch

        at = 0
        with torch.no_grad():
            for parameter in self.parameters:
                size = parameter.numel()
                parameter.copy_((self.master if source is None else source)[at : at + size].view_as(parameter))
                at += size

    # --- training ---------------------------------------------------------------------------------------------------

    def go(self, *, checkpoint_every: int, progress: Callable[[Progress], None] | None) -> None:
        """Train to the end of the plan, or until validation stops getting better."""
        steps = len(self.steps)
        evaluate_at = {
            round(steps * share / self.settings.evaluations) for share in range(1, self.settings.evaluations + 1)
        }
        recent: list[tuple[float, int]] = []
        while self.done < steps and not self._given_up():
            started = time.monotonic()
            step = self.steps[self.done]
            loss = self._step(step)
            if not math.isfinite(loss):
                raise ShopError(
                    f"The loss is not a number at step {self.done + 1}: lower the learning rate "
                    f"(now {self.settings.learning_rate}) and start over"
                )
            self.done += 1
            self.tokens += sum(len(self.sequences[index].ids) for one in step for index in one.members)
            self.computed += sum(one.cost(self.sequences) for one in step)
            self.seconds += time.monotonic() - started
            self.curve.append([self.done, self.tokens, round(loss, 5)])
            recent = [*recent[-19:], (time.monotonic() - started, sum(one.cost(self.sequences) for one in step))]
            score = None
            if self.validation and self.done in evaluate_at:
                started = time.monotonic()
                score = self.evaluate()
                self.evaluations.append({"step": self.done, "tokens": self.tokens, **asdict(score)})
                self._remember_best(score)
                self.seconds += time.monotonic() - started
            if self.done % checkpoint_every == 0 or self.done == steps:
                self.checkpoint()
            if progress is not None:
                progress(self._progress(loss, recent, score))
        if self.settings.patience is not None and self.best is not None:
            self._lower(self.best)

    def _progress(self, loss: float, recent: Sequence[tuple[float, int]], score: Score | None) -> Progress:
        pace = sum(seconds for seconds, _ in recent) / max(1, sum(cost for _, cost in recent))
        left = sum(one.cost(self.sequences) for step in self.steps[self.done :] for one in step)
        return Progress(
            step=self.done,
            steps=len(self.steps),
            tokens=self.tokens,
            tokens_per_second=self.tokens / max(self.computed, 1) / max(pace, 1e-9),
            loss=loss,
            seconds_left=pace * left,
            score=score,
        )

    def _given_up(self) -> bool:
        return self.settings.patience is not None and self.without_gain >= self.settings.patience

    def _remember_best(self, score: Score) -> None:
        if self.settings.patience is None:
            return
        if score.loss <= min(one["loss"] for one in self.evaluations):
            self.best, self.without_gain = self.master.detach().clone(), 0
        else:
            self.without_gain += 1

    def _step(self, step: Sequence[Pass]) -> float:
        import torch

        settings = self.settings
        torch.manual_seed(settings.seed * 1_000_003 + self.done)
        learned = sum(self.sequences[index].learned for one in step for index in one.members)
        gradient = torch.zeros_like(self.master)
        total = 0.0
        for one in step:
            loss, _ = self._losses(self.sequences, one)
            loss = loss.sum() / learned
            loss.backward()
            total += float(loss.detach())
            gradient += torch.cat([_gradient(p).float().reshape(-1) for p in self.parameters])
            for parameter in self.parameters:
                parameter.grad = None
        norm = float(gradient.norm())
        if settings.clip and norm > settings.clip:
            gradient *= settings.clip / norm
        for group in self.optimiser.param_groups:
            group["lr"] = settings.learning_rate * schedule(
                self.done, len(self.steps), warmup=settings.warmup, final_share=settings.final_share
            )
        self.master.grad = gradient
        self.optimiser.step()
        self.master.grad = None
        self._lower()
        return total

    def _losses(self, sequences: Sequence[TokenSequence], one: Pass) -> tuple[Any, Any]:
        """Compute the loss of every learned token of a pass, and whether it was the model's first choice.

        The part that all members share goes through the model once; its keys and values are then repeated for
        each member, so gradients add up as if every member had read it. Only the positions before learned tokens reach
        the output layer.
        """
        import torch

        members = [sequences[index] for index in one.members]
        longest = max(len(member.ids) for member in members)
        device = self.master.device
        ids = torch.zeros((len(members), longest), dtype=torch.long)
        present = torch.zeros((len(members), longest), dtype=torch.long)
        predicts = torch.zeros((len(members), longest), dtype=torch.bool)
        for row, member in enumerate(members):
            ids[row, : len(member.ids)] = torch.tensor(member.ids)
            present[row, : len(member.ids)] = 1
            for span in member.spans:
                predicts[row, span.start - 1 : span.end - 1] = True
        targets = ids[:, 1:][predicts[:, :-1]].to(device)
        ids, present, predicts = ids.to(device), present.to(device), predicts.to(device)
        options: dict[str, Any] = {"use_cache": False}
        if one.shared and len(members) > 1:
            start = self.base.model.get_decoder()(ids[:1, : one.shared], use_cache=True).past_key_values
            start.batch_repeat_interleave(len(members))
            options = {
                "use_cache": True,
                "past_key_values": start,
                "position_ids": torch.arange(one.shared, longest, device=device).expand(len(members), -1),
            }
            ids, predicts = ids[:, one.shared :], predicts[:, one.shared :]
        head = self.base.model.get_output_embeddings()
        hook = head.register_forward_pre_hook(lambda _, inputs: (inputs[0][predicts],))
        try:
            logits = self.base.model(input_ids=ids, attention_mask=present, **options).logits.float()
        finally:
            hook.remove()
        losses = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
        return losses, logits.detach().argmax(-1) == targets

    # --- measuring --------------------------------------------------------------------------------------------------

    def evaluate(self) -> Score:
        """Measure loss and exactly right messages on the validation conversations."""
        import torch

        starts = shared_starts(self.validation) if self.settings.share_prefix else [0] * len(self.validation)
        sums = {True: [0.0, 0, 0, 0], False: [0.0, 0, 0, 0]}  # plan or answer: loss, tokens, exact, messages
        self.model.eval()
        with torch.no_grad():
            for one in passes(
                self.validation, range(len(self.validation)), starts=starts, tokens=self.settings.batch_tokens
            ):
                losses, right = self._losses(self.validation, one)
                at = 0
                for index in one.members:
                    for span in self.validation[index].spans:
                        size = span.end - span.start
                        entry = sums[span.plan]
                        entry[0] += float(losses[at : at + size].sum())
                        entry[1] += size
                        entry[2] += bool(right[at : at + size].all())
                        entry[3] += 1
                        at += size
        self.model.train()
        plan, answer = sums[True], sums[False]
        return Score(
            loss=_ratio(plan[0] + answer[0], plan[1] + answer[1]),
            plan_loss=_ratio(plan[0], plan[1]),
            plan_exact=_ratio(plan[2], plan[3]),
            answer_loss=_ratio(answer[0], answer[1]),
            answer_exact=_ratio(answer[2], answer[3]),
        )

    def story(self) -> dict[str, Any]:
        """Tell what was trained on what, with which settings and versions, how fast and how well."""
        import torch

        return {
            "base": {"name": self.base.name, "sha256": self.base.sha256},
            "data": self.data,
            "settings": {**asdict(self.settings), "precision": self.base.precision},
            "identity": self.identity,
            "steps": self.done,
            "steps_planned": len(self.steps),
            "tokens": self.tokens,
            "tokens_through_the_model": self.computed,
            "seconds": round(self.seconds, 1),
            "tokens_per_second": round(self.tokens / max(self.seconds, 1e-9), 1),
            "tokens_through_the_model_per_second": round(self.computed / max(self.seconds, 1e-9), 1),
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


def schedule(step: int, steps: int, *, warmup: float, final_share: float) -> float:
    """Give the share of the learning rate at a step: a linear rise, then half a cosine down to `final_share`.

    >>> [round(schedule(step, 10, warmup=0.2, final_share=0.1), 2) for step in (0, 1, 2, 6, 9)]
    [0.5, 1.0, 1.0, 0.55, 0.13]
    """
    rising = max(1, round(steps * warmup))
    if step < rising:
        return (step + 1) / rising
    share = (step - rising) / max(1, steps - rising)
    return final_share + (1 - final_share) * 0.5 * (1 + math.cos(math.pi * share))


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


def _gradient(parameter: Any) -> Any:
    import torch

    return parameter.grad if parameter.grad is not None else torch.zeros_like(parameter)


def _ratio(amount: float, of: float) -> float:
    return round(amount / of, 5) if of else 0.0


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
