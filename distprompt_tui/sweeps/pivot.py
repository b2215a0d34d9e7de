"""Tables of targets by entropies from the rows of a sweep. Of the restarts of a search, the best one counts."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from distprompt_tui.sweeps.results import ResultRow, SearchConfig

Measure = Literal["kl", "kl_string", "head_optimum", "excess", "floor", "uniform_kl", "entropy_achieved", "witness_kl"]


def group_by_config(rows: Iterable[ResultRow]) -> dict[SearchConfig, dict[str, list[ResultRow]]]:
    """Group the best restarts by setting and series, both in order of first appearance."""
    groups: dict[SearchConfig, dict[str, list[ResultRow]]] = {}
    for row in best_restarts(rows):
        groups.setdefault(row.config, {}).setdefault(row.series, []).append(row)
    return groups


def best_restarts(rows: Iterable[ResultRow]) -> list[ResultRow]:
    """Return, for each search, the row of its restart with the lowest divergence, in order of first appearance."""
    best: dict[Hashable, ResultRow] = {}
    for row in rows:
        place = row.config, row.series, row.entropy_asked, row.target_index, row.seed
        known = best.setdefault(place, row)
        if (row.kl, row.restart) < (known.kl, known.restart):
            best[place] = row
    return list(best.values())


def entropies_of(rows: Iterable[ResultRow]) -> list[float | None]:
    """Return the requested entropies in ascending order; None, for targets with their own entropy, comes last."""
    return sorted({row.entropy_asked for row in rows}, key=lambda asked: (asked is None, asked or 0.0))


def targets_of(rows: Iterable[ResultRow]) -> list[int]:
    return sorted({row.target_index for row in rows})


def table(
    rows: Iterable[ResultRow], measure: Measure, targets: Sequence[int], entropies: Sequence[float | None]
) -> NDArray[np.float64]:
    """Return a measure averaged over seeds, (targets, entropies); NaN if there is no row or the measure is None."""
    found: dict[tuple[int, float | None], list[float]] = {}
    for row in rows:
        value = getattr(row, measure)
        if value is not None:
            found.setdefault((row.target_index, row.entropy_asked), []).append(value)
    cells = [[float(np.mean(found.get((target, asked), [np.nan]))) for asked in entropies] for target in targets]
    return np.array(cells, dtype=np.float64).reshape(len(targets), len(entropies))
