"""Matplotlib figures: curves or bars of a sweep, its effects, and the divergence of a run."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from distprompt_tui.bounds.values import Bounds
from distprompt_tui.core.storage.safe_io import write_out
from distprompt_tui.core.text.formatting import nats, signed
from distprompt_tui.reports.html import Markup
from distprompt_tui.reports.sweep_report import SweepReport
from distprompt_tui.runs.schema import Step, Witness
from distprompt_tui.sweeps.bootstrap import MeanCI
from distprompt_tui.sweeps.curves import Curve, LengthPanel, Panel

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#000000")
"""Okabe and Ito (2008): distinguishable with every kind of colour vision."""

MARKERS = "os^Dvh"
GREY = "#6b7480"  # readable on white and on black
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
ON_PAGES = STYLE | dict.fromkeys(
    ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), GREY
)


def write_figures(report: SweepReport, folder: Path) -> list[Path]:
    """Write every panel as PNG and SVG; return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    drawings: list[tuple[str, Callable[[Any], None]]] = [
        *((str(panel.setting), partial(_draw_panel, panel=panel)) for panel in report.panels),
        *((f"{panel}, by length", partial(_draw_lengths, panel=panel)) for panel in report.length_panels),
    ]
    for title, draw in drawings:
        name = re.sub(r"[^A-Za-z0-9.]+", "-", f"{report.sweep.name} {title}")
        with _figure(*COLUMN_INCHES) as (figure, axes):
            draw(axes)
            axes.set_title(title, fontsize=8)
            for ending, how in (("png", {"dpi": DPI}), ("svg", {"metadata": {"Date": None}})):
                path = folder / f"{name}.{ending}"
                data = io.BytesIO()
                figure.savefig(data, format=ending, **how)
                write_out(path, data.getvalue())
                written.append(path)
    return written


def panel_svg(panel: Panel) -> Markup:
    """Draw divergence by entropy: means with bands, head optima dashed, floors dotted, the uniform baseline thin."""

    def draw(axes: Any) -> None:
        _draw_panel(axes, panel)
        uniform = [(point.entropy, point.uniform_kl.value) for point in panel.curves[0].points if point.uniform_kl]
        if len(uniform) > 1:
            axes.autoscale(False)
            axes.plot(*zip(*uniform, strict=True), color=GREY, linewidth=0.6)

    return _svg(draw, 5.2, 3.6)


def lengths_svg(panel: LengthPanel) -> Markup:
    """Draw the excess by length of the prompt, with bands; the divergence on a model without head optima."""
    return _svg(partial(_draw_lengths, panel=panel), 5.2, 3.6)


