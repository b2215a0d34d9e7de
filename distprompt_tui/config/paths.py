"""Where things live on a user's machine. `DISTPROMPT_HOME` moves all of it under one folder."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import platformdirs

from distprompt_tui.errors import UsageError
from distprompt_tui.storage.safe_io import user_path

_APP = "distprompt-tui"


def _home(kind: str, folder: Callable[[str], str]) -> Path:
    """A place under `DISTPROMPT_HOME`, or under one of the user's folders where that is not set.

    Raises:
        UsageError: no folder of the user is known: HOME is not set and the user has no entry in the password file.
    """
    if base := os.environ.get("DISTPROMPT_HOME"):
        return user_path(base).absolute() / kind
    try:
        path = Path(folder(_APP))
    except (RuntimeError, KeyError):
        path = Path()
    if not path.is_absolute():
        raise UsageError("no home folder is known: DISTPROMPT_HOME names a folder for all that is kept")
    return path / kind


def runs_dir() -> Path:
    return _home("runs", platformdirs.user_data_dir)


def sweeps_dir() -> Path:
    return _home("sweeps", platformdirs.user_data_dir)


def models_dir() -> Path:
    """Models converted to safetensors."""
    return _home("models", platformdirs.user_cache_dir)


def bounds_dir() -> Path:
    """Floors and head optima that were computed before."""
    return _home("bounds", platformdirs.user_cache_dir)


def targets_dir() -> Path:
    """Targets that were made before."""
    return _home("targets", platformdirs.user_cache_dir)


def user_presets_dir() -> Path:
    """Presets that the user saved."""
    return _home("presets", platformdirs.user_config_dir)


def settings_file() -> Path:
    """What the app remembers of how the user likes it."""
    return _home("settings.toml", platformdirs.user_config_dir)


def shipped_presets_dir() -> Path:
    """The presets that come with the program: beside the package in a checkout, inside it when installed."""
    package = Path(__file__).parents[1]
    installed = package / "presets_shipped"
    return installed if installed.is_dir() else package.parent / "presets"
