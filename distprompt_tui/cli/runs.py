"""`distprompt-tui runs`: list the runs; stop, resume, verify, transfer, export or delete one."""

from __future__ import annotations

import json
import math
import sys
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, cast, get_args

import typer

from distprompt_tui.cli.options import (
    JsonOption,
    RunArgument,
    RunsDirOption,
    find,
    new_console,
    refuse_options_before,
    report,
    runs_folder,
    say,
)
from distprompt_tui.core.config.dtypes import Dtype
from distprompt_tui.core.errors import UsageError
from distprompt_tui.core.text.terminal_text import sanitize
from distprompt_tui.runs.export_formats import ExportFormat

runs_app = typer.Typer(help="List the runs; stop, resume, verify, transfer, export or delete one.")


SLOW_STOP = "distprompt-tui: waiting for the end of the current step; 'runs stop --force' does not wait"
"""Printed to a terminal if a stop takes longer than `SLOW_STOP_SECONDS`. Ctrl-C ends the wait, not the stop."""


def _dtype(text: str) -> str:
    if text not in get_args(Dtype):
        raise typer.BadParameter(f"{text!r} is not one of {', '.join(map(repr, get_args(Dtype)))}.")
    return text


@runs_app.callback(invoke_without_command=True)
def list_all_runs(context: typer.Context, runs_dir: RunsDirOption = None) -> None:
    """List the runs, newest first."""
    if context.invoked_subcommand is None:
        list_runs(runs_dir)
    else:
        refuse_options_before(context)


@runs_app.command("list")
def list_runs(runs_dir: RunsDirOption = None, as_json: JsonOption = False) -> None:
    """List the runs, newest first."""
    from distprompt_tui.runs.summary import as_dict, read_runs

    runs = read_runs(runs_folder(runs_dir))
    if as_json:
        print(json.dumps({"runs": [as_dict(run) for run in runs]}))
    else:
        from distprompt_tui.cli.tables import print_runs

        print_runs(new_console(), runs)


@runs_app.command("delete")
def delete_run(
    name: RunArgument,
    runs_dir: RunsDirOption = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete a finished run with its events, best prompt and checkpoint."""
    from distprompt_tui.runs.process import delete_run

    found = find(name, runs_dir)
    if not yes:
        if not sys.stdin.isatty():
            raise UsageError("stdin is not a terminal: --yes deletes without a question")
        if not typer.confirm(f"Delete {sanitize(str(found.path))} permanently?", err=True):
            raise typer.Exit(1)
    delete_run(found)
    say(f"deleted {found.name}")


@runs_app.command("stop")
def stop_run(
    name: RunArgument,
    runs_dir: RunsDirOption = None,
    force: Annotated[bool, typer.Option("--force", help="Kill it at once; do not wait for its step.")] = False,
) -> None:
    """Stop a run after its current step and keep its results."""
    from distprompt_tui.runs.process import SLOW_STOP_SECONDS, stop, worker_pid
    from distprompt_tui.runs.result_notes import REASONS
    from distprompt_tui.runs.state import FORCED
    from distprompt_tui.runs.summary import summarise

    run = find(name, runs_dir)
    if worker_pid(run) is None:
        state = summarise(run).state
        raise UsageError(f"{run.name} is not running: {REASONS.get(state, state)}")
    at_once = threading.Event()
    if force:
        at_once.set()
    notice = threading.Timer(SLOW_STOP_SECONDS, print, (SLOW_STOP,), {"file": sys.stderr, "flush": True})
    if sys.stderr.isatty():
        notice.daemon = True
        notice.start()
    try:
        print("stopped" if stop(run, force=at_once) else FORCED)
    finally:
        notice.cancel()


@runs_app.command("resume")
def resume_run(name: RunArgument, runs_dir: RunsDirOption = None) -> None:
    """Continue from the last checkpoint in the background; 'attach' opens the run."""
    from distprompt_tui.models.registry import find_model
    from distprompt_tui.runs.process import start_worker
    from distprompt_tui.runs.result_notes import REASONS
    from distprompt_tui.runs.summary import summarise

    run = find(name, runs_dir)
    now = summarise(run)
    if not now.is_live and not now.is_resumable:
        why = REASONS.get(now.state, now.state)
        raise UsageError(f"{run.name} has ended: {why}; only a stopped, failed or crashed run can be resumed")
    if not run.manifest.exists():
        find_model(run.read_spec().model.name)  # the model may have been removed
    start_worker(run)
    say(f"{run.name} continues in the background; 'distprompt-tui attach {run.name}' opens it")


@runs_app.command("export")
def export_run(
    name: RunArgument,
    form: Annotated[ExportFormat, typer.Option("--format", help="PEFT adapter, its vectors, all data, or the steps.")],
    out: Annotated[Path | None, typer.Option("--out", help="File or folder. Default: the run's folder.")] = None,
    runs_dir: RunsDirOption = None,
) -> None:
    """Export a run's best prompt for other programs."""
    from distprompt_tui.runs.export import export_run

    say(str(export_run(find(name, runs_dir), form, out)))


@runs_app.command("verify")
def verify_run(name: RunArgument, runs_dir: RunsDirOption = None, as_json: JsonOption = False) -> None:
    """Measure a best prompt again (fresh load, plain transformers, retokenized text). Exit code 1 on a difference."""
    from distprompt_tui.worker.verify import verify

    found = verify(find(name, runs_dir))
    if as_json:
        numbers = {label: _finite(value) for label, value in found.divergences.items()}
        floors = {"floor": found.floor, "floor_dtype": found.floor_dtype, "floor_fresh": found.floor_fresh}
        rest = {"bos": found.bos, "verified": found.agrees, "result": found.result}
        print(json.dumps(numbers | floors | rest))
    else:
        for label, value in found.divergences.items():
            print(f"{label:10} {'-' if value is None else f'{value:.6f}'}")
        if found.floor is not None and found.floor_dtype is not None:
            print(f"floor      {found.floor:.6f} in {sanitize(found.floor_dtype)}")
        if found.floor_fresh is not None and found.floor_dtype != "float32":
            print(f"floor      {found.floor_fresh:.6f} in float32, for kl_fresh")
        print(found.result)
    if not found.agrees:
        raise typer.Exit(1)


@runs_app.command("transfer")
def transfer_run(
    name: RunArgument,
    to: Annotated[list[str] | None, typer.Option("--to", metavar="MODEL", help="Another model; repeatable.")] = None,
    dtypes: Annotated[
        list[str] | None,
        typer.Option(
            "--dtype",
            parser=_dtype,
            metavar=f"[{'|'.join(get_args(Dtype))}]",
            help="Repeatable. Default: float32 and bfloat16.",
        ),
    ] = None,
    runs_dir: RunsDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure a best prompt in other dtypes, on other models and within their chat templates."""
    from distprompt_tui.cli.tables import print_transfer
    from distprompt_tui.core.config.known_models import absolute_name
    from distprompt_tui.models.registry import find_model
    from distprompt_tui.worker.prompt_transfer import DTYPES, transfer_prompt

    run = find(name, runs_dir)
    others = [absolute_name(other, Path()) for other in to or ()]
    for other in others:
        find_model(other)  # report an unknown model before the first one is loaded
    kl, results = transfer_prompt(run, others, cast("list[Dtype]", dtypes) or DTYPES, report)
    if as_json:
        print(json.dumps({"run": str(run.path), "kl": kl, "transfers": [asdict(result) for result in results]}))
    else:
        print_transfer(new_console(), kl, list(results))


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
