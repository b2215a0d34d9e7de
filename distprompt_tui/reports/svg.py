"""Inline SVG figures. The style sheet sets colours and dashes, so that they adapt to light and dark mode."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from distprompt_tui.reports.html import Markup, element
from distprompt_tui.reports.wording import average
from distprompt_tui.runs.schema import Step
from distprompt_tui.sweeps.bootstrap import MeanCI
from distprompt_tui.sweeps.curves import Curve, Panel, Point
from distprompt_tui.text.formatting import counted, nats, signed
from distprompt_tui.text.ticks import log_ticks, ticks

Place = tuple[float, float]

_MARKER = 4.2
_CORNERS: tuple[list[Place], ...] = (
    [],
    [(-1, -1), (1, -1), (1, 1), (-1, 1)],
    [(0, -1.3), (1.2, 0.9), (-1.2, 0.9)],
    [(0, -1.4), (1.4, 0), (0, 1.4), (-1.4, 0)],
    [(0, 1.3), (1.2, -0.9), (-1.2, -0.9)],
    [(-1.2, 0), (-0.6, -1.1), (0.6, -1.1), (1.2, 0), (0.6, 1.1), (-0.6, 1.1)],
)
SERIES = len(_CORNERS)  # number of distinct colours and markers


@dataclass(frozen=True)
class Frame:
    width: float
    height: float
    x: Place
    y: Place
    log_y: bool = False
    left: float = 44
    right: float = 14
    top: float = 10
    bottom: float = 40

    def at_x(self, value: float) -> float:
        return self.left + (value - self.x[0]) / (self.x[1] - self.x[0]) * (self.width - self.left - self.right)

    def at_y(self, value: float) -> float:
        low, high, here = (math.log(each) for each in (*self.y, value)) if self.log_y else (*self.y, value)
        return self.height - self.bottom - (here - low) / (high - low) * (self.height - self.top - self.bottom)


def panel_figure(panel: Panel) -> Markup:
    """Draw divergence by entropy: means with bands, head optima dashed, floors dotted, the uniform baseline thin."""
    points = [point for curve in panel.curves for point in curve.points]
    entropies = [point.entropy for point in points]
    highest = max(max(point.kl.value, point.kl.high or 0.0) for point in points)
    margin = 0.04 * (max(entropies) - min(entropies)) or 0.5
    frame = Frame(520, 320, (min(entropies) - margin, max(entropies) + margin), (0.0, 1.06 * highest or 1.0))
    parts = [*_axes(frame, "entropy of the target, nats", "KL, nats"), *_uniform(frame, panel.curves[0])]
    for place, curve in enumerate(panel.curves):
        parts.append(element("g", _curve(frame, curve, place), class_=f"s{place % SERIES}"))
    return _drawing(frame, f"Divergence by entropy on {panel.setting}", parts)


def forest(rows: Sequence[tuple[str, MeanCI | None]]) -> Markup:
    """Draw a forest plot: effects with intervals on one scale, with a line at zero."""
    known = [value for _, value in rows if value is not None]
    ends = [0.0, *(end for value in known for end in (value.value, value.low, value.high) if end is not None)]
    low, high = min(ends), max(ends)
    room = 0.06 * (high - low) or 1.0
    frame = Frame(340, 22.0 * len(rows) + 22, (low - room, high + room), (0, 1), left=78, right=104, top=2, bottom=20)
    parts = [
        element("line", x1=frame.at_x(0), x2=frame.at_x(0), y1=2.0, y2=frame.height - 20, class_="zero"),
        *_numbers(frame, [low, high] if low < 0 < high else [0.0, high if high > 0 else low]),
    ]
    for place, (name, value) in enumerate(rows):
        parts.append(element("g", _forest_row(frame, 22.0 * place + 13, name, value), class_=f"f{place}"))
    return _drawing(frame, "Effects with 95 % intervals", parts, "forest")


def trace_figure(curve: Sequence[Step], head_optimum: float | None, floor: float | None) -> Markup:
    """Draw the divergence of a run on a logarithmic axis, without bounds below a tenth of its minimum."""
    drawn = [point for point in curve if point.kl > 0 and point.best_kl > 0]
    lowest = min(point.best_kl for point in drawn)
    known = {"head optimum": head_optimum, "floor": floor}
    lines = {name: value for name, value in known.items() if value is not None and value > lowest / 10}
    low = min([lowest, *lines.values()])
    high = max(point.kl for point in drawn)
    frame = Frame(760, 340, (0.0, float(max(drawn[-1].step, 1))), (low / 1.15, high * 1.15), log_y=True, left=58)
    parts = [*_axes(frame, "steps", "KL, nats")]
    for name, value in lines.items():
        y, style = frame.at_y(value), "limit" if name == "head optimum" else "floor"
        parts.append(element("line", x1=frame.left, x2=frame.width - frame.right, y1=y, y2=y, class_=style))
        label = f"{name} {nats(value)}"
        parts.append(element("text", label, x=frame.width - frame.right, y=y - 4, text_anchor="end", class_="label"))
    now = [(frame.at_x(point.step), frame.at_y(point.kl)) for point in drawn]
    best = [(frame.at_x(point.step), frame.at_y(point.best_kl)) for point in drawn]
    parts += [_line(now, "now"), _line(best, "curve")]
    return _drawing(frame, "Divergence over the steps", [element("g", parts, class_="s0")])


def marker(place: int, x: float, y: float) -> Markup:
    r = _MARKER
    corners = _CORNERS[place % SERIES]
    if not corners:
        return element("circle", cx=x, cy=y, r=r, class_="mark")
    return element("polygon", points=_points([(x + r * a, y + r * b) for a, b in corners]), class_="mark")


def _curve(frame: Frame, curve: Curve, place: int) -> Iterator[Markup]:
    yield _band(frame, curve.points)
    for measure, style in (("floor", "floor"), ("head_optimum", "limit")):
        known = [(point.entropy, getattr(point, measure)) for point in curve.points]
        yield _line([(frame.at_x(x), frame.at_y(max(value.value, 0.0))) for x, value in known if value], style)
    places = [(frame.at_x(point.entropy), frame.at_y(point.kl.value)) for point in curve.points]
    yield _line(places, "curve")
    for (x, y), point in zip(places, curve.points, strict=True):
        targets = counted(point.kl.targets, "target")
        title = f"{curve.series}, entropy {point.entropy:.2f}: KL {average(point.kl)}, {targets}"
        yield element("g", element("title", title), marker(place, x, y))


def _band(frame: Frame, points: Sequence[Point]) -> Markup:
    known = [(point.entropy, point.kl.low, point.kl.high) for point in points]
    ends = [
        (frame.at_x(x), frame.at_y(low), frame.at_y(high))
        for x, low, high in known
        if low is not None and high is not None
    ]
    if len(ends) == 1:
        x, low, high = ends[0]
        return element("line", x1=x, x2=x, y1=low, y2=high, class_="whisker")
    around = [(x, high) for x, _, high in ends] + [(x, low) for x, low, _ in reversed(ends)]
    return element("polygon", points=_points(around), class_="band")


def _uniform(frame: Frame, curve: Curve) -> Iterator[Markup]:
    known = [(point.entropy, point.uniform_kl.value) for point in curve.points if point.uniform_kl is not None]
    inside = [(x, y) for x, y in known if y <= frame.y[1]]
    outside = [(x, y) for x, y in known if y > frame.y[1]]
    if inside and outside:  # it falls by one nat per nat, and enters through the top
        x, y = min(inside)
        inside = [(x - (frame.y[1] - y), frame.y[1]), *inside]
    yield _line([(frame.at_x(x), frame.at_y(y)) for x, y in inside], "uniform")


def _axes(frame: Frame, x_label: str, y_label: str) -> Iterator[Markup]:
    bottom, right = frame.height - frame.bottom, frame.width - frame.right
    for mark in log_ticks(*frame.y) if frame.log_y else ticks(*frame.y):
        y = frame.at_y(mark)
        yield element("line", x1=frame.left, x2=right, y1=y, y2=y, class_="grid")
        yield element("text", f"{mark:g}", x=frame.left - 7, y=y + 3.5, text_anchor="end", class_="tick")
    for mark in ticks(*frame.x, about=7):
        yield element("text", f"{mark:g}", x=frame.at_x(mark), y=bottom + 16, text_anchor="middle", class_="tick")
    yield element("line", x1=frame.left, x2=right, y1=bottom, y2=bottom, class_="axis")
    middle = (frame.left + right) / 2
    yield element("text", x_label, x=middle, y=frame.height - 5, text_anchor="middle", class_="label")
    y, turn = (frame.top + bottom) / 2, f"rotate(-90 11 {(frame.top + bottom) / 2:.1f})"
    yield element("text", y_label, x=11, y=y, text_anchor="middle", transform=turn, class_="label")


def _numbers(frame: Frame, marks: Sequence[float]) -> Iterator[Markup]:
    for mark in dict.fromkeys(marks):
        text = "0" if mark == 0 else signed(mark)
        yield element("text", text, x=frame.at_x(mark), y=frame.height - 6, text_anchor="middle", class_="tick")


def _forest_row(frame: Frame, y: float, name: str, value: MeanCI | None) -> Iterator[Markup]:
    yield element("text", name, x=frame.left - 10, y=y + 4, text_anchor="end", class_="label")
    if value is None:
        yield element("text", "unknown", x=frame.width - frame.right + 8, y=y + 4, class_="tick")
        return
    if value.low is not None and value.high is not None:
        yield element("line", x1=frame.at_x(value.low), x2=frame.at_x(value.high), y1=y, y2=y, class_="interval")
    yield element("circle", cx=frame.at_x(value.value), cy=y, r=4, class_="mark")
    ends = "" if value.low is None or value.high is None else f" {signed(value.low)} to {signed(value.high)}"
    yield element("text", ends.strip() or signed(value.value), x=frame.width - frame.right + 8, y=y + 4, class_="tick")


def _drawing(frame: Frame, title: str, parts: Sequence[Markup], style: str = "figure") -> Markup:
    box = f"0 0 {frame.width:g} {frame.height:g}"
    return element("svg", element("title", title), parts, viewBox=box, role="img", class_=style)


def _line(places: Sequence[Place], style: str) -> Markup:
    return element("polyline", points=_points(places), class_=style)


def _points(places: Sequence[Place]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
