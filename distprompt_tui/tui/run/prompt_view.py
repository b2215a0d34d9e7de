"""The prompt under search: a grid of tokens with a selectable position, or vectors with their nearest tokens."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from rich.cells import cell_len
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region
from textual.message import Message

from distprompt_tui.core.text import formatting
from distprompt_tui.core.text.formatting import Line
from distprompt_tui.core.text.terminal_text import fit_to, visible_token
from distprompt_tui.runs.schema import Projection, PromptToken
from distprompt_tui.tui.context import is_ascii_only
from distprompt_tui.tui.drawing.styled_text import joined, key_hints, plain_text, width_of
from distprompt_tui.tui.run import surprisal
from distprompt_tui.tui.run.model_queries import Influence
from distprompt_tui.tui.widgets.line_widget import ScrollLineWidget, label_border

_TOKEN_CELLS = 12

_SURPRISING = "-surprising"  # class of a view that shows surprisals: the legend needs one more line


@dataclass(frozen=True)
class PromptData:
    """Positions at one step, or their contributions to a token. `surprising`: coloured by surprisal."""

    method: str = ""
    tokens: tuple[PromptToken, ...] = ()
    ascii_only: bool = False
    influence: Influence | None = None
    projection: Projection | None = None
    vocab_size: int = 0
    chosen: int | None = None
    surprising: bool = False


class PromptView(ScrollLineWidget):
    """Scrolls if the prompt is longer than the panel. Positions have a cursor while the panel has the focus."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left,left_square_bracket", "move(-1)", "Previous position", show=False),
        Binding("right,right_square_bracket", "move(1)", "Next position", show=False),
        Binding("up,k", "move_row(-1)", "Up", show=False),
        Binding("down,j", "move_row(1)", "Down", show=False),
        Binding("enter", "open", "Inspect the position", show=False),
        Binding("x", "lock", "Lock or unlock the position", show=False),
    ]

    class Opened(Message):
        def __init__(self, position: int) -> None:
            super().__init__()
            self.position = position

    class LockAsked(Message):
        def __init__(self, position: int, *, locked: bool) -> None:
            super().__init__()
            self.position, self.locked = position, locked

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._data = PromptData()
        self._lines: list[Line] = []
        self._places: list[int] = []
        self._position = 0
        self._laid_out: tuple[PromptData, int, bool] | None = None

    def on_mount(self) -> None:
        self._lay_out()

    def on_resize(self, event: events.Resize) -> None:
        self._lay_out()

    def on_focus(self) -> None:
        self.show(self._data)

    def on_blur(self) -> None:
        self.show(self._data)

    def show(self, data: PromptData) -> None:
        self._position = min(self._position, max(len(data.tokens) - 1, 0))
        has_cursor = self.has_focus and _has_positions(data)
        surprising = self.has_class(_SURPRISING) and _has_positions(data)
        self._data = replace(
            data, chosen=self._position if has_cursor else None, surprising=surprising, ascii_only=is_ascii_only(self)
        )
        self._lay_out()

    def toggle_surprisal(self) -> bool:
        """Switch colouring by surprisal; return whether there are tokens to colour."""
        if self._data.method == "soft":
            return False
        self.toggle_class(_SURPRISING)
        self.show(self._data)
        return True

    def action_move(self, by: int) -> None:
        self._position = min(max(self._position + by, 0), max(len(self._data.tokens) - 1, 0))
        self.show(self._data)
        if self._data.chosen is not None:
            row = self._places[self._position]
            self.scroll_to_region(Region(0, row, 1, 1), animate=False, force=True, immediate=True)

    def action_move_row(self, by: int) -> None:
        if self._data.chosen is not None:
            self.action_move(by * self._places.count(self._places[0]))
        else:
            self.scroll_relative(y=by, animate=False)

    def action_open(self) -> None:
        if self._data.chosen is not None:
            self.post_message(self.Opened(self._data.chosen))

    def action_lock(self) -> None:
        if self._data.chosen is not None:
            token = self._data.tokens[self._data.chosen]
            self.post_message(self.LockAsked(self._data.chosen, locked=not token.locked))

    def line(self, index: int, width: int) -> Line:
        return self._lines[index] if index < len(self._lines) else []

    def _lay_out(self) -> None:
        width, flowing = (
            self.scrollable_content_region.width,
            self.screen.has_class("-low") and not self.screen.has_class("-zoomed"),
        )
        key = (self._data, width, flowing)
        if key == self._laid_out or width <= 0:
            return
        self._laid_out = key
        self._lines, self._places = prompt_lines(self._data, width, flowing=flowing)
        label_border(
            self, title=[(prompt_title(self._data, flowing=flowing), "border")], subtitle=prompt_note(self._data, width)
        )
        self.set_line_count(len(self._lines))


