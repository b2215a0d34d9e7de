"""A target's recipe as typed in the editor: the family's fields as text, and the lines of their form.

A recipe is a tree of texts with the names of the spec's fields: `{"family": "outlier", "entropy": "6.0", "tokens":
(" banana",)}`. Fields of other families may be among them; they are kept for when the user returns to such a family.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

from distprompt_tui.core.config.target_fields import TargetField, families, family_summary, fields_of
from distprompt_tui.core.text.escapes import escape_field, unescape

if TYPE_CHECKING:
    from pydantic import BaseModel

    from distprompt_tui.core.config import target_specs

Recipe: TypeAlias = "dict[str, Value]"
Value: TypeAlias = "str | tuple[Value, ...] | Recipe"
Path: TypeAlias = tuple[str, ...]
"""Path of a value, such as `("parts", "0", "weight")`."""


@dataclass(frozen=True)
class FormLine:
    """A line of the form.

    Attributes:
        path: of its value; for an "add" line, of the list to which it adds.
        kind: a field's kind, "family", or "add".
        item: it is an item of a list of values.
    """

    path: Path
    label: str
    kind: str
    description: str
    placeholder: str = ""
    choices: tuple[str, ...] = ()
    item: bool = False

    @property
    def name(self) -> str:
        """Name of the field in the spec."""
        return self.path[-2] if self.item else self.path[-1]


def recipe_of(target: target_specs.TargetSpec) -> Recipe:
    return _texts_of(type(target), {"family": target.family, **target.model_dump(mode="json", exclude_none=True)})


def started_recipe(recipe: Recipe) -> Recipe:
    """Fill empty fields of the recipe's family with defaults, or with examples where it would be invalid without."""
    model = families()[str(recipe["family"])]
    filled = recipe | {
        field.name: _initial(field) for field in fields_of(model) if not recipe.get(field.name) and _initial(field)
    }
    if target_of(filled)[0] is not None:
        return filled
    optional = [field for field in fields_of(model) if field.example is not None and not filled.get(field.name)]
    attempts = [filled | {field.name: _text_of(field, field.example)} for field in optional]
    return next((attempt for attempt in attempts if target_of(attempt)[0] is not None), filled)


def pruned(recipe: Recipe) -> Recipe:
    """Return only the fields of the recipe's family, without empty ones, to compare recipes."""
    return _pruned(families()[str(recipe["family"])], recipe) if recipe else {}


def lines_of(recipe: Recipe) -> list[FormLine]:
    return list(_lines(recipe, (), 0))


def value_at(recipe: Recipe, path: Path) -> str:
    """Return a text; empty if there is none."""
    value: Any = recipe
    for part in path:
        if isinstance(value, tuple):
            value = value[int(part)] if int(part) < len(value) else ""
        else:
            value = value.get(part, "") if isinstance(value, dict) else ""
    return value if isinstance(value, str) else ""


def with_value(recipe: Recipe, path: Path, text: str) -> Recipe:
    return dict(_replaced(recipe, path, text))


def with_family(recipe: Recipe, path: Path, family: str) -> Recipe:
    """Return a copy with another family at `path`, which ends in "family". Fields of the same names are kept."""
    above = path[:-1]
    return dict(_replaced(recipe, above, started_recipe({**_node(recipe, above), "family": family})))


def with_part(recipe: Recipe, path: Path) -> Recipe:
    """Return a copy with another item in a list of groups; `path` is that of the list."""
    *above, name = path
    node = _node(recipe, tuple(above))
    field = next(field for field in fields_of(families()[str(node["family"])]) if field.name == name)
    parts = node.get(name, ())
    assert isinstance(parts, tuple)
    return dict(_replaced(recipe, path, (*parts, _initial_item(field))))


