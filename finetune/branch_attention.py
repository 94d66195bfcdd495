"""Attention over a talk with branches, piece by piece: no time goes into what a branch does not see.

A dense mask lets every token of a joined sequence look at every other and throws most of it away; here the talk looks at
itself, and each branch at what comes before it and at itself. The result is the same up to rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from finetune.batches import TokenSequence

NAME = "branched"
CHUNK = 256  # tokens of a talk that look back together: shorter ones skip more of what lies ahead, and cost more calls


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """Tokens `start` to `end` of a sequence look at its first `after` tokens and, each, at those of its own up to itself.

    `mask` has shape (end - start, after + end - start) and is True where a token may look.
    """

    start: int
    end: int
    after: int
    mask: Any


def views(members: Sequence[TokenSequence], *, skipped: int) -> list[list[View]]:
    """Cut each sequence of a pass into the pieces that look at different things.

    Args:
        members: Sequences of one pass.
        skipped: How many first tokens are in the cache already; they ask nothing and are looked at by all.
    """
    out = []
    for member in members:
        pieces = [(at, min(at + CHUNK, member.trunk), at) for at in range(skipped, member.trunk, CHUNK)]
        pieces += [(branch.start, branch.end, branch.after) for branch in member.branches]
        out.append(
            [View(start=start, end=end, after=after, mask=_mask(end - start, after)) for start, end, after in pieces]
        )
    return out


def _mask(length: int, after: int) -> Any:
    import torch

    return torch.ones((length, after + length), dtype=torch.bool).tril(after)


def use(model: Any) -> None:
    """Let a model that attends by PyTorch's `scaled_dot_product_attention` take `views` where a pass has branches."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    model.set_attn_implementation(NAME)


def attend(
    module: Any, query: Any, key: Any, value: Any, attention_mask: Any, *, scaling: float | None = None, **options: Any
) -> tuple[Any, None]:
    """Attend as transformers' attention functions do; `views` among the options says who looks at what.

    Args:
        module: The attention layer.
        query: Shape (members, heads, tokens, width).
        key: Shape (members, key heads, cached + tokens, width).
        value: As `key`.
        attention_mask: Used where there are no views.
        scaling: Of the scores before the softmax.
        options: As transformers passes them.

    Returns:
        What was read, shape (members, tokens, heads, width), and no weights.
    """
    import torch
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    seen = options.pop("views", None)
    if seen is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **options)
    heads, tokens, width = query.shape[1:]
    skipped, key_heads = key.shape[2] - tokens, key.shape[1]
    folds = heads // key_heads  # the heads that share a key head ask one after another, so that keys need no copies
    rows = []
    for row, pieces in enumerate(seen):
        read = []
        for one in pieces:
            length = one.end - one.start
            asks = query[row : row + 1, :, one.start - skipped : one.end - skipped].reshape(
                1, key_heads, folds * length, width
            )
            looks = [_looked_at(held[row : row + 1], one) for held in (key, value)]
            mask = one.mask.to(query.device).repeat(folds, 1)
            got = torch.nn.functional.scaled_dot_product_attention(
                asks, *looks, attn_mask=mask, dropout_p=options.get("dropout", 0.0), scale=scaling
            )
            read.append(got.view(heads, length, width))
        rest = tokens + skipped - pieces[-1].end  # padding
        rows.append(torch.cat([*read, query.new_zeros((heads, rest, width))], dim=1))
    return torch.stack(rows).transpose(1, 2).contiguous(), None


def _looked_at(held: Any, view: View) -> Any:
    import torch

    if view.after == view.start:
        return held[:, :, : view.end]
    return torch.cat([held[:, :, : view.after], held[:, :, view.start : view.end]], dim=2)
