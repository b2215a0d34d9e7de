"""Where things live on a user's machine. `DISTPROMPT_HOME` moves all of it under one folder."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

_APP = "distprompt-tui"


def _home(kind: str, default: str) -> Path:
    base = os.environ.get("DISTPROMPT_HOME")
    return Path(base).expanduser().absolute() / kind if base else Path(default)


def runs_dir() -> Path:
    """Run directories."""
    return _home("runs", platformdirs.user_data_dir(_APP) + "/runs")


def sweeps_dir() -> Path:
    """Sweeps' folders."""
    return _home("sweeps", platformdirs.user_data_dir(_APP) + "/sweeps")


def models_dir() -> Path:
    """Models converted to safetensors."""
    return _home("models", platformdirs.user_cache_dir(_APP) + "/models")


def bounds_dir() -> Path:
    """Floors and head limits that were computed before."""
    return _home("bounds", platformdirs.user_cache_dir(_APP) + "/bounds")


def user_presets_dir() -> Path:
    """Presets that the user saved."""
    return _home("presets", platformdirs.user_config_dir(_APP) + "/presets")


def settings_file() -> Path:
    """What the app remembers of how the user likes it."""
    return _home("settings.toml", platformdirs.user_config_dir(_APP) + "/settings.toml")


def shipped_presets_dir() -> Path:
    """The presets that come with the program: beside the package in a checkout, inside it when installed."""
    package = Path(__file__).parent
    installed = package / "presets_shipped"
    return installed if installed.is_dir() else package.parent / "presets"
