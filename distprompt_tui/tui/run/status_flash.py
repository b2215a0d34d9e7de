"""A temporary message on the status line: the search has started, or has a new best."""

from __future__ import annotations

import math
from dataclasses import dataclass

from distprompt_tui.runs.state import RunState
from distprompt_tui.text import formatting
from distprompt_tui.text.formatting import Span

SHOWN_SECONDS = 4.0

REST_SECONDS = 10.0  # minimum interval between messages, for searches that improve at every step


@dataclass(frozen=True)
class StatusFlash:
    """The last message; `at` is its time on a monotonic clock, `best_kl` the run's best at that time, nats."""

    text: tuple[Span, ...] = ()
    at: float = -math.inf
    best_kl: float | None = None

    def text_at(self, now: float) -> tuple[Span, ...]:
        return self.text if now - self.at < SHOWN_SECONDS else ()


def next_flash(flash: StatusFlash, run: RunState, now: float) -> StatusFlash:
    """Return the current message for a run; `now` in seconds of a monotonic clock."""
    best = run.best_kl
    if run.phase != "searching" or best is None or now - flash.at < REST_SECONDS:
        return flash
    if flash.best_kl is None:
        return StatusFlash((("started at ", "good"), (formatting.nats(run.start_kl), "strong")), now, best)
    if best >= flash.best_kl:
        return flash
    gain = formatting.nats(flash.best_kl - best)
    return StatusFlash((("◆ new best ", "good"), (formatting.nats(best), "strong"), (f" −{gain}", "quiet")), now, best)
