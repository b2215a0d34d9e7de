"""Files: written so that a reader sees the old one or the new one, read so that a foreign one can do no harm."""

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

from distprompt_tui.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_JSON_BYTES = 1 << 24
"""Of a JSON or TOML file that is read whole; the largest, a result with the text of 4,096 tokens, takes some 100 kB."""

_OWNER_ONLY = 0o600
_BY_UMASK = 0o666

_TEMPORARY_CHARACTERS = 40
"""Of a file's name in that of its temporary file, which then is short enough wherever the name itself is."""

_NOT_REPLACED = (errno.EACCES, errno.EPERM, errno.EBUSY, errno.EROFS)
"""Why no file can take another's place although that one can be written: its folder is read-only, it is a mount."""

_NOT_PLAIN = re.compile("[\x7f-\x9f\ud800-\udfff]")
"""What JSON leaves as it is and a terminal or UTF-8 does not: DEL, C1 controls, halves of characters."""

_PERHAPS_HALF = re.compile(r"\\u[dD][89a-fA-F]")
"""How half a character is written in JSON; a whole one of two halves begins so too."""


def user_path(name: str | Path) -> Path:
    """A path as a person writes it, with `~` replaced by a home folder.

    Raises:
        NotFoundError: no file can have this path; the text says why.
    """
    if "\0" in str(name):
        raise NotFoundError(f"{str(name)!r} is no path: it has a null character")
    try:
        path = Path(name).expanduser()
        os.fsencode(path)
    except RuntimeError:
        raise NotFoundError(f"{name} is not there: no home folder is known for its '~'") from None
    except UnicodeEncodeError:
        raise NotFoundError(f"{str(name)!r} is no path: it has characters that no file's name can have here") from None
    return path


def absolute(name: str, folder: Path) -> str:
    """A path as a person writes it, as one that means the same from any working directory.

    Args:
        name: relative to `folder`, absolute, or with `~`.

    Returns:
        The path without `..`; the name itself where no file can have it.
    """
    try:
        path = folder.absolute() / user_path(name)
    except NotFoundError:
        return name
    if ".." in path.parts:  # behind a link it is not what stands before it
        path = Path(os.path.realpath(path if path.name == ".." else path.parent)) / path.name.replace("..", "")
    return str(path)


def found_in(folder: Path, pattern: str) -> list[Path]:
    """The files or folders that fit a pattern, sorted; none where the folder cannot be read."""
    try:
        return sorted(folder.glob(pattern))
    except OSError:
        return []


def is_file(path: Path) -> bool:
    """Whether a file is there; not, where its path is too long or a folder on the way cannot be entered."""
    return os.path.isfile(path)  # noqa: PTH113  `Path.is_file` raises for these


def is_folder(path: Path) -> bool:
    """Whether a folder is there; not, where its path is too long or a folder on the way cannot be entered."""
    return os.path.isdir(path)  # noqa: PTH112  `Path.is_dir` raises for these


