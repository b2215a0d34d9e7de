"""Locks between processes (flock). The system releases a lock when its process ends."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from distprompt_tui.core.errors import UsageError

LOCK_ATTEMPTS, LOCK_PAUSE_SECONDS = 5, 0.02


def take_lock(descriptor: int, path: Path, *, wait: bool = False) -> None:
    """Lock an open file or folder until its descriptor is closed.

    Repeats failed attempts, since `lock_holder` takes the lock for some microseconds. With `wait`, waits without a
    limit until the other process releases the lock.

    Raises:
        BlockingIOError: another process holds the lock at the last attempt.
        UsageError: the file system does not support locks.
    """
    for attempt in range(LOCK_ATTEMPTS):
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            if attempt == LOCK_ATTEMPTS - 1:
                raise
        except OSError as error:
            raise UsageError(
                f"{path} cannot be locked: {error.strerror}. A file system with locks (flock) is required: "
                "choose another folder with --runs-dir or DISTPROMPT_HOME"
            ) from error
        time.sleep(LOCK_PAUSE_SECONDS)
    return None


def write_holder(descriptor: int, pid: int) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, str(pid).encode(), 0)


def lock_holder(lock: Path) -> int | None:
    """Return the id of the process that holds a lock file; None if it is free or the file contains no id.

    An id that the system has reused is never returned. On a file system without locks, no process can hold the lock.
    """
    try:
        descriptor = os.open(lock, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError:  # missing, or not a lock file of this program
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
