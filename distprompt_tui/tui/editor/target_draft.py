"""Logic of the target editor: parsing, validation and messages for the typed fields.

A field holds one line. It accepts the escapes `\\n`, `\\t` and `\\\\`, and `id:5231` for any token by its id.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import ROUND_DOWN, Context, Decimal
from typing import TYPE_CHECKING

from distprompt_tui.core.errors import TargetError
from distprompt_tui.core.text.escapes import ESCAPES, escape_field, unescape
from distprompt_tui.core.text.terminal_text import visible_token
from distprompt_tui.tui.editor.recipe import (
    Path,
    Recipe,
    entry_of,
    errors_by_line,
    lines_of,
    pruned,
    recipe_of,
    summary_of_recipe,
    target_of,
    value_at,
)

if TYPE_CHECKING:
    from distprompt_tui.core.config import target_specs
    from distprompt_tui.models.vocabulary import Vocabulary


TOP_ROWS = 12  # number of a target's most probable tokens that become rows

MAX_ROWS = 48  # a target with more tokens opens with the most probable ones, because each row takes three widgets

NEW_RECIPE = "lm"  # family of the first recipe of a new target: the distribution after a text

_RESCALED_DIGITS = 10  # keeps the sum within 5e-10 of 1; `explicit` accepts 1e-9

IS_MISSING = " is missing"  # end of the spec's error for a required field

_SHORT_DIGITS = 4
_MOST_PIECES = 4
_NOTHING_YET = "enter a token and its probability; most words begin with a space, shown as ·"


@dataclass(frozen=True, slots=True)
class Row:
    token: str = ""
    mass: str = ""

    @property
    def is_empty(self) -> bool:
        return not self.token and not self.mass.strip()


@dataclass(frozen=True)
class Draft:
    """The contents of the form, as typed.

    Attributes:
        rest: how to spread the rest of 1 over the other tokens.
        text: with `rest = "model"`; an empty one means a newline.
        by_recipe: the target is that of `recipe`; rows, rest and text are ignored.
    """

    rows: tuple[Row, ...] = ()
    rest: target_specs.Rest = "uniform"
    text: str = ""
    by_recipe: bool = False
    recipe: Recipe = field(default_factory=lambda: {"family": NEW_RECIPE})

    def trimmed(self) -> Draft:
        """Drop empty rows and unused fields, to compare drafts."""
        rows = tuple(row for row in self.rows if not row.is_empty)
        return replace(self, rows=rows, recipe=pruned(self.recipe))


@dataclass(frozen=True, slots=True)
class RowValidation:
    """Meaning of a row; `short` is an abbreviation of `sentence`, which may contain any character of the token.

    Attributes:
        is_wrong: the row makes the target invalid.
        token_id: None if the row names no token.
        mass: None if missing or invalid.
        first_piece: for a string of several tokens, the first one as typed in a field.
    """

    short: str = ""
    sentence: str = ""
    is_wrong: bool = False
    token_id: int | None = None
    mass: float | None = None
    first_piece: str | None = None


@dataclass(frozen=True)
class DraftValidation:
    """Meaning of a draft, with one entry in `rows` for each row.

    Attributes:
        fields: tokens and errors of the recipe's lines, by path.
        total: sum of all valid probabilities.
        target: None if invalid; rows without a probability are omitted.
        problem: one sentence, why no search can start; empty if validation finds no problem.
        is_wrong: the problem is an error, not only missing input.
    """

    rows: tuple[RowValidation, ...] = ()
    total: float = 0.0
    target: target_specs.TargetSpec | None = None
    problem: str = ""
    is_wrong: bool = False
    fields: Mapping[Path, RowValidation] = field(default_factory=dict)


def write_token(token_id: int, vocabulary: Vocabulary) -> str:
    """Return the text of a field for a token: its string if that is readable and unambiguous, else its id."""
    text = vocabulary.text(token_id)
    readable = all(char.isprintable() or char in ESCAPES for char in text) and not unicodedata.combining(
        text[:1] or " "
    )
    if readable and _id_of(text, vocabulary) == token_id:
        return escape_field(text)
    return f"id:{token_id}"


def read_mass(text: str) -> float:
    """Parse the probability in a field; it may be above 1, as a weight to rescale.

    Raises:
        TargetError: invalid number.
    """
    try:
        mass = float(text)
    except ValueError:
        raise TargetError(f"{text.strip()!r} is not a number; enter a probability such as 0.25") from None
    if not math.isfinite(mass):
        raise TargetError(f"{text.strip()} is not a probability; enter a number from 0 to 1")
    if mass < 0:
        raise TargetError(f"the probability {text.strip()} is negative; enter a number from 0 to 1")
    return abs(mass)  # -0.0


def rows_of_tokens(tokens: Iterable[tuple[int, str, float]], vocabulary: Vocabulary) -> tuple[Row, ...]:
    """Convert tokens, (id, string, probability) by falling probability, to rows. Rounding down keeps the sum from
    growing.
    """
    largest = [(token_id, mass) for token_id, _, mass in tokens if mass > 0][:TOP_ROWS]
    return tuple(Row(write_token(token_id, vocabulary), _rounded_down(mass)) for token_id, mass in largest)


def draft_of(target: target_specs.TargetSpec) -> Draft:
    """Return the initial draft of a target: rows of an `explicit` one, else its recipe.

    A target with more than `MAX_ROWS` tokens gives an empty draft; see `is_written_out`.
    """
    from distprompt_tui.core.config import target_specs

    match target:
        case target_specs.Explicit() if is_written_out(target):
            rows = tuple(Row(escape_field(token), f"{mass!r}") for token, mass in target.probabilities.items())
            return Draft(rows=rows, rest=target.rest, text="" if target.text == "\n" else escape_field(target.text))
        case target_specs.Explicit(file=None):
            return Draft()
        case _:
            recipe = recipe_of(target)
            is_short = len(lines_of(recipe)) <= 2 * MAX_ROWS
            return Draft(by_recipe=True, recipe=recipe) if is_short else Draft()


def is_written_out(target: target_specs.TargetSpec) -> bool:
    from distprompt_tui.core.config import target_specs

    return isinstance(target, target_specs.Explicit) and 0 < len(target.probabilities) <= MAX_ROWS


def rescaled(rows: Sequence[Row]) -> tuple[Row, ...]:
    """Divide the probabilities by their sum.

    Raises:
        TargetError: a probability is invalid, or the sum is 0.
    """
    probabilities = [read_mass(row.mass) if row.mass.strip() else None for row in rows]
    total = sum(mass for mass in probabilities if mass is not None)
    if not 0 < total < math.inf:
        raise TargetError("the probabilities sum to 0 and cannot be rescaled: enter one first")
    return tuple(
        row if mass is None else replace(row, mass=f"{mass / total:.{_RESCALED_DIGITS}g}")
        for row, mass in zip(rows, probabilities, strict=True)
    )


def check(draft: Draft, vocabulary: Vocabulary) -> DraftValidation:
    """Validate a draft for a model's tokens. Imports numpy and pydantic; then takes microseconds a row."""
    return _check_recipe(draft.recipe, vocabulary) if draft.by_recipe else _check_rows(draft, vocabulary)