def without_item(recipe: Recipe, path: Path) -> Recipe:
    """Return a copy without the innermost list item of a path; the same recipe if it is in no list."""
    for depth in range(len(path), 0, -1):
        if path[depth - 1].isdecimal():
            *above, index = path[:depth]
            items: Any = _node(recipe, tuple(above))
            kept = tuple(item for number, item in enumerate(items) if number != int(index))
            return dict(_replaced(recipe, tuple(above), kept))
    return recipe


def target_of(recipe: Recipe) -> tuple[target_specs.TargetSpec | None, dict[Path, str]]:
    """Validate a recipe. Return the target, or None and the spec's errors by path; see `errors_by_field`."""
    from pydantic import ValidationError

    from distprompt_tui.core.config.spec import RunSpec
    from distprompt_tui.core.config.validation import errors_by_field

    fields = {"target": _fields_of(families()[str(recipe["family"])], recipe)}
    try:
        return RunSpec.model_validate(fields).target, {}
    except ValidationError as error:
        found = {path[1:]: text for path, text in errors_by_field(error, fields, RunSpec).items()}
    # An invalid item also makes its list invalid, for another reason.
    return None, {path: text for path, text in found.items() if not any(_is_inside(one, path) for one in found)}


def errors_by_line(lines: list[FormLine], errors: Mapping[Path, str]) -> dict[Path, str]:
    """Assign each error to the path of a line: of its field, or the first line of its table or list."""
    placed: dict[Path, str] = {}
    for path, text in errors.items():
        at = next((line.path for line in lines if line.path == path), None)
        at = at or next((line.path for line in lines if line.path[: len(path)] == path), None)
        at = at or next((line.path for line in lines if line.path[: len(path) - 1] == path[:-1]), lines[0].path)
        placed.setdefault(at, text)
    return placed


def entry_of(written: str) -> tuple[str, str]:
    """Split `token = probability` at the last equals sign; the second part is empty if there is none."""
    token, equals, mass = written.rpartition("=")
    return (token.removesuffix(" "), mass.strip()) if equals else (written, "")


def summary_of_recipe(target: target_specs.TargetSpec) -> str:
    """Return a preset's description: the family and its fields."""
    shown = []
    for name, value in pruned(recipe_of(target)).items():
        texts = [text for text in (value if isinstance(value, tuple) else (value,)) if isinstance(text, str)]
        if texts and name != "family":
            shown.append(f"{name} {', '.join(f'“{text}”' if ' ' in text else text for text in texts)}")
    return f"{target.family}: {', '.join(shown)}." if shown else family_summary(target.family)


def _lines(node: Recipe, path: Path, depth: int) -> Iterator[FormLine]:
    family = str(node["family"])
    indent = " " * depth
    yield FormLine((*path, "family"), f"{indent}family", "family", "", choices=tuple(families()))
    yield from _field_lines(families()[family], node, path, depth)


def _field_lines(model: type[BaseModel], node: Recipe, path: Path, depth: int) -> Iterator[FormLine]:
    indent = " " * depth
    for field in fields_of(model):
        at = (*path, field.name)
        value = node.get(field.name)
        if field.kind == "group" and field.group is not None:
            for index, part in enumerate(value if isinstance(value, tuple) else ()):
                if isinstance(part, dict):
                    yield from _numbered(_field_lines(field.group, part, (*at, str(index)), depth), index)
            yield FormLine(at, "", "add", field.description)
        elif field.kind == "target":
            if isinstance(value, dict):
                yield from _lines(value, at, depth + 1)
        elif field.many:
            items = value if isinstance(value, tuple) else ()
            for index in range(len(items) + 1):  # the last one is empty
                label = "" if index else f"{indent}{field.name}"
                yield FormLine((*at, str(index)), label, field.kind, field.description, item=True)
        else:
            placeholder = _text_of(field, field.default)
            yield FormLine(at, f"{indent}{field.name}", field.kind, field.description, placeholder, field.choices)


def _numbered(lines: Iterator[FormLine], index: int) -> Iterator[FormLine]:
    """Mark the first line of a group with the group's number."""
    first = next(lines)
    yield replace(first, label=f"{index + 1} {first.label}")
    yield from lines


