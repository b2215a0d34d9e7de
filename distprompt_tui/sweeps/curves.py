"""Curves of a sweep: for each point of the grid, means over its targets with 95 % intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from distprompt_tui.sweeps.bootstrap import MeanCI, mean
from distprompt_tui.sweeps.pivot import Measure, entropies_of, group_by_config, table, targets_of
from distprompt_tui.sweeps.results import ResultRow, SearchConfig


@dataclass(frozen=True)
class Point:
    """Means of the fields of `ResultRow` over all targets of a series at one entropy, in nats.

    `asked` is the entropy of the grid, `entropy` the mean of the targets as made.
    """

    asked: float | None
    entropy: float
    kl: MeanCI
    kl_string: MeanCI | None
    head_optimum: MeanCI | None
    floor: MeanCI | None
    excess: MeanCI | None
    uniform_kl: MeanCI | None


@dataclass(frozen=True)
class Curve:
    series: str
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Panel:
    setting: SearchConfig
    curves: tuple[Curve, ...]


def panels(rows: Sequence[ResultRow]) -> list[Panel]:
    """Return a panel for each model, method and length, in the order of the rows."""
    return [
        Panel(setting, tuple(Curve(name, _points(rows)) for name, rows in series.items()))
        for setting, series in group_by_config(rows).items()
    ]


def _points(rows: Sequence[ResultRow]) -> tuple[Point, ...]:
    return tuple(_point([row for row in rows if row.entropy_asked == asked]) for asked in entropies_of(rows))


def _point(rows: Sequence[ResultRow]) -> Point:
    asked, targets = rows[0].entropy_asked, targets_of(rows)

    def over_targets(measure: Measure) -> MeanCI | None:
        return mean(table(rows, measure, targets, [asked])[:, 0])

    kl = over_targets("kl")
    assert kl is not None  # a field of every row
    return Point(
        asked=asked,
        entropy=float(np.mean([row.entropy for row in rows])),
        kl=kl,
        kl_string=over_targets("kl_string"),
        head_optimum=over_targets("head_optimum"),
        floor=over_targets("floor"),
        excess=over_targets("excess"),
        uniform_kl=over_targets("uniform_kl"),
    )
