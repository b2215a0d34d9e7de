"""The app and the commands `run`, `attach`, `target` and `floor`."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from distprompt_tui.cli.options import (
    ChainsOption,
    FpsOption,
    JsonOption,
    MethodOption,
    ModelOption,
    NoMouseOption,
    Options,
    PresetArgument,
    ReadOnlyOption,
    RunsDirOption,
    SecondsOption,
    SeedOption,
    SetOption,
    StepsOption,
    TargetOption,
    UntilOption,
    WitnessOption,
    asked_spec,
    fail,
    new_console,
    preset_spec,
    refuse_options_before,
    report,
    runs_folder,
    say,
)
from distprompt_tui.cli.output import result_is_in
from distprompt_tui.core.config.toml_files import find_preset
from distprompt_tui.core.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from distprompt_tui.core.config.spec import RunSpec


def open_app(
    context: typer.Context,
    preset: Annotated[str | None, typer.Option("--preset", help="Start a search of this preset.")] = None,
    model: ModelOption = None,
    method: MethodOption = None,
    steps: StepsOption = None,
    seconds: SecondsOption = None,
    until: UntilOption = None,
    seed: SeedOption = None,
    changes: SetOption = None,
    witness: WitnessOption = None,
    runs_dir: RunsDirOption = None,
    ascii_only: Annotated[bool, typer.Option("--ascii", help="Draw with ASCII characters only.")] = False,
    fps: FpsOption = None,
    read_only: ReadOnlyOption = False,
    no_mouse: NoMouseOption = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Open the app."""
    if context.invoked_subcommand is not None:
        refuse_options_before(context)
        return
    if version:
        from distprompt_tui import __version__

        print(f"distprompt-tui {__version__}")
        return
    options = Options(model, method, steps, seconds, until, seed, changes, witness=witness)
    if preset is None and options.any:
        raise UsageError("--model, --method, --steps and similar options need a --preset")
    if preset is not None and read_only:
        raise UsageError("--preset starts a search, which --read-only forbids")
    looks = {"ascii_only": ascii_only, "updates_per_second": fps, "mouse": not no_mouse}
    if preset is None:
        _open(runs_dir, read_only=read_only, **looks)
        return

    def read_spec() -> RunSpec:
        return options.apply(preset_spec(preset))

    find_preset(preset)
    try:
        _require_terminal()
    except UsageError:
        read_spec()  # report mistakes in the preset first
        raise
    from distprompt_tui.tui.context import FirstSearch

    _open(runs_dir, first_search=FirstSearch(Path(preset).stem, read_spec), **looks)


