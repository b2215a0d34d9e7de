"""Folders of the program's data. `DISTPROMPT_HOME` moves all of them into one folder."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import platformdirs

from distprompt_tui.core.errors import UsageError
from distprompt_tui.core.storage.safe_io import user_path

_APP = "distprompt-tui"


def _home(kind: str, folder: Callable[[str], str]) -> Path:
    """Return a path in `DISTPROMPT_HOME` if set, else in a folder of the user, if HOME or the password file has one."""
    if base := os.environ.get("DISTPROMPT_HOME"):
        return user_path(base).absolute() / kind
    try:
        path = Path(folder(_APP))
    except (RuntimeError, KeyError):
        path = Path()
    if not path.is_absolute():
        raise UsageError("no home folder found: set DISTPROMPT_HOME to a folder for all data")
    return path / kind


def runs_dir() -> Path:
    return _home("runs", platformdirs.user_data_dir)


def sweeps_dir() -> Path:
    return _home("sweeps", platformdirs.user_data_dir)


def models_dir() -> Path:
    """Models converted to safetensors."""
    return _home("models", platformdirs.user_cache_dir)


def bounds_dir() -> Path:
    return _home("bounds", platformdirs.user_cache_dir)


def targets_dir() -> Path:
    return _home("targets", platformdirs.user_cache_dir)


def user_presets_dir() -> Path:
    return _home("presets", platformdirs.user_config_dir)


def settings_file() -> Path:
    return _home("settings.toml", platformdirs.user_config_dir)


def keys_file() -> Path:
    """The user's own keys, which the user writes."""
    return _home("keys.toml", platformdirs.user_config_dir)


def shipped_presets_dir() -> Path:
    """Return the folder of the shipped presets: beside the package in a checkout, inside it if installed."""
    package = Path(__file__).parents[2]
    installed = package / "presets_shipped"
    return installed if installed.is_dir() else package.parent / "presets"


def without_home(text: str) -> str:
    """Replace the home directory, which contains the user's name, with `~`."""
    home = os.path.expanduser("~")  # noqa: PTH111  `Path.home` raises if there is none
    return text if home in ("/", "~") else text.replace(home, "~")
