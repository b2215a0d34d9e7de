"""Read and validate TOML files of a pydantic model, and report errors by file, line and field."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from distprompt_tui.core.config.toml_files import read_toml
from distprompt_tui.core.errors import UsageError, near_matches

ModelT = TypeVar("ModelT", bound=BaseModel)

TAGS = ("family", "method")  # discriminators of unions

_NUMBERS = dict.fromkeys(("int_type", "int_parsing", "int_from_float"), "a whole number") | dict.fromkeys(
    ("float_type", "float_parsing"), "a number"
)
"""Expected values by pydantic's type of an error."""
_ERRORS_OF_NAMES = ("extra_forbidden", "missing", "union_tag_not_found", "union_tag_invalid")


def read_checked(path: Path, kind: type[ModelT], context: dict[str, Any] | None = None) -> ModelT:
    """Read a model from a TOML file.

    Raises:
        UsageError: the file cannot be read or is invalid; the message gives file, line and field.
    """
    fields, text = read_toml(path)
    try:
        return kind.model_validate(fields, context=context)
    except ValidationError as error:
        raise UsageError(_placed(path, text, error.errors(include_url=False)[0], fields, kind)) from error


def all_mistakes(path: Path, kind: type[ModelT]) -> list[str]:
    """Return a message, with file, line and field, for each error in a file.

    Raises:
        UsageError: the file cannot be read or is not TOML.
    """
    fields, text = read_toml(path)
    try:
        kind.model_validate(fields)
    except ValidationError as error:
        mistakes = [one for one in error.errors(include_url=False) if one["type"] != "default_factory_not_called"]
        return [_placed(path, text, one, fields, kind) for one in mistakes]
    return []


def placed(path: Path, text: str, where: list[str], message: str) -> str:
    """Put the file, and the line of the field if its text has one, before a message."""
    line = _line_of(text, where)
    return f"{path}:{line}: {message}" if line else f"{path}: {message}"


def _placed(path: Path, text: str, mistake: ErrorDetails, fields: dict[str, Any], kind: type[BaseModel]) -> str:
    return placed(path, text, location_of(mistake, fields), _describe(mistake, fields, kind))


def checked(fields: dict[str, Any], kind: type[ModelT]) -> ModelT:
    """Validate fields.

    Raises:
        UsageError: a field is invalid; the message describes the first error in one sentence.
    """
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        raise UsageError(describe_error(error, fields, kind)) from error


def describe_error(error: ValidationError, fields: dict[str, Any], kind: type[BaseModel]) -> str:
    """Describe the first error in one sentence: the field, the problem, and near matches of an unknown name."""
    return _describe(error.errors(include_url=False)[0], fields, kind)


def errors_by_field(
    error: ValidationError, fields: dict[str, Any], kind: type[BaseModel]
) -> dict[tuple[str, ...], str]:
    """Describe the first error of each invalid field, without the field's path and value.

    Returns:
        Descriptions by path, such as `{("target", "entropy"): "should be a valid number"}`. The path is that of a table
        if the error concerns several of its fields.
    """
    found: dict[tuple[str, ...], str] = {}
    for one in error.errors(include_url=False):
        where = location_of(one, fields)
        text = _describe(one, fields, kind) if one["type"] in _ERRORS_OF_NAMES else _message(one)
        found.setdefault(tuple(where), text.removeprefix(f"{'.'.join(where[:-1])}.").removeprefix("it "))
    return found


def _message(first: ErrorDetails) -> str:
    return first["msg"].removeprefix("Value error, ").replace("Input should", "it should")