def summary_of(target: target_specs.TargetSpec) -> str:
    """Return the description of a preset made in the editor."""
    from distprompt_tui.core.config import target_specs

    match target:
        case target_specs.Explicit(file=None):
            spread = "evenly" if target.rest == "uniform" else "like the model's own distribution"
            return f"Explicit probabilities of {_tokens(len(target.probabilities))}; the rest is spread {spread}."
        case target_specs.Lm(model=None):
            scaled = "" if target.entropy is None else f", rescaled to {target.entropy:g} nats"
            return f"The model's own distribution after “{target.text}”{scaled}."
        case _:
            return summary_of_recipe(target)


def _check_recipe(recipe: Recipe, vocabulary: Vocabulary) -> DraftValidation:
    lines = lines_of(recipe)
    target, errors = target_of(recipe)
    notes: dict[Path, RowValidation] = {}
    for line in lines:
        written = value_at(recipe, line.path)
        if written and line.kind in ("token", "entry"):
            notes[line.path] = check_token(entry_of(written)[0] if line.kind == "entry" else written, vocabulary)
    for path, text in errors_by_line(lines, errors).items():
        notes[path] = RowValidation(text, text, is_wrong=not text.endswith(IS_MISSING))
    wrong = next((line for line in lines if line.path in notes and notes[line.path].is_wrong), None)
    if wrong is not None:
        sentence = notes[wrong.path].sentence
        problem = sentence if wrong.kind in ("family", "token") else f"{wrong.name}: {sentence}"
        return DraftValidation(problem=problem, is_wrong=True, fields=notes)
    missing = next((text for text in errors.values() if text.endswith(IS_MISSING)), "")
    return DraftValidation(target=target, problem=missing, fields=notes)


def _check_rows(draft: Draft, vocabulary: Vocabulary) -> DraftValidation:
    from distprompt_tui.core.config import target_specs

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
    probabilities = {
        unescape(row.token): report.mass
        for row, report in zip(draft.rows, rows, strict=True)
        if report.mass is not None and report.token_id is not None
    }
    if not wrong and total > 1 + target_specs.SUM_TOLERANCE:
        wrong = f"the probabilities sum to {total:.10g}, more than 1: lower one, or rescale all"
    if wrong:
        return DraftValidation(tuple(rows), total, problem=wrong, is_wrong=True)
    waiting = next((number for number, report in enumerate(rows, start=1) if _has_no_mass(report)), None)
    unfinished = f"row {waiting} has no probability yet" if waiting else ""
    if not probabilities:
        return DraftValidation(tuple(rows), total, problem=unfinished or _NOTHING_YET)
    text = unescape(draft.text) if draft.rest == "model" else ""
    target = target_specs.Explicit(probabilities=probabilities, rest=draft.rest, text=text or "\n")
    return DraftValidation(tuple(rows), total, target, unfinished)


def _check_row(row: Row, vocabulary: Vocabulary) -> RowValidation:
    if row.is_empty:
        return RowValidation()
    report = check_token(row.token, vocabulary)
    if not row.mass.strip():
        return report
    try:
        return replace(report, mass=read_mass(row.mass))
    except TargetError as error:
        if report.is_wrong:
            return report
        return replace(report, short="not a probability", sentence=str(error), is_wrong=True)


def check_token(written: str, vocabulary: Vocabulary) -> RowValidation:
    """Return the meaning of a field that names a token."""
    token = unescape(written)
    if not token:
        return RowValidation("no token", "a probability without a token", is_wrong=True)
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
        sentence += f", id:{token} is the token with that id"
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
    return f"this is token {report.token_id}, which is already in row {earlier}"


def _has_no_mass(report: RowValidation) -> bool:
    return report.token_id is not None and report.mass is None


def _rounded_down(mass: float) -> str:
    rounded = Context(prec=_SHORT_DIGITS, rounding=ROUND_DOWN).create_decimal(Decimal(repr(mass)))
    return f"{float(rounded):g}"


def _tokens(count: int) -> str:
    return "one token" if count == 1 else f"{count} tokens"
