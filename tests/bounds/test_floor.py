"""Tests that the floor is a bound: below another solver's minimum and every state, with or without convergence."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from torch import Tensor

from distprompt_tui.bounds.floor import solve_floor
from distprompt_tui.bounds.head_optimum import solve_head_optimum
from distprompt_tui.core.config.target_specs import Outlier, TargetSpec, Temperature, Vanilla
from distprompt_tui.core.errors import ModelError, TargetError
from distprompt_tui.models.head import Head
from distprompt_tui.models.language_model import LanguageModel
from distprompt_tui.targets import build_target
from tests.bounds.random_heads import (
    ROWS_WITHOUT_TOKEN,
    VOCABULARY,
    divergences_at,
    random_head,
    random_target,
    states_on_sphere,
)

HIDDEN = 8
kinds = st.sampled_from(["rms", "layer"])
concentrations = st.sampled_from([0.01, 0.2, 3.0])


def slow_minimum(head: Head, target: Tensor) -> float:
    """Compute the minimum with SciPy's SLSQP in float64, with an explicit constraint for the ball."""
    assert head.norm is not None
    rows = head.allowed.numpy()
    weight, gain = head.weight.double().numpy()[rows], head.norm.gain.double().numpy()
    shift = head.norm.bias.double().numpy() if head.norm.bias is not None else np.zeros(len(gain))
    offset = head.bias.double().numpy()[rows] if head.bias is not None else np.zeros(len(weight))
    p = target.numpy()[rows]
    entropy = -sum(mass * math.log(mass) for mass in p if mass > 0)

    def divergence(state: np.ndarray) -> float:
        logits = head.scale * (weight @ (gain * state + shift) + offset)
        top = logits.max()
        return float(top + math.log(np.exp(logits - top).sum()) - p @ logits - entropy)

    constraints = [{"type": "ineq", "fun": lambda u: len(u) - u @ u}]
    if head.norm.kind == "layer":
        constraints.append({"type": "eq", "fun": lambda u: u.sum()})
    found = minimize(
        divergence,
        np.zeros(len(gain)),
        method="SLSQP",
        constraints=constraints,
        options={"maxiter": 1000, "ftol": 1e-14},
    )
    inside = found.x - found.x.mean() if head.norm.kind == "layer" else found.x
    inside = inside * min(1.0, math.sqrt(len(inside)) / np.linalg.norm(inside))
    return divergence(inside)


@settings(max_examples=40)
@given(st.integers(0, 10_000), kinds, concentrations)
def test_floor_matches_slsqp_and_is_never_above_it(seed: int, kind: str, concentration: float) -> None:
    head, target = random_head(HIDDEN, seed, kind), random_target(seed, concentration)
    floor = solve_floor(head, target, tolerance_nats=1e-7)
    slow = slow_minimum(head, target)
    assert floor.floor <= slow + 1e-9
    assert floor.upper == pytest.approx(slow, abs=1e-5)
    assert floor.gap <= 1e-6


@settings(max_examples=40)
@given(st.integers(0, 10_000), kinds, concentrations, st.integers(0, 3))
def test_floor_is_valid_without_convergence(seed: int, kind: str, concentration: float, iterations: int) -> None:
    head, target = random_head(HIDDEN, seed, kind), random_target(seed, concentration)
    stopped = solve_floor(head, target, max_iterations=iterations)
    assert stopped.iterations <= iterations
    states = states_on_sphere(head, 3_000)
    inner = states * torch.rand(len(states), 1, generator=torch.Generator().manual_seed(2))
    for points in (states, inner):
        assert stopped.floor <= divergences_at(head, target, points).min().item() + 1e-6
    assert stopped.floor <= slow_minimum(head, target) + 1e-9
    assert stopped.floor >= 0


