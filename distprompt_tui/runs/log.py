"""The worker's log: the output of libraries and tracebacks."""

from __future__ import annotations

from pathlib import Path

from distprompt_tui.core.storage.safe_io import open_regular

LOG_TAIL_BYTES = 65_536


def read_log(path: Path) -> list[str]:
    """Return the last lines of a log, empty without a file. The lines are not sanitized for a terminal."""
    try:
        with open_regular(path) as file:
            file.seek(0, 2)
            file.seek(max(file.tell() - LOG_TAIL_BYTES, 0))
            data = file.read(LOG_TAIL_BYTES)
    except OSError:
        return []
    return [line for line in data.decode("utf-8", errors="replace").splitlines() if line.strip()]
