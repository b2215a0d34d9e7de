"""Dialogs to save a spec as a preset: repeat until the name is valid, and confirm before replacing one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from textual.app import App

from distprompt_tui.core.errors import DistPromptError
from distprompt_tui.core.text.terminal_text import sanitize
from distprompt_tui.tui.platform.threads import in_thread
from distprompt_tui.tui.start.preset_dialogs import NameDialog, replace_question
from distprompt_tui.tui.widgets.dialogs import Answer, Question

if TYPE_CHECKING:
    from distprompt_tui.core.config.spec import RunSpec


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
        name: the first suggestion. A title that is empty or the old name becomes the final name.
    """
    from distprompt_tui.core.config.paths import without_home
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
        title = name if spec.title in ("", spec.preset) else spec.title
        named = spec.model_copy(update={"title": title, "preset": name})
        try:
            path = await in_thread(write_preset, name, named)
        except DistPromptError as error:
            problem = str(error)
            continue
        app.notify(sanitize(without_home(str(path))), title=f"Saved as {sanitize(name)}", markup=False)
        return named