def forest_svg(rows: Sequence[tuple[str, MeanCI | None]]) -> Markup:
    """Draw a forest plot: effects with intervals on one scale, with a line at zero."""

    def draw(axes: Any) -> None:
        for place, (_, value) in enumerate(rows):
            if value is None:
                axes.text(0, place, "unknown", verticalalignment="center")
                continue
            low, high = (value.value if end is None else end for end in (value.low, value.high))
            label = f"{signed(low)} to {signed(high)}" if low < high else signed(value.value)
            axes.plot([low, high], [place, place], color=COLOURS[place], linewidth=2.5, alpha=0.5)
            axes.plot([value.value], [place], color=COLOURS[place], marker="o", markersize=4)
            axes.text(1.02, place, label, transform=axes.get_yaxis_transform(), verticalalignment="center")
        axes.axvline(0, color=GREY, linewidth=0.6, linestyle=":")
        axes.set_yticks(range(len(rows)), [name for name, _ in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)

    return _svg(draw, 4.0, 0.35 + 0.25 * len(rows))


def run_svg(curve: Sequence[Step], bounds: Bounds, witness: Witness | None = None) -> Markup:
    """Draw the divergence of a run on a logarithmic axis, without lines below a tenth of its minimum."""
    known = witness.kl if witness is not None else None
    references = (
        ("head optimum", bounds.head_optimum, "--"),
        ("floor", bounds.shown_floor, ":"),
        ("witness", known, "-."),
    )
    drawn = [point for point in curve if point.kl > 0 and point.best_kl > 0]
    steps, lowest = [point.step for point in drawn], min(point.best_kl for point in drawn)

    def draw(axes: Any) -> None:
        axes.semilogy(steps, [point.kl for point in drawn], color=COLOURS[0], linewidth=0.7, alpha=0.5)
        axes.semilogy(steps, [point.best_kl for point in drawn], color=COLOURS[0], linewidth=1.4)
        for name, value, line in references:
            if value is not None and value > lowest / 10:
                axes.axhline(value, color=GREY, linewidth=1, linestyle=line)
                label, where = f" {name} {nats(value)}", axes.get_yaxis_transform()
                axes.text(0, value, label, transform=where, verticalalignment="bottom")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("{x:g}")
        axes.set_xlabel("steps")
        axes.set_ylabel("KL(p‖q) (nats)")

    return _svg(draw, 7.6, 3.4)


@contextmanager
def _figure(width: float, height: float, style: Any = STYLE) -> Iterator[tuple[Any, Any]]:
    """Yield a figure of a size in inches, and its axes, in the style of this module."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(style):
        figure = Figure((width, height), layout="constrained")
        yield figure, figure.add_subplot()


def _svg(draw: Callable[[Any], None], width: float, height: float) -> Markup:
    """Return a drawing as an element of a page, on a transparent background and without ids that clash on the page."""
    data = io.StringIO()
    with _figure(width, height, ON_PAGES) as (figure, axes):
        draw(axes)
        figure.savefig(
            data, format="svg", transparent=True, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type"))
        )
    text = data.getvalue()
    return Markup(re.sub(r' id="\w+_\d+"', "", text[text.index("<svg") :]).replace(COLOURS[-1], "currentColor"))


def _draw_panel(axes: Any, panel: Panel) -> None:
    if max(len(curve.points) for curve in panel.curves) > 1:
        _draw_curves(axes, panel)
    else:
        _draw_bars(axes, panel)
    axes.figure.legend(loc="outside lower center", ncols=2)


def _draw_curves(axes: Any, panel: Panel) -> None:
    for place, curve in enumerate(panel.curves):
        _draw_curve(axes, curve, COLOURS[place % len(COLOURS)], MARKERS[place % len(MARKERS)])
    axes.plot([], [], color=GREY, linewidth=1, linestyle="--", label="head optimum")
    axes.plot([], [], color=GREY, linewidth=1, linestyle=":", label="floor")
    if any(point.witness_kl is not None for curve in panel.curves for point in curve.points):
        axes.plot([], [], color=GREY, linewidth=1, linestyle="-.", label="witness")
    axes.set_xlabel("entropy of the target (nats)")
    axes.set_ylabel("KL(p‖q) (nats)")
    axes.set_ylim(bottom=0)
    axes.grid(axis="y", linewidth=0.3, alpha=0.6)


def _draw_lengths(axes: Any, panel: LengthPanel) -> None:
    measure = "excess" if panel.has_excess else "kl"
    lowest = []
    for place, (name, points) in enumerate(panel.curves):
        colour, marker = COLOURS[place % len(COLOURS)], MARKERS[place % len(MARKERS)]
        values: list[tuple[int, MeanCI]] = [(length, getattr(point, measure)) for length, point in points]
        means = [(length, value.value) for length, value in values]
        axes.plot(*zip(*means, strict=True), color=colour, marker=marker, markersize=3, linewidth=1.2, label=name)
        banded = [(length, value.low, value.high) for length, value in values if value.low is not None]
        if banded:
            axes.fill_between(*zip(*banded, strict=True), color=colour, alpha=0.2, linewidth=0)
        lowest += [value.value if value.low is None else value.low for _, value in values]
    axes.set_xscale("log", base=2)
    axes.set_xticks(panel.lengths, [str(length) for length in panel.lengths])
    if min(lowest) > 0:
        axes.set_yscale("log")
    axes.set_xlabel(f"length of the prompt ({'vectors' if panel.method == 'soft' else 'tokens'})")
    axes.set_ylabel("excess (nats)" if measure == "excess" else "KL(p‖q) (nats)")
    axes.grid(axis="y", linewidth=0.3, alpha=0.6)
    axes.figure.legend(loc="outside lower center", ncols=2)


def _draw_bars(axes: Any, panel: Panel) -> None:
    for place, curve in enumerate(panel.curves):
        (point,) = curve.points
        colour, kl = COLOURS[place % len(COLOURS)], point.kl
        limit = point.head_optimum.value if point.head_optimum is not None else 0.0
        axes.barh(place, limit, color=colour, height=0.6)
        axes.barh(place, kl.value - limit, left=limit, color=colour, height=0.6, alpha=0.35)
        if kl.low is not None and kl.high is not None:
            axes.plot([kl.low, kl.high], [place, place], color=GREY, linewidth=1, marker="|", markersize=4)
    known = [(place, curve.points[0].witness_kl) for place, curve in enumerate(panel.curves)]
    witnesses = [(value.value, place) for place, value in known if value is not None]
    if witnesses:
        style: Any = {"color": "white", "markeredgecolor": "black", "markeredgewidth": 0.6, "markersize": 4}
        axes.plot(*zip(*witnesses, strict=True), linestyle="", marker="D", label="witness", **style)
    axes.barh(0, 0, color=GREY, label="head optimum")
    axes.barh(0, 0, color=GREY, alpha=0.35, label="excess")
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
    banded = [(point.entropy, point.kl.low, point.kl.high) for point in points if point.kl.low is not None]
    if banded:
        axes.fill_between(*zip(*banded, strict=True), color=colour, alpha=0.2, linewidth=0)
    for measure, line in (("head_optimum", "--"), ("floor", ":"), ("witness_kl", "-.")):
        known = [(point.entropy, getattr(point, measure)) for point in points]
        places = [(entropy, max(value.value, 0.0)) for entropy, value in known if value is not None]
        axes.plot([x for x, _ in places], [y for _, y in places], color=colour, linewidth=0.9, linestyle=line)
