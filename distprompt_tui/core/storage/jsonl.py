"""Append-only files of JSON lines, one object per line."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from typing import Any

from distprompt_tui.core.storage.safe_io import terminal_safe_json


def append_line(descriptor: int, value: dict[str, Any]) -> None:
    append_lines(descriptor, [value])


def append_lines(descriptor: int, values: Sequence[dict[str, Any]]) -> None:
    """Append JSON objects as lines, in a single write, so that lines of two writers never mix.

    Raises:
        OSError: the lines cannot be written; the file is unchanged.
    """
    lines = "".join(terminal_safe_json(value, separators=(",", ":")) + "\n" for value in values).encode()
    written = os.write(descriptor, lines)
    if written < len(lines):  # the disk is full: a partial line would damage the next one
        os.ftruncate(descriptor, os.fstat(descriptor).st_size - written)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def end_torn_line(descriptor: int) -> None:
    """Terminate an incomplete last line of a killed writer. The file must be open for reading and appending."""
    size = os.fstat(descriptor).st_size
    if size and os.pread(descriptor, 1, size - 1) != b"\n":
        os.write(descriptor, b"\n")
