"""What swaps will probably change, learned from those that were measured: a Gaussian process over tokens.

The gradient at a token says little of other tokens: at single positions of SmolLM2, its rank correlation with the
measured changes is 0.05, that of the gradient at the mean embedding 0.2, and with 400 measured swaps as well 0.4. The
changes are learned across prompts: what a token does at a position holds on, by and large, when others have changed.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

LENGTH_SCALE = 0.8
"""Of the kernel, in distances between centred embeddings of length one."""

SLOPE = 0.3
"""Prior variance that goes along with the gradient's score, beside the kernel's 1."""

NOISE = 0.3
NOISE_PER_STEP = 0.02
"""Variance of a measured change, and what each step since then adds to it, as the prompt has changed."""

CEILING = 0.75
"""Changes above this quantile count as it: how bad the bad ones are tells nothing of the good ones."""


@dataclass(frozen=True)
class Measured:
    """Swaps that were measured at one position.

    Attributes:
        tokens: that were put in, (count,).
        changes: of the objective by each, nats, (count,).
        steps: at which they were measured, (count,).
    """

    tokens: Tensor
    changes: Tensor
    steps: Tensor

    def with_more(self, tokens: Tensor, changes: Tensor, step: int, most: int) -> Measured:
        """These and newer ones, of which the last `most` are kept; what is infinite tells nothing."""
        finite = changes.isfinite()
        now = torch.full((int(finite.sum()),), step)
        oldest = max(len(self.tokens) + len(now) - most, 0)
        return Measured(
            torch.cat([self.tokens, tokens[finite]])[oldest:],
            torch.cat([self.changes, changes[finite]])[oldest:],
            torch.cat([self.steps, now])[oldest:],
        )


NOTHING = Measured(torch.zeros(0, dtype=torch.long), torch.zeros(0), torch.zeros(0, dtype=torch.long))


def expected_changes(
    measured: Measured, pool: Tensor, slopes: Tensor, features: Tensor, centre: Tensor, step: int
) -> Tensor:
    """Posterior means of what tokens would change, up to a factor and a constant: they rank.

    Args:
        measured: at the same position; tokens on the CPU.
        pool: tokens to judge, (count,).
        slopes: each token's change by the gradient, (V,), standardised.
        features: embeddings, (V, d).
        centre: their mean, (d,).
        step: the present one.

    Returns:
        (count,), the lowest the best.
    """
    tokens = measured.tokens.to(pool.device)
    changes = measured.changes.double()
    changes = changes.clamp(max=float(changes.quantile(CEILING)))
    spread = float(changes.std()) or 1.0
    known, judged = (torch.nn.functional.normalize(features[ids] - centre, dim=1) for ids in (tokens, pool))

    def kernel(rows: Tensor, row_slopes: Tensor) -> Tensor:
        nearness = torch.exp((rows @ known.T - 1) / LENGTH_SCALE**2)
        return nearness + SLOPE * row_slopes[:, None] * slopes[tokens]

    noise = NOISE + NOISE_PER_STEP * (step - measured.steps)
    covariance = kernel(known, slopes[tokens]).cpu().double() + torch.diag(noise).double()
    weights = torch.linalg.solve(covariance, (changes - changes.mean()) / spread)
    expected: Tensor = kernel(judged, slopes[pool]) @ weights.float().to(judged.device)
    return expected
