"""Options shared by the commands, and their conversion to a spec."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from distprompt_tui.core.config.methods import Method
from distprompt_tui.core.errors import NotFoundError, UsageError
from distprompt_tui.core.text.terminal_text import sanitize

if TYPE_CHECKING:
    from rich.console import Console

    from distprompt_tui.core.config.spec import RunSpec
    from distprompt_tui.runs.directory import RunDirectory


def _whole_number(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        raise typer.BadParameter(f"it needs a whole number, not {text!r}") from None
    if value < 0:
        raise typer.BadParameter(f"it needs a whole number from 0, not {text!r}")
    return value


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter(f"it needs a number, not {text!r}") from None


PresetArgument = Annotated[str | None, typer.Argument(metavar="[PRESET]", help="A preset's name or TOML file.")]
TargetOption = Annotated[
    Path | None, typer.Option("--target", help="Distribution instead of a preset: .npy, .json, .csv or .toml.")
]
ModelOption = Annotated[str | None, typer.Option("--model", help="Short name, hub name, folder or .gguf file.")]
MethodOption = Annotated[Method | None, typer.Option("--method", help="Search method, for vectors or tokens.")]
StepsOption = Annotated[
    int | None, typer.Option("--steps", parser=_whole_number, metavar="INTEGER", help="Budget in steps.")
]
SecondsOption = Annotated[
    float | None, typer.Option("--seconds", parser=_number, metavar="FLOAT", help="Budget in seconds.")
]
UntilOption = Annotated[
    float | None, typer.Option("--until", parser=_number, metavar="FLOAT", help="Stop at this divergence, in nats.")
]
SeedOption = Annotated[
    int | None, typer.Option("--seed", parser=_whole_number, metavar="INTEGER", help="Random seed of the search.")
]
ChainsOption = Annotated[
    int | None,
    typer.Option("--chains", parser=_whole_number, metavar="INTEGER", help="Prompts searched side by side by 'hard'."),
]
WitnessOption = Annotated[
    str | None, typer.Option("--witness", metavar="TEXT", help="A known prompt, whose divergence is shown beside.")
]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Override any field: search.lr=0.2")
]
RunsDirOption = Annotated[Path | None, typer.Option("--runs-dir", help="Folder of the runs.")]
RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="Folder, name, or part of the name of a run.")]
NoMouseOption = Annotated[bool, typer.Option("--no-mouse", help="Leave the mouse to the terminal, to select text.")]
FpsOption = Annotated[
    float | None,
    typer.Option(
        "--fps", min=0.5, max=5, help="Updates per second; fewer for a slow connection. Default: the setting."
    ),
]
ReadOnlyOption = Annotated[bool, typer.Option("--read-only", help="Only view searches; do not start or control any.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object to stdout, all else to stderr.")]


NARROWEST = 20  # columns; in fewer, tables lose their content
UNKNOWN_WIDTH = 80  # columns of a terminal that reports none


class Options:
    def __init__(
        self,
        model: str | None = None,
        method: Method | None = None,
        steps: int | None = None,
        seconds: float | None = None,
        until: float | None = None,
        seed: int | None = None,
        changes: list[str] | None = None,
        chains: int | None = None,
        witness: str | None = None,
    ) -> None:
        self._method = method
        self._fields: dict[str, Any] = {
            "model.name": model,
            "budget.steps": steps,
            "budget.seconds": seconds,
            "budget.until": until,
            "seed": seed,
            "search.chains": chains,
            "witness": witness,
        }
        self._changes = changes or []

    @property
    def any(self) -> bool:
        return bool(self._method or self._changes or any(value is not None for value in self._fields.values()))

    def apply(self, spec: RunSpec) -> RunSpec:
        """Return the spec with the options applied, `--set` last."""
        from distprompt_tui.core.config.presets import override, update, with_method
        from distprompt_tui.models.registry import find_model

        if self._method is not None:
            spec = with_method(spec, self._method)
        given = {field: value for field, value in self._fields.items() if value is not None}
        spec = override(update(spec, given), self._changes)
        find_model(spec.model.name)  # report an unknown model before the start
        return spec


def fail(text: str, exit_code: int) -> NoReturn:
    print(f"distprompt-tui: {sanitize(text)}", file=sys.stderr)
    sys.exit(exit_code)


def warn(problems: Iterable[str]) -> None:
    for problem in problems:
        print(f"distprompt-tui: {sanitize(problem)}", file=sys.stderr)


def refuse_options_before(context: typer.Context) -> None:
    """Raise a `UsageError` for an option of a group before a command, because it would have no effect."""
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        if source is not None and source.name == "COMMANDLINE":
            option, command = parameter.opts[0], f"{context.command_path} {context.invoked_subcommand}"
            raise UsageError(
                f"{option} before a command has no effect: put it after, if the command accepts it ('{command} --help')"
            )


def say(text: str) -> None:
    """Print a line; sanitize it for a terminal, but not for a program."""
    print(sanitize(text) if sys.stdout.isatty() else text, flush=True)


def runs_folder(given: Path | None) -> Path:
    from distprompt_tui.core.config.paths import runs_dir
    from distprompt_tui.core.storage.safe_io import user_path

    return user_path(given).absolute() if given is not None else runs_dir()


def find(name: str, runs_dir: Path | None) -> RunDirectory:
    from distprompt_tui.runs.directory import find_run

    return find_run(name, runs_folder(runs_dir))


def preset_spec(name: str) -> RunSpec:
    from distprompt_tui.core.config.presets import load_preset

    return load_preset(name).spec


def asked_spec(preset: str | None, target: Path | None) -> RunSpec:
    from distprompt_tui.core.config.spec import RunSpec
    from distprompt_tui.core.config.validation import checked
    from distprompt_tui.core.storage.safe_io import is_file, user_path

    if (preset is None) == (target is None):
        raise UsageError("name a preset or give a --target file, but not both; 'distprompt-tui presets' lists presets")
    if target is None:
        return preset_spec(preset or "")
    path = user_path(target).absolute()
    if path.suffix == ".toml":
        return preset_spec(str(path))
    if not is_file(path):
        raise NotFoundError(f"no target file {target}")
    return checked({"preset": path.stem, "target": {"family": "explicit", "file": str(path)}}, RunSpec)


def report(text: str, fraction: float | None) -> None:
    if sys.stderr.isatty():
        print(sanitize(text), file=sys.stderr)


def new_console(*, stderr: bool = False) -> Console:
    """Return a console for standard output, or for standard error, that has room for text."""
    from rich.console import Console

    console = Console(stderr=stderr)
    if console.width < NARROWEST:  # for rich, COLUMNS=0 is a width, in which it prints nothing
        console.width = NARROWEST if console.width else UNKNOWN_WIDTH
    return console
