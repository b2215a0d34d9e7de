"""Sweeps by name: shipped with the program, the user's own, or any TOML file."""

from __future__ import annotations

from pathlib import Path

from distprompt_tui import locations
from distprompt_tui.checked_toml import read_checked
from distprompt_tui.models.registry import find_model
from distprompt_tui.sweeps.grid import Sweep
from distprompt_tui.toml import find_toml


def load_sweep(name: str) -> Sweep:
    """A sweep by its name or by the path of its file, its `quick` values not applied.

    Raises:
        NotFoundError: there is none; the near matches are named.
        UsageError: it is wrong; the text names file, line and field.
    """
    return read_checked(find_toml(name, "sweep", _folders()), Sweep)


def sweep_files() -> list[Path]:
    """The file of each sweep that has a name; the user's own goes before a shipped one of the same name."""
    files = {path.stem: path for folder in reversed(_folders()) for path in sorted(folder.glob("*.toml"))}
    return list(files.values())


def check_models(sweep: Sweep) -> None:
    """Look for the models of a sweep, before anything is started.

    Raises:
        NotFoundError: one is unknown.
    """
    for model in sweep.all_models:
        find_model(model)


def _folders() -> list[Path]:
    """Where sweeps that have a name lie, the user's own first."""
    return [folder / "sweeps" for folder in (locations.user_presets_dir(), locations.shipped_presets_dir())]
