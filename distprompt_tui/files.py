"""Writing files so that a reader sees the old one or the new one, never half of one."""

from __future__ import annotations

import json
import os
import tempfile
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from distprompt_tui.errors import UsageError


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write to a temporary file beside `path`, flush it to disk and rename it into place.

    Args:
        path: the file to replace.
        write: is handed the open temporary file.
    """
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def read_toml(path: Path, max_bytes: int) -> tuple[str, dict[str, Any]]:
    """A small TOML file that a person writes: its text and what it says.

    Raises:
        UsageError: it cannot be read, is larger than `max_bytes`, or is no TOML; the text names it.
        FileNotFoundError: it is not there.
    """
    try:
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
        if len(data) > max_bytes:
            raise UsageError(f"{path} is larger than {max_bytes:,} bytes")
        text = data.decode()
        return text, tomllib.loads(text)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 text") from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path}: not TOML: {error}") from error


def is_own(path: Path) -> bool:
    """Whether a file or folder belongs to the person who asks; what is not there is taken for it."""
    try:
        return path.stat().st_uid == os.geteuid()
    except OSError:
        return True


def write_json(path: Path, value: Any) -> None:
    """Replace `path` by `value` as JSON. JSON has no NaN: one is a `ValueError` here, not a broken file."""
    text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomically(path, lambda file: file.write(text.encode()))


def append_line(descriptor: int, value: dict[str, Any]) -> None:
    """Append one JSON object as a line, in a single write, so that lines of two writers never mix."""
    line = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")) + "\n"
    os.write(descriptor, line.encode())
