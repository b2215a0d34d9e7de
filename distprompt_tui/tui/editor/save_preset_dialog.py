"""Saving a spec as a preset: asks for a name until one does, and before another preset goes."""

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
    """Ends with what was written, or None where the person turns away."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)", "Back", show=False)]

    def __init__(self, name: str, problem: str) -> None:
        super().__init__()
        self._first_name = name
        self._problem = problem

    def compose(self) -> ComposeResult:
        field = Field(self._first_name, placeholder="a name, such as yes-or-no", compact=True)
        with Vertical(classes="dialog") as box:
            box.border_title = "Save as a preset"
            box.border_subtitle = "enter saves, esc goes back"
            yield field
            if self._problem:
                yield Static(content(wrapped(sanitize(self._problem), _WIDTH, "error")), markup=False)
            else:
                words = "It stands in the list of targets after that, and on the command line as --preset."
                yield Static(content(wrapped(words, _WIDTH, "quiet")), markup=False)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self.dismiss(event.value.strip())


def replace_question(name: str, *, shipped: bool) -> Question:
    what = (
        f"{sanitize(name)} comes with the program. Yours would take its place in the list; the file that ships stays."
        if shipped
        else f"There is a preset {sanitize(name)} already. What it holds now would be lost."
    )
    return Question("Save", what, [Answer("replace", "r", "Take its place"), Answer("other", "x", "Another name")])


def unsaved_question() -> Question:
    return Question(
        "Leave the editor",
        "The target has changes that are not saved.",
        [
            Answer("save", "s", "Save it as a preset"),
            Answer("leave", "l", "Leave, the changes are lost"),
            Answer("stay", "x", "Stay here"),
        ],
    )


async def save_under_a_name(app: App[Any], spec: RunSpec, name: str) -> RunSpec | None:
    """Save a spec as a preset. Call it in a worker: it waits for the person.

    Args:
        app: shows the dialogs, and the path in the end.
        spec: what to save; a spec without a title gets the name as one.
        name: the first suggestion.

    Returns:
        The spec as saved; None where the person turned away.
    """
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
        app.notify(sanitize(str(path)), title=f"Saved as {sanitize(name)}", timeout=8, markup=False)
        return named
