"""Error rates of the findings' inference on simulated targets without an effect.

    python tests/benchmarks/inference.py [FILE]    writes docs/benchmarks/inference.json anew, and prints it

Each trial draws the divergences of ten targets (six) at six entropies (four), all with the same mean, and tests whether
the middle is above the last entropy: by the interval and by the sign-flip test, for the mean over the middle entropies,
for the cross-fitted peak, and for a peak picked on the same targets that it is tested on. An error is an interval above
zero, or a p-value of at most 0.025; nominally 2.5 % of the trials have one.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from distprompt_tui.sweeps.bootstrap import mean
from distprompt_tui.sweeps.peak import cross_fitted_weights
from distprompt_tui.sweeps.significance import sign_flip_p

Floats = NDArray[np.float64]

TRIALS = 2000
LEVEL = 0.025
SIZES = ((6, 4), (10, 6))
"""Targets and entropies."""

STUCK = 0.05
"""Share of the searches that end far above the others."""

NOISE: dict[str, Callable[[np.random.Generator, tuple[int, int]], Floats]] = {
    "normal": lambda generator, shape: generator.normal(size=shape),
    "exponential": lambda generator, shape: generator.exponential(size=shape),
    "stuck searches": lambda generator, shape: generator.normal(size=shape) + 10 * (generator.random(shape) < STUCK),
}


def average(middle: Floats) -> Floats:
    return middle.mean(1)


def cross_fitted(middle: Floats) -> Floats:
    values: Floats = (cross_fitted_weights(middle) * middle).sum(1)
    return values


def picked(middle: Floats) -> Floats:
    values: Floats = middle[:, middle.mean(0).argmax()]
    return values


def main() -> None:
    """Simulate, write, print."""
    default = Path(__file__).parents[2] / "docs" / "benchmarks" / "inference.json"
    found = {}
    for targets, entropies in SIZES:
        for noise, draw in NOISE.items():
            for estimate in (average, cross_fitted, picked):
                rates = simulate(targets, entropies, draw, estimate)
                found[f"{targets} targets, {noise}, {estimate.__name__}"] = rates
                print(targets, noise, estimate.__name__, rates, flush=True)
    text = json.dumps({"trials": TRIALS, "level": LEVEL, "errors": found}, indent=1)
    Path(sys.argv[1] if sys.argv[1:] else default).write_text(text + "\n", encoding="utf-8")


def simulate(
    targets: int,
    entropies: int,
    draw: Callable[[np.random.Generator, tuple[int, int]], Floats],
    estimate: Callable[[Floats], Floats],
) -> dict[str, float]:
    """Return the fraction of trials with an error, by test."""
    generator = np.random.default_rng(0)
    errors = {"interval": 0, "sign-flip": 0}
    for _ in range(TRIALS):
        kls = draw(generator, (targets, entropies))
        differences = estimate(kls[:, 1:-1]) - kls[:, -1]
        interval, p = mean(differences), sign_flip_p(differences)
        errors["interval"] += interval is not None and interval.low is not None and interval.low > 0
        errors["sign-flip"] += p is not None and p <= LEVEL
    return {name: round(count / TRIALS, 4) for name, count in errors.items()}


if __name__ == "__main__":
    main()
