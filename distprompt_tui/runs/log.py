"""The worker's own output: what a library or a crash wrote."""

from __future__ import annotations

from pathlib import Path

from distprompt_tui.storage.safe_io import open_regular

LOG_TAIL_BYTES = 65_536


def read_log(path: Path) -> list[str]:
    """The last lines of a worker's output; none where there is no file. Not yet safe for a terminal."""
    try:
        with open_regular(path) as file:
            file.seek(0, 2)
            file.seek(max(file.tell() - LOG_TAIL_BYTES, 0))
            data = file.read(LOG_TAIL_BYTES)
    except OSError:
        return []
    return [line for line in data.decode("utf-8", errors="replace").splitlines() if line.strip()]
