"""Prompts in files: a run's best one, an adapter's, or a file of their kinds."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from distprompt_tui.errors import UsageError
from distprompt_tui.files import read_json, read_whole, write_atomically

VECTORS = "prompt_embeddings"
"""The name of the one tensor, (n, d) float32, in a run's files and in PEFT's."""

MAX_BYTES = 1 << 28
"""4,096 vectors of a width of 16,384 in float32, the longest prompts of the widest models."""

LARGEST_ID = 1 << 31
"""Far beyond every vocabulary; a tensor of ids still holds it."""

PLACES = ("best/prompt.safetensors", "prompt.safetensors", "adapter_model.safetensors", "best/prompt.json")
"""Where a folder, of a run or of an adapter, keeps its prompt."""


def write_vectors(path: Path, vectors: NDArray[np.float32]) -> None:
    """Replace a .safetensors file by vectors, (n, d)."""
    data = save({VECTORS: np.ascontiguousarray(vectors)})
    write_atomically(path, lambda file: file.write(data))


def prompt_sha256(prompt: NDArray[np.float32] | list[int]) -> str:
    """SHA-256 of vectors, (n, d), or of ids."""
    data = json.dumps(prompt) if isinstance(prompt, list) else prompt.astype("<f4").tobytes()
    return hashlib.sha256(data.encode() if isinstance(data, str) else data).hexdigest()


def read_prompt(path: Path) -> NDArray[np.float32] | list[int]:
    """The prompt in a run's folder, an adapter's folder, a .safetensors or a prompt.json.

    Returns:
        Vectors, (n, d), or token ids.

    Raises:
        UsageError: there is none.
    """
    file = next((path / place for place in PLACES if (path / place).is_file()), path)
    try:
        found = read_json(file)["ids"] if file.suffix == ".json" else load(read_whole(file, MAX_BYTES))[VECTORS]
    except (UsageError, OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise UsageError(
            f"{path} holds no prompt: a run's folder, an adapter's, a .safetensors or a prompt.json would"
        ) from error
    if isinstance(found, np.ndarray):
        if found.ndim != 2 or not len(found):
            raise UsageError(f"{file}: {VECTORS} has the shape {found.shape}, not (vectors, width)")
        vectors = found.astype(np.float32)
        if not np.isfinite(vectors).all():
            raise UsageError(f"{file}: {VECTORS} has numbers that are infinite or none")
        return vectors
    if not (isinstance(found, list) and found and all(type(i) is int and 0 <= i < LARGEST_ID for i in found)):
        raise UsageError(f"{file}: 'ids' is no list of token ids")
    return found
