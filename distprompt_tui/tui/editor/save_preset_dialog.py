"""Dialogs to save a spec as a preset: repeat until the name is valid, and confirm before replacing one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from distprompt_tui.errors import DistPromptError
from distprompt_tui.text.terminal_text import sanitize
from distprompt_tui.tui.drawing.styled_text import content, wrapped
from distprompt_tui.tui.platform.threads import in_thread
from distprompt_tui.tui.widgets.dialogs import Answer, Question
from distprompt_tui.tui.widgets.visible_input import Field

if TYPE_CHECKING:
    from distprompt_tui.config.spec import RunSpec

_WIDTH = 58


class NameDialog(ModalScreen[str | None]):
    """Returns the entered name, or None if the user cancels."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)", "Back", show=False)]

    def __init__(self, name: str, problem: str) -> None:
        super().__init__()
        self._first_name = name
        self._problem = problem

    def compose(self) -> ComposeResult:
        field = Field(self._first_name, placeholder="a name, such as yes-or-no", compact=True)
        with Vertical(classes="dialog") as box:
            box.border_title = "Save as a preset"
            box.border_subtitle = "enter: save, esc: cancel"
            yield field
            if self._problem:
                yield Static(content(wrapped(sanitize(self._problem), _WIDTH, "error")), markup=False)
            else:
                words = "Listed with the targets, and available on the command line as --preset."
                yield Static(content(wrapped(words, _WIDTH, "quiet")), markup=False)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self.dismiss(event.value.strip())


def replace_question(name: str, *, shipped: bool) -> Question:
    what = (
        f"{sanitize(name)} is a shipped preset. Yours replaces it in the list; the shipped file is kept."
        if shipped
        else f"The preset {sanitize(name)} already exists and will be overwritten."
    )
    return Question("Save", what, [Answer("replace", "r", "Replace"), Answer("other", "x", "Another name")])


def unsaved_question() -> Question:
    return Question(
        "Close the editor",
        "The target has changes that are not saved.",
        [
            Answer("save", "s", "Save as a preset"),
            Answer("leave", "l", "Discard the changes"),
            Answer("stay", "x", "Cancel"),
        ],
    )


async def save_under_a_name(app: App[Any], spec: RunSpec, name: str) -> RunSpec | None:
    """Save a spec as a preset, or return None if the user cancels. Call it in a worker, because it shows dialogs.

    Args:
        name: the first suggestion; an empty title becomes the final name.
    """
    from distprompt_tui.config.paths import without_home
    from distprompt_tui.tui.start.listings import preset_is_shipped, write_preset

    problem = ""
    while True:
        chosen = await app.push_screen_wait(NameDialog(name, problem))
        if chosen is None:
            return None
        name, problem = chosen, ""
        shipped = await in_thread(preset_is_shipped, name)
        if shipped is not None and await app.push_screen_wait(replace_question(name, shipped=shipped)) != "replace":
            continue
        named = spec.model_copy(update={"title": spec.title or name, "preset": name})
        try:
            path = await in_thread(write_preset, name, named)
        except DistPromptError as error:
            problem = str(error)
            continue
        app.notify(sanitize(without_home(str(path))), title=f"Saved as {sanitize(name)}", markup=False)
        return named
