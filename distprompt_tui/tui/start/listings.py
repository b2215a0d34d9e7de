"""Models and presets on disk, as the screens need them. Slow to import (pydantic), so only ever called in a thread."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from distprompt_tui.config.presets import Preset
    from distprompt_tui.config.spec import RunSpec
    from distprompt_tui.models.registry import ModelEntry


def read_models() -> list[ModelEntry]:
    """All models that can be used, the ready ones first."""
    from distprompt_tui.models.registry import list_models

    return sorted(list_models(), key=lambda entry: entry.status != "prepared")


def read_problems() -> list[str]:
    """A sentence for each preset and model that is left out because something is wrong with it; it names the file."""
    from distprompt_tui.config.presets import list_presets
    from distprompt_tui.models.registry import list_models

    problems: list[str] = []
    list_presets(problems)
    list_models(problems)
    return problems


def read_presets() -> list[Preset]:
    from distprompt_tui.config.presets import list_presets

    return list_presets()


def preset_is_shipped(name: str) -> bool | None:
    """Whether a preset of this name ships with the program; None where there is none of this name."""
    from distprompt_tui.config import paths

    for folder, shipped in ((paths.user_presets_dir(), False), (paths.shipped_presets_dir(), True)):
        if name in {path.stem for path in folder.glob("*.toml")}:
            return shipped
    return None


def write_preset(name: str, spec: RunSpec) -> Path:
    """Save a spec as the user's preset.

    Raises:
        UsageError: the name cannot be a file's name, or the file cannot be written.
    """
    from distprompt_tui.config.presets import save_preset
    from distprompt_tui.errors import UsageError

    try:
        return save_preset(name, spec)
    except OSError as error:
        raise UsageError(f"the preset cannot be written: {error.strerror}") from error
