"""Presets: TOML files of a RunSpec, shipped or saved by the user."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import BaseModel

from distprompt_tui import locations
from distprompt_tui.checked_toml import checked, read_checked
from distprompt_tui.errors import UsageError
from distprompt_tui.files import write_atomically
from distprompt_tui.spec import RunSpec
from distprompt_tui.toml import find_toml, parse_toml


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
    return _read(find_toml(name, "preset", (locations.user_presets_dir(), locations.shipped_presets_dir())))


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
    return checked(fields, RunSpec)


def with_method(spec: RunSpec, method: str) -> RunSpec:
    """A spec with another search method; the prompt's length stays, what belongs to the old method goes."""
    if method == spec.search.method:
        return spec
    fields = spec.model_dump(mode="json", exclude_none=True)
    fields["search"] = {"method": method, "length": spec.search.length}
    return checked(fields, RunSpec)


def _with_tags(fields: dict[str, Any], spec: RunSpec) -> dict[str, Any]:
    """Put back the names of family and method, which are defaults of their classes but decide how a file is read."""

    def tag(values: dict[str, Any], part: BaseModel) -> dict[str, Any]:
        tags = {key: getattr(part, key) for key in ("family", "method") if key in type(part).model_fields}
        return tags | values

    fields["target"] = tag(spec.target.model_dump(mode="json", exclude_none=True), spec.target)
    fields["search"] = tag(fields.get("search", {}), spec.search)
    return fields


def _read(path: Path) -> Preset:
    spec = read_checked(path, RunSpec)
    shipped = path.parent == locations.shipped_presets_dir()
    return Preset(path.stem, path, spec.model_copy(update={"preset": path.stem}), shipped)


def _toml_value(text: str) -> Any:
    try:
        return parse_toml(f"value = {text}")["value"]
    except ValueError:
        return text


def _set(fields: dict[str, Any], path: list[str], value: Any) -> None:
    for key in path[:-1]:
        fields = fields.setdefault(key, {})
        if not isinstance(fields, dict):
            raise UsageError(f"{'.'.join(path)}: {key} is a value, it has no fields")
    fields[path[-1]] = value
