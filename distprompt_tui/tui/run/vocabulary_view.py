"""Base of the plots of the whole vocabulary, which are summarised in a thread for the size of the widget."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

from textual import events

from distprompt_tui.core.text.formatting import Line
from distprompt_tui.tui.drawing.styled_text import wrapped
from distprompt_tui.tui.platform.poller import Poller
from distprompt_tui.tui.platform.threads import in_thread
from distprompt_tui.tui.run.distribution import Distribution
from distprompt_tui.tui.widgets.line_widget import LineWidget, is_in_sight

Summary = TypeVar("Summary")
Cursor = TypeVar("Cursor")

NOTHING_YET = "The plot appears with the first snapshot."


class VocabularyView(LineWidget[Summary | None], Generic[Summary, Cursor], can_focus=True):
    """Shows a summary of a distribution. While it is hidden, it neither summarises nor draws.

    `cursor` is the selected place of the plot, if any.
    """

    def __init__(self, *, id: str) -> None:
        super().__init__(None, id=id)
        self.cursor: Cursor | None = None
        self._distribution: Distribution | None = None
        self._summarised: tuple[Distribution, Hashable] | None = None
        self._poller: Poller[Summary | None] = Poller(self._read, self._show_summary)

    def show_distribution(self, distribution: Distribution | None) -> None:
        self._distribution = distribution
        self._update()

    def on_resize(self, event: events.Resize) -> None:
        """Summarise for the new size; this event also follows when the view is shown again."""
        self._update()

    def measure(self, width: int, height: int) -> Hashable:
        """Return the measures of the summary in a widget of this size, in cells; None without enough room."""
        raise NotImplementedError

    @staticmethod
    def summarise(distribution: Distribution, measures: Hashable) -> Summary:
        """Summarise in a thread."""
        raise NotImplementedError

    def drawn(self, summary: Summary, width: int, height: int) -> list[Line]:
        """Return lines of `width` cells."""
        raise NotImplementedError

    def lines(self, width: int, height: int) -> list[Line]:
        if self.measure(width, height) is None:
            return wrapped("No room for the plot: z shows it on the whole screen.", width, "quiet")
        if self.data is None:
            return wrapped(NOTHING_YET if self._distribution is None else "", width, "quiet")
        return self.drawn(self.data, width, height)

    def action_leave(self) -> None:
        self.leave()

    def leave(self) -> bool:
        """Select nothing. Return whether a place was selected."""
        was_selected = self.cursor is not None
        self._select(None)
        return was_selected

    def _select(self, place: Cursor | None) -> None:
        self.cursor = place
        self.redraw()

    def _update(self) -> None:
        if is_in_sight(self) and self.is_attached:
            self.run_worker(self._poller.poll(again=True))

    async def _read(self) -> Summary | None:
        distribution, measures = self._distribution, self.measure(*self.content_size)
        if distribution is None or measures is None:
            self._summarised = None
            return None
        if self._summarised is not None and self._summarised == (distribution, measures):
            return self.data
        summary = await in_thread(self.summarise, distribution, measures)
        self._summarised = distribution, measures
        return summary

    def _show_summary(self, summary: Summary | None) -> None:
        self.show(summary)
