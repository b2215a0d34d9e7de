"""`lm`, `shuffled` and `reachable`, with a fake model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distprompt_tui.core.config.target_specs import (
    Explicit,
    Lm,
    Mixture,
    MixturePart,
    Reachable,
    Shuffled,
    Uniform,
    Vanilla,
)
from distprompt_tui.core.errors import TargetError
from distprompt_tui.models.vocabulary import Vocabulary
from distprompt_tui.targets import build_target, needs_model


def random_distribution(size: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.full(size, 0.3))


def test_lm_is_the_models_distribution_without_padding_rows(word_vocabulary: Any, fake_model: Any) -> None:
    own = random_distribution(51)
    own[3] = 0.1
    own /= own.sum()
    target = build_target(Lm(text="hello"), word_vocabulary(50, frozenset({3})), fake_model({"hello": own}))
    kept = np.delete(own, 3)
    np.testing.assert_allclose(np.delete(target.probabilities, 3), kept / kept.sum())
    assert target.probabilities[3] == 0
    assert target.notes["mass_without_token"] == pytest.approx(own[3])
    assert "'hello'" in target.recipe


@given(requested=st.floats(0.01, 3.9))
def test_lm_at_an_entropy(requested: float, word_vocabulary: Any, fake_model: Any) -> None:
    own = random_distribution(50)
    target = build_target(Lm(text="a", entropy=requested), word_vocabulary(50), fake_model({"a": own}))
    assert target.entropy == pytest.approx(requested, abs=1e-6)
    assert np.all(np.diff(target.probabilities[np.argsort(own)]) >= 0)


def test_lm_with_impossible_entropy_is_rejected(word_vocabulary: Any, fake_model: Any) -> None:
    own = np.array([0.5, 0.5, 0, 0, 0])
    with pytest.raises(TargetError, match="impossible entropy"):
        build_target(Lm(text="a", entropy=1.5), word_vocabulary(5), fake_model({"a": own}))
    with pytest.raises(TargetError, match="impossible entropy"):
        build_target(Lm(text="a", entropy=0.1), word_vocabulary(5), fake_model({"a": own}))


@given(seed=st.integers(0, 2**63 - 1))
def test_shuffled_permutes_probabilities(seed: int, word_vocabulary: Any, fake_model: Any) -> None:
    vocabulary = word_vocabulary(50, frozenset({3}))
    model = fake_model({"a": random_distribution(51)})
    own = build_target(Lm(text="a"), vocabulary, model)
    dealt, again = (build_target(Shuffled(text="a", seed=seed), vocabulary, model) for _ in range(2))
    np.testing.assert_array_equal(np.sort(dealt.probabilities), np.sort(own.probabilities))
    np.testing.assert_array_equal(dealt.probabilities, again.probabilities)
    assert dealt.probabilities[3] == 0
    assert np.abs(dealt.probabilities - own.probabilities).max() > 0
    assert dealt.entropy == pytest.approx(own.entropy)


def test_shuffled_at_an_entropy(word_vocabulary: Any, fake_model: Any) -> None:
    model = fake_model({"a": random_distribution(50)})
    assert build_target(Shuffled(text="a", entropy=2.5), word_vocabulary(50), model).entropy == pytest.approx(2.5)


def test_reachable_uses_a_random_prompt(word_vocabulary: Any, fake_model: Any) -> None:
    own = random_distribution(50)
    model = fake_model({"soft": own})
    target = build_target(Reachable(length=4, seed=9), word_vocabulary(50), model)
    np.testing.assert_allclose(target.probabilities, own)
    assert model.calls == [(4, 9)]


def test_distribution_of_another_model_is_transferred(
    byte_level: Vocabulary, sentencepiece: Vocabulary, fake_model: Any
) -> None:
    theirs = random_distribution(sentencepiece.size)
    model = fake_model({}, {"theirs": (fake_model({"a": theirs}), sentencepiece)})
    target = build_target(Lm(text="a", model="theirs", entropy=2.0), byte_level, model)
    assert target.entropy == pytest.approx(2.0, abs=1e-6)
    notes = target.notes
    shares = [float(notes[f"{route}_mass"]) for route in ("matched", "prefix", "lost")]
    assert sum(shares) == pytest.approx(1)
    assert min(shares) > 0
    assert notes["mass_without_token"] == pytest.approx(theirs[-1])
    assert "theirs" in target.recipe


@pytest.mark.parametrize(
    ("own", "complaint"),
    [
        ([0.5, 0.5, 0.0], "3 probabilities"),
        ([float("nan"), 0.5, 0.25, 0.25, 0.0], "not a distribution"),
        ([-0.5, 0.5, 0.5, 0.5, 0.0], "not a distribution"),
        ([0.0, 0.0, 0.0, 0.0, 0.0], "not a distribution"),
    ],
)
def test_invalid_model_output_is_rejected(
    own: list[float], complaint: str, word_vocabulary: Any, fake_model: Any
) -> None:
    with pytest.raises(TargetError, match=complaint):
        build_target(Lm(text="a"), word_vocabulary(5), fake_model({"a": np.array(own)}))


NEEDING = [
    Lm(text="a"),
    Shuffled(text="a"),
    Reachable(),
    Explicit(probabilities={"t1": 0.5}, rest="model"),
    Mixture(
        parts=(
            MixturePart(weight=1, target=Uniform()),
            MixturePart(weight=1, target=Mixture(parts=(MixturePart(weight=1, target=Reachable()),))),
        )
    ),
]
NOT_NEEDING = [
    Vanilla(entropy=1),
    Explicit(probabilities={"t1": 0.5}),
    Mixture(parts=(MixturePart(weight=1, target=Uniform()),)),
]


@pytest.mark.parametrize("spec", NEEDING, ids=lambda spec: spec.family)
def test_target_that_needs_a_model_is_rejected_without_one(spec: Any, word_vocabulary: Any) -> None:
    assert needs_model(spec)
    with pytest.raises(TargetError, match="requires a loaded language model"):
        build_target(spec, word_vocabulary(50))


@pytest.mark.parametrize("spec", NOT_NEEDING, ids=lambda spec: spec.family)
def test_other_targets_need_no_model(spec: Any, word_vocabulary: Any) -> None:
    assert not needs_model(spec)
    assert build_target(spec, word_vocabulary(50)).family == spec.family
