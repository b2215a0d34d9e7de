"""The worker as an operating-system process: start it, see whether it lives, ask it things, end it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from distprompt_tui.errors import UsageError
from distprompt_tui.files import append_line, open_own
from distprompt_tui.processes import isolated, python
from distprompt_tui.runs.directory import RunDirectory, create_run
from distprompt_tui.spec import RunSpec

Change = Literal["lock", "unlock", "edit"]
"""What can be done to the prompt: `position` says where, counted from 0; with "edit", `token` is the id to put in."""

Command = Literal["pause", "resume", "stop", Change]

WORKER_MODULE = "distprompt_tui.worker"

WORKER_ENVIRONMENT = {"TOKENIZERS_PARALLELISM": "false", "OMP_WAIT_POLICY": "passive"}
"""OpenMP's idle threads sleep instead of spinning, so that a search does not slow the app beside it."""

LOCK_ATTEMPTS, LOCK_PAUSE_SECONDS = 5, 0.02

STOP_GRACE_SECONDS = 2.0
"""How long a worker has after `stop` before it gets TERM, and after TERM before it gets KILL."""


ENDING_SECONDS = 10.0
"""How long a worker has to go after its last event; unloading its libraries takes some tenths of a second."""


def start_run(spec: RunSpec, runs_dir: Path) -> RunDirectory:
    """Make a run directory and start its worker, which outlives this process and this terminal.

    Raises:
        UsageError: as in `create_run` and `start_worker`; no run is left behind then.
    """
    run = create_run(spec, runs_dir)
    try:
        start_worker(run)
    except UsageError:
        shutil.rmtree(run.path, ignore_errors=True)  # made above, and no worker was started on it
        raise
    return run


def start_worker(run: RunDirectory) -> None:
    """Start a worker on an existing run directory, in a session of its own, its output in `worker.log`.

    The run's lock is taken here and handed to the worker, so there is no moment at which a second one could start.

    Raises:
        NotFoundError: the run was begun with a model that is gone.
        UsageError: another worker holds the run, its folder cannot be written or has no locks, a newer version began
            it, or the model, the target or the spec is another than it was begun with.
    """
    from distprompt_tui.runs.inputs import check_inputs

    run.refuse_links()
    run.check_format()
    check_inputs(run)
    lock = None
    try:
        lock = open_own(run.lock, os.O_RDWR)
        take_lock(lock, run.lock)
        with os.fdopen(open_own(run.log, os.O_WRONLY | os.O_APPEND), "ab") as log:
            worker = subprocess.Popen(
                python(WORKER_MODULE, str(run.path)),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                pass_fds=(lock,),
                env=isolated(os.environ) | WORKER_ENVIRONMENT,
            )
        try:
            os.ftruncate(lock, 0)
            os.pwrite(lock, str(worker.pid).encode(), 0)
        except BaseException:
            worker.kill()  # nobody could find it
            raise
    except BlockingIOError:
        raise UsageError(f"{run.name} already has a worker (process {worker_pid(run)})") from None
    except OSError as error:
        raise UsageError(f"no worker can be started, {run.path} cannot be written: {error.strerror}") from error
    finally:
        if lock is not None:
            os.close(lock)


def take_lock(descriptor: int, path: Path) -> None:
    """Lock an open file. Who only looks whether it is held holds it for some microseconds, so it is tried again.

    Raises:
        BlockingIOError: another process holds it, and goes on holding it.
        UsageError: its file system has no locks.
    """
    for attempt in range(LOCK_ATTEMPTS):
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
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


def worker_pid(run: RunDirectory) -> int | None:
    """The living worker's process id; None where no worker holds the run."""
    return lock_holder(run.lock)


def lock_holder(lock: Path) -> int | None:
    """The process that holds a lock file and has written its id into it; None where none does.

    The lock dies with its process, whatever ended it, so a number that was given to another process since is never
    mistaken for the holder. Where the file system has no locks, nothing could have been started, and none is held.
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


def delete_run(run: RunDirectory) -> None:
    """Delete an ended run's folder, for good.

    Its spec goes first, under the worker's lock: no worker can start on what is left, and what is left is no run.

    Raises:
        UsageError: a worker holds the run, the folder is none of a run, or it cannot be deleted.
    """
    if run.path.is_symlink() or not run.control.is_file():
        raise UsageError(f"{run.path} is not deleted: it is not a run's own folder")
    try:
        lock = open_own(run.lock, os.O_RDWR)
        try:
            take_lock(lock, run.lock)
            run.spec_file.unlink()
        finally:
            os.close(lock)
        shutil.rmtree(run.path)
    except BlockingIOError:
        raise UsageError(f"{run.name} is running (process {worker_pid(run)}): stop it first") from None
    except OSError as error:
        raise UsageError(f"{run.name} could not be deleted: {error.strerror}") from error


def send(run: RunDirectory, command: Command, **fields: int) -> None:
    """Ask the worker for something; it answers with a `control` event.

    Raises:
        UsageError: the run's folder cannot be written.
    """
    try:
        descriptor = open_own(run.control, os.O_WRONLY | os.O_APPEND)
        try:
            append_line(descriptor, {"t": round(time.time(), 3), "command": command, **fields})
        finally:
            os.close(descriptor)
    except OSError as error:
        raise UsageError(f"{run.name} cannot be told to {command}: {error.strerror}") from error


def stop(run: RunDirectory, grace_seconds: float = STOP_GRACE_SECONDS, step_seconds: float | None = None) -> bool:
    """End a run: ask first, then TERM, then KILL. Blocks until the worker is gone.

    Args:
        grace_seconds: that the worker has after each.
        step_seconds: what a step takes, where it is known: it answers after one, and so is given two more.

    Returns:
        Whether the worker ended without being killed.
    """
    with contextlib.suppress(UsageError):  # there are other ways
        send(run, "stop")
    patience = grace_seconds + 2 * (step_seconds or 0.0)
    return _released(run.lock, patience) or end_holder(run.lock, (signal.SIGTERM, signal.SIGKILL), grace_seconds)


def end_holder(lock: Path, signals: Sequence[signal.Signals], grace_seconds: float) -> bool:
    """Send the process that holds a lock one signal after the other until it is gone. Blocks until then.

    Args:
        lock: where its id stands.
        signals: the mildest first.
        grace_seconds: that it has after each.

    Returns:
        Whether it ended without being killed.
    """
    for number in signals:
        # Whose lock it is names a process of its own; another's could name any.
        if (pid := lock_holder(lock)) is not None and lock.stat().st_uid == os.geteuid():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        if _released(lock, grace_seconds):
            return number != signal.SIGKILL
    return False


def wait_for_end(run: RunDirectory, pid: int | None) -> None:
    """Block until the worker that has written its `ended` is gone; one that does not go is killed: nothing is lost.

    Args:
        pid: of that worker. Another one that took the run up since is left alone.
    """
    deadline = time.monotonic() + ENDING_SECONDS
    while pid is not None and worker_pid(run) == pid:
        if time.monotonic() > deadline:
            end_holder(run.lock, (signal.SIGKILL,), STOP_GRACE_SECONDS)
            return
        time.sleep(0.02)


def _released(lock: Path, within_seconds: float) -> bool:
    deadline = time.monotonic() + within_seconds
    while lock_holder(lock) is not None:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
