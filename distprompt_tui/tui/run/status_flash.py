"""When to mark a run's best divergence as new, for a few seconds."""

from __future__ import annotations

import math
from dataclasses import dataclass

from distprompt_tui.runs.state import RunState

SHOWN_SECONDS = 4.0

REST_SECONDS = 10.0  # minimum interval between marks, for searches that improve at every step


@dataclass(frozen=True)
class StatusFlash:
    """The last mark; `at` is its time on a monotonic clock, `best_kl` the run's best at that time, nats."""

    at: float = -math.inf
    best_kl: float | None = None

    def is_on(self, now: float) -> bool:
        return now - self.at < SHOWN_SECONDS


def next_flash(flash: StatusFlash, run: RunState, now: float) -> StatusFlash:
    """Return the current mark for a run; `now` in seconds of a monotonic clock. The first step is not marked."""
    best = run.best_kl
    if run.phase != "searching" or best is None or now - flash.at < REST_SECONDS:
        return flash
    if flash.best_kl is None:
        return StatusFlash(flash.at, best)
    return StatusFlash(now, best) if best < flash.best_kl else flash
