"""Progress, results and estimates of a sweep on the command line."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from rich import progress
from rich.console import Console
from rich.table import Table
from rich.text import Text

from distprompt_tui.cli.options import new_console
from distprompt_tui.core.text.formatting import counted, duration
from distprompt_tui.core.text.terminal_text import sanitize
from distprompt_tui.sweeps.costs import TimeEstimate
from distprompt_tui.sweeps.directory import Failure, SweepDirectory
from distprompt_tui.sweeps.runner import OnProgress, Progress, SweepRunner


@contextmanager
def progress_line(runner: SweepRunner) -> Iterator[OnProgress]:
    """Yield a function that prints each attempt to stderr, with a progress bar on a terminal."""
    console = new_console(stderr=True)
    columns = (
        progress.TextColumn("{task.completed} of {task.total} searches"),
        progress.BarColumn(),
        progress.TextColumn("{task.description}"),
    )
    with progress.Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        line = bar.add_task("running the first task", total=runner.total, completed=runner.done)

        def show(now: Progress) -> None:
            left = f"about {duration(now.seconds_left)} left" if now.seconds_left else ""
            bar.update(line, completed=now.done, description=left)
            if console.is_terminal:
                console.print(Text(attempt(now)), soft_wrap=True)
            else:
                parts = [f"{now.done} of {now.total}", attempt(now), *([left] if left else [])]
                print("; ".join(parts), file=sys.stderr, flush=True)

        yield show


def attempt(now: Progress) -> str:
    report = now.report
    method, model, length = report.task.config
    how = f"failed: {report.error}" if report.error is not None else duration(report.seconds)
    return f"{len(report.task.searches)} {method} of length {length} on {model}: {how}"


def print_end(
    console: Console, directory: SweepDirectory, runner: SweepRunner, *, stopped: bool, with_estimates: bool
) -> None:
    if with_estimates:
        print_estimates(console, runner)
    for failure, count in _told_once(directory.read_failures()):
        how = f"failed after {counted(failure.attempts, 'attempt')}" if failure.attempts else "invalid"
        console.print(Text(f"{how}, {counted(count, 'search')}: {sanitize(failure.error)}"), soft_wrap=True)
    console.print(Text(f"{directory.name}: {runner.done} of {runner.total} searches are done", style="bold"))
    if stopped:
        console.print("stopped; repeat the command to continue")
    console.print(Text(f"table   {directory.table}"), soft_wrap=True)


def print_estimates(console: Console, runner: SweepRunner) -> None:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("method", "model"):
        table.add_column(name)
    for name in ("length", "tasks", "searches", "s each", "time", "peak memory"):
        table.add_column(name, justify="right")
    for part in runner.estimates():
        numbers = [part.config.length, part.tasks, part.searches]
        each = "—" if part.seconds_each is None else f"{part.seconds_each:.1f}"
        memory = "—" if part.peak_bytes is None else f"{part.peak_bytes / 2**30:.1f} GiB"
        table.add_row(part.config.method, part.config.model, *map(str, numbers), each, duration(part.seconds), memory)
    console.print("Remaining work, estimated for one worker from the finished tasks:")
    console.print(table)


def as_dict(directory: SweepDirectory, runner: SweepRunner, *, stopped: bool) -> dict[str, Any]:
    failures = directory.read_failures()
    return {
        "sweep": str(directory.path),
        "table": str(directory.table),
        "searches": runner.total,
        "done": runner.done,
        "stopped": stopped,
        "invalid": [asdict(failure) for failure in failures if failure.attempts == 0],
        "failed": [asdict(failure) for failure in failures if failure.attempts > 0],
        "left": [_as_fields(part) for part in runner.estimates()],
    }


def _as_fields(part: TimeEstimate) -> dict[str, Any]:
    fields = asdict(part)
    return part.config._asdict() | {name: value for name, value in fields.items() if name != "config"}


def _told_once(failures: Sequence[Failure]) -> list[tuple[Failure, int]]:
    reasons = Counter((failure.attempts, failure.error) for failure in failures)
    first_of_each_kind = {(failure.attempts, failure.error): failure for failure in reversed(failures)}
    return [(first_of_each_kind[reason], count) for reason, count in reasons.items()]
