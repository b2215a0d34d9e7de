"""Preview of the selected target before a search: description, bounds and most probable tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from distprompt_tui.core.text import formatting
from distprompt_tui.core.text.formatting import Line, mass_chart
from distprompt_tui.core.text.terminal_text import fit, sanitize, visible_token
from distprompt_tui.tui.context import is_ascii_only
from distprompt_tui.tui.drawing.styled_text import truncate, width_of, wrapped
from distprompt_tui.tui.start.target_preview_data import FoundBounds, ServerStatus, TargetPreview
from distprompt_tui.tui.widgets.line_widget import LineWidget

_TOKEN_CELLS = 14
_LABEL_CELLS = 14
_TALL_ROWS = 36  # from this height on, the curve has several rows
_CURVE_ROWS = 5

_WORDS = {
    "entropy": ("nats",),
    "uniform": ("KL of the uniform distribution", "KL if q is uniform"),
    "head optimum": ("lowest KL found for this model", "lowest KL found"),
    "floor": ("certified bound for any prompt", "proven for any prompt"),
}
"""Explanations of the numbers, the longest first."""

_FIELDS = {"head optimum": "head_optimum", "floor": "floor"}  # of `FoundBounds`
_CURVE_FROM_ROWS = 12
_LONG_RECIPE_FROM_ROWS = 24


@dataclass(frozen=True)
class PreviewData:
    """Preview of the selection. `target` is None while it is built or if that `failed`; then `going_on` is shown.

    Attributes:
        is_old: `target` is the previous one, shown dimmed while the new one is built.
    """

    title: str = ""
    description: str = ""
    target: TargetPreview | None = None
    going_on: str = ""
    bounds: FoundBounds = field(default_factory=FoundBounds)
    server: ServerStatus = field(default_factory=ServerStatus)
    failed: bool = False
    is_old: bool = False


class TargetView(LineWidget[PreviewData]):
    BORDER_TITLE = "Target"

    def lines(self, width: int, height: int) -> list[Line]:
        return preview_lines(self.data, width, height, ascii_only=is_ascii_only(self))


def preview_lines(data: PreviewData, width: int, height: int, *, ascii_only: bool = False) -> list[Line]:
    lines = _preview_lines(data, width, height, ascii_only=ascii_only)
    is_dimmed = data.is_old and data.target is not None
    return [[(text, "faint") for text, _ in line] for line in lines] if is_dimmed else lines


def _preview_lines(data: PreviewData, width: int, height: int, *, ascii_only: bool) -> list[Line]:
    roomy = height >= 18
    lines: list[Line] = [truncate([(sanitize(data.title), "strong")], width)] if data.title else []
    if data.description:
        lines += wrapped(sanitize(data.description), width, "quiet", max_lines=3 if roomy else 2 if height >= 12 else 1)
    if roomy and lines:
        lines.append([])
    target = data.target
    if target is None:
        return [*lines, *wrapped(sanitize(data.going_on), width, "error" if data.failed else "quiet", max_lines=6)]
    lines += [
        _number("entropy", formatting.nats(target.entropy), "target", width, _WORDS["entropy"]),
        _number("uniform", formatting.nats(target.uniform_kl), "", width, _WORDS["uniform"]),
        _bound("head optimum", data.bounds.head_optimum, "accent", data, width),
        _floor(data, width),
    ]
    if roomy:
        recipe_rows = 5 if height >= _LONG_RECIPE_FROM_ROWS else 3
        lines += [[], *wrapped(sanitize(target.recipe), width, "quiet", max_lines=recipe_rows), []]
        lines += [*_by_rank(target, width, _CURVE_ROWS if height >= _TALL_ROWS else 1), []]
    elif height >= _CURVE_FROM_ROWS:
        lines += _by_rank(target, width, 1)
    return lines + _tokens(target, width, height - len(lines), ascii_only=ascii_only)


def _number(name: str, value: str, role: str, width: int, explanations: Sequence[str]) -> Line:
    """Draw a number with the first of its explanations, the longest first, that fits."""
    line: Line = [(f"{name:<{_LABEL_CELLS}}", "quiet"), (f"{value:>7}", role or "strong")]
    room = width - width_of(line) - 2
    words = next((f"  {words}" for words in explanations if len(words) <= room), "")
    return truncate([*line, (words, "faint")], width)


def _floor(data: PreviewData, width: int) -> Line:
    """Draw the floor, or the sphere bound if it is the higher one."""
    bounds = data.bounds
    if bounds.floor is None or bounds.shown_floor == bounds.floor:
        return _bound("floor", bounds.floor, "", data, width)
    for_any = f"{formatting.nats(bounds.floor)} for any"
    explanations = (
        f"for states of norm ≥ {bounds.sphere_norm_ratio:g} √d, {for_any}",
        f"on the sphere, {for_any}",
        for_any,
    )
    return _number("floor", formatting.nats(bounds.shown_floor), "", width, explanations)


def _bound(name: str, value: float | None, role: str, data: PreviewData, width: int) -> Line:
    if value is not None:
        return _number(name, formatting.nats(value), role, width, _WORDS[name])
    if data.bounds.refining == _FIELDS[name] and data.bounds.so_far is not None:
        sign = "≥" if name == "floor" else "≤"
        line: Line = [(f"{name:<{_LABEL_CELLS}}", "quiet"), (f"{sign} {formatting.nats(data.bounds.so_far):>5}", role)]
        going_on = sanitize(data.server.text(width - width_of(line) - 2)) or "not final"
        return truncate([*line, (f"  {going_on}", "faint")], width)
    if data.bounds.refining == "floor":
        return truncate([(f"{name:<{_LABEL_CELLS}}", "quiet"), ("after the floor", "faint")], width)
    why = data.bounds.why_no_floor if name == "floor" else None
    wait = sanitize(data.server.text(width - _LABEL_CELLS)) or "not yet"
    missing = f"none: {sanitize(why)}" if why else "none" if data.bounds.done else wait
    return truncate([(f"{name:<{_LABEL_CELLS}}", "quiet"), (missing, "faint")], width)


def _by_rank(target: TargetPreview, width: int, rows: int) -> list[Line]:
    """Draw the probabilities by rank; both axes are logarithmic."""
    curve = mass_chart(target.by_rank, max(width - _LABEL_CELLS, 0), rows)
    labels = ["by rank", "log–log"] if rows > 1 else ["by rank"]
    labels += [""] * (rows - len(labels))
    return [[(f"{label:<{_LABEL_CELLS}}", "quiet"), (row, "target")] for label, row in zip(labels, curve, strict=True)]


def _tokens(target: TargetPreview, width: int, count: int, *, ascii_only: bool) -> list[Line]:
    if not target.tokens:
        return []
    largest = target.tokens[0][2]
    room = max(width - _TOKEN_CELLS - formatting.MASS_WIDTH - 2, 0)
    return [
        [
            (fit(visible_token(text, ascii_only=ascii_only) or "(no token)", _TOKEN_CELLS), "strong"),
            (f" {formatting.mass(mass):>{formatting.MASS_WIDTH}} ", "target"),
            (formatting.bar(mass / largest if largest else 0.0, room), "target"),
        ]
        for _, text, mass in target.tokens[: max(count, 0)]
        if mass > 0
    ]
