"""Standard streams that never raise: output that cannot be written is dropped and reported at the end."""

from __future__ import annotations

import codecs
import io
import select
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_REPLACE = "distprompt-replace"

_result: Path | None = None


class Output(io.FileIO):
    """A raw standard stream that drops output after its first failure, so that a command can finish its work."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor, "wb", closefd=False)
        self.problem: OSError | None = None

    def write(self, data: ReadableBuffer, /) -> int:
        size = memoryview(data).nbytes
        if self.problem is not None:
            return size
        try:
            while (written := cast("int | None", super().write(data))) is None:  # a non-blocking pipe is full
                select.select([], [self], [])
        except OSError as error:
            self.problem = error
            return size
        return written


def guard_streams() -> Output | None:
    """Replace `sys.stdout` and `sys.stderr` by streams whose `write` never raises.

    Characters outside the encoding become ASCII characters.

    Returns:
        The raw stream of stdout; None if stdout is not a file, for example in a test runner.
    """
    codecs.register_error(_REPLACE, _replaced)
    found = None
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        with suppress(OSError, ValueError):
            stream.flush()
        try:
            output = Output(stream.fileno())
        except (AttributeError, OSError, ValueError):
            continue
        setattr(
            sys,
            name,
            io.TextIOWrapper(
                io.BufferedWriter(output),
                encoding=getattr(stream, "encoding", None) or "utf-8",
                errors=_REPLACE,
                line_buffering=name == "stderr" or output.isatty(),
                write_through=getattr(stream, "write_through", False),
            ),
        )
        found = output if name == "stdout" else found
    return found


def result_is_in(path: Path) -> None:
    """Store the path of a result, to report it if the result cannot be printed."""
    global _result
    _result = path


def finish(stdout: Output | None) -> str:
    """Flush the streams; return a message if output was dropped, else an empty string."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    if stdout is None or stdout.problem is None:
        return ""
    where = f"; the result is in {_result}" if _result is not None else ""
    return f"stdout could not be written: {stdout.problem.strerror}{where}"


def _replaced(error: UnicodeError) -> tuple[str | bytes, int]:
    """Codec error handler: keep surrogate-escaped bytes, replace other characters by ASCII of the same width."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    from distprompt_tui.core.text.ascii import to_ascii

    text = error.object[error.start : error.end]
    with suppress(UnicodeEncodeError):
        return text.encode("ascii", "surrogateescape"), error.end
    return "".join(to_ascii(char) or "?" for char in text), error.end
