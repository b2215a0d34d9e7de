"""The cross-fitted peak on curves with a known peak, and against a plain loop over the halves."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from distprompt_tui.sweeps.peak import MAX_SPLITS, cross_fitted_weights, half_splits

CURVES = arrays(
    np.float64, st.tuples(st.integers(2, 7), st.integers(1, 5)), elements=st.integers(-50, 50).map(lambda x: x / 8)
)


@pytest.mark.parametrize(
    ("count", "divisions"), [(2, 1), (3, 3), (6, 10), (7, 35), (10, 126), (12, 462), (13, MAX_SPLITS)]
)
def test_every_division_occurs_once(count: int, divisions: int) -> None:
    splits = half_splits(count)
    assert splits.shape == (divisions, count)
    assert set(splits.sum(1)) == {count // 2}
    if divisions < MAX_SPLITS:
        halves = {frozenset((tuple(np.flatnonzero(split)), tuple(np.flatnonzero(~split)))) for split in splits}
        assert len(halves) == divisions
    assert (half_splits(count) == splits).all()


@given(CURVES)
def test_weights_match_a_plain_loop(curves: np.ndarray) -> None:
    count = len(curves)
    chosen: list[list[int]] = [[] for _ in range(count)]
    for first in combinations(range(count), count // 2):
        second = [target for target in range(count) if target not in first]
        if count % 2 == 0 and 0 not in first:
            continue
        for half, others in ((first, second), (second, first)):
            peak = int(
                np.argmax([np.mean([curves[target, point] for target in half]) for point in range(curves.shape[1])])
            )
            for target in others:
                chosen[target].append(peak)
    expected = [np.bincount(peaks, minlength=curves.shape[1]) / len(peaks) for peaks in chosen]
    assert cross_fitted_weights(curves) == pytest.approx(np.array(expected))


@given(CURVES, st.integers(-400, 400))
def test_target_takes_no_part_in_the_choice_of_its_peak(curves: np.ndarray, change: int) -> None:
    changed = curves.copy()
    changed[0] = change * np.arange(curves.shape[1])
    assert (cross_fitted_weights(changed)[0] == cross_fitted_weights(curves)[0]).all()


def test_known_peak_is_found_by_every_half() -> None:
    curves = np.array([0.0, 1.0, 3.0, 2.0]) + np.random.default_rng(0).normal(0, 0.05, (9, 4))
    assert (cross_fitted_weights(curves) == [0, 0, 1, 0]).all()


def test_flat_curve_has_no_peak_above_itself_but_a_picked_one_has() -> None:
    generator = np.random.default_rng(0)
    fitted, picked = [], []
    for _ in range(1000):
        curves = generator.normal(size=(10, 6))
        fitted.append(float((cross_fitted_weights(curves) * curves).sum(1).mean()))
        picked.append(float(curves.mean(0).max()))
    assert np.mean(fitted) == pytest.approx(0.0, abs=4 * np.std(fitted) / np.sqrt(1000))
    assert np.mean(picked) > 0.3
