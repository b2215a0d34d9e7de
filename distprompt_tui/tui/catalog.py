"""What the start screen lists: models and presets. Slow to import (pydantic), so only ever called in a thread."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from distprompt_tui.models.registry import ModelEntry
    from distprompt_tui.presets import Preset


def read_models() -> list[ModelEntry]:
    """All models, the ready ones first.

    Raises:
        DistPromptError: an installed model is damaged.
    """
    from distprompt_tui.models.registry import list_models

    return sorted(list_models(), key=lambda entry: entry.status != "prepared")


def read_presets() -> list[Preset]:
    """All presets.

    Raises:
        UsageError: one of them is wrong; the text names file, line and field.
    """
    from distprompt_tui.presets import list_presets

    return list_presets()
