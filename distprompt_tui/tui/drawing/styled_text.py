"""Lines of text with roles, as plain values that widgets draw and tests compare."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.cells import cell_len
from textual.content import Content

from distprompt_tui.core.text.formatting import Line, Span

ROLES = {
    "": "$foreground",
    "border": "",
    "quiet": "$quiet",
    "faint": "$faint",
    "strong": "bold $foreground",
    "strong quiet": "bold $foreground",
    "strong target": "bold underline $target",
    "strong achieved": "bold underline $achieved",
    "target": "$target",
    "achieved": "$achieved",
    "agreed": "$agreed",
    "good": "$success",
    "warning": "$warning",
    "error": "$error",
    "strong good": "bold $success",
    "strong warning": "bold $warning",
    "strong error": "bold $error",
    "accent": "$accent",
    "key": "bold $primary",
    "heading": "bold $primary",
    "changed": "bold underline $achieved",
    "chosen": "bold reverse $foreground",
    **{f"series {number}": f"bold $series-{number}" for number in range(1, 7)},
    **{f"dim series {number}": f"dim $series-{number}" for number in range(1, 7)},
}
"""Textual style of each role. All colours are theme variables, so every theme and terminal stays readable."""


def plain_text(line: Line) -> str:
    return "".join(text for text, _ in line)


def width_of(line: Line) -> int:
    return sum(cell_len(text) for text, _ in line)


def content(lines: Sequence[Line]) -> Content:
    """Convert lines to Textual content, without parsing markup."""
    parts: list[Span | str] = []
    for number, line in enumerate(lines):
        if number:
            parts.append("\n")
        parts.extend((text, ROLES[role]) for text, role in line if text)
    return Content.assemble(*parts)


def truncate(line: Line, width: int) -> Line:
    """Return the first `width` cells of a line, ending in `…` if it was longer."""
    if width_of(line) <= width:
        return line
    if width <= 0:
        return []
    kept: Line = []
    left = width - 1
    for text, role in line:
        if cell_len(text) > left:
            text = _head(text, left)
        kept.append((text, role))
        left -= cell_len(text)
        if left <= 0:
            break
    return [*kept, ("…", "quiet")]


def justify(left: Line, right: Line, width: int) -> Line:
    """Put `left` at the left edge and `right` at the right edge. If both do not fit, truncate `left`."""
    room = width - width_of(right) - 1
    if room < 1:
        return truncate(right, width)
    left = truncate(left, room)
    return [*left, (" " * (width - width_of(left) - width_of(right)), ""), *right]


def joined(parts: Iterable[Line], separator: Span = ("  ", "")) -> Line:
    result: Line = []
    for part in parts:
        if part:
            result.extend([separator, *part] if result else part)
    return result


def fit_parts(parts: Sequence[Line], width: int, separator: Span = ("  ", "")) -> Line:
    """Join as many parts, most important first, as fit into `width` cells."""
    for count in range(len(parts), 0, -1):
        line = joined(parts[:count], separator)
        if width_of(line) <= width:
            return line
    return truncate(joined(parts[:1]), width) if parts else []


def wrapped(text: str, width: int, role: str = "", max_lines: int | None = None) -> list[Line]:
    """Wrap a sentence; text beyond `max_lines` is cut."""
    lines: list[str] = [""]
    for word in text.split():
        candidate = f"{lines[-1]} {word}" if lines[-1] else word
        if cell_len(candidate) <= width or not lines[-1]:
            lines[-1] = candidate
        else:
            lines.append(word)
    if max_lines is not None and len(lines) > max_lines:
        lines = [*lines[: max_lines - 1], " ".join(lines[max_lines - 1 :])]
    return [truncate([(line, role)], width) for line in lines]


def key_hints(text: str) -> Line:
    """Convert `y copy   esc back` to keys and labels; three spaces separate the pairs."""
    line: Line = []
    for part in text.split("   "):
        key, _, words = part.partition(" ")
        line += [(f"{key} ", "key"), (f"{words}   ", "quiet")]
    return line


def _head(text: str, cells: int) -> str:
    while text and cell_len(text) > cells:
        text = text[:-1]
    return text
