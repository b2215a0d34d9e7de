"""A word on what has just happened in a run, on its status line for a moment: it has begun, or it has a new best."""

from __future__ import annotations

import math
from dataclasses import dataclass

from distprompt_tui.runs.state import RunState
from distprompt_tui.text import formatting
from distprompt_tui.text.formatting import Span

SHOWN_SECONDS = 4.0

REST_SECONDS = 10.0
"""At least so much lies between two words: a search that falls at every step would never be silent."""


@dataclass(frozen=True)
class StatusFlash:
    """What was told last.

    Attributes:
        text: of the message.
        at: when, seconds of a monotonic clock.
        best_kl: the run's best then, nats; None before its first step.
    """

    text: tuple[Span, ...] = ()
    at: float = -math.inf
    best_kl: float | None = None

    def text_at(self, now: float) -> tuple[Span, ...]:
        """What stands on the status line."""
        return self.text if now - self.at < SHOWN_SECONDS else ()


def next_flash(flash: StatusFlash, run: RunState, now: float) -> StatusFlash:
    """What is told of a run now.

    Args:
        flash: what was told last.
        run: as it is.
        now: seconds of a monotonic clock.
    """
    best = run.best_kl
    if run.phase != "searching" or best is None or now - flash.at < REST_SECONDS:
        return flash
    if flash.best_kl is None:
        return StatusFlash((("begun at ", "good"), (formatting.nats(run.start_kl), "strong")), now, best)
    if best >= flash.best_kl:
        return flash
    gain = formatting.nats(flash.best_kl - best)
    return StatusFlash((("◆ new best ", "good"), (formatting.nats(best), "strong"), (f" −{gain}", "quiet")), now, best)
