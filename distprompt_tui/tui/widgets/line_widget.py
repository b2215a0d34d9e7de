"""Base widgets that draw lines of spans, fixed or scrolling. Only changed lines are sent."""

from __future__ import annotations

from typing import Generic, TypeVar

from rich.segment import Segment
from rich.style import Style as RichStyle
from textual.content import Content
from textual.geometry import Region, Size
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.style import Style
from textual.widget import Widget

from distprompt_tui.core.text.formatting import Line
from distprompt_tui.tui.context import with_ascii_bars
from distprompt_tui.tui.drawing.styled_text import ROLES, content

Data = TypeVar("Data")


def label_border(widget: Widget, *, title: Line | None = None, subtitle: Line | None = None) -> None:
    """Set a widget's border titles. Setting a title repaints the widget, so unchanged ones are skipped."""
    for name, line in (("border_title", title), ("border_subtitle", subtitle)):
        text = content([[(with_ascii_bars(widget, part), role) for part, role in line]]) if line is not None else None
        if text is not None and getattr(widget, name) != text.markup:
            setattr(widget, name, text)


def is_in_sight(widget: Widget) -> bool:
    """Whether a widget and its ancestors are shown. Hidden widgets are not drawn."""
    return all(node.display for node in widget.ancestors_with_self if isinstance(node, Widget))


class LineWidget(Widget, Generic[Data]):
    """A widget whose lines are a function of one value and its size."""

    def __init__(self, data: Data, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self.data = data
        self._drawn: list[Line] = []

    def show(self, data: Data) -> None:
        if data != self.data:
            self.data = data
            self.redraw()

    def redraw(self) -> None:
        """Draw the lines that have changed."""
        if not is_in_sight(self):
            self.refresh()  # draws everything when the widget is shown again
            return
        width, height = self.content_size
        lines = self.lines(width, height)[:height] if width > 0 and height > 0 else []
        if len(lines) != len(self._drawn):
            self.refresh()
            return
        changed = [row for row, line in enumerate(lines) if line != self._drawn[row]]
        if changed:
            self.refresh(*(Region(0, row, width, 1) for row in changed))

    def lines(self, width: int, height: int) -> list[Line]:
        """Return lines of `width` cells; those beyond `height` are not drawn."""
        raise NotImplementedError

    def render(self) -> Content:
        width, height = self.content_size
        self._drawn = self.lines(width, height)[:height] if width > 0 and height > 0 else []
        return content(self._drawn)


class ScrollLineWidget(ScrollView, can_focus=True):
    DEFAULT_CSS = "ScrollLineWidget { scrollbar-size-vertical: 1; overflow-x: hidden; }"

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._styles_of_roles: dict[tuple[str, bool], RichStyle] = {}
        self._drawn: dict[int, tuple[Line, bool]] = {}

    def line(self, index: int, width: int) -> Line:
        """Return the line at `index`, from 0."""
        raise NotImplementedError

    def is_marked(self, index: int) -> bool:
        return False

    def set_line_count(self, count: int) -> None:
        """Set the number of lines, and draw the visible lines that have changed."""
        size = Size(self.scrollable_content_region.width, count)
        if size != self.virtual_size:
            self.virtual_size = size
            self.refresh()
            return
        self.redraw()

    def redraw(self) -> None:
        """Draw the visible lines that have changed."""
        if not is_in_sight(self):
            self.refresh()
            return
        width, first = self.scrollable_content_region.width, self.scroll_offset.y
        for index in range(first, min(first + self.size.height, self.virtual_size.height)):
            if self._drawn.get(index) != (self.line(index, width), self.is_marked(index)):
                self.refresh_line(index)

    def render_line(self, y: int) -> Strip:
        index, width = y + self.scroll_offset.y, self.scrollable_content_region.width
        if index >= self.virtual_size.height:
            return Strip.blank(width, self._style("", False))
        line, marked = self.line(index, width), self.is_marked(index)
        if len(self._drawn) > 4 * self.size.height:
            self._drawn.clear()
        self._drawn[index] = line, marked
        segments = [Segment(text, self._style(role, marked)) for text, role in line]
        return Strip(segments).adjust_cell_length(width, self._style("", marked))

    def notify_style_update(self) -> None:
        self._styles_of_roles.clear()
        super().notify_style_update()

    def _style(self, role: str, marked: bool) -> RichStyle:
        style = self._styles_of_roles.get((role, marked))
        if style is None:
            base = self.visual_style
            if marked:
                base += Style.parse("on $row-cursor" if self.has_focus else "on $row-cursor-blurred")
            style = (base + Style.parse(ROLES[role])).rich_style
            self._styles_of_roles[role, marked] = style
        return style
