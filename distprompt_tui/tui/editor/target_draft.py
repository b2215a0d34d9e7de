"""The target editor without its screen: what was typed, what it means in a model's tokens, and what is wrong with it.

A field holds one line. What cannot stand in one is written as in a program: `\\n` a new line, `\\t` a tab, `\\\\` a
backslash; any token can be written by its id, `id:5231`.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import ROUND_DOWN, Context, Decimal
from typing import TYPE_CHECKING, Literal

from distprompt_tui.errors import TargetError
from distprompt_tui.text.escapes import ESCAPES, escape_field, unescape
from distprompt_tui.text.terminal_text import visible_token

if TYPE_CHECKING:
    from distprompt_tui.config import spec
    from distprompt_tui.models.vocabulary import Vocabulary

Rest = Literal["uniform", "model"]

TOP_ROWS = 12
"""How many of a target's largest tokens become rows."""

MAX_ROWS = 48
"""A written target with more tokens opens with its largest ones: each row is three widgets."""

_RESCALED_DIGITS = 10
"""Rounding to these leaves the sum within 5e-10 of 1; `explicit` takes 1e-9 as nothing left."""

_SHORT_DIGITS = 4
_MOST_PIECES = 4
_NOTHING_YET = "write a token and its mass: most words begin with a space, shown as ·"


@dataclass(frozen=True, slots=True)
class Row:
    """A token and its mass as the fields hold them."""

    token: str = ""
    mass: str = ""

    @property
    def is_empty(self) -> bool:
        return not self.token and not self.mass.strip()


@dataclass(frozen=True)
class Draft:
    """All that the person has written.

    Attributes:
        rows: the tokens and masses; empty rows count for nothing.
        rest: how what is left of 1 is spread over the other tokens.
        by_text: the target is the model's own distribution after `text`, the rows do not count.
        text: as the field holds it; with `rest = "model"`, an empty one stands for a new line.
        entropy: `by_text` only, in nats as the field holds it; empty: as the model gives it.
    """

    rows: tuple[Row, ...] = ()
    rest: Rest = "uniform"
    by_text: bool = False
    text: str = ""
    entropy: str = ""

    def trimmed(self) -> Draft:
        """Without its empty rows: what decides whether two drafts are the same."""
        return replace(self, rows=tuple(row for row in self.rows if not row.is_empty))


@dataclass(frozen=True, slots=True)
class RowValidation:
    """What a row means.

    Attributes:
        short: a few words, to stand beside the row.
        sentence: the same as a whole sentence; may hold any character of the token.
        is_wrong: the row keeps the target from being made.
        token_id: None where the row names no token.
        mass: None where it is not written, or no mass.
        first_piece: of a string that is several tokens, the first one as a field holds it.
    """

    short: str = ""
    sentence: str = ""
    is_wrong: bool = False
    token_id: int | None = None
    mass: float | None = None
    first_piece: str | None = None


@dataclass(frozen=True)
class DraftValidation:
    """What a draft means.

    Attributes:
        rows: a report for each row of the draft.
        total: sum of all masses that can be read.
        target: None where there is something wrong; rows that have no mass yet are left out.
        problem: why no search can be started on it, one sentence; empty: nothing that can be seen without making it.
        is_wrong: the problem is a mistake; False: something is only not written yet.
    """

    rows: tuple[RowValidation, ...] = ()
    total: float = 0.0
    target: spec.TargetSpec | None = None
    problem: str = ""
    is_wrong: bool = False


# Fields.


def write_token(token_id: int, vocabulary: Vocabulary) -> str:
    """How a field holds a token: its string where that is readable and means this token, else its id."""
    text = vocabulary.text(token_id)
    readable = all(char.isprintable() or char in ESCAPES for char in text) and not unicodedata.combining(
        text[:1] or " "
    )
    if readable and _id_of(text, vocabulary) == token_id:
        return escape_field(text)
    return f"id:{token_id}"


def read_mass(text: str) -> float:
    """The mass in a field; it may be above 1, as a weight that is still to be rescaled.

    Raises:
        TargetError: it is none.
    """
    try:
        mass = float(text)
    except ValueError:
        raise TargetError(f"{text.strip()!r} is not a number: write a mass like 0.25") from None
    if not math.isfinite(mass):
        raise TargetError(f"{text.strip()} is not a mass: write a number from 0 to 1")
    if mass < 0:
        raise TargetError(f"the mass {text.strip()} is negative: write a number from 0 to 1")
    return abs(mass)  # -0.0


