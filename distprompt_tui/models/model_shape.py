"""Sizes of a model from its config and file headers. Imports no torch, because the start screen uses it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from distprompt_tui.core.errors import UsageError
from distprompt_tui.core.storage.safe_io import read_json
from distprompt_tui.models.checkpoint_checks import VOCABULARY_TENSORS, head_rows, stored_shapes


@dataclass(frozen=True)
class ModelShape:
    """Sizes that determine a model's memory.

    Attributes:
        parameters: number of stored values; a weight that is tied to another one counts once.
        vocab_size: V.
        hidden_size: d.
        layers: number of blocks.
        kv_size: values of keys and values of one position in one block.
        intermediate_size: width of the feed-forward layers.
        is_tied: whether embeddings and output layer are one weight.
    """

    parameters: int
    vocab_size: int
    hidden_size: int
    layers: int
    kv_size: int
    intermediate_size: int
    is_tied: bool


@cache
def read_shape(folder: Path) -> ModelShape | None:
    """Return the shape of a prepared model; None if its config does not have the usual fields.

    Raises:
        ModelError: the weights cannot be read.
    """
    try:
        config = read_json(folder / "config.json")
    except UsageError:
        return None
    inner = config.get("text_config")
    fields = config | inner if isinstance(inner, dict) else config
    hidden, layers = _first(fields, "hidden_size", "n_embd"), _first(fields, "num_hidden_layers", "n_layer")
    heads = _first(fields, "num_attention_heads", "n_head")
    if not (hidden and layers and heads):
        return None
    stored = stored_shapes(folder)
    ends = [name for name in stored if name.endswith(VOCABULARY_TENSORS)]
    return ModelShape(
        parameters=sum(map(math.prod, stored.values())),
        vocab_size=head_rows(folder),
        hidden_size=hidden,
        layers=layers,
        kv_size=2 * (_first(fields, "num_key_value_heads") or heads) * (_first(fields, "head_dim") or hidden // heads),
        intermediate_size=_first(fields, "intermediate_size", "n_inner") or 4 * hidden,
        is_tied=len(ends) < 2,
    )


def _first(fields: dict[str, Any], *names: str) -> int:
    """Return the first of the fields that is a positive number, else 0."""
    return next((value for name in names if type(value := fields.get(name)) is int and value > 0), 0)
