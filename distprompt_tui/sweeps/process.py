"""Starts and stops a sweep as a separate operating-system process."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import suppress

import psutil

from distprompt_tui.core.config.paths import sweeps_dir
from distprompt_tui.core.errors import UsageError
from distprompt_tui.core.storage.lock import lock_holder
from distprompt_tui.core.storage.safe_io import open_private
from distprompt_tui.runs.isolation import isolated, python
from distprompt_tui.runs.log import read_log
from distprompt_tui.runs.process import WORKER_ENVIRONMENT, terminate_lock_holder
from distprompt_tui.sweeps.catalog import check_models
from distprompt_tui.sweeps.directory import SweepDirectory, make_directory
from distprompt_tui.sweeps.sweep_spec import Sweep

WORKER_MODULE = "distprompt_tui.sweeps.worker"

STOP_GRACE_SECONDS = 5.0
"""After TERM, the process ends its workers and rewrites `results.csv` before it releases the lock."""


def start_sweep(sweep: Sweep, directory: SweepDirectory) -> None:
    """Start or continue a sweep in a process that outlives this one and its terminal.

    Blocks for some seconds, until the process holds the lock. Its output goes to `worker.log`.

    Raises:
        DistPromptError: another process holds the lock, a model is unknown, the directory does not belong to the grid
            or cannot be written, or the process ended at once; the text is the reason.
    """
    if (pid := runner_pid(directory)) is not None:
        raise UsageError(f"{directory.name} is already running (process {pid})")
    if directory.path != sweeps_dir() / sweep.folder_name:
        raise UsageError(f"{directory.path} is not the folder of this grid: {sweep.folder_name}")
    check_models(sweep)
    made = make_directory(sweep, sweeps_dir())
    try:
        with os.fdopen(open_private(made.log, os.O_WRONLY | os.O_APPEND), "ab") as log:
            process = subprocess.Popen(
                python("distprompt_tui", "sweep", str(made.sweep_file)),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=isolated(os.environ) | WORKER_ENVIRONMENT,
            )
    except OSError as error:
        raise UsageError(f"{made.path} cannot be written: {error.strerror}") from error
    while runner_pid(made) is None and process.poll() is None:
        time.sleep(0.02)
    if process.poll():
        raise UsageError((read_log(made.log) or ["the sweep's process ended without a message"])[-1])


def stop_sweep(directory: SweepDirectory) -> bool:
    """End the process that runs a sweep: TERM, handled like Ctrl-C, then KILL. Blocks.

    Returns:
        Whether the process ended without KILL. No row is lost in either case.
    """
    return terminate_lock_holder(directory.lock, (signal.SIGTERM, signal.SIGKILL), STOP_GRACE_SECONDS)


def runner_pid(directory: SweepDirectory) -> int | None:
    return lock_holder(directory.lock)


def worker_count(pid: int) -> int:
    """Count the local worker processes of a sweep's process; workers on a cluster are not counted."""
    with suppress(psutil.Error):
        return sum(WORKER_MODULE in child.cmdline() for child in psutil.Process(pid).children())
    return 0
