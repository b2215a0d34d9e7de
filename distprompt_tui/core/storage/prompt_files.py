"""Prompt files: the best prompt of a run, a prompt-tuning adapter, or a single file in one of these formats."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, deserialize
from safetensors.numpy import save

from distprompt_tui.core.errors import UsageError, first_line
from distprompt_tui.core.storage.safe_io import read_json, read_limited, write_atomically

VECTORS = "prompt_embeddings"  # name of the only tensor, (n, d) float32, in files of runs and of PEFT

MAX_BYTES = 1 << 28  # 4,096 vectors of width 16,384 in float32: the longest prompts of the widest models

LARGEST_ID = 1 << 31  # far above every vocabulary size, and within the range of a tensor of ids

_NUMPY_DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2"}  # supported dtypes by their names in safetensors

_PICKLED = ("adapter_model.bin", "pytorch_model.bin")

PLACES = ("best/prompt.safetensors", "prompt.safetensors", "adapter_model.safetensors", "best/prompt.json")
"""Possible paths of the prompt in the folder of a run or adapter."""


def write_vectors(path: Path, vectors: NDArray[np.float32]) -> None:
    data = save({VECTORS: np.ascontiguousarray(vectors)})
    write_atomically(path, lambda file: file.write(data))


def prompt_sha256(prompt: NDArray[np.float32] | list[int]) -> str:
    data = json.dumps(prompt) if isinstance(prompt, list) else prompt.astype("<f4").tobytes()
    return hashlib.sha256(data.encode() if isinstance(data, str) else data).hexdigest()


def read_prompt(path: Path) -> NDArray[np.float32] | list[int]:
    """Read vectors, (n, d), or token ids from a run directory, an adapter's folder, a .safetensors or a prompt.json.

    Raises:
        UsageError: there is no valid prompt.
    """
    try:
        file = next((path / place for place in PLACES if (path / place).is_file()), path)
        found = read_json(file)["ids"] if file.suffix == ".json" else _read_vectors(file)
    except (UsageError, OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise UsageError(
            f"{path} contains no prompt{_why(path, error)}: give a run directory, an adapter's folder, a .safetensors "
            "file or a prompt.json"
        ) from error
    if isinstance(found, np.ndarray):
        if found.ndim != 2 or not found.size:
            raise UsageError(f"{file}: {VECTORS} has shape {found.shape}, not (vectors, width)")
        with np.errstate(over="ignore"):
            vectors = found.astype(np.float32)
        if not np.isfinite(vectors).all():
            raise UsageError(f"{file}: {VECTORS} has values that are not finite")
        return vectors
    if not (isinstance(found, list) and found and all(type(i) is int and 0 <= i < LARGEST_ID for i in found)):
        raise UsageError(f"{file}: 'ids' is not a list of token ids")
    return found


def _read_vectors(file: Path) -> NDArray[np.generic]:
    """Read the tensor of a .safetensors file, of any floating dtype wider than a byte."""
    tensors = dict(deserialize(read_limited(file, MAX_BYTES)))
    if VECTORS not in tensors:
        raise ValueError(f"no tensor {VECTORS}")
    dtype, shape, data = (tensors[VECTORS][name] for name in ("dtype", "shape", "data"))
    if dtype == "BF16":  # not in numpy: the upper half of float32
        return (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4").reshape(shape)
    if dtype not in _NUMPY_DTYPES:
        raise ValueError(f"{VECTORS} has dtype {dtype}, not a floating-point dtype")
    return np.frombuffer(data, _NUMPY_DTYPES[dtype]).reshape(shape)


def _why(path: Path, error: Exception) -> str:
    """Return the reason why a prompt cannot be read, in brackets; empty if it is unknown."""
    with suppress(OSError, ValueError):  # invalid paths
        if path.suffix in (".bin", ".pt") or any((path / name).is_file() for name in _PICKLED):
            return " (.bin files can contain code and are not read: save it as .safetensors)"
    return f" ({first_line(error)})" if type(error) is ValueError else ""
