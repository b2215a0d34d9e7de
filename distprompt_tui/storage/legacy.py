"""Fields that earlier versions wrote under other names."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

NEW_NAMES = {
    "head_limit": "head_optimum",
    "left": "excess",
    "closed": "gap_closed",
    "uniform": "uniform_kl",
    "surprise": "surprisal",
    "gained": "improvement",
    "use": "utilization",
    "drift": "median_distance",
    "fluency": "fluency_weight",
    "shortening_positions": "pruning_positions",
}
"""Today's name of each renamed field of events, results and rows."""

SPEC_NAMES = {
    "masses": "probabilities",
    "bank": "initial_pool",
    "fluency": "fluency_weight",
    "kick": "perturbation",
    "screen": "draft",
    "shorten": "prune",
}
"""Today's name of each renamed field of specs, presets and sweeps; of `init`, also of its value."""

SETTING_VALUES = {"share": "contribution"}
"""Today's name of each renamed value of a setting."""

_OLD_SPEC_NAMES = {new: old for old, new in SPEC_NAMES.items()}

_KEYS = [(f'"{old}":'.encode(), f'"{new}":'.encode()) for old, new in NEW_NAMES.items()]


def rename_fields(data: bytes) -> bytes:
    """JSON with today's names of fields, at any depth. A quotation mark inside a string is escaped: only keys match."""
    for old, new in _KEYS:
        data = data.replace(old, new)
    return data


def with_new_names(fields: dict[str, Any]) -> dict[str, Any]:
    """A JSON object with today's names of its own fields."""
    return {NEW_NAMES.get(name, name): value for name, value in fields.items()}


def with_new_spec_names(fields: dict[str, Any], known: Container[str]) -> dict[str, Any]:
    """The fields of one table of a spec under today's names, where `known` has them."""
    renamed = {new if (new := SPEC_NAMES.get(name, name)) in known else name: value for name, value in fields.items()}
    if renamed.get("init") == "bank":
        renamed["init"] = SPEC_NAMES["bank"]
    return renamed


def with_old_spec_names(fields: dict[str, Any]) -> dict[str, Any]:
    """A spec's fields, at any depth, under the names that digests of specs are made from: these never change."""
    old: dict[str, Any] = {}
    for name, value in fields.items():
        if name == "init":
            value = _OLD_SPEC_NAMES.get(value, value)
        elif isinstance(value, dict) and name != "probabilities":  # the names in it are tokens
            value = with_old_spec_names(value)
        elif isinstance(value, list):
            value = [with_old_spec_names(item) if isinstance(item, dict) else item for item in value]
        old[_OLD_SPEC_NAMES.get(name, name)] = value
    return old
