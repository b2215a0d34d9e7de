"""What the start screen hands to the editor."""

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
    """What the editor opens with.

    Attributes:
        model: a prepared one.
        base: the spec that the edited target is put into.
        choice: method, length, steps and seed, as the start screen has them.
        maker: has read the model's tokens already, which takes seconds for large vocabularies.
        preset: its name; empty: the editor opens blank.
    """

    model: ModelEntry
    base: spec.RunSpec
    choice: SearchChoice
    maker: TargetMaker
    preset: str = ""
