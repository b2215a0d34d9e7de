"""Runs tasks in local worker processes. A worker loads a model once and runs one task after another."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import threading
from collections import Counter, deque
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from distprompt_tui.runs.isolation import isolated, python
from distprompt_tui.runs.process import WORKER_ENVIRONMENT
from distprompt_tui.sweeps.executors.gpus import VARIABLE
from distprompt_tui.sweeps.executors.protocol import AttemptResult, report_of
from distprompt_tui.sweeps.tasks import Task


class LocalExecutor:
    """An `Executor` with at most `workers` processes, which are started on demand and print to `log`.

    With several `gpus`, as from `visible_gpus`, each worker uses one of those with the fewest workers.
    """

    def __init__(self, workers: int, threads: int, log: Path, gpus: Sequence[str] = ()) -> None:
        self.width = workers
        self._threads, self._log, self._gpus = threads, log, gpus
        self._waiting: deque[Task] = deque()
        self._workers: list[_Worker] = []
        self._ended: queue.SimpleQueue[tuple[_Worker, str]] = queue.SimpleQueue()

    def submit(self, task: Task) -> None:
        self._waiting.append(task)

    def wait(self) -> AttemptResult:
        while True:
            self._hand_out()
            worker, line = self._ended.get()
            task, worker.task = worker.task, None
            if not line:
                self._workers.remove(worker)
            if task is not None:
                return report_of(task, json.loads(line) if line else {"error": worker.exit_reason()})

    def close(self) -> None:
        for worker in self._workers:
            worker.kill()
        self._workers.clear()

    def _hand_out(self) -> None:
        while self._waiting:
            idle = next((worker for worker in self._workers if worker.task is None), None)
            if idle is None:
                if len(self._workers) >= self.width:
                    return
                idle = _Worker(self._threads, self._log, self._ended, self._next_gpu())
                self._workers.append(idle)
            idle.give(self._waiting.popleft())

    def _next_gpu(self) -> str | None:
        """Return the GPU of the next worker; None leaves all of them visible."""
        if len(self._gpus) < 2:
            return None
        used = Counter(worker.gpu for worker in self._workers)
        return min(self._gpus, key=lambda gpu: used[gpu])


class _Worker:
    """One worker process on one GPU or, with None, on all; `ended` receives its answers, and "" at its end."""

    def __init__(self, threads: int, log: Path, ended: queue.SimpleQueue[tuple[_Worker, str]], gpu: str | None) -> None:
        self.task: Task | None = None
        self.gpu = gpu
        only_gpu = {} if gpu is None else {VARIABLE: gpu}
        with log.open("ab") as file:
            self._process = subprocess.Popen(
                python("distprompt_tui.sweeps.worker", str(threads)),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                text=True,
                encoding="utf-8",
                start_new_session=True,  # Ctrl-C must reach only the parent, which ends its workers
                env=isolated(os.environ) | WORKER_ENVIRONMENT | only_gpu,
            )
        threading.Thread(target=self._listen, args=(self._process.stdout, ended), daemon=True).start()

    def give(self, task: Task) -> None:
        """Send a task; if the worker is dying, `_listen` reports its end."""
        self.task = task
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(task.model_dump_json() + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass

    def exit_reason(self) -> str:
        code = self._process.wait()
        return f"the worker was killed by signal {-code}" if code < 0 else f"the worker ended with exit code {code}"

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def _listen(self, answers: IO[str], ended: queue.SimpleQueue[tuple[_Worker, str]]) -> None:
        for line in answers:
            ended.put((self, line))
        ended.put((self, ""))
