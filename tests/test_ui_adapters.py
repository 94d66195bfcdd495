"""The list of adapters says of each what it was made for, how it did, and which one answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agent.base_model import file_hash
from retrieval.records import ShopError
from tests.test_base_model import write_adapter
from tests.tiny_models import write_tiny_model
from ui.adapters import adapters, text
from ui.settings import read_settings


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Stand where two adapters were trained, the second one with its story."""
    base = write_tiny_model(tmp_path / "base")
    for name in ("first", "second"):
        write_adapter(tmp_path / name, base, seed=len(name))
    told = {
        "date": "2026-11-22T18:21:29Z",
        "tokens": 3900815,
        "start": {"sha256": "c6b8a8f68a421ce0"},
        "evaluations": [{"plan_loss": 0.2, "plan_exact": 0.5}, {"plan_loss": 0.087, "plan_exact": 0.68}],
    }
    (tmp_path / "second" / "run.json").write_text(json.dumps(told), encoding="utf-8")
    return tmp_path


def ran(folder: Path, adapter: Path, *, act: float, date: str) -> Path:
    """Write what a replay with an adapter leaves."""
    folder.mkdir(parents=True)
    record: dict[str, Any] = {
        "results": {"act_accuracy": act, "act_accuracy_stderr": 0.01, "violation_rate": 0.05, "answered_rate": None},
        "n": {"turns": 12},
        "config": {"set": "small.jsonl", "adapter_sha256": file_hash(adapter / "adapter_model.safetensors")},
        "date": date,
    }
    (folder / "results.json").write_text(json.dumps(record), encoding="utf-8")
    return folder


def test_each_adapter_stands_with_its_story_and_its_scores(
    home: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Runs are matched by the weights they measured, not by a folder's name, which the next training takes."""
    ran(home / "bench" / "replay", home / "first", act=0.5, date="2026-11-20")
    elsewhere = ran(tmp_path_factory.mktemp("runs") / "out", home / "second", act=0.9, date="2026-11-22")
    settings = read_settings({}, home=home, base_model=home / "base", adapter=home / "second")
    found = {one.folder.name: one for one in adapters(settings, runs=[elsewhere]) if home in one.folder.parents}
    assert set(found) == {"first", "second"}
    assert [name for name, one in found.items() if one.answers] == ["second"]
    assert [run.scores["act_accuracy"] for run in found["first"].runs] == [(0.5, 0.01)]
    said = text(list(found.values()))
    assert f"* {home / 'second'}" in said and f"  {home / 'first'}" in said
    assert (
        "trained 2026-11-22, on 3,900,815 tokens, from the adapter c6b8a8f68a42, held-out plans: loss 0.087, 68% exact"
        in said
    )
    assert "small.jsonl (12 turns, 2026-11-22): act accuracy 0.900 ± 0.010, violation 0.050" in said


def test_what_is_damaged_or_missing_is_no_obstacle(home: Path) -> None:
    (home / "first" / "run.json").write_text("{", encoding="utf-8")
    (home / "second" / "adapter_config.json").write_text("[1]", encoding="utf-8")
    (home / "run").mkdir()
    (home / "run" / "results.json").write_text("null", encoding="utf-8")
    said = text(adapters(read_settings({}, home=home, adapter=home / "second")))
    assert "for unknown, rank ?" in said and said.count("no replay of it is on record") >= 2
    with pytest.raises(ShopError, match="No results in"):
        adapters(read_settings({}, home=home), runs=[home / "second"])


def test_the_adapter_that_comes_with_shoptalk_is_listed_and_answers_unless_another_is_set(tmp_path: Path) -> None:
    (own,) = adapters(read_settings({}, home=tmp_path))
    assert own.answers and own.rank == 16 and own.mib < 12
