"""Presets: TOML files of a RunSpec, shipped or saved by the user. Mistakes are told by file, line and field."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import BaseModel, ValidationError

from distprompt_tui import locations
from distprompt_tui.errors import NotFoundError, UsageError, near_matches
from distprompt_tui.files import read_toml, write_atomically
from distprompt_tui.spec import RunSpec

MAX_PRESET_BYTES = 1 << 20
"""A preset is written by hand; a larger file is something else."""


@dataclass(frozen=True)
class Preset:
    """A named spec and the file that it stands in."""

    name: str
    path: Path
    spec: RunSpec
    shipped: bool


def list_presets() -> list[Preset]:
    """Shipped presets, then the user's; one of the user's with a shipped name takes its place.

    Raises:
        UsageError: a preset is wrong; the text names file, line and field.
    """
    presets: dict[str, Preset] = {}
    for folder in (locations.shipped_presets_dir(), locations.user_presets_dir()):
        for path in sorted(folder.glob("*.toml")):
            presets[path.stem] = _read(path)
    return list(presets.values())


def load_preset(name: str) -> Preset:
    """A preset by its name or by the path of its file.

    Raises:
        NotFoundError: there is none; the near matches are named.
        UsageError: it is wrong; the text names file, line and field.
    """
    if name.endswith(".toml") or "/" in name:
        path = Path(name).expanduser()
        if not path.is_file():
            raise NotFoundError(f"no preset file {name}")
        return _read(path)
    folders = (locations.user_presets_dir(), locations.shipped_presets_dir())
    for folder in folders:
        if (path := folder / f"{name}.toml").is_file():
            return _read(path)
    known = [path.stem for folder in folders for path in folder.glob("*.toml")]
    raise NotFoundError(f"no preset {name!r}; {near_matches(name, known)}")


def save_preset(name: str, spec: RunSpec) -> Path:
    """Write a spec as the user's preset `name`.

    Raises:
        UsageError: the name cannot be a file's name.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
        raise UsageError(f"{name!r} cannot be a preset's name: use letters, digits, '.', '_' and '-'")
    folder = locations.user_presets_dir()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.toml"
    fields = spec.model_dump(mode="json", exclude_none=True, exclude_defaults=True, exclude={"preset"})
    text = tomli_w.dumps(_with_tags(fields, spec))
    write_atomically(path, lambda file: file.write(text.encode()))
    return path


def override(spec: RunSpec, changes: Sequence[str]) -> RunSpec:
    """A spec with fields replaced.

    Args:
        spec: what to start from.
        changes: `field.path=value`, the value as TOML; a value that is no TOML is taken as a string.

    Raises:
        UsageError: no such field, or a value that does not fit; the text says which and what would.
    """
    fields = spec.model_dump(mode="json", exclude_none=True)
    if "lr" not in spec.search.model_fields_set:
        fields["search"].pop("lr", None)  # its default follows from the optimizer, which may be what changes
    for change in changes:
        path, equals, value = change.partition("=")
        if not equals or not path:
            raise UsageError(f"{change!r} is not of the form field=value, such as search.lr=0.2")
        _set(fields, path.strip().split("."), _toml_value(value))
    try:
        return RunSpec.model_validate(fields)
    except ValidationError as error:
        raise UsageError(_explain(error, fields)) from error


def with_method(spec: RunSpec, method: str) -> RunSpec:
    """A spec with another search method; the prompt's length stays, what belongs to the old method goes."""
    if method == spec.search.method:
        return spec
    fields = spec.model_dump(mode="json", exclude_none=True)
    fields["search"] = {"method": method, "length": spec.search.length}
    try:
        return RunSpec.model_validate(fields)
    except ValidationError as error:
        raise UsageError(_explain(error, fields)) from error


def _with_tags(fields: dict[str, Any], spec: RunSpec) -> dict[str, Any]:
    """Put back the names of family and method, which are defaults of their classes but decide how a file is read."""

    def tag(values: dict[str, Any], part: BaseModel) -> dict[str, Any]:
        tags = {key: getattr(part, key) for key in ("family", "method") if key in type(part).model_fields}
        return tags | values

    fields["target"] = tag(spec.target.model_dump(mode="json", exclude_none=True), spec.target)
    fields["search"] = tag(fields.get("search", {}), spec.search)
    return fields


