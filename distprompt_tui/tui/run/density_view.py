"""Density of the whole vocabulary, the divergence by decade of the target probability, and a cell's tokens."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, cast

from textual import events
from textual.binding import Binding, BindingType

from distprompt_tui.core.text.formatting import Line
from distprompt_tui.tui.context import is_ascii_only
from distprompt_tui.tui.drawing.styled_text import truncate, width_of
from distprompt_tui.tui.run.decade_rows import MIN_WIDTH, CellToken, CellTokens, cell_lines, decade_lines, zero_note
from distprompt_tui.tui.run.density_picture import (
    Place,
    describe_place,
    largest_place,
    next_place,
    picture_lines,
    picture_size,
    place_at,
    place_in,
)
from distprompt_tui.tui.run.distribution import Distribution
from distprompt_tui.tui.run.vocabulary_view import VocabularyView

if TYPE_CHECKING:
    from distprompt_tui.core.metrics.distribution_summary import Decade, Density

HINT = "Arrow keys list a cell's tokens."

_BESIDE_FROM = 72  # minimum width for the decades beside the picture
_BOTH_FROM = 14  # minimum height for decades and a cell's tokens at once
_MIN_HEIGHT, _MIN_WIDTH = 6, 30
_GAP = 2  # cells between the picture and the text beside it
_MAX_TOKENS = 60


@dataclass(frozen=True, slots=True)
class Layout:
    """Sizes in cells: of the picture, and of the text beside or below it."""

    picture_width: int
    picture_height: int
    text_width: int
    text_height: int
    is_beside: bool


@dataclass(frozen=True, eq=False)
class DensityData:
    """`zero_achieved` is the number of tokens with p > 0 and q = 0."""

    distribution: Distribution
    density: Density
    decades: list[Decade]
    zero_achieved: int

    def cell(self, place: Place) -> CellTokens:
        from distprompt_tui.core.metrics.distribution_summary import largest_of_cell

        shown, density = self.distribution, self.density
        row, column = place
        tokens = largest_of_cell(density.cells, row * density.columns + column, shown.contributions, _MAX_TOKENS)
        rows = [
            CellToken(
                shown.text(int(shown.ids[token])),
                float(shown.target[token]),
                float(shown.achieved[token]),
                float(shown.contributions[token]),
            )
            for token in tokens.tolist()
        ]
        contribution = float(density.contributions[place])
        part = contribution / shown.kl if shown.kl > 0 else None
        return CellTokens(describe_place(density, place), int(density.counts[place]), contribution, part, rows)


def layout(width: int, height: int) -> Layout | None:
    """Divide a widget between picture and text; None without enough room."""
    if height < _MIN_HEIGHT or width < _MIN_WIDTH:
        return None
    if width >= _BESIDE_FROM:
        text = max(MIN_WIDTH, round(0.46 * width))
        return Layout(width - text - _GAP, height, text, height, is_beside=True)
    text_height = 0 if height < 2 * _MIN_HEIGHT else max(height * 9 // 20, _MIN_HEIGHT)
    return Layout(width, height - text_height, width, text_height, is_beside=False)


def density_lines(data: DensityData, cursor: Place | None, width: int, height: int, *, ascii_only: bool) -> list[Line]:
    """Draw the density with its decades; where both do not fit, a selected cell's tokens replace the decades."""
    sizes = layout(width, height)
    if sizes is None:
        return []
    label = data.distribution.comparison_label
    picture = picture_lines(data.density, cursor, label, ascii_only=ascii_only)
    picture = [truncate(line, sizes.picture_width) for line in picture]
    text = _text_lines(data, cursor, sizes.text_width, sizes.text_height, ascii_only=ascii_only)
    if not sizes.is_beside:
        return [*picture, *text]
    gaps = (" " * (sizes.picture_width + _GAP - width_of(line)) for line in picture)
    text += [[]] * (len(picture) - len(text))
    return [[*left, (gap, ""), *right] for left, gap, right in zip(picture, gaps, text, strict=False)]


def _text_lines(data: DensityData, cursor: Place | None, width: int, height: int, *, ascii_only: bool) -> list[Line]:
    from distprompt_tui.core.metrics.distribution_summary import merge_decades

    if not height:
        return []
    if cursor is not None and height < _BOTH_FROM:
        return cell_lines(data.cell(cursor), width, height, ascii_only=ascii_only)
    shown = data.distribution
    note = zero_note(data.zero_achieved, shown.smallest, width)
    has_both = height >= _BOTH_FROM
    hint: list[Line] = [*([[]] if has_both else []), [(HINT, "quiet")]] if len(HINT) <= width else []
    free = height // 2 if cursor is not None else height - len(hint) * has_both
    room = free - 2 - len(note) - bool(shown.missing.count)
    found = merge_decades(data.decades, max(room, 1))
    lines = [*decade_lines(found, shown.missing, shown.kl, width), *note]
    if cursor is None:
        return [*lines, *hint][:height]
    lines.append([])
    return [*lines, *cell_lines(data.cell(cursor), width, height - len(lines), ascii_only=ascii_only)]


class DensityView(VocabularyView[DensityData, Place]):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "move(0, -1)", "A smaller target probability", show=False),
        Binding("right", "move(0, 1)", "A larger target probability", show=False),
        Binding("up", "move(-1, 0)", "A larger achieved probability", show=False),
        Binding("down", "move(1, 0)", "A smaller achieved probability", show=False),
        Binding("home", "largest", "The cell with the largest KL contribution", show=False),
        Binding("end", "leave", "No cell", show=False),
    ]

    def measure(self, width: int, height: int) -> Hashable:
        sizes = layout(width, height)
        return sizes and picture_size(sizes.picture_width, sizes.picture_height)

    @staticmethod
    def summarise(distribution: Distribution, measures: Hashable) -> DensityData:
        from distprompt_tui.core.metrics.distribution_summary import decades, density

        rows, columns = cast("Place", measures)
        shown = distribution
        made = density(shown.target, shown.achieved, shown.contributions, rows, columns)
        zero = int(((shown.achieved == 0) & (shown.target > 0)).sum()) if made.zero_row else 0
        return DensityData(shown, made, decades(shown.target, shown.achieved, shown.contributions), zero)

    def drawn(self, summary: DensityData, width: int, height: int) -> list[Line]:
        if (summary.density.rows, summary.density.columns) != self.measure(width, height):
            return []  # resized; the density for this size follows
        return density_lines(summary, self.cursor, width, height, ascii_only=is_ascii_only(self))

    def action_move(self, down: int, right: int) -> None:
        """Move to the next cell with tokens; the first key selects the cell with the largest KL contribution."""
        if self.data is not None:
            if self.cursor is None:
                self.action_largest()
            else:
                self._select(next_place(self.data.density, self.cursor, down, right))

    def action_largest(self) -> None:
        if self.data is not None:
            self._select(largest_place(self.data.density))

    def on_click(self, event: events.Click) -> None:
        if self.data is not None and (offset := event.get_content_offset(self)) is not None:
            place = place_at(self.data.density, offset.x, offset.y)
            if place is not None:
                self._select(place)

    def _show_summary(self, summary: DensityData | None) -> None:
        """Keep the cursor on its probabilities when the axes or the size have changed."""
        if self.cursor is not None:
            if summary is None or self.data is None:
                self.cursor = None
            else:
                self.cursor = place_in(self.data.density, self.cursor, summary.density)
        super()._show_summary(summary)
