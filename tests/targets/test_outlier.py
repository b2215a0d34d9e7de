"""`outlier`: the largest mass that an entropy allows, and targets close to it."""

from __future__ import annotations

from itertools import pairwise
from math import log
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from distprompt_tui.core.config.target_specs import Outlier
from distprompt_tui.core.errors import TargetError
from distprompt_tui.models.vocabulary import Vocabulary
from distprompt_tui.targets import build_target
from distprompt_tui.targets.entropy import entropy
from distprompt_tui.targets.outlier import check_mass, largest_mass


@given(
    size=st.sampled_from([12, 100, 2000]),
    count=st.integers(1, 10),
    fraction=st.floats(0, 1),
    delta=st.floats(1e-6, 0.5),
    seed=st.integers(0, 2**32),
)
@example(size=100, count=10, fraction=log(10) / log(100), delta=0.02, seed=0)  # h = ln k
@example(size=100, count=10, fraction=log(10) / log(100) + 1e-9, delta=0.02, seed=0)
@example(size=12, count=1, fraction=1e-12, delta=0.5, seed=0)
@settings(max_examples=150)
def test_outliers_have_nearly_the_largest_mass(
    word_vocabulary: Any, size: int, count: int, fraction: float, delta: float, seed: int
) -> None:
    requested = fraction * log(size)
    target = build_target(Outlier(entropy=requested, count=count, delta=delta, seed=seed), word_vocabulary(size))
    bound = largest_mass(requested, count, size)
    held = np.sort(target.probabilities)[::-1][:count].sum()  # at least the mass of the outliers
    mass = float(target.notes["outlier_mass"])
    assert bound - delta <= mass <= bound + 1e-12
    assert mass <= held + 1e-12
    assert target.notes["outlier_mass_bound"] == bound
    assert abs(target.entropy - requested) <= 1e-6


@given(st.lists(st.floats(1e-6, 1), min_size=3, max_size=40), st.integers(1, 5), st.floats(0.1, 8))
def test_largest_mass_is_an_upper_bound(weights: list[float], count: int, power: float) -> None:
    """The top k tokens of any distribution have at most mass m(H, k, n)."""
    assume(count < len(weights))
    p = np.array(weights) ** power
    p /= p.sum()
    top = np.sort(p)[::-1][:count].sum()
    assert top <= largest_mass(entropy(p), count, p.size) + 1e-9


@pytest.mark.parametrize(("count", "size"), [(1, 2), (1, 50), (3, 50), (10, 1000)])
@pytest.mark.parametrize("fraction", [0.05, 0.3, 0.6, 0.9, 0.99])
def test_largest_mass_agrees_with_brute_force(count: int, size: int, fraction: float) -> None:
    requested = fraction * log(size)
    best = 0.0
    for mass in np.linspace(
        count / size, 1, 20_001
    ):  # k equal tokens and equal others: the largest entropy at this mass
        levels = np.array([mass / count] * count + [(1 - mass) / (size - count)] * (size - count))
        if entropy(levels) >= requested:
            best = max(best, mass)
    assert largest_mass(requested, count, size) == pytest.approx(best, abs=1e-4)


def test_mass_of_a_single_outlier_agrees_with_the_reference() -> None:
    assert largest_mass(6.0, 1, 49_152) == pytest.approx(0.5087, abs=1e-4)
    assert largest_mass(log(10), 10, 49_152) == 1.0
    assert largest_mass(log(49_152), 10, 49_152) == pytest.approx(10 / 49_152)


def test_named_outliers_have_equal_probabilities(word_vocabulary: Any) -> None:
    target = build_target(Outlier(entropy=4.0, tokens=("t3", "id:7", 9)), word_vocabulary(500, frozenset({0})))
    shares = target.probabilities[[4, 7, 9]]  # row 0 is missing: t3 is row 4
    np.testing.assert_allclose(shares, shares[0])
    assert shares.sum() == pytest.approx(target.notes["outlier_mass"])
    assert shares.min() > np.delete(target.probabilities, [4, 7, 9]).max()
    assert target.notes["outliers"] == "'t3', 't6', 't8'"


def test_below_ln_k_outliers_are_geometric(word_vocabulary: Any) -> None:
    target = build_target(Outlier(entropy=1.0, tokens=("t5", "t2", "t8", "t1")), word_vocabulary(100))
    shares = target.probabilities[[5, 2, 8, 1]]  # in the order of the names
    assert shares.sum() == pytest.approx(1)
    ratios = [after / before for before, after in pairwise(shares)]
    assert ratios == pytest.approx([ratios[0]] * 3)
    assert ratios[0] < 1
    assert target.entropy == pytest.approx(1.0, abs=1e-9)


def test_all_tokens_can_be_outliers(word_vocabulary: Any) -> None:
    target = build_target(Outlier(entropy=1.0, count=5), word_vocabulary(5))
    assert target.notes["outlier_mass"] == 1.0
    assert target.entropy == pytest.approx(1.0)


def test_other_tokens_are_random(word_vocabulary: Any) -> None:
    rest = np.delete(build_target(Outlier(entropy=5.0, tokens=("t0",)), word_vocabulary(1000)).probabilities, 0)
    assert rest.std() > 0.05 * rest.mean()


def test_control_tokens_are_not_drawn(byte_level: Vocabulary) -> None:
    assert byte_level.special_ids
    every_other = byte_level.size - len(byte_level.special_ids)
    target = build_target(Outlier(entropy=3.0, count=every_other), byte_level)
    assert not target.probabilities[list(byte_level.special_ids)].any()
    with pytest.raises(TargetError, match=f"330 outliers cannot be drawn from {every_other} tokens"):
        build_target(Outlier(entropy=3.0, count=330), byte_level)


@pytest.mark.parametrize(
    ("tokens", "complaint"),
    [
        (("t1", "id:1"), "are the same token"),
        (("t1", "t1"), "are the same token"),
        ((500,), "outside this vocabulary"),
    ],
)
def test_invalid_tokens_are_rejected(tokens: tuple[str | int, ...], complaint: str, word_vocabulary: Any) -> None:
    with pytest.raises(TargetError, match=complaint):
        build_target(Outlier(entropy=2.0, tokens=tokens), word_vocabulary(50))


def test_too_small_mass_is_rejected() -> None:
    check_mass(0.48, 0.5, 0.0201)
    for mass in (0.47, float("nan")):
        with pytest.raises(TargetError, match=r"less than 0\.5000 - 0\.02"):
            check_mass(mass, 0.5, 0.02)
