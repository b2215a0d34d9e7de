"""The command line: a command parses, calls one function and prints. Nothing heavy is imported before its time."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from distprompt_tui.errors import DistPromptError, NotFoundError, UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from distprompt_tui.runs.directory import RunDirectory
    from distprompt_tui.spec import RunSpec

EXIT_CODES = """Exit codes: 0 well, 1 the run failed, 2 wrong usage or preset, 3 not found, 4 divergence of --until not
reached, 130 interrupted."""

app = typer.Typer(
    name="distprompt-tui",
    help="Which next-token distributions can a language model be prompted into? Without a command: opens the app.",
    epilog=EXIT_CODES,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
presets_app = typer.Typer(help="List the presets, or check a preset file.")
models_app = typer.Typer(help="List the models, or prepare one.")
runs_app = typer.Typer(help="List the runs; stop, resume, verify, export or delete one.")
app.add_typer(presets_app, name="presets")
app.add_typer(models_app, name="models")
app.add_typer(runs_app, name="runs")


class Method(StrEnum):
    """How to search."""

    SOFT = "soft"
    HARD = "hard"
    GCG = "gcg"
    HOTFLIP = "hotflip"
    RANDOM = "random"
    EXHAUSTIVE = "exhaustive"


class ExportFormat(StrEnum):
    """What a prompt is exported as."""

    PEFT = "peft"
    SAFETENSORS = "safetensors"
    JSON = "json"


PresetArgument = Annotated[str | None, typer.Argument(metavar="[PRESET]", help="A preset's name or TOML file.")]
TargetOption = Annotated[
    Path | None, typer.Option("--target", help="Instead of a preset: a distribution, .npy, .json, .csv or .toml.")
]
ModelOption = Annotated[str | None, typer.Option("--model", help="Short name, hub name, folder or .gguf file.")]
MethodOption = Annotated[Method | None, typer.Option("--method", help="Search for vectors or for tokens.")]
StepsOption = Annotated[int | None, typer.Option("--steps", min=0, help="Budget: steps of the search.")]
SecondsOption = Annotated[float | None, typer.Option("--seconds", help="Budget: seconds of searching.")]
UntilOption = Annotated[float | None, typer.Option("--until", help="Stop at this divergence, in nats.")]
SeedOption = Annotated[int | None, typer.Option("--seed", min=0, help="Decides the search.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Override any field: search.lr=0.2")
]
RunsDirOption = Annotated[Path | None, typer.Option("--runs-dir", help="Where runs live.")]
RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="A run's folder, its name, or a part of its name.")]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object on stdout, all else on stderr.")]


@app.callback(invoke_without_command=True)
def open_app(
    context: typer.Context,
    preset: Annotated[str | None, typer.Option("--preset", help="Start a search of this preset at once.")] = None,
    model: ModelOption = None,
    method: MethodOption = None,
    steps: StepsOption = None,
    seconds: SecondsOption = None,
    until: UntilOption = None,
    seed: SeedOption = None,
    changes: SetOption = None,
    runs_dir: RunsDirOption = None,
    ascii_only: Annotated[bool, typer.Option("--ascii", help="Draw with ASCII characters only.")] = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Open the app."""
    if context.invoked_subcommand is not None:
        return
    if version:
        from distprompt_tui import __version__

        print(f"distprompt-tui {__version__}")
        return
    options = Options(model, method, steps, seconds, until, seed, changes)
    spec = None if preset is None else options.apply(_preset(preset))
    if spec is None and options.any:
        raise UsageError("--model, --method, --steps and the like go with a --preset")
    _open(runs_dir, spec=spec, ascii_only=ascii_only)


