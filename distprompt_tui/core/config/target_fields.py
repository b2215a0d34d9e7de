"""The fields of the target families, derived from the types of the spec. Forms are made from them."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from functools import cache
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from distprompt_tui.core.config.target_specs import TargetSpec

Kind = Literal["number", "integer", "text", "token", "choice", "entry", "group", "target"]
"""Type of a field. "entry": a token and its probability; "group": a table of fields; "target": a target of any family.
"""


@dataclass(frozen=True)
class TargetField:
    """A field of a target family.

    Attributes:
        many: it is a list of values of this kind.
        required: it has no default.
        default: None if there is none.
        example: a usual value; None if there is none.
        choices: the values of a "choice".
        group: the class with the fields of a "group".
    """

    name: str
    kind: Kind
    many: bool
    required: bool
    default: object
    description: str
    example: object = None
    choices: tuple[str, ...] = ()
    group: type[BaseModel] | None = None


@cache
def families() -> dict[str, type[BaseModel]]:
    """Return the class of each target family, in the order of the spec."""
    union = get_args(TargetSpec)[0]
    return {kind.model_fields["family"].default: kind for kind in get_args(union)}


def family_summary(family: str) -> str:
    """Return the first paragraph of a family's description."""
    text = inspect.cleandoc(families()[family].__doc__ or "").partition("\n\n")[0]
    return " ".join(text.replace("`", "").split())


@cache
def fields_of(model: type[BaseModel]) -> tuple[TargetField, ...]:
    """Return the fields of a family or of a group, without the family's name."""
    return tuple(_field(name, info) for name, info in model.model_fields.items() if name != "family")


def _field(name: str, info: FieldInfo) -> TargetField:
    annotation = _bare(info.annotation)
    many = get_origin(annotation) in (tuple, dict)
    item = _bare(get_args(annotation)[0]) if get_origin(annotation) is tuple else annotation
    kind = _kind(item)
    default = None if info.default is PydanticUndefined or many else info.default
    return TargetField(
        name=name,
        kind=kind,
        many=many,
        required=info.is_required(),
        default=default,
        description=info.description or "",
        example=info.examples[0] if info.examples else None,
        choices=get_args(item) if kind == "choice" else (),
        group=item if kind == "group" else None,
    )


def _bare(annotation: Any) -> Any:
    """Remove `Annotated` and `None` from a type."""
    while True:
        if get_origin(annotation) is Annotated:
            annotation = get_args(annotation)[0]
        elif get_origin(annotation) in (Union, UnionType) and type(None) in get_args(annotation):
            (annotation,) = (part for part in get_args(annotation) if part is not type(None))
        else:
            return annotation


def _kind(annotation: Any) -> Kind:
    simple: dict[Any, Kind] = {float: "number", int: "integer", str: "text"}
    if annotation in simple:
        return simple[annotation]
    if get_origin(annotation) is Literal:
        return "choice"
    if get_origin(annotation) is dict:
        return "entry"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "group"
    return "token" if set(get_args(annotation)) == {str, int} else "target"
