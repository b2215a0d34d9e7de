"""The rest of a vocabulary and its shown rows add up to the whole."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distprompt_tui.core.metrics.kl_terms import kl_contributions
from distprompt_tui.core.metrics.totals import totals_of_rest


@given(st.integers(2, 40), st.integers(0, 2**32 - 1), st.integers(0, 40))
def test_rest_and_rows_are_the_whole(size: int, seed: int, shown: int) -> None:
    rng = np.random.default_rng(seed)
    p, q = rng.dirichlet(np.full(size, 0.3), size=2)
    contributions = kl_contributions(p, q)
    kl = float(contributions.sum())
    rows = list(zip(p.tolist(), q.tolist(), contributions.tolist(), strict=True))
    rest = totals_of_rest(size, kl, rows[:shown])
    hidden = rows[shown:]
    assert rest.count == len(hidden)
    for value, column in zip((rest.target, rest.achieved, rest.contribution), range(3), strict=True):
        assert value == pytest.approx(math.fsum(row[column] for row in hidden), abs=1e-9 * max(1.0, kl))


def test_unknown_numbers_belong_to_the_rest() -> None:
    rest = totals_of_rest(10, 0.5, [(0.25, 0.5, 0.125), (0.25, math.nan, math.nan)])
    assert (rest.count, rest.target, rest.achieved, rest.contribution) == (9, 0.75, 0.5, 0.375)


def test_rounding_is_not_a_rest() -> None:
    rest = totals_of_rest(11, 0.1, [(0.1, 0.1, 0.01)] * 10)
    assert (rest.target, rest.achieved, rest.contribution) == (0, 0, 0)
