"""Decades, densities and ranks keep every token and the whole divergence."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from distprompt_tui.core.metrics.distribution_summary import (
    LEVELS,
    Decade,
    LogRange,
    decades,
    density,
    largest_of_cell,
    merge_decades,
    rank_curves,
)
from distprompt_tui.core.metrics.kl_terms import kl_contributions

sizes = st.integers(1, 200)
seeds = st.integers(0, 2**32 - 1)
scales = st.floats(0.01, 60)
sides = st.integers(2, 40)


def random_pair(size: int, seed: int, scale: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """p with some zeros, a positive q, and the KL contributions."""
    rng = np.random.default_rng(seed)
    logits = scale * rng.standard_normal((2, size))
    p, q = np.exp(logits - logits.max(axis=1, keepdims=True))
    p[(rng.random(size) < 0.2) & (p < p.max())] = 0
    p, q = p / p.sum(), np.maximum(q / q.sum(), 1e-300)
    return p, q, kl_contributions(p, q)


def plain_kl(p: np.ndarray, q: np.ndarray) -> float:
    return math.fsum(a * (math.log(a) - math.log(b)) for a, b in zip(p.tolist(), q.tolist(), strict=True) if a > 0)


@given(sizes, seeds, scales, st.integers(1, 20))
def test_decades_sum_to_the_divergence(size: int, seed: int, scale: float, rows: int) -> None:
    p, q, contributions = random_pair(size, seed, scale)
    found = decades(p, q, contributions)
    for parts in (found, merge_decades(found, rows)):
        assert sum(part.totals.count for part in parts) == size
        assert sum(part.totals.target for part in parts) == pytest.approx(1)
        assert sum(part.totals.achieved for part in parts) == pytest.approx(1)
        assert sum(part.totals.contribution for part in parts) == pytest.approx(plain_kl(p, q), abs=1e-9)
    assert len(merge_decades(found, rows)) <= rows
    assert [part.high for part in found if part.high is not None] == sorted(
        (part.high for part in found if part.high is not None), reverse=True
    )


@given(st.lists(st.floats(0, 1), min_size=1, max_size=60))
@example([1.0, 0.1, 0.01, 1e-3, 1e-5, 1e-300, 5e-324, 0.0])
@example([math.nextafter(0.1, 0), math.nextafter(0.1, 1), math.nextafter(1e-7, 0), 1e-7])
def test_a_probability_lies_in_its_decade(values: list[float]) -> None:
    """Also at powers of ten, where a logarithm may be rounded to the other side."""
    for value in values:
        (found,) = decades(np.array([value]), np.array([0.5]), np.array([0.0]))
        if value == 0:
            assert (found.low, found.high) == (None, None)
        else:
            assert found.low is not None
            assert found.high is not None
            assert 10.0**found.low <= value
            assert value < 10.0**found.high or (value, found.high) == (1.0, 0)


def test_merged_decades_keep_those_with_zero_probability() -> None:
    p = np.array([0.5, 0.05, 5e-3, 5e-4, 0.0])
    found = merge_decades(decades(p, p, np.arange(5.0)), 3)
    assert [(part.low, part.high) for part in found] == [(-1, 0), (None, -1), (None, None)]
    assert [part.totals.contribution for part in found] == [0, 6, 4]
    (everything,) = merge_decades(found, 1)
    assert everything == Decade(None, 0, sum((part.totals for part in found[1:]), found[0].totals))


@given(sizes, seeds, scales, sides, sides)
def test_density_counts_every_token(size: int, seed: int, scale: float, rows: int, columns: int) -> None:
    p, q, contributions = random_pair(size, seed, scale)
    made = density(p, q, contributions, rows, columns)
    assert (made.rows, made.columns) == (rows, columns)
    assert made.counts.sum() == size
    assert made.contributions.sum() == pytest.approx(plain_kl(p, q), abs=1e-9)
    lit = np.bitwise_count(made.dots)
    assert ((lit > 0) == (made.counts > 0)).all()
    assert (lit <= np.minimum(made.levels, made.counts)).all()
    assert made.levels.max() <= LEVELS
    for cell in np.unique(made.cells).tolist():
        tokens = largest_of_cell(made.cells, cell, contributions, size)
        assert len(tokens) == made.counts.reshape(-1)[cell]
        assert (np.diff(contributions[tokens]) <= 0).all()
        few = largest_of_cell(made.cells, cell, contributions, 3)
        assert contributions[few].tolist() == contributions[tokens[:3]].tolist()


@given(sizes, seeds, scales, sides, sides)
def test_cells_are_where_the_probabilities_are(size: int, seed: int, scale: float, rows: int, columns: int) -> None:
    p, q, contributions = random_pair(size, seed, scale)
    made = density(p, q, contributions, rows, columns)
    row, column = np.divmod(made.cells, columns)
    assert ((column == 0) >= (p == 0)).all()
    if made.zero_column:
        assert ((column == 0) == (p == 0)).all()
    for values, places, sign in ((p, column, 1), (q, -row, -1)):
        order = np.argsort(values, kind="stable")
        assert (np.diff(places[order]) >= 0).all(), sign


def test_the_diagonal_of_equal_distributions_is_the_diagonal() -> None:
    p = np.geomspace(1e-8, 0.5, 200)
    made = density(p, p, np.zeros(200), 16, 16)
    assert (np.fliplr(made.counts) == np.diag(np.diag(np.fliplr(made.counts)))).all()


def test_zeros_have_a_row_and_a_column() -> None:
    p, q = np.array([0.5, 0.0, 0.5, 0.0]), np.array([0.4, 0.6, 0.0, 0.0])
    made = density(p, q, np.zeros(4), 5, 6)
    assert made.zero_column
    assert made.zero_row
    assert made.counts[-1, 0] == 1
    assert made.counts[-1, 1:].sum() == 1
    assert made.counts[:-1, 0].sum() == 1
    assert made.counts[:-1, 1:].sum() == 1


def axis_of(values: NDArray[np.float64]) -> LogRange:
    """The axis of the probability by rank."""
    return rank_curves(values, values, 2).down


def test_a_few_tiny_values_do_not_stretch_an_axis() -> None:
    values = np.concatenate([np.geomspace(1e-6, 1e-2, 5_000), [1e-40, 1e-38, 0.0]])
    assert axis_of(values) == LogRange(-6, -2, is_cut=True)
    assert axis_of(values[:-3]) == LogRange(-6, -2)
    assert axis_of(np.array([1e-40, 0.3])) == LogRange(-40, 0)
    assert axis_of(np.array([0.0])) == LogRange(-1, 0)
    assert axis_of(np.full(10, 0.1)) == LogRange(-2, -1)


@given(st.integers(-300, 0), st.integers(1, 300))
def test_axes_hold_their_values(power: int, span: int) -> None:
    low = max(power - span, -300)
    axis = axis_of(np.array([10.0**low * 2, 10.0**power]))
    assert axis.low <= low + 0.4
    assert axis.high >= power
    assert axis.high > axis.low


@given(sizes, seeds, st.floats(0.01, 20), st.integers(1, 80))
def test_curves_are_the_sorted_probabilities(size: int, seed: int, scale: float, points: int) -> None:
    p, q, _ = random_pair(size, seed, scale)
    made = rank_curves(p, q, points)
    ranks = np.rint(np.exp(np.linspace(0, math.log(size), points))).astype(int)
    assert made.size == size
    assert made.zeros == (int((p == 0).sum()), 0)
    for values, curve in ((p, made.target), (q, made.achieved)):
        logs = np.sort(np.log10(values[values > 0]))[::-1]
        known = ranks <= len(logs)
        assert np.isnan(curve).tolist() == (~known).tolist()
        assert curve[known] == pytest.approx(logs[ranks[known] - 1], abs=1e-4 + (logs[0] - logs[-1]) / 4_000)


def test_a_distribution_of_zeros_has_no_curve() -> None:
    made = rank_curves(np.zeros(4), np.full(4, 0.25), 5)
    assert np.isnan(made.target).all()
    assert made.achieved == pytest.approx(np.full(5, math.log10(0.25)))
