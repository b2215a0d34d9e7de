"""`distprompt-tui sweep`: run or continue a grid of searches."""

from __future__ import annotations

import json
import os
import signal
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from distprompt_tui.cli.options import JsonOption, new_console
from distprompt_tui.core.errors import UsageError

if TYPE_CHECKING:
    from distprompt_tui.sweeps.directory import SweepDirectory
    from distprompt_tui.sweeps.executors.protocol import Executor
    from distprompt_tui.sweeps.sweep_spec import Sweep


class ExecutorName(StrEnum):
    LOCAL = "local"
    RAY = "ray"


def sweep(
    name: Annotated[str, typer.Argument(metavar="SWEEP", help="Name of a sweep, or a TOML file.")],
    quick: Annotated[bool, typer.Option("--quick", help="Run the small size that the file defines.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list what would run, with known times.")] = False,
    estimate: Annotated[
        bool, typer.Option("--estimate", help="Run the first task of each kind; estimate the rest.")
    ] = False,
    executor: Annotated[ExecutorName, typer.Option("--executor", help="Where tasks run.")] = ExecutorName.LOCAL,
    address: Annotated[str, typer.Option("--address", help="Address of a Ray cluster; 'local' starts one.")] = "local",
    gpus: Annotated[float, typer.Option("--gpus", min=0, help="GPUs per Ray task; a fraction shares a GPU.")] = 0.0,
    models: Annotated[list[str] | None, typer.Option("--model", help="Replaces the file's models; repeatable.")] = None,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Local processes; each loads the model.")] = 1,
    as_json: JsonOption = False,
) -> None:
    """Run or continue a grid of searches; finished searches are not repeated."""
    from distprompt_tui.cli.report_console import print_findings
    from distprompt_tui.cli.sweep_console import as_dict, print_end, progress_line
    from distprompt_tui.core.config.paths import sweeps_dir
    from distprompt_tui.reports.sweep_report import report_sweep
    from distprompt_tui.sweeps.directory import make_directory
    from distprompt_tui.sweeps.findings import as_dict as finding_as_dict
    from distprompt_tui.sweeps.inputs import hold_to_inputs
    from distprompt_tui.sweeps.runner import SweepRunner

    if dry_run and estimate:
        raise UsageError("--dry-run runs no search, --estimate runs some: give one of them")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # like Ctrl-C, which background processes ignore
    directory = make_directory(_asked(name, quick, models or []), sweeps_dir())
    with directory.locked():
        runner = SweepRunner(directory)
        tasks = [] if dry_run else runner.first_of_each_kind() if estimate else runner.missing()
        stopped = False
        if tasks:
            begun_with = hold_to_inputs(directory, prepare=executor is ExecutorName.LOCAL)
            tasks = [task.model_copy(update={"models": begun_with}) for task in tasks]
            worker = _executor(executor, directory, workers, address, gpus)
            try:
                with progress_line(runner) as show:
                    runner.run_tasks(tasks, worker, show)
            except KeyboardInterrupt:
                stopped = True
            finally:
                worker.close()
        directory.write_table()
    report = report_sweep(directory)
    if as_json:
        end = as_dict(directory, runner, stopped=stopped)
        print(json.dumps(end | {"findings": [finding_as_dict(each) for each in report.findings]}, allow_nan=False))
    else:
        print_end(new_console(), directory, runner, stopped=stopped, with_estimates=dry_run or estimate)
        print_findings(new_console(), report)
    if stopped:
        raise typer.Exit(130)
    if runner.failed:
        raise typer.Exit(1)


def _asked(name: str, quick: bool, models: list[str]) -> Sweep:
    from distprompt_tui.core.config.known_models import absolute_name
    from distprompt_tui.sweeps.catalog import check_models, load_sweep

    asked = load_sweep(name)
    if quick and not asked.quick:
        raise UsageError(f"{name} has no [quick] size")
    asked = asked.with_models([absolute_name(name, Path()) for name in models]) if models else asked
    asked = asked.with_quick_overrides() if quick else asked
    check_models(asked)
    return asked


def _executor(name: ExecutorName, directory: SweepDirectory, workers: int, address: str, gpus: float) -> Executor:
    sweep = directory.read_sweep()
    if name is ExecutorName.RAY:
        from distprompt_tui.sweeps.executors.ray import RayExecutor

        return RayExecutor(address, sweep.threads, gpus)
    from distprompt_tui.sweeps.executors.gpus import visible_gpus
    from distprompt_tui.sweeps.executors.local import LocalExecutor

    shared = visible_gpus(os.environ) if sweep.device in ("auto", "cuda") else ()  # "cuda:1" needs all to be visible
    return LocalExecutor(workers, sweep.threads, directory.log, shared)
