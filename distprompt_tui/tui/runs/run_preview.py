"""The panel of the selected run, beside a list."""

from __future__ import annotations

from distprompt_tui.core.text.formatting import Line
from distprompt_tui.tui.context import is_ascii_only
from distprompt_tui.tui.drawing.styled_text import wrapped
from distprompt_tui.tui.run.status import title_line
from distprompt_tui.tui.runs.preview_reader import RunPreview
from distprompt_tui.tui.widgets.line_widget import LineWidget, label_border


class RunPreviewPanel(LineWidget[RunPreview | None]):
    """Shows the given preview, or `empty` without a run."""

    BORDER_TITLE = "Selected run"

    def __init__(self, empty: str = "", *, id: str, classes: str) -> None:
        super().__init__(None, id=id, classes=classes)
        self._empty = empty

    def show(self, data: RunPreview | None) -> None:
        super().show(data)
        title: Line = [("Selected run", "border")]
        hints: Line = []
        if data is not None:
            title = [*title_line(data.summary.title), (f"  seed {data.summary.title.seed}", "border")]
            hints = [("y ", "key"), ("copy", "border")]
        label_border(self, title=title, subtitle=hints)

    def lines(self, width: int, height: int) -> list[Line]:
        if self.data is None:
            return wrapped(self._empty, width, "quiet")
        from distprompt_tui.tui.runs.preview_lines import preview_lines  # plots take time to import

        return preview_lines(self.data, width, height, ascii_only=is_ascii_only(self))
