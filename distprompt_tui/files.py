"""Writing files so that a reader sees the old one or the new one, never half of one."""

from __future__ import annotations

import errno
import io
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    from numpy.typing import NDArray


def write_atomically(
    path: Path, write: Callable[[BinaryIO], object], keep: Path | None = None, durable: bool = True
) -> None:
    """Write to a temporary file beside `path`, flush it to disk and rename it into place.

    Args:
        path: the file to replace.
        write: is handed the open temporary file.
        keep: where the file that is replaced goes, once the new one is safe.
        durable: wait until it is on the disk, so that it outlives a power failure.
    """
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        if keep is not None and path.exists():
            path.replace(keep)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_array(path: Path, array: NDArray[Any]) -> None:
    """Replace `path` by an array as `.npy`."""
    from numpy import save

    data = io.BytesIO()  # into a real file numpy would write by itself, and not say why it failed
    save(data, array)
    write_atomically(path, lambda file: file.write(data.getvalue()))


def write_json(path: Path, value: Any, durable: bool = True) -> None:
    """Replace `path` by `value` as JSON. JSON has no NaN: one is a `ValueError` here, not a broken file."""
    text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomically(path, lambda file: file.write(text.encode()), durable=durable)


def append_line(descriptor: int, value: dict[str, Any]) -> None:
    """Append one JSON object as a line, in a single write, so that lines of two writers never mix."""
    line = (json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")) + "\n").encode()
    written = os.write(descriptor, line)
    if written < len(line):  # the disk is full: half a line would spoil the next one
        os.ftruncate(descriptor, os.fstat(descriptor).st_size - written)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
