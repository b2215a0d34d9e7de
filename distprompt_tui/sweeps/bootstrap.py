"""Means over targets with bootstrap intervals.

The targets are the random sample, so the bootstrap resamples targets. The results of a target at all entropies form one
cluster. Differences are paired by target wherever both results exist.
"""

from __future__ import annotations

import math
from collections.abc import Callable
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
    """A mean, a sum of weighted means in nats, or a ratio of such sums, with its 95 % interval.

    `low` and `high` are None for one target.
    """

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
    values = values[~np.isnan(values).all(1)]
    if not _is_complete(values):
        return None
    return _with_interval(lambda draws: _weighted_means(values, weights, draws), len(values))


def ratio(
    numerator: NDArray[np.float64], denominator: NDArray[np.float64], weights: NDArray[np.float64]
) -> MeanCI | None:
    """Compute the ratio of two sums as in `average`, with a 95 % interval; each target is drawn in both at once.

    Args:
        numerator: (targets, columns), nats; NaN where a result is missing in either table.
        denominator: likewise.
        weights: (columns,).

    Returns:
        None if a column has no result.
    """
    known = ~(np.isnan(numerator) | np.isnan(denominator)).all(1)
    parts = [values[known] for values in (numerator, denominator)]
    if not all(map(_is_complete, parts)):
        return None

    def statistic(draws: NDArray[np.float64]) -> NDArray[np.float64]:
        above, below = (_weighted_means(values, weights, draws) for values in parts)
        with np.errstate(invalid="ignore", divide="ignore"):
            return above / below

    return _with_interval(statistic, int(known.sum()))


def mean(values: NDArray[np.float64]) -> MeanCI | None:
    """Compute the mean over targets, (targets,), with its interval; NaN for a missing result."""
    return average(values[:, None], np.ones(1))


def _is_complete(values: NDArray[np.float64]) -> bool:
    """Whether there are targets, and each column has a result."""
    return bool(len(values) and (~np.isnan(values)).any(0).all())


def _weighted_means(
    values: NDArray[np.float64], weights: NDArray[np.float64], draws: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return Σ weight · mean of a column for each resample, (resamples,), from `draws`, (resamples, targets)."""
    there = ~np.isnan(values)
    with np.errstate(invalid="ignore"):  # 0/0 if no target of a column was drawn; NaN resamples are ignored
        found: NDArray[np.float64] = (draws @ np.where(there, values, 0.0)) / (draws @ there) @ weights
    return found


def _with_interval(statistic: Callable[[NDArray[np.float64]], NDArray[np.float64]], count: int) -> MeanCI:
    """Evaluate a function of the draws of each target, (resamples, targets), on the sample and on its resamples."""
    value = float(statistic(np.ones((1, count)))[0])
    if count == 1:
        return MeanCI(value, None, None, count)
    tail = expanded_tail(count)
    low, high = np.nanquantile(statistic(_draws(count)), [tail, 1 - tail])
    return MeanCI(value, float(low), float(high), count)


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
