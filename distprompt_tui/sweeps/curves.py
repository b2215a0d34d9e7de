"""Curves of a sweep: for each point of the grid, means over its targets with 95 % intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path

import numpy as np

from distprompt_tui.sweeps.bootstrap import MeanCI, mean
from distprompt_tui.sweeps.pivot import Measure, entropies_of, group_by_config, table, targets_of
from distprompt_tui.sweeps.results import ResultRow, SearchConfig


@dataclass(frozen=True)
class Point:
    """Means of the fields of `ResultRow` over all targets of a series at one entropy, in nats.

    `asked` is the entropy of the grid, `entropy` the mean of the targets as made; `kls` is the divergence of each
    target, the mean over its searches.
    """

    asked: float | None
    entropy: float
    kl: MeanCI
    kl_string: MeanCI | None
    head_optimum: MeanCI | None
    floor: MeanCI | None
    excess: MeanCI | None
    uniform_kl: MeanCI | None
    witness_kl: MeanCI | None = None
    kls: tuple[float, ...] = ()


@dataclass(frozen=True)
class Curve:
    series: str
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Panel:
    setting: SearchConfig
    curves: tuple[Curve, ...]


@dataclass(frozen=True)
class LengthPanel:
    """Points over the length of the prompt, by one method on one model: for each curve, pairs of length and point."""

    method: str
    model: str
    curves: tuple[tuple[str, tuple[tuple[int, Point], ...]], ...]

    def __str__(self) -> str:
        return f"{Path(self.model).name}, {self.method}"

    @property
    def has_excess(self) -> bool:
        """Whether the excess of every point is known."""
        return all(point.excess is not None for _, points in self.curves for _, point in points)

    @property
    def lengths(self) -> list[int]:
        return sorted({length for _, points in self.curves for length, _ in points})


def length_panels(rows: Sequence[ResultRow]) -> list[LengthPanel]:
    """Return a panel for each model and method with several lengths; a curve for each series and entropy."""
    found: dict[tuple[str, str], dict[str, list[tuple[int, Point]]]] = {}
    for panel in panels(rows):
        method, model, length = panel.setting
        curves = found.setdefault((method, model), {})
        for curve in panel.curves:
            for point in curve.points:
                asked = "as made" if point.asked is None else f"{point.asked:g} nats"
                name = curve.series if len(curve.points) == 1 else f"{curve.series}, {asked}"
                curves.setdefault(name, []).append((length, point))
    made = [
        LengthPanel(*setting, tuple((name, tuple(sorted(curve, key=itemgetter(0)))) for name, curve in curves.items()))
        for setting, curves in found.items()
    ]
    return [panel for panel in made if len(panel.lengths) > 1]


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
        witness_kl=over_targets("witness_kl"),
        kls=tuple(table(rows, "kl", targets, [asked])[:, 0].tolist()),
    )
