"""Models and presets on disk. Importing pydantic is slow, so call these functions in a thread."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from distprompt_tui.core.config.presets import Preset
    from distprompt_tui.core.config.spec import RunSpec
    from distprompt_tui.models.registry import ModelEntry


def read_models() -> list[ModelEntry]:
    from distprompt_tui.models.registry import list_models

    return sorted(list_models(), key=lambda entry: entry.status != "prepared")


def read_problems() -> list[str]:
    """Return a message for each invalid preset and model, with its file."""
    from distprompt_tui.core.config.presets import list_presets
    from distprompt_tui.models.registry import list_models

    problems: list[str] = []
    list_presets(problems)
    list_models(problems)
    return problems


def read_presets() -> list[Preset]:
    from distprompt_tui.core.config.presets import list_presets

    return list_presets()


def preset_is_shipped(name: str) -> bool | None:
    """Whether the preset is shipped with the program; None if it does not exist."""
    from distprompt_tui.core.config import paths

    for folder, shipped in ((paths.user_presets_dir(), False), (paths.shipped_presets_dir(), True)):
        if name in {path.stem for path in folder.glob("*.toml")}:
            return shipped
    return None


def write_preset(name: str, spec: RunSpec) -> Path:
    """Save a spec as the user's preset.

    Raises:
        UsageError: the name is not a valid file name, or the file cannot be written.
    """
    from distprompt_tui.core.config.presets import save_preset
    from distprompt_tui.core.errors import UsageError

    try:
        return save_preset(name, spec)
    except OSError as error:
        raise UsageError(f"the preset cannot be saved: {error.strerror}") from error


def move_preset(name: str, new_name: str) -> None:
    """Rename the user's preset.

    Raises:
        UsageError: the new name is not a valid file name, or the file cannot be renamed.
    """
    from distprompt_tui.core.config.presets import rename_preset
    from distprompt_tui.core.errors import UsageError

    try:
        rename_preset(name, new_name)
    except OSError as error:
        raise UsageError(f"the preset cannot be renamed: {error.strerror}") from error


def remove_preset(name: str) -> None:
    """Delete the user's preset.

    Raises:
        UsageError: the file cannot be deleted.
    """
    from distprompt_tui.core.config.presets import delete_preset
    from distprompt_tui.core.errors import UsageError

    try:
        delete_preset(name)
    except OSError as error:
        raise UsageError(f"the preset cannot be deleted: {error.strerror}") from error
