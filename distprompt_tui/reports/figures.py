"""Matplotlib figures of a sweep as PNG and SVG: curves or bars for each model, method and length."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

from distprompt_tui.errors import DistPromptError
from distprompt_tui.reports.sweep_report import SweepReport
from distprompt_tui.storage.safe_io import write_out
from distprompt_tui.sweeps.curves import Curve, Panel

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#000000")
"""Okabe and Ito (2008): distinguishable with every kind of colour vision."""

MARKERS = "os^Dvh"
COLUMN_INCHES = (3.3, 2.8)  # one column of a two-column paper

DPI = 300
STYLE: Any = {
    "font.size": 8,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "svg.fonttype": "none",  # keep text as text
    "svg.hashsalt": "distprompt-tui",  # equal figures give equal files
}


def write_figures(report: SweepReport, folder: Path) -> list[Path]:
    """Write every panel as PNG and SVG; return the files.

    Raises:
        DistPromptError: matplotlib is not installed.
    """
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ImportError as error:
        raise DistPromptError("figures need matplotlib: pip install 'distprompt-tui[figures]'") from error
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    with rc_context(STYLE):
        for panel in report.panels:
            figure = Figure(COLUMN_INCHES, layout="constrained")
            _draw(figure.add_subplot(), panel)
            name = re.sub(r"[^A-Za-z0-9.]+", "-", f"{report.sweep.name} {panel.setting}")
            for ending, how in (("png", {"dpi": DPI}), ("svg", {"metadata": {"Date": None}})):
                path = folder / f"{name}.{ending}"
                data = io.BytesIO()
                figure.savefig(data, format=ending, **how)
                write_out(path, data.getvalue())
                written.append(path)
    return written


def _draw(axes: Any, panel: Panel) -> None:
    axes.set_title(str(panel.setting), fontsize=8)
    if max(len(curve.points) for curve in panel.curves) > 1:
        _draw_curves(axes, panel)
    else:
        _draw_bars(axes, panel)
    axes.figure.legend(loc="outside lower center", ncols=2)


def _draw_curves(axes: Any, panel: Panel) -> None:
    for place, curve in enumerate(panel.curves):
        _draw_curve(axes, curve, COLOURS[place % len(COLOURS)], MARKERS[place % len(MARKERS)])
    axes.plot([], [], color="0.4", linewidth=1, linestyle="--", label="head optimum")
    axes.plot([], [], color="0.4", linewidth=1, linestyle=":", label="floor")
    axes.set_xlabel("entropy of the target (nats)")
    axes.set_ylabel("KL(p‖q) (nats)")
    axes.set_ylim(bottom=0)
    axes.grid(axis="y", linewidth=0.3, alpha=0.6)


def _draw_bars(axes: Any, panel: Panel) -> None:
    for place, curve in enumerate(panel.curves):
        (point,) = curve.points
        colour, kl = COLOURS[place % len(COLOURS)], point.kl
        limit = point.head_optimum.value if point.head_optimum is not None else 0.0
        axes.barh(place, limit, color=colour, height=0.6)
        axes.barh(place, kl.value - limit, left=limit, color=colour, height=0.6, alpha=0.35)
        if kl.low is not None and kl.high is not None:
            axes.plot([kl.low, kl.high], [place, place], color="0.2", linewidth=1, marker="|", markersize=4)
    axes.barh(0, 0, color="0.4", label="head optimum")
    axes.barh(0, 0, color="0.4", alpha=0.35, label="excess")
    axes.set_yticks(range(len(panel.curves)), [curve.series for curve in panel.curves])
    axes.invert_yaxis()
    axes.set_xlabel("KL(p‖q) (nats)")
    axes.set_xlim(left=0)
    axes.grid(axis="x", linewidth=0.3, alpha=0.6)


def _draw_curve(axes: Any, curve: Curve, colour: str, marker: str) -> None:
    points = curve.points
    entropies = [point.entropy for point in points]
    kls = [point.kl.value for point in points]
    axes.plot(entropies, kls, color=colour, marker=marker, markersize=3, linewidth=1.2, label=curve.series)
    banded = [point for point in points if point.kl.low is not None]
    axes.fill_between(
        [point.entropy for point in banded],
        [point.kl.low for point in banded],
        [point.kl.high for point in banded],
        color=colour,
        alpha=0.2,
        linewidth=0,
    )
    for measure, line in (("head_optimum", "--"), ("floor", ":")):
        known = [(point.entropy, getattr(point, measure)) for point in points]
        places = [(entropy, max(value.value, 0.0)) for entropy, value in known if value is not None]
        axes.plot([x for x, _ in places], [y for _, y in places], color=colour, linewidth=0.9, linestyle=line)
