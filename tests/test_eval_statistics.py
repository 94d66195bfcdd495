"""The statistics of an evaluation, on data whose right answers are known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval import statistics
from eval.metrics import percentile


def test_an_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    """Promise: on simulated sets of 40 conversations, 95 % intervals of a share hold the true one 9 times in 10 or more."""
    rng = np.random.default_rng(5)
    held, sets = 0, 150
    for seed in range(sets):
        messages = rng.integers(1, 5, size=40)
        right = rng.binomial(messages, rng.beta(8, 2, size=40))
        found = statistics.interval(statistics.ratio(right, messages), conversations=40, seed=seed, draws=400)
        assert found is not None and found.low is not None and found.high is not None
        held += found.low <= 0.8 <= found.high
    assert 0.90 <= held / sets <= 0.99


def test_the_interval_is_the_one_that_scipy_gives() -> None:
    """Promise: BCa as `scipy.stats.bootstrap` computes it, but for chance."""
    from scipy import stats

    values = np.random.default_rng(2).exponential(size=30)
    found = statistics.interval(statistics.ratio(values, np.ones(30)), conversations=30, draws=20_000)
    wanted = stats.bootstrap((values,), np.mean, n_resamples=20_000, method="BCa", rng=np.random.default_rng(3))
    assert found is not None
    assert found.low == pytest.approx(wanted.confidence_interval.low, abs=0.02)
    assert found.high == pytest.approx(wanted.confidence_interval.high, abs=0.02)
    assert found.stderr == pytest.approx(values.std(ddof=1) / np.sqrt(30), rel=0.05)


def test_the_paired_test_is_the_one_that_scipy_gives() -> None:
    """Promise: all 256 swaps of eight conversations are tried, so that p is exact."""
    from scipy import stats

    a, b = np.array([1, 2, 3, 4, 5, 6, 7, 8.0]), np.array([2, 2, 4, 6, 5, 7, 7, 9.5])
    found = statistics.difference(statistics.ratio([*a, *b], np.ones(16)), conversations=8)
    wanted = stats.permutation_test(
        (a, b), lambda x, y: np.mean(y) - np.mean(x), permutation_type="samples", n_resamples=np.inf
    )
    assert found is not None
    assert found.p == pytest.approx(wanted.pvalue)
    assert (found.a, found.b) == (4.5, pytest.approx(5.3125))


def test_the_same_run_twice_cannot_be_told_apart() -> None:
    found = statistics.difference(statistics.ratio([1, 0, 1, 1, 0] * 2, [1, 1, 2, 1, 1] * 2), conversations=5)
    assert found is not None
    assert (found.difference, found.low, found.high, found.p) == (0.0, 0.0, 0.0, 1.0)


def test_no_difference_is_called_one_as_rarely_as_it_says() -> None:
    """Promise: two runs of equal quality get p of 0.05 or less about one time in twenty."""
    rng = np.random.default_rng(8)
    called = 0
    for seed in range(200):
        a, b = rng.binomial(3, 0.7, size=(2, 25))
        found = statistics.difference(
            statistics.ratio([*a, *b], np.full(50, 3)), conversations=25, seed=seed, draws=300
        )
        assert found is not None
        called += found.p <= 0.05
    assert called / 200 <= 0.09


def test_a_share_that_never_failed_is_not_called_certain() -> None:
    """Promise: 20 of 20 leaves the exact interval's room, which the bootstrap does not see."""
    found = statistics.interval(statistics.ratio([1] * 20, [1] * 20), conversations=20, exact="share")
    assert found is not None
    assert (found.low, found.high) == (pytest.approx(1 - 0.16843, abs=1e-4), 1.0)
    never = statistics.interval(statistics.total([0] * 20), conversations=20, exact="count")
    assert never is not None
    assert (never.low, never.high) == (0.0, pytest.approx(3.689, abs=1e-3))


def test_the_same_seed_gives_the_same_interval() -> None:
    statistic = statistics.total([0, 0, 3, 1, 0])
    first, again, other = (statistics.interval(statistic, conversations=5, seed=seed) for seed in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize("conversations", [0, 1, 4])
def test_too_few_conversations_have_no_interval(conversations: int) -> None:
    found = statistics.interval(statistics.ratio([1] * conversations, [2] * conversations), conversations=conversations)
    if conversations:
        assert found is not None and (found.value, found.low, found.stderr) == (0.5, None, None)
    else:
        assert found is None


def test_what_was_never_counted_has_no_figure() -> None:
    """Promise: 0 of 0 is no figure, also where only one of two runs has it."""
    assert statistics.interval(statistics.ratio([0, 0], [0, 0]), conversations=2) is None
    assert statistics.difference(statistics.ratio([0, 0, 1, 1], [0, 0, 1, 1]), conversations=2) is None


@given(
    st.lists(st.lists(st.floats(0, 9), max_size=3), min_size=1, max_size=5),
    st.sampled_from([50, 95]),
    st.lists(st.integers(0, 3), min_size=5, max_size=5),
)
def test_a_percentile_counts_repeats_as_if_they_were_written_out(
    groups: list[list[float]], p: int, counts: list[int]
) -> None:
    """Promise: the figure of a draw is `eval.metrics.percentile` of the values in it."""
    used = counts[: len(groups)]
    values = [value for group, count in zip(groups, used, strict=True) for value in group * count]
    found = statistics.percentile(groups, p=p)(np.array([used], float))[0]
    assert np.isnan(found) if not values else found == pytest.approx(percentile(values, p))


def test_large_sets_are_drawn_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Promise: how much is held in memory changes nothing in the figures."""
    statistic = statistics.ratio(list(range(30)), [40] * 30)
    whole = statistics.interval(statistic, conversations=30, draws=100)
    monkeypatch.setattr(statistics, "_CELLS", 100)
    assert statistics.interval(statistic, conversations=30, draws=100) == whole


def test_the_smallest_difference_that_shows_is_found_four_times_in_five() -> None:
    """Promise: a true difference of that size is found with 80 % power by a two-sided test at 5 %."""
    rng = np.random.default_rng(4)
    n = 60
    size = statistics.detectable(1 / np.sqrt(n), conversations=n)
    draws = rng.normal(size, 1.0, size=(4000, n))
    t = draws.mean(axis=1) / (draws.std(axis=1, ddof=1) / np.sqrt(n))
    assert np.mean(t > 2.001) == pytest.approx(0.8, abs=0.03)
    assert statistics.detectable_share(0.85, conversations=150) == pytest.approx(0.116, abs=0.002)
    assert statistics.detectable_share(0.85, conversations=150, together=0.5) < 0.09
