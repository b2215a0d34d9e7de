"""SHA-256 of model files, cached by file size, times and inode, because hashing gigabytes takes seconds."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta

from distprompt_tui.core.config import paths
from distprompt_tui.core.errors import UsageError
from distprompt_tui.core.storage.decode import read_field
from distprompt_tui.core.storage.safe_io import open_regular, parse_json, read_json, read_limited, write_json

SETTLED_SECONDS = 2.0
"""Minimum age of a file whose digest is cached: of two changes within one tick of the file system's clock, the second
is not detectable."""

MAX_CONFIG_BYTES = 1 << 28

_Entry = tuple[int, int, int, int, int, Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]]
"""A remembered file: size, times, inode, device and digest."""

_DECISIVE = (
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "model.safetensors.index.json",
)
"""Files other than weights that affect the model's output or the tokenization."""

_WITHOUT_EFFECT = ("transformers_version", "_name_or_path")
"""Fields of config.json that change whenever the file is saved."""


@dataclass(frozen=True)
class ModelRecord:
    """State of a model's files at one time.

    Attributes:
        folder: the model folder.
        revision: commit on the hub, if the files came from there.
        weights: `weights_sha256`; None if unknown.
        files: SHA-256 by file name, of the weights and the other relevant files; empty if unknown.
    """

    folder: Path
    revision: str | None = None
    weights: str | None = None
    files: Mapping[str, str] = field(default_factory=dict)

    def __hash__(self) -> int:
        return hash((self.folder, self.weights))

    def changed(self, folder: Path) -> list[str]:
        """Return the names of files in `folder` that differ from the record; "weights" if no names are recorded.

        Raises:
            OSError: a file cannot be read.
        """
        if self.files:
            present = files_sha256(folder)
            return [name for name in sorted({*self.files, *present}) if self.files.get(name) != present.get(name)]
        return ["weights"] if self.weights not in (None, weights_sha256(folder)) else []


def record_model(folder: Path) -> ModelRecord:
    """Record the present state of a model folder.

    Raises:
        OSError: a file cannot be read.
    """
    revision = folder.name if folder.parent.name == "snapshots" else None  # the layout of the hub's cache
    files = files_sha256(folder)
    return ModelRecord(folder, revision, _of_weights(files), files)


def files_sha256(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file that affects the model's output, by file name."""
    weights = {file.name: file_sha256(file) for file in folder.glob("*.safetensors")}
    others = [folder / name for name in _DECISIVE]
    return weights | {path.name: _config_sha256(path) for path in others if path.is_file()}


def weights_sha256(folder: Path) -> str:
    """Return one SHA-256 over the names and digests of all weight files of a folder."""
    return _of_weights(files_sha256(folder))


def _of_weights(files: Mapping[str, str]) -> str:
    digest = hashlib.sha256()
    for name, of_file in sorted(files.items()):
        if name.endswith(".safetensors"):
            digest.update(f"{name} {of_file}\n".encode())
    return digest.hexdigest()


def file_sha256(path: Path) -> str:
    """Return the file's SHA-256, from the cache if the file has not changed.

    Raises:
        OSError: the file cannot be read.
    """
    path = path.resolve()
    memory = paths.models_dir() / "fingerprints.json"
    state = _state(path)
    known = _read(memory).get(str(path))
    if known is not None and known[:-1] == state:
        return str(known[-1])
    with open_regular(path) as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    _, _, changed_ns, *_ = state
    if _state(path) == state and time.time() - changed_ns / 1e9 >= SETTLED_SECONDS:
        with suppress(OSError):  # without a cache, the file is hashed again
            memory.parent.mkdir(parents=True, exist_ok=True)
            write_json(memory, _read(memory) | {str(path): [*state, digest]})
    return digest


def _state(path: Path) -> list[int]:
    """Return size, mtime, ctime, inode and device of a file.

    A copy can keep the old modification time, but not the inode's change time.
    """
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino, stat.st_dev]


def _config_sha256(path: Path) -> str:
    """Return the SHA-256 of a JSON file; for config.json, of its content without `_WITHOUT_EFFECT`."""
    if path.name != "config.json":
        return file_sha256(path)
    data = read_limited(path, MAX_CONFIG_BYTES)
    with suppress(ValueError):
        config = parse_json(data.decode())
        if isinstance(config, dict):
            kept = {name: value for name, value in config.items() if name not in _WITHOUT_EFFECT}
            data = json.dumps(kept, sort_keys=True).encode()
    return hashlib.sha256(data).hexdigest()


def _read(memory: Path) -> dict[str, list[Any]]:
    """The remembered files by path; invalid entries are left out."""
    try:
        known = read_json(memory)
    except UsageError:
        return {}
    return {path: entry for path, entry in known.items() if read_field(_Entry, known, path) is not None}
