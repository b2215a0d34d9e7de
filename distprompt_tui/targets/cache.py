"""Cache of targets on disk by recipe and vocabulary, shared by app, model server, worker and sweeps.

It contains only the slow families that need no model. Errors of reading or writing the cache are ignored.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from pathlib import Path

import numpy as np

from distprompt_tui.core.config import paths
from distprompt_tui.core.config import target_specs as specs
from distprompt_tui.core.errors import UsageError
from distprompt_tui.core.storage.npy import open_row
from distprompt_tui.core.storage.safe_io import read_json, write_array, write_json
from distprompt_tui.models.vocabulary import Vocabulary
from distprompt_tui.targets.entropy import FloatArray
from distprompt_tui.targets.target import Metadata, Target, unique_ids

TARGET_VERSION = 1  # part of every key; incremented when a change of a recipe changes its results

MAX_CACHE_BYTES = 1 << 28
"""Limit of the whole cache: about 100 targets for the largest vocabularies. The oldest are removed first."""


def cache_key(spec: specs.TargetSpec, vocabulary: Vocabulary) -> str | None:
    """Return the SHA-256 of all data that affects a target; None if it is not cached.

    Raises:
        TargetError: the spec contains an unknown token.
    """
    if not vocabulary.digest or not isinstance(spec, specs.Vanilla | specs.Temperature | specs.Outlier | specs.Zipf):
        return None
    named = unique_ids(list(spec.tokens), vocabulary) if isinstance(spec, specs.Outlier) else []
    tokens = [vocabulary.digest, vocabulary.size, sorted(vocabulary.special_ids), named]
    content = json.dumps([TARGET_VERSION, spec.model_dump(mode="json"), tokens], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def recall_target(key: str, family: str, vocab_size: int) -> Target | None:
    """Read a cached target; None if there is none or it is damaged."""
    try:
        fields = read_json(_file(key, "json"))
        stored = open_row(_file(key, "npy"))
        if stored.shape != (vocab_size,) or stored.dtype != np.float64:
            return None
        probabilities = np.array(stored, dtype=np.float64)
        recipe, notes = fields["recipe"], fields["notes"]
        if fields != _fields(key, recipe, notes, probabilities):
            return None
    except (OSError, UsageError, ValueError, LookupError):
        return None
    return Target(probabilities, family, recipe, notes)


def keep_target(key: str, target: Target) -> None:
    with suppress(OSError, UsageError, ValueError):
        file = _file(key, "json")
        file.parent.mkdir(parents=True, exist_ok=True)
        write_array(_file(key, "npy"), target.probabilities)
        write_json(file, _fields(key, target.recipe, target.notes, target.probabilities))
        _remove_oldest(file.parent)


def _fields(key: str, recipe: str, notes: Metadata, probabilities: FloatArray) -> dict[str, object]:
    digest = hashlib.sha256(json.dumps([key, recipe, notes], sort_keys=True).encode())
    digest.update(probabilities.tobytes())
    return {"recipe": recipe, "notes": notes, "sha256": digest.hexdigest()}


def _remove_oldest(folder: Path) -> None:
    stats = {path: path.stat() for path in folder.glob("*.npy")}
    total = sum(stat.st_size for stat in stats.values())
    for path in sorted(stats, key=lambda path: stats[path].st_mtime_ns):
        if total <= MAX_CACHE_BYTES:
            return
        path.unlink()
        path.with_suffix(".json").unlink(missing_ok=True)
        total -= stats[path].st_size


def _file(key: str, suffix: str) -> Path:
    return paths.targets_dir() / f"{key}.{suffix}"
