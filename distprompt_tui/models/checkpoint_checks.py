"""Checks of an untrusted model folder: reject everything that would execute code."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from distprompt_tui.core.errors import ModelError, UsageError, first_line
from distprompt_tui.core.storage.safe_io import found_in, read_json

MAX_ROWS = 1 << 24  # largest number of rows of a model's head, sixty times the largest known vocabularies

VOCABULARY_TENSORS = (
    "lm_head.weight",
    "embed_out.weight",
    "embed_tokens.weight",
    "wte.weight",
    "word_embeddings.weight",
)
"""Suffixes of the tensor names of output layers, then of embeddings."""

_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")

_IMPLEMENTATIONS = ("attn_implementation", "_attn_implementation", "experts_implementation")
"""Config fields in which a value `owner/name` makes transformers fetch compiled code from the hub."""


def check_folder(folder: Path) -> None:
    """Check that a folder can be loaded without executing code.

    Raises:
        ModelError: config, safetensors or tokenizer are missing or damaged, or loading would execute code.
    """
    if not os.access(folder, os.R_OK | os.X_OK):
        raise ModelError(f"{folder} cannot be read: Permission denied")
    if (folder / "adapter_config.json").is_file():
        base = _read(folder / "adapter_config.json").get("base_model_name_or_path")
        of = f" of {base}" if isinstance(base, str) and base else ""
        raise ModelError(f"{folder} is a PEFT adapter{of}; adapters are not supported, use the base model")
    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder} is not a model folder: it has no config.json{_what_else(folder)}")
    if not any(folder.glob("*.safetensors")):
        pickles = [path.name for pattern in _PICKLES for path in folder.glob(pattern)]
        raise ModelError(
            f"{folder} has no *.safetensors: "
            + (f"{pickles[0]} can contain code and is not loaded; " if pickles else "")
            + "convert the weights to safetensors or GGUF"
        )
    if not (folder / "tokenizer.json").is_file():
        raise ModelError(f"{folder} has no tokenizer.json: a fast tokenizer is needed")
    for table in _tables(_read(folder / "config.json")):
        if any("/" in str(table.get(name)) for name in _IMPLEMENTATIONS):
            raise ModelError(f"{folder / 'config.json'} requests code from the hub, which is never run")
    for index in folder.glob("*.index.json"):
        _check_index(index)


def _what_else(folder: Path) -> str:
    """Return a hint at a model inside the folder, as the end of a sentence."""
    if ggufs := [path for path in found_in(folder, "*") if path.suffix.lower() == ".gguf"]:
        return f"; name the GGUF file in it: {ggufs[0]}"
    inner = next((path.parent for path in found_in(folder, "snapshots/*/config.json")), None)
    inner = inner or next((path.parent for path in found_in(folder, "*/config.json")), None)
    return f"; {inner} has one" if inner is not None else ""


def custom_code_type(folder: Path) -> str | None:
    """Return the model's type if its config refers to custom code, else None."""
    config = _read(folder / "config.json")
    return str(config.get("model_type")) if "auto_map" in config else None


def head_rows(folder: Path) -> int:
    """Return V, the number of rows of a prepared model's head, from the config or, if missing there, from the weights.

    Raises:
        ModelError: config and weights do not give a valid number.
    """
    config = _read(folder / "config.json")
    text_config = config.get("text_config")
    rows = config.get("vocab_size") or (text_config.get("vocab_size") if isinstance(text_config, dict) else None)
    if rows is None:  # transformers leaves out values that are the default of the model's type
        rows = _stored_rows(folder)
    if type(rows) is not int or not 0 < rows <= MAX_ROWS:
        raise ModelError(f"{folder / 'config.json'} has no valid vocab_size")
    return rows


def _stored_rows(folder: Path) -> int | None:
    """Return the rows of the output layer, or of the embedding if the two are tied, from the file headers."""
    found = {name: shape[0] for name, shape in stored_shapes(folder).items() if shape}
    return next((rows for end in VOCABULARY_TENSORS for name, rows in found.items() if name.endswith(end)), None)


def stored_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Read the names and shapes of a model's tensors from the file headers.

    Raises:
        ModelError: a file cannot be read.
    """
    from safetensors import SafetensorError, safe_open

    found: dict[str, tuple[int, ...]] = {}
    for file in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(file, "numpy") as tensors:
                for name in tensors.keys():  # noqa: SIM118 (not a dictionary)
                    found[name] = tuple(tensors.get_slice(name).get_shape())
        except (OSError, SafetensorError) as error:
            raise ModelError(f"{file} cannot be read: {first_line(error)}") from error
    return found


def _check_index(index: Path) -> None:
    """Check that all shards of an index are safetensors files in the same folder."""
    shards = _read(index).get("weight_map")
    for name in shards.values() if isinstance(shards, dict) else [None]:
        if not isinstance(name, str) or "/" in name or not name.endswith(".safetensors"):
            raise ModelError(f"{index}: {name!r} is not a *.safetensors file in the same folder")


def _tables(config: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a config and all nested configs."""
    yield config
    for value in config.values():
        if isinstance(value, dict):
            yield from _tables(value)


def _read(path: Path) -> dict[str, Any]:
    try:
        return read_json(path)
    except UsageError as error:
        raise ModelError(str(error)) from error
