"""Run a search without the app: start the worker, follow its events and show a progress line."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from distprompt_tui.core.config.spec import RunSpec
from distprompt_tui.core.errors import DistPromptError
from distprompt_tui.core.text.formatting import duration, nats, rate
from distprompt_tui.core.text.terminal_text import sanitize
from distprompt_tui.runs.directory import RunDirectory
from distprompt_tui.runs.event_reader import EventLogReader
from distprompt_tui.runs.log import read_log
from distprompt_tui.runs.process import start_run, stop, wait_for_end, worker_pid
from distprompt_tui.runs.reducer import reduce_all
from distprompt_tui.runs.state import RunState

POLL_SECONDS = 0.1


def run_to_end(spec: RunSpec, runs_dir: Path, console: Console) -> tuple[RunDirectory, RunState]:
    """Run a spec in a worker and wait for its end.

    The first Ctrl-C or SIGTERM stops the search and keeps its result; the second one kills the worker.

    Returns:
        The run and its last state; `reason` is "stopped" after one Ctrl-C, `FORCED` after two.

    Raises:
        DistPromptError: the worker failed; the text is its error message.
    """
    run = start_run(spec, runs_dir)
    asked, force = threading.Event(), threading.Event()
    previous = {
        number: signal.signal(number, lambda number, frame: (force if asked.is_set() else asked).set())
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        with _progress_line(console) as show:
            state = follow(run, asked, show, force)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    if state.error is not None:
        raise DistPromptError(state.error, exit_code=state.exit_code)
    return run, state


def follow(
    run: RunDirectory, asked: threading.Event, show: Callable[[RunState], None], force: threading.Event | None = None
) -> RunState:
    """Reduce a run's events until its worker has exited. Stop it once `asked` is set, and kill it if `force` is set.

    Raise a DistPromptError with the last line of the log if the worker exits without an `ended` event.
    """
    reader, state = EventLogReader(run.events), RunState()
    stopping: threading.Thread | None = None
    pid = worker_pid(run)
    while True:
        alive = worker_pid(run) is not None  # checked first, so that its last events are read below
        state = reduce_all(reader.read(), state)
        show(state)
        if state.phase == "ended":
            if stopping is not None:
                stopping.join()  # it may still have to kill the worker
            wait_for_end(run, pid)
            return state
        if not alive:
            raise DistPromptError(f"the worker of {run.name} exited unexpectedly: {last_log_line(run)}")
        if asked.is_set() and stopping is None:
            stopping = threading.Thread(target=stop, args=(run,), kwargs={"force": force})
            stopping.start()
        time.sleep(POLL_SECONDS)


def last_log_line(run: RunDirectory) -> str:
    lines = read_log(run.log)
    return lines[-1] if lines else f"{run.log} is empty; it was killed"


@contextmanager
def _progress_line(console: Console) -> Iterator[Callable[[RunState], None]]:
    """Yield a function that draws a state on one line; it has no effect without a terminal."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[detail]}", markup=False),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("starting", total=None, detail="")

        def show(state: RunState) -> None:
            if state.progress is not None:
                progress.update(task, description=sanitize(state.progress.text), total=None, detail="")
            elif state.best_kl is not None:
                detail = f"best {nats(state.best_kl)}  uniform {nats(state.uniform_kl)}  {rate(state.steps_per_second)}"
                if state.seconds_left is not None:
                    detail += f"  eta {duration(state.seconds_left)}"
                name, planned = f"step {state.step}", state.steps_planned
                progress.update(task, description=name, total=planned, completed=state.step, detail=detail)

        yield show
