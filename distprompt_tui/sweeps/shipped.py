"""Sweeps by name: shipped with the program, the user's own, or any TOML file."""

from __future__ import annotations

from distprompt_tui import locations
from distprompt_tui.checked_toml import read_checked
from distprompt_tui.sweeps.grid import Sweep
from distprompt_tui.toml import find_toml


def load_sweep(name: str) -> Sweep:
    """A sweep by its name or by the path of its file, its `quick` values not applied.

    Raises:
        NotFoundError: there is none; the near matches are named.
        UsageError: it is wrong; the text names file, line and field.
    """
    folders = [folder / "sweeps" for folder in (locations.user_presets_dir(), locations.shipped_presets_dir())]
    return read_checked(find_toml(name, "sweep", folders), Sweep)
