"""Detach when the terminal disappears, and make sure that the process ends. The search runs in another session."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from textual.app import App

GRACE_SECONDS = 1.0  # the process ends within this time of a hang-up: writing to a lost terminal can block forever

CHECK_SECONDS = 5.0  # interval of checks for the terminal, because some connections drop without a signal


def watch_terminal(app: App[int]) -> None:
    """Quit on SIGHUP or SIGTERM, and when standard input is no longer a terminal."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGHUP, signal.SIGTERM):
        loop.add_signal_handler(number, _leave, app, 128 + number)
    app.set_interval(CHECK_SECONDS, lambda: None if _has_terminal() else _leave(app, 128 + signal.SIGHUP))


def _has_terminal() -> bool:
    stdin = sys.__stdin__
    return stdin is not None and os.isatty(stdin.fileno())


def _leave(app: App[int], code: int) -> None:
    end = threading.Timer(GRACE_SECONDS, os._exit, (code,))
    end.daemon = True
    end.start()
    app.exit(code, return_code=code)
