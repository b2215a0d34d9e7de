"""Ratios of searches by target, against plain formulas."""

from __future__ import annotations

import math

import pytest

from tests.benchmarks.by_target import log_ratios, ratio

PAIRS = [("a", 1.0, 2.0), ("a", 2.0, 1.0), ("b", 1.0, 4.0), ("c", 3.0, 6.0)]


def test_searches_of_a_target_count_as_one() -> None:
    assert log_ratios(PAIRS) == pytest.approx({"a": 0.0, "b": -math.log(4), "c": -math.log(2)})
    assert log_ratios(PAIRS * 10) == pytest.approx(log_ratios(PAIRS))
    text = ratio(PAIRS)
    assert text.startswith("0.50 [")
    assert "below 1 on 2 of 3 targets" in text
    assert ratio(PAIRS * 10) == text  # more searches of the same targets do not narrow the interval
