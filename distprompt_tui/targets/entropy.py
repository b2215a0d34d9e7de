"""Entropy in nats, and distributions brought to an entropy by temperature. Shared by the families."""

from __future__ import annotations

from collections.abc import Callable
from math import exp, log

import numpy as np
from numpy.typing import NDArray

from distprompt_tui.errors import TargetError

FloatArray = NDArray[np.float64]

ENTROPY_TOLERANCE = 1e-3
"""Nats by which a target's entropy may differ from the one that was asked for (design, section 7)."""

_LOG_RANGE = 50.0  # inverse temperatures e^-50 to e^50: past both ends, float64 logits give uniform and argmax exactly
_BISECTIONS = 60  # halvings that bring any range here down to the resolution of float64


def entropy(probabilities: FloatArray) -> float:
    """H(p) = -sum p log p in nats, with 0 log 0 = 0."""
    held = probabilities[probabilities > 0]
    total = float((held * np.log(held)).sum())  # not `@`: idle BLAS threads spin, slow beside other work
    return max(0.0, -total)  # one token: rounding may give -0.0 or -2e-16


def log_softmax(logits: FloatArray) -> FloatArray:
    """Normalised log-probabilities, shape kept."""
    shifted: FloatArray = logits - logits.max()
    shifted -= log(np.exp(shifted).sum())
    return shifted


def check_entropy_range(requested: float, low: float, high: float) -> None:
    """Refuse an entropy outside of `low` to `high` nats; a rounded end is accepted.

    Raises:
        TargetError: the entropy is further than `ENTROPY_TOLERANCE` outside.
    """
    if not low - ENTROPY_TOLERANCE <= requested <= high + ENTROPY_TOLERANCE:
        raise TargetError(
            f"an entropy of {requested:g} nats is out of reach: this target can have {low:.4f} to {high:.4f} nats"
        )


def check_entropy(probabilities: FloatArray, requested: float) -> None:
    """Refuse a distribution that missed the entropy that was asked for.

    Raises:
        TargetError: |H - h| > `ENTROPY_TOLERANCE`.
    """
    achieved = entropy(probabilities)
    if not abs(achieved - requested) <= ENTROPY_TOLERANCE:
        raise TargetError(
            f"the target came out with {achieved:.6f} nats of entropy where {requested:g} were asked for: "
            f"more than {ENTROPY_TOLERANCE:g} apart"
        )


def solve_decreasing(function: Callable[[float], float], value: float, low: float, high: float) -> float:
    """The x in [low, high] where a decreasing function falls to a value; the nearer end where it does not."""
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        if function(middle) > value:
            low = middle
        else:
            high = middle
    return high


def scale_to_entropy(logits: FloatArray, requested: float) -> tuple[FloatArray, float]:
    """softmax(b * logits) with the entropy that was asked for, by bisection on log b.

    Args:
        logits: (n,), finite.
        requested: h, nats. From ln(number of largest logits) to ln n can be reached; at the ends the limits are given.

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
    """A distribution brought to an entropy by temperature; what has no probability keeps none.

    Args:
        probabilities: (n,), sums to 1.
        requested: h, nats.

    Returns:
        The distribution, (n,), and the inverse temperature.

    Raises:
        TargetError: no temperature gives this entropy (ties at the top, or too few tokens with any probability).
    """
    held = probabilities > 0
    scaled = np.zeros_like(probabilities)
    scaled[held], inverse = scale_to_entropy(np.log(probabilities[held]), requested)
    return scaled, inverse
