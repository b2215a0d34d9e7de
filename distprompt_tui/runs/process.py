"""The worker as an operating-system process: start it, see whether it lives, ask it things, end it."""

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

from distprompt_tui.config.spec import RunSpec
from distprompt_tui.errors import UsageError
from distprompt_tui.runs import schema
from distprompt_tui.runs.directory import RunDirectory, create_run
from distprompt_tui.runs.event_reader import EventLogReader
from distprompt_tui.runs.events import EventWriter, Tailer
from distprompt_tui.runs.isolation import isolated, python
from distprompt_tui.runs.reducer import reduce_all
from distprompt_tui.runs.schema import decode_light_event
from distprompt_tui.runs.state import FORCED
from distprompt_tui.storage.jsonl import append_line
from distprompt_tui.storage.lock import lock_holder, take_lock, write_holder
from distprompt_tui.storage.safe_io import is_owned_by_user, open_private

EditCommand = Literal["lock", "unlock", "edit"]
"""What can be done to the prompt: `position` says where, counted from 0; with "edit", `token` is the id to put in."""

Command = Literal["pause", "resume", "stop", EditCommand]

WORKER_MODULE = "distprompt_tui.worker"

WORKER_ENVIRONMENT = {"TOKENIZERS_PARALLELISM": "false", "OMP_WAIT_POLICY": "passive"}
"""OpenMP's idle threads sleep instead of spinning, so that a search does not slow the app beside it."""

STOP_GRACE_SECONDS = 2.0
"""How long a worker has after `stop` before it gets TERM."""

SILENT_SECONDS = 60.0
"""A worker that has not acknowledged `stop` and shows no sign of life for so long is killed. Its heart beats every two
seconds; on a machine that swaps, later."""


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
            worker.kill()  # nobody could find it
            raise
    except BlockingIOError:
        raise UsageError(f"{run.name} already has a worker (process {worker_pid(run)})") from None
    except OSError as error:
        raise UsageError(f"no worker can be started, {run.path} cannot be written: {error.strerror}") from error
    finally:
        if lock is not None:
            os.close(lock)


def worker_pid(run: RunDirectory) -> int | None:
    """The living worker's process id; None where no worker holds the run."""
    return lock_holder(run.lock)


def delete_run(run: RunDirectory) -> None:
    """Delete an ended run's folder, for good.

    Its spec goes first, under the worker's lock: no worker can start on what is left, and what is left is no run.

    Raises:
        UsageError: a worker holds the run, the folder is none of a run, or it cannot be deleted.
    """
    if run.path.is_symlink() or not run.control.is_file():
        raise UsageError(f"{run.path} is not deleted: it is not a run's own folder")
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
    """An id for a request, unlike those of all viewers."""
    return secrets.token_hex(8)


def send(run: RunDirectory, command: Command, request_id: str | None = None, **fields: int) -> None:
    """Ask the worker for something; it answers with a `control` event that has the request's id.

    Raises:
        UsageError: the run's folder cannot be written.
    """
    request = {"t": round(time.time(), 3), "id": request_id or new_request_id(), "command": command, **fields}
    try:
        descriptor = open_private(run.control, os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK)
        try:
            append_line(descriptor, request)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise UsageError(f"{run.name} cannot be told to {command}: {error.strerror}") from error


def stop(
    run: RunDirectory,
    grace_seconds: float = STOP_GRACE_SECONDS,
    silent_seconds: float = SILENT_SECONDS,
    force: threading.Event | None = None,
) -> bool:
    """End a run: ask first, then TERM, which asks too. Blocks until the worker is gone.

    A worker that has acknowledged, or that shows signs of life, is waited for, however long its step takes. One that
    does neither is killed, and the run's end is recorded as `FORCED`.

    Args:
        run: a run; nothing is done where it has no worker.
        grace_seconds: between the request and TERM.
        silent_seconds: without an acknowledgement or a sign of life, after which the worker is killed.
        force: kill it at once when this is set.

    Returns:
        Whether the worker ended without being killed.

    Raises:
        UsageError: the worker is another user's, who alone can stop it.
    """
    answers = Tailer(run.events, decode_light_event, _size(run.events))
    acknowledged = is_asked_twice = False
    try:
        send(run, "stop")
    except UsageError:  # TERM asks too
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
    """What changes while a worker lives, in a long step too: when its heart beat last, and how much it has recorded."""
    try:
        beat = run.heartbeat.stat().st_mtime_ns
    except OSError:
        beat = 0
    return beat, _size(run.events)


def _kill(run: RunDirectory, pid: int) -> None:
    """Kill a worker and record the end of its run.

    The worker is halted while the end is recorded: no viewer sees the run without worker and end, which is a crash.
    """
    if not _signal(run.lock, pid, signal.SIGSTOP):
        return
    try:
        if reduce_all(EventLogReader(run.events).read()).phase != "ended":
            run.ballast.unlink(missing_ok=True)
            events = EventWriter(run.events)
            events.write(schema.Ended(FORCED))
            events.close()
    except OSError:  # it cannot be recorded: the run will be listed as crashed
        pass
    finally:
        _signal(run.lock, pid, signal.SIGKILL)


def _signal(lock: Path, pid: int, number: signal.Signals) -> bool:
    """Send a signal to the holder of a lock; whether it was sent. The holder of another user's lock gets none."""
    try:
        if lock.stat().st_uid != os.geteuid():  # it could name any process
            return False
        os.kill(pid, number)
    except (FileNotFoundError, ProcessLookupError):
        return False
    return True


def _size(path: Path) -> int:
    """Bytes of a file; 0 where there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def terminate_lock_holder(lock: Path, signals: Sequence[signal.Signals], grace_seconds: float) -> bool:
    """Send the process that holds a lock one signal after the other until it is gone. Blocks until then.

    Args:
        lock: where its id stands.
        signals: the mildest first.
        grace_seconds: that it has after each.

    Returns:
        Whether it ended without being killed.
    """
    for number in signals:
        if (pid := lock_holder(lock)) is not None:
            _signal(lock, pid, number)
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
