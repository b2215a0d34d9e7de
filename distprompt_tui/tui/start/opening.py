from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from distprompt_tui.tui.start.target_preview_data import TargetMaker
from distprompt_tui.tui.widgets.search_form import SearchChoice

if TYPE_CHECKING:
    from distprompt_tui.core.config import spec
    from distprompt_tui.models.registry import ModelEntry


@dataclass(frozen=True)
class Opening:
    """Initial state of the editor. `maker` has read the model's tokens; `preset` is empty for a new target."""

    model: ModelEntry
    base: spec.RunSpec
    choice: SearchChoice
    maker: TargetMaker
    preset: str = ""
