"""Numbers and bars as text. All functions are pure; table columns have fixed widths."""

from __future__ import annotations

import math
from collections.abc import Sequence

Span = tuple[str, str]  # a text and its style role

Line = list[Span]

MASS_WIDTH = 7
GAP_WIDTH = 8
CONTRIBUTION_WIDTH = 6

_EIGHTHS = " ▏▎▍▌▋▊▉"
_LEVELS = "▁▂▃▄▅▆▇█"
_LARGEST_FIXED = 999.9995  # values from here on need more than 7 characters with three decimals

_NEARLY_ZERO = 1e-6  # nats, below the accuracy of a divergence in float32

_SMALLEST_FIXED = 1e-4  # smaller values would be shown as 0 with four decimals


def nats(value: float | None) -> str:
    """Format a divergence or entropy in at most 8 cells: `0.231`, `3.8e-05`, `~0` up to 1e-6, `—` if unknown."""
    if value is None or not math.isfinite(value):
        return "—"
    if value != 0 and abs(value) < 1e-3:
        return _minus(f"{value:.1e}") if abs(value) > _NEARLY_ZERO else "~0"
    if abs(value) >= _LARGEST_FIXED:
        return _minus(f"{value:.1e}")
    return _minus(f"{value + 0.0:.3f}")  # −0.0 becomes 0.0


def signed(value: float) -> str:
    """Format a signed difference in nats in at most 7 cells: `+0.41`, `−12.03`, `0.00` if it rounds to 0."""
    if not math.isfinite(value):
        return "—"
    text = f"{value:+.2f}"
    return "0.00" if text in ("+0.00", "-0.00") else _minus(text)


def mass(value: float | None) -> str:
    """Format a probability in at most 7 cells: `0.4701`, `2.0e-05`, `0` only for exactly 0."""
    if value is None or not math.isfinite(value):
        return "—"
    if value == 0:
        return "0"
    return _tiny(value) if value < _SMALLEST_FIXED else f"{value:.4f}"


def gap(value: float | None) -> str:
    """Format achieved − target in at most 8 cells, signed: `+0.0210`, `−2.0e-05`, `0` only for exactly 0."""
    if value is None or not math.isfinite(value):
        return "—"
    if value == 0:
        return "0"
    if abs(value) < _SMALLEST_FIXED:
        return ("+" if value > 0 else "−") + _tiny(abs(value))
    return _minus(f"{value:+.4f}")


def percent(fraction: float | None) -> str:
    """Format a fraction as a percentage in at most 6 cells: `61 %`, `0.4 %`, `−12 %`, `0 %` only for exactly 0."""
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
    """Format the gap closed as a percentage with one decimal, rounded down, never up to 100 %."""
    if fraction is None:
        return "—"
    return _minus(f"{math.floor(1000 * fraction) / 10:.1f} %")


def count(value: int | None) -> str:
    """Format an integer with thousands separators."""
    return "—" if value is None else f"{value:,}"


def counted(number: int, noun: str) -> str:
    """Format a number of things: `1 step`, `1,000 steps`; the plural adds s, or es after ch."""
    plural = "" if number == 1 else "es" if noun.endswith("ch") else "s"
    return f"{number:,} {noun}{plural}"


def magnitude(value: int | None) -> str:
    """Format a number of parameters: `135 M`, `1.7 B`."""
    if value is None:
        return "—"
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "K")):
        if value >= size:
            scaled = value / size
            return f"{scaled:.0f} {letter}" if scaled >= 10 else f"{scaled:.1f} {letter}"
    return str(value)


def size(bytes_: int) -> str:
    """Format a size in bytes: `812 MiB`, `1.4 GiB`."""
    return f"{bytes_ / 2**30:.1f} GiB" if bytes_ >= 1000 * 2**20 else f"{bytes_ / 2**20:.0f} MiB"


def duration(seconds: float | None) -> str:
    """Format a duration: `48 s`, `1:36`, `2:03:10`."""
    if seconds is None or not math.isfinite(seconds):
        return "—"
    whole = max(int(seconds), 0)
    if whole < 60:
        return f"{whole} s"
    minutes, left = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"


def ago(seconds: float) -> str:
    """Format an age: `just now`, `3 min ago`, `5 h ago`, `2 d ago`."""
    if seconds < 60:
        return "just now"
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            return f"{int(seconds // size)} {unit} ago"
    return ""


def rate(per_second: float | None) -> str:
    """Format a rate: `6.1 steps/s`, or `12 steps/min` below one per second."""
    if per_second is None:
        return "—"
    number, unit = (per_second, "s") if per_second >= 1 else (60 * per_second, "min")
    return f"{number:.0f} steps/{unit}" if number >= 9.95 else f"{number:.1f} steps/{unit}"


def bar(fraction: float, width: int) -> str:
    """Draw a bar with a resolution of an eighth of a cell; a positive value never gives an empty bar."""
    if not math.isfinite(fraction) or width <= 0:
        return " " * max(width, 0)
    eighths = round(min(max(fraction, 0.0), 1.0) * width * 8)
    if fraction > 0:
        eighths = max(eighths, 1)
    full, rest = divmod(eighths, 8)
    return ("█" * full + (_EIGHTHS[rest] if rest else "")).ljust(width)


def overlaid_bars(target: float, achieved: float, width: int) -> Line:
    """Draw two bars over each other: `█` for both, `▀` for the target alone, `▄` for the achieved alone.

    Args:
        target: length of the target's bar, as a fraction (0..1) of the width.
        achieved: length of the achieved distribution's bar, likewise.
        width: cells.

    Returns:
        Spans of exactly `width` cells. If both round to 0 cells and one is positive, `▏` is drawn.
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
    """Draw a curve with one block character per cell; heights are relative to the maximum, 0 is a space.

    Args:
        values: non-negative; repeated or subsampled to the width.
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
    """Return the position of a value between `low` and `high` on a log scale, 0..1; 0 at or below `low`."""
    if value <= low or high <= low:
        return 0.0
    return min(math.log(value / low) / math.log(high / low), 1.0)


def _cells(fraction: float, width: int) -> int:
    return round(min(max(fraction, 0.0), 1.0) * width) if math.isfinite(fraction) else 0


def _tiny(value: float) -> str:
    return f"{value:.1e}" if value >= 1e-99 else "<1e-99"  # a three-digit exponent does not fit the column


def _minus(text: str) -> str:
    return text.replace("-", "−", 1) if text.startswith("-") else text


def mass_curve(by_rank: Sequence[float], cells: int) -> str:
    """Draw probabilities by rank as a sparkline; both axes are logarithmic, the height spans six decades."""
    (curve,) = mass_chart(by_rank, cells, 1)
    return curve


def mass_chart(by_rank: Sequence[float], cells: int, rows: int) -> list[str]:
    """Draw probabilities by rank as columns of block characters, as `mass_curve` does, on several rows from the top."""
    top = max(by_rank, default=0.0)
    if top <= 0:
        return [" " * cells] * rows
    heights = [log_position(mass, top * 1e-6, top) * rows for mass in by_rank]
    levels = [[min(max(height - row, 0.0), 1.0) for height in heights] for row in reversed(range(rows))]
    return [sparkline(row, cells) for row in levels]
