"""`vanilla`, `temperature`, `outlier` and `zipf` reach every requested entropy."""

from __future__ import annotations

from collections.abc import Callable
from math import log
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distprompt_tui.core.config.target_specs import OneHot, Outlier, TargetSpec, Temperature, Uniform, Vanilla, Zipf
from distprompt_tui.core.errors import TargetError
from distprompt_tui.models.vocabulary import Vocabulary
from distprompt_tui.targets import build_target
from distprompt_tui.targets.entropy import scale_to_entropy
from distprompt_tui.targets.vanilla import descend

FAMILIES: dict[str, Callable[[float, int], TargetSpec]] = {
    "vanilla": lambda entropy, seed: Vanilla(entropy=entropy, seed=seed),
    "temperature": lambda entropy, seed: Temperature(entropy=entropy, seed=seed),
    "outlier, named": lambda entropy, seed: Outlier(entropy=entropy, tokens=("t1",), seed=seed),
    "outlier, drawn": lambda entropy, seed: Outlier(entropy=entropy, count=2, seed=seed),
    "zipf": lambda entropy, seed: Zipf(entropy=entropy, seed=seed),
}
every_family = pytest.mark.parametrize("family", FAMILIES)
fractions = st.floats(0, 1) | st.sampled_from([0.0, 1.0, 1e-6, 1 - 1e-6, 0.02, 0.999])
seeds = st.integers(0, 2**63 - 1)


@every_family
@given(
    size=st.sampled_from([2, 3, 10, 200, 3000]),
    missing=st.frozensets(st.integers(0, 5), max_size=4),
    fraction=fractions,
    seed=seeds,
)
@settings(max_examples=60)
def test_entropy_is_reached(
    family: str, word_vocabulary: Any, size: int, missing: frozenset[int], fraction: float, seed: int
) -> None:
    vocabulary = word_vocabulary(size, missing)
    requested = fraction * log(size)
    target = build_target(FAMILIES[family](requested, seed), vocabulary)
    p = target.probabilities
    assert p.shape == (size + len(missing),)
    assert p.dtype == np.float64
    assert p.min() >= 0
    assert abs(p.sum() - 1) <= 1e-12
    assert not p[~vocabulary.allowed].any()
    assert abs(-np.sum(p[p > 0] * np.log(p[p > 0])) - requested) <= 1e-6
    assert target.entropy == pytest.approx(requested, abs=1e-6)


@every_family
def test_target_is_deterministic_given_the_seed(family: str, word_vocabulary: Any) -> None:
    vocabulary = word_vocabulary(300)
    first, again, other = (build_target(FAMILIES[family](3.0, seed), vocabulary).probabilities for seed in (7, 7, 8))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-4


@every_family
def test_extreme_entropies_are_one_hot_and_uniform(family: str, word_vocabulary: Any) -> None:
    vocabulary = word_vocabulary(50, frozenset({3}))
    certain = build_target(FAMILIES[family](0.0, 0), vocabulary).probabilities
    assert np.count_nonzero(certain) == 1
    assert certain.max() == 1.0
    level = build_target(FAMILIES[family](log(50), 0), vocabulary).probabilities
    np.testing.assert_allclose(level[vocabulary.allowed], 1 / 50, rtol=1e-6)


@every_family
def test_entropy_above_the_maximum_is_rejected(family: str, word_vocabulary: Any) -> None:
    vocabulary = word_vocabulary(50, frozenset({3}))  # a missing row adds no entropy: ln 50, not ln 51
    build_target(FAMILIES[family](3.9129, 0), vocabulary)  # ln 50 = 3.91202..., rounded up
    with pytest.raises(TargetError, match=r"impossible entropy of 3\.92 nats: .* 0\.0000 to 3\.9120 nats"):
        build_target(FAMILIES[family](3.92, 0), vocabulary)


def test_single_token_has_entropy_zero(word_vocabulary: Any) -> None:
    for spec in (Vanilla(entropy=0.0), Temperature(entropy=0.0), Zipf(entropy=0.0), Outlier(entropy=0.0, count=1)):
        assert build_target(spec, word_vocabulary(1)).probabilities.tolist() == [1.0]


