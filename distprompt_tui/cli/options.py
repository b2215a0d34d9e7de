"""What the commands share: their options, and how the options become a spec."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from distprompt_tui.config.methods import Method
from distprompt_tui.errors import NotFoundError, UsageError
from distprompt_tui.text.terminal_text import sanitize

if TYPE_CHECKING:
    from rich.console import Console

    from distprompt_tui.config.spec import RunSpec
    from distprompt_tui.runs.directory import RunDirectory


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
NoMouseOption = Annotated[bool, typer.Option("--no-mouse", help="Leave the mouse to the terminal, for selecting text.")]
FpsOption = Annotated[
    float | None,
    typer.Option("--fps", min=0.5, max=5, help="Updates a second; fewer are kinder to a slow line. Default: as set."),
]
ReadOnlyOption = Annotated[bool, typer.Option("--read-only", help="Look at searches; start, pause or end none.")]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object on stdout, all else on stderr.")]


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
        from distprompt_tui.config.presets import override, update, with_method
        from distprompt_tui.models.registry import find_model

        if self._method is not None:
            spec = with_method(spec, self._method)
        given = {field: value for field, value in self._fields.items() if value is not None}
        spec = override(update(spec, given), self._changes)
        find_model(spec.model.name)  # an unknown one is told before anything is started
        return spec


def fail(text: str, exit_code: int) -> NoReturn:
    """End with one line on stderr."""
    print(f"distprompt-tui: {sanitize(text)}", file=sys.stderr)
    sys.exit(exit_code)


def warn(problems: Iterable[str]) -> None:
    """A line on stderr for each file that is left out because something is wrong with it."""
    for problem in problems:
        print(f"distprompt-tui: {sanitize(problem)}", file=sys.stderr)


def refuse_options_before(context: typer.Context) -> None:
    """Refuse a group's own options where a command follows: they would have no effect.

    Raises:
        UsageError: there is one.
    """
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        if source is not None and source.name == "COMMANDLINE":
            option, command = parameter.opts[0], f"{context.command_path} {context.invoked_subcommand}"
            raise UsageError(
                f"{option} before a command has no effect: give it after, where the command has it ('{command} --help')"
            )


def say(text: str) -> None:
    """Print a line with names and paths in it. A terminal gets them made safe, a program gets them as they are."""
    print(sanitize(text) if sys.stdout.isatty() else text, flush=True)


def runs_folder(given: Path | None) -> Path:
    """Where runs live: as given, or the user's."""
    from distprompt_tui.config.paths import runs_dir
    from distprompt_tui.storage.safe_io import user_path

    return user_path(given).absolute() if given is not None else runs_dir()


def find(name: str, runs_dir: Path | None) -> RunDirectory:
    """A run by its folder, its name, or a part of its name."""
    from distprompt_tui.runs.directory import find_run

    return find_run(name, runs_folder(runs_dir))


def preset_spec(name: str) -> RunSpec:
    """The spec of a preset's name or TOML file."""
    from distprompt_tui.config.presets import load_preset

    return load_preset(name).spec


def asked_spec(preset: str | None, target: Path | None) -> RunSpec:
    """The spec of a preset, or of a file's distribution."""
    from distprompt_tui.config.spec import RunSpec
    from distprompt_tui.config.validation import checked
    from distprompt_tui.storage.safe_io import is_file, user_path

    if (preset is None) == (target is None):
        raise UsageError("name a preset or give a --target file, one of the two; 'distprompt-tui presets' lists them")
    if target is None:
        return preset_spec(preset or "")
    path = user_path(target).absolute()
    if path.suffix == ".toml":
        return preset_spec(str(path))
    if not is_file(path):
        raise NotFoundError(f"no target file {target}")
    return checked({"preset": path.stem, "target": {"family": "explicit", "file": str(path)}}, RunSpec)


def report(text: str, fraction: float | None) -> None:
    """Say what is going on, where somebody reads along."""
    if sys.stderr.isatty():
        print(sanitize(text), file=sys.stderr)


def stdout() -> Console:
    """Where tables are printed."""
    from rich.console import Console

    return Console()
