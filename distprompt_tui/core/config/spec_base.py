"""The base class of all specs, and the field types that several of them have."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from distprompt_tui.core.storage.legacy import with_new_spec_names

SpecToken = Annotated[str | int, Field(union_mode="left_to_right")]
"""A token: a string that is exactly one token (`" banana"`), or an id (`5231`; as a key: `"id:5231"`)."""

Entropy = Annotated[float, Field(ge=0, allow_inf_nan=False, description="nats", examples=[6.0])]

Seed = Annotated[int, Field(ge=0, lt=2**63, description="random seed")]

MAX_COUNT = 2**31 - 1  # maximum of every count: the largest tensor size on every device

Length = Annotated[int, Field(ge=1, le=4096, description="positions of the prompt")]
Count = Annotated[int, Field(ge=1, le=MAX_COUNT)]
CountFromZero = Annotated[int, Field(ge=0, le=MAX_COUNT)]

_SURROGATE = re.compile("[\ud800-\udfff]")

LEGACY_CONTEXT = {"recorded": True}
"""Validation context of recorded runs: fields removed since they were recorded are ignored."""


class StrictModel(BaseModel):
    """Base of all parts of a spec: immutable; rejects unknown fields and values of another type.

    The only conversions are from integer to float and from list to tuple.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    @model_validator(mode="before")
    @classmethod
    def _new_names_and_tuples(cls, fields: Any) -> Any:
        if not isinstance(fields, dict):
            return fields
        fields = with_new_spec_names(fields, cls.model_fields)
        return {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}

    @field_validator("*")
    @classmethod
    def _unicode_text(cls, value: Any) -> Any:
        """Reject unpaired surrogates: they stand for invalid bytes of a command line and cannot be written to files."""
        for text in value if isinstance(value, (tuple, dict)) else (value,):
            if isinstance(text, str) and _SURROGATE.search(text):
                raise ValueError("it is not Unicode text")
        return value
