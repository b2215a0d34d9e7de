"""Dialogs for the user's presets: name, replace, delete."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from distprompt_tui.core.errors import DistPromptError
from distprompt_tui.core.text.terminal_text import sanitize
from distprompt_tui.tui.drawing.styled_text import content, wrapped
from distprompt_tui.tui.platform.threads import in_thread
from distprompt_tui.tui.widgets.dialogs import Answer, Question
from distprompt_tui.tui.widgets.visible_input import Field

if TYPE_CHECKING:
    from distprompt_tui.core.config.presets import Preset

_WIDTH = 58


class NameDialog(ModalScreen[str | None]):
    """Returns the entered name, or None if the user cancels."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)", "Back", show=False)]

    def __init__(
        self,
        name: str,
        problem: str,
        *,
        title: str = "Save as a preset",
        words: str = "Listed with the targets, and available on the command line as --preset.",
    ) -> None:
        """`words` explain the name, unless there is a `problem` with the previous one."""
        super().__init__()
        self._first_name = name
        self._problem = problem
        self._heading = title
        self._words = words

    def compose(self) -> ComposeResult:
        field = Field(self._first_name, placeholder="a name, such as yes-or-no", compact=True)
        with Vertical(classes="dialog") as box:
            box.border_title = self._heading
            box.border_subtitle = "enter: save, esc: cancel"
            yield field
            if self._problem:
                yield Static(content(wrapped(sanitize(self._problem), _WIDTH, "error")), markup=False)
            else:
                yield Static(content(wrapped(self._words, _WIDTH, "quiet")), markup=False)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self.dismiss(event.value.strip())


def replace_question(name: str, *, shipped: bool) -> Question:
    what = (
        f"{sanitize(name)} is a shipped preset. Yours replaces it in the list; the shipped file is kept."
        if shipped
        else f"The preset {sanitize(name)} already exists and will be overwritten."
    )
    return Question("Save", what, [Answer("replace", "r", "Replace"), Answer("other", "x", "Another name")])


def delete_preset_question(name: str, *, replaces_shipped: bool) -> Question:
    if replaces_shipped:
        return Question(
            "Restore the shipped preset",
            f"{sanitize(name)} is your version of a shipped preset. Restoring the shipped one deletes yours.",
            [Answer("delete", "r", "Restore the shipped preset"), Answer("keep", "x", "Keep yours")],
        )
    return Question(
        "Delete a preset",
        f"This deletes your preset {sanitize(name)}. Its runs are kept.",
        [Answer("delete", "d", "Delete"), Answer("keep", "x", "Keep")],
    )


async def delete_preset(app: App[Any], preset: Preset) -> bool:
    """Delete a preset of the user, or return False if the user cancels. Call it in a worker."""
    from distprompt_tui.tui.start.listings import remove_preset

    question = delete_preset_question(preset.name, replaces_shipped=preset.replaces_shipped)
    if await app.push_screen_wait(question) != "delete":
        return False
    try:
        await in_thread(remove_preset, preset.name)
    except DistPromptError as error:
        app.notify(sanitize(str(error)), severity="error", markup=False)
        return False
    return True


async def rename_preset(app: App[Any], preset: Preset) -> str | None:
    """Rename a preset of the user; return its name, or None if the user cancels. Call it in a worker."""
    from distprompt_tui.tui.start.listings import move_preset, preset_is_shipped

    words = (
        "The shipped preset of the old name is listed again." if preset.replaces_shipped else "Runs keep the old name."
    )
    name, problem = preset.name, ""
    while True:
        chosen = await app.push_screen_wait(NameDialog(name, problem, title="Rename a preset", words=words))
        if chosen in (None, preset.name):
            return None
        name, problem = chosen, ""
        shipped = await in_thread(preset_is_shipped, name)
        if shipped is not None and await app.push_screen_wait(replace_question(name, shipped=shipped)) != "replace":
            continue
        try:
            await in_thread(move_preset, preset.name, name)
        except DistPromptError as error:
            problem = str(error)
            continue
        return name