def test_recipe_is_one_sentence_with_the_tolerance(word_vocabulary: Any) -> None:
    for make in FAMILIES.values():
        recipe = build_target(make(2.0, 5), word_vocabulary(50)).recipe
        assert "0.001 nats" in recipe
        assert recipe.endswith(".")
        assert "seed 5" in recipe


def test_targets_are_read_only(word_vocabulary: Any) -> None:
    target = build_target(Uniform(), word_vocabulary(5))
    with pytest.raises(ValueError, match="read-only"):
        target.probabilities[0] = 1


@pytest.mark.parametrize("requested", [1.0, 3.0, 5.0, 6.0])
def test_vanilla_moves_the_lower_mode_as_a_whole(requested: float) -> None:
    """Sign descent moves the lower mode as a whole; temperature would stretch it by `inverse`."""
    before = np.random.default_rng(0).standard_normal(3000)
    lower = [0.1, 0.7]  # quantiles of the lower mode
    stretch = np.ptp(np.quantile(descend(before, requested), lower)) / np.ptp(np.quantile(before, lower))
    _, inverse = scale_to_entropy(before, requested)
    assert stretch < 1
    assert inverse > 2


def test_vanilla_has_two_modes() -> None:
    after = descend(np.random.default_rng(0).standard_normal(3000), 7.0)
    counts, _ = np.histogram(after, bins=12)
    valley = counts[6:10].argmin() + 6
    assert 20 * counts[valley] < min(counts[:valley].max(), counts[valley:].max())


def test_zipf_is_a_power_of_the_rank(word_vocabulary: Any) -> None:
    vocabulary = word_vocabulary(100)
    given_ = build_target(Zipf(exponent=1.5, seed=4), vocabulary)
    ranked = np.sort(given_.probabilities)[::-1]
    np.testing.assert_allclose(ranked / ranked[0], np.arange(1, 101) ** -1.5)
    fitted = build_target(Zipf(entropy=given_.entropy, seed=4), vocabulary)
    np.testing.assert_allclose(fitted.probabilities, given_.probabilities, rtol=1e-9)
    assert fitted.notes["exponent"] == pytest.approx(1.5)


@pytest.mark.parametrize("exponent", [0.0, 1e6, 1e300])
def test_zipf_accepts_any_exponent(exponent: float, word_vocabulary: Any) -> None:
    p = build_target(Zipf(exponent=exponent), word_vocabulary(100)).probabilities
    assert p.max() == pytest.approx(1.0 if exponent else 0.01)


def test_uniform_excludes_rows_without_a_token(word_vocabulary: Any) -> None:
    target = build_target(Uniform(), word_vocabulary(4, frozenset({1})))
    assert target.probabilities.tolist() == [0.25, 0.0, 0.25, 0.25, 0.25]
    assert target.entropy == pytest.approx(log(4))


def test_one_hot(word_vocabulary: Any) -> None:
    vocabulary = word_vocabulary(4, frozenset({1}))
    for token in ("t2", 3, "id:3"):
        target = build_target(OneHot(token=token), vocabulary)
        assert target.probabilities.tolist() == [0, 0, 0, 1, 0]
        assert target.entropy == 0.0


@pytest.mark.parametrize("token", [1, 5, 99, "id:1", "id:99"])
def test_one_hot_on_a_row_without_a_token_is_rejected(token: str | int, word_vocabulary: Any) -> None:
    with pytest.raises(TargetError, match="outside this vocabulary"):
        build_target(OneHot(token=token), word_vocabulary(4, frozenset({1})))


def test_token_beyond_the_head_is_rejected(word_vocabulary: Any) -> None:
    """Such as Gemma's `<image_soft_token>`."""
    narrow = Vocabulary(word_vocabulary(5).tokenizer, 3)
    assert build_target(Uniform(), narrow).probabilities.shape == (3,)
    with pytest.raises(TargetError, match="outside this vocabulary of 3 tokens"):
        build_target(OneHot(token="t4"), narrow)


def test_vocabulary_without_tokens_is_rejected(word_vocabulary: Any) -> None:
    with pytest.raises(TargetError, match="no tokens"):
        build_target(Uniform(), word_vocabulary(0, frozenset({0, 1})))
