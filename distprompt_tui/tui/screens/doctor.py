"""What `distprompt-tui doctor` says, looked at from inside the app."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import events, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import VerticalScroll
from textual.widgets import Static

from distprompt_tui.errors import DistPromptError
from distprompt_tui.findings import NAME_CELLS, Finding, as_text
from distprompt_tui.tui import clipboard
from distprompt_tui.tui.background import in_thread
from distprompt_tui.tui.keys import APP_KEYS, DOCTOR_KEYS, bindings
from distprompt_tui.tui.lines import Line, content, safe, wrapped
from distprompt_tui.tui.screens.base import AppScreen, TooSmall
from distprompt_tui.tui.subprocesses import examine_machine
from distprompt_tui.tui.widgets.keybar import KeyBar
from distprompt_tui.tui.widgets.news import OneLine

_LOOKING = (
    "Looking at terminal, devices, disk, models and versions. It takes a few seconds: torch is asked about devices."
)
_MARGIN = 6


class DoctorScreen(AppScreen):
    """Asks a process of its own, again only when the person wants it."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings(DOCTOR_KEYS)]
    AUTO_FOCUS = "#findings"
    keys = DOCTOR_KEYS

    def __init__(self) -> None:
        super().__init__()
        self._findings: list[Finding] = []
        self._failure = ""

    def compose(self) -> ComposeResult:
        """Called by Textual."""
        yield OneLine([], id="header")
        with VerticalScroll(id="findings", classes="panel"):
            yield Static(id="text", markup=False)
        yield KeyBar((*DOCTOR_KEYS, *APP_KEYS))
        yield TooSmall()

    def on_mount(self) -> None:
        """Called by Textual."""
        self.query_one("#findings").border_title = "Findings"
        self.action_again()

    def on_resize(self, event: events.Resize) -> None:
        """Called by Textual."""
        self.call_after_refresh(self._show)

    def action_again(self) -> None:
        """Look again."""
        self._findings, self._failure = [], ""
        self._show()
        self._examine()

    @work(exclusive=True, group="examine")
    async def _examine(self) -> None:
        try:
            self._findings = await examine_machine(*self.app.size)
        except DistPromptError as error:
            self._failure = str(error)
        self._show()

    def _show(self) -> None:
        if not self.is_drawn:
            return
        width = max(self.app.size.width - _MARGIN, 20)
        if self._failure:
            lines = wrapped(f"The doctor could not look: {safe(self._failure)}", width, "error")
        else:
            lines = finding_lines(self._findings, width) or wrapped(_LOOKING, width, "quiet")
        self.query_one("#text", Static).update(content(lines))
        self.query_one("#header", OneLine).show(_headline(self._findings))
        hidden = frozenset({"doctor"} if self._findings else {"doctor", "copy"})
        self.query_one(KeyBar).show({}, hidden)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Nothing can be copied before it is there."""
        return action != "copy" or bool(self._findings)

    async def action_copy(self) -> None:
        """Copy what the command line would print."""
        text = as_text(self._findings)
        self.app.copy_to_clipboard(text)
        kept = await in_thread(clipboard.keep_in, text, self.home.runs_dir)
        where = f" and in {safe(str(kept))}" if kept is not None else ""
        self.notify(f"Sent to the terminal's clipboard (OSC 52){where}.", markup=False)


def finding_lines(findings: Sequence[Finding], width: int) -> list[Line]:
    """Each finding on as many lines as it needs, its advice below it."""
    lines: list[Line] = []
    for finding in findings:
        sign = ("! ", "warning") if finding.advice else ("  ", "")
        first, *more = wrapped(safe(finding.value), width - NAME_CELLS - 2)
        lines.append([sign, (f"{finding.name:{NAME_CELLS}}", "strong"), *first])
        indented = more + wrapped(safe(finding.advice), width - NAME_CELLS - 2, "warning") * bool(finding.advice)
        lines += [[(" " * (NAME_CELLS + 2), ""), *line] for line in indented]
    return lines


def _headline(findings: Sequence[Finding]) -> Line:
    advised = sum(bool(finding.advice) for finding in findings)
    words: Line = [("what this terminal and this machine can do", "quiet")]
    if findings:
        words = [(f"! {advised} to look at", "warning")] if advised else [("all is well", "good")]
    return [("Doctor  ", "heading"), *words]
