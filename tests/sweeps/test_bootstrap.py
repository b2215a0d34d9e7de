"""Bootstrap intervals against SciPy, on data with a known mean, and their invariances."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from distprompt_tui.sweeps.bootstrap import RESAMPLES, average, expanded_tail, mean, ratio

NATS = st.floats(-20, 20, allow_nan=False, width=32)
TABLES = arrays(np.float64, st.tuples(st.integers(2, 12), st.integers(1, 5)), elements=NATS)


def test_mean_matches_scipys_percentile_bootstrap_at_the_expanded_level() -> None:
    values = np.random.default_rng(0).exponential(size=12)
    ours = mean(values)
    level = 1 - 2 * expanded_tail(len(values))
    theirs = scipy.stats.bootstrap(
        (values,), np.mean, n_resamples=RESAMPLES, confidence_level=level, method="percentile", rng=1
    ).confidence_interval
    spread = values.std()
    assert ours is not None
    assert (ours.low, ours.high) == pytest.approx(tuple(theirs), abs=0.1 * spread)  # far tails of two draws of 10,000


def scipys_paired_interval(samples: tuple[NDArray[np.float64], ...], statistic: Callable[..., Any]) -> tuple[Any, Any]:
    """The ends of SciPy's percentile interval, with the expanded level of as many targets."""
    low, high = scipy.stats.bootstrap(
        samples,
        statistic,
        paired=True,
        vectorized=True,
        n_resamples=RESAMPLES,
        confidence_level=1 - 2 * expanded_tail(len(samples[0])),
        method="percentile",
        rng=1,
    ).confidence_interval
    return low, high


def test_sum_of_columns_matches_scipys_paired_bootstrap() -> None:
    columns = np.random.default_rng(0).normal([0, 1, 3], size=(9, 3))
    weights = np.array([-1.0, 0.5, 0.5])
    ours = average(columns, weights)
    theirs = scipys_paired_interval(
        tuple(columns.T),
        lambda *samples, axis: sum(w * np.mean(s, axis=axis) for w, s in zip(weights, samples, strict=True)),
    )
    assert ours is not None
    assert (ours.low, ours.high) == pytest.approx(theirs, abs=0.05)


def test_ratio_of_sums_matches_scipys_paired_bootstrap() -> None:
    columns = np.random.default_rng(0).normal([[2, 3], [4, 8]], size=(9, 2, 2))
    weights = np.array([0.5, 0.5])
    part, whole = columns[:, 0], columns[:, 1]
    ours = ratio(part, whole, weights)
    theirs = scipys_paired_interval(
        (part @ weights, whole @ weights),
        lambda above, below, axis: np.mean(above, axis=axis) / np.mean(below, axis=axis),
    )
    assert ours is not None
    assert ours.value == pytest.approx((part @ weights).sum() / (whole @ weights).sum())
    assert (ours.low, ours.high) == pytest.approx(theirs, abs=0.02)
    assert ours.targets == 9


def test_ratio_uses_results_that_both_tables_have() -> None:
    part, whole = np.array([[1.0], [np.nan], [3.0]]), np.array([[2.0], [100.0], [6.0]])
    found = ratio(part, whole, np.ones(1))
    assert found is not None
    assert (found.value, found.low, found.high, found.targets) == pytest.approx((0.5, 0.5, 0.5, 2))
    assert ratio(np.array([[np.nan]]), np.array([[1.0]]), np.ones(1)) is None


@pytest.mark.parametrize("count", [2, 6, 10, 30])
def test_tails_match_students_t(count: int) -> None:
    wide = np.sqrt(count / (count - 1)) * scipy.stats.t.ppf(0.975, count - 1)
    assert expanded_tail(count) == pytest.approx(scipy.stats.norm.cdf(-wide), rel=1e-9)


@pytest.mark.parametrize("count", [6, 10, 20])
def test_interval_covers_the_mean_in_95_percent(count: int) -> None:
    generator = np.random.default_rng(count)
    found = [mean(generator.normal(2.0, 1.0, size=count)) for _ in range(200)]
    covered = sum(each is not None and each.low <= 2.0 <= each.high for each in found)  # type: ignore[operator]
    assert covered >= 178  # 89 %: four standard errors below 95 %


@given(TABLES)
def test_negated_values_have_the_negated_interval(values: np.ndarray) -> None:
    weights = np.linspace(1, 2, values.shape[1])
    one, other = average(values, weights), average(-values, weights)
    assert one is not None
    assert other is not None
    assert (one.value, one.low, one.high) == pytest.approx((-other.value, -other.high, -other.low), abs=1e-9)  # type: ignore[operator]
    assert one.low - 1e-9 <= one.value <= one.high + 1e-9  # type: ignore[operator]


@given(TABLES, NATS, st.floats(0.125, 8, width=32))
def test_interval_shifts_and_scales_with_the_values(values: np.ndarray, shift: float, scale: float) -> None:
    weights = np.full(values.shape[1], 1 / values.shape[1])
    plain, moved = average(values, weights), average(scale * values + shift, weights)
    assert plain is not None
    assert moved is not None
    ends = [scale * end + shift for end in (plain.value, plain.low, plain.high)]  # type: ignore[operator]
    assert [moved.value, moved.low, moved.high] == pytest.approx(ends, abs=1e-6)


def test_target_with_a_missing_column_counts_in_the_others() -> None:
    values = np.array([[1.0, 5.0], [3.0, np.nan], [np.nan, 7.0], [np.nan, np.nan]])
    found = average(values, np.array([-1.0, 1.0]))
    assert found is not None
    assert found.value == 4.0
    assert found.targets == 3
    assert found.low is not None


def test_one_target_has_no_interval_and_no_target_has_no_mean() -> None:
    found = mean(np.array([3.0]))
    assert found is not None
    assert (found.value, found.low, found.high, found.outcome) == (3.0, None, None, "inconclusive")
    assert mean(np.array([np.nan])) is None
    assert mean(np.array([])) is None
    assert average(np.array([[1.0, np.nan], [2.0, np.nan]]), np.array([1.0, 1.0])) is None
