"""Files: written so that a reader sees the old one or the new one, read so that a foreign one can do no harm."""

from __future__ import annotations

import errno
import io
import json
import math
import os
import re
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from distprompt_tui.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_JSON_BYTES = 1 << 24
"""Of a JSON or TOML file that is read whole; the largest, a result with the text of 4,096 tokens, takes some 100 kB."""

_OWNER_ONLY = 0o600

_NOT_PLAIN = re.compile("[\x7f-\x9f\ud800-\udfff]")
"""What JSON leaves as it is and a terminal or UTF-8 does not: DEL, C1 controls, halves of characters."""

_PERHAPS_HALF = re.compile(r"\\u[dD][89a-fA-F]")
"""How half a character is written in JSON; a whole one of two halves begins so too."""


def write_atomically(
    path: Path, write: Callable[[BinaryIO], object], keep: Path | None = None, durable: bool = True
) -> None:
    """Write to a temporary file beside `path`, flush it to disk and rename it into place.

    Args:
        path: the file to replace; it will be its owner's only. A symbolic link is replaced, not followed.
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


def is_own(path: Path) -> bool:
    """Whether a file or folder belongs to the person who asks; what is not there is taken for it."""
    try:
        return path.stat().st_uid == os.geteuid()
    except OSError:
        return True


def write_array(path: Path, array: NDArray[Any]) -> None:
    """Replace `path` by an array as `.npy`."""
    from numpy import save

    data = io.BytesIO()  # into a real file numpy would write by itself, and not say why it failed
    save(data, array)
    write_atomically(path, lambda file: file.write(data.getvalue()))


def write_json(path: Path, value: Any, durable: bool = True) -> None:
    """Replace `path` by `value` as JSON. JSON has no NaN: one is a `ValueError` here, not a broken file."""
    text = _plain_json(value, indent=1) + "\n"
    write_atomically(path, lambda file: file.write(text.encode()), durable=durable)


def append_line(descriptor: int, value: dict[str, Any]) -> None:
    """Append one JSON object as a line, in a single write, so that lines of two writers never mix."""
    line = (_plain_json(value, separators=(",", ":")) + "\n").encode()
    written = os.write(descriptor, line)
    if written < len(line):  # the disk is full: half a line would spoil the next one
        os.ftruncate(descriptor, os.fstat(descriptor).st_size - written)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def open_own(path: Path, flags: int) -> int:
    """Open a file of a run for writing, made for its owner only where it is missing; a file descriptor.

    Raises:
        OSError: it cannot be opened, or is a symbolic link: what is written would land elsewhere.
    """
    return os.open(path, flags | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, _OWNER_ONLY)


def open_regular(path: Path) -> BinaryIO:
    """Open a file for reading.

    Raises:
        OSError: it cannot be opened, or is a pipe or a device, which would block or never end.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    return os.fdopen(descriptor, "rb")


def read_whole(path: Path, most: int) -> bytes:
    """A file of at most `most` bytes.

    Raises:
        OSError: it cannot be read, is no regular file or is larger.
    """
    with open_regular(path) as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise OSError(errno.EFBIG, f"it is larger than {most:,} bytes", str(path))
    return data


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        UsageError: there is none; the text names the file.
    """
    try:
        value = parse_json(read_whole(path, MAX_JSON_BYTES).decode())
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(f"{path} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise UsageError(f"{path} holds no JSON object")
    return value


def parse_json(text: str, *, pairs: bool = False) -> Any:
    """JSON as it is defined: without NaN and infinity, without halves of characters.

    Args:
        text: the JSON.
        pairs: give an object as a list of its pairs, repeated keys included.

    Raises:
        ValueError: it is something else, or nested too deeply.
    """
    try:
        value = (_PAIRS_DECODER if pairs else _DECODER).decode(text)
        if _PERHAPS_HALF.search(text):
            json.dumps(value, ensure_ascii=False).encode()  # a `ValueError` where a half stands alone
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return value


def _plain_json(value: Any, **how: Any) -> str:
    """JSON in which every character is UTF-8 and none steers a terminal that the file is printed to."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, **how)
    return _NOT_PLAIN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _refuse(digits: str) -> Any:
    raise ValueError(f"{digits[:20]} is not a finite number")


def _finite(digits: str) -> float:
    number = float(digits)
    return number if math.isfinite(number) else _refuse(digits)


_DECODER = json.JSONDecoder(parse_constant=_refuse, parse_float=_finite)
_PAIRS_DECODER = json.JSONDecoder(parse_constant=_refuse, parse_float=_finite, object_pairs_hook=list)
