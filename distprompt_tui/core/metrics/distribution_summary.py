"""Summaries of a target and an achieved distribution for plots: decades, density of the tokens, probability by rank.

All functions take one entry for each token, in any order, and take O(N) time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import reduce
from operator import add

import numpy as np
from numpy.typing import NDArray

from distprompt_tui.core.metrics.totals import Totals
from distprompt_tui.core.text.braille import DOT_BITS, DOTS_ACROSS, DOTS_DOWN

LEVELS = DOTS_ACROSS * DOTS_DOWN

_DOT_BITS = np.array(DOT_BITS, dtype=np.uint8).reshape(-1)

_TAIL = 1e-3  # the fraction of the tokens that may lie below a log axis, so that a few tiny values do not stretch it
_TAIL_DECADES = 2  # an axis is not shortened by fewer decades
_ROUNDING = 1e-5  # a probability of 1 + rounding error needs no further decade
_RANK_BINS = 2**13  # a hundredth of a decade where the values span 80 of them
_NEAR = 1e-3  # far above the rounding error of a logarithm in float32
_SMALLEST_POWER = -324  # of float64
_POWERS = np.array([10.0**power for power in range(_SMALLEST_POWER, 2)])


@dataclass(frozen=True, slots=True)
class LogRange:
    """A log axis of whole decades.

    Attributes:
        low: power of ten at its lower end.
        high: power of ten at its upper end, above `low`.
        is_cut: whether some positive values are smaller; they are drawn at the lower end.
    """

    low: int
    high: int
    is_cut: bool = False

    def __or__(self, other: LogRange) -> LogRange:
        low = min(self.low, other.low)
        is_cut = (self.is_cut and self.low == low) or (other.is_cut and other.low == low)
        return LogRange(low, max(self.high, other.high), is_cut)


@dataclass(frozen=True, slots=True)
class Decade:
    """Tokens with 10**low ≤ p < 10**high. `low` is None for all p below 10**high, both are None for p = 0."""

    low: int | None
    high: int | None
    totals: Totals


@dataclass(frozen=True, eq=False)
class Density:
    """Number of tokens by target probability (column) and achieved probability (row), both on log axes.

    Attributes:
        across: axis of the target probability.
        down: axis of the achieved probability; its upper end is the first row.
        zero_column: whether the first column, left of the axis, holds the tokens with p = 0.
        zero_row: whether the last row, below the axis, holds the tokens with q = 0.
        counts: number of tokens, (rows, columns).
        contributions: sums of the KL contributions, nats, (rows, columns).
        levels: logarithm of the counts, from 0 (no token) to 8 (most tokens), (rows, columns).
        dots: bits of a Braille character, (rows, columns): as many dots as the level, where most tokens are.
        cells: row · columns + column of each token, (N,).
    """

    across: LogRange
    down: LogRange
    zero_column: bool
    zero_row: bool
    counts: NDArray[np.int64]
    contributions: NDArray[np.float64]
    levels: NDArray[np.int64]
    dots: NDArray[np.uint8]
    cells: NDArray[np.int32]

    @property
    def rows(self) -> int:
        return int(self.counts.shape[0])

    @property
    def columns(self) -> int:
        return int(self.counts.shape[1])


@dataclass(frozen=True, eq=False)
class RankCurves:
    """Probability by rank, each distribution in its own order.

    Attributes:
        size: number of tokens, the last rank.
        down: axis of the probability.
        target: log10 of the target probability at ranks that divide the log axis evenly; NaN where p = 0, (points,).
        achieved: the same for the achieved distribution, (points,).
        zeros: numbers of tokens with p = 0 and with q = 0.
    """

    size: int
    down: LogRange
    target: NDArray[np.float32]
    achieved: NDArray[np.float32]
    zeros: tuple[int, int]


def decades(
    target: NDArray[np.float64], achieved: NDArray[np.float64], contributions: NDArray[np.float64]
) -> list[Decade]:
    """Sum over the tokens of each decade of the target probability.

    Args:
        target: p, (N,).
        achieved: q, (N,).
        contributions: KL contributions in nats, (N,).

    Returns:
        Decades that have tokens, the largest p first; p = 0 last. p = 1 belongs to the decade from 0.1 to 1.
    """
    powers = _floor_powers(target)
    first = int(powers.min(initial=0))
    places = powers - first
    sums = [np.bincount(places, weights=column) for column in (target, achieved, contributions)]
    counts = np.bincount(places)
    found = []
    for place in np.flatnonzero(counts)[::-1].tolist():
        power = place + first
        totals = Totals(int(counts[place]), *(float(column[place]) for column in sums))
        is_zero = power < _SMALLEST_POWER
        found.append(Decade(None if is_zero else power, None if is_zero else power + 1, totals))
    return found


def merge_decades(found: list[Decade], rows: int) -> list[Decade]:
    """Merge the lowest decades until there are at most `rows`; p = 0 stays separate from three rows on."""
    if len(found) <= rows:
        return found
    zero = [decade for decade in found if decade.high is None] if rows > 2 else []
    kept = found[: max(rows - 1 - len(zero), 0)]
    merged = found[len(kept) : len(found) - len(zero)]
    return [*kept, Decade(None, merged[0].high, reduce(add, (decade.totals for decade in merged))), *zero]


def density(
    target: NDArray[np.float64],
    achieved: NDArray[np.float64],
    contributions: NDArray[np.float64],
    rows: int,
    columns: int,
) -> Density:
    """Count tokens by their two probabilities.

    Args:
        target: p, (N,).
        achieved: q, (N,).
        contributions: KL contributions in nats, (N,).
        rows: cells from top to bottom, including a row for q = 0 if there are such tokens.
        columns: cells from left to right, including a column for p = 0 if there are such tokens.
    """
    logs = _logs(target), _logs(achieved)
    across, down = map(_range_of, logs)
    zero_column, zero_row = bool((target == 0).any()), bool((achieved == 0).any())
    x = _dots(logs[0], across, (columns - zero_column) * DOTS_ACROSS) + zero_column * DOTS_ACROSS
    y = (rows - zero_row) * DOTS_DOWN - 1 - _dots(logs[1], down, (rows - zero_row) * DOTS_DOWN)
    if zero_column:
        x[target == 0] = 0
    if zero_row:
        y[achieved == 0] = rows * DOTS_DOWN - DOTS_DOWN // 2
    size = rows * DOTS_DOWN * columns * DOTS_ACROSS
    dots = np.bincount(y * (columns * DOTS_ACROSS) + x, minlength=size)
    dots = dots.reshape(rows, DOTS_DOWN, columns, DOTS_ACROSS).transpose(0, 2, 1, 3).reshape(rows, columns, LEVELS)
    counts = dots.sum(axis=-1)
    cells = y // DOTS_DOWN * columns + x // DOTS_ACROSS
    sums = np.bincount(cells, weights=contributions, minlength=rows * columns).astype(np.float64)
    most = max(int(counts.max(initial=0)), 2)
    levels = np.where(counts > 0, 1 + (LEVELS - 1) * np.log(np.maximum(counts, 1)) / math.log(most), 0).astype(np.int64)
    order = np.argsort(np.argsort(-dots, axis=-1, kind="stable"), axis=-1)
    shown = np.where((order < levels[..., None]) & (dots > 0), _DOT_BITS, 0).sum(axis=-1).astype(np.uint8)
    return Density(across, down, zero_column, zero_row, counts, sums.reshape(rows, columns), levels, shown, cells)


def largest_of_cell(
    cells: NDArray[np.int32], cell: int, contributions: NDArray[np.float64], limit: int
) -> NDArray[np.int64]:
    """Return the positions of at most `limit` tokens of a density's cell, the largest KL contributions first."""
    found = np.flatnonzero(cells == cell)
    if len(found) > limit:
        found = found[np.argpartition(-contributions[found], limit)[:limit]]
    return found[np.argsort(-contributions[found], kind="stable")]


