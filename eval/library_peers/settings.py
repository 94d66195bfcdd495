"""The settings that each library's model is tried with on validation: four each, the published ones among them where they fit the time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Settings = Mapping[str, Any]

# Sized for two cores: about a minute a fit on 630,000 pairs of 2,500 shoppers and 8,200 items. Where the library's own
# number of epochs is larger, it is cut; `steps` (batches of an epoch) and `last` (newest lines of a shopper that are
# trained on) keep an epoch in bounds on a long log.
_RATINGS = {"counted": False, "zeros": 2}
_COUNTS = {**_RATINGS, "counted": True}
_SEQUENCE = {"max_len": 50, "embedding_dim": 64, "n_sample": 1024, "batch_size": 64}
GRID: Mapping[str, Sequence[Settings]] = {
    "recbole-item-knn": [
        {"k": 100, "shrink": 0.0},
        {"k": 20, "shrink": 0.0},
        {"k": 300, "shrink": 0.0},
        {"k": 100, "shrink": 20.0},
    ],
    "recbole-user-knn": [
        {"k": 100, "shrink": 0.0},
        {"k": 50, "shrink": 0.0},
        {"k": 300, "shrink": 0.0},
        {"k": 100, "shrink": 20.0},
    ],
    "cornac-svd": [
        {"max_iter": 20, **one}
        for one in (
            {**_RATINGS, "k": 10},
            {**_RATINGS, "k": 50},
            {**_COUNTS, "k": 50},
            {**_RATINGS, "k": 50, "zeros": 4},
        )
    ],
    "surprise-svd++": [
        {"n_factors": 20, "n_epochs": 5, **one}
        for one in (
            {**_RATINGS, "zeros": 1},
            {**_COUNTS, "zeros": 1},
            {**_RATINGS, "zeros": 1, "lr_all": 0.02},
            {**_RATINGS, "zeros": 2},
        )
    ],
    "cornac-nmf": [
        {"max_iter": 50, **one}
        for one in (
            {**_RATINGS, "k": 15},
            {**_RATINGS, "k": 50},
            {**_COUNTS, "k": 50},
            {**_RATINGS, "k": 50, "zeros": 4},
        )
    ],
    "recbole-neumf": [
        {"learning_rate": rate, "dropout_prob": dropout, "epochs": 5, "train_batch_size": 4096}
        for rate in (0.001, 0.005)
        for dropout in (0.1, 0.3)
    ],
    "recbole-mult-vae": [
        {"learning_rate": rate, "dropout_prob": dropout, "epochs": 30, "steps": 8}
        for rate in (0.001, 0.003)
        for dropout in (0.5, 0.3)
    ],
    "recbole-lightgcn": [
        {"learning_rate": rate, "n_layers": layers, "epochs": 15, "steps": 10}
        for rate in (0.01, 0.03)
        for layers in (2, 3)
    ],
    "cornac-sasrec": [
        {
            **_SEQUENCE,
            "batch_size": 512,
            "last": 20,
            "max_len": 20,
            "n_epochs": 6,
            "learning_rate": rate,
            "dropout": dropout,
        }
        for rate in (0.001, 0.003)
        for dropout in (0.2, 0.5)
    ],
    "cornac-bert4rec": [
        {**_SEQUENCE, "last": 200, "n_epochs": 20, "learning_rate": rate, "mask_prob": mask}
        for rate in (0.001, 0.003)
        for mask in (0.2, 0.4)
    ],
}
