"""Appends tokens to a prompt one by one, and shows the model's distribution of the next token."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, cast

from textual.app import ComposeResult
from textual.containers import Vertical

from distprompt_tui.core.errors import DistPromptError
from distprompt_tui.core.text.formatting import Line
from distprompt_tui.core.text.terminal_text import sanitize
from distprompt_tui.tui.context import is_ascii_only
from distprompt_tui.tui.drawing.styled_text import justify
from distprompt_tui.tui.keymap import READ_ONLY, STEP_KEYS
from distprompt_tui.tui.platform.threads import in_thread
from distprompt_tui.tui.run.continuation import (
    AppendedToken,
    Continuation,
    NextToken,
    PromptStart,
    next_columns,
    next_header,
    next_line,
    next_note,
    next_title,
    path_lines,
    path_title,
)
from distprompt_tui.tui.run.status import title_line
from distprompt_tui.tui.widgets.app_screen import AppScreen
from distprompt_tui.tui.widgets.dialogs import path_question
from distprompt_tui.tui.widgets.line_table import ListTable
from distprompt_tui.tui.widgets.line_widget import LineWidget, label_border

if TYPE_CHECKING:
    from distprompt_tui.runs.directory import RunDirectory
    from distprompt_tui.runs.summary import RunLabel
    from distprompt_tui.tui.run.display_state import DisplayState
    from distprompt_tui.tui.run.model_queries import ModelQueries
    from distprompt_tui.tui.run.monitor import RunView
    from distprompt_tui.tui.run.step_specs import Use

Ask = Callable[[PromptStart, Sequence[int], Sequence[int]], Awaitable[Continuation]]
"""Returns the distribution after a prompt and a path of ids, with rows for some more ids. Raises DistPromptError."""

NO_TEXT = "Vectors are no text, so the distribution after them cannot be the target of a search."

NOTHING_TO_USE = "Append a token first: vectors are no text, so a new search can only use the path."

_PATH_LINES = 8

CLOCK_SECONDS = 0.5  # interval at which a wait is shown


def step_screen(
    run: RunDirectory, view: RunView, display: DisplayState, first: int, queries: ModelQueries, *, read_only: bool
) -> StepScreen:
    """Return the screen that continues the prompt of `display`, which has a snapshot, with the token `first`."""
    start = PromptStart.of(display.state, is_text=display.comparison_label == "text")
    assert start is not None
    ask = partial(queries.continuation, view.state.model)
    return StepScreen(run, view.title, start, first, ask, lambda: queries.status, read_only=read_only)


class StepHeader(LineWidget[tuple[Line, Line]]):
    def lines(self, width: int, height: int) -> list[Line]:
        return [justify(*self.data, width)]


@dataclass(frozen=True)
class PathData:
    start: PromptStart
    path: tuple[AppendedToken, ...] = ()


class PathView(LineWidget[PathData]):
    """As high as the path, up to the `max-height` of the screen's size."""

    def on_resize(self) -> None:
        self._fit_height()

    def show(self, data: PathData) -> None:
        super().show(data)
        self._fit_height()

    def _fit_height(self) -> None:
        count = len(self.lines(self.content_size.width, _PATH_LINES)) if self.content_size.width > 0 else 1
        self.styles.height = count + self.gutter.height

    def lines(self, width: int, height: int) -> list[Line]:
        return path_lines(self.data.start, self.data.path, width, height, ascii_only=is_ascii_only(self))


class NextHeader(LineWidget[bool]):
    """Column names; the data is whether there is a target's column."""

    def lines(self, width: int, height: int) -> list[Line]:
        return [next_header(next_columns(width, target=self.data))]


class NextTokens(ListTable[NextToken]):
    largest = 0.0
    has_target = False

    def show(self, continuation: Continuation | None) -> None:
        rows = continuation.rows if continuation is not None else ()
        self.largest = max((max(row.probability, row.target or 0.0) for row in rows), default=0.0)
        self.has_target = continuation is not None and continuation.kl is not None
        self.cursor = 0
        self.show_entries(rows, "The tokens appear when the model has answered.")
        self.reveal()

    def key_of(self, entry: NextToken) -> object:
        return entry.id

    def entry_line(self, entry: NextToken, width: int, *, here: bool) -> Line:
        columns = next_columns(width, target=self.has_target)
        return next_line(entry, columns, self.largest, marked=here, ascii_only=is_ascii_only(self))


