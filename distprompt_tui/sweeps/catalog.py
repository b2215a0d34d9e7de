"""Finds sweep files: shipped, saved by the user, or any TOML file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from distprompt_tui.core.config import paths
from distprompt_tui.core.config.known_models import absolute_name
from distprompt_tui.core.config.toml_files import find_toml
from distprompt_tui.core.config.validation import checked, read_checked
from distprompt_tui.core.storage.safe_io import absolute, found_in
from distprompt_tui.models.registry import find_model
from distprompt_tui.sweeps.sweep_spec import Sweep


def load_sweep(name: str) -> Sweep:
    """Load a sweep by its name or by the path of its file, without its `quick` values.

    Raises:
        NotFoundError: not found; the text lists near matches.
        UsageError: the file is invalid; the text names file, line and field.
    """
    return read_sweep(find_toml(name, "sweep", _folders()))


def read_sweep(path: Path) -> Sweep:
    """Read a sweep file; relative paths in it are resolved against the file's folder.

    Raises:
        UsageError: the file is invalid; the text names file, line and field.
    """
    sweep = read_checked(path, Sweep)
    fields = sweep.model_dump(mode="json", exclude_unset=True)
    anchored = _anchored("", fields, path.parent)
    return sweep if anchored == fields else checked(anchored, Sweep)


def _anchored(name: str, value: Any, folder: Path) -> Any:
    """Return the value of a field with absolute paths."""
    match name, value:
        case ("models", list()):
            return [absolute_name(one, folder) if isinstance(one, str) else one for one in value]
        case ("model", str()):
            return absolute_name(value, folder)
        case ("file" | "init_prompt", str()):
            return absolute(value, folder)
        case ("masses" | "probabilities", _):  # its keys are tokens
            return value
        case (_, dict()):
            return {key: _anchored(key, one, folder) for key, one in value.items()}
        case (_, list()):
            return [_anchored("", one, folder) for one in value]
        case _:
            return value


def sweep_files() -> list[Path]:
    """List the sweep files; a user's file replaces a shipped one with the same name."""
    files = {path.stem: path for folder in reversed(_folders()) for path in found_in(folder, "*.toml")}
    return list(files.values())


def check_models(sweep: Sweep) -> None:
    """Check that all models of a sweep exist.

    Raises:
        NotFoundError: a model is unknown.
    """
    for model in sweep.all_models:
        find_model(model)


def _folders() -> list[Path]:
    return [folder / "sweeps" for folder in (paths.user_presets_dir(), paths.shipped_presets_dir())]
