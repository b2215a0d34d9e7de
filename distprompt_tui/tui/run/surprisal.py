"""Display of a prompt's surprisals: a symbol, a colour and a number for each token, and a legend."""

from __future__ import annotations

import math
from collections.abc import Sequence

from distprompt_tui.core.text import formatting
from distprompt_tui.core.text.formatting import Line, Span
from distprompt_tui.runs.schema import PromptToken
from distprompt_tui.tui.drawing.styled_text import fit_parts

GRADES: tuple[Span, ...] = (("▁", "good"), ("▃", ""), ("▅", "warning"), ("▇", "error"))
"""From the lowest surprisal to the highest; symbol and colour are redundant."""

LIKELY, RARE = math.log(10), math.log(1000)
"""Surprisals in nats of probabilities 1/10 and 1/1000. The third limit is that of a uniform draw, ln V, unless V is
tiny."""

_LARGEST_SHOWN = 999.9

VECTORS = "Vectors have no probability: only tokens have a surprisal."


def grade(surprisal: float | None, vocab_size: int) -> Span:
    """Return the symbol and role of a surprisal in nats; a dash if it is None. ln V is that of a uniform draw."""
    if surprisal is None:
        return "–", "faint"
    return GRADES[sum(surprisal >= limit for limit in _limits(vocab_size))]


def number(surprisal: float | None) -> str:
    """Format nats in 5 cells: ` 12.4`; blank if unknown."""
    return f"{'' if surprisal is None else f'{min(surprisal, _LARGEST_SHOWN):.1f}':>5}"


def title(tokens: Sequence[PromptToken]) -> str:
    known = [token.surprisal for token in tokens if token.surprisal is not None]
    mean = f", mean {min(sum(known) / len(known), _LARGEST_SHOWN):.1f}" if known else ": not recorded"
    return f"Prompt  {formatting.counted(len(tokens), 'token')}, surprisal (−ln p){mean}"


def words(surprisal: float | None) -> str:
    if surprisal is None:
        return "surprisal not measured"
    return f"surprisal {number(surprisal).strip()}, P {formatting.mass(math.exp(-surprisal))}"


def legend(vocab_size: int, width: int) -> Line:
    limits = [f"{limit:.1f}" for limit in _limits(vocab_size)]
    meanings = [f"<{limits[0]} nats", f"<{limits[1]}", f"<{limits[2]} (uniform)", "more"]
    return fit_parts([[span, (f" {text}", "quiet")] for span, text in zip(GRADES, meanings, strict=True)], width)


def _limits(vocab_size: int) -> tuple[float, float, float]:
    return LIKELY, RARE, max(math.log(max(vocab_size, 1)), RARE)
