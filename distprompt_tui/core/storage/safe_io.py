"""Atomic writing of files, and safe reading of untrusted ones."""

from __future__ import annotations

import codecs
import errno
import fcntl
import io
import json
import math
import os
import re
import secrets
import stat
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from distprompt_tui.core.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_JSON_BYTES = 1 << 24
"""Limit of JSON and TOML files; the largest, a result with the text of 4,096 tokens, has about 100 kB."""

_OWNER_ONLY = 0o600
_BY_UMASK = 0o666

_TEMPORARY_CHARACTERS = 40
"""Characters of a file's name in the name of its temporary file, so that this is not too long."""

_NOT_REPLACED = (errno.EACCES, errno.EPERM, errno.EBUSY, errno.EROFS)
"""Errors of replacing a file that can still be overwritten: the folder is read-only, or the file is a mount."""

_NOT_PLAIN = re.compile("[\x7f-\x9f\ud800-\udfff]")
"""Characters that JSON does not escape, but that control a terminal or are not UTF-8: DEL, C1 controls, surrogates."""

_PERHAPS_HALF = re.compile(r"\\u[dD][89a-fA-F]")  # escape of a surrogate in JSON, alone or in a pair


def user_path(name: str | Path) -> Path:
    """Expand `~` in a path entered by the user.

    Raises:
        NotFoundError: the path is invalid; the message gives the reason.
    """
    if "\0" in str(name):
        raise NotFoundError(f"invalid path {str(name)!r}: it contains a null character")
    try:
        path = Path(name).expanduser()
        os.fsencode(path)
    except RuntimeError:
        raise NotFoundError(f"{name} not found: no home folder found for '~'") from None
    except UnicodeEncodeError:
        raise NotFoundError(
            f"invalid path {str(name)!r}: it contains characters that file names cannot contain on this system"
        ) from None
    return path


def absolute(name: str, folder: Path) -> str:
    """Make a path entered by the user absolute, without `..` and `~`; relative ones start at `folder`.

    An invalid path is returned unchanged.
    """
    try:
        path = folder.absolute() / user_path(name)
    except NotFoundError:
        return name
    if ".." in path.parts:  # after a link, `..` is the parent of the link's destination
        path = Path(os.path.realpath(path if path.name == ".." else path.parent)) / path.name.replace("..", "")
    return str(path)


def found_in(folder: Path, pattern: str) -> list[Path]:
    """Return the sorted files and folders that match a glob pattern; none if the folder cannot be read."""
    try:
        return sorted(folder.glob(pattern))
    except OSError:
        return []


def is_file(path: Path) -> bool:
    """Whether a file exists; False if its path is too long or a parent folder cannot be entered."""
    return os.path.isfile(path)  # noqa: PTH113  `Path.is_file` raises for these


def is_folder(path: Path) -> bool:
    """Whether a folder exists; False if its path is too long or a parent folder cannot be entered."""
    return os.path.isdir(path)  # noqa: PTH112  `Path.is_dir` raises for these


def write_atomically(
    path: Path,
    write: Callable[[BinaryIO], object],
    backup: Path | None = None,
    durable: bool = True,
    mode: int = _OWNER_ONLY,
) -> None:
    """Write to a temporary file beside `path`, flush it to disk and rename it into place.

    Args:
        path: the file to replace. A symbolic link is replaced, not followed.
        write: writes the content to the open temporary file.
        backup: new path of the replaced file, once the new one is complete.
        durable: wait until the file is on the disk, so that it survives a power failure.
        mode: permissions, restricted by the umask; by default, only the owner has access.
    """
    temporary = path.with_name(f".{path.name[:_TEMPORARY_CHARACTERS]}.{secrets.token_hex(6)}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        if backup is not None and path.exists():
            path.replace(backup)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_out(path: Path, data: bytes) -> None:
    """Write to a path given by the user, like a shell's `>`.

    A file is replaced atomically and keeps its permissions; a new one gets those of the umask. Links are followed.
    Standard output, pipes and devices are written directly.

    Raises:
        OSError: the data cannot be written.
    """
    try:
        there = path.stat()
    except FileNotFoundError:
        there = None
    real = Path(os.path.realpath(path))
    if there is None:
        write_atomically(real, lambda file: file.write(data), mode=_BY_UMASK)
        return
    if (own := _own_stream(there)) is not None:
        _write_all(own, data)
    elif not stat.S_ISREG(there.st_mode) or there.st_nlink > 1 or there.st_uid != os.geteuid():
        _write_into(path, data)
    elif not os.access(path, os.W_OK):
        raise OSError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    else:
        _replace(real, data, stat.S_IMODE(there.st_mode))


def _own_stream(there: os.stat_result) -> int | None:
    """Return the descriptor of standard output or error if it is this file: opening it again would overwrite it."""
    for descriptor, stream in ((1, sys.stdout), (2, sys.stderr)):
        with suppress(OSError):
            if os.path.samestat(os.fstat(descriptor), there):
                if stream is not None:
                    stream.flush()
                return descriptor
    return None


def _replace(path: Path, data: bytes, mode: int) -> None:
    def write(file: BinaryIO) -> None:
        os.fchmod(file.fileno(), mode)
        file.write(data)

    try:
        write_atomically(path, write)
    except OSError as error:
        if error.errno not in _NOT_REPLACED:
            raise
        _write_into(path, data)


def _write_into(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC | os.O_NOCTTY)
    try:
        _write_all(descriptor, data)
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]


def is_part(given: str, name: str) -> bool:
    """Whether a text entered by the user selects a name that contains it; an unset variable (`""`) selects nothing."""
    return given in name and given.strip(" .") != ""


def is_owned_by_user(path: Path) -> bool:
    """Whether the user owns a file or folder; True if it does not exist."""
    try:
        return path.stat().st_uid == os.geteuid()
    except OSError:
        return True


