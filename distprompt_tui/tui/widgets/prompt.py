"""The prompt under search: tokens in a grid, with what changed last, or vectors with their nearest tokens."""

from __future__ import annotations

from dataclasses import dataclass

from textual import events

from distprompt_tui import format
from distprompt_tui.runs.state import Projection, PromptToken
from distprompt_tui.tokens import fit, fit_to, visible_token
from distprompt_tui.tui.asking import Influence
from distprompt_tui.tui.lines import Line, joined, width_of
from distprompt_tui.tui.widgets.painted import PaintedScroll, label_border

_TOKEN_CELLS = 12


@dataclass(frozen=True)
class PromptData:
    """The positions at one step, or what each of them gives to a token."""

    method: str = ""
    step: int = 0
    tokens: tuple[PromptToken, ...] = ()
    ascii_only: bool = False
    influence: Influence | None = None
    projection: Projection | None = None


class PromptView(PaintedScroll):
    """Scrolls where the prompt is longer than the panel."""

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._data = PromptData()
        self._lines: list[Line] = []
        self._laid_out: tuple[PromptData, int, bool] | None = None

    def on_mount(self) -> None:
        """Called by Textual."""
        self._lay_out()

    def on_resize(self, event: events.Resize) -> None:
        """Called by Textual."""
        self._lay_out()

    def show(self, data: PromptData) -> None:
        """Draw another prompt."""
        self._data = data
        self._lay_out()

    def line(self, index: int, width: int) -> Line:
        """One row of the grid."""
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
        self._lines = prompt_lines(self._data, width, flowing=flowing)
        projected = projection_note(self._data.projection)
        label_border(self, title=[(prompt_title(self._data), "border")], subtitle=[(projected, "border")])
        self.set_line_count(len(self._lines))


def prompt_title(data: PromptData) -> str:
    """What the panel shows, and what changed last."""
    count = len(data.tokens)
    if not count:
        return "Prompt"
    if data.influence is not None:
        token = fit_to(visible_token(data.influence.token, ascii_only=data.ascii_only), _TOKEN_CELLS)
        return f"Prompt  nats that each position gives to {token}"
    if data.method == "soft":
        return f"Prompt  {count} vectors: nearest token, cosine, × mean norm"
    changed = [position for position, token in enumerate(data.tokens, 1) if _changed_last(token, data.tokens)]
    if not changed:
        return f"Prompt  {count} tokens"
    where = f"position {changed[0]}" if len(changed) == 1 else f"{len(changed)} positions"
    return f"Prompt  {count} tokens, {where} changed last, at step {data.tokens[changed[0] - 1].changed}"


def projection_note(projection: Projection | None) -> str:
    """What is lost where the vectors are replaced by their nearest tokens."""
    if projection is None:
        return ""
    return f"as tokens KL {format.nats(projection.kl)}, {projection.drift:.2g} norms away"


def prompt_lines(data: PromptData, width: int, *, flowing: bool) -> list[Line]:
    """All rows.

    Args:
        data: the prompt.
        width: cells.
        flowing: one entry after the other with no columns, where there is hardly any height.
    """
    if not data.tokens:
        return [[("The prompt appears with the first snapshot.", "quiet")]]
    entry = _entry if data.influence is None else _moving_entry
    entries = [entry(position, token, data, padded=not flowing) for position, token in enumerate(data.tokens, start=1)]
    return _flow(entries, width) if flowing else _grid(entries, width)


def _moving_entry(position: int, token: PromptToken, data: PromptData, *, padded: bool) -> Line:
    """A position and what it gives to the token; the one that gives most stands out."""
    assert data.influence is not None
    values = data.influence.values
    if position > len(values):
        return _start(position, token, data, padded=padded)
    value, largest = values[position - 1], max(map(abs, values))
    role = "strong" if abs(value) == largest else "quiet" if abs(value) < 0.1 * largest else ""
    return [*_start(position, token, data, padded=padded), (f" {format.signed(value):>7}", role)]


def _entry(position: int, token: PromptToken, data: PromptData, *, padded: bool) -> Line:
    line = _start(position, token, data, padded=padded)
    if token.cosine is not None:
        line.append((f" {_short(token.cosine)}", "quiet"))
    if token.norm is not None and padded:
        line.append((f" ×{token.norm:<4.2f}"[:6], "faint"))
    return line


def _start(position: int, token: PromptToken, data: PromptData, *, padded: bool) -> Line:
    """Number and token; a sign where it changed last."""
    changed = _changed_last(token, data.tokens)
    text = visible_token(token.text, ascii_only=data.ascii_only) or "(nothing)"
    text = fit(text, _TOKEN_CELLS) if padded else fit_to(text, _TOKEN_CELLS)
    digits = len(str(len(data.tokens))) if padded else 0
    return [
        ("›" if changed else " " if padded else "", "changed"),
        (f"{position:>{digits}} ", "faint"),
        (text, "changed" if changed else "strong"),
    ]


def _changed_last(token: PromptToken, tokens: tuple[PromptToken, ...]) -> bool:
    newest = max((other.changed or 0 for other in tokens), default=0)
    return newest > 0 and token.changed == newest


def _short(cosine: float) -> str:
    """A cosine in 3 or 4 cells: `.41`, `-.07`, `1.0`."""
    text = f"{cosine:.2f}"
    return "1.0" if text == "1.00" else text.replace("0.", ".", 1)


def _grid(entries: list[Line], width: int) -> list[Line]:
    cell = max(width_of(entry) for entry in entries) + 2
    columns = max(width // cell, 1)
    rows: list[Line] = []
    for start in range(0, len(entries), columns):
        row: Line = []
        for entry in entries[start : start + columns]:
            row.extend([*entry, (" " * (cell - width_of(entry)), "")])
        rows.append(row)
    return rows


def _flow(entries: list[Line], width: int) -> list[Line]:
    rows: list[Line] = [[]]
    for entry in entries:
        longer = joined([rows[-1], entry])
        if rows[-1] and width_of(longer) > width:
            rows.append(entry)
        else:
            rows[-1] = longer
    return rows
