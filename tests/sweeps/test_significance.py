"""Sign-flip test and Holm's correction against SciPy, plain references and simulation."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from distprompt_tui.sweeps import significance
from distprompt_tui.sweeps.significance import holm, sign_flip_p

VALUES = st.lists(st.integers(-160, 160).map(lambda value: value / 8), min_size=2, max_size=8)  # sums are exact
P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=8)


@given(VALUES)
def test_p_value_counts_all_sign_assignments(values: list[float]) -> None:
    sums = [np.dot(signs, values) for signs in product((1, -1), repeat=len(values))]
    expected = np.mean([total >= sum(values) for total in sums])
    assert sign_flip_p(np.array(values)) == expected


@pytest.mark.parametrize("count", [2, 6, 11])
def test_p_value_matches_scipy(count: int) -> None:
    values = np.random.default_rng(count).normal(0.5, 1.0, count)
    found = scipy.stats.permutation_test(
        (values,),
        lambda sample, axis: sample.mean(axis=axis),
        permutation_type="samples",
        alternative="greater",
        n_resamples=2**count,
        vectorized=True,
    )
    assert sign_flip_p(values) == pytest.approx(found.pvalue, abs=1e-12)


def test_positive_values_have_the_smallest_p_value() -> None:
    assert sign_flip_p(np.linspace(1, 2, 6)) == 1 / 64
    assert sign_flip_p(np.linspace(1, 2, 10)) == 1 / 1024
    assert sign_flip_p(-np.linspace(1, 2, 10)) == 1.0
    assert sign_flip_p(np.zeros(4)) == 1.0
    assert sign_flip_p(np.array([1.0])) is None


def test_large_samples_are_estimated(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).normal(0.3, 1.0, significance.EXACT_MAX + 1)
    estimate = sign_flip_p(values)
    monkeypatch.setattr(significance, "EXACT_MAX", len(values))
    exact = sign_flip_p(values)
    assert exact is not None
    assert 0.01 < exact < 0.5
    assert estimate != exact
    assert estimate == pytest.approx(exact, abs=4 * np.sqrt(exact / significance.RESAMPLES))


@pytest.mark.parametrize("level", [0.025, 0.1])
def test_error_rate_is_at_most_the_level_for_symmetric_values(level: float) -> None:
    """Two of three values are far out; the t test's error is not controlled there."""
    generator = np.random.default_rng(0)
    samples = generator.standard_t(1.5, size=(4000, 10))
    rate = np.mean([(sign_flip_p(sample) or 0.0) <= level for sample in samples])
    assert rate <= level + 4 * np.sqrt(level / len(samples))
    assert rate >= 0.8 * level  # it is not conservative either


@given(P_VALUES)
def test_holm_matches_its_definition(p_values: list[float]) -> None:
    ordered = sorted(p_values)
    scaled = [min(1.0, (len(ordered) - rank) * p) for rank, p in enumerate(ordered)]
    expected = [max(scaled[: ordered.index(p) + 1]) for p in p_values]
    assert holm(p_values) == pytest.approx(expected, abs=1e-12)


@given(P_VALUES, st.floats(0.001, 0.999))
def test_holm_rejects_like_the_step_down_procedure(p_values: list[float], level: float) -> None:
    rejected: set[int] = set()
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda place: p_values[place])):
        if p_values[place] * (len(p_values) - rank) > level:
            break
        rejected.add(place)
    assert {place for place, p in enumerate(holm(p_values)) if p <= level} == rejected


@settings(max_examples=30)
@given(P_VALUES, st.randoms(use_true_random=False))
def test_holm_does_not_depend_on_the_order(p_values: list[float], order: object) -> None:
    places = order.sample(range(len(p_values)), len(p_values))  # type: ignore[attr-defined]
    again = holm([p_values[place] for place in places])
    assert again == [holm(p_values)[place] for place in places]


def test_holm_keeps_the_probability_of_any_false_rejection() -> None:
    generator = np.random.default_rng(0)
    any_false = np.mean([min(holm(generator.uniform(size=8).tolist())) <= 0.05 for _ in range(4000)])
    assert any_false == pytest.approx(1 - (1 - 0.05 / 8) ** 8, abs=4 * np.sqrt(0.05 / 4000))
    assert holm([]) == []
