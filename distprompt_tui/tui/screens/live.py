"""The live screen: one run, followed through its files at the pace of the interface."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container, Vertical

from distprompt_tui.errors import DistPromptError
from distprompt_tui.tui import clipboard
from distprompt_tui.tui.background import in_thread
from distprompt_tui.tui.control import RunControl
from distprompt_tui.tui.follow import RunFollower, RunView
from distprompt_tui.tui.keys import APP_KEYS, LIVE_KEYS, bindings
from distprompt_tui.tui.lines import safe
from distprompt_tui.tui.screens.base import AppScreen, TooSmall
from distprompt_tui.tui.screens.dialogs import copy_question, stop_question
from distprompt_tui.tui.table_feed import TableFeed
from distprompt_tui.tui.token_table import TokenSource, TokenTable
from distprompt_tui.tui.widgets.bars import TokensPanel
from distprompt_tui.tui.widgets.divergence_plot import DivergencePlot, PlotData
from distprompt_tui.tui.widgets.entropy import EntropyData, EntropyGauge, LeftData, LeftOnTheTable
from distprompt_tui.tui.widgets.keybar import KeyBar
from distprompt_tui.tui.widgets.prompt import PromptData, PromptView
from distprompt_tui.tui.widgets.status import Notice, StatusData, StatusLine

if TYPE_CHECKING:
    from distprompt_tui.runs.directory import RunDirectory

_FLAT_BELOW_ROWS = 21

PANELS = ("plot", "gauges", "prompt", "tokens")


class LiveScreen(AppScreen):
    """Follows one run until the person leaves; the run itself does not depend on it."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings(LIVE_KEYS)]
    AUTO_FOCUS = "#bars"
    keys = LIVE_KEYS

    def __init__(self, run: RunDirectory, *, read_only: bool, ascii_only: bool) -> None:
        super().__init__()
        self.directory = run
        self.view = RunView()
        self.read_only = read_only
        self.control = RunControl(run)
        self._ascii_only = ascii_only
        self._follower = RunFollower(run)
        self._source = TokenSource(run)
        self._table = TableFeed(self._source, self._show_table)
        self._polling = False
        self._warned: int | None = None

    def compose(self) -> ComposeResult:
        """Called by Textual."""
        yield StatusLine(id="status")
        yield Notice(id="notice")
        with Container(id="body"):
            with Vertical(id="side"):
                yield DivergencePlot(id="plot", classes="panel")
                with Vertical(id="gauges"):
                    yield EntropyGauge(id="entropy", classes="panel")
                    yield LeftOnTheTable(id="left", classes="panel")
                yield PromptView(id="prompt", classes="panel")
            yield TokensPanel(ascii_only=self._ascii_only, id="tokens", classes="panel")
        yield KeyBar((*LIVE_KEYS, *APP_KEYS))
        yield TooSmall()

    def on_mount(self) -> None:
        """Called by Textual."""
        self._show(self.view)
        self.set_interval(1 / self.home.updates_per_second, self.tick)
        self.call_after_refresh(self.tick)

    def on_resize(self, event: events.Resize) -> None:
        """Called by Textual."""
        self.set_class(event.size.height < _FLAT_BELOW_ROWS, "-flat")
        if self.is_drawn:
            self.query_one(Notice).show(StatusData(self.view, self.control.pending, self.read_only))

    def tick(self) -> None:
        """The one clock of the screen: read what is new, then draw what changed."""
        if not self._polling:
            self._polling = True
            self.run_worker(self._poll(), exit_on_error=True)

    async def _poll(self) -> None:
        try:
            self.view = await in_thread(self._follower.poll)
        finally:
            self._polling = False
        if not self.is_drawn:
            return
        self.control.settle(self.view)
        self._show(self.view)
        await self._table.update(self.view.state)

    def _show(self, view: RunView) -> None:
        state, snapshot = view.state, view.state.snapshot
        status = StatusData(view, self.control.pending, self.read_only)
        self.query_one(StatusLine).show(status)
        self.query_one(Notice).show(status)
        self.query_one(DivergencePlot).show(
            PlotData(state.curve, state.uniform, state.bounds, state.best_kl, state.best_step)
        )
        self.query_one(EntropyGauge).show(EntropyData(state.entropy_target, state.entropy, state.vocab_size))
        self.query_one(LeftOnTheTable).show(LeftData.of(state))
        if snapshot is not None:
            self.query_one(PromptView).show(
                PromptData(state.method or view.title.method, snapshot.step, snapshot.prompt, self._ascii_only)
            )
        self._show_keys()
        self._tell_new_warnings(state.warnings)

    def _tell_new_warnings(self, warnings: tuple[str, ...]) -> None:
        """Those from before this screen was opened are in the log."""
        for warning in warnings[self._warned :] if self._warned is not None else ():
            self.notify(safe(warning), severity="warning", markup=False)
        self._warned = len(warnings) if self._follower.has_read else None

    def _show_keys(self) -> None:
        words = {
            "pause": "resume" if self.view.state.phase == "paused" else "pause",
            "plot_scale": "linear" if self.query_one(DivergencePlot).log_scale else "log",
            "detach": "detach" if self.view.is_live else "back",
        }
        hidden = {"again"} if self.view.is_live else {"pause", "stop"}
        self.query_one(KeyBar).show(words, frozenset(hidden | ({"pause", "stop"} if self.read_only else set())))

    def _show_table(self, table: TokenTable) -> None:
        if not self.is_drawn:
            return
        empty = "The tokens appear with the first snapshot."
        if table.find:
            empty = f"No token holds {safe(table.find)!r}: esc shows all of them."
        self.query_one(TokensPanel).show(table, empty)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """What can be done with a run depends on whether it lives, and whose it is."""
        if action in ("pause", "stop"):
            return self.view.is_live and not self.read_only
        if action == "again":
            return not self.view.is_live
        return True

    # The search.

    def action_pause(self) -> None:
        """Ask for a pause, or for the search to go on."""
        self.control.toggle_pause(self.view)
        self._show(self.view)

    def action_stop(self) -> None:
        """End the search, after a question."""
        self.app.push_screen(stop_question(), self._stop)

    def _stop(self, answer: str | None) -> None:
        if answer == "stop":
            self.run_worker(self.stop_run())

    async def stop_run(self) -> None:
        """End the search and show how it goes."""
        stopping = asyncio.create_task(self.control.stop(self.view))
        await asyncio.sleep(0)  # let it ask, so that "stopping…" is shown at once
        self._show(self.view)
        if not await stopping:
            self.notify("The worker did not answer and was ended by force.", severity="warning")
        self.tick()

    def action_detach(self) -> None:
        """Leave the run alone: out of a zoom or a search first, then to the start screen."""
        if self.query_one(TokensPanel).close_find():
            return
        if self.has_class("-zoomed"):
            self.action_zoom()
            return
        self.home.go_home()

    def action_again(self) -> None:
        """Start the same search with the next seed."""
        self.run_worker(self._again())

    async def _again(self) -> None:
        try:
            spec = await in_thread(self.directory.read_spec)
        except DistPromptError as error:
            self.notify(str(error), severity="error", markup=False)
            return
        self.home.start_search(spec.model_copy(update={"seed": spec.seed + 1}), replace=True)

    # What is shown.

    async def action_order(self) -> None:
        """Sort by the next key."""
        self._table.next_order()
        await self._table.update(self.view.state, asked=True)

    def action_find(self) -> None:
        """Search the vocabulary."""
        self.query_one(TokensPanel).open_find()

    async def on_tokens_panel_find_changed(self, event: TokensPanel.FindChanged) -> None:
        """Called by Textual."""
        self._table.find = event.find
        await self._table.update(self.view.state, asked=True)

    def action_plot_scale(self) -> None:
        """Logarithmic or linear divergence."""
        self.query_one(DivergencePlot).toggle_scale()
        self._show_keys()

    def action_bar_scale(self) -> None:
        """Linear or logarithmic bars."""
        self.query_one(TokensPanel).toggle_scale()

    def action_panel(self, name: str) -> None:
        """Show or hide a panel; the last one stays."""
        panel = self.query_one(f"#{name}")
        others = [other for other in PANELS if other != name and not self.query_one(f"#{other}").has_class("-hidden")]
        if others or panel.has_class("-hidden"):
            panel.toggle_class("-hidden")
            side = [self.query_one(f"#{other}").has_class("-hidden") for other in PANELS[:-1]]
            self.query_one("#side").set_class(all(side), "-hidden")

    def action_zoom(self) -> None:
        """The panel in focus on the whole screen, and back."""
        zoom = not self.has_class("-zoomed")
        focused = [name for name in PANELS if self.query_one(f"#{name}").has_focus_within]
        chosen = focused[0] if focused else "tokens"
        for name in (*PANELS, "side"):
            kept = name == chosen or (name == "side" and chosen != "tokens")
            self.query_one(f"#{name}").set_class(zoom and kept, "-kept").set_class(zoom and not kept, "-unzoomed")
        self.set_class(zoom, "-zoomed")

    def action_reset(self) -> None:
        """All panels as they were."""
        if self.has_class("-zoomed"):
            self.action_zoom()
        for name in (*PANELS, "side"):
            self.query_one(f"#{name}").remove_class("-hidden")

    # What is kept.

    def action_copy(self) -> None:
        """Ask what to copy."""
        self.app.push_screen(copy_question(), self._copy)

    def _copy(self, what: str | None) -> None:
        if what is None:
            return
        text = clipboard.text_of(what, self.directory, self.view.state)
        if not text:
            self.notify("There is nothing to copy yet: it comes with the first best prompt.", severity="warning")
            return
        kept = clipboard.keep(text, self.directory)
        places = [f"in {safe(str(kept))}"] if kept else []
        if len(text.encode()) <= clipboard.MAX_TERMINAL_BYTES:
            self.app.copy_to_clipboard(text)
            places.insert(0, "sent to the terminal's clipboard (OSC 52)")
        self.notify(f"{len(text):,} characters {' and '.join(places) or 'could not be kept anywhere'}.", markup=False)

    def action_log(self) -> None:
        """The worker's output."""
        from distprompt_tui.tui.screens.log import LogScreen

        self.app.push_screen(LogScreen(self.directory.log, self.view.state.warnings))
