"""What happens inside a frail worker; the only side of it that imports torch."""

from __future__ import annotations

from distprompt_tui.worker import __main__, checkpoint, session
from tests.worker.frail import Frailty

__all__ = ["session", "weaken"]


def weaken(frailty: Frailty) -> None:
    """Change what the frailty says in this process."""
    __main__.NICENESS = 0
    checkpoint.SECONDS, checkpoint.STEPS, checkpoint.SHARE_OF_TIME = frailty.seconds, frailty.steps, frailty.share
