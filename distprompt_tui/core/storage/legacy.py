"""Field names of earlier versions."""

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
"""Current names of renamed fields of events, results and rows."""

SPEC_NAMES = {
    "masses": "probabilities",
    "bank": "initial_pool",
    "fluency": "fluency_weight",
    "kick": "perturbation",
    "screen": "draft",
    "shorten": "prune",
}
"""Current names of renamed fields of specs, presets and sweeps; "bank" is also a renamed value of `init`."""

ADDED_SPEC_FIELDS = {"chains": "auto", "exchange": True, "compile": False}
"""Defaults of fields of specs that version 0.1 did not have."""

AUTO_WIDTH = 24  # default of `width` in version 0.1, now "auto"

SETTING_VALUES = {"mass": "probability", "share": "contribution"}  # current names of renamed values of settings

_OLD_SPEC_NAMES = {new: old for old, new in SPEC_NAMES.items()}

_KEYS = [(f'"{old}":'.encode(), f'"{new}":'.encode()) for old, new in NEW_NAMES.items()]


def rename_fields(data: bytes) -> bytes:
    """Rename the fields of JSON at any depth. Quotation marks in strings are escaped, so only keys match."""
    for old, new in _KEYS:
        data = data.replace(old, new)
    return data


def with_new_names(fields: dict[str, Any]) -> dict[str, Any]:
    return {NEW_NAMES.get(name, name): value for name, value in fields.items()}


def with_new_spec_names(fields: dict[str, Any], known: Container[str]) -> dict[str, Any]:
    """Rename the top-level fields of a table of a spec if `known` contains the new name."""
    renamed = {new if (new := SPEC_NAMES.get(name, name)) in known else name: value for name, value in fields.items()}
    if renamed.get("init") == "bank":
        renamed["init"] = SPEC_NAMES["bank"]
    return renamed


def with_old_spec_names(fields: dict[str, Any]) -> dict[str, Any]:
    """Give a spec's fields, at any depth, their first names; digests of specs use these and so never change.

    Fields that were added later are left out if they have their default.
    """
    old: dict[str, Any] = {}
    for name, value in fields.items():
        if name in ADDED_SPEC_FIELDS and value == ADDED_SPEC_FIELDS[name]:
            continue
        if name == "width" and value == "auto":
            value = AUTO_WIDTH
        elif name == "init":
            value = _OLD_SPEC_NAMES.get(value, value)
        elif isinstance(value, dict) and name != "probabilities":  # its keys are tokens
            value = with_old_spec_names(value)
        elif isinstance(value, list):
            value = [with_old_spec_names(item) if isinstance(item, dict) else item for item in value]
        old[_OLD_SPEC_NAMES.get(name, name)] = value
    return old
