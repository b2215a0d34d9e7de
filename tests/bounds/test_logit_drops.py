"""Tests of the parts of the sphere bound against an independent solver and against states."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from torch import Tensor

from distprompt_tui.bounds.floor import AffineHead, affine_head, checked_target, solve_floor
from distprompt_tui.bounds.logit_drops import LogitDrops, find_logit_drops, ideal_drops
from distprompt_tui.bounds.shell_slabs import (
    Base,
    allowed_rows,
    base_at,
    curvature_of_drop,
    growth_over_slab,
    move_base,
    moved_drops,
)
from tests.bounds.random_heads import random_target
from tests.bounds.test_sphere import divergences, flat_head

HIDDEN = 4
OUTER = math.sqrt(HIDDEN)


def centre_of(seed: int, scale: float, concentration: float = 5.0) -> tuple[AffineHead, Tensor, Base]:
    """The base at the ball's minimum of a random head and target."""
    head, target = flat_head(HIDDEN, seed, scale), random_target(seed, concentration)
    affine = affine_head(head)
    point = solve_floor(head, target, tolerance_nats=1e-8).state
    return affine, target, base_at(affine, checked_target(affine, target), allowed_rows(affine), point, OUTER)


def drops_of(base: Base, excess: float) -> LogitDrops:
    eigenvalues, eigenvectors = torch.linalg.eigh(base.covariance())
    return find_logit_drops(base, eigenvalues, eigenvectors, excess, base.reach(OUTER), lambda share: None)


def growth(base: Base, step: np.ndarray) -> float:
    """K = ln Σ q exp((a − m)·w), from the definition."""
    rows = (base.rows - base.mean).numpy()
    return float(np.log(base.q.numpy() @ np.exp(rows @ step)))


def lowest_logit(base: Base, row: np.ndarray, excess: float) -> np.ndarray:
    """Minimise row · w over K ≤ Δ and ‖c + w‖ ≤ √d with SLSQP."""
    point = base.point.numpy()
    constraints = [
        {"type": "ineq", "fun": lambda w: excess - growth(base, w)},
        {"type": "ineq", "fun": lambda w: HIDDEN - (point + w) @ (point + w)},
    ]
    found: np.ndarray = minimize(lambda w: row @ w, np.zeros(HIDDEN), method="SLSQP", constraints=constraints).x
    return found


@settings(max_examples=15)
@given(st.integers(0, 10_000), st.sampled_from([0.2, 0.5, 1.0]), st.sampled_from([0.02, 0.2, 1.0]))
def test_no_logit_falls_below_its_bound(seed: int, scale: float, excess: float) -> None:
    """SLSQP maximises the drop of a logit over K ≤ Δ and ‖u‖ ≤ √d."""
    _, _, base = centre_of(seed, scale)
    found = drops_of(base, excess)
    bounds = found.within(excess)
    assert bool((bounds <= found.limit).all())
    rows = (base.rows - base.mean).numpy()
    for token in np.random.default_rng(seed).choice(len(rows), 4, replace=False):
        worst = lowest_logit(base, rows[token], excess)
        if growth(base, worst) <= excess + 1e-9:
            assert -rows[token] @ worst <= float(bounds[token]) + 1e-6


def test_bounds_of_drops_are_close_to_the_ideal_ones() -> None:
    """Many Gaussian rows are nearly the case for which the ideal drop is exact."""
    head = flat_head(HIDDEN, 0, 0.5, vocabulary=2000)
    affine, target = affine_head(head), torch.full((2000,), 1 / 2000, dtype=torch.float64)
    base = base_at(affine, target, allowed_rows(affine), torch.zeros(HIDDEN, dtype=torch.float64), OUTER)
    eigenvalues, eigenvectors = torch.linalg.eigh(base.covariance())
    ratio = drops_of(base, 0.02).within(0.02) / (math.sqrt(0.04) * ideal_drops(base, eigenvalues, eigenvectors))
    assert 1 < float(ratio.median()) < 1.3


