"""The worker process: start it, find it, send it requests, stop it."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from distprompt_tui.core.config.spec import RunSpec
from distprompt_tui.core.errors import UsageError
from distprompt_tui.core.storage.jsonl import append_line
from distprompt_tui.core.storage.lock import lock_holder, take_lock, write_holder
from distprompt_tui.core.storage.safe_io import is_owned_by_user, open_private
from distprompt_tui.runs import schema
from distprompt_tui.runs.directory import RunDirectory, create_run
from distprompt_tui.runs.event_reader import EventLogReader
from distprompt_tui.runs.events import EventWriter, Tailer
from distprompt_tui.runs.isolation import isolated, python
from distprompt_tui.runs.reducer import reduce_all
from distprompt_tui.runs.schema import decode_light_event
from distprompt_tui.runs.state import FORCED

EditCommand = Literal["lock", "unlock", "edit"]
"""Changes of the prompt at `position`, counted from 0; "edit" replaces the token by the id `token`."""

Command = Literal["pause", "resume", "stop", EditCommand]

WORKER_MODULE = "distprompt_tui.worker"

WORKER_ENVIRONMENT = {"TOKENIZERS_PARALLELISM": "false", "OMP_WAIT_POLICY": "passive"}
"""OpenMP's idle threads sleep instead of spinning, so that a search does not slow down the app."""

STOP_GRACE_SECONDS = 2.0  # between `stop` and SIGTERM
SILENT_SECONDS = 60.0
SLOW_STOP_SECONDS = 2.0  # after it, viewers explain a stop that waits for the end of a step
"""A worker that has not acknowledged `stop` is killed after this time without heartbeats or events. The heartbeat
interval is two seconds, longer on a machine that swaps."""

ENDING_SECONDS = 10.0  # limit for the exit after the last event; unloading libraries takes some tenths of a second


def start_run(spec: RunSpec, runs_dir: Path) -> RunDirectory:
    """Create a run directory and start its worker, which keeps running after this process and its terminal end.

    Errors are those of `create_run` and `start_worker`; the run directory is then removed.
    """
    run = create_run(spec, runs_dir)
    try:
        start_worker(run)
    except UsageError:
        shutil.rmtree(run.path, ignore_errors=True)  # no worker uses it
        raise
    return run


def start_worker(run: RunDirectory) -> None:
    """Start a worker on an existing run directory, in a new session, with its output in `worker.log`.

    This process acquires the run's lock and passes it to the worker, so that no second worker can start in between.

    Raises:
        NotFoundError: the run's model is missing.
        UsageError: the run has a worker, its folder is not writable or has no locks, a newer version created it, or
            the model or the spec has changed.
    """
    from distprompt_tui.runs.inputs import check_inputs

    run.refuse_links()
    run.check_format()
    check_inputs(run)
    lock = None
    try:
        lock = open_private(run.lock, os.O_RDWR)
        take_lock(lock, run.lock)
        with os.fdopen(open_private(run.log, os.O_WRONLY | os.O_APPEND), "ab") as log:
            worker = subprocess.Popen(
                python(WORKER_MODULE, str(run.path), str(_size(run.control))),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                pass_fds=(lock,),
                env=isolated(os.environ) | WORKER_ENVIRONMENT,
            )
        try:
            write_holder(lock, worker.pid)
        except BaseException:
            worker.kill()  # without its id in the lock file, nothing could stop it
            raise
    except BlockingIOError:
        raise UsageError(f"{run.name} already has a worker (process {worker_pid(run)})") from None
    except OSError as error:
        raise UsageError(f"no worker can be started, {run.path} cannot be written: {error.strerror}") from error
    finally:
        if lock is not None:
            os.close(lock)


def worker_pid(run: RunDirectory) -> int | None:
    """Return the process id of the run's worker; None without a worker."""
    return lock_holder(run.lock)


def delete_run(run: RunDirectory) -> None:
    """Permanently delete the folder of a run without a worker.

    The spec is deleted first, under the worker's lock: the rest is not a run, and no worker can start on it.

    Raise a UsageError if the run has a worker, or if the folder is not a run or cannot be deleted.
    """
    if run.path.is_symlink() or not run.control.is_file():
        raise UsageError(f"{run.path} is not deleted: it is not a run directory")
    try:
        lock = open_private(run.lock, os.O_RDWR)
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


def new_request_id() -> str:
    return secrets.token_hex(8)


