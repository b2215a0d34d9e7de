"""GGT against the definition of full-matrix Adam with the full covariance."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from distprompt_tui.search.ggt import DAMPING, GGT, inverse_square_root, whitened

seeds = st.integers(0, 2**32 - 1)


def random(seed: int, *shape: int) -> Tensor:
    """Normal random numbers in float64."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def power(matrix: Tensor, exponent: float) -> Tensor:
    """Power of a symmetric positive matrix, by its eigenvalues."""
    values, vectors = torch.linalg.eigh(matrix)
    return vectors * values**exponent @ vectors.T


@settings(max_examples=50)
@given(seeds, st.integers(1, 12), st.floats(-4, 4))
def test_inverse_square_root_agrees_with_eigenvalues(seed: int, size: int, log_scale: float) -> None:
    rows = random(seed, size, size + 3) * 10**log_scale
    matrix = rows @ rows.T
    damped = matrix + DAMPING * matrix.norm() * torch.eye(size, dtype=torch.float64)
    found = inverse_square_root(matrix[None])[0]
    torch.testing.assert_close(found, power(damped, -0.5), rtol=1e-6, atol=1e-6 * float(found.abs().max()))


def test_inverse_square_root_of_zero_is_finite() -> None:
    assert inverse_square_root(torch.zeros(2, 3, 3)).isfinite().all()


@given(seeds, st.integers(1, 5), st.integers(1, 8))
def test_whitening_uses_the_full_covariance(seed: int, memory: int, size: int) -> None:
    rows, weights = random(seed, memory, size), random(seed + 1, memory)
    gram = rows @ rows.T
    # C^(-1/2) on the span of the rows, where C = rowsᵀ rows, with the damping of the small matrix
    covariance = rows.T @ rows + DAMPING * gram.norm() * torch.eye(size, dtype=torch.float64)
    expected = power(covariance, -0.5) @ (rows.T @ weights)
    torch.testing.assert_close(whitened(rows[None], weights)[0], expected, rtol=1e-5, atol=1e-8)


def test_step_length_and_independence_of_problems() -> None:
    both = random(0, 2, 3, 5).requires_grad_()
    alone = both.detach()[:1].clone().requires_grad_()
    scales = torch.tensor([1.0, 1e3], dtype=torch.float64)
    optimizers = [GGT([both], lr=0.1, memory=4), GGT([alone], lr=0.1, memory=4)]
    for _ in range(9):  # longer than the memory
        before = both.detach().clone()
        for parameter, optimizer in zip((both, alone), optimizers, strict=True):
            optimizer.zero_grad()
            weights = scales[: len(parameter), None, None]
            (weights * (parameter - 3) ** 2 * torch.arange(1, 6)).sum().backward()
            optimizer.step()
        moved = (both.detach() - before).flatten(1).norm(dim=1)
        torch.testing.assert_close(moved, torch.full_like(moved, 0.1 * math.sqrt(15)))
    torch.testing.assert_close(both[:1], alone)


def test_ggt_needs_far_fewer_steps_than_adam() -> None:
    turn = torch.linalg.qr(random(0, 30, 30))[0]
    curvatures = torch.logspace(0, -4, 30, dtype=torch.float64)

    def end(optimizer_class: type[torch.optim.Optimizer], lr: float) -> float:
        x = torch.ones(1, 30, dtype=torch.float64, requires_grad=True)
        optimizer = optimizer_class([x], lr=lr)  # type: ignore[call-arg]
        for step in range(200):
            optimizer.zero_grad()
            value = (curvatures * (x @ turn) ** 2).sum()
            value.backward()
            optimizer.param_groups[0]["lr"] = lr * 0.5 * (1 + math.cos(math.pi * step / 200))
            optimizer.step()
        return value.item()

    assert end(GGT, 0.05) < 0.2 * min(end(torch.optim.Adam, lr) for lr in (0.02, 0.05, 0.1))


def test_zero_gradient_gives_no_update() -> None:
    x = torch.ones(1, 4, requires_grad=True)
    optimizer = GGT([x], lr=0.1)
    (0 * x).sum().backward()
    optimizer.step()
    assert torch.equal(x.detach(), torch.ones(1, 4))
    with pytest.raises(AssertionError):
        optimizer.step(closure=lambda: 0.0)
