"""Sums over a set of tokens, for the row of all tokens that a table does not show."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

ROUNDING = 1e-12  # sums of a vocabulary's float64 probabilities differ from 1 by less


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over a set of tokens.

    Attributes:
        count: number of tokens.
        target: sum of p.
        achieved: sum of q.
        contribution: sum of the KL contributions, nats.
    """

    count: int = 0
    target: float = 0.0
    achieved: float = 0.0
    contribution: float = 0.0

    def __add__(self, other: Totals) -> Totals:
        return Totals(
            self.count + other.count,
            self.target + other.target,
            self.achieved + other.achieved,
            self.contribution + other.contribution,
        )


def totals_of_rest(count: int, kl: float, rows: Iterable[tuple[float, float, float]]) -> Totals:
    """Return the totals of the tokens that are not among some rows.

    Args:
        count: size of the vocabulary; p and q sum to 1 over it.
        kl: KL(p‖q), nats: the sum of all contributions.
        rows: (p, q, KL contribution) of tokens; rows with an unknown number (NaN) belong to the rest.
    """
    known = [row for row in rows if not any(map(math.isnan, row))]
    target, achieved, contribution = (math.fsum(column) for column in zip(*known, strict=True)) if known else (0, 0, 0)
    return Totals(
        max(count - len(known), 0), _difference(1, target), _difference(1, achieved), _difference(kl, contribution)
    )


def _difference(total: float, part: float) -> float:
    """Return total − part, without the rounding error of a difference that is 0."""
    return max(total - part, 0.0) if total - part > ROUNDING else 0.0