def write_atomically(
    path: Path,
    write: Callable[[BinaryIO], object],
    keep: Path | None = None,
    durable: bool = True,
    mode: int = _OWNER_ONLY,
) -> None:
    """Write to a temporary file beside `path`, flush it to disk and rename it into place.

    Args:
        path: the file to replace. A symbolic link is replaced, not followed.
        write: is handed the open temporary file.
        keep: where the file that is replaced goes, once the new one is safe.
        durable: wait until it is on the disk, so that it outlives a power failure.
        mode: of the file, as far as the umask lets it be; its owner's only by default.
    """
    temporary = path.with_name(f".{path.name[:_TEMPORARY_CHARACTERS]}.{secrets.token_hex(6)}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        if keep is not None and path.exists():
            path.replace(keep)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_out(path: Path, data: bytes) -> None:
    """Write to a place that a person named, whatever it is, as a shell's `>` would.

    A file is replaced as a whole or left as it was, and keeps its permissions; a new one gets those of the umask. Links
    are followed. Standard output, pipes and devices are written into.

    Raises:
        OSError: it cannot be written.
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
    """The descriptor of standard output or error, where that is this file: to open it anew would write over it."""
    for descriptor, stream in ((1, sys.stdout), (2, sys.stderr)):
        with suppress(OSError):
            if os.path.samestat(os.fstat(descriptor), there):
                if stream is not None:
                    stream.flush()
                return descriptor
    return None


def _replace(path: Path, data: bytes, mode: int) -> None:
    """Replace a file, or write into it where it cannot be replaced."""

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


def is_owned_by_user(path: Path) -> bool:
    """Whether a file or folder belongs to the person who asks; what is not there is taken for it."""
    try:
        return path.stat().st_uid == os.geteuid()
    except OSError:
        return True


@dataclass(frozen=True)
class Unreadable:
    """An entry of a folder of which nobody can tell what it is.

    Attributes:
        why: in the system's words.
    """

    path: Path
    why: str


def list_folders(folder: Path, name: str) -> tuple[list[tuple[Path, os.stat_result]], list[Unreadable]]:
    """The folders inside a folder that hold a file of this name, with its status, and what cannot be looked at.

    One entry that cannot be read costs only itself. Both lists are sorted by name.

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
    """The status of a regular file inside a folder; None where there is none.

    Raises:
        OSError: nobody can tell: no permission, a link to nothing or to itself.
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
    """Why something cannot be looked at, in a few words."""
    if error.errno == errno.ENOENT:
        return "it is a link to something that is not there"
    return error.strerror or type(error).__name__


def write_array(path: Path, array: NDArray[Any]) -> None:
    """Replace `path` by an array as `.npy`."""
    from numpy import save

    data = io.BytesIO()  # into a real file numpy would write by itself, and not say why it failed
    save(data, array)
    write_atomically(path, lambda file: file.write(data.getvalue()))


def write_json(path: Path, value: Any, durable: bool = True) -> None:
    """Replace `path` by `value` as JSON. JSON has no NaN: one is a `ValueError` here, not a broken file."""
    data = as_json(value)
    write_atomically(path, lambda file: file.write(data), durable=durable)


def as_json(value: Any) -> bytes:
    """A JSON file's content. JSON has no NaN: one is a `ValueError`."""
    return (terminal_safe_json(value, indent=1) + "\n").encode()


def open_private(path: Path, flags: int) -> int:
    """Open a file of a run for writing, made for its owner only where it is missing; a file descriptor above 2.

    A child process has its standard streams on 0 to 2: a lock that is handed to it on one of those would be lost.

    Raises:
        OSError: it cannot be opened, or is a symbolic link: what is written would land elsewhere.
    """
    descriptor = os.open(path, flags | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, _OWNER_ONLY)
    if descriptor > 2:
        return descriptor
    try:
        return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 3)
    finally:
        os.close(descriptor)


def open_regular(path: Path) -> io.BufferedReader:
    """Open a file for reading.

    Raises:
        OSError: it cannot be opened, or is a pipe or a device, which would block or never end.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    return os.fdopen(descriptor, "rb")


def read_limited(path: Path, most: int) -> bytes:
    """A file of at most `most` bytes.

    Raises:
        OSError: it cannot be read, is no regular file or is larger.
    """
    with open_regular(path) as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise OSError(errno.EFBIG, f"it is larger than {most:,} bytes", str(path))
    return data


def read_text(path: Path, most: int) -> str:
    """A text file in UTF-8, with or without a byte order mark.

    Raises:
        OSError: it cannot be read, is no regular file or is larger than `most` bytes.
        ValueError: it is in another encoding; the text says at which byte that shows.
    """
    data = read_limited(path, most)
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ValueError("it begins as UTF-16 does and is not UTF-8; save it as UTF-8")
    try:
        return data.removeprefix(codecs.BOM_UTF8).decode()
    except UnicodeDecodeError as error:
        byte, line = data[error.start], data.count(b"\n", 0, error.start) + 1
        raise ValueError(f"byte {error.start} (line {line}) is {byte:#04x}, not UTF-8; save it as UTF-8") from None


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        UsageError: there is none; the text names the file.
    """
    try:
        value = parse_json(read_text(path, MAX_JSON_BYTES))
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


def terminal_safe_json(value: Any, **how: Any) -> str:
    """JSON in which every character is UTF-8 and none steers a terminal that the file is printed to."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, **how)
    return _NOT_PLAIN.sub(_plain, text)


def _plain(found: re.Match[str]) -> str:
    """The escape of a character; half of one, which JSON cannot hold, as the text of its escape."""
    escape = f"\\u{ord(found[0]):04x}"
    return f"\\{escape}" if found[0] >= "\ud800" else escape


def _refuse(digits: str) -> Any:
    raise ValueError(f"{digits[:20]} is not a finite number")


def _finite(digits: str) -> float:
    number = float(digits)
    return number if math.isfinite(number) else _refuse(digits)


_DECODER = json.JSONDecoder(parse_constant=_refuse, parse_float=_finite)
_PAIRS_DECODER = json.JSONDecoder(parse_constant=_refuse, parse_float=_finite, object_pairs_hook=list)
