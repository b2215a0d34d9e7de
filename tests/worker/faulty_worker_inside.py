"""What happens inside a frail worker; the only side of it that imports torch."""

from __future__ import annotations

import itertools
import os
import signal
import time
from collections.abc import Callable
from typing import Any

from distprompt_tui.models.language_model import LanguageModel
from distprompt_tui.worker import __main__, checkpoint, session
from distprompt_tui.worker.recorder import Recorder
from tests.worker.faulty_worker import Faults

__all__ = ["session", "weaken"]


def weaken(faults: Faults) -> None:
    """Change what the faults says in this process."""
    __main__.NICENESS = 0
    LanguageModel._logits = faults.model.around(LanguageModel._logits)
    if faults.clock:
        time.time = jumping(faults.clock)
    if faults.halt is not None:
        Recorder.checkpoint_if_due = halting(Recorder.checkpoint_if_due, faults.halt)  # type: ignore[method-assign]
    checkpoint.SECONDS, checkpoint.STEPS, checkpoint.SHARE_OF_TIME = faults.seconds, faults.steps, faults.share


def jumping(seconds: float) -> Callable[[], float]:
    """A clock that is set forward and back."""
    true, looks = time.time, itertools.count()
    return lambda: true() + (seconds if next(looks) % 2 else -seconds)


def halting(checkpoint_if_due: Callable[..., None], step: int) -> Callable[..., None]:
    """The same, but once, at a step or as soon as there is a checkpoint, the process stops."""
    halts = iter([True])

    def check(recorder: Any, search: Any) -> None:
        checkpoint_if_due(recorder, search)
        if recorder.step >= step and recorder._run.checkpoint.exists() and next(halts, False):
            os.kill(os.getpid(), signal.SIGSTOP)

    return check
