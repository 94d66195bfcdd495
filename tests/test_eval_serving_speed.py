"""The speeds of three servers are set beside each other round by round, so that a slow moment slows all of them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from eval import serving_speed
from eval.serving_speed import Speed, measure, timed
from retrieval.records import ShopError


def test_shares_are_of_the_first_server_in_the_same_round(monkeypatch: Any) -> None:
    """A machine that grows slower from round to round changes the tokens a second and not the shares."""
    rounds: list[str] = []

    def slower(server: Any, prompt: str, *, tokens: int) -> tuple[float, int]:
        rounds.append(prompt)
        slow = 1 + len(set(rounds)) // 2  # two servers have a round
        return server.factor * slow * (1.0 if tokens == 1 else 1.0 + 0.01 * (tokens - 1)), 500

    monkeypatch.setattr(serving_speed, "timed", slower)
    servers: list[Any] = [("base", SimpleNamespace(factor=1.0)), ("beside", SimpleNamespace(factor=2.0))]
    base, beside = measure(servers, rounds=5, seed=0)
    assert (base.prefill_share, base.decode_share) == (1.0, 1.0)
    assert isinstance(beside, Speed) and 0.3 < beside.prefill_share < 0.6 and 0.3 < beside.decode_share < 0.6
    assert beside.decode < base.decode


def test_a_server_that_does_not_answer_is_an_error_for_people(monkeypatch: Any) -> None:
    monkeypatch.setattr(serving_speed, "request_json", lambda *_, **__: None)
    server: Any = SimpleNamespace(name="base", port=1, serving=SimpleNamespace(log="base.log"))
    with pytest.raises(ShopError, match=r"base gave no completion: see base\.log"):
        timed(server, "milk", tokens=1)
