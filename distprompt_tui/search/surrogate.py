"""What swaps will probably change, learned from those that were measured: a Gaussian process over tokens.

The gradient at a token says little of other tokens: at single positions of SmolLM2, its rank correlation with the
measured changes is 0.05, and that of a process on 400 measured swaps 0.6. The changes are learned across prompts: what
a token does at a position holds on, by and large, when others have changed.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

LENGTH_SCALE = 0.9
"""Of the kernel, in distances between features, which have length one."""

NOISE = 0.3
NOISE_PER_STEP = 0.02
"""Variance of a measured change, by that of all of them, and what each step since then adds: the prompt has changed."""

CEILING = 0.75
"""Changes are clipped at this quantile: the size of large losses is uninformative."""


@dataclass(frozen=True)
class Observations:
    """Swaps that were measured at one position.

    Attributes:
        tokens: that were put in, (count,).
        changes: of the objective by each, nats, (count,).
        steps: at which they were measured, (count,).
    """

    tokens: Tensor
    changes: Tensor
    steps: Tensor

    def with_more(self, tokens: Tensor, changes: Tensor, step: int, most: int) -> Observations:
        """These and newer ones, of which the last `most` are kept; what is infinite tells nothing."""
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
    measured: Observations, pool: Tensor, features: Tensor, step: int, known: Tensor | None = None
) -> Tensor:
    """Posterior means of what tokens would change, nats.

    Args:
        measured: at the same position; tokens on the CPU.
        pool: tokens to judge, (count,).
        features: of all tokens, of length one, (V, d).
        step: the present one.
        known: what each token changes besides, nats, (V,): that is not learned, but added.

    Returns:
        (count,), the lowest the best.
    """
    tokens = measured.tokens.to(pool.device)
    changes = measured.changes.double()
    if known is not None:
        changes = changes - known[tokens].cpu()
    changes = changes.clamp(max=float(changes.quantile(CEILING)))
    learned, judged = (features[ids].float() for ids in (tokens, pool))

    def kernel(rows: Tensor) -> Tensor:
        return torch.exp((rows @ learned.T - 1) / LENGTH_SCALE**2)

    noise = NOISE + NOISE_PER_STEP * (step - measured.steps)
    covariance = kernel(learned).cpu().double() + torch.diag(noise).double()
    weights = torch.linalg.solve(covariance, changes - changes.mean())
    expected: Tensor = changes.mean() + kernel(judged) @ weights.float().to(judged.device)
    return expected if known is None else expected + known[pool]
