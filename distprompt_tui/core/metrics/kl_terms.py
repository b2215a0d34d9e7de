"""Per-token KL contributions and the uniform baseline, in numpy, for worker and viewers."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


def kl_contributions(target: NDArray[np.float64], achieved: NDArray[np.floating]) -> NDArray[np.float64]:
    """Compute p·log(p/q) − p + q for each token.

    The terms p·log(p/q) also sum to KL(p‖q), but are negative where q > p and 0 where p = 0. Adding q − p, which sums
    to 0, makes all terms non-negative (Csiszár's I-divergence) and shows tokens with q > 0 and p = 0. A q of 0 is
    replaced by the smallest positive number of its dtype: `achieved.npy` is float32, in which probabilities below
    1.4e-45 are 0.

    Args:
        target: p, (V,).
        achieved: q, (V,).

    Returns:
        KL contributions in nats, (V,), non-negative up to rounding.
    """
    q = np.maximum(achieved.astype(np.float64), np.finfo(achieved.dtype).smallest_subnormal)
    p = np.where(target > 0, target, 1.0)  # 0·log 0 = 0
    # Not log(p / q): p / q overflows for the smallest q.
    terms: NDArray[np.float64] = target * (np.log(p) - np.log(q)) - target + achieved
    return terms


def uniform_divergences(target: NDArray[np.float64], count: int) -> dict[str, float]:
    """Compute the divergences other than KL(p‖u) of the uniform distribution u.

    Args:
        target: p, (V,).
        count: number of tokens of u, which excludes rows without a token.

    Returns:
        `js` and `tv`; also `reverse_kl` if it is finite, that is, if p > 0 for every token.
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
