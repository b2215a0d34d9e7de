"""`python -m distprompt_tui.worker RUN [CONTROL_OFFSET]`: prepare, load, search, record.

`runs.process.start_worker` passes the size of the control file; this worker processes only later requests.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
import threading
import traceback
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from distprompt_tui.core.errors import DistPromptError
from distprompt_tui.runs import schema
from distprompt_tui.runs.directory import RunDirectory
from distprompt_tui.runs.events import EventWriter
from distprompt_tui.runs.isolation import leave_deleted_directory, open_standard_streams

HEARTBEAT_SECONDS = 2.0
NICENESS = 5  # gives the viewer's key handling priority
DISK_TROUBLES = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO)

RESERVE_BYTES = 1 << 16  # disk space that the worker frees to report a full disk


class Terminated(BaseException):
    """SIGTERM arrived before the search installed its handler."""


def main() -> int:
    open_standard_streams()
    leave_deleted_directory()
    run = RunDirectory(Path(sys.argv[1]))
    signal.signal(signal.SIGTERM, _raise_terminated)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the search outlives the terminal
    os.nice(NICENESS)
    events = None
    try:
        events = EventWriter(run.events)
        run.ballast.write_bytes(os.urandom(RESERVE_BYTES))  # some file systems store no zeros
        threading.Thread(target=_heartbeat, args=(run.heartbeat,), daemon=True).start()
        from distprompt_tui.worker.session import run_session  # imports torch, which takes seconds

        run_session(run, events, int(sys.argv[2]) if len(sys.argv) > 2 else None)
    except Terminated:
        return _end(run, events, reason="stopped")
    except DistPromptError as error:
        return _end(run, events, reason="error", error=str(error), exit_code=error.exit_code)
    except Exception as error:
        text = f"{type(error).__name__}: {error} (see {run.log})"
        if isinstance(error, OSError) and error.errno in DISK_TROUBLES:
            text = _about_the_disk(run, error)
        with contextlib.suppress(OSError):
            traceback.print_exc()
        return _end(run, events, reason="error", error=text, exit_code=1)
    run.ballast.unlink(missing_ok=True)
    return 0


def _end(run: RunDirectory, events: EventWriter | None, **fields: Any) -> int:
    """Record the end of a run without a result, in the log if the event file is not writable; return the exit code."""
    try:
        run.ballast.unlink(missing_ok=True)
        (events or EventWriter(run.events)).write(schema.Ended(**fields))
    except OSError as error:
        with contextlib.suppress(OSError):
            print(fields.get("error", error), file=sys.stderr, flush=True)
    return int(fields.get("exit_code", 0))


def _about_the_disk(run: RunDirectory, error: OSError) -> str:
    return (
        f"{error.strerror}: {run.path} could not be written. After the problem is solved, "
        f"'distprompt-tui runs resume {run.name}' continues from the last checkpoint"
    )


def _raise_terminated(number: int, frame: FrameType | None) -> None:
    raise Terminated


def _heartbeat(heartbeat: Path) -> None:
    while True:
        with contextlib.suppress(OSError):
            heartbeat.touch(mode=0o600)
        threading.Event().wait(HEARTBEAT_SECONDS)


def _exit(code: int) -> NoReturn:
    """End the process without unloading libraries: torch aborts it if the bounds are still being computed."""
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    _exit(main())
