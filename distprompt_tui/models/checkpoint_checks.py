"""A model's folder, which may come from anybody: its files are data, and what would make code of them is refused."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from distprompt_tui.errors import ModelError, UsageError, first_line
from distprompt_tui.storage.safe_io import found_in, read_json

MAX_ROWS = 1 << 24
"""Of a model's head; the largest vocabularies have a sixtieth of it."""

_ROWS_OF = ("lm_head.weight", "embed_out.weight", "embed_tokens.weight", "wte.weight", "word_embeddings.weight")
"""How the names of output layers and, after them, of embeddings end."""

_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")

_IMPLEMENTATIONS = ("attn_implementation", "_attn_implementation", "experts_implementation")
"""Fields of a config in which `owner/name` makes transformers fetch compiled code from the hub."""


def check_folder(folder: Path) -> None:
    """Refuse a folder that cannot be loaded, or in which more than data is asked for.

    Raises:
        ModelError: config, safetensors or tokenizer are missing or damaged, or code would have to be run.
    """
    if not os.access(folder, os.R_OK | os.X_OK):
        raise ModelError(f"{folder} cannot be read: Permission denied")
    if (folder / "adapter_config.json").is_file():
        base = _read(folder / "adapter_config.json").get("base_model_name_or_path")
        of = f" of {base}" if isinstance(base, str) and base else ""
        raise ModelError(f"{folder} holds a peft adapter{of}, which is not loaded: name the model alone")
    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder} is no model folder: it has no config.json{_what_else(folder)}")
    if not any(folder.glob("*.safetensors")):
        pickles = [path.name for pattern in _PICKLES for path in folder.glob(pattern)]
        raise ModelError(
            f"{folder} has no *.safetensors: "
            + (f"{pickles[0]} can hold code and is not loaded, " if pickles else "weights in other formats are not, ")
            + "convert the weights to safetensors or GGUF first"
        )
    if not (folder / "tokenizer.json").is_file():
        raise ModelError(f"{folder} has no tokenizer.json: a fast tokenizer is needed")
    for table in _tables(_read(folder / "config.json")):
        if any("/" in str(table.get(name)) for name in _IMPLEMENTATIONS):
            raise ModelError(f"{folder / 'config.json'} asks for code from the hub: foreign code is never run")
    for index in folder.glob("*.index.json"):
        _check_index(index)


def _what_else(folder: Path) -> str:
    """Half a sentence: which path a person may have meant by a folder that holds no model itself."""
    if ggufs := [path for path in found_in(folder, "*") if path.suffix.lower() == ".gguf"]:
        return f"; name the GGUF file in it: {ggufs[0]}"
    inner = next((path.parent for path in found_in(folder, "snapshots/*/config.json")), None)
    inner = inner or next((path.parent for path in found_in(folder, "*/config.json")), None)
    return f"; {inner} has one" if inner is not None else ""


def custom_code_type(folder: Path) -> str | None:
    """The model's type where its config names code that comes with it; None where it needs none."""
    config = _read(folder / "config.json")
    return str(config.get("model_type")) if "auto_map" in config else None


def head_rows(folder: Path) -> int:
    """V, the rows of a prepared model's head: by its config, or by its weights where the config leaves it out, as
    transformers does with what is the default of a model's type.

    Raises:
        ModelError: neither tells.
    """
    config = _read(folder / "config.json")
    text_config = config.get("text_config")
    rows = config.get("vocab_size") or (text_config.get("vocab_size") if isinstance(text_config, dict) else None)
    if rows is None:
        rows = _stored_rows(folder)
    if type(rows) is not int or not 0 < rows <= MAX_ROWS:
        raise ModelError(f"{folder / 'config.json'} does not give a vocab_size")
    return rows


def _stored_rows(folder: Path) -> int | None:
    """Rows of the output layer, or of the embedding where the two share their weights, from the files' headers."""
    from safetensors import SafetensorError, safe_open

    found: dict[str, int] = {}
    for file in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(file, "numpy") as tensors:
                for name in tensors.keys():  # noqa: SIM118 (it is no dictionary)
                    if name.endswith(_ROWS_OF):
                        found[name] = tensors.get_slice(name).get_shape()[0]
        except (OSError, SafetensorError) as error:
            raise ModelError(f"{file} cannot be read: {first_line(error)}") from error
    return next((rows for end in _ROWS_OF for name, rows in found.items() if name.endswith(end)), None)


def _check_index(index: Path) -> None:
    """Weights in several files: each a safetensors of this folder."""
    shards = _read(index).get("weight_map")
    for name in shards.values() if isinstance(shards, dict) else [None]:
        if not isinstance(name, str) or "/" in name or not name.endswith(".safetensors"):
            raise ModelError(f"{index} names {name!r}, which is no *.safetensors beside it")


def _tables(config: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A config and the configs in it."""
    yield config
    for value in config.values():
        if isinstance(value, dict):
            yield from _tables(value)


def _read(path: Path) -> dict[str, Any]:
    try:
        return read_json(path)
    except UsageError as error:
        raise ModelError(str(error)) from error
