"""Random models whose embeddings and output layer take most of their memory, as in real models of small size."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from tests.tiny_models import byte_level_tokenizer


@dataclass(frozen=True)
class Shape:
    """Sizes of a Llama; there are more rows than tokens."""

    rows: int
    hidden: int
    layers: int
    tied: bool


def write_wide_model(shape: Shape, folder: Path) -> Path:
    """Write config, random weights in bfloat16 and a trained tokenizer into a folder."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=shape.rows,
        hidden_size=shape.hidden,
        intermediate_size=2 * shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        initializer_range=0.2,
        tie_word_embeddings=shape.tied,
        bos_token_id=0,
        eos_token_id=0,
    )
    AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).save_pretrained(folder)
    byte_level_tokenizer().save_pretrained(folder)
    return folder
