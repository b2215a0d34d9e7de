"""How long tests wait: until something is true, or until a deadline that only a hanging program reaches."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

DEADLINE_SECONDS = 300
"""Far more than anything takes on one busy core."""


def until(condition: Callable[[], Any], what: Callable[[], str] = str) -> Any:
    """Wait until something is true; its value. Fails after the deadline, with what `what` returns then."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not (found := condition()):
        assert time.monotonic() < deadline, what()
        time.sleep(0.01)
    return found
