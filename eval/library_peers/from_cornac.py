"""SVD, NMF, SASRec and BERT4Rec of cornac (Salah, Truong & Lauw, JMLR 2020)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from eval.library_peers.purchases import Floats, Purchases, empty_scores


def svd(past: Purchases, *, settings: Mapping[str, Any], seed: int) -> Floats:
    """Score by matrix factorization with biases (Koren, KDD 2008)."""
    from cornac.models import SVD

    return _rating_model(SVD, past, settings=settings, seed=seed)


def nmf(past: Purchases, *, settings: Mapping[str, Any], seed: int) -> Floats:
    """Score by non-negative matrix factorization (Lee & Seung, NIPS 2000)."""
    from cornac.models import NMF

    return _rating_model(NMF, past, settings=settings, seed=seed)


def sasrec(past: Purchases, *, settings: Mapping[str, Any], seed: int) -> Floats:
    """Score by self-attention over the sequence (Kang & McAuley, ICDM 2018)."""
    from cornac.models import SASRec

    return _sequence_model(SASRec, past, settings=settings, seed=seed)


def bert4rec(past: Purchases, *, settings: Mapping[str, Any], seed: int) -> Floats:
    """Score by a bidirectional transformer trained on masked items (Sun et al., CIKM 2019).

    The masked objective is the paper's; the library's own class of that name trains on the last place instead.
    """
    from cornac.models import TransformerRec

    return _sequence_model(
        TransformerRec, past, settings={"backbone": "bert", "objective": "mlm", **settings}, seed=seed
    )


def _rating_model(make: Any, past: Purchases, *, settings: Mapping[str, Any], seed: int) -> Floats:
    from cornac.data import Dataset

    own = dict(settings)
    user, item, rating = past.ratings(
        counted=bool(own.pop("counted")), zeros=int(own.pop("zeros")), rng=np.random.default_rng(seed)
    )
    # Its ids are those of first sight, so they are mapped back.
    train = Dataset.build(list(zip(user.tolist(), item.tolist(), rating.tolist(), strict=True)), seed=seed)
    model = make(seed=seed, verbose=False, **own).fit(train)
    rows = np.fromiter(train.iid_map, np.int64, len(train.iid_map))
    out = empty_scores(past)
    for name, index in train.uid_map.items():
        out[name, rows] = model.score(index)
    return out


def _sequence_model(make: Any, past: Purchases, *, settings: Mapping[str, Any], seed: int) -> Floats:
    import torch
    from cornac.data import SequentialDataset

    own = dict(settings)
    held, longest = past.sequences(last=int(own.pop("last"))), int(own["max_len"])
    # A row of training is at most as long as the model reads, so longer histories are cut into rows, the newest whole.
    lines, row = [], 0
    for user, items in held:
        for end in range(len(items), 0, -longest):
            lines += [(user, row, item, place) for place, item in enumerate(items[max(0, end - longest) : end])]
            row += 1
    train = SequentialDataset.build(lines, fmt="USIT", seed=seed)
    model = make(seed=seed, verbose=False, **own).fit(train)
    rows = np.fromiter(train.iid_map, np.int64, len(train.iid_map))
    out = empty_scores(past)
    with torch.no_grad():
        for user, items in held:
            seen = [train.iid_map[item] for item in items[-longest:]]
            out[user, rows] = np.asarray(model.score(train.uid_map[user], seen))[: len(rows)]
    return out