def prompt_title(data: PromptData, *, flowing: bool = False) -> str:
    count = len(data.tokens)
    if not count:
        return "Prompt"
    if data.influence is not None:
        token = fit_to(visible_token(data.influence.token, ascii_only=data.ascii_only), _TOKEN_CELLS)
        return f"Prompt  each position's contribution to {token}, nats"
    if data.surprising:
        return surprisal.title(data.tokens)
    if data.method == "soft":
        what = "nearest token, cosine" if flowing else "nearest token, cosine, × mean norm"
        return f"Prompt  {formatting.counted(count, 'vector')}: {what}"
    changed = [position for position, token in enumerate(data.tokens, 1) if _changed_last(token, data.tokens)]
    if not changed:
        return f"Prompt  {formatting.counted(count, 'token')}"
    where = f"position {changed[0]}" if len(changed) == 1 else f"{len(changed)} positions"
    return (
        f"Prompt  {formatting.counted(count, 'token')}, {where} changed at step {data.tokens[changed[0] - 1].changed}"
    )


def prompt_note(data: PromptData, width: int) -> Line:
    """Return a note on the selected position; without one, the KL of the vectors' nearest tokens, and their distance
    if `width` columns are enough."""
    if data.chosen is not None:
        token = data.tokens[data.chosen]
        if token.cosine is not None:
            return [(f"{data.chosen + 1} {vector_words(token)}  ", "border"), *key_hints("enter inspect")]
        other_way = "x unlock" if token.locked else "x lock"
        about = surprisal.words(token.surprisal) if data.surprising else position_words(token)
        return [(f"{data.chosen + 1} {about}  ", "border"), *key_hints(f"enter inspect   {other_way}")]
    if data.projection is None:
        return []
    projected: Line = [(f"nearest tokens: KL {formatting.nats(data.projection.kl)}", "border")]
    distance: Line = [(f", distance {data.projection.median_distance:.2g} mean norms", "border")]
    return [*projected, *(distance if width_of(projected) + width_of(distance) <= width else [])]


def position_words(token: PromptToken) -> str:
    locked = "locked, " if token.locked else ""
    if token.improvement is None:
        return f"{locked}as at the start"
    return f"{locked}changed at step {token.changed}, KL {formatting.signed(-token.improvement)}"


def vector_words(token: PromptToken) -> str:
    distance = "" if token.distance is None else f", distance {token.distance:.2f}"
    norm = "" if token.norm is None else f", norm {token.norm:.2f}"
    return f"cosine {formatting.signed(token.cosine or 0.0)}{distance}{norm}"


def prompt_lines(data: PromptData, width: int, *, flowing: bool) -> tuple[list[Line], list[int]]:
    """Return all rows, and the row of each position; `flowing` omits columns to save height."""
    if not data.tokens:
        return [[("The prompt appears with the first snapshot.", "quiet")]], []
    entry = _entry if data.influence is None else _moving_entry
    entries = [entry(position, token, data, padded=not flowing) for position, token in enumerate(data.tokens, start=1)]
    lines, places = _flow(entries, width) if flowing else _grid(entries, width)
    if not data.surprising:
        return lines, places
    return [surprisal.legend(data.vocab_size, width), *lines], [place + 1 for place in places]


