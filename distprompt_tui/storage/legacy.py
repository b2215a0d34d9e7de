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

_OLD = tuple(f'"{name}":'.encode() for name in NEW_NAMES)


def has_old_names(line: bytes) -> bool:
    """Whether a line of JSON may hold a renamed field; quick."""
    return any(name in line for name in _OLD)


def with_new_names(value: Any) -> Any:
    """A JSON value with today's names of fields, at any depth."""
    match value:
        case dict():
            return {NEW_NAMES.get(name, name): with_new_names(item) for name, item in value.items()}
        case list():
            return [with_new_names(item) for item in value]
        case _:
            return value