@given(st.floats(0, 60), st.floats(0, 1))
def test_curvature_of_a_drop(drop: float, share: float) -> None:
    curvature = float(curvature_of_drop(torch.tensor([drop], dtype=torch.float64)))
    for x in (-drop * share, -drop, drop * share):
        assert math.expm1(x) - x >= curvature * x**2 - 1e-13
    assert curvature == pytest.approx((math.expm1(-drop) + drop) / drop**2 if drop > 0.1 else 0.5, rel=0.05)


@settings(max_examples=20)
@given(st.integers(0, 10_000), st.floats(0.1, 1.0), st.floats(0.05, 1.5))
def test_growth_is_below_that_of_every_state_of_the_slab(seed: int, drop: float, width: float) -> None:
    """Random states of the slab outside the inner sphere; the quadratic form is compared, not the bound on it."""
    _, _, base = centre_of(seed, 0.3)
    generator = torch.Generator().manual_seed(seed)
    direction = torch.linalg.eigh(base.covariance()).eigenvectors[:, 0]
    drops = torch.full_like(base.q, 3 * drop)
    inner = 0.99 * OUTER
    bound = growth_over_slab(base, drops, direction, width, inner)
    states = torch.randn(4000, HIDDEN, generator=generator, dtype=torch.float64)
    states = states * (inner / states.norm(dim=1, keepdim=True))
    steps = states - base.point
    along = steps @ direction
    steps = steps[(along >= 0) & (along <= width)]
    forms = curvature_of_drop(drops)[0] * ((steps @ (base.rows - base.mean).T) ** 2 @ base.q)
    assert bound <= float(forms.min()) + 1e-12
    assert bound > 0.2 * float(forms.min()) or width > 0.5


@settings(max_examples=15)
@given(st.integers(0, 10_000), st.floats(-1, 1))
def test_bounds_of_drops_move_with_the_base(seed: int, distance: float) -> None:
    """For random states: the drop at the moved base is within its bound if it is at the first one."""
    affine, target, centre = centre_of(seed, 0.4)
    direction = torch.linalg.eigh(centre.covariance()).eigenvectors[:, 0]
    base = move_base(affine, target, centre, direction, distance, OUTER)
    assert float(direction @ (base.point - centre.point)) == pytest.approx(distance, abs=1e-9)
    rest = base.gradient - (base.gradient @ direction) * direction
    assert float(rest.norm()) < 1e-4
    states = torch.randn(200, HIDDEN, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    for state in states * (OUTER / states.norm(dim=1, keepdim=True)):
        drops = -(centre.rows - centre.mean) @ (state - centre.point)
        moved = moved_drops(centre, base, drops, growth(centre, (state - centre.point).numpy()), OUTER)
        assert bool((-(base.rows - base.mean) @ (state - base.point) <= moved).all())
    assert moved_drops(centre, centre, drops, 0.0, OUTER) is drops


@settings(max_examples=15)
@given(st.integers(0, 10_000), st.floats(0.0, 1.0), st.sampled_from([1.0, -1.0]))
def test_excess_bounds_the_growth_below_a_threshold(seed: int, distance: float, side: float) -> None:
    affine, target, centre = centre_of(seed, 0.4)
    direction = side * torch.linalg.eigh(centre.covariance()).eigenvectors[:, 0]
    base = move_base(affine, target, centre, direction, distance, OUTER)
    states = torch.randn(300, HIDDEN, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    states = states * (OUTER / states.norm(dim=1, keepdim=True))
    values = divergences(flat_head(HIDDEN, seed, 0.4), target, states)
    for state, value in zip(states, values.tolist(), strict=True):
        step = state - base.point
        if (along := float(step @ direction)) >= 0:
            assert growth(base, step.numpy()) <= base.excess(value, direction, along + 1e-9, OUTER) + 1e-12
        assert growth(base, step.numpy()) <= base.excess(value, None, 0.0, OUTER) + 1e-12
