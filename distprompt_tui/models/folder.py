"""A model's folder, which may come from anybody: its files are data, and what would make code of them is refused."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from distprompt_tui.errors import ModelError, UsageError
from distprompt_tui.files import found_in, read_json

MAX_ROWS = 1 << 24
"""Of a model's head; the largest vocabularies have a sixtieth of it."""

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
    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder} is no model folder: it has no config.json{_what_else(folder)}")
    if (folder / "adapter_config.json").exists():
        raise ModelError(f"{folder} holds an adapter: name the folder of the model alone")
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


def own_code_of(folder: Path) -> str | None:
    """The model's type where its config names code that comes with it; None where it needs none."""
    config = _read(folder / "config.json")
    return str(config.get("model_type")) if "auto_map" in config else None


def head_rows(folder: Path) -> int:
    """V, the rows of a prepared model's head, from its config.

    Raises:
        ModelError: the config does not say.
    """
    config = _read(folder / "config.json")
    text_config = config.get("text_config")
    rows = config.get("vocab_size") or (text_config.get("vocab_size") if isinstance(text_config, dict) else None)
    if type(rows) is not int or not 0 < rows <= MAX_ROWS:
        raise ModelError(f"{folder / 'config.json'} does not give a vocab_size")
    return rows


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
