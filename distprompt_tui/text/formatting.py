"""Numbers and bars as text: pure functions, each with one fixed width where columns need it."""

from __future__ import annotations

import math
from collections.abc import Sequence

Span = tuple[str, str]
"""A text and the role that it is drawn in."""

Line = list[Span]

MASS_WIDTH = 7
GAP_WIDTH = 8
CONTRIBUTION_WIDTH = 6

_EIGHTHS = " ▏▎▍▌▋▊▉"
_LEVELS = "▁▂▃▄▅▆▇█"
_LARGEST_FIXED = 999.9995
"""From here on, three decimals would take more than 7 digits."""

_SMALLEST_FIXED = 1e-4
"""Below this, four decimals would show nothing."""


def nats(value: float | None) -> str:
    """A divergence or an entropy, at most 8 cells: `0.231`, `3.8e-05`, `—` where it is not known."""
    if value is None or not math.isfinite(value):
        return "—"
    if value != 0 and abs(value) < 1e-3:
        return _minus(f"{value:.1e}") if abs(value) >= 1e-99 else "~0"
    if abs(value) >= _LARGEST_FIXED:
        return _minus(f"{value:.1e}")
    return _minus(f"{value + 0.0:.3f}")  # minus zero is zero


def signed(value: float) -> str:
    """A difference in nats, at most 7 cells, with its sign: `+0.41`, `−12.03`, `0.00` where it rounds to that."""
    if not math.isfinite(value):
        return "—"
    text = f"{value:+.2f}"
    return "0.00" if text in ("+0.00", "-0.00") else _minus(text)


def mass(value: float | None) -> str:
    """A probability, at most 7 cells: `0.4701`, `2.0e-05`, `0` only for nothing at all."""
    if value is None or not math.isfinite(value):
        return "—"
    if value == 0:
        return "0"
    return _tiny(value) if value < _SMALLEST_FIXED else f"{value:.4f}"


def gap(value: float | None) -> str:
    """Achieved − target, at most 8 cells, always with its sign: `+0.0210`, `−2.0e-05`, `0` where they agree."""
    if value is None or not math.isfinite(value):
        return "—"
    if value == 0:
        return "0"
    if abs(value) < _SMALLEST_FIXED:
        return ("+" if value > 0 else "−") + _tiny(abs(value))
    return _minus(f"{value:+.4f}")


def percent(fraction: float | None) -> str:
    """A share, at most 6 cells: `61 %`, `0.4 %`, `−12 %`, `0 %` only where it is nothing."""
    if fraction is None or not math.isfinite(fraction):
        return "—"
    value = 100 * fraction
    if abs(value) >= 9.95:
        return _minus(f"{value:.0f} %") if abs(value) < 999.5 else _minus(f"{math.copysign(999, value):.0f} %")
    if value == 0:
        return "0 %"
    if abs(value) < 0.05:
        return "~0 %"
    return _minus(f"{value:.1f} %")


def gap_closed(fraction: float | None) -> str:
    """The closed share with one decimal, never rounded up to 100."""
    if fraction is None:
        return "—"
    return _minus(f"{math.floor(1000 * fraction) / 10:.1f} %")


def count(value: int | None) -> str:
    """An integer with thousands separated."""
    return "—" if value is None else f"{value:,}"


def magnitude(value: int | None) -> str:
    """A number of parameters: `135 M`, `1.7 B`."""
    if value is None:
        return "—"
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "K")):
        if value >= size:
            scaled = value / size
            return f"{scaled:.0f} {letter}" if scaled >= 10 else f"{scaled:.1f} {letter}"
    return str(value)


def size(bytes_: int) -> str:
    """Memory in three figures: `812 MiB`, `1.4 GiB`."""
    return f"{bytes_ / 2**30:.1f} GiB" if bytes_ >= 1000 * 2**20 else f"{bytes_ / 2**20:.0f} MiB"


