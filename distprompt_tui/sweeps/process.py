"""A sweep as an operating-system process: started in a session of its own, watched, ended."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import suppress

import psutil

from distprompt_tui.config.paths import sweeps_dir
from distprompt_tui.errors import UsageError
from distprompt_tui.runs.isolation import isolated, python
from distprompt_tui.runs.log import read_log
from distprompt_tui.runs.process import WORKER_ENVIRONMENT, terminate_lock_holder
from distprompt_tui.storage.lock import lock_holder
from distprompt_tui.storage.safe_io import open_private
from distprompt_tui.sweeps.catalog import check_models
from distprompt_tui.sweeps.directory import SweepDirectory, make_directory
from distprompt_tui.sweeps.sweep_spec import Sweep

WORKER_MODULE = "distprompt_tui.sweeps.worker"

STOP_GRACE_SECONDS = 5.0
"""After TERM the process ends its workers and makes the table of the rows anew before it lets go of the sweep."""


def start_sweep(sweep: Sweep, directory: SweepDirectory) -> None:
    """Carry a sweep out, or go on with it, in a process that outlives this one and this terminal.

    Blocks until the process holds the sweep: some seconds. What it prints goes to the folder's `worker.log`.

    Raises:
        DistPromptError: another process holds it, a model is unknown, the folder is not the one of its grid or cannot
            be written, or the process ended at once; the text is the reason.
    """
    if (pid := runner_pid(directory)) is not None:
        raise UsageError(f"{directory.name} is being carried out already (process {pid})")
    if directory.path != sweeps_dir() / sweep.folder_name:
        raise UsageError(f"{directory.path} is not the folder that this grid has here: {sweep.folder_name}")
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
        raise UsageError((read_log(made.log) or ["the sweep's process ended without a word"])[-1])


def stop_sweep(directory: SweepDirectory) -> bool:
    """End the process that carries a sweep out: TERM, which it takes as Ctrl-C, then KILL. Blocks.

    Whatever ends it, no row is lost: the next start does what is missing.

    Returns:
        Whether it ended without being killed.
    """
    return terminate_lock_holder(directory.lock, (signal.SIGTERM, signal.SIGKILL), STOP_GRACE_SECONDS)


def runner_pid(directory: SweepDirectory) -> int | None:
    """The process that carries a sweep out; None where none does."""
    return lock_holder(directory.lock)


def worker_count(pid: int) -> int:
    """Worker processes that a sweep's process has on this machine; a cluster's are not seen."""
    with suppress(psutil.Error):
        return sum(WORKER_MODULE in child.cmdline() for child in psutil.Process(pid).children())
    return 0
