"""Field types for msgspec structs and dataclasses that are decoded from untrusted JSON.

Their ranges keep later arithmetic finite; a value outside is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeVar

from msgspec import Meta, convert
from msgspec.json import Decoder

from distprompt_tui.core.storage.legacy import rename_fields

T = TypeVar("T")

LARGEST = 2**53  # largest integer up to which float64 is exact; far above every measured value

ROUNDING = 1e-6  # tolerance of probabilities summed in float32

Finite = Annotated[float, Meta(ge=-LARGEST, le=LARGEST)]
NonNegative = Annotated[float, Meta(ge=0, le=LARGEST)]
Probability = Annotated[float, Meta(ge=0, le=1 + ROUNDING)]
Count = Annotated[int, Meta(ge=0, le=LARGEST)]


def read_field(kind: Any, fields: Mapping[str, Any], name: str) -> Any:
    """Return a field of a type such as `str` or `Count`; None if it is missing or of another type."""
    try:
        return convert(fields.get(name), kind)
    except ValueError:
        return None


def decoder_of(kind: type[T]) -> Callable[[bytes], T]:
    """Return a function that decodes a JSON object, with current or earlier field names, into a struct or dataclass.

    It raises ValueError if the JSON is damaged or a field is missing or invalid. It ignores unknown fields.
    """
    decode = Decoder(kind).decode
    return lambda data: decode(rename_fields(data))
