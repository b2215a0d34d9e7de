"""The output of a worker, updated as it grows."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from distprompt_tui.core.text.formatting import Line
from distprompt_tui.core.text.terminal_text import sanitize
from distprompt_tui.runs.log import read_log
from distprompt_tui.tui.drawing.styled_text import content
from distprompt_tui.tui.platform.threads import in_thread

_REFRESH_SECONDS = 1.0
_MAX_LINES = 400


class LogScreen(ModalScreen[None]):
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,w,q,enter", "dismiss", "Close", show=False)]

    def __init__(self, path: Path, warnings: tuple[str, ...]) -> None:
        super().__init__()
        self._path = path
        self._warnings = warnings
        self._lines: list[str] | None = None

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="dialog") as box:
            box.border_title = content([[("Worker output  ", ""), (sanitize(str(self._path)), "quiet")]])
            box.border_subtitle = "esc closes"
            yield Static(id="text", markup=False)

    async def on_mount(self) -> None:
        self.set_interval(_REFRESH_SECONDS, self._read)
        await self._read()

    async def _read(self) -> None:
        text = await in_thread(read_log, self._path)
        if text == self._lines or not self.is_attached:
            return
        self._lines = text
        lines: list[Line] = [[("! ", "warning"), (sanitize(warning), "warning")] for warning in self._warnings]
        lines += [[(sanitize(line), "")] for line in text[-_MAX_LINES:]]
        box = self.query_one(VerticalScroll)
        follows = box.is_vertical_scroll_end
        self.query_one("#text", Static).update(content(lines or [[("No output.", "quiet")]]))
        if follows:
            box.scroll_end(animate=False)
