"""What happens inside a frail worker; the only side of it that imports torch."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable

from distprompt_tui.models.language_model import LanguageModel
from distprompt_tui.worker import __main__, checkpoint, session
from tests.worker.frail import Frailty

__all__ = ["session", "weaken"]


def weaken(frailty: Frailty) -> None:
    """Change what the frailty says in this process."""
    __main__.NICENESS = 0
    LanguageModel._logits = frailty.model.around(LanguageModel._logits)
    if frailty.clock:
        time.time = jumping(frailty.clock)
    checkpoint.SECONDS, checkpoint.STEPS, checkpoint.SHARE_OF_TIME = frailty.seconds, frailty.steps, frailty.share


def jumping(seconds: float) -> Callable[[], float]:
    """A clock that is set forward and back."""
    true, looks = time.time, itertools.count()
    return lambda: true() + (seconds if next(looks) % 2 else -seconds)
