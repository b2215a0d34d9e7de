"""TOML files from untrusted sources: presets, sweeps, specs of runs, settings."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from distprompt_tui.core.config import paths
from distprompt_tui.core.errors import NotFoundError, UsageError, near_matches
from distprompt_tui.core.storage.safe_io import found_in, is_file, read_text, user_path

MAX_TOML_BYTES = 1 << 20  # far above the size of a manually written file


def find_toml(name: str, what: str, folders: Sequence[Path]) -> Path:
    """Find a TOML file by its path, or by its name without extension in the first folder that contains it.

    Raises:
        NotFoundError: there is no such file; the message contains `what`, such as "preset", and near matches.
    """
    if name.endswith(".toml") or "/" in name:
        path = user_path(name)
        if not is_file(path):
            raise NotFoundError(f"no {what} file {name}")
        return path
    for folder in folders:
        if is_file(path := user_path(folder / f"{name}.toml")):
            return path
    known = [path.stem for folder in folders for path in found_in(folder, "*.toml")]
    raise NotFoundError(f"no {what} {name!r}; {near_matches(name, known)}")


def find_preset(name: str) -> Path:
    """Find a preset, the user's before a shipped one; otherwise as `find_toml`."""
    return find_toml(name, "preset", (paths.user_presets_dir(), paths.shipped_presets_dir()))


def read_toml(path: Path) -> tuple[dict[str, Any], str]:
    """Read a TOML file; return its tables and its text.

    Raises:
        UsageError: the file cannot be read, is too large or is not TOML; the message gives its path.
    """
    try:
        text = read_text(path, MAX_TOML_BYTES)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"{path} cannot be read: {why}") from error
    try:
        return parse_toml(text), text
    except ValueError as error:
        raise UsageError(f"{path}: not TOML: {error}") from error


def parse_toml(text: str) -> dict[str, Any]:
    """Parse TOML. Raises ValueError also for numbers of thousands of digits and for deep nesting."""
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
