"""Fields that earlier versions wrote under other names."""

from __future__ import annotations

from typing import Any

NEW_NAMES = {
    "head_limit": "head_optimum",
    "left": "excess",
    "closed": "gap_closed",
    "uniform": "uniform_kl",
    "surprise": "surprisal",
}
"""Today's name of each renamed field of events, results and rows."""

_KEYS = [(f'"{old}":'.encode(), f'"{new}":'.encode()) for old, new in NEW_NAMES.items()]


def rename_fields(data: bytes) -> bytes:
    """JSON with today's names of fields, at any depth. A quotation mark inside a string is escaped: only keys match."""
    for old, new in _KEYS:
        data = data.replace(old, new)
    return data


def with_new_names(fields: dict[str, Any]) -> dict[str, Any]:
    """A JSON object with today's names of its own fields."""
    return {NEW_NAMES.get(name, name): value for name, value in fields.items()}
