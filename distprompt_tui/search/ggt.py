"""Full-matrix Adam for a few vectors, with a separate step size for each direction spanned by the last gradients.

GGT (Agarwal et al. 2019, "Efficient full-matrix adaptive regularization", arXiv 1806.02958). Adam scales each
coordinate by its own past gradients; GGT whitens the gradient by the full covariance of the last gradients. This is
affordable for a prompt of some thousand coordinates: the covariance has the rank of the memory, so only a matrix of
memory x memory is inverted. A prompt's divergence is badly conditioned along directions other than the coordinates, so
GGT needs a fraction of Adam's steps (measured in `tests/benchmarks/soft.py`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from distprompt_tui.search.batching import AdaptiveBatchSize

DAMPING = 1e-6
"""Fraction of the covariance's norm added to its diagonal; limits the amplification of directions with gradients below
a thousandth of the largest."""

ROOT_ITERATIONS = 22
"""Newton–Schulz steps. Each multiplies a small eigenvalue by 2.25, starting at the damping's 1e-6; near 1, convergence
is quadratic: over the whole spectrum, 21 steps give the accuracy of float32, and 22 that of float64."""


class GGT(torch.optim.Optimizer):
    """Move each problem of a batch by exactly `lr` (root mean square) against its whitened momentum.

    Uses matrix products only: no decompositions that a device may lack, and no synchronisation with the host. The
    problems are updated in smaller parts if the device's memory is short.

    Args:
        params: tensors, (batch, ...), with independent problems along the first axis.
        lr: step length, root mean square over the coordinates of a problem.
        momentum: decay of past gradients in the direction, per step.
        covariance_decay: decay of past gradients in the covariance, per step.
        memory: number of stored gradients.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float,
        momentum: float = 0.9,
        covariance_decay: float = 0.95,
        memory: int = 64,
    ) -> None:
        params = list(params)
        batch = AdaptiveBatchSize(max(map(len, params)))
        super().__init__(
            params,
            {"lr": lr, "momentum": momentum, "covariance_decay": covariance_decay, "memory": memory, "batch": batch},
        )

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        assert closure is None
        for group in self.param_groups:
            for parameter in group["params"]:
                self._update(parameter, group)

    def _update(self, parameter: Tensor, group: dict[str, Any]) -> None:
        assert parameter.grad is not None
        gradient = parameter.grad.flatten(1)
        state = self.state[parameter]
        if not state:
            state["step"] = torch.tensor(0)
            state["gradients"] = gradient.new_zeros(len(gradient), group["memory"], gradient.shape[1])
        newest = int(state["step"]) % group["memory"]
        state["gradients"][:, newest] = gradient
        state["step"] += 1
        slots = torch.arange(group["memory"], device=gradient.device, dtype=gradient.dtype)
        age = (newest - slots) % group["memory"]
        fading = group["covariance_decay"] ** (age / 2)

        def move(rows: slice) -> None:
            direction = whitened(state["gradients"][rows] * fading[:, None], group["momentum"] ** age / fading)
            length = direction.norm(dim=1, keepdim=True).clamp_min(torch.finfo(direction.dtype).tiny)
            step = group["lr"] * math.sqrt(gradient.shape[1]) / length * direction
            parameter[rows].sub_(step.view_as(parameter[rows]))

        group["batch"].run(len(parameter), move)


def whitened(rows: Tensor, weights: Tensor) -> Tensor:
    """Compute C^(−1/2) m, with the damped covariance C = rowsᵀ rows and m = rowsᵀ weights.

    By the push-through identity, this is rowsᵀ (rows rowsᵀ)^(−1/2) weights: only memory x memory is inverted.

    Args:
        rows: (batch, memory, N).
        weights: (memory,).

    Returns:
        (batch, N).
    """
    root = inverse_square_root(rows @ rows.mT)
    return ((root @ weights)[:, None] @ rows)[:, 0]


def inverse_square_root(matrices: Tensor) -> Tensor:
    """Compute (M + δ‖M‖ I)^(−1/2) of positive semidefinite matrices by the coupled Newton–Schulz iteration.

    Higham, Functions of Matrices (2008), §6.7, equation 6.35.

    Args:
        matrices: (..., r, r); a zero matrix gives a finite result.

    Returns:
        (..., r, r).
    """
    norm = matrices.flatten(-2).norm(dim=-1)[..., None, None].clamp_min(torch.finfo(matrices.dtype).tiny)
    identity = torch.eye(matrices.shape[-1], dtype=matrices.dtype, device=matrices.device)
    root = (matrices / norm + DAMPING * identity) / (1 + DAMPING)  # eigenvalues in (0, 1]
    inverse = identity.expand_as(root)
    for _ in range(ROOT_ITERATIONS):
        correction = 1.5 * identity - 0.5 * inverse @ root
        root, inverse = root @ correction, correction @ inverse
    scaled: Tensor = inverse / (norm * (1 + DAMPING)).sqrt()
    return scaled
