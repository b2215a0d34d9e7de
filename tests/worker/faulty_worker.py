"""Real worker processes with injected faults.

They are forked from a process that has imported torch, so that many of them can be started and killed quickly.
"""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import resource
import signal
import sys
import tempfile
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from multiprocessing.util import get_temp_dir

import psutil

from distprompt_tui.runs.directory import RunDirectory
from tests.faulty_model import FaultyModel
from tests.waiting import until

PRELOADED = ["tests.worker.faulty_worker_inside", "transformers.models.llama.modeling_llama"]


@dataclass(frozen=True)
class Faults:
    """Differences from a normal worker.

    Attributes:
        seconds: between two checkpoints, instead of `checkpoint.SECONDS`.
        steps: instead of `checkpoint.STEPS`.
        share: instead of `checkpoint.SHARE_OF_TIME`.
        model: what happens to the model's logits.
        clock: seconds by which the clock jumps back and forth at every reading.
        halt: step at which the worker halts itself with SIGSTOP, once it has a checkpoint; SIGCONT continues it.
        file_bytes: size limit of written files, as with `ulimit -f`.
    """

    seconds: float = 0.3
    steps: int = 50
    share: float = 0.3
    model: FaultyModel = field(default_factory=FaultyModel)
    clock: float = 0.0
    halt: int | None = None
    file_bytes: int | None = None


def start_faulty(run: RunDirectory, faults: Faults = Faults()) -> BaseProcess:
    """Start a worker with faults on an existing run directory."""
    _make_socket_folder()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    worker = context.Process(target=_work, args=(run, faults))
    worker.start()
    return worker


def _make_socket_folder() -> None:
    """Use a short path for the fork server's socket: the limit is 107 bytes, and TMPDIR may be longer."""
    before, tempfile.tempdir = tempfile.tempdir, "/tmp"
    try:
        get_temp_dir()  # created by the first call, removed at exit
    finally:
        tempfile.tempdir = before


def wait_until_halted(worker: BaseProcess) -> None:
    """Wait until a worker with `halt` has halted itself."""
    until(lambda: psutil.Process(worker.pid).status() == psutil.STATUS_STOPPED, lambda: "the worker did not halt")


def kill(worker: BaseProcess) -> bool:
    """Send SIGKILL and return whether the worker was still running."""
    worker.kill()
    worker.join()
    return worker.exitcode == -signal.SIGKILL


def _work(run: RunDirectory, faults: Faults) -> None:
    from distprompt_tui.worker.__main__ import main
    from tests.worker.faulty_worker_inside import weaken

    lock = os.open(run.lock, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.pwrite(lock, str(os.getpid()).encode(), 0)
    log = os.open(run.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    weaken(faults)
    if faults.file_bytes is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (faults.file_bytes, faults.file_bytes))
    sys.argv = ["worker", str(run.path)]
    sys.exit(main())
