from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from distprompt_tui.core.errors import DistPromptError
from distprompt_tui.core.text.formatting import counted
from distprompt_tui.core.text.terminal_text import sanitize
from distprompt_tui.tui.platform import clipboard
from distprompt_tui.tui.platform.threads import in_thread
from distprompt_tui.tui.widgets.dialogs import copy_question, export_question

if TYPE_CHECKING:
    from distprompt_tui.runs.directory import RunDirectory
    from distprompt_tui.runs.export_formats import ExportFormat
    from distprompt_tui.runs.state import RunState
    from distprompt_tui.tui.widgets.app_screen import AppScreen


class RunExport:
    """Writes parts of one run to the clipboard and to files; if `read_only`, nothing into the run's folder."""

    def __init__(self, screen: AppScreen, run: RunDirectory, state: Callable[[], RunState], *, read_only: bool) -> None:
        self._screen = screen
        self._run = run
        self._state = state
        self._read_only = read_only

    async def copy(self) -> None:
        if (part := await self._screen.app.push_screen_wait(copy_question())) is None:
            return
        try:
            text = await in_thread(clipboard.text_of, part, self._run, self._state())
        except DistPromptError as error:
            self._screen.show_error(error)
            return
        if not text:
            message = "Nothing to copy yet: the run has no best prompt."
            self._screen.notify(message, severity="warning")
            return
        kept = None if self._read_only else clipboard.keep(text, self._run.path)
        places = [f"kept in {kept.name}"] if kept else []
        if len(text.encode()) <= clipboard.MAX_TERMINAL_BYTES:
            self._screen.app.copy_to_clipboard(text)
            places.insert(0, "sent to the terminal (OSC 52)")
        else:
            places.append("too long for the terminal's clipboard")
        self._screen.notify(f"{counted(len(text), 'character')} {' and '.join(places)}.", markup=False)

    async def export(self, method: str) -> None:
        """Ask for a format and write a file. Vectors are only offered if `method` has soft prompts."""
        from distprompt_tui.core.config.paths import without_home
        from distprompt_tui.runs.export import export_run

        if (format_ := await self._screen.app.push_screen_wait(export_question(method))) is None:
            return
        try:
            path = await in_thread(export_run, self._run, cast("ExportFormat", format_))
        except (DistPromptError, OSError) as error:
            self._screen.show_error(error)
            return
        self._screen.notify(sanitize(without_home(str(path))), title="Exported", markup=False)