def duration(seconds: float | None) -> str:
    """A length of time: `48 s`, `1:36`, `2:03:10`."""
    if seconds is None or not math.isfinite(seconds):
        return "—"
    whole = max(int(seconds), 0)
    if whole < 60:
        return f"{whole} s"
    minutes, left = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"


def ago(seconds: float) -> str:
    """How long something is past: `just now`, `3 min ago`, `5 h ago`, `2 d ago`."""
    if seconds < 60:
        return "just now"
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            return f"{int(seconds // size)} {unit} ago"
    return ""


def rate(per_second: float | None) -> str:
    """Steps over time: `6.1/s`, `12/min` for slow searches."""
    if per_second is None:
        return "—"
    if per_second >= 1:
        return f"{per_second:.0f}/s" if per_second >= 99.5 else f"{per_second:.1f}/s"
    return f"{60 * per_second:.1f}/min"


def bar(fraction: float, width: int) -> str:
    """A bar of one value, to an eighth of a cell; something above nothing is never an empty bar."""
    if not math.isfinite(fraction) or width <= 0:
        return " " * max(width, 0)
    eighths = round(min(max(fraction, 0.0), 1.0) * width * 8)
    if fraction > 0:
        eighths = max(eighths, 1)
    full, rest = divmod(eighths, 8)
    return ("█" * full + (_EIGHTHS[rest] if rest else "")).ljust(width)


def overlaid_bars(target: float, achieved: float, width: int) -> Line:
    """One bar, two distributions: `█` where both reach, `▀` where only the target, `▄` where only the achieved does.

    Args:
        target: length of the target's bar, 0..1 of the width.
        achieved: length of the achieved's.
        width: cells.

    Returns:
        Spans of exactly `width` cells. A bar shorter than a cell that is not nothing gets `▏`.
    """
    reach_target, reach_achieved = (_cells(value, width) for value in (target, achieved))
    both, longest = min(reach_target, reach_achieved), max(reach_target, reach_achieved)
    if longest == 0:
        role = "target" if target > achieved else "achieved"
        some = max(target, achieved) > 0 and width > 0
        return [("▏", role), (" " * (width - 1), "")] if some else [(" " * width, "")]
    sign, role = ("▀", "target") if reach_target > reach_achieved else ("▄", "achieved")
    spans = [("█" * both, "agreed"), (sign * (longest - both), role), (" " * (width - longest), "")]
    return [span for span in spans if span[0]]


def sparkline(values: Sequence[float], width: int) -> str:
    """A small curve, one character a value: heights relative to the largest of them, a space for nothing.

    Args:
        values: not negative; stretched or thinned to the width.
        width: cells.
    """
    if not values or width <= 0:
        return " " * max(width, 0)
    top = max(values)
    picked = [values[min(int(i * len(values) / width), len(values) - 1)] for i in range(width)]
    if top <= 0:
        return " " * width
    return "".join(_LEVELS[min(int(value / top * 8), 7)] if value > 0 else " " for value in picked)


def log_position(value: float, low: float, high: float) -> float:
    """Where a value stands between two others on a log scale, 0..1; 0 for what is at or below `low`."""
    if value <= low or high <= low:
        return 0.0
    return min(math.log(value / low) / math.log(high / low), 1.0)


def _cells(fraction: float, width: int) -> int:
    return round(min(max(fraction, 0.0), 1.0) * width) if math.isfinite(fraction) else 0


def _tiny(value: float) -> str:
    return f"{value:.1e}" if value >= 1e-99 else "<1e-99"  # three digits of exponent would not fit


def _minus(text: str) -> str:
    return text.replace("-", "−", 1) if text.startswith("-") else text


def mass_curve(by_rank: Sequence[float], cells: int) -> str:
    """Masses by rank as a small curve; both axes are logarithmic, six powers of ten high."""
    top = max(by_rank, default=0.0)
    if top <= 0:
        return " " * cells
    return sparkline([log_position(mass, top * 1e-6, top) for mass in by_rank], cells)
