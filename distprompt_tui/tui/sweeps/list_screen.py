"""All sweeps: those that were begun, and those that could be; opened, started, stopped."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, ClassVar

from textual import events, work
from textual.app import ComposeResult
from textual.binding import BindingType

from distprompt_tui.text.formatting import Line
from distprompt_tui.tui.keymap import APP_KEYS, SWEEPS_KEYS, bindings
from distprompt_tui.tui.platform.threads import in_thread
from distprompt_tui.tui.sweeps.controller import SweepController
from distprompt_tui.tui.sweeps.sweep_table import AboutSweep, SweepListing, SweepsPanel, SweepTable
from distprompt_tui.tui.widgets.app_screen import AppScreen, TooSmall
from distprompt_tui.tui.widgets.key_bar import KeyBar
from distprompt_tui.tui.widgets.one_line import OneLine

if TYPE_CHECKING:
    from distprompt_tui.sweeps.index import SweepEntry, SweepList

REFRESH_SECONDS = 3.0

_FLAT_BELOW_ROWS = 20
"""Below this height, the list has all the room."""

_ON_A_SWEEP = ("open", "carry_out", "stop")


class SweepsScreen(AppScreen):
    """The folders are read in a thread every three seconds, and of each only what is new."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings(SWEEPS_KEYS)]
    AUTO_FOCUS = "#table"
    keys = SWEEPS_KEYS

    def __init__(self) -> None:
        super().__init__()
        self._sweeps: SweepList | None = None
        self._entries: list[SweepEntry] = []
        self._reading = False

    def compose(self) -> ComposeResult:
        yield OneLine([], id="header")
        yield SweepsPanel(id="sweeps", classes="panel")
        yield AboutSweep(None, id="about", classes="panel")
        yield KeyBar((*SWEEPS_KEYS, *APP_KEYS))
        yield TooSmall()

    def on_mount(self) -> None:
        self._show("Looking for sweeps…")
        self.set_interval(REFRESH_SECONDS, self._load_in_sight)

    def on_resize(self, event: events.Resize) -> None:
        self.set_class(event.size.height < _FLAT_BELOW_ROWS, "-flat")

    def on_screen_resume(self) -> None:
        self._load()

    def _load_in_sight(self) -> None:
        if self.is_foreground:
            self._load()

    @work(group="load")
    async def _load(self) -> None:
        if self._reading:
            return
        self._reading = True
        try:
            self._entries = await in_thread(self._read)
        finally:
            self._reading = False
        self._show("No sweeps: a sweep is a TOML file, and none is there.")

    def _read(self) -> list[SweepEntry]:
        """Blocks on files, and on what reading them needs."""
        from distprompt_tui.config.paths import sweeps_dir
        from distprompt_tui.sweeps.index import SweepList

        self._sweeps = self._sweeps or SweepList(sweeps_dir())
        return self._sweeps.read()

    # What is shown.

    def _show(self, empty: str) -> None:
        if not self.is_composed:
            return
        self.query_one(SweepsPanel).show(SweepListing(self._entries, time.time(), empty))
        self.query_one("#header", OneLine).show(self._headline())
        self._show_current()

    def _headline(self) -> Line:
        states = [entry.standing.state for entry in self._entries]
        living, begun = states.count("running"), sum(entry.changed_at is not None for entry in self._entries)
        parts: Line = [("Sweeps", "heading")]
        parts += [(f"  {begun:,}", "strong"), (" begun", "quiet")] if self._entries else []
        return parts + ([(f"  ● {living} running", "good")] if living else [])

    def _show_current(self) -> None:
        entry = self._current
        self.query_one(AboutSweep).show(entry)
        hands, state = self._hands, entry.standing.state if entry else ""
        useful = {
            "open": entry is not None,
            "carry_out": hands is not None and hands.can_start(state),
            "stop": hands is not None and hands.can_stop(state),
            "sweeps": False,
        }
        hidden = frozenset(name for name, is_useful in useful.items() if not is_useful)
        self.query_one(KeyBar).show({"carry_out": "start" if state == "not begun" else "go on"}, hidden)

    def on_line_table_cursor_moved(self, event: SweepTable.CursorMoved) -> None:
        self._show_current()

    @property
    def _current(self) -> SweepEntry | None:
        return self.query_one(SweepTable).current

    @property
    def _hands(self) -> SweepController | None:
        return SweepController(self, self._current.directory) if self._current else None

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Without a sweep there is nothing to do with one; a viewer that may only look changes none."""
        if action in ("carry_out", "stop") and self.context.read_only:
            return False
        return action not in _ON_A_SWEEP or (self.is_composed and self._current is not None)

    # One sweep.

    def action_open(self) -> None:
        from distprompt_tui.tui.sweeps.screen import SweepScreen

        assert self._current is not None
        self.app.push_screen(SweepScreen(self._current.directory, self._current.sweep, self._current.size))

    def action_carry_out(self) -> None:
        assert self._current is not None
        SweepController(self, self._current.directory).start(
            self._current.sweep, self._current.standing.state, self._load
        )

    def action_stop(self) -> None:
        assert self._current is not None
        SweepController(self, self._current.directory).stop(self._current.standing.state, self._load)
