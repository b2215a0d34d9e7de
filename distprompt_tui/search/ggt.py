"""Full-matrix Adam on a handful of vectors: every direction that the last gradients span has a step size of its own.

GGT (Agarwal et al. 2019, "Efficient full-matrix adaptive regularization", arXiv 1806.02958). Adam scales each
coordinate by what its own gradients were; here the gradient is whitened by the whole covariance of the last few, which
a prompt of some thousand coordinates can afford: the covariance has the rank of the memory, so only a matrix of memory
x memory is ever inverted. A prompt's divergence is badly conditioned along directions that are no coordinates, so this
needs a fraction of Adam's steps (measured in `tests/benchmarks/soft.py`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

DAMPING = 1e-6
"""Part of the covariance's norm that is added to its diagonal: directions whose gradients are a thousandth of the
largest are not amplified further."""

ROOT_ITERATIONS = 22
"""Newton–Schulz steps. Each multiplies a small eigenvalue by 2.25, up from the damping's 1e-6, and near 1 they converge
quadratically: 21 give float32's accuracy over the whole spectrum, 22 float64's."""


class GGT(torch.optim.Optimizer):
    """Moves each of a batch of independent parameters by exactly `lr` (root mean square) against its whitened momentum.

    Matrix products only: no decomposition that a device may lack, and nothing that makes the host wait for it.

    Args:
        params: tensors whose first axis counts independent problems, (batch, ...).
        lr: length of a step, root mean square over the coordinates of one problem.
        momentum: decay of the weight of past gradients in the direction, a step.
        covariance_decay: the same in the covariance.
        memory: gradients that are remembered.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float,
        momentum: float = 0.9,
        covariance_decay: float = 0.95,
        memory: int = 64,
    ) -> None:
        super().__init__(
            params, {"lr": lr, "momentum": momentum, "covariance_decay": covariance_decay, "memory": memory}
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
        direction = whitened(state["gradients"] * fading[:, None], group["momentum"] ** age / fading)
        length = direction.norm(dim=1, keepdim=True).clamp_min(torch.finfo(direction.dtype).tiny)
        step = group["lr"] * math.sqrt(gradient.shape[1]) / length * direction
        parameter.sub_(step.view_as(parameter))


def whitened(rows: Tensor, weights: Tensor) -> Tensor:
    """C^(−1/2) m, with covariance C = rowsᵀ rows (damped) and m = rowsᵀ weights.

    By the push-through identity that is rowsᵀ (rows rowsᵀ)^(−1/2) weights: only memory x memory is inverted.

    Args:
        rows: (batch, memory, N).
        weights: (memory,).

    Returns:
        (batch, N).
    """
    root = inverse_square_root(rows @ rows.mT)
    return ((root @ weights)[:, None] @ rows)[:, 0]


def inverse_square_root(matrices: Tensor) -> Tensor:
    """(M + δ‖M‖ I)^(−1/2) of symmetric non-negative matrices by the coupled Newton–Schulz iteration.

    Higham, Functions of Matrices (2008), §6.7 (its equation 6.35).

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
