"""A prompt, the tokens appended to it, and the distribution of the next token."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.cells import cell_len

from distprompt_tui.core.text import formatting
from distprompt_tui.core.text.formatting import Line
from distprompt_tui.core.text.terminal_text import fit, fit_to, visible_token
from distprompt_tui.runs.state import RunState
from distprompt_tui.tui.drawing.styled_text import width_of

_TOKEN_CELLS = 20  # longest token in the path
_SHOWN_TOKENS = 40  # tokens of the prompt at the beginning of the path
_SEPARATOR = " ▸ "


@dataclass(frozen=True)
class PromptStart:
    """The prompt at the beginning of a path.

    Attributes:
        label: what it is: "text", "prompt", "best prompt".
        ids: of its tokens; None for the run's best soft prompt, which only the run's files contain.
        texts: of its tokens, not sanitised; empty for vectors.
        length: number of tokens or vectors.
    """

    label: str
    ids: tuple[int, ...] | None
    texts: tuple[str, ...]
    length: int

    @classmethod
    def of(cls, state: RunState, *, is_text: bool) -> PromptStart | None:
        """Return the prompt of a state; None before the first snapshot. Of soft prompts, only the best is stored."""
        if state.snapshot is None:
            return None
        prompt = state.snapshot.prompt
        if any(token.cosine is not None for token in prompt):
            return cls("best prompt", None, (), len(prompt))
        label = "text" if is_text else "prompt"
        return cls(label, tuple(token.id for token in prompt), tuple(token.text for token in prompt), len(prompt))


@dataclass(frozen=True)
class AppendedToken:
    """A token of the path, with its probability when it was appended."""

    id: int
    text: str
    probability: float


@dataclass(frozen=True)
class NextToken:
    """A candidate for the next token; `target` is its probability in the run's target, at the first step only."""

    id: int
    text: str
    probability: float
    target: float | None = None


@dataclass(frozen=True)
class Continuation:
    """The distribution after a prompt and a path.

    Attributes:
        rows: the most probable tokens, most probable first.
        entropy: nats.
        kl: divergence from the run's target, nats; None after the first step, which the target does not describe.
        count: number of tokens of the vocabulary.
        text: of context, prompt and path; None after vectors.
        path_text: of the path alone.
        is_stable: whether the text, or the path's after vectors, is tokenised to the same ids.
    """

    rows: tuple[NextToken, ...]
    entropy: float
    kl: float | None
    count: int
    text: str | None
    path_text: str
    is_stable: bool

    @classmethod
    def read(cls, answer: Mapping[str, Any]) -> Continuation:
        """Convert an answer of the model server."""
        names = ("entropy", "kl", "count", "text", "path_text", "is_stable")
        return cls(tuple(NextToken(*row) for row in answer["rows"]), **{name: answer[name] for name in names})


def path_title(path: Sequence[AppendedToken]) -> str:
    """Return the title of the path: its length, and its probability given the prompt."""
    if not path:
        return "Path  no tokens appended"
    nats = -sum(math.log(max(token.probability, 1e-300)) for token in path)
    count = "1 token" if len(path) == 1 else f"{len(path)} tokens"
    return f"Path  {count}, P {formatting.mass(math.exp(-nats))}, surprisal {formatting.nats(nats)} nats"


def path_lines(
    start: PromptStart, path: Sequence[AppendedToken], width: int, height: int, *, ascii_only: bool
) -> list[Line]:
    """Return the prompt and the path in at most `height` lines; without room for all, the end of the path."""
    parts = _parts(start, path, ascii_only=ascii_only)
    lines, hidden = _flow(parts, width), 0
    while len(lines) > max(height, 1) and hidden < len(parts) - 1:
        hidden += 1
        lines = _flow([[("… ", "quiet")], *parts[hidden:]], width)
    return lines


def _flow(parts: Sequence[Line], width: int) -> list[Line]:
    lines: list[Line] = [[]]
    for part in parts:
        if lines[-1] and width_of(lines[-1]) + width_of(part) > width:
            lines.append([])
        lines[-1] = [*lines[-1], *part]
    return lines