def _moving_entry(position: int, token: PromptToken, data: PromptData, *, padded: bool) -> Line:
    assert data.influence is not None
    values = data.influence.values
    if position > len(values):
        return _start(position, token, data, padded=padded)
    value, largest = values[position - 1], max(map(abs, values))
    role = "strong" if abs(value) == largest else "quiet" if abs(value) < 0.1 * largest else ""
    return [*_start(position, token, data, padded=padded), (f"{formatting.signed(value):>7}", role)]


def _entry(position: int, token: PromptToken, data: PromptData, *, padded: bool) -> Line:
    line = _start(position, token, data, padded=padded)
    if token.cosine is not None:
        line.append((_short(token.cosine), "quiet"))
    if token.norm is not None and padded:
        line.append((f" ×{token.norm:<4.2f}"[:6], "faint"))
    if data.surprising:
        line.append(surprisal.grade(token.surprisal, data.vocab_size))
        if padded:
            line.append((f" {surprisal.number(token.surprisal)}", "quiet"))
    elif padded and any(other.improvement is not None for other in data.tokens):
        line.append((f"{'' if token.improvement is None else formatting.signed(-token.improvement):>7}", "quiet"))
    return line


def _start(position: int, token: PromptToken, data: PromptData, *, padded: bool) -> Line:
    """Return number and token, with symbols for the last change and for a lock, and brackets if selected."""
    changed = _changed_last(token, data.tokens)
    text = visible_token(token.text, ascii_only=data.ascii_only) or "(nothing)"
    text = fit_to(text, _TOKEN_CELLS)
    room = _TOKEN_CELLS - cell_len(text) if padded else 0
    digits = len(str(len(data.tokens))) if padded else 0
    before, after = "[]" if data.chosen == position - 1 else "  "
    return [
        ("›" if changed else " " if padded else "", "changed"),
        (f"{position:>{digits}}", "faint"),
        ("*" if token.locked else before, "key"),
        (text, _token_role(position, token, data, changed=changed)),
        (after, "key"),
        (" " * room, ""),
    ]


def _token_role(position: int, token: PromptToken, data: PromptData, *, changed: bool) -> str:
    if data.chosen == position - 1:
        return "chosen"
    if data.surprising:
        return surprisal.grade(token.surprisal, data.vocab_size)[1]
    return "changed" if changed else "strong"


def _has_positions(data: PromptData) -> bool:
    return bool(data.tokens) and data.influence is None


def _changed_last(token: PromptToken, tokens: tuple[PromptToken, ...]) -> bool:
    newest = max((other.changed or 0 for other in tokens), default=0)
    return newest > 0 and token.changed == newest


def _short(cosine: float) -> str:
    """Format a cosine in 3 or 4 cells: `.41`, `-.07`, `1.0`."""
    text = f"{cosine:.2f}"
    return "1.0" if text == "1.00" else text.replace("0.", ".", 1)


def _grid(entries: list[Line], width: int) -> tuple[list[Line], list[int]]:
    cell = max(width_of(entry) for entry in entries) + 2
    columns = max(width // cell, 1)
    rows: list[Line] = []
    for start in range(0, len(entries), columns):
        row: Line = []
        for entry in entries[start : start + columns]:
            row.extend([*entry, (" " * (cell - width_of(entry)), "")])
        rows.append(row)
    return rows, [index // columns for index in range(len(entries))]


def _flow(entries: list[Line], width: int) -> tuple[list[Line], list[int]]:
    rows: list[Line] = [[]]
    places: list[int] = []
    for entry in entries:
        gap = " " if plain_text(rows[-1]).endswith((" ", "]")) else "  "  # the gap includes the cell of a bracket
        longer = joined([rows[-1], entry], separator=(gap, ""))
        if rows[-1] and width_of(longer) > width:
            rows.append(entry)
        else:
            rows[-1] = longer
        places.append(len(rows) - 1)
    return rows, places
