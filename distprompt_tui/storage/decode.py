"""Types of the fields of JSON that another program may have written, for structs and dataclasses that msgspec decodes.

A field outside its type's range is an error, so that later arithmetic stays finite.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeVar

from msgspec import Meta, convert
from msgspec.json import Decoder

from distprompt_tui.storage.legacy import rename_fields

T = TypeVar("T")

LARGEST = 2**53
"""Integers up to here are exact in float64, and no measured value comes near."""

ROUNDING = 1e-6
"""Tolerance of a probability that was summed in float32."""

Finite = Annotated[float, Meta(ge=-LARGEST, le=LARGEST)]
NonNegative = Annotated[float, Meta(ge=0, le=LARGEST)]
Probability = Annotated[float, Meta(ge=0, le=1 + ROUNDING)]
Count = Annotated[int, Meta(ge=0, le=LARGEST)]


def read_field(kind: Any, fields: Mapping[str, Any], name: str) -> Any:
    """A field of a type such as `str` or `Count`; None where it is missing or of another type."""
    try:
        return convert(fields.get(name), kind)
    except ValueError:
        return None


def decoder_of(kind: type[T]) -> Callable[[bytes], T]:
    """A function that decodes a JSON object, under today's or earlier names, into a struct or dataclass.

    It raises ValueError where the JSON is damaged, or a field is missing or invalid. Unknown fields are ignored.
    """
    decode = Decoder(kind).decode
    return lambda data: decode(rename_fields(data))
