"""Made-up rows for tests of the evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from distprompt_tui.sweeps.results import ResultRow

LN_V = 10.8

PLAIN = ResultRow(
    key="",
    model="toy",
    series="vanilla",
    family="vanilla",
    method="soft",
    length=10,
    entropy_asked=None,
    target_index=0,
    seed=0,
    kl=1.0,
    kl_string=None,
    floor=0.5,
    head_optimum=0.75,
    uniform_kl=5.0,
    start=9.0,
    entropy=3.0,
    entropy_achieved=3.0,
    steps=300,
    positions=9000,
    seconds=2.0,
    versions="0 torch 0 transformers 0",
)


def row(**fields: Any) -> ResultRow:
    """Make a row with some fields replaced, and a key from the fields that identify a search."""
    made = replace(PLAIN, **fields)
    parts = (made.model, made.series, made.method, made.length, made.entropy_asked, made.target_index, made.seed)
    return replace(made, key=" ".join(map(str, parts)))


def hump(entropy: float) -> float:
    """Return a divergence that is largest at moderate entropy."""
    return 4 * float(np.exp(-(((entropy - 6) / 2.5) ** 2)))


def rows(
    curve: Callable[[float], float],
    entropies: Iterable[float | None] = (0.5, 3.0, 6.0, 8.0, 10.5),
    targets: int = 10,
    noise: float = 0.05,
    head_share: float | None = 0.9,
    seed: int = 0,
    **fields: Any,
) -> list[ResultRow]:
    """Make rows of a series from a curve over entropy, with noise; `head_share` of the curve is the head optimum."""
    generator = np.random.default_rng(seed)
    made = []
    for asked in entropies:
        at = 3.0 if asked is None else asked
        for target in range(targets):
            kl = curve(at) + noise * float(generator.normal())
            limits: Mapping[str, float | None] = {"head_optimum": None, "floor": None}
            if head_share is not None:
                limits = {"head_optimum": head_share * curve(at), "floor": 0.9 * head_share * curve(at)}
            place = {"entropy_asked": asked, "entropy": at, "entropy_achieved": at + 0.1, "uniform_kl": LN_V - at}
            made.append(row(**{"kl": kl, "target_index": target, **place, **limits, **fields}))
    return made