def rank_curves(target: NDArray[np.float64], achieved: NDArray[np.float64], points: int) -> RankCurves:
    """Return the probabilities at `points` ranks from 1 to N, evenly spaced on a log axis.

    Args:
        target: p, (N,), at least one token.
        achieved: q, (N,).
        points: at least 1.
    """
    size = len(target)
    ranks = np.rint(np.exp(np.linspace(0, math.log(size), points))).astype(np.int64)
    logs = _logs(target), _logs(achieved)
    zeros = int((target == 0).sum()), int((achieved == 0).sum())
    down = _range_of(logs[0]) | _range_of(logs[1])
    return RankCurves(size, down, _at_ranks(logs[0], ranks), _at_ranks(logs[1], ranks), zeros)


def _logs(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return log10 of each value, −inf for 0. The logarithm of the smallest float64 is no problem in float32."""
    with np.errstate(divide="ignore"):
        return np.log10(values).astype(np.float32)


def _range_of(logs: NDArray[np.float32]) -> LogRange:
    """Return an axis for log10 of probabilities, (N,). A tail of at most 0.1 % of the values may lie below it."""
    logs = logs[logs > -np.inf]
    if not len(logs):
        return LogRange(-1, 0)
    high, lowest = math.ceil(float(logs.max()) - _ROUNDING), math.floor(float(logs.min()))
    below = np.cumsum(np.bincount(np.floor(logs).astype(np.int32) - lowest))
    low = lowest + int(np.searchsorted(below, _TAIL * len(logs), side="right"))
    low = lowest if low - lowest < _TAIL_DECADES else low
    return LogRange(min(low, high - 1), high, is_cut=lowest < low)


def _at_ranks(logs: NDArray[np.float32], ranks: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the values at descending ranks, to the width of a bin, because a histogram is faster than a sort."""
    logs = logs[logs > -np.inf]
    if not len(logs):
        return np.full(len(ranks), np.nan, dtype=np.float32)
    highest, span = logs.max(), max(float(logs.max() - logs.min()), 1e-6)
    scale = (_RANK_BINS - 1) / span
    below_highest = ((highest - logs) * np.float32(scale)).astype(np.int32)
    places = np.searchsorted(np.cumsum(np.bincount(below_highest)), ranks)
    return np.where(ranks <= len(logs), highest - places / scale, np.nan).astype(np.float32)


def _floor_powers(values: NDArray[np.float64]) -> NDArray[np.int32]:
    """Return the largest k with 10**k ≤ value, at most −1, exact at powers of ten; one less than any for 0."""
    logs = np.maximum(_logs(values), _SMALLEST_POWER - 1)
    powers, nearest = np.floor(logs).astype(np.int32), np.rint(logs)
    near = np.flatnonzero((values > 0) & (np.abs(logs - nearest) < _NEAR))
    power = np.minimum(nearest[near], 1).astype(np.int32)  # larger values are no probabilities
    powers[near] = power - (values[near] < _POWERS[power - _SMALLEST_POWER])
    floors: NDArray[np.int32] = np.minimum(powers, -1)
    return floors


def _dots(logs: NDArray[np.float32], axis: LogRange, dots: int) -> NDArray[np.int32]:
    """Return the dot of each value, from 0 at the lower end."""
    scale = np.float32(dots / (axis.high - axis.low))
    places: NDArray[np.float32] = np.clip((logs - np.float32(axis.low)) * scale, 0, dots - 1)
    return places.astype(np.int32)
