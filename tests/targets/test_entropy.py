"""Entropy, and scaling of distributions to an entropy by temperature."""

from __future__ import annotations

from math import log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from distprompt_tui.core.errors import TargetError
from distprompt_tui.targets.entropy import check_entropy, entropy, rescale, scale_to_entropy, solve_decreasing

fractions = st.floats(0, 1) | st.sampled_from([0.0, 1.0, 1e-9, 1 - 1e-9])
seeds = st.integers(0, 2**63 - 1)
sizes = st.sampled_from([2, 3, 7, 100, 3000])


def normal_logits(seed: int, size: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(size)


def test_entropy_of_known_distributions() -> None:
    assert entropy(np.array([0.0, 1.0, 0.0])) == 0.0
    assert str(entropy(np.array([1.0]))) == "0.0"  # not -0.0
    assert entropy(np.full(8, 1 / 8)) == pytest.approx(log(8), abs=1e-14)
    assert entropy(np.array([0.5, 0.25, 0.25])) == pytest.approx(1.5 * log(2), abs=1e-14)


@given(size=sizes, seed=seeds, fraction=fractions)
def test_temperature_reaches_every_entropy_and_keeps_the_order(size: int, seed: int, fraction: float) -> None:
    logits = normal_logits(seed, size)
    requested = fraction * log(size)
    probabilities, inverse = scale_to_entropy(logits, requested)
    assert abs(entropy(probabilities) - requested) <= 1e-9
    assert abs(probabilities.sum() - 1) <= 1e-12
    assert np.all(np.diff(probabilities[np.argsort(logits)]) >= 0)
    assert np.isfinite(inverse)
    assert inverse > 0


@given(size=sizes, seed=seeds)
def test_ends_are_exact(size: int, seed: int) -> None:
    logits = normal_logits(seed, size)
    certain, _ = scale_to_entropy(logits, 0.0)
    assert certain[logits.argmax()] == 1.0
    level, _ = scale_to_entropy(logits, log(size))
    assert np.ptp(level) <= 1e-6 / size


@given(arrays(np.float64, 5, elements=st.floats(-300, 300).map(lambda logit: round(logit, 9))), fractions)
def test_any_logits_give_the_requested_entropy_or_an_error(logits: np.ndarray, fraction: float) -> None:
    requested = fraction * log(5)
    least = log(np.count_nonzero(logits == logits.max()))
    if requested < least - 1e-3:
        with pytest.raises(TargetError, match="impossible entropy"):
            scale_to_entropy(logits, requested)
    else:
        check_entropy(scale_to_entropy(logits, requested)[0], requested)


@given(size=sizes, seed=seeds)
def test_rescaling_to_the_same_entropy_changes_nothing(size: int, seed: int) -> None:
    probabilities, _ = scale_to_entropy(normal_logits(seed, size), 0.6 * log(size))
    again, inverse = rescale(probabilities, entropy(probabilities))
    np.testing.assert_allclose(again, probabilities, rtol=1e-6, atol=1e-300)
    assert inverse == pytest.approx(1, abs=1e-6)


def test_zero_probabilities_stay_zero() -> None:
    given_ = np.array([0.0, 0.7, 0.2, 0.0, 0.1])
    widest, _ = rescale(given_, log(3))
    np.testing.assert_allclose(widest, [0, 1 / 3, 1 / 3, 0, 1 / 3], atol=1e-9)
    with pytest.raises(TargetError, match=r"0\.0000 to 1\.0986"):
        rescale(given_, log(5))


def test_ties_at_the_top_bound_the_entropy_from_below() -> None:
    tied = np.array([0.4, 0.4, 0.2])
    np.testing.assert_allclose(rescale(tied, log(2))[0], [0.5, 0.5, 0], atol=1e-12)
    with pytest.raises(TargetError, match=r"0\.6931 to 1\.0986"):
        rescale(tied, 0.5)


def test_rounded_end_is_accepted() -> None:
    logits = normal_logits(0, 49_152)
    for rounded in (10.803, 10.802):
        check_entropy(scale_to_entropy(logits, rounded)[0], rounded)
    with pytest.raises(TargetError, match="impossible entropy"):
        scale_to_entropy(logits, log(49_152) + 2e-3)


@pytest.mark.parametrize("probabilities", [[0.5, 0.5], [float("nan"), 1.0]])
def test_wrong_entropy_is_rejected(probabilities: list[float]) -> None:
    with pytest.raises(TargetError, match=r"a difference of more than 0\.001"):
        check_entropy(np.array(probabilities), log(2) + 1.1e-3)


def test_solve_decreasing_returns_the_root_or_the_nearer_end() -> None:
    assert solve_decreasing(lambda x: -(x**3), -8, 0, 10) == pytest.approx(2, abs=1e-14)
    assert solve_decreasing(lambda x: -x, 1, 0, 10) == pytest.approx(0, abs=1e-15)
    assert solve_decreasing(lambda x: -x, -11, 0, 10) == 10
