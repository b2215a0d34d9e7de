"""Means over targets with bootstrap intervals.

The targets are the random sample, so the bootstrap resamples targets. The results of a target at all entropies form one
cluster. Differences are paired by target wherever both results exist.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Outcome = Literal["supported", "not supported", "inconclusive"]

RESAMPLES = 10_000
CONFIDENCE = 0.95
SEED = 0
FEWEST_TARGETS = 6
"""All n targets lie on one side of the true median with probability 2^(1−n). No interval made of their values covers it
then. With fewer than six targets, this alone exceeds 5 %."""


@dataclass(frozen=True)
class MeanCI:
    """A mean, or a sum of weighted means, in nats, with its 95 % interval; `low` and `high` are None for one target."""

    value: float
    low: float | None
    high: float | None
    targets: int

    @property
    def outcome(self) -> Outcome:
        """The sign of the whole interval; inconclusive if it contains zero or is unknown."""
        if self.low is not None and self.low > 0:
            return "supported"
        return "not supported" if self.high is not None and self.high < 0 else "inconclusive"


def average(values: NDArray[np.float64], weights: NDArray[np.float64]) -> MeanCI | None:
    """Compute Σ weight · (mean of a column over its targets), with a 95 % interval.

    The interval is the expanded percentile interval of Hesterberg, "What Teachers Should Know About the Bootstrap",
    The American Statistician 69(4), 2015. Plain percentiles of ten targets are a sixth too narrow.

    Args:
        values: (targets, columns), nats; NaN for a missing result.
        weights: (columns,).

    Returns:
        None if a column has no result.
    """
    there = ~np.isnan(values)
    values, there = values[there.any(1)], there[there.any(1)]
    if not len(values) or not there.any(0).all():
        return None
    filled, count = np.where(there, values, 0.0), len(values)

    def contrast(draws: NDArray[np.float64]) -> NDArray[np.float64]:  # (resamples, targets) -> (resamples,)
        with np.errstate(invalid="ignore"):  # 0/0 if no target of a column was drawn; NaN resamples are ignored
            found: NDArray[np.float64] = (draws @ filled) / (draws @ there) @ weights
        return found

    value = float(contrast(np.ones((1, count)))[0])
    if count == 1:
        return MeanCI(value, None, None, count)
    tail = expanded_tail(count)
    low, high = np.nanquantile(contrast(_draws(count)), [tail, 1 - tail])
    return MeanCI(value, float(low), float(high), count)


def mean(values: NDArray[np.float64]) -> MeanCI | None:
    """Compute the mean over targets, (targets,), with its interval; NaN for a missing result."""
    return average(values[:, None], np.ones(1))


@lru_cache(4)  # a growing sweep uses every count, and an entry for a thousand targets takes 80 MB
def _draws(count: int) -> NDArray[np.float64]:
    """Sample the number of draws of each of `count` targets, (resamples, count)."""
    even = np.full(count, 1 / count)
    return np.random.default_rng(SEED).multinomial(count, even, RESAMPLES).astype(np.float64)


@lru_cache
def expanded_tail(count: int) -> float:
    """Return the fraction of resamples to exclude at each end for n targets: Φ(−√(n/(n−1)) · t)."""
    from scipy.special import ndtr, stdtrit  # half a second, therefore only when an interval is computed

    return float(ndtr(-math.sqrt(count / (count - 1)) * stdtrit(count - 1, (1 + CONFIDENCE) / 2)))
