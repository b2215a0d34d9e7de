"""The checks of `distprompt-tui doctor` in the app."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from textual import events, work
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.widgets import Static

from distprompt_tui.core.errors import DistPromptError
from distprompt_tui.core.text.checks import NAME_CELLS, Check, as_text
from distprompt_tui.core.text.formatting import Line
from distprompt_tui.core.text.terminal_text import sanitize
from distprompt_tui.tui.drawing.styled_text import content, wrapped
from distprompt_tui.tui.keymap import DOCTOR_KEYS
from distprompt_tui.tui.platform import clipboard
from distprompt_tui.tui.platform.subprocesses import examine_machine
from distprompt_tui.tui.platform.threads import in_thread
from distprompt_tui.tui.widgets.app_screen import AppScreen
from distprompt_tui.tui.widgets.one_line import OneLine

_LOOKING = "Checking terminal, devices, disk, models and versions. This takes a few seconds because it imports torch."
_MARGIN = 6
_LINES_AROUND = 4  # header, keys and the frame


class DoctorScreen(AppScreen):
    """Runs the checks in a subprocess, again only on request."""

    AUTO_FOCUS = "#checks"
    keys = DOCTOR_KEYS
    key_section = "doctor"

    def __init__(self) -> None:
        super().__init__()
        self._checks: list[Check] = []
        self._failure = ""

    def compose_body(self) -> ComposeResult:
        yield OneLine([], id="header")
        with VerticalScroll(id="checks", classes="panel"):
            yield Static(id="text", markup=False)

    def on_mount(self) -> None:
        self.query_one("#checks").border_title = "Checks"
        self.action_again()

    def on_resize(self, event: events.Resize) -> None:
        self.call_after_refresh(self._show)

    def action_again(self) -> None:
        self._checks, self._failure = [], ""
        self._show()
        self._examine()

    @work(exclusive=True, group="examine")
    async def _examine(self) -> None:
        try:
            self._checks = await examine_machine(*self.app.size)
        except DistPromptError as error:
            self._failure = str(error)
        self._show()

    def _show(self) -> None:
        if not self.is_composed:
            return
        width = max(self.app.size.width - _MARGIN, 20)
        if self._failure:
            lines = wrapped(f"The checks failed: {sanitize(self._failure)}", width, "error")
        else:
            lines = spaced_check_lines(self._checks, width, self.app.size.height - _LINES_AROUND)
            lines = lines or wrapped(_LOOKING, width, "quiet")
        self.query_one("#text", Static).update(content(lines))
        self.query_one("#header", OneLine).show(_headline(self._checks))
        self.show_keys()

    def availability(self) -> Mapping[str, bool | None]:
        return {"copy": bool(self._checks), "doctor": None}

    async def action_copy(self) -> None:
        text = as_text(self._checks)
        self.app.copy_to_clipboard(text)
        kept = await in_thread(clipboard.keep, text, self.context.runs_dir)
        where = f" and kept in {kept.name} of the runs" if kept is not None else ""
        self.notify(f"Sent to the terminal (OSC 52){where}.", markup=False)


def spaced_check_lines(checks: Sequence[Check], width: int, height: int) -> list[Line]:
    """Return the lines of the checks, with a blank line after each check if all fit into the height."""
    lines = check_lines(checks, width)
    if len(lines) + len(checks) - 1 > height:
        return lines
    return [line for check in checks for line in [*check_lines([check], width), []]][:-1]


def check_lines(checks: Sequence[Check], width: int) -> list[Line]:
    lines: list[Line] = []
    for check in checks:
        sign = ("! ", "warning") if check.advice else ("  ", "")
        first, *more = wrapped(sanitize(check.value), width - NAME_CELLS - 2)
        lines.append([sign, (f"{check.name:{NAME_CELLS}}", "strong"), *first])
        indented = more + wrapped(sanitize(check.advice), width - NAME_CELLS - 2, "warning") * bool(check.advice)
        lines += [[(" " * (NAME_CELLS + 2), ""), *line] for line in indented]
    return lines


def _headline(checks: Sequence[Check]) -> Line:
    advised = sum(bool(check.advice) for check in checks)
    words: Line = [("checks of this terminal and this machine", "quiet")]
    if checks:
        words = [(f"! {advised} to look at", "warning")] if advised else [("no problems found", "good")]
    return [("Doctor  ", "heading"), *words]
