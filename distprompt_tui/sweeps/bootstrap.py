"""Means over targets with bootstrap intervals.

The targets are what was drawn at random, so they are what is drawn again: a target's results at all entropies go
together, as one cluster. Differences are taken inside a target wherever both of its results are there.
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
"""Of n targets, all lie on the same side of the true median by chance 2^(1−n) of the time, and then no interval that
is made of their values covers it: with fewer than six, that alone is more than 5 %."""


@dataclass(frozen=True)
class MeanCI:
    """A mean, or a sum of weighted means, in nats.

    Attributes:
        value: of the targets as they are.
        low: lower end of the 95 % interval; None where one target alone gives no interval.
        high: upper end.
        targets: clusters that it rests on.
    """

    value: float
    low: float | None
    high: float | None
    targets: int

    @property
    def outcome(self) -> Outcome:
        """Whether the whole interval is above zero, or below it, or neither can be said."""
        if self.low is not None and self.low > 0:
            return "supported"
        return "not supported" if self.high is not None and self.high < 0 else "inconclusive"


def average(values: NDArray[np.float64], weights: NDArray[np.float64]) -> MeanCI | None:
    """Σ weight · (mean of a column over its targets), with a 95 % interval.

    The interval is the percentile bootstrap's, widened for few targets: plain percentiles of ten targets are a sixth
    too narrow. After Hesterberg, "What Teachers Should Know About the Bootstrap", The American Statistician 69(4),
    2015: the expanded percentile interval.

    Args:
        values: (targets, columns), nats; NaN where a target has no result in a column.
        weights: (columns,).

    Returns:
        None where a column has no result at all.
    """
    there = ~np.isnan(values)
    values, there = values[there.any(1)], there[there.any(1)]
    if not len(values) or not there.any(0).all():
        return None
    filled, count = np.where(there, values, 0.0), len(values)

    def contrast(draws: NDArray[np.float64]) -> NDArray[np.float64]:
        """The sum for so many draws of each target, (resamples, targets)."""
        with np.errstate(invalid="ignore"):  # 0/0 where no target of a column was drawn: no resample of this kind
            found: NDArray[np.float64] = (draws @ filled) / (draws @ there) @ weights
        return found

    value = float(contrast(np.ones((1, count)))[0])
    if count == 1:
        return MeanCI(value, None, None, count)
    tail = expanded_tail(count)
    low, high = np.nanquantile(contrast(_draws(count)), [tail, 1 - tail])
    return MeanCI(value, float(low), float(high), count)


def mean(values: NDArray[np.float64]) -> MeanCI | None:
    """The mean of one number a target, (targets,), with its interval; NaN where a target has none."""
    return average(values[:, None], np.ones(1))


@lru_cache(4)  # a sweep that fills has had every count: of a thousand targets, one takes 80 MB
def _draws(count: int) -> NDArray[np.float64]:
    """How often each of `count` targets is drawn, (resamples, count)."""
    even = np.full(count, 1 / count)
    return np.random.default_rng(SEED).multinomial(count, even, RESAMPLES).astype(np.float64)


@lru_cache
def expanded_tail(count: int) -> float:
    """The share of resamples to leave out at each end for `count` targets: Φ(−√(n/(n−1)) · t)."""
    from scipy.special import ndtr, stdtrit  # half a second: only where there are intervals

    return float(ndtr(-math.sqrt(count / (count - 1)) * stdtrit(count - 1, (1 + CONFIDENCE) / 2)))
