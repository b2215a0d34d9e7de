"""A sweep's curves: what each point of the grid came to, the mean over its targets with a 95 % interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from distprompt_tui.sweeps.bootstrap import MeanCI, mean
from distprompt_tui.sweeps.pivot import Measure, entropies_of, group_by_config, table, targets_of
from distprompt_tui.sweeps.results import ResultRow, SearchConfig


@dataclass(frozen=True)
class Point:
    """All targets of a series at one entropy; nats, None where it is not known of any.

    Attributes:
        asked: the grid's entropy; None where targets are taken as they come.
        entropy: of the targets as made, the mean.
        kl: the divergences that the search came to.
        kl_string: of hard prompts' decoded strings, tokenised again.
        uniform_kl: of the uniform distribution.
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
    """A series over the entropies."""

    series: str
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Panel:
    """The curves that belong in one figure."""

    setting: SearchConfig
    curves: tuple[Curve, ...]


def panels(rows: Sequence[ResultRow]) -> list[Panel]:
    """A panel for each model, method and length, in the order of the rows."""
    return [
        Panel(setting, tuple(Curve(name, _points(rows)) for name, rows in series.items()))
        for setting, series in group_by_config(rows).items()
    ]


def _points(rows: Sequence[ResultRow]) -> tuple[Point, ...]:
    return tuple(_point([row for row in rows if row.entropy_asked == asked]) for asked in entropies_of(rows))


def _point(rows: Sequence[ResultRow]) -> Point:
    """The point of rows that have the same entropy asked for."""
    asked, targets = rows[0].entropy_asked, targets_of(rows)

    def over_targets(measure: Measure) -> MeanCI | None:
        return mean(table(rows, measure, targets, [asked])[:, 0])

    kl = over_targets("kl")
    assert kl is not None  # every row has one
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
