"""How much the phrasings repeat themselves is counted over words and over meanings, and told as it is."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from finetune import diversity as measured
from finetune.diversity import diversity, main, nearest, phrasings
from retrieval.embedder import Embedder
from retrieval.records import ShopError


def test_repeats_and_paraphrases_are_told_from_other_wishes(embedder: Embedder) -> None:
    same = diversity(["need milk", "Need  milk", "i need milk"], embedder=embedder)
    other = diversity(["need milk", "snow tires for a truck", "why is that one first?"], embedder=embedder)
    assert (same.texts, same.different, same.most_repeated) == (3, 2, 2)
    assert same.nearest[1] < other.nearest[1] and same.same > other.same == 0.0
    assert other.distinct == (1.0, 1.0, 1.0)
    beside = diversity(["need milk", "snow tires"], embedder=embedder, beside=["NEED milk", "hello"])
    assert beside.nearest[0] < 0.2 < beside.nearest[2], "one of the two stands in the other texts"
    with pytest.raises(ShopError, match="fewer than two different texts"):
        diversity(["milk", "MILK"], embedder=embedder)


def test_blocks_of_rows_give_what_the_whole_matrix_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    whole = nearest(vectors)
    alike = vectors @ vectors.T
    np.fill_diagonal(alike, -1)
    assert np.allclose(whole, 1 - alike.max(axis=1), atol=1e-6)
    monkeypatch.setattr(measured, "BLOCK", 7)
    assert np.allclose(nearest(vectors), whole, atol=1e-6)


def test_the_bank_is_large_and_the_table_names_each_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    held = phrasings()
    assert len(held) > 20_000 and not any("{" in text or "|" in text for text in held)
    monkeypatch.setattr(measured, "phrasings", lambda: held[:40])
    talk = {
        "conversation_id": "c",
        "messages": [{"role": "user", "content": text} for text in ("milk", "why", "bread")],
    }
    branch = {**talk, "metadata": {"branch_of": "c"}}
    (tmp_path / "talks.jsonl").write_text(json.dumps(talk) + "\n" + json.dumps(branch) + "\n", encoding="utf-8")
    main([str(tmp_path / "talks.jsonl")])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:]] == ["bank", "talks.jsonl", "talks.jsonl, to the bank"]
    assert lines[3].startswith("| talks.jsonl | 4 | 3 | 2 |"), "a branch says one message of its own"