def send(run: RunDirectory, command: Command, request_id: str | None = None, **fields: int) -> None:
    """Send a request; the worker answers with a `control` event with its id. Raise a UsageError if this fails."""
    request = {"t": round(time.time(), 3), "id": request_id or new_request_id(), "command": command, **fields}
    try:
        descriptor = open_private(run.control, os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK)
        try:
            append_line(descriptor, request)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise UsageError(f"cannot send {command} to {run.name}: {error.strerror}") from error


def stop(
    run: RunDirectory,
    grace_seconds: float = STOP_GRACE_SECONDS,
    silent_seconds: float = SILENT_SECONDS,
    force: threading.Event | None = None,
) -> bool:
    """Stop a run's worker, if it has one: send `stop`, later SIGTERM, and block until the worker has exited.

    There is no time limit for a worker that has acknowledged the request or is active. Any other worker is killed, and
    the run ends with the reason `FORCED`.

    Args:
        grace_seconds: between the request and SIGTERM.
        silent_seconds: without acknowledgement or activity until the worker is killed.
        force: kills the worker immediately once it is set.

    Returns:
        Whether the worker ended without being killed.

    Raises:
        UsageError: the worker belongs to another user.
    """
    answers = Tailer(run.events, decode_light_event, _size(run.events))
    acknowledged = is_asked_twice = False
    try:
        send(run, "stop")
    except UsageError:  # SIGTERM below stops it too
        if worker_pid(run) is not None and not is_owned_by_user(run.lock):
            raise
    began = heard = time.monotonic()
    signs = _signs_of_life(run)
    while (pid := worker_pid(run)) is not None:
        now, latest = time.monotonic(), _signs_of_life(run)
        if latest != signs:
            signs, heard = latest, now
        acknowledged = acknowledged or any(
            isinstance(event, schema.Control) and event.outcome == "stopping" for event in answers.read()
        )
        if (force is not None and force.is_set()) or (not acknowledged and now - heard > silent_seconds):
            _kill(run, pid)
            _released(run.lock, grace_seconds)
            return False
        if not is_asked_twice and now - began > grace_seconds:
            is_asked_twice = True
            _signal(run.lock, pid, signal.SIGTERM)
        time.sleep(0.02)
    return True


def _signs_of_life(run: RunDirectory) -> tuple[int, int]:
    try:
        beat = run.heartbeat.stat().st_mtime_ns
    except OSError:
        beat = 0
    return beat, _size(run.events)


def _kill(run: RunDirectory, pid: int) -> None:
    """Kill a worker. It is halted until the end is recorded, because a run without a worker and an end is "crashed"."""
    if not _signal(run.lock, pid, signal.SIGSTOP):
        return
    try:
        if reduce_all(EventLogReader(run.events).read()).phase != "ended":
            run.ballast.unlink(missing_ok=True)
            events = EventWriter(run.events)
            events.write(schema.Ended(FORCED))
            events.close()
    except OSError:  # the run will be listed as crashed
        pass
    finally:
        _signal(run.lock, pid, signal.SIGKILL)


def _signal(lock: Path, pid: int, number: signal.Signals) -> bool:
    try:
        if lock.stat().st_uid != os.geteuid():  # another user's file could contain the id of any process
            return False
        os.kill(pid, number)
    except (FileNotFoundError, ProcessLookupError):
        return False
    return True


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def terminate_lock_holder(lock: Path, signals: Sequence[signal.Signals], grace_seconds: float) -> bool:
    """Send signals in turn, `grace_seconds` apart, to a lock's holder; return whether it ended without SIGKILL."""
    for number in signals:
        if (pid := lock_holder(lock)) is not None:
            _signal(lock, pid, number)
        if _released(lock, grace_seconds):
            return number != signal.SIGKILL
    return False


def wait_for_end(run: RunDirectory, pid: int | None) -> None:
    """Block until the worker `pid`, which has written `ended`, has exited; kill it after `ENDING_SECONDS`."""
    deadline = time.monotonic() + ENDING_SECONDS
    while pid is not None and worker_pid(run) == pid:
        if time.monotonic() > deadline:
            terminate_lock_holder(run.lock, (signal.SIGKILL,), STOP_GRACE_SECONDS)
            return
        time.sleep(0.02)


def _released(lock: Path, within_seconds: float) -> bool:
    deadline = time.monotonic() + within_seconds
    while lock_holder(lock) is not None:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