def run(
    preset: PresetArgument = None,
    target: TargetOption = None,
    model: ModelOption = None,
    method: MethodOption = None,
    steps: StepsOption = None,
    seconds: SecondsOption = None,
    until: UntilOption = None,
    seed: SeedOption = None,
    chains: ChainsOption = None,
    changes: SetOption = None,
    witness: WitnessOption = None,
    runs_dir: RunsDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run one search without the app and print its result."""
    from distprompt_tui.cli.tables import print_result
    from distprompt_tui.runs.headless import run_to_end

    options = Options(model, method, steps, seconds, until, seed, changes, chains, witness)
    spec = options.apply(asked_spec(preset, target))
    run_directory, state = run_to_end(spec, runs_folder(runs_dir), new_console(stderr=True))
    result_is_in(run_directory.path)
    if state.result is None:
        ended = "was stopped before its first step"
        forced = f"is stopped (forced); best prompt: {run_directory.best}"
        fail(f"{run_directory.name} {ended if state.best_kl is None else forced}", 130)
    if as_json:
        print(json.dumps(state.result, allow_nan=False))
    else:
        print_result(new_console(), state, state.result)
    if state.reason == "stopped":
        raise typer.Exit(130)
    if until is not None and state.result["kl"] > until:
        fail(f"the final divergence {state.result['kl']:.4f} is above --until {until}", 4)


def show_target(
    preset: PresetArgument = None,
    target: TargetOption = None,
    model: ModelOption = None,
    changes: SetOption = None,
    save: Annotated[Path | None, typer.Option("--save", help="Write the target: .npy, .json or .csv.")] = None,
) -> None:
    """Make a target and print its entropy, probabilities by rank, largest tokens and recipe."""
    from distprompt_tui.cli.tables import print_target
    from distprompt_tui.targets import save_target
    from distprompt_tui.worker.model_provider import make_target_by_name

    spec = Options(model=model, changes=changes).apply(asked_spec(preset, target))
    made, vocabulary = make_target_by_name(spec, report)
    print_target(new_console(), made, vocabulary)
    if save is not None:
        save_target(made, save)
        say(f"wrote {save}")


def floor(
    preset: PresetArgument = None,
    target: TargetOption = None,
    model: ModelOption = None,
    changes: SetOption = None,
    as_json: JsonOption = False,
    sphere: Annotated[
        bool,
        typer.Option("--sphere", help="Also prove a floor for normalised states (RMSNorm); takes minutes."),
    ] = False,
) -> None:
    """Compute the certified floor and the head optimum of a target, in nats."""
    import torch

    from distprompt_tui.bounds.cache import solve_bounds, with_sphere_bound
    from distprompt_tui.cli.tables import bounds_as_dict, print_bounds
    from distprompt_tui.models.device import out_of_memory_as
    from distprompt_tui.targets import build_target
    from distprompt_tui.worker.model_provider import ModelProvider, load_by_name

    spec = Options(model=model, changes=changes).apply(asked_spec(preset, target))
    loaded, _ = load_by_name(spec.model, report)
    loaded = loaded.in_context(spec.context.prefix, spec.context.suffix, spec.context.bos)
    with out_of_memory_as(f"the memory for the bounds of {spec.model.name} is too small"):
        made = build_target(spec.target, loaded.vocabulary, ModelProvider(loaded, spec.model, report))
        p = torch.tensor(made.probabilities)
        *_, bounds = solve_bounds(loaded.head, p)
        if sphere:
            report("proving the sphere bound", None)
            bounds = with_sphere_bound(loaded.head, p, bounds)
    numbers = bounds_as_dict(bounds, made, loaded.vocabulary)
    if as_json:
        print(json.dumps(numbers))
    else:
        print_bounds(new_console(), numbers)


def attach(
    name: Annotated[str | None, typer.Argument(metavar="[RUN]", help="Default: the newest running one.")] = None,
    runs_dir: RunsDirOption = None,
    ascii_only: Annotated[bool, typer.Option("--ascii", help="Draw with ASCII characters only.")] = False,
    fps: FpsOption = None,
    read_only: ReadOnlyOption = False,
    no_mouse: NoMouseOption = False,
) -> None:
    """Open the app on a running or finished run."""
    from distprompt_tui.runs.directory import find_run, list_runs
    from distprompt_tui.runs.process import worker_pid

    folder = runs_folder(runs_dir)
    if name is not None:
        found = find_run(name, folder)
    else:
        runs = list_runs(folder)
        living = [run for run in runs if worker_pid(run) is not None]
        if not runs:
            raise NotFoundError(f"there are no runs in {folder} yet")
        found = (living or runs)[0]
    looks = {"ascii_only": ascii_only, "updates_per_second": fps, "mouse": not no_mouse}
    _open(folder, attach=found, read_only=read_only, **looks)


def _require_terminal() -> None:
    streams = (sys.__stdin__, sys.__stdout__, sys.__stderr__)
    if not all(stream is not None and stream.isatty() for stream in streams):
        raise UsageError("the app needs a terminal; 'distprompt-tui run PRESET' searches without one")
    if (term := os.environ.get("TERM", "")) in ("", "dumb", "unknown"):
        raise UsageError(
            f"the app does not support a terminal with TERM={term or '(not set)'}: set TERM, for example to "
            "xterm-256color; 'distprompt-tui run PRESET' searches without a terminal"
        )


def _open(runs_dir: Path | None, **how: Any) -> None:
    _require_terminal()
    from distprompt_tui.tui.app import run_app

    raise typer.Exit(run_app(runs_dir=runs_folder(runs_dir), **how))
