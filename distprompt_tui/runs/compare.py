"""Compare the specs of several runs field by field."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

_WORDS = frozenset({"title", "description"})  # without effect on a run

_TASK = ("target", "model", "context")


def spec_differences(specs: Sequence[dict[str, Any]]) -> dict[str, list[str | None]]:
    """Return the fields in which specs differ.

    Args:
        specs: plain values, with all defaults.

    Returns:
        For each field, in the order of the specs, its value in each spec as text; None if a spec lacks the field.
    """
    flat = [dict(_fields(spec)) for spec in specs]
    names = dict.fromkeys(name for fields in flat for name in fields)
    table = {name: [fields.get(name) for fields in flat] for name in names if name not in _WORDS}
    return {name: values for name, values in table.items() if len(set(values)) > 1}


def have_same_task(spec: dict[str, Any], other: dict[str, Any]) -> bool:
    """Return whether two specs, as plain values, have the same target, model and context."""
    return all(spec.get(part) == other.get(part) for part in _TASK)


def _fields(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        name = prefix + (key if re.fullmatch(r"[\w-]+", key) else json.dumps(key, ensure_ascii=False))
        if isinstance(value, dict):
            yield from _fields(value, f"{name}.")
        else:
            yield name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