def _texts_of(model: type[BaseModel], values: Mapping[str, Any]) -> Recipe:
    found: Recipe = {"family": values["family"]} if "family" in values else {}
    for field in fields_of(model):
        value = values.get(field.name)
        if field.kind == "entry":
            found[field.name] = tuple(f"{escape_field(token)} = {mass!r}" for token, mass in (value or {}).items())
        elif field.kind == "group" and field.group is not None:
            found[field.name] = tuple(_texts_of(field.group, item) for item in value or ())
        elif field.kind == "target" and value is not None:
            found[field.name] = _texts_of(families()[value["family"]], value)
        elif field.many:
            found[field.name] = tuple(_text_of(field, item) for item in value or ())
        else:
            found[field.name] = _text_of(field, value)
    return found


def _text_of(field: TargetField, value: object) -> str:
    if value is None:
        return ""
    if field.kind == "token" and isinstance(value, int):
        return f"id:{value}"
    return escape_field(value) if isinstance(value, str) else repr(value)


def _initial(field: TargetField) -> Value:
    if field.kind == "group":
        return (_initial_item(field),) if field.required else ()
    if field.kind == "target":
        return started_recipe({"family": next(iter(families()))})
    return "" if field.many else _text_of(field, field.example if field.required else field.default)


def _initial_item(field: TargetField) -> Recipe:
    assert field.group is not None
    return {inner.name: _initial(inner) for inner in fields_of(field.group)}


def _fields_of(model: type[BaseModel], node: Recipe) -> dict[str, Any]:
    """Return the fields as in a TOML file. Texts that are not numbers stay texts, which the spec rejects."""
    found: dict[str, Any] = {"family": node["family"]} if "family" in node else {}
    for field in fields_of(model):
        value: Any = node.get(field.name) or ("" if not field.many else ())
        if field.kind == "entry":
            written = [entry_of(text) for text in value if text]
            found[field.name] = {unescape(token): _number(mass) for token, mass in written}
        elif field.kind == "group" and field.group is not None:
            found[field.name] = [_fields_of(field.group, part) for part in value]
        elif field.kind == "target":
            found[field.name] = _fields_of(families()[value["family"]], value)
        elif field.many:
            found[field.name] = [_parsed(field, text) for text in value if text]
        elif value:
            found[field.name] = _parsed(field, value)
    return {name: value for name, value in found.items() if value != {}}


def _parsed(field: TargetField, text: str) -> object:
    return _number(text) if field.kind in ("number", "integer") else unescape(text)


def _number(text: str) -> int | float | str:
    for parse in (int, float):
        try:
            return parse(text)
        except ValueError:  # also an integer of thousands of digits
            continue
    return text


def _pruned(model: type[BaseModel], node: Recipe) -> Recipe:
    found: Recipe = {"family": node["family"]} if "family" in node else {}
    for field in fields_of(model):
        value: Any = node.get(field.name)
        if field.kind == "group" and field.group is not None:
            value = tuple(_pruned(field.group, part) for part in value or ())
        elif field.kind == "target" and value:
            value = pruned(value)
        elif field.many:
            value = tuple(text for text in value or () if text)
        if value:
            found[field.name] = value
    return found


def _node(recipe: Recipe, path: Path) -> Recipe:
    value: Any = recipe
    for part in path:
        value = value[int(part)] if isinstance(value, tuple) else value[part]
    return value  # type: ignore[no-any-return]


def _replaced(value: Any, path: Path, new: Value) -> Any:
    if not path:
        return new
    name, rest = path[0], path[1:]
    if isinstance(value, tuple):
        items = [*value, ""] if int(name) == len(value) else [*value]
        items[int(name)] = _replaced(items[int(name)], rest, new)
        return tuple(items)
    return {**value, name: _replaced(value.get(name) or (), rest, new)}


def _is_inside(path: Path, outer: Path) -> bool:
    return len(path) > len(outer) and path[: len(outer)] == outer
