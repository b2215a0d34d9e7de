"""Dialogs of recipes: choose a family, and turn a recipe into rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from distprompt_tui.core.config.target_fields import families, family_summary
from distprompt_tui.core.text import formatting
from distprompt_tui.tui.drawing.styled_text import content, wrapped
from distprompt_tui.tui.widgets.dialogs import Answer, Question

if TYPE_CHECKING:
    from distprompt_tui.tui.start.target_preview_data import TargetPreview

_WIDTH = 58
_SUMMARY_LINES = 2


class FamilyDialog(ModalScreen[str | None]):
    """Returns the chosen family, or None if the user cancels."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "Back", show=False),
        Binding("j", "down", "Down", show=False),
        Binding("k", "up", "Up", show=False),
    ]

    def __init__(self, family: str) -> None:
        super().__init__()
        self._family = family
        self._summary = Static(markup=False)

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as box:
            box.border_title = "Family of the target"
            box.border_subtitle = "enter: choose, esc: cancel"
            yield OptionList(*(Option(content([[(name, "strong")]]), id=name) for name in families()))
            yield self._summary

    def on_mount(self) -> None:
        self.query_one(OptionList).highlighted = list(families()).index(self._family)

    def action_down(self) -> None:
        self.query_one(OptionList).action_cursor_down()

    def action_up(self) -> None:
        self.query_one(OptionList).action_cursor_up()

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        lines = wrapped(family_summary(str(event.option_id)), _WIDTH, "quiet")
        self._summary.update(content([[], *lines, *([[]] * (_SUMMARY_LINES - len(lines)))]))

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(event.option_id)


def as_rows_question(count: int, before: TargetPreview, after: TargetPreview, *, rest: float) -> Question:
    """Ask whether to replace a recipe by rows.

    Args:
        count: number of rows.
        rest: probability of all other tokens, which is spread evenly.
    """
    entropies = f"{formatting.nats(before.entropy)} to {formatting.nats(after.entropy)}"
    spread = f"the other {formatting.mass(rest)} is spread evenly" if rest > 0 else "nothing is left for the others"
    return Question(
        "Recipe to rows",
        f"The {count} most probable tokens become rows; {spread}. "
        f"The entropy goes from {entropies} nats. ctrl+z restores the recipe.",
        [Answer("rows", "r", "Turn into rows"), Answer("keep", "x", "Keep the recipe")],
    )