# Starting points.


def rows_of_tokens(tokens: Iterable[tuple[int, str, float]], vocabulary: Vocabulary) -> tuple[Row, ...]:
    """The largest tokens of a target as rows, masses rounded down so that they never sum to more than the target's.

    Args:
        tokens: (id, string, mass), largest first.
        vocabulary: writes the tokens.
    """
    largest = [(token_id, mass) for token_id, _, mass in tokens if mass > 0][:TOP_ROWS]
    return tuple(Row(write_token(token_id, vocabulary), _rounded_down(mass)) for token_id, mass in largest)


def draft_of(target: spec.TargetSpec) -> Draft:
    """What a target opens as: a written one with its rows, an `lm` one with its text, any other blank.

    A written target of more than `MAX_ROWS` tokens opens blank: `is_written_out` tells.
    """
    from distprompt_tui.config import spec

    match target:
        case spec.Explicit() if is_written_out(target):
            rows = tuple(Row(escape_field(token), f"{mass!r}") for token, mass in target.probabilities.items())
            return Draft(rows=rows, rest=target.rest, text="" if target.text == "\n" else escape_field(target.text))
        case spec.Lm(model=None):
            entropy = "" if target.entropy is None else f"{target.entropy!r}"
            return Draft(text=escape_field(target.text), entropy=entropy)
        case _:
            return Draft()


def is_written_out(target: spec.TargetSpec) -> bool:
    """Whether `draft_of` keeps all of a target in its rows."""
    from distprompt_tui.config import spec

    return isinstance(target, spec.Explicit) and 0 < len(target.probabilities) <= MAX_ROWS


# Changes.


def rescaled(rows: Sequence[Row]) -> tuple[Row, ...]:
    """The rows with their masses divided by the sum of all.

    Raises:
        TargetError: a mass cannot be read, or they sum to nothing.
    """
    masses = [read_mass(row.mass) if row.mass.strip() else None for row in rows]
    total = sum(mass for mass in masses if mass is not None)
    if not 0 < total < math.inf:
        raise TargetError("masses can be rescaled when they sum to more than nothing: write one first")
    return tuple(
        row if mass is None else replace(row, mass=f"{mass / total:.{_RESCALED_DIGITS}g}")
        for row, mass in zip(rows, masses, strict=True)
    )


# Meaning.


def check(draft: Draft, vocabulary: Vocabulary) -> DraftValidation:
    """What a draft means in a model's tokens. Imports numpy and pydantic; takes microseconds a row after that."""
    return _check_text(draft) if draft.by_text else _check_rows(draft, vocabulary)


def summary_of(target: spec.TargetSpec) -> str:
    """A sentence for the description of a preset that is made in the editor."""
    from distprompt_tui.config import spec

    match target:
        case spec.Explicit():
            spread = "evenly" if target.rest == "uniform" else "like the model's own distribution"
            return f"Masses of {_tokens(len(target.probabilities))} written by hand, the rest spread {spread}."
        case spec.Lm():
            scaled = "" if target.entropy is None else f", brought to {target.entropy:g} nats"
            return f"The model's own distribution after “{target.text}”{scaled}."
        case _:
            raise TypeError(f"the editor makes no {target.family} targets")


def _check_text(draft: Draft) -> DraftValidation:
    from distprompt_tui.config import spec

    text = unescape(draft.text)
    if not text:
        return DraftValidation(problem="write a text: the target is what the model expects after it")
    try:
        entropy = _read_entropy(draft.entropy)
    except TargetError as error:
        return DraftValidation(problem=str(error), is_wrong=True)
    return DraftValidation(target=spec.Lm(text=text, entropy=entropy))


def _read_entropy(text: str) -> float | None:
    if not text.strip():
        return None
    try:
        entropy = float(text)
    except ValueError:
        entropy = math.nan
    if not 0 <= entropy < math.inf:
        raise TargetError(f"{text.strip()!r} is not an entropy: write a number of nats, or leave it empty")
    return entropy