def _read(path: Path) -> Preset:
    try:
        text, fields = read_toml(path, MAX_PRESET_BYTES)
    except FileNotFoundError as error:
        raise UsageError(f"{path} cannot be read: it is not there") from error
    try:
        spec = RunSpec.model_validate(fields)
    except ValidationError as error:
        where = _location(error)
        line = _line_of(text, where)
        at = f"{path}:{line}" if line else str(path)
        raise UsageError(f"{at}: {_explain(error, fields)}") from error
    shipped = path.parent == locations.shipped_presets_dir()
    return Preset(path.stem, path, spec.model_copy(update={"preset": path.stem}), shipped)


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _set(fields: dict[str, Any], path: list[str], value: Any) -> None:
    for key in path[:-1]:
        fields = fields.setdefault(key, {})
        if not isinstance(fields, dict):
            raise UsageError(f"{'.'.join(path)}: {key} is a value, it has no fields")
    fields[path[-1]] = value


def _location(error: ValidationError) -> list[str]:
    """The path of the first wrong field, without the tags that pydantic puts in for unions."""
    first = error.errors(include_url=False)[0]
    tags = _tags()
    parts = [str(part) for part in first["loc"]]
    if first["type"] in ("union_tag_invalid", "union_tag_not_found"):
        parts.append(first["ctx"]["discriminator"].strip("'"))
    return [part for index, part in enumerate(parts) if not (index == 1 and part in tags)]


def _explain(error: ValidationError, fields: dict[str, Any]) -> str:
    """One sentence for the first mistake: the field, what is wrong, and the near matches of an unknown name."""
    first = error.errors(include_url=False)[0]
    where = _location(error)
    name = ".".join(where) or "the file"
    kind = first["type"]
    if kind == "extra_forbidden":
        return f"{name} is not a field; {near_matches(where[-1], _siblings(where, fields))}"
    if kind in ("missing", "union_tag_not_found"):
        return f"{name} is missing"
    if kind == "union_tag_invalid":
        known = re.findall(r"'([^']+)'", first["ctx"]["expected_tags"])
        return f"{name}: there is no {first['ctx']['tag']!r}; {near_matches(first['ctx']['tag'], known)}"
    message = first["msg"].removeprefix("Value error, ").replace("Input should", "it should")
    given = first.get("input")
    shown = f" (given: {given!r})" if isinstance(given, str | int | float | bool) else ""
    return f"{name}: {message}{shown}"


def _tags() -> set[str]:
    """The names of families and methods."""
    from distprompt_tui import spec

    parts = [value for value in vars(spec).values() if isinstance(value, type) and issubclass(value, spec.Strict)]
    fields = [part.model_fields[key] for part in parts for key in ("family", "method") if key in part.model_fields]
    return {field.default for field in fields if not field.is_required()}


def _siblings(where: list[str], fields: dict[str, Any]) -> list[str]:
    """The names that would be known where an unknown one stands."""
    from distprompt_tui import spec

    if len(where) == 1:
        return list(RunSpec.model_fields)
    section = fields.get(where[0], {})
    for part in vars(spec).values():
        if isinstance(part, type) and issubclass(part, spec.Strict):
            tags = [part.model_fields[key].default for key in ("family", "method") if key in part.model_fields]
            if tags and tags[0] in (section.get("family"), section.get("method")):
                return list(part.model_fields)
    annotation = RunSpec.model_fields[where[0]].annotation
    return list(getattr(annotation, "model_fields", {}))


def _line_of(text: str, where: list[str]) -> int | None:
    """The line of a field in a TOML text: the key inside its table, else the table, else nothing."""
    table: list[str] = []
    table_line = None
    for number, line in enumerate(text.splitlines(), start=1):
        if header := re.match(r"\s*\[+\s*([^\]]+?)\s*\]+", line):
            table = [part.strip(" \"'") for part in header[1].split(".")]
            if table == where:
                return number
            if where[: len(table)] == table:
                table_line = number
        elif key := re.match(r"\s*(\"[^\"]*\"|'[^']*'|[A-Za-z0-9_-]+)\s*=", line):
            path = [*table, key[1].strip("\"'")]
            if where[: len(path)] == path:
                return number
    return table_line
