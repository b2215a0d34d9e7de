"""Cross-fitted choice of a curve's peak: chosen on one half of the targets, tested on the other half."""

from __future__ import annotations

from functools import lru_cache
from itertools import combinations, islice
from math import comb

import numpy as np
from numpy.typing import NDArray

MAX_SPLITS = 500
"""All divisions into halves are used up to this number (twelve targets), else as many random ones."""

SEED = 0


def cross_fitted_weights(curves: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how often the targets without a given one have their peak at each point.

    The targets are divided into two halves in every possible way. Each half's peak is the point with the largest mean
    over the half, and is applied to the targets of the other half only. No target therefore takes part in the choice of
    its own peak, and Σ weight · curve, averaged over the targets, does not overestimate the height of the true peak.
    One division gives the same expectation, but depends on the division: averaging over many is repeated cross-fitting
    (Chernozhukov et al., The Econometrics Journal 21(1), 2018, section 3.4).

    Args:
        curves: (targets, points), finite; at least two targets.

    Returns:
        (targets, points); each row sums to one.
    """
    first = half_splits(len(curves)).astype(np.float64)
    second = 1 - first
    peaks = [
        np.eye(curves.shape[1])[(half @ curves / half.sum(1, keepdims=True)).argmax(1)] for half in (first, second)
    ]
    weights: NDArray[np.float64] = (first.T @ peaks[1] + second.T @ peaks[0]) / len(first)
    return weights


@lru_cache
def half_splits(count: int) -> NDArray[np.bool_]:
    """Return divisions of `count` targets into halves, (splits, targets), True for one half; sizes differ by 0 or 1.

    Every division occurs once. Of more than `MAX_SPLITS` divisions, a sample with a fixed seed is returned.
    """
    size = count // 2
    divisions = comb(count, size) // (1 if count % 2 else 2)
    if divisions <= MAX_SPLITS:
        chosen = np.array(list(islice(combinations(range(count), size), divisions)))  # later ones are complements
    else:
        generator = np.random.default_rng(SEED)
        chosen = np.array([generator.permutation(count)[:size] for _ in range(MAX_SPLITS)])
    splits = np.zeros((len(chosen), count), dtype=np.bool_)
    np.put_along_axis(splits, chosen, True, axis=1)
    return splits
