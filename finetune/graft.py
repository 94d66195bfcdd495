"""Conversations that begin alike become one sequence with branches: what they share is read once.

A talk with ten other ways on from each of its lists costs the talk and the ten short messages, not eleven talks.
The branches see what comes before them and nothing of each other, as if each were read alone (a mask of the
kind used for token trees, Miao et al., 2023, SpecInfer).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from finetune.batches import Piece, Span, TokenSequence

WINDOW = 4  # how many sequences back one may be that another goes on from: branches stand behind their talk


def graft(sequences: Sequence[TokenSequence], *, gain: int, limit: int) -> list[TokenSequence]:
    """Join each sequence to an earlier one that it shares at least `gain` first tokens with.

    Args:
        sequences: In the order in which branches follow what they branch from.
        gain: Fewest tokens to share; a start that all sequences have should not count, as it is shared anyway.
        limit: Most tokens of a joined sequence.
    """
    out: list[TokenSequence] = []
    for sequence in sequences:
        for at in range(len(out) - 1, max(-1, len(out) - 1 - WINDOW), -1):
            joined = _join(out[at], sequence, gain=gain, limit=limit)
            if joined is not None:
                out[at] = joined
                break
        else:
            out.append(sequence)
    return out


def _join(trunk: TokenSequence, branch: TokenSequence, *, gain: int, limit: int) -> TokenSequence | None:
    if branch.branches or not branch.spans:
        return None
    most = min(trunk.trunk, branch.spans[0].start - 1)  # the token before the first learned one is the branch's own
    shared = next((at for at in range(most) if trunk.ids[at] != branch.ids[at]), most)
    start = len(trunk.ids)
    end = start + len(branch.ids) - shared
    if shared < gain or end > limit:
        return None
    spans = (
        Span(start=one.start - shared + start, end=one.end - shared + start, plan=one.plan) for one in branch.spans
    )
    return TokenSequence(
        conversation_id=trunk.conversation_id,
        ids=trunk.ids + branch.ids[shared:],
        spans=(*trunk.spans, *spans),
        branches=(*trunk.branches, Piece(start=start, end=end, after=shared)),
    )


def positions_and_mask(members: Sequence[TokenSequence], *, skipped: int, dtype: Any) -> tuple[Any, Any]:
    """Give what the attention of sequences with branches needs beside their tokens.

    Args:
        members: Sequences of one pass.
        skipped: How many first tokens are in the cache already.
        dtype: Of the model's weights.

    Returns:
        Positions, shape (members, longest - skipped), and a mask to add to the attention's scores, shape
        (members, 1, longest - skipped, longest): 0 where a token may look, the least number where it may not.
    """
    import torch

    longest = max(len(member.ids) for member in members)
    positions = torch.arange(longest).repeat(len(members), 1)
    sees = torch.ones((longest, longest), dtype=torch.bool).tril().repeat(len(members), 1, 1)
    for row, member in enumerate(members):
        for branch in member.branches:
            positions[row, branch.start : branch.end] -= branch.start - branch.after
            sees[row, branch.start : branch.end, branch.after : branch.start] = False
    mask = torch.zeros(sees.shape, dtype=dtype).masked_fill_(~sees, torch.finfo(dtype).min)
    return positions[:, skipped:], mask[:, None, skipped:]