def _check_rows(draft: Draft, vocabulary: Vocabulary) -> DraftValidation:
    from distprompt_tui.config import spec

    rows: list[RowValidation] = []
    numbers: dict[int, int] = {}
    for number, row in enumerate(draft.rows, start=1):
        report = _check_row(row, vocabulary)
        if report.token_id is not None and not report.is_wrong:
            earlier = numbers.setdefault(report.token_id, number)
            if earlier != number:
                report = replace(report, short=f"as row {earlier}", sentence=_twice(report, earlier), is_wrong=True)
        rows.append(report)
    total = sum(report.mass for report in rows if report.mass is not None)
    wrong = next((f"row {number}: {row.sentence}" for number, row in enumerate(rows, start=1) if row.is_wrong), "")
    masses = {
        unescape(row.token): report.mass
        for row, report in zip(draft.rows, rows, strict=True)
        if report.mass is not None and report.token_id is not None
    }
    if not wrong and total > 1 + spec.SUM_TOLERANCE:
        wrong = f"the masses sum to {total:.10g}, more than 1: lower one, or rescale them all"
    if wrong:
        return DraftValidation(tuple(rows), total, problem=wrong, is_wrong=True)
    waiting = next((number for number, report in enumerate(rows, start=1) if _has_no_mass(report)), None)
    unfinished = f"row {waiting} has no mass yet" if waiting else ""
    if not masses:
        return DraftValidation(tuple(rows), total, problem=unfinished or _NOTHING_YET)
    text = unescape(draft.text) if draft.rest == "model" else ""
    target = spec.Explicit(probabilities=masses, rest=draft.rest, text=text or "\n")
    return DraftValidation(tuple(rows), total, target, unfinished)


def _check_row(row: Row, vocabulary: Vocabulary) -> RowValidation:
    if row.is_empty:
        return RowValidation()
    report = _check_token(row.token, vocabulary)
    if not row.mass.strip():
        return report
    try:
        return replace(report, mass=read_mass(row.mass))
    except TargetError as error:
        if report.is_wrong:
            return report
        return replace(report, short="not a mass", sentence=str(error), is_wrong=True)


def _check_token(written: str, vocabulary: Vocabulary) -> RowValidation:
    token = unescape(written)
    if not token:
        return RowValidation("no token", "there is a mass but no token", is_wrong=True)
    try:
        token_id = vocabulary.id_of(token)
    except (TargetError, ValueError) as error:  # ValueError: an id of thousands of digits
        return _not_one_token(token, vocabulary, str(error))
    text = vocabulary.text(token_id)
    sentence = f"{visible_token(text) or 'a token without text'} is token {token_id}"
    spaced = _id_of(f" {text}", vocabulary) if text[:1].isalnum() else None
    if spaced is not None and spaced != token_id:
        sentence += f"; with a space before it, as inside a sentence, ·{visible_token(text)} is another: {spaced}"
    short = f"id {token_id}" if not token.startswith("id:") else visible_token(text) or f"id {token_id}"
    return RowValidation(short, sentence, token_id=token_id)


def _not_one_token(token: str, vocabulary: Vocabulary, why: str) -> RowValidation:
    pieces = _pieces(token, vocabulary)
    if len(pieces) < 2 or token.startswith("id:"):
        return RowValidation("no token", why, is_wrong=True)
    shown = [visible_token(vocabulary.text(piece)) or f"id:{piece}" for piece in pieces[:_MOST_PIECES]]
    more = " + …" if len(pieces) > _MOST_PIECES else ""
    sentence = f"{visible_token(token)} is {len(pieces)} tokens: {' + '.join(shown)}{more}; enter takes {shown[0]}"
    if token.isdecimal():
        sentence += f", id:{token} means the token of that number"
    return RowValidation(
        f"{len(pieces)} tokens", sentence, is_wrong=True, first_piece=write_token(pieces[0], vocabulary)
    )


def _pieces(token: str, vocabulary: Vocabulary) -> list[int]:
    try:
        return vocabulary.encode(token, continues=True)
    except ValueError:  # a lone surrogate
        return []


def _id_of(text: str, vocabulary: Vocabulary) -> int | None:
    try:
        return vocabulary.id_of(text)
    except (TargetError, ValueError):
        return None


def _twice(report: RowValidation, earlier: int) -> str:
    return f"this is token {report.token_id}, which row {earlier} has already: name it once"


def _has_no_mass(report: RowValidation) -> bool:
    return report.token_id is not None and report.mass is None


def _rounded_down(mass: float) -> str:
    """Few digits, never more than the mass itself."""
    rounded = Context(prec=_SHORT_DIGITS, rounding=ROUND_DOWN).create_decimal(Decimal(repr(mass)))
    return f"{float(rounded):g}"


def _tokens(count: int) -> str:
    return "one token" if count == 1 else f"{count} tokens"
