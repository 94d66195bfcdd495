"""Fit one model of a library on a past and write how it orders the items for each shopper.

Run by the Python of the peers' own environment, with the checkout on its path:
`python -m eval.library_peers.fit --past past.npz --model recbole-lightgcn --settings '{…}' --seed 0 --output places.npy`.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from eval.library_peers import from_cornac, from_recbole, from_surprise
from eval.library_peers.purchases import Floats, Purchases

MODELS: dict[str, tuple[str, Callable[..., Floats]]] = {
    "recbole-item-knn": ("recbole", from_recbole.item_knn),
    "recbole-user-knn": ("recbole", from_recbole.user_knn),
    "cornac-svd": ("cornac", from_cornac.svd),
    "surprise-svd++": ("scikit-surprise", from_surprise.svd_pp),
    "cornac-nmf": ("cornac", from_cornac.nmf),
    "recbole-neumf": ("recbole", from_recbole.neumf),
    "recbole-mult-vae": ("recbole", from_recbole.mult_vae),
    "recbole-lightgcn": ("recbole", from_recbole.lightgcn),
    "cornac-sasrec": ("cornac", from_cornac.sasrec),
    "cornac-bert4rec": ("cornac", from_cornac.bert4rec),
}


def main() -> int:
    """Fit, write `places.npy` and say in one line of JSON what it took; return the exit status."""
    parser = argparse.ArgumentParser(description="Fit one model of a library on a past.")
    parser.add_argument("--past", type=Path, required=True)
    parser.add_argument("--model", choices=sorted(MODELS), required=True)
    parser.add_argument("--settings", type=json.loads, required=True, help="JSON: the model's own names")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    past, output = Purchases.load(arguments.past), arguments.output.resolve()
    library, fit = MODELS[arguments.model]
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="shoptalk-peer-") as folder:
        os.chdir(folder)  # the libraries leave logs and data where they stand
        scores = fit(past, settings=arguments.settings, seed=arguments.seed)
        os.chdir("/")
    seconds = time.monotonic() - started
    partial = output.with_suffix(".partial.npy")
    np.save(partial, places(scores))
    partial.replace(output)
    said = {"library": library, "version": importlib.metadata.version(library), "seconds": round(seconds, 1)}
    sys.stdout.write("\n" + json.dumps(said) + "\n")
    return 0


def places(scores: Floats) -> NDArray[np.unsignedinteger]:
    """Turn scores [users, items] into places: 0 is the best item, ties by row; the largest number is no place.

    Places keep the whole order in two bytes, where a score of two bytes would tie neighbours. What has no score
    (-inf, not a number) has no place.

    >>> places(np.array([[0.5, -np.inf, 2.0]], np.float32)).tolist()
    [[1, 65535, 0]]
    """
    users, items = scores.shape
    kind = np.uint16 if items < np.iinfo(np.uint16).max else np.uint32
    out = np.empty((users, items), kind)
    for row in range(users):
        known = np.isfinite(scores[row])
        order = np.argsort(np.where(known, -scores[row], np.inf), kind="stable")
        out[row, order] = np.arange(items)
        out[row, ~known] = np.iinfo(kind).max
    return out


if __name__ == "__main__":
    sys.exit(main())
