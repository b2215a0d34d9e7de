"""A run on the screen: its panels, followed through the run's files at the pace of the interface."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, ClassVar

from textual import events
from textual.app import ComposeResult
from textual.containers import Container, Vertical

from distprompt_tui.text.terminal_text import safe
from distprompt_tui.tui.keymap import APP_KEYS, HISTORY_KEYS, LIVE_KEYS, Key
from distprompt_tui.tui.platform.threads import in_thread
from distprompt_tui.tui.run.controls import RunControl
from distprompt_tui.tui.run.display_state import DisplayState, select_display_state
from distprompt_tui.tui.run.divergence_plot import DivergencePlot, PlotData
from distprompt_tui.tui.run.gauges import EntropyData, EntropyGauge, ExcessData, ExcessGauge
from distprompt_tui.tui.run.model_queries import ModelQueries
from distprompt_tui.tui.run.monitor import RunMonitor, RunView
from distprompt_tui.tui.run.playback import History
from distprompt_tui.tui.run.prompt_view import PromptData, PromptView
from distprompt_tui.tui.run.status import Banner, StatusData, StatusLine, end_message
from distprompt_tui.tui.run.status_flash import StatusFlash, next_flash
from distprompt_tui.tui.run.text_prompt import TextPrompt
from distprompt_tui.tui.run.token_panel import TokensPanel
from distprompt_tui.tui.run.token_table import TokenSource, TokenTable
from distprompt_tui.tui.run.token_table_updater import TokenTableUpdater
from distprompt_tui.tui.widgets.app_screen import AppScreen, TooSmall
from distprompt_tui.tui.widgets.key_bar import KeyBar
from distprompt_tui.tui.widgets.line_widget import is_in_sight

if TYPE_CHECKING:
    from distprompt_tui.runs.directory import RunDirectory
    from distprompt_tui.runs.state import RunState

_FLAT_BELOW_ROWS = 21


class RunScreen(AppScreen):
    """Follows one run until the person leaves; the run itself does not depend on it."""

    AUTO_FOCUS = "#bars"
    keys: ClassVar[tuple[Key, ...]] = (*LIVE_KEYS, *HISTORY_KEYS)

    def __init__(self, run: RunDirectory, *, read_only: bool, ascii_only: bool) -> None:
        super().__init__()
        self.directory = run
        self.view = RunView()
        self.read_only = read_only
        self.control = RunControl(run)
        self._ascii_only = ascii_only
        self._follower = RunMonitor(run)
        self._source = TokenSource(run)
        self.table = TokenTableUpdater(self._source, self._show_table)
        self.history = History(self._follower.recording)
        self.asker = ModelQueries(run, self.redraw)
        self.held: RunState | None = None
        self.pins: frozenset[int] = frozenset()
        self._polling = False
        self._polled_at = time.monotonic()
        self._warned: int | None = None
        self._news = StatusFlash()

    def compose(self) -> ComposeResult:
        yield StatusLine(id="status")
        yield Banner(id="notice")
        with Container(id="body"):
            with Vertical(id="side"):
                yield DivergencePlot(id="plot", classes="panel")
                with Vertical(id="gauges"):
                    yield EntropyGauge(id="entropy", classes="panel")
                    yield ExcessGauge(id="excess", classes="panel")
                yield PromptView(id="prompt", classes="panel")
            yield TokensPanel(ascii_only=self._ascii_only, id="tokens", classes="panel")
        yield TextPrompt(ascii_only=self._ascii_only)
        yield KeyBar((*self.keys, *APP_KEYS))
        yield TooSmall()

    def on_mount(self) -> None:
        """Called by Textual: begin as the settings say."""
        settings = self.context.settings
        self.table.wish_for(order=settings.token_order)
        if settings.divergence_scale == "linear":
            self.query_one(DivergencePlot).toggle_scale()
        if settings.bar_scale == "log":
            self.query_one(TokensPanel).toggle_scale()
        self.redraw()
        self.set_interval(1 / self.context.updates_per_second, self.tick)

    def on_screen_resume(self) -> None:
        self.call_after_refresh(self.tick)

    async def on_unmount(self) -> None:
        await self.asker.close()

    def on_resize(self, event: events.Resize) -> None:
        self.set_class(event.size.height < _FLAT_BELOW_ROWS, "-flat")
        if self.is_composed:
            self.query_one(Banner).show(self._status(self.shown))

    def tick(self) -> None:
        """The one clock of the screen: read what is new, then draw what changed."""
        if not self._polling:
            self._polling = True
            self.run_worker(self._poll(), exit_on_error=True)

    async def _poll(self) -> None:
        was_live, is_first = self.view.is_live, not self._follower.has_read
        try:
            self.view = await in_thread(self._follower.poll)
            now, before = time.monotonic(), self._polled_at
            self._hear(now, is_first=is_first)
            self._polled_at = now
            if was_playing := self.history.is_playing:
                await self.history.play_on(now - before, self.view.state)
        finally:
            self._polling = False
        if not self.is_composed:
            return
        if was_live and not self.view.is_live:
            self._tell_the_end()
        self.control.settle(self.view)
        if self.is_foreground:
            await self.update_panels(asked=was_playing)

    def _hear(self, now: float, *, is_first: bool) -> None:
        """What happened before this screen was opened is no news."""
        run = self.view.state
        self._news = StatusFlash(best_kl=run.best_kl) if is_first else next_flash(self._news, run, now)

    def _tell_the_end(self) -> None:
        """The bell where it is set; a few words where another screen lies over this one."""
        if self.context.settings.bell == "on":
            self.app.bell()
        if not self.is_foreground:
            words, is_failure = end_message(self.view)
            self.notify(words, severity="error" if is_failure else "information", timeout=10, markup=False)

    @property
    def shown(self) -> DisplayState:
        """What the panels are drawn from."""
        return select_display_state(self.view.state, self.held, self.history, self.asker)

    def _status(self, what: DisplayState) -> StatusData:
        news = self._news.words_at(time.monotonic()) if self.view.is_live else ()
        slow = self.control.stops_slowly
        return StatusData(self.view, self.control.pending, self.read_only, what.note, news, slow)

    async def update_panels(self, *, asked: bool = False) -> None:
        """Draw what is shown now; `asked`: the person waits for its tokens."""
        what = self.shown
        self._show(what)
        self.table.wish_for(pins=self.pins, source=what.source, second=what.second)
        if asked or is_in_sight(self.query_one(TokensPanel)):
            await self.table.update(what.state, asked=asked)

    async def complete(self, written: str, most: int) -> list[tuple[int, str]]:
        """Tokens that begin with what was written; see `TokenSource.completions`."""
        return await in_thread(self._source.completions, written, most)

    def redraw(self) -> None:
        """Draw what is shown now, the tokens as they are."""
        if self.is_composed:
            self._show(self.shown)

    def _show(self, what: DisplayState) -> None:
        state, snapshot, run = what.state, what.state.snapshot, self.held or self.view.state
        status = self._status(what)
        self.query_one(StatusLine).show(status)
        self.query_one(Banner).show(status)
        uniform_kl = self._source.uniform_kl | ({"kl": run.uniform_kl} if run.uniform_kl is not None else {})
        self.query_one(DivergencePlot).show(
            PlotData(run.curve, run.readings, uniform_kl, run.bounds, run.best_kl, run.best_step, what.cursor_step)
        )
        self.query_one(EntropyGauge).show(
            EntropyData(state.entropy_target, state.entropy, state.vocab_size, self._name_of_second(what))
        )
        name = "text" if what.second == "text" else "best"
        excess = ExcessData.of(state, name, last_step=self._shows_last_step(what))
        self.query_one(ExcessGauge).show(excess)
        if snapshot is not None:
            method = "hard" if what.second == "text" else state.method or self.view.title.method
            self.query_one(PromptView).show(
                PromptData(
                    method,
                    snapshot.step,
                    snapshot.prompt,
                    self._ascii_only,
                    what.influence,
                    state.projection,
                    state.vocab_size,
                )
            )
        self._show_keys(what)
        self._tell_new_warnings(self.view.state.warnings)

    def _shows_last_step(self, what: DisplayState) -> bool:
        """Whether a run is shown whose best prompt was not measured at its end: its last step had another one."""
        is_over = self.view.health == "crashed" or (self.view.state.phase == "ended" and not self.view.state.result)
        return is_over and not what.note

    def _name_of_second(self, what: DisplayState) -> str:
        return "last step" if self._shows_last_step(what) else what.second

    def _tell_new_warnings(self, warnings: tuple[str, ...]) -> None:
        """Those from before this screen was opened are in the log."""
        for warning in warnings[self._warned :] if self._warned is not None else ():
            self.notify(safe(warning), severity="warning", markup=False)
        self._warned = len(warnings) if self._follower.has_read else None

    def _show_keys(self, what: DisplayState) -> None:
        words = {
            "pause": "resume" if self.view.state.phase == "paused" else "pause",
            "stop": "kill" if self.control.is_stopping else "stop",
            "plot_scale": "linear" if self.query_one(DivergencePlot).log_scale else "log",
            "detach": "back" if what.note or not self.view.is_live else "detach",
            "freeze": "follow" if self.held else "freeze",
            "history": "live" if self.history.is_open else "history",
            "play": "stand still" if self.history.is_playing else "replay",
        }
        useless = {key.action for key in self.keys if not self.check_action(key.method, ())}
        if self.read_only:
            useless |= {"pause", "stop", "again", "fork"}
        self.query_one(KeyBar).show(words, frozenset(useless))

    def _show_table(self, table: TokenTable) -> None:
        if not self.is_composed:
            return
        empty = "The tokens appear with the first snapshot."
        if table.find:
            empty = f"No token holds {safe(table.find)!r}: esc shows all of them."
        self.query_one(TokensPanel).show(table, empty)
