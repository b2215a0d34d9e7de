from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from distprompt_tui.tui.start.target_preview_data import TargetMaker
from distprompt_tui.tui.widgets.search_form import SearchChoice

if TYPE_CHECKING:
    from distprompt_tui.config import spec
    from distprompt_tui.models.registry import ModelEntry


@dataclass(frozen=True)
class Opening:
    """Initial state of the editor.

    Attributes:
        model: a prepared model.
        base: the spec that receives the edited target.
        choice: method, length, steps and seed from the start screen.
        maker: has already read the model's tokens, which takes seconds for large vocabularies.
        preset: its name; empty for a new target.
    """

    model: ModelEntry
    base: spec.RunSpec
    choice: SearchChoice
    maker: TargetMaker
    preset: str = ""
