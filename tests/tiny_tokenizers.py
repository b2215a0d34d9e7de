"""Copies of tiny models whose tokenizers add what those of real models add: BOS, EOS, a space before a text."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.tiny_models import sentencepiece_like, write_tiny_model

SPACE_FIRST: dict[str, dict[str, Any]] = {
    "Prepend": {
        "pre_tokenizer": None,
        "normalizer": {
            "type": "Sequence",
            "normalizers": [
                {"type": "Prepend", "prepend": "▁"},
                {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
            ],
        },
    },
    "Metaspace, first": {
        "normalizer": None,
        "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": False},
    },
    "Metaspace, always": {
        "normalizer": None,
        "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True},
    },
}
"""Parts of tokenizer.json that put a space before a text, as Llama 2's do."""

_STRIPPED_SPACE = {
    "decoder": {
        "type": "Sequence",
        "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
            {"type": "ByteFallback"},
            {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0},
        ],
    }
}
"""The decoder that takes that space away again."""


def space_first_model(kind: str, root: Path, parts: dict[str, Any] | None = None) -> Path:
    """A tiny Llama whose tokenizer puts a space before a text, in one of the ways of `SPACE_FIRST`."""
    folder = write_tiny_model("llama", root / "plain", sentencepiece_like(in_words=True))
    return with_tokenizer(folder, root / "space-first", SPACE_FIRST[kind] | _STRIPPED_SPACE | (parts or {}))


def adding(before: bool, after: bool, token: str = "<|end|>", token_id: int = 0) -> dict[str, Any]:
    """A post-processor that puts a token before or after a text, or both."""
    special = {"SpecialToken": {"id": token, "type_id": 0}}
    single = [special] * before + [{"Sequence": {"id": "A", "type_id": 0}}] + [special] * after
    return {
        "post_processor": {
            "type": "TemplateProcessing",
            "single": single,
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {token: {"id": token, "ids": [token_id], "tokens": [token]}},
        }
    }


def with_tokenizer(folder: Path, copy: Path, parts: dict[str, Any], config: dict[str, Any] | None = None) -> Path:
    """A copy of a model's folder with parts of its tokenizer.json and tokenizer_config.json replaced."""
    shutil.copytree(folder, copy)
    _change(copy / "tokenizer.json", lambda fields: fields | parts)
    _change(copy / "tokenizer_config.json", lambda fields: fields | (config or {}))
    return copy


def _change(file: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    file.write_text(json.dumps(change(json.loads(file.read_text()))))
