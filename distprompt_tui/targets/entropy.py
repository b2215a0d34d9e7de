"""Entropy in nats, and scaling of distributions to a requested entropy by temperature."""

from __future__ import annotations

from collections.abc import Callable
from math import exp, log

import numpy as np
from numpy.typing import NDArray

from distprompt_tui.core.errors import TargetError

FloatArray = NDArray[np.float64]

ENTROPY_TOLERANCE = 1e-3
"""Largest difference between a target's entropy and the requested one, in nats (design, section 7)."""

_LOG_RANGE = 50.0  # inverse temperatures e^-50 to e^50: at the ends, float64 logits give uniform and argmax exactly
_BISECTIONS = 60  # enough to reduce every range here to the resolution of float64


def entropy(probabilities: FloatArray) -> float:
    """Compute H(p) = -sum p log p in nats, with 0 log 0 = 0."""
    held = probabilities[probabilities > 0]
    total = float((held * np.log(held)).sum())  # not `@`: idle BLAS threads slow down other work
    return max(0.0, -total)  # for one token, rounding may give -0.0 or -2e-16


def log_softmax(logits: FloatArray) -> FloatArray:
    shifted: FloatArray = logits - logits.max()
    shifted -= log(np.exp(shifted).sum())
    return shifted


def check_entropy_range(requested: float, low: float, high: float) -> None:
    """Raise TargetError if an entropy is outside `low` to `high` nats by more than `ENTROPY_TOLERANCE`."""
    if not low - ENTROPY_TOLERANCE <= requested <= high + ENTROPY_TOLERANCE:
        raise TargetError(
            f"impossible entropy of {requested:g} nats: this target can have {low:.4f} to {high:.4f} nats"
        )


def check_entropy(probabilities: FloatArray, requested: float) -> None:
    """Raise TargetError if a distribution's entropy differs from the requested one by over `ENTROPY_TOLERANCE`."""
    achieved = entropy(probabilities)
    if not abs(achieved - requested) <= ENTROPY_TOLERANCE:
        raise TargetError(
            f"invalid target: its entropy is {achieved:.6f} nats instead of {requested:g}, "
            f"a difference of more than {ENTROPY_TOLERANCE:g}"
        )


def solve_decreasing(function: Callable[[float], float], value: float, low: float, high: float) -> float:
    """Solve f(x) = value in [low, high] for a decreasing f; return the nearer end if there is no solution."""
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        if function(middle) > value:
            low = middle
        else:
            high = middle
    return high


def scale_to_entropy(logits: FloatArray, requested: float) -> tuple[FloatArray, float]:
    """Compute softmax(b * logits) with a requested entropy, by bisection on log b.

    Args:
        logits: (n,), finite.
        requested: h, nats, from ln(number of largest logits) to ln n. At the ends, the result is the limit.

    Returns:
        The distribution, (n,), and the inverse temperature b.

    Raises:
        TargetError: no temperature gives this entropy.
    """
    shifted = logits - logits.max()

    def entropy_at(log_inverse: float) -> float:
        return entropy(np.exp(log_softmax(exp(log_inverse) * shifted)))

    check_entropy_range(requested, entropy_at(_LOG_RANGE), entropy_at(-_LOG_RANGE))
    inverse = exp(solve_decreasing(entropy_at, requested, -_LOG_RANGE, _LOG_RANGE))
    return np.exp(log_softmax(inverse * shifted)), inverse


def rescale(probabilities: FloatArray, requested: float) -> tuple[FloatArray, float]:
    """Scale a distribution, (n,), to an entropy in nats; return it and the inverse temperature. Zeros stay zero.

    Raises:
        TargetError: no temperature gives this entropy (ties at the top, or too few tokens with nonzero probability).
    """
    held = probabilities > 0
    scaled = np.zeros_like(probabilities)
    scaled[held], inverse = scale_to_entropy(np.log(probabilities[held]), requested)
    return scaled, inverse
