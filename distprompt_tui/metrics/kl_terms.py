"""Per-token KL contributions, and the uniform baseline. numpy, so that worker and viewers use the same."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


def kl_contributions(target: NDArray[np.float64], achieved: NDArray[np.floating]) -> NDArray[np.float64]:
    """p·log(p/q) − p + q of each token.

    The terms p·log(p/q) alone sum to KL(p‖q) too, but are negative where the prompt gives more than is asked and 0
    where nothing is asked. With q − p added, which sums to nothing, no term is negative (Csiszár's I-divergence), and a
    token that has mass and should have none is seen. A q of 0 stands for the smallest number above 0 that its type
    holds: `achieved.npy` is float32, and masses below 1.4e-45 are 0 there.

    Args:
        target: p, (V,).
        achieved: q, (V,).

    Returns:
        Nats, (V,), none negative beyond rounding.
    """
    q = np.maximum(achieved.astype(np.float64), np.finfo(achieved.dtype).smallest_subnormal)
    p = np.where(target > 0, target, 1.0)  # 0·log 0 = 0
    # Not log(p / q): over the smallest numbers, p / q overflows.
    terms: NDArray[np.float64] = target * (np.log(p) - np.log(q)) - target + achieved
    return terms


def uniform_divergences(target: NDArray[np.float64], count: int) -> dict[str, float]:
    """What the uniform distribution u would have, beside its KL(p‖u).

    Args:
        target: p, (V,).
        count: tokens that u is over: all rows but those that stand for no token.

    Returns:
        `js` and `tv`, and `reverse_kl` where it is finite: where p has mass on each of the tokens.
    """
    p = target[target > 0]
    absent, each = count - len(p), 1 / count
    middle = (p + each) / 2
    js = (
        -float((middle * np.log(middle)).sum())
        - absent * each / 2 * math.log(each / 2)
        - (-float((p * np.log(p)).sum()) + math.log(count)) / 2
    )
    found = {"js": js, "tv": (float(np.abs(p - each).sum()) + absent * each) / 2}
    if absent == 0:
        found["reverse_kl"] = -math.log(count) - float(np.log(p).mean())
    return found
