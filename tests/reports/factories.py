"""Sweep directories with made-up rows and results."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from distprompt_tui.sweeps.costs import Cost
from distprompt_tui.sweeps.directory import SweepDirectory, SweepWriter, append_records, make_directory
from distprompt_tui.sweeps.sweep_spec import Sweep
from distprompt_tui.sweeps.tasks import SearchOutcome, SweepSearch, all_searches
from tests.sweeps.factories import LN_V, hump, row

NASTY = "<script>alert('\u202e&\"')</script>\n\x1b[31m"
"""A token that contains markup and terminal control characters."""

Divergence = Callable[[SweepSearch], float]


def example_sweep(**fields: Any) -> Sweep:
    """Make a small sweep of the first finding with some fields replaced."""
    grid: dict[str, Any] = {
        "name": "made-up",
        "title": "Made up & <b>nothing else</b>",
        "finding": "entropy",
        "models": ["smollm2"],
        "methods": ["soft", "hard"],
        "entropies": [0.5, 3.0, 6.0, 8.0, 10.5],
        "targets": 6,
        "series": [{"name": "vanilla", "target": {"family": "vanilla"}}],
    }
    return Sweep.model_validate(grid | fields)


def easier(search: SweepSearch) -> float:
    """Return a hump over entropy, a third of it for outlier and lm targets."""
    curve = hump(search.entropy_asked or 3.0)
    return curve / 3 if search.spec.target.family in ("outlier", "lm") else curve


def completed_sweep(
    sweep: Sweep,
    folder: Path,
    divergence: Divergence = easier,
    refuse: Callable[[SweepSearch], bool] = lambda search: False,
    with_limits: bool = True,
) -> SweepDirectory:
    """Write a row and a result for each search with a valid target."""
    directory = make_directory(sweep, folder)
    SweepWriter(directory).commit(outcomes(sweep, divergence, refuse, with_limits))
    cost = Cost(method="soft", model="smollm2", length=10, searches=6, seconds=61.0, peak_bytes=3 << 30)
    append_records(directory.tasks_file, [cost])
    return directory


def outcomes(
    sweep: Sweep,
    divergence: Divergence = easier,
    refuse: Callable[[SweepSearch], bool] = lambda search: False,
    with_limits: bool = True,
) -> list[SearchOutcome]:
    """Make the outcome of each search of a sweep."""
    generator = np.random.default_rng(0)
    made = []
    for search in all_searches(sweep):
        if refuse(search):
            made.append(SearchOutcome(key=search.key, invalid="the entropy is out of reach <here>"))
        else:
            noise = 0.05 * float(generator.normal())
            made.append(_outcome(search, divergence(search), noise, with_limits))
    return made


def _outcome(search: SweepSearch, least: float, noise: float, with_limits: bool) -> SearchOutcome:
    asked = search.entropy_asked or 3.0
    is_soft = search.config.method == "soft"
    made = row(
        model=search.config.model,
        series=search.series,
        family=search.spec.target.family,
        method=search.config.method,
        length=search.config.length,
        entropy_asked=search.entropy_asked,
        target_index=search.target_index,
        seed=search.seed,
        restart=search.restart,
        kl=0.1 + least * (1 if is_soft else 1.4) + abs(noise),
        kl_string=None if is_soft else 0.3 + 1.4 * least,
        head_optimum=0.9 * least if with_limits else None,
        floor=0.8 * least if with_limits else None,
        uniform_kl=LN_V - asked,
        entropy=asked,
    )
    masses = (0.5, 0.3, 0.15)
    tokens = [
        {"id": place, "text": text, "target": p, "before": 1e-6, "after": 0.8 * p}
        for place, (text, p) in enumerate(zip((" red", NASTY, " blue"), masses, strict=True))
    ]
    prompt = [{"id": 7, "text": NASTY}, {"id": 8, "text": " of"}]
    if is_soft:
        prompt = [token | {"cosine": 0.41, "norm": 6.0, "distance": 5.8} for token in prompt]
    result = {
        "spec": search.spec.model_dump(mode="json", exclude_none=True),
        "recipe": f"made up <{search.series}>",
        "prompt_ids": None if is_soft else [7, 8],
        "prompt_text": None if is_soft else NASTY + " of",
        "prompt": prompt,
        "tokens": tokens,
    }
    return SearchOutcome(key=search.key, row=made.__class__(**{**vars(made), "key": search.key}), result=result)