def _describe(first: ErrorDetails, fields: dict[str, Any], kind: type[BaseModel]) -> str:
    where = location_of(first, fields)
    name = ".".join(where)
    if first["type"] == "extra_forbidden":
        return f"{name} is not a field; {near_matches(where[-1], _siblings(where, fields, kind))}"
    if first["type"] in ("missing", "union_tag_not_found"):
        return f"{name} is missing{_misspelled(where, fields, kind)}"
    if first["type"] == "union_tag_invalid":
        known = re.findall(r"'([^']+)'", first["ctx"]["expected_tags"])
        return f"{name}: unknown value {first['ctx']['tag']!r}; {near_matches(first['ctx']['tag'], known)}"
    if first["type"] in _NUMBERS:
        return f"{name}: it should be {_NUMBERS[first['type']]}, not {first.get('input')!r}"
    message = _message(first)
    given = first.get("input")
    shown = f" (given: {given!r})" if isinstance(given, str | int | float | bool) else ""
    return f"{name}: {message}{shown}" if name else message


def _misspelled(where: list[str], fields: dict[str, Any], kind: type[BaseModel]) -> str:
    """Suggest an unknown field of the same table as the misspelling of a missing one."""
    value: Any = fields
    for part in where[:-1]:
        value = value[int(part)] if isinstance(value, list | tuple) else value.get(part, {})
    known = _siblings(where, fields, kind)
    unknown = [name for name in value if name not in known] if isinstance(value, dict) else []
    close = difflib.get_close_matches(where[-1], unknown, n=1)
    return f"; is {close[0]!r} a misspelling of it?" if close else ""


def location_of(first: ErrorDetails, fields: dict[str, Any]) -> list[str]:
    """Return the path of an invalid field, without the tags that pydantic adds for unions."""
    path: list[str] = []
    value: Any = fields
    for index, part in enumerate(first["loc"]):
        is_missing = first["type"] == "missing" and index == len(first["loc"]) - 1
        if not is_missing and (part not in value if isinstance(value, dict) else not isinstance(value, list | tuple)):
            continue
        if isinstance(part, str) and not isinstance(value, dict | list | tuple):
            continue
        path.append(str(part))
        if isinstance(value, dict):
            value = value.get(part)
        elif isinstance(value, list | tuple) and isinstance(part, int):
            value = value[part]
    if first["type"] in ("union_tag_invalid", "union_tag_not_found"):
        path.append(first["ctx"]["discriminator"].strip("'"))
    return path


def _siblings(where: list[str], fields: dict[str, Any], kind: type[BaseModel]) -> list[str]:
    kinds = [kind]
    value: Any = fields
    for part in where[:-1]:
        if isinstance(value, list | tuple):
            value = value[int(part)]
            continue
        value = value.get(part, {})
        kinds = [inner for outer in kinds if part in outer.model_fields for inner in _models_in(outer, part)]
        if isinstance(value, dict):
            kinds = [inner for inner in kinds if _has_tag_of(inner, value)]
    return sorted({name for inner in kinds for name in inner.model_fields})


def _models_in(kind: type[BaseModel], field: str) -> list[type[BaseModel]]:
    found: list[type[BaseModel]] = []
    waiting: list[Any] = [kind.model_fields[field].annotation]
    while waiting:
        part = waiting.pop()
        if isinstance(part, type) and issubclass(part, BaseModel):
            found.append(part)
        waiting += get_args(part)
    return found


def _has_tag_of(kind: type[BaseModel], value: dict[str, Any]) -> bool:
    return all(
        kind.model_fields[tag].default == value[tag] for tag in TAGS if tag in value and tag in kind.model_fields
    )


def _line_of(text: str, where: list[str]) -> int | None:
    """Return the line number of a field in a TOML text: of its key, else of its table, else None."""
    table: list[str] = []
    table_line = None
    seen: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if header := re.match(r"\s*(\[+)\s*([^\]]+?)\s*\]+", line):
            table = [part.strip(" \"'") for part in header[2].split(".")]
            if header[1] == "[[":  # pydantic's path contains the index of the table
                seen[header[2]] = seen.get(header[2], -1) + 1
                table.append(str(seen[header[2]]))
            if table == where:
                return number
            if where[: len(table)] == table:
                table_line = number
        elif key := re.match(r"\s*(\"[^\"]*\"|'[^']*'|[A-Za-z0-9_-]+)\s*=", line):
            path = [*table, key[1].strip("\"'")]
            if where[: len(path)] == path:
                return number
    return table_line
