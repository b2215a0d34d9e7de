"""Prompts in files: a run's best one, an adapter's, or a file of their kinds."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, deserialize
from safetensors.numpy import save

from distprompt_tui.errors import UsageError, first_line
from distprompt_tui.storage.safe_io import read_json, read_limited, write_atomically

VECTORS = "prompt_embeddings"
"""The name of the one tensor, (n, d) float32, in a run's files and in PEFT's."""

MAX_BYTES = 1 << 28
"""4,096 vectors of a width of 16,384 in float32, the longest prompts of the widest models."""

LARGEST_ID = 1 << 31
"""Far beyond every vocabulary; a tensor of ids still holds it."""

_NUMPY_DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2"}
"""Of the tensor, by safetensors' names."""

_PICKLED = ("adapter_model.bin", "pytorch_model.bin")

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
    try:
        file = next((path / place for place in PLACES if (path / place).is_file()), path)
        found = read_json(file)["ids"] if file.suffix == ".json" else _read_vectors(file)
    except (UsageError, OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise UsageError(
            f"{path} holds no prompt{_why(path, error)}: a run's folder, an adapter's, a .safetensors or a prompt.json "
            "would"
        ) from error
    if isinstance(found, np.ndarray):
        if found.ndim != 2 or not found.size:
            raise UsageError(f"{file}: {VECTORS} has the shape {found.shape}, not (vectors, width)")
        with np.errstate(over="ignore"):
            vectors = found.astype(np.float32)
        if not np.isfinite(vectors).all():
            raise UsageError(f"{file}: {VECTORS} has numbers that are infinite or none")
        return vectors
    if not (isinstance(found, list) and found and all(type(i) is int and 0 <= i < LARGEST_ID for i in found)):
        raise UsageError(f"{file}: 'ids' is no list of token ids")
    return found


def _read_vectors(file: Path) -> NDArray[np.generic]:
    """The one tensor of a .safetensors, of any floating dtype that is wider than a byte.

    Raises:
        OSError: the file cannot be read.
        SafetensorError: it is none.
        ValueError: it holds another tensor.
    """
    tensors = dict(deserialize(read_limited(file, MAX_BYTES)))
    if VECTORS not in tensors:
        raise ValueError(f"it has no tensor {VECTORS}")
    dtype, shape, data = (tensors[VECTORS][name] for name in ("dtype", "shape", "data"))
    if dtype == "BF16":  # which numpy does not have: the upper half of float32
        return (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4").reshape(shape)
    if dtype not in _NUMPY_DTYPES:
        raise ValueError(f"{VECTORS} is of the dtype {dtype}, not of floating numbers")
    return np.frombuffer(data, _NUMPY_DTYPES[dtype]).reshape(shape)


def _why(path: Path, error: Exception) -> str:
    """What of a prompt's file is wrong, in brackets; empty where nothing is known."""
    with suppress(OSError, ValueError):  # a path that can be none
        if path.suffix in (".bin", ".pt") or any((path / name).is_file() for name in _PICKLED):
            return " (a .bin can hold code and is not read: save it as .safetensors)"
    return f" ({first_line(error)})" if type(error) is ValueError else ""
