"""The split of the hard prompts of a sweep (see `reports.split`), as means over targets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from distprompt_tui.core.text.formatting import nats
from distprompt_tui.reports.split import Reference, parts
from distprompt_tui.reports.wording import average
from distprompt_tui.sweeps.bootstrap import MeanCI, mean
from distprompt_tui.sweeps.pivot import Measure, entropies_of, table, targets_of
from distprompt_tui.sweeps.results import ResultRow

COLUMNS = ("entropy", "reference", "targets", "hard KL", "head optimum", "reference − optimum", "hard − reference")
"""Columns of the table of split points: means in nats, the last two with intervals."""


@dataclass(frozen=True)
class SplitPoint:
    """The split of hard prompts of a series at one entropy, as means over the targets with all three values, in nats.

    `asked` is the entropy of the grid, or None. The parts sum to `hard`.
    """

    model: str
    length: int
    series: str
    asked: float | None
    reference: Reference
    hard: MeanCI
    head_optimum: MeanCI
    prompt: MeanCI
    search: MeanCI


def split_points(rows: Sequence[ResultRow]) -> tuple[SplitPoint, ...]:
    """Split the hard prompts of a sweep, with soft prompts as the reference and with witnesses, where there are any."""
    groups: dict[tuple[str, int, str], list[ResultRow]] = {}
    for row in rows:
        groups.setdefault((row.model, row.length, row.series), []).append(row)
    found = (
        _split_point(group, asked, reference)
        for group in groups.values()
        for asked in entropies_of(group)
        for reference in get_args(Reference)
    )
    return tuple(point for point in found if point is not None)


def _split_point(rows: Sequence[ResultRow], asked: float | None, reference: Reference) -> SplitPoint | None:
    """Return the split of one model, length and series at one entropy; None without a target with all values."""
    hard, soft = ([row for row in rows if row.method == method] for method in ("hard", "soft"))
    targets = targets_of(hard)

    def by_target(of: Iterable[ResultRow], measure: Measure) -> NDArray[np.float64]:
        return table(of, measure, targets, [asked])[:, 0]

    between = by_target(soft, "kl") if reference == "soft" else by_target(hard, "witness_kl")
    first = hard[0] if hard else None
    whole = by_target(hard, "kl")
    split = parts(whole, by_target(hard, "head_optimum"), between)
    known = ~np.isnan(split[1] + split[2])
    kl, head_optimum, prompt, search = (mean(values[known]) for values in (whole, *split))
    if first is None or kl is None or head_optimum is None or prompt is None or search is None:
        return None
    return SplitPoint(first.model, first.length, first.series, asked, reference, kl, head_optimum, prompt, search)


def split_cells(point: SplitPoint) -> tuple[str, ...]:
    """Format a row of the table of split points."""
    return (
        "as made" if point.asked is None else f"{point.asked:g}",
        point.reference,
        str(point.hard.targets),
        nats(point.hard.value),
        nats(point.head_optimum.value),
        average(point.prompt),
        average(point.search),
    )
