"""Boosted trees whose score is an exact sum of parts: every tree path reads the signals of one part alone.

LightGBM's interaction constraints keep the signals of different parts out of one path, so that each leaf belongs to
a part, and a part's value is the sum of its leaves, counted from those of an item that nothing speaks for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from retrieval.signals import COLUMNS, CONTEXT, SIGNALS, columns_of, nothing

if TYPE_CHECKING:
    from lightgbm import Booster

Floats = NDArray[np.float64]
Table = NDArray[np.float32]
TREE_PARTS = tuple(SIGNALS)
ROUNDS = 120
SETTINGS: Mapping[str, Any] = {
    "lambdarank_truncation_level": 20,
    "learning_rate": 0.1,
    "num_leaves": 15,
    "min_data_in_leaf": 200,
    "feature_fraction": 0.7,
    "bagging_fraction": 0.7,
    "bagging_freq": 1,
    "max_bin": 63,
    "deterministic": True,
    "force_row_wise": True,
    "verbose": -1,
}
SPREAD = 0.999  # the share of the fitted rows that get a score of at most 1


@dataclass(frozen=True, eq=False, kw_only=True)
class Trees:
    """A fitted model: LightGBM's own text, and what its scores are divided by so that most stay below 1."""

    model: str
    scale: float
    _booster: Booster = field(init=False, repr=False)
    _leaves: Floats = field(init=False, repr=False)  # [trees * most leaves, parts]
    _most: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        from lightgbm import Booster

        booster = Booster(model_str=self.model)
        trees = booster.dump_model()["tree_info"]
        most = max(int(tree["num_leaves"]) for tree in trees)
        leaves = np.zeros((len(trees), most, len(TREE_PARTS)))
        for number, tree in enumerate(trees):
            for leaf, value, columns in _paths(tree["tree_structure"], ()):
                leaves[number, leaf, _part_of(columns)] = value / self.scale
        object.__setattr__(self, "_booster", booster)
        object.__setattr__(self, "_leaves", leaves.reshape(-1, len(TREE_PARTS)))
        object.__setattr__(self, "_most", most)

    def parts(self, table: Table) -> dict[str, Floats]:
        """Give every part's value for rows of `signals` that share one context: [rows] each."""
        if not len(table):
            return {part: np.zeros(0) for part in TREE_PARTS}
        whole = np.concatenate([nothing(table[0, : len(CONTEXT)]), table])
        reached = np.asarray(self._booster.predict(whole, pred_leaf=True, num_threads=1), np.int64)
        reached = reached.reshape(len(whole), -1)
        values = self._leaves[reached + self._most * np.arange(reached.shape[1])].sum(axis=1)
        values = values[1:] - values[0]
        return {part: values[:, number] for number, part in enumerate(TREE_PARTS)}

    def record(self) -> dict[str, Any]:
        """Give what `of_record` reads, as JSON holds it."""
        return {"model": self.model, "scale": self.scale, "columns": list(COLUMNS), "sha256": _hash(self.model)}

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> Trees:
        """Make the model of what `record` gave.

        Raises:
            ValueError: the model is damaged or reads other signals than this version measures.
        """
        if list(record["columns"]) != list(COLUMNS):
            raise ValueError("the ranking reads other signals than this version measures")
        if _hash(str(record["model"])) != record["sha256"]:
            raise ValueError("the ranking's trees are damaged")  # LightGBM ends the process over a damaged text
        return cls(model=str(record["model"]), scale=float(record["scale"]))


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def fit_trees(
    tables: Sequence[Table],
    bought: Sequence[NDArray[np.bool_]],
    *,
    objective: str = "lambdarank",
    seed: int,
    threads: int = 2,
) -> Trees:
    """Fit by LambdaMART (Burges, 2010), the bought rows of each request before the others, or by plain log-odds.

    Args:
        tables: One table of `signals` a request.
        bought: Which of its rows were bought.
        objective: LightGBM's: `lambdarank` or `binary`.
        seed: Chooses the rows and columns that each tree sees.
        threads: Cores to use; the model is the same for any number.
    """
    import lightgbm

    rows = sum(len(table) for table in tables)
    settings = {
        **SETTINGS,
        "objective": objective,
        "min_data_in_leaf": int(np.clip(rows // 2_000, 5, SETTINGS["min_data_in_leaf"])),
        "interaction_constraints": [list(columns_of(part)) for part in TREE_PARTS],
        "seed": seed,
        "num_threads": threads,
    }
    data = lightgbm.Dataset(
        np.concatenate(tables),
        np.concatenate(bought).astype(np.int8),
        group=[len(table) for table in tables] if objective == "lambdarank" else None,
    )
    booster = lightgbm.train(settings, data, num_boost_round=ROUNDS)
    found = Trees(model=booster.model_to_string(), scale=1.0)
    scores = np.concatenate([sum(found.parts(table).values(), np.zeros(len(table))) for table in tables[:200]])
    return Trees(model=found.model, scale=max(float(np.quantile(scores, SPREAD)), 1e-6))


def _paths(node: Mapping[str, Any], columns: tuple[int, ...]) -> list[tuple[int, float, tuple[int, ...]]]:
    """List each leaf's number, value, and the columns that the path to it reads."""
    if "leaf_value" in node:
        return [(int(node.get("leaf_index", 0)), float(node["leaf_value"]), columns)]
    columns = (*columns, int(node["split_feature"]))
    return _paths(node["left_child"], columns) + _paths(node["right_child"], columns)


_READ = {part: frozenset(columns_of(part)) for part in TREE_PARTS}


def _part_of(columns: Sequence[int]) -> int:
    """Give the first part that may read all of these columns."""
    for number, part in enumerate(TREE_PARTS):
        if _READ[part].issuperset(columns):
            return number
    raise ValueError(f"a path reads signals of several parts: {json.dumps([COLUMNS[column] for column in columns])}")