class StepScreen(AppScreen):
    """A path of tokens behind a prompt. Answers are kept, so a token is taken back at once.

    Args:
        run: of the prompt.
        label: its title.
        start: the prompt.
        first: the id of the token to append first.
        ask: queries the model.
        progress: returns the progress of a query, such as "loading smollm2"; empty if unknown.
    """

    AUTO_FOCUS = "#next"
    flat_below = 20
    keys = STEP_KEYS
    key_section = "step"

    def __init__(
        self,
        run: RunDirectory,
        label: RunLabel,
        start: PromptStart,
        first: int,
        ask: Ask,
        progress: Callable[[], str],
        *,
        read_only: bool,
    ) -> None:
        super().__init__()
        self._run = run
        self._label = label
        self._start = start
        self._first = first
        self._ask = ask
        self._progress = progress
        self._read_only = read_only
        self._answers: dict[tuple[int, ...], Continuation] = {}
        self._waiting_since: float | None = None
        self._problem = ""
        self.path: tuple[AppendedToken, ...] = ()

    def compose_body(self) -> ComposeResult:
        yield StepHeader(([], []), id="header")
        yield PathView(PathData(self._start), id="path", classes="panel")
        with Vertical(id="tokens", classes="panel"):
            yield NextHeader(False)
            yield NextTokens(id="next")

    def on_mount(self) -> None:
        self.set_interval(CLOCK_SECONDS, self._show_header)
        self._show()
        self.run_worker(self._begin(), group="step", exclusive=True)

    async def _begin(self) -> None:
        """Show the distribution after the prompt, then append the first token."""
        if await self._follow((), include=(self._first,)):
            row = next((row for row in self._answers[()].rows if row.id == self._first), None)
            if row is not None:
                await self._follow((AppendedToken(row.id, row.text, row.probability),))

    async def _follow(self, path: tuple[AppendedToken, ...], include: Sequence[int] = ()) -> bool:
        """Move to a path once its distribution is known; return whether that succeeded."""
        ids, self._problem = tuple(token.id for token in path), ""
        if ids not in self._answers:
            self._waiting_since = time.monotonic()
            self._show_header()
            try:
                self._answers[ids] = await self._ask(self._start, ids, include)
            except DistPromptError as error:
                self._problem = str(error)
            finally:
                self._waiting_since = None
        if ids in self._answers:
            self.path = path
        if self.is_composed:
            self._show()
        return not self._problem

    @property
    def continuation(self) -> Continuation | None:
        """The distribution after the present path; None before the first answer."""
        return self._answers.get(tuple(token.id for token in self.path))

    @property
    def is_waiting(self) -> bool:
        return self._waiting_since is not None

    def _show(self) -> None:
        found = self.continuation
        path, table = self.query_one(PathView), self.query_one(NextTokens)
        path.show(PathData(self._start, self.path))
        label_border(path, title=[(path_title(self.path), "border")])
        table.show(found)
        self.query_one(NextHeader).show(table.has_target)
        title = next_title(found, len(self.path)) if found is not None else "Next token"
        note = next_note(found, self.size.width // 2) if found is not None else ""
        label_border(self.query_one("#tokens"), title=[(title, "border")], subtitle=[(note, "border")])
        self._show_header()
        self.show_keys()

    def _show_header(self) -> None:
        if not self.is_composed:
            return
        state: Line = []
        if self._waiting_since is not None:
            seconds = int(time.monotonic() - self._waiting_since)
            words = sanitize(self._progress() or "querying the model")
            state = [("◐ ", "warning"), (f"{words}, {seconds} s" if seconds else words, "")]
        elif self._problem:
            state = [("✕ ", "error"), (sanitize(self._problem), "error")]
        self.query_one(StepHeader).show(([("Continue  ", "heading"), *title_line(self._label)], state))

    def availability(self) -> Mapping[str, bool | None]:
        found = self.continuation
        may_target = not self._read_only and (found is None or found.text is not None)
        return {
            "take_back": bool(self.path),
            "to_start": bool(self.path),
            "use": not self._read_only or None,
            "use_target": may_target or None,
        }

    def action_append(self) -> None:
        """Append the selected token. During a query, the rows are not those after the path, so nothing happens."""
        row = self.query_one(NextTokens).current
        if row is not None and not self.is_waiting:
            path = (*self.path, AppendedToken(row.id, row.text, row.probability))
            self.run_worker(self._follow(path), group="step", exclusive=True)

    def action_take_back(self) -> None:
        self._go_back_to(len(self.path) - 1)

    def action_to_start(self) -> None:
        self._go_back_to(0)

    def _go_back_to(self, length: int) -> None:
        if not self.is_waiting:
            last = self.path[length].id
            self.run_worker(self._return(self.path[:length], last), group="step", exclusive=True)

    async def _return(self, path: tuple[AppendedToken, ...], last: int) -> None:
        """Return to a shorter path, with the cursor on the token that followed it."""
        await self._follow(path)
        table = self.query_one(NextTokens)
        ids = [row.id for row in table.entries]
        table.go_to(ids.index(last) if last in ids else 0)

    def action_use(self) -> None:
        if self._read_only:
            self.notify(READ_ONLY, severity="warning")
        elif self._start.ids is None and not self.path:
            self.notify(NOTHING_TO_USE)
        elif self.continuation is not None and not self.is_waiting:
            self.run_worker(self._use(self.continuation))

    def action_use_target(self) -> None:
        """Search for the distribution shown, after a look at the settings."""
        if self._read_only:
            self.notify(READ_ONLY, severity="warning")
        elif self.continuation is not None and not self.is_waiting:
            if self.continuation.text is None:
                self.notify(NO_TEXT)
            else:
                self.run_worker(self._search_with(self.continuation, "target"))

    async def _use(self, continuation: Continuation) -> None:
        """Ask how a new search uses the path, then for its settings, and start it."""
        question = path_question(
            has_text=continuation.text is not None, has_path=bool(self.path), is_stable=continuation.is_stable
        )
        if (use := await self.app.push_screen_wait(question)) is not None:
            await self._search_with(continuation, cast("Use", use))

    async def _search_with(self, continuation: Continuation, use: Use) -> None:
        """Ask for the settings of a new search that uses the path, and start it."""
        from distprompt_tui.tui.run.fork_dialog import ForkDialog
        from distprompt_tui.tui.run.step_specs import spec_from_path

        try:
            spec = spec_from_path(await in_thread(self._run.read_spec), continuation, use)
        except DistPromptError as error:
            self.show_error(error)
            return
        words = {"prefix": "This text is put before the prompt", "suffix": "The path is put after the prompt"}
        note = words.get(use, "The target is the distribution after this text")
        if (forked := await self.app.push_screen_wait(ForkDialog(spec, note))) is not None:
            self.context.start_search(forked, replace=True)
