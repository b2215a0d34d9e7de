"""Compares two searches by target: the searches of a target, one a seed, form one cluster."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable

import numpy as np

from distprompt_tui.sweeps.bootstrap import mean
from distprompt_tui.sweeps.significance import sign_flip_p


def log_ratios(pairs: Iterable[tuple[str, float, float]]) -> dict[str, float]:
    """ln(one / other), the mean of a target's searches, of pairs of a target's name and two positive values."""
    found: dict[str, list[float]] = {}
    for target, one, other in pairs:
        found.setdefault(target, []).append(math.log(one / other))
    return {target: statistics.mean(logs) for target, logs in found.items()}


def ratio(pairs: Iterable[tuple[str, float, float]]) -> str:
    """The geometric mean of one / other over the targets, with its 95 % interval and a sign-flip test of "below 1"."""
    logs = np.array(list(log_ratios(pairs).values()))
    found, p = mean(logs), sign_flip_p(-logs)
    assert found is not None
    assert found.low is not None
    assert found.high is not None
    value, low, high = (math.exp(end) for end in (found.value, found.low, found.high))
    return (
        f"{value:.2f} [{low:.2f}, {high:.2f}] (geometric mean over targets, 95 % interval by target), "
        f"below 1 on {(logs < 0).sum()} of {len(logs)} targets, sign-flip p {p:.4f}"
    )