@dataclass(frozen=True)
class Unreadable:
    """An entry of a folder that cannot be read; `why` is the system's error message."""

    path: Path
    why: str


def list_folders(folder: Path, name: str) -> tuple[list[tuple[Path, os.stat_result]], list[Unreadable]]:
    """List the subfolders with a file `name` and the status of this file, and the unreadable entries, both sorted.

    Raises:
        UsageError: the folder itself cannot be read.
    """
    found, unreadable = [], []
    try:
        paths = sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return [], []
    except OSError as error:
        raise UsageError(f"{folder} cannot be read: {error.strerror}") from error
    for path in paths:
        try:
            if (status := stat_inside(path, name)) is not None:
                found.append((path, status))
        except OSError as error:
            unreadable.append(Unreadable(path, why_unreadable(error)))
    return found, unreadable


def stat_inside(folder: Path, name: str) -> os.stat_result | None:
    """Return the status of a regular file inside a folder; None if there is no such file.

    Raises:
        OSError: no permission, a broken link or a link to itself.
    """
    try:
        status = (folder / name).stat()
    except ValueError:  # a null byte
        return None
    except (FileNotFoundError, NotADirectoryError):
        if (folder.is_symlink() and not folder.exists()) or (folder / name).is_symlink():
            raise
        return None
    return status if stat.S_ISREG(status.st_mode) else None


def why_unreadable(error: OSError) -> str:
    if error.errno == errno.ENOENT:
        return "it is a broken link"
    return error.strerror or type(error).__name__


def write_array(path: Path, array: NDArray[Any]) -> None:
    from numpy import save

    data = io.BytesIO()  # numpy's errors of writing to a real file do not contain the reason
    save(data, array)
    write_atomically(path, lambda file: file.write(data.getvalue()))


def write_json(path: Path, value: Any, durable: bool = True) -> None:
    """Write `value` to a JSON file, which is replaced atomically. Raises ValueError for NaN, which JSON lacks."""
    data = as_json(value)
    write_atomically(path, lambda file: file.write(data), durable=durable)


def as_json(value: Any) -> bytes:
    """Encode the content of a JSON file. Raises ValueError for NaN, which JSON lacks."""
    return (terminal_safe_json(value, indent=1) + "\n").encode()


def open_private(path: Path, flags: int) -> int:
    """Open a file of a run for writing; return a descriptor above 2. A new file is accessible to its owner only.

    A child process has its standard streams on 0 to 2, so it would lose a lock on one of these descriptors.

    Raises:
        OSError: the file cannot be opened, or is a symbolic link, which could redirect the writes.
    """
    descriptor = os.open(path, flags | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, _OWNER_ONLY)
    if descriptor > 2:
        return descriptor
    try:
        return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 3)
    finally:
        os.close(descriptor)


def open_regular(path: Path) -> io.BufferedReader:
    """Open a regular file for reading; pipes and devices, which may block or never end, raise OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    return os.fdopen(descriptor, "rb")


def read_limited(path: Path, most: int) -> bytes:
    """Read a regular file of at most `most` bytes; larger files raise OSError."""
    with open_regular(path) as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise OSError(errno.EFBIG, f"it is larger than {most:,} bytes", str(path))
    return data


def read_text(path: Path, most: int) -> str:
    """Read a text file in UTF-8, with or without a byte order mark.

    Raises:
        OSError: the file cannot be read, is not a regular file or is larger than `most` bytes.
        ValueError: another encoding; the message gives the first invalid byte.
    """
    data = read_limited(path, most)
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ValueError("it is UTF-16, not UTF-8; save it as UTF-8")
    try:
        return data.removeprefix(codecs.BOM_UTF8).decode()
    except UnicodeDecodeError as error:
        byte, line = data[error.start], data.count(b"\n", 0, error.start) + 1
        raise ValueError(f"byte {error.start} (line {line}) is {byte:#04x}, not UTF-8; save it as UTF-8") from None


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object from a file.

    Raises:
        UsageError: the file cannot be read or is not a JSON object; the message gives its path.
    """
    try:
        value = parse_json(read_text(path, MAX_JSON_BYTES))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(f"{path} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise UsageError(f"{path} is not a JSON object")
    return value


def parse_json(text: str, *, pairs: bool = False) -> Any:
    """Parse standard JSON: without NaN, infinity and unpaired surrogates.

    With `pairs`, objects are returned as lists of pairs, including repeated keys.

    Raises:
        ValueError: the text is not JSON, or is nested too deeply.
    """
    try:
        value = (_PAIRS_DECODER if pairs else _DECODER).decode(text)
        if _PERHAPS_HALF.search(text):
            json.dumps(value, ensure_ascii=False).encode()  # raises ValueError for an unpaired surrogate
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return value


def terminal_safe_json(value: Any, **how: Any) -> str:
    """Encode JSON as valid UTF-8 without control characters, so that printing it cannot control a terminal."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, **how)
    return _NOT_PLAIN.sub(_plain, text)


def _plain(found: re.Match[str]) -> str:
    """Escape a character; for a surrogate, which is invalid in JSON, also escape the backslash."""
    escape = f"\\u{ord(found[0]):04x}"
    return f"\\{escape}" if found[0] >= "\ud800" else escape


def _refuse(digits: str) -> Any:
    raise ValueError(f"{digits[:20]} is not a finite number")


def _finite(digits: str) -> float:
    number = float(digits)
    return number if math.isfinite(number) else _refuse(digits)


_DECODER = json.JSONDecoder(parse_constant=_refuse, parse_float=_finite)
_PAIRS_DECODER = json.JSONDecoder(parse_constant=_refuse, parse_float=_finite, object_pairs_hook=list)