@pytest.mark.parametrize("kind", ["rms", "layer"])
def test_one_hot_and_uniform_targets(kind: str) -> None:
    head = random_head(HIDDEN, 1, kind)
    one_hot = torch.zeros(VOCABULARY, dtype=torch.float64)
    one_hot[7] = 1
    uniform = head.allowed.double() / (VOCABULARY - ROWS_WITHOUT_TOKEN)
    for target in (one_hot, uniform):
        floor = solve_floor(head, target)
        assert math.isfinite(floor.floor)
        assert 0 <= floor.floor <= floor.upper
        assert floor.gap <= 1e-4
        assert floor.norm_ratio <= 1 + 1e-9


def test_a_steep_head_converges() -> None:
    """With logits in the thousands, the slope changes sharply along a Newton step, and line searches are difficult."""
    head, target = replace(random_head(HIDDEN, 39), scale=100.0), random_target(39, 0.01)
    floor = solve_floor(head, target)
    assert floor.gap <= 1e-4
    assert floor.floor <= slow_minimum(head, target) + 1e-9


@pytest.mark.parametrize("kind", ["rms", "layer"])
def test_head_optimum_without_gradient_at_the_start(kind: str) -> None:
    """An exactly one-hot softmax has a zero gradient, which must not give NaN."""
    head = replace(random_head(16, 0, kind), scale=3000.0)
    target = torch.zeros(VOCABULARY, dtype=torch.float64)
    target[3] = 1
    floor = solve_floor(head, target)
    limit = solve_head_optimum(head, target, floor)
    assert limit.value >= floor.floor
    assert all(math.isfinite(value) for value in limit.values)
    assert limit.state.norm().item() == pytest.approx(4)


def test_targets_that_the_head_can_produce_have_floor_zero() -> None:
    head = random_head(HIDDEN, 3)
    assert head.norm is not None
    target = head.logits(states_on_sphere(head, 1) * head.norm.gain).double().softmax(-1)[0]
    floor = solve_floor(head, target)
    assert floor.floor == 0
    assert floor.upper <= 1e-4


def test_invalid_heads_and_targets() -> None:
    target = random_target(0, 1.0)
    with pytest.raises(ModelError, match="soft-capped at 30"):
        solve_floor(random_head(HIDDEN, 0, softcap=30.0), target)
    head = random_head(HIDDEN, 0)
    with pytest.raises(TargetError, match="60 rows"):
        solve_floor(head, target[:-1])
    with pytest.raises(TargetError, match="must be ≥ 0 and sum to 1, but sum to 2"):
        solve_floor(head, 2 * target)
    with pytest.raises(TargetError, match="rows without a token must have probability 0"):
        solve_floor(head, target.flip(0))


def both(model: LanguageModel, target: TargetSpec) -> tuple[float, float]:
    """Compute floor and head optimum of a target, nats."""
    p = torch.tensor(build_target(target, model.vocabulary).probabilities)
    floor = solve_floor(model.head, p)
    assert floor.gap <= 1e-4
    limit = solve_head_optimum(model.head, p, floor)
    assert limit.agreement >= 0.5
    return floor.floor, limit.value


@pytest.mark.real_model
def test_bounds_show_two_findings_of_the_paper(smollm2: LanguageModel) -> None:
    """Moderate entropies are hardest, and outliers are easier at equal entropy, because of the output layer alone."""
    vanilla = {entropy: both(smollm2, Vanilla(entropy=entropy)) for entropy in (1.0, 6.0, 10.5)}
    outlier = both(smollm2, Outlier(entropy=6.0, tokens=(" banana",)))
    for which in (0, 1):
        low, middle, high = (vanilla[entropy][which] for entropy in (1.0, 6.0, 10.5))
        assert middle > 3 * low
        assert middle > 3 * high
        assert outlier[which] < 0.2 * middle


@pytest.mark.real_model
@pytest.mark.parametrize("entropy", [0.0, 3.0])
def test_the_gap_on_smollm2(smollm2: LanguageModel, entropy: float) -> None:
    p = torch.tensor(build_target(Temperature(entropy=entropy), smollm2.vocabulary).probabilities)
    assert solve_floor(smollm2.head, p).gap <= 1e-4
