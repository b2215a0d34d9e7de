"""Locks between processes (flock). A lock ends with its process, whatever ended it."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from distprompt_tui.errors import UsageError

LOCK_ATTEMPTS, LOCK_PAUSE_SECONDS = 5, 0.02


def take_lock(descriptor: int, path: Path, *, wait: bool = False) -> None:
    """Lock an open file or folder until its descriptor is closed.

    `lock_holder` holds a lock for some microseconds, so a lock that is held is tried again.

    Args:
        descriptor: to lock.
        path: of the file, for messages.
        wait: until the other process ends, however long that takes.

    Raises:
        BlockingIOError: another process holds it after the last attempt too.
        UsageError: its file system has no locks.
    """
    for attempt in range(LOCK_ATTEMPTS):
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            if attempt == LOCK_ATTEMPTS - 1:
                raise
        except OSError as error:
            raise UsageError(
                f"{path} cannot be locked: {error.strerror}. A file system with locks (flock) is needed: "
                "choose another folder by --runs-dir or DISTPROMPT_HOME"
            ) from error
        time.sleep(LOCK_PAUSE_SECONDS)
    return None


def write_holder(descriptor: int, pid: int) -> None:
    """Write the id of the process that holds a lock into its file."""
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, str(pid).encode(), 0)


def lock_holder(lock: Path) -> int | None:
    """The process that holds a lock file and has written its id into it; None where none does.

    A number that was given to another process since is never mistaken for the holder. Where the file system has no
    locks, nothing could have been started, and none is held.
    """
    try:
        descriptor = os.open(lock, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError:  # there is none, or none that a process of ours could hold
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return None
    except BlockingIOError:
        written = os.read(descriptor, 32)
        return int(written) if written.isdigit() else None
    except OSError:
        return None
    finally:
        os.close(descriptor)
