"""The part of a faulty worker that runs in its process and imports torch."""

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
    """Inject the faults into this process."""
    __main__.NICENESS = 0
    LanguageModel._logits = faults.model.around(LanguageModel._logits)
    if faults.clock:
        time.time = jumping(faults.clock)
    if faults.halt is not None:
        Recorder.checkpoint_if_due = halting(Recorder.checkpoint_if_due, faults.halt)  # type: ignore[method-assign]
    checkpoint.SECONDS, checkpoint.STEPS, checkpoint.SHARE_OF_TIME = faults.seconds, faults.steps, faults.share


def jumping(seconds: float) -> Callable[[], float]:
    """Return a clock that jumps forward and back."""
    true, looks = time.time, itertools.count()
    return lambda: true() + (seconds if next(looks) % 2 else -seconds)


def halting(checkpoint_if_due: Callable[..., None], step: int) -> Callable[..., None]:
    """Wrap `checkpoint_if_due` to halt the process once, from `step` on and if there is a checkpoint."""
    halts = iter([True])

    def check(recorder: Any, search: Any) -> None:
        checkpoint_if_due(recorder, search)
        if recorder.step >= step and recorder._run.checkpoint.exists() and next(halts, False):
            os.kill(os.getpid(), signal.SIGSTOP)

    return check