@app.command()
def run(
    preset: PresetArgument = None,
    target: TargetOption = None,
    model: ModelOption = None,
    method: MethodOption = None,
    steps: StepsOption = None,
    seconds: SecondsOption = None,
    until: UntilOption = None,
    seed: SeedOption = None,
    changes: SetOption = None,
    runs_dir: RunsDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run one search without the app, and print what it found."""
    from rich.console import Console

    from distprompt_tui.headless import run_to_end
    from distprompt_tui.printing import print_result

    options = Options(model, method, steps, seconds, until, seed, changes)
    spec = options.apply(_asked(preset, target))
    run_directory, state = run_to_end(spec, _runs_dir(runs_dir), Console(stderr=True))
    if state.result is None:
        _fail(f"{run_directory.name} was stopped before it had searched", 130)
    if as_json:
        print(json.dumps(state.result, allow_nan=False))
    else:
        print_result(Console(), state, state.result)
    if state.reason == "stopped":
        raise typer.Exit(130)
    if until is not None and state.result["kl"] > until:
        _fail(f"the divergence ended at {state.result['kl']:.4f}, above --until {until}", 4)


@app.command("target")
def show_target(
    preset: PresetArgument = None,
    target: TargetOption = None,
    model: ModelOption = None,
    changes: SetOption = None,
    save: Annotated[Path | None, typer.Option("--save", help="Write it: .npy, .json or .csv.")] = None,
) -> None:
    """Make a target and draw it: entropy, mass by rank, largest tokens, recipe."""
    from distprompt_tui.models.source import make_target_by_name
    from distprompt_tui.printing import print_target
    from distprompt_tui.targets import save_target

    spec = Options(model=model, changes=changes).apply(_asked(preset, target))
    made, vocabulary = make_target_by_name(spec, _report)
    print_target(_stdout(), made, vocabulary)
    if save is not None:
        save_target(made, save)
        print(f"saved as {save}")


@app.command()
def floor(
    preset: PresetArgument = None,
    target: TargetOption = None,
    model: ModelOption = None,
    changes: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """How close could any prompt come? The certified floor and the head limit of a target, in nats."""
    import torch

    from distprompt_tui.bounds import solve_bounds
    from distprompt_tui.models.source import ModelSource, load_by_name
    from distprompt_tui.printing import bounds_as_dict, print_bounds
    from distprompt_tui.targets import make_target

    spec = Options(model=model, changes=changes).apply(_asked(preset, target))
    loaded, _ = load_by_name(spec.model, _report)
    made = make_target(spec.target, loaded.vocabulary, ModelSource(loaded, spec.model, _report))
    *_, bounds = solve_bounds(loaded.head, torch.tensor(made.probabilities))
    numbers = bounds_as_dict(bounds, made, loaded.vocabulary)
    if as_json:
        print(json.dumps(numbers))
    else:
        print_bounds(_stdout(), numbers)


@app.command()
def attach(
    name: Annotated[str | None, typer.Argument(metavar="[RUN]", help="Default: the newest living one.")] = None,
    runs_dir: RunsDirOption = None,
    ascii_only: Annotated[bool, typer.Option("--ascii", help="Draw with ASCII characters only.")] = False,
    read_only: Annotated[bool, typer.Option("--read-only", help="Look, but do not touch.")] = False,
) -> None:
    """Open the app on a run, living or ended."""
    from distprompt_tui.runs.directory import find_run, list_runs
    from distprompt_tui.runs.process import worker_pid

    folder = _runs_dir(runs_dir)
    if name is not None:
        found = find_run(name, folder)
    else:
        runs = list_runs(folder)
        living = [run for run in runs if worker_pid(run) is not None]
        if not runs:
            raise NotFoundError(f"there are no runs in {folder} yet")
        found = (living or runs)[0]
    _open(folder, attach=found, ascii_only=ascii_only, read_only=read_only)


@app.command()
def doctor(as_json: JsonOption = False) -> None:
    """Look at terminal, devices, disk, models and versions, and say what to do about what is wrong."""
    from dataclasses import asdict

    from distprompt_tui.doctor import examine
    from distprompt_tui.findings import as_text

    findings = examine()
    print(json.dumps({"findings": [asdict(finding) for finding in findings]}) if as_json else as_text(findings))


@presets_app.callback(invoke_without_command=True)
def list_all_presets(context: typer.Context) -> None:
    """List the presets."""
    if context.invoked_subcommand is None:
        from distprompt_tui.presets import list_presets
        from distprompt_tui.printing import print_presets

        print_presets(_stdout(), list_presets())


@presets_app.command("check")
def check_preset(file: Annotated[Path, typer.Argument(help="A TOML file.")]) -> None:
    """Say whether a preset file is right, or what is wrong in it and where."""
    from distprompt_tui.presets import load_preset

    spec = load_preset(str(file if file.suffix == ".toml" else Path(f"{file}/"))).spec
    print(f"{file}: a {spec.target.family} target, searched by {spec.search.method} prompts")


@models_app.callback(invoke_without_command=True)
def list_all_models(context: typer.Context) -> None:
    """List the models."""
    if context.invoked_subcommand is None:
        from distprompt_tui.models.registry import list_models
        from distprompt_tui.printing import print_models

        print_models(_stdout(), list_models())


@models_app.command("prepare")
def prepare_model(name: Annotated[str, typer.Argument()], as_json: JsonOption = False) -> None:
    """Convert or download a model now, so that the first run starts at once."""
    from distprompt_tui.models.prepare import prepare_by_name

    def report(text: str, fraction: float | None) -> None:
        if as_json:
            print(json.dumps({"progress": text, "fraction": fraction}), flush=True)
        else:
            print(text, file=sys.stderr)

    folder = prepare_by_name(name, report)
    print(json.dumps({"folder": str(folder)}) if as_json else folder, flush=True)


@runs_app.callback(invoke_without_command=True)
def list_all_runs(context: typer.Context, runs_dir: RunsDirOption = None) -> None:
    """List the runs, newest first."""
    if context.invoked_subcommand is None:
        list_runs(runs_dir)


@runs_app.command("list")
def list_runs(runs_dir: RunsDirOption = None, as_json: JsonOption = False) -> None:
    """List the runs, newest first."""
    from distprompt_tui.runs.summary import as_dict, read_runs

    runs = read_runs(_runs_dir(runs_dir))
    if as_json:
        print(json.dumps({"runs": [as_dict(run) for run in runs]}))
    else:
        from distprompt_tui.printing import print_runs

        print_runs(_stdout(), runs)


@runs_app.command("delete")
def delete_run(
    name: RunArgument,
    runs_dir: RunsDirOption = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete an ended run for good: its events, its best prompt, its checkpoint."""
    from distprompt_tui.runs.process import delete_run

    found = _run(name, runs_dir)
    if not yes:
        if not sys.stdin.isatty():
            raise UsageError("there is nobody to ask: --yes deletes without a question")
        if not typer.confirm(f"Delete {found.path} for good?", err=True):
            raise typer.Exit(1)
    delete_run(found)
    print(f"deleted {found.name}")


@runs_app.command("stop")
def stop_run(name: RunArgument, runs_dir: RunsDirOption = None) -> None:
    """End a living run; what it found is kept."""
    from distprompt_tui.runs.process import stop

    print("stopped" if stop(_run(name, runs_dir)) else "killed: it did not answer in time")


@runs_app.command("resume")
def resume_run(name: RunArgument, runs_dir: RunsDirOption = None) -> None:
    """Go on from the last checkpoint, in the background; 'attach' shows it."""
    from distprompt_tui.runs.process import start_worker

    start_worker(_run(name, runs_dir))


@runs_app.command("export")
def export_run(
    name: RunArgument,
    form: Annotated[ExportFormat, typer.Option("--format", help="An adapter for peft, vectors, or everything.")],
    out: Annotated[Path | None, typer.Option("--out", help="File or folder; in the run's folder if not given.")] = None,
    runs_dir: RunsDirOption = None,
) -> None:
    """Write a run's best prompt in a form that other programs read."""
    from distprompt_tui.runs.export import export_run

    print(export_run(_run(name, runs_dir), form.value, out))


@runs_app.command("verify")
def verify_run(name: RunArgument, runs_dir: RunsDirOption = None, as_json: JsonOption = False) -> None:
    """Measure a run's best prompt anew: a fresh load, plain transformers, the text tokenised again."""
    from dataclasses import asdict

    from distprompt_tui.verify import verify

    found = asdict(verify(_run(name, runs_dir)))
    if as_json:
        print(json.dumps(found))
    else:
        for label, value in found.items():
            print(f"{label:10} {'-' if value is None else f'{value:.6f}'}")


class Options:
    """The options that change a preset, as they were given."""

    def __init__(
        self,
        model: str | None = None,
        method: Method | None = None,
        steps: int | None = None,
        seconds: float | None = None,
        until: float | None = None,
        seed: int | None = None,
        changes: list[str] | None = None,
    ) -> None:
        self._method = method
        self._fields: dict[str, Any] = {
            "model.name": model,
            "budget.steps": steps,
            "budget.seconds": seconds,
            "budget.until": until,
            "seed": seed,
        }
        self._changes = changes or []

    @property
    def any(self) -> bool:
        """Whether one was given."""
        return bool(self._method or self._changes or any(value is not None for value in self._fields.values()))

    def apply(self, spec: RunSpec) -> RunSpec:
        """The spec with the options in their places; `--set` has the last word."""
        from distprompt_tui.models.registry import find_model
        from distprompt_tui.presets import override, with_method

        if self._method is not None:
            spec = with_method(spec, self._method.value)
        given = [f"{field}={json.dumps(value)}" for field, value in self._fields.items() if value is not None]
        spec = override(spec, [*given, *self._changes])
        find_model(spec.model.name)  # an unknown one is told before anything is started
        return spec


def main() -> None:
    """Run the command line; a failure is one line on stderr and an exit code."""
    try:
        app(prog_name="distprompt-tui")
    except DistPromptError as error:
        _fail(str(error), error.exit_code)


def _fail(text: str, exit_code: int) -> NoReturn:
    print(f"distprompt-tui: {text}", file=sys.stderr)
    sys.exit(exit_code)


def _open(runs_dir: Path | None, **how: Any) -> None:
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError("the app needs a terminal; 'distprompt-tui run PRESET' searches without one")
    from distprompt_tui.tui.app import run_app

    raise typer.Exit(run_app(runs_dir=_runs_dir(runs_dir), **{"spec": None} | how))


def _runs_dir(given: Path | None) -> Path:
    from distprompt_tui.locations import runs_dir

    return given.expanduser().absolute() if given is not None else runs_dir()


def _run(name: str, runs_dir: Path | None) -> RunDirectory:
    from distprompt_tui.runs.directory import find_run

    return find_run(name, _runs_dir(runs_dir))


def _preset(name: str) -> RunSpec:
    from distprompt_tui.presets import load_preset

    return load_preset(name).spec


def _asked(preset: str | None, target: Path | None) -> RunSpec:
    """The spec of a preset, or of a file's distribution."""
    from distprompt_tui.spec import Explicit, RunSpec

    if (preset is None) == (target is None):
        raise UsageError("name a preset or give a --target file, one of the two; 'distprompt-tui presets' lists them")
    if target is None or target.suffix == ".toml":
        return _preset(preset or str(target.absolute() if target else ""))
    if not target.is_file():
        raise NotFoundError(f"no target file {target}")
    return RunSpec(preset=target.stem, target=Explicit(file=str(target.absolute())))


def _report(text: str, fraction: float | None) -> None:
    if sys.stderr.isatty():
        print(text, file=sys.stderr)


def _stdout() -> Console:
    from rich.console import Console

    return Console()
