"""Surrogate model of swaps: a Gaussian process over tokens, fitted to measured swaps.

The gradient at a token is a poor predictor for other tokens: at single positions of SmolLM2, its rank correlation with
measured changes is 0.05, and that of a process on 400 measured swaps is 0.6. Observations of earlier prompts are
included: the effect of a token at a position remains similar when other positions change.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from distprompt_tui.models.device import has_float64
from distprompt_tui.search.transfers import HOST, upload

LENGTH_SCALE = 0.9  # of the kernel, for features of norm 1

NOISE = 0.3
NOISE_PER_STEP = 0.02
"""Variance of a measured change relative to that of all changes, and its growth per step, since the prompt changes."""

CEILING = 0.75  # quantile at which changes are clipped: the size of large losses is uninformative


@dataclass(frozen=True)
class Observations:
    """Swaps measured at one position: tokens, changes of the objective in nats, and steps, (count,) each."""

    tokens: Tensor
    changes: Tensor
    steps: Tensor

    def with_more(self, tokens: Tensor, changes: Tensor, step: int, most: int) -> Observations:
        """Append newer observations, without infinite changes, and keep the last `most`."""
        finite = changes.isfinite()
        now = torch.full((int(finite.sum()),), step)
        oldest = max(len(self.tokens) + len(now) - most, 0)
        return Observations(
            torch.cat([self.tokens, tokens[finite]])[oldest:],
            torch.cat([self.changes, changes[finite]])[oldest:],
            torch.cat([self.steps, now])[oldest:],
        )


NO_OBSERVATIONS = Observations(torch.zeros(0, dtype=torch.long), torch.zeros(0), torch.zeros(0, dtype=torch.long))


def posterior_mean(
    measured: Observations,
    pool: Tensor,
    features: Tensor,
    step: int,
    known: Tensor | None = None,
    device: torch.device = HOST,
) -> Tensor:
    """Compute the posterior mean of the change of the objective by each token, nats.

    Args:
        measured: observations at the same position, on the CPU.
        pool: tokens to predict, (count,) on the CPU.
        features: features of all tokens, with norm 1, (V, d), on the device or on the CPU.
        known: exactly known part of the change by each token, nats, (V,) on the device; added to the prediction.
        device: of the computation. The host waits for it only if it has no float64.

    Returns:
        (count,) on the device.
    """
    solver = device if has_float64(device) else HOST
    tokens, judged_tokens = (upload(ids, device) for ids in (measured.tokens, pool))
    changes = upload(measured.changes.double(), solver)
    if known is not None:
        changes = changes - known[tokens].to(solver)
    changes = changes.clamp(max=changes.quantile(CEILING))
    if features.device == device:
        learned, judged = features[tokens].float(), features[judged_tokens].float()
    else:
        learned, judged = (upload(features[ids], device).float() for ids in (measured.tokens, pool))

    def kernel(rows: Tensor) -> Tensor:
        return torch.exp((rows @ learned.T - 1) / LENGTH_SCALE**2)

    noise = NOISE + NOISE_PER_STEP * (step - measured.steps)
    covariance = kernel(learned).to(solver).double() + torch.diag(upload(noise.double(), solver))
    weights = _solve(covariance, changes - changes.mean()).float().to(device)
    expected: Tensor = changes.mean().float().to(device) + kernel(judged) @ weights
    return expected if known is None else expected + known[judged_tokens]


def _solve(matrix: Tensor, values: Tensor) -> Tensor:
    """Solve a positive definite system, (count, count) and (count,), without making the host wait for a GPU."""
    if matrix.device == HOST:
        solution: Tensor = torch.linalg.solve(matrix, values)
        return solution
    factor, _ = torch.linalg.cholesky_ex(matrix)  # the check of errors in `cholesky` and `solve` waits
    half = torch.linalg.solve_triangular(factor, values[:, None], upper=False)
    solved: Tensor = torch.linalg.solve_triangular(factor.mT, half, upper=True)
    return solved[:, 0]