def _parts(start: PromptStart, path: Sequence[AppendedToken], *, ascii_only: bool) -> list[Line]:
    def shown(text: str) -> str:
        return fit_to(visible_token(text, ascii_only=ascii_only) or "(nothing)", _TOKEN_CELLS)

    parts: list[Line] = []
    if start.ids is None:
        parts.append([(f"{start.label}, {start.length} vectors", "quiet")])
    else:
        hidden = max(start.length - _SHOWN_TOKENS, 0)
        parts += [[("… ", "quiet")]] if hidden else []
        parts += [[(shown(text), "quiet")] for text in start.texts[hidden:]]
    for token in path:
        parts.append(
            [
                (_SEPARATOR, "faint"),
                (shown(token.text), "strong"),
                (f" {formatting.mass(token.probability)}", "achieved"),
            ]
        )
    return parts


@dataclass(frozen=True)
class NextColumns:
    """Widths in cells of the columns of next tokens; `target`: whether the target's column is shown."""

    token: int
    bar: int
    target: bool


_MARK = 2
_ID_WIDTH = 7
_SURPRISAL_WIDTH = 8


def next_columns(width: int, *, target: bool) -> NextColumns:
    token = min(max(width // 5, 12), 28)
    numbers = 1 + _ID_WIDTH + 1 + formatting.MASS_WIDTH + 1 + _SURPRISAL_WIDTH
    numbers += 1 + formatting.MASS_WIDTH if target else 0
    return NextColumns(token, max(width - _MARK - token - numbers - 2, 0), target)


def next_header(columns: NextColumns) -> Line:
    line: Line = [(" " * _MARK, ""), (f"{'next token':<{columns.token}}", "quiet"), (f" {'id':>{_ID_WIDTH}}", "quiet")]
    if columns.target:
        line.append((f" {'target':>{formatting.MASS_WIDTH}}", "target"))
    line.append((f" {'model':>{formatting.MASS_WIDTH}}", "achieved"))
    return [*line, (f" {'−ln P':>{_SURPRISAL_WIDTH}}", "quiet")]


def next_line(row: NextToken, columns: NextColumns, largest: float, *, marked: bool, ascii_only: bool) -> Line:
    """Return the line of a token; a bar of full length is the probability `largest`."""
    text = fit(visible_token(row.text, ascii_only=ascii_only) or "(no token)", columns.token)
    line: Line = [("› " if marked else "  ", "key"), (text, "strong"), (f" {row.id:>{_ID_WIDTH}}", "faint")]
    surprisal = -math.log(row.probability) if row.probability > 0 else None
    if columns.target:
        line.append((f" {formatting.mass(row.target):>{formatting.MASS_WIDTH}}", "target"))
    line.append((f" {formatting.mass(row.probability):>{formatting.MASS_WIDTH}}", "achieved"))
    line.append((f" {formatting.nats(surprisal):>{_SURPRISAL_WIDTH}}", "quiet"))
    largest = largest or 1.0
    if columns.target and row.target is not None:
        bar = formatting.overlaid_bars(row.target / largest, row.probability / largest, columns.bar)
    else:
        bar = [(formatting.bar(row.probability / largest, columns.bar), "achieved")]
    return [*line, ("  ", ""), *bar]


def next_title(continuation: Continuation, path_length: int) -> str:
    entropy = f"entropy {formatting.nats(continuation.entropy)} nats"
    if continuation.kl is not None:
        return f"After the prompt  KL {formatting.nats(continuation.kl)}, {entropy}"
    return f"After {path_length} more token{'' if path_length == 1 else 's'}  {entropy}"


def next_note(continuation: Continuation, width: int) -> str:
    """Return the number and probability of the tokens that are not listed."""
    others = continuation.count - len(continuation.rows)
    if others <= 0:
        return ""
    rest = max(1.0 - sum(row.probability for row in continuation.rows), 0.0)
    note = f"{others:,} other tokens: {formatting.percent(rest)}"
    return note if cell_len(note) <= width else ""
