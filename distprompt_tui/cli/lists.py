"""The commands `presets`, `models`, `keys`, `paths` and `doctor`."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from distprompt_tui.cli.options import JsonOption, new_console, say, warn
from distprompt_tui.core.errors import NotFoundError, UsageError
from distprompt_tui.core.text.terminal_text import sanitize

presets_app = typer.Typer(help="List the presets, or check a preset file.")
models_app = typer.Typer(help="List the models, or prepare one.")


@presets_app.callback(invoke_without_command=True)
def list_all_presets(context: typer.Context) -> None:
    """List the presets."""
    if context.invoked_subcommand is None:
        from distprompt_tui.cli.tables import print_presets
        from distprompt_tui.core.config.presets import list_presets

        problems: list[str] = []
        print_presets(new_console(), list_presets(problems))
        warn(problems)


@presets_app.command("check")
def check_preset(file: Annotated[Path, typer.Argument(help="A TOML file.")]) -> None:
    """Validate a preset file; list all errors with line and field."""
    from distprompt_tui.core.config.presets import load_preset
    from distprompt_tui.core.config.spec import RunSpec
    from distprompt_tui.core.config.toml_files import read_toml
    from distprompt_tui.core.config.validation import all_mistakes, placed
    from distprompt_tui.core.storage.safe_io import is_file, user_path
    from distprompt_tui.targets.feasibility import impossible

    path = user_path(file).absolute()
    if not is_file(path):
        raise NotFoundError(f"no preset file {file}")
    fields, text = read_toml(path)
    mistakes = all_mistakes(path, RunSpec)
    mistakes += [
        placed(path, text, where, f"{'.'.join(where)}: {what}") for where, what in impossible(fields, path.parent)
    ]
    if path.suffix != ".toml":
        mistakes.append(f"{path}: the name of a preset file must end in .toml")
    if mistakes:
        warn(mistakes)
        raise typer.Exit(UsageError.exit_code)
    spec = load_preset(str(path)).spec
    say(f"{file}: valid; target {spec.target.family}, method {spec.search.method}")


@models_app.callback(invoke_without_command=True)
def list_all_models(context: typer.Context) -> None:
    """List the models."""
    if context.invoked_subcommand is None:
        from distprompt_tui.cli.tables import print_models
        from distprompt_tui.models.registry import list_models

        problems: list[str] = []
        print_models(new_console(), list_models(problems))
        warn(problems)


@models_app.command("prepare")
def prepare_model(
    name: Annotated[str, typer.Argument()],
    as_json: JsonOption = False,
    load: Annotated[bool, typer.Option("--load/--no-load", help="Load the model and test it, as a run does.")] = True,
) -> None:
    """Convert or download a model before its first run, and check that it can be searched."""
    from distprompt_tui.models.prepare import prepare_by_name

    def report(text: str, fraction: float | None) -> None:
        if as_json:
            print(json.dumps({"progress": text, "fraction": fraction}), flush=True)
        else:
            print(sanitize(text), file=sys.stderr)

    if load:
        from distprompt_tui.worker.model_check import check_model

        checked = check_model(name, report)
        report(checked.as_text(), 1.0)
        found = {field: str(value) if field == "folder" else value for field, value in asdict(checked).items()}
    else:
        found = {"folder": str(prepare_by_name(name, report))}
    say(json.dumps(found) if as_json else str(found["folder"]))


def paths() -> None:
    """Print where files are stored. DISTPROMPT_HOME changes the location."""
    from distprompt_tui.core.config import paths

    places = ("runs_dir", "sweeps_dir", "models_dir", "bounds_dir", "user_presets_dir", "settings_file", "keys_file")
    for what in (*places, "shipped_presets_dir"):
        say(f"{what.removesuffix('_dir').removesuffix('_file').replace('_', ' '):16} {getattr(paths, what)()}")


def keys(as_json: JsonOption = False) -> None:
    """List the app's keys, with those of keys.toml; report the mistakes in that file. Exit code 2 on a mistake."""
    from distprompt_tui.core.config.paths import keys_file
    from distprompt_tui.tui.custom_keys import read_key_map

    file = keys_file()
    found = read_key_map(file)
    if as_json:
        print(json.dumps({"file": str(file), "keys": found.as_dicts(), "problems": found.problems}))
    else:
        from distprompt_tui.cli.tables import print_keys

        print_keys(new_console(), found)
        say(f"your own keys: {file}" if file.exists() else f"your own keys go into {file}")
    warn(found.problems)
    if found.problems:
        raise typer.Exit(UsageError.exit_code)


def doctor(as_json: JsonOption = False) -> None:
    """Check terminal, devices, disk, models and versions; give advice on problems."""
    from distprompt_tui.core.text.checks import as_text
    from distprompt_tui.worker.doctor import examine

    checks = examine()
    print(json.dumps({"checks": [asdict(check) for check in checks]}) if as_json else as_text(checks))
