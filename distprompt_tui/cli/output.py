"""stdout and stderr that lose no result: what cannot be written there is dropped, and told at the end."""

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
    """A standard stream as raw bytes. After the first failure all that is written is dropped.

    A command so does all of its work, whatever becomes of its text.

    Attributes:
        problem: the first failure; None while there is none.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor, "wb", closefd=False)
        self.problem: OSError | None = None

    def write(self, data: ReadableBuffer, /) -> int:
        """Write some of the bytes; how many."""
        size = memoryview(data).nbytes
        if self.problem is not None:
            return size
        try:
            while (written := cast("int | None", super().write(data))) is None:  # a pipe that does not block is full
                select.select([], [self], [])
        except OSError as error:
            self.problem = error
            return size
        return written


def guard_streams() -> Output | None:
    """Replace `sys.stdout` and `sys.stderr` by streams whose writing never raises.

    Characters that the encoding lacks become ASCII ones.

    Returns:
        What stdout is written through; None where it is no file, as under a test runner.
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
    """Remember where a result lies, for the case that it cannot be printed."""
    global _result
    _result = path


def finish(stdout: Output | None) -> str:
    """Write out what is buffered; a sentence on what could not be printed, empty where all was."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    if stdout is None or stdout.problem is None:
        return ""
    where = f"; the result is in {_result}" if _result is not None else ""
    return f"stdout could not be written: {stdout.problem.strerror}{where}"


def _replaced(error: UnicodeError) -> tuple[str | bytes, int]:
    """A codec's error handler: bytes of a file's name as they are, other characters by ASCII ones of their width."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    from distprompt_tui.text.ascii import to_ascii

    text = error.object[error.start : error.end]
    with suppress(UnicodeEncodeError):
        return text.encode("ascii", "surrogateescape"), error.end
    return "".join(to_ascii(char) or "?" for char in text), error.end
