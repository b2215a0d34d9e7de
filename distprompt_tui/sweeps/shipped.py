"""Sweeps by name: shipped with the program, the user's own, or any TOML file."""

from __future__ import annotations

from pathlib import Path

from distprompt_tui import locations
from distprompt_tui.checked_toml import read_checked
from distprompt_tui.errors import NotFoundError, near_matches
from distprompt_tui.sweeps.grid import Sweep


def load_sweep(name: str) -> Sweep:
    """A sweep by its name or by the path of its file, its `quick` values not applied.

    Raises:
        NotFoundError: there is none; the near matches are named.
        UsageError: it is wrong; the text names file, line and field.
    """
    if name.endswith(".toml") or "/" in name:
        path = Path(name).expanduser()
        if not path.is_file():
            raise NotFoundError(f"no sweep file {name}")
        return read_checked(path, Sweep)
    folders = [folder / "sweeps" for folder in (locations.user_presets_dir(), locations.shipped_presets_dir())]
    for folder in folders:
        if (path := folder / f"{name}.toml").is_file():
            return read_checked(path, Sweep)
    known = [path.stem for folder in folders for path in folder.glob("*.toml")]
    raise NotFoundError(f"no sweep {name!r}; {near_matches(name, known)}")
