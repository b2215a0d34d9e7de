"""SHA-256 of model files, remembered by path, size and time of change, since hashing gigabytes takes seconds."""

from __future__ import annotations

import hashlib
from pathlib import Path

from distprompt_tui import locations
from distprompt_tui.errors import UsageError
from distprompt_tui.files import read_json, write_json


def file_sha256(path: Path) -> str:
    """The file's SHA-256, from memory where size and time of change are as they were.

    Raises:
        OSError: the file cannot be read.
    """
    path = path.resolve()
    stat = path.stat()
    key = f"{path}:{stat.st_size}:{stat.st_mtime_ns}"
    memory = locations.models_dir() / "fingerprints.json"
    known = _read(memory)
    if key not in known:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        memory.parent.mkdir(parents=True, exist_ok=True)
        write_json(memory, _read(memory) | {key: digest})
        return digest
    return known[key]


def weights_sha256(folder: Path) -> str:
    """One SHA-256 for all weight files of a model folder: of their names and digests."""
    digest = hashlib.sha256()
    for file in sorted(folder.glob("*.safetensors")):
        digest.update(f"{file.name} {file_sha256(file)}\n".encode())
    return digest.hexdigest()


def _read(memory: Path) -> dict[str, str]:
    try:
        return {key: digest for key, digest in read_json(memory).items() if isinstance(digest, str)}
    except UsageError:
        return {}
