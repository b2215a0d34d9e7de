"""`mixture`: weighted sums."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from distprompt_tui.core.config.target_specs import Mixture, OneHot, Uniform, Vanilla
from distprompt_tui.core.errors import TargetError
from distprompt_tui.targets import build_target


def mixture(*parts: tuple[float, Any]) -> Mixture:
    return Mixture.model_validate(
        {"parts": [{"weight": weight, "target": target.model_dump()} for weight, target in parts]}
    )


def test_mixture_is_the_weighted_sum(word_vocabulary: Any) -> None:
    spec = mixture((3, OneHot(token="t1")), (1, Uniform()))
    target = build_target(spec, word_vocabulary(4, frozenset({0})))
    np.testing.assert_allclose(target.probabilities, [0, 0.0625, 0.8125, 0.0625, 0.0625])
    assert target.notes["part_1_weight"] == 0.75


def test_mixture_contains_the_notes_of_its_parts(word_vocabulary: Any) -> None:
    target = build_target(mixture((1, Vanilla(entropy=2.0)), (1, mixture((1, Uniform())))), word_vocabulary(30))
    assert "part_1_entropy_by_temperature" in target.notes
    assert target.notes["part_2_part_1_weight"] == 1.0
    assert "Adam" in target.recipe


@pytest.mark.parametrize("weight", [1e-300, 1e308])
def test_weights_of_any_size_are_normalised(weight: float, word_vocabulary: Any) -> None:
    target = build_target(mixture((weight, Uniform()), (weight, OneHot(token="t0"))), word_vocabulary(2))
    np.testing.assert_allclose(target.probabilities, [0.75, 0.25])


def test_invalid_part_is_rejected(word_vocabulary: Any) -> None:
    with pytest.raises(TargetError, match="impossible entropy"):
        build_target(mixture((1, Vanilla(entropy=9))), word_vocabulary(30))
