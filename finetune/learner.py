"""A model in training: its weights in full precision, the optimiser, one step, one measurement."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune.adapter import Base, Precision, attach, take_weights
from finetune.batches import Pass, Step, TokenSequence, passes, shared_starts
from finetune.branch_attention import NAME, use, views
from finetune.graft import positions_and_mask


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What decides the adapter, beside the data and the base model.

    `batch_tokens` go through the model in one optimiser step beside the shared start, in `passes_per_step` passes; one pass
    at a time is in memory. `top_layers` adapts only the last so many layers, which is faster. `epochs` and `max_tokens` both
    end the run, whichever comes first. `evaluations` are spread evenly over the run; with `patience`, the run
    ends after that many evaluations without a better validation loss, and the best weights are kept.
    """

    rank: int = 16
    alpha: int = 32
    dropout: float = 0.0
    top_layers: int | None = None
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
    validation_share: float = 0.015
    validation_limit: int = 100
    evaluations: int = 5
    patience: int | None = None
    precision: Precision | None = None
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """How an adapter does on conversations it does not train on, each token given the true ones before it.

    `plan_exact` and `answer_exact` are the shares of messages in which every token was the model's first choice.
    """

    loss: float
    plan_loss: float
    plan_exact: float
    answer_loss: float
    answer_exact: float


class Learner:
    """Hold a base model with an adapter in training.

    The adapter's weights are kept twice: in the model, in its own precision, and in one flat fp32 vector `master` that AdamW
    (Loshchilov and Hutter, 2019) works on.
    """

    def __init__(self, base: Base, *, settings: Settings, start: Path | None = None) -> None:
        import torch

        self.base, self.settings = base, settings
        self.model = attach(
            base,
            rank=settings.rank,
            alpha=settings.alpha,
            dropout=settings.dropout,
            top_layers=settings.top_layers,
            seed=settings.seed,
        )
        self.start = (
            take_weights(self.model, start, base_sha256=base.sha256) if start is not None else None
        )  # hash of what it goes on from
        self.by_views = base.model.config._attn_implementation in ("sdpa", NAME) and self.model.device.type == "cpu"
        if self.by_views:
            use(base.model)
        self.parameters = [weight for _, weight in sorted(self.model.named_parameters()) if weight.requires_grad]
        self.master = torch.cat([weight.detach().float().reshape(-1) for weight in self.parameters])
        self.optimiser = torch.optim.AdamW(
            [self.master], lr=settings.learning_rate, betas=(0.9, 0.99), weight_decay=settings.weight_decay
        )

    def tensors(self) -> dict[str, Any]:
        """Give everything that changes in training: master weights, AdamW's moments and its count of updates."""
        return {"master": self.master, **self.optimiser.state[self.master]}

    def restore(self, tensors: Mapping[str, Any]) -> None:
        """Take over what `tensors()` gave."""
        device = self.master.device
        self.master.copy_(tensors["master"])
        moments = {name: tensors[name].to(device) for name in ("exp_avg", "exp_avg_sq")}
        self.optimiser.state[self.master] = {"step": tensors["step"], **moments}
        self.put(self.master)

    def put(self, master: Any) -> None:
        """Copy fp32 weights into the model's own."""
        import torch

        at = 0
        with torch.no_grad():
            for weight in self.parameters:
                weight.copy_(master[at : at + weight.numel()].view_as(weight))
                at += weight.numel()

    def step(self, step: Step, sequences: Sequence[TokenSequence], *, number: int, of: int) -> float:
        """Take one optimiser step, `number` (from 0) of `of`, and return the mean loss of its learned tokens."""
        import torch

        settings = self.settings
        torch.manual_seed(settings.seed * 1_000_003 + number)
        learned = sum(sequences[index].learned for one in step for index in one.members)
        total = 0.0
        starts = _Starts(self.base)
        for one in step:
            losses, _ = self.losses(one, sequences, starts=starts)
            loss = losses.sum() / learned
            loss.backward()
            total += float(loss.detach())
        starts.backward()
        gradient = torch.cat([_gradient(weight).float().reshape(-1) for weight in self.parameters])
        for weight in self.parameters:
            weight.grad = None
        norm = float(gradient.norm())
        if settings.clip and norm > settings.clip:
            gradient *= settings.clip / norm
        share = schedule(number, of, warmup=settings.warmup, final_share=settings.final_share)
        for group in self.optimiser.param_groups:
            group["lr"] = settings.learning_rate * share
        self.master.grad = gradient
        self.optimiser.step()
        self.master.grad = None
        self.put(self.master)
        return total

    def losses(self, one: Pass, sequences: Sequence[TokenSequence], *, starts: _Starts) -> tuple[Any, Any]:
        """Compute the loss of every learned token of a pass, and whether it was the model's first choice.

        Only the positions before learned tokens reach the output layer.
        """
        import torch

        members = [sequences[index] for index in one.members]
        longest = max(len(member.ids) for member in members)
        ids = torch.zeros((len(members), longest), dtype=torch.long)
        present = torch.zeros((len(members), longest), dtype=torch.long)
        predicts = torch.zeros((len(members), longest), dtype=torch.bool)
        for row, member in enumerate(members):
            ids[row, : len(member.ids)] = torch.tensor(member.ids)
            present[row, : len(member.ids)] = 1
            for span in member.spans:
                predicts[row, span.start - 1 : span.end - 1] = True
        device = self.master.device
        targets = ids[:, 1:][predicts[:, :-1]].to(device)
        options: dict[str, Any] = {"use_cache": False, "attention_mask": present.to(device)}
        if one.shared:
            options["use_cache"] = True
            options["past_key_values"] = starts.cache(members[0].ids[: one.shared], copies=len(members))
            options["position_ids"] = torch.arange(one.shared, longest, device=device).expand(len(members), -1)
        if any(member.branches for member in members):
            positions, mask = positions_and_mask(members, skipped=one.shared, dtype=self.base.model.dtype)
            options |= {"position_ids": positions.to(device), "attention_mask": mask.to(device)}
            if self.by_views:
                options["views"] = views(members, skipped=one.shared)
        with _only(self.base.model, predicts[:, one.shared :].to(device)):
            logits = self.base.model(input_ids=ids[:, one.shared :].to(device), **options).logits.float()
        losses = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
        return losses, logits.detach().argmax(-1) == targets

    def evaluate(self, sequences: Sequence[TokenSequence]) -> Score:
        """Measure loss and exactly right messages on sequences that are not trained on."""
        import torch

        share, tokens = self.settings.share_prefix, self.settings.batch_tokens // self.settings.passes_per_step
        starts = shared_starts(sequences) if share else [0] * len(sequences)
        sums = {True: [0.0, 0, 0, 0], False: [0.0, 0, 0, 0]}  # plan or answer: loss, tokens, exact, messages
        self.model.eval()
        with torch.no_grad():
            read = _Starts(self.base)
            for one in passes(sequences, range(len(sequences)), starts=starts, tokens=tokens):
                losses, right = self.losses(one, sequences, starts=read)
                at = 0
                for span in (span for index in one.members for span in sequences[index].spans):
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


