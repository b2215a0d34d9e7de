"""How surprising the model itself finds a prompt's tokens: a sign, a colour and a number each, and what they mean."""

from __future__ import annotations

import math
from collections.abc import Sequence

from distprompt_tui.runs.schema import PromptToken
from distprompt_tui.text import formatting
from distprompt_tui.text.formatting import Line, Span
from distprompt_tui.tui.drawing.styled_text import fit_parts

GRADES: tuple[Span, ...] = (("▁", "good"), ("▃", ""), ("▅", "warning"), ("▇", "error"))
"""From the least surprising to the most; sign and colour say the same."""

LIKELY, RARE = math.log(10), math.log(1000)
"""Nats of one in ten and of one in a thousand; the third limit is by chance, ln V, in all but tiny vocabularies."""

_LARGEST_SHOWN = 999.9

VECTORS = "Vectors have no probability of their own: only tokens have a surprisal."


def grade(surprisal: float | None, vocab_size: int) -> Span:
    """The sign of a token and the role it is drawn in; a dash where nothing stands before it or nothing was measured.

    Args:
        surprisal: −ln P, nats.
        vocab_size: V; by chance, a token has a surprisal of ln V.
    """
    if surprisal is None:
        return "–", "faint"
    return GRADES[sum(surprisal >= limit for limit in _limits(vocab_size))]


def number(surprisal: float | None) -> str:
    """Nats in 5 cells: ` 12.4`; blank where they are not known."""
    return f"{'' if surprisal is None else f'{min(surprisal, _LARGEST_SHOWN):.1f}':>5}"


def title(tokens: Sequence[PromptToken]) -> str:
    """What the panel shows while its tokens are coloured."""
    known = [token.surprisal for token in tokens if token.surprisal is not None]
    mean = f", mean {min(sum(known) / len(known), _LARGEST_SHOWN):.1f}" if known else ": not recorded"
    return f"Prompt  {len(tokens)} tokens, surprisal −ln P in nats{mean}"


def words(surprisal: float | None) -> str:
    """Of one token: its surprisal and its probability."""
    if surprisal is None:
        return "surprisal not measured"
    return f"surprisal {number(surprisal).strip()}, P {formatting.mass(math.exp(-surprisal))}"


def legend(vocab_size: int, width: int) -> Line:
    limits = [f"{limit:.1f}" for limit in _limits(vocab_size)]
    meanings = [f"<{limits[0]} nats", f"<{limits[1]}", f"<{limits[2]} chance", "more"]
    return fit_parts([[span, (f" {text}", "quiet")] for span, text in zip(GRADES, meanings, strict=True)], width)


def _limits(vocab_size: int) -> tuple[float, float, float]:
    return LIKELY, RARE, max(math.log(max(vocab_size, 1)), RARE)
