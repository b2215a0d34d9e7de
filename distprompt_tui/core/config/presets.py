"""Presets: TOML files of a RunSpec, shipped or saved by the user."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import BaseModel, ValidationError

from distprompt_tui.core.config import paths
from distprompt_tui.core.config import target_specs as specs
from distprompt_tui.core.config.known_models import absolute_name
from distprompt_tui.core.config.spec import RunSpec
from distprompt_tui.core.config.toml_files import find_preset, parse_toml
from distprompt_tui.core.config.validation import checked, location_of, read_checked
from distprompt_tui.core.errors import UsageError
from distprompt_tui.core.storage.safe_io import absolute, found_in, write_atomically


@dataclass(frozen=True)
class Preset:
    """A preset.

    Attributes:
        shipped: it comes with the program; else it is the user's.
        replaces_shipped: it is the user's, and a shipped one has the same name.
    """

    name: str
    path: Path
    spec: RunSpec
    shipped: bool
    replaces_shipped: bool = False


def list_presets(problems: list[str] | None = None) -> list[Preset]:
    """List the shipped presets, then the user's. A user's preset replaces a shipped one of the same name.

    Args:
        problems: receives an error message, with file, line and field, for each invalid file.
    """
    presets: dict[str, Preset] = {}
    for folder in (paths.shipped_presets_dir(), paths.user_presets_dir()):
        for path in found_in(folder, "*.toml"):
            try:
                presets[path.stem] = _read(path)
            except UsageError as error:
                if problems is not None:
                    problems.append(str(error))
    return list(presets.values())


def load_preset(name: str) -> Preset:
    """Load a preset by name or file path.

    Raises:
        NotFoundError: there is no such preset; the message lists near matches.
        UsageError: the file is invalid; the message gives file, line and field.
    """
    return _read(find_preset(name))


def save_preset(name: str, spec: RunSpec) -> Path:
    """Write a spec as the user's preset `name`. Raises UsageError if the name is invalid."""
    path = _user_file(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    fields = spec.model_dump(mode="json", exclude_none=True, exclude_defaults=True, exclude={"preset"})
    text = tomli_w.dumps(_with_tags(fields, spec))
    write_atomically(path, lambda file: file.write(text.encode()))
    return path


def rename_preset(name: str, new_name: str) -> Path:
    """Rename the user's preset, replacing one that has the new name. A title that is the old name changes too.

    Raises:
        UsageError: the new name is invalid, or the preset cannot be read.
        OSError: the file cannot be renamed.
    """
    old, new = _user_file(name), _user_file(new_name)
    spec = _read(old).spec
    if old != new and spec.title == name:
        save_preset(new_name, spec.model_copy(update={"title": new_name}))
        old.unlink()
    else:
        old.rename(new)
    return new


def delete_preset(name: str) -> None:
    """Delete the user's preset. A shipped one of the same name is listed again.

    Raises:
        OSError: the file cannot be deleted.
    """
    _user_file(name).unlink()


def _user_file(name: str) -> Path:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
        raise UsageError(f"invalid preset name {name!r}: use letters, digits, '.', '_' and '-'")
    return paths.user_presets_dir() / f"{name}.toml"


def update(spec: RunSpec, changes: Mapping[str, object]) -> RunSpec:
    """Return a copy of a spec with some fields replaced by typed values.

    Args:
        changes: value by field path, such as `{"search.length": 5}`. Relative paths start at the working directory.

    Raises:
        UsageError: unknown field or invalid value.
    """
    fields = _changeable(spec)
    for path, value in changes.items():
        _set(fields, path.split("."), value)
    return anchored(checked(fields, RunSpec), Path())


def override(spec: RunSpec, changes: Sequence[str]) -> RunSpec:
    """Return a copy of a spec with some fields replaced by values in text form.

    Args:
        changes: `field.path=value`. A value is parsed as TOML if the result is of the field's type; otherwise it is the
            string itself, quotes included. Relative paths start at the working directory.

    Raises:
        UsageError: unknown field or invalid value; the message gives the field and the expected value.
    """
    fields = _changeable(spec)
    for change in changes:
        path, equals, value = change.partition("=")
        if not equals or not path:
            raise UsageError(f"{change!r} does not have the form field=value, such as search.lr=0.2")
        _set_value(fields, path.strip().split("."), value)
    return anchored(checked(fields, RunSpec), Path())


def _changeable(spec: RunSpec) -> dict[str, Any]:
    fields = spec.model_dump(mode="json", exclude_none=True)
    if "lr" not in spec.search.model_fields_set:
        fields["search"].pop("lr", None)  # its default depends on the optimizer, which may change
    return fields


def anchored(spec: RunSpec, folder: Path) -> RunSpec:
    """Return a copy of a spec with absolute paths; relative ones start at `folder`."""
    search = spec.search
    prompt = getattr(search, "init_prompt", None)
    if prompt is not None:
        search = search.model_copy(update={"init_prompt": absolute(prompt, folder)})
    name = absolute_name(spec.model.name, folder)
    model = spec.model if name == spec.model.name else spec.model.model_copy(update={"name": name})
    target = _anchored_target(spec.target, folder)
    changed = {"search": search, "model": model, "target": target}
    return spec.model_copy(update={field: part for field, part in changed.items() if part is not getattr(spec, field)})


def _anchored_target(target: specs.TargetSpec, folder: Path) -> specs.TargetSpec:
    match target:
        case specs.Explicit(file=str(file)):
            return target.model_copy(update={"file": absolute(file, folder)})
        case specs.Lm(model=str(name)) | specs.Shuffled(model=str(name)):
            return target.model_copy(update={"model": absolute_name(name, folder)})
        case specs.Mixture():
            parts = [part.model_copy(update={"target": _anchored_target(part.target, folder)}) for part in target.parts]
            return target.model_copy(update={"parts": tuple(parts)})
        case _:
            return target


def with_method(spec: RunSpec, method: str) -> RunSpec:
    """Return a copy of a spec with another search method and its default settings; only the prompt length is kept.

    "exhaustive" has its default length of 1: it tries all prompts of one token, but few of the longer ones.
    """
    if method == spec.search.method:
        return spec
    fields = spec.model_dump(mode="json", exclude_none=True)
    kept = {} if method == "exhaustive" else {"length": spec.search.length}
    fields["search"] = {"method": method} | kept
    return checked(fields, RunSpec)


def _with_tags(fields: dict[str, Any], spec: RunSpec) -> dict[str, Any]:
    """Add family and method. They are defaults of their classes, but select the class when the file is read."""

    def tag(values: dict[str, Any], part: BaseModel) -> dict[str, Any]:
        tags = {key: getattr(part, key) for key in ("family", "method") if key in type(part).model_fields}
        return tags | values

    fields["target"] = tag(spec.target.model_dump(mode="json", exclude_none=True), spec.target)
    fields["search"] = tag(fields.get("search", {}), spec.search)
    return fields


def _read(path: Path) -> Preset:
    spec = anchored(read_checked(path, RunSpec), path.parent)
    shipped_dir = paths.shipped_presets_dir()
    shipped = path.parent == shipped_dir
    replaces_shipped = path.parent == paths.user_presets_dir() and (shipped_dir / path.name).is_file()
    return Preset(path.stem, path, spec.model_copy(update={"preset": path.stem}), shipped, replaces_shipped)


def _set_value(fields: dict[str, Any], path: list[str], text: str) -> None:
    """Set a field to a text parsed as TOML, or to the text itself if the field accepts strings only."""
    try:
        value = parse_toml(f"value = {text}")
    except ValueError:
        value = {}
    if len(value) != 1:  # no TOML, or further lines, which are not part of the value
        _set(fields, path, text)
        return
    _set(fields, path, value["value"])
    if _is_wrong(fields, path) and not isinstance(value["value"], dict | list):
        as_toml = value["value"]
        _set(fields, path, text)
        if _is_wrong(fields, path):
            _set(fields, path, as_toml)  # its error message is the more useful one


def _is_wrong(fields: dict[str, Any], path: list[str]) -> bool:
    """Whether a field's value is invalid; errors of other fields are ignored."""
    try:
        RunSpec.model_validate(fields)
    except ValidationError as error:
        return any([part for part in location_of(one, fields) if part] == path for one in error.errors())
    return False


def _set(fields: dict[str, Any], path: list[str], value: Any) -> None:
    for key in path[:-1]:
        fields = fields.setdefault(key, {})
        if not isinstance(fields, dict):
            raise UsageError(f"{'.'.join(path)}: {key} is a value and has no fields")
    fields[path[-1]] = value