class _Starts:
    """Shared starts, each read once: its keys and values serve every sequence that begins with it.

    Gradients add up in the keys and values over all passes, and flow back through the start once, at the end; they are the
    same as if every sequence had read its start itself.
    """

    def __init__(self, base: Base) -> None:
        self._base = base
        self._read: dict[tuple[int, ...], list[tuple[Any, Any]]] = {}
        self._leaves: dict[tuple[int, ...], list[tuple[Any, Any]]] = {}

    def cache(self, ids: tuple[int, ...], *, copies: int) -> Any:
        """Give a cache that holds the start `ids` for `copies` sequences."""
        import torch
        from transformers import DynamicCache

        if ids not in self._leaves:
            whole = DynamicCache(config=self._base.model.config)
            read = torch.tensor([ids], device=self._base.model.device)
            self._base.model.get_decoder()(read, past_key_values=whole, use_cache=True)
            self._read[ids] = [(layer.keys, layer.values) for layer in whole.layers]
            self._leaves[ids] = [(_leaf(keys), _leaf(values)) for keys, values in self._read[ids]]
        cache = DynamicCache(config=self._base.model.config)
        for layer, (keys, values) in zip(cache.layers, self._leaves[ids], strict=True):
            layer.lazy_initialization(keys, values)
            layer.keys, layer.values = keys.expand(copies, -1, -1, -1), values.expand(copies, -1, -1, -1)
            if hasattr(layer, "cumulative_length"):  # a sliding window keeps fewer keys than it has read
                layer.cumulative_length = len(ids)
        return cache

    def backward(self) -> None:
        """Send the gradients that gathered in the starts' keys and values through the starts."""
        import torch

        for ids, leaves in self._leaves.items():
            pairs = [
                (read, leaf.grad)
                for whole, ends in zip(self._read[ids], leaves, strict=True)
                for read, leaf in zip(whole, ends, strict=True)
                if read.requires_grad and leaf.grad is not None
            ]
            if pairs:
                torch.autograd.backward([read for read, _ in pairs], [gradient for _, gradient in pairs])


@contextmanager
def _only(model: Any, positions: Any) -> Iterator[None]:
    """Let only the hidden states at `positions` through to the output layer."""
    hook = model.get_output_embeddings().register_forward_pre_hook(lambda _, inputs: (inputs[0][positions],))
    try:
        yield
    finally:
        hook.remove()


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


def _leaf(tensor: Any) -> Any:
    return tensor.detach().requires_grad_(tensor.requires_grad)


def _gradient(weight: Any) -> Any:
    import torch

    return weight.grad if weight.grad is not None else torch.zeros_like(weight)


def _ratio(amount: float, of: float) -> float:
    return round(amount / of, 5) if of else 0.0
