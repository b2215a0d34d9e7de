"""Fields of events and other tables. A reader trusts none: each is what is asked for, or a `ValueError`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields as fields_of
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    Record = TypeVar("Record", bound=DataclassInstance)

T = TypeVar("T")

LARGEST = 2**53
"""Whole numbers up to here are exact in float64. Nothing that is measured comes near, and arithmetic stays finite."""

ROUNDING = 1e-6
"""A distribution may come from float32."""


def number(value: Any) -> float:
    """A finite number."""
    if type(value) not in (int, float) or not -LARGEST <= value <= LARGEST:
        raise ValueError("not a finite number")
    return value  # type: ignore[no-any-return]


def positive(value: Any) -> float:
    """A finite number that is not negative, such as a length of time."""
    if number(value) < 0:
        raise ValueError("negative")
    return value  # type: ignore[no-any-return]


def probability(value: Any) -> float:
    """A number from 0 to 1, or above by what rounding makes of a sum."""
    if positive(value) > 1 + ROUNDING:
        raise ValueError("larger than 1")
    return value  # type: ignore[no-any-return]


def whole(value: Any) -> int:
    """A whole number from 0, such as a step or a token's id."""
    if type(value) is not int or not 0 <= value <= LARGEST:
        raise ValueError("not a whole number from 0")
    return value


def text(value: Any) -> str:
    """A string; what is invisible in it is still to be made visible."""
    if not isinstance(value, str):
        raise ValueError("not a string")
    return value


def table(value: Any) -> dict[str, Any]:
    """An object."""
    if not isinstance(value, dict):
        raise ValueError("not an object")
    return value


def items(value: Any) -> list[Any]:
    """An array."""
    if not isinstance(value, list):
        raise ValueError("not an array")
    return value


def maybe(read: Callable[[Any], T], value: Any) -> T | None:
    """What `read` makes of a value that may be null."""
    return None if value is None else read(value)


def field(read: Callable[[Any], T], fields: Mapping[str, Any], name: str) -> T | None:
    """A field of a table that may be damaged: None where it is missing or something else."""
    try:
        return maybe(read, fields.get(name))
    except ValueError:
        return None


_READERS: dict[str, Callable[[Any], Any]] = {"str": text, "int": whole, "float": number}


def record(kind: type[Record], values: Mapping[str, Any]) -> Record:
    """A dataclass of strings, whole numbers and numbers, each perhaps None, from a table; more in it is passed over.

    Raises:
        ValueError: a field is missing, or something else than the dataclass says.
    """
    read: dict[str, Any] = {}
    for one in fields_of(kind):
        reader, _, rest = str(one.type).partition(" | ")
        if one.name not in values:
            raise ValueError(f"no {one.name}")
        value = values[one.name]
        read[one.name] = None if value is None and rest else _READERS[reader](value)
    return kind(**read)
