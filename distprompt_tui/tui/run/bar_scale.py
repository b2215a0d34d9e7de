"""Scale of the tokens' bars: linear, linear with a broken axis, or logarithmic."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from distprompt_tui.core.text import formatting
from distprompt_tui.core.text.formatting import Line

LOG_DECADES = 6  # a logarithmic bar spans this many powers of ten below the largest probability

BREAK_RATIO = 20.0  # the axis is broken where a bar is this many times as long as the next one
MAX_LONG_BARS = 8  # bars beyond the break
BREAK_SIGN = "╱╱"

_BEYOND_BREAK = 0.25  # fraction of the bar's cells
_MIN_BROKEN = 17  # minimum width of a broken axis, with room for its numbers


@dataclass(frozen=True, slots=True)
class BarScale:
    """Lengths of bars for probabilities.

    Attributes:
        largest: probability of a full bar.
        breaks_at: the longest of the bars that end before the break of a linear axis; None without a break.
        log: whether the axis is logarithmic; it is then not broken.
    """

    largest: float = 0.0
    breaks_at: float | None = None
    log: bool = False

    def heading(self, width: int) -> str:
        """Return the ends of the axis and its break, `width` cells; empty if they do not fit."""
        full = formatting.mass(self.largest)
        if self.log or self.breaks_at is None or width < _MIN_BROKEN:
            left = formatting.mass(self.largest * 10**-LOG_DECADES) + " log" if self.log else "0"
            return left + full.rjust(width - len(left)) if width > len(left) + len(full) else ""
        before, beyond = _divide(width)
        middle = formatting.mass(self.breaks_at)
        return f"0{middle.rjust(before - 1)}{BREAK_SIGN}{full.rjust(beyond)}"

    def bars(self, target: float, achieved: float, width: int) -> Line:
        """Draw the two bars of a token over each other, `width` cells. A probability of NaN has no bar."""
        target, achieved = (0.0 if math.isnan(value) else value for value in (target, achieved))
        if self.log or self.breaks_at is None or width < _MIN_BROKEN:
            return formatting.overlaid_bars(self._length(target), self._length(achieved), width)
        before, beyond = _divide(width)
        limit, span = self.breaks_at, self.largest - self.breaks_at
        line = formatting.overlaid_bars(target / limit, achieved / limit, before)
        if max(target, achieved) <= limit:
            return [*line, (" " * (width - before), "")]
        rest = formatting.overlaid_bars((target - limit) / span, (achieved - limit) / span, beyond)
        return [*line, (BREAK_SIGN, "quiet"), *rest]

    def _length(self, probability: float) -> float:
        if self.largest <= 0:
            return 0.0
        if not self.log:
            return probability / self.largest
        length = formatting.log_position(probability, self.largest * 10**-LOG_DECADES, self.largest)
        return length if length > 0 or probability == 0 else 1e-9


def break_of(largest: Sequence[float]) -> float | None:
    """Return where to break a linear axis.

    Args:
        largest: the longest bars, falling; those after the first `MAX_LONG_BARS` + 1 are ignored.

    Returns:
        The first bar that is more than `BREAK_RATIO` times shorter than the one before it; None if there is none or it
        is 0.
    """
    pairs = pairwise(largest[: MAX_LONG_BARS + 1])
    return next((shorter for longer, shorter in pairs if longer > BREAK_RATIO * shorter > 0), None)


def _divide(width: int) -> tuple[int, int]:
    """Return the cells before and beyond the break."""
    beyond = max(round(_BEYOND_BREAK * width), formatting.MASS_WIDTH)
    return width - beyond - len(BREAK_SIGN), beyond
