"""Tiny random language models with layers that keep a state in place of keys and values."""

from __future__ import annotations

from typing import Any

import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

from distprompt_tui.models.language_model import LanguageModel
from distprompt_tui.models.vocabulary import Vocabulary
from distprompt_tui.models.wrap import from_hf

_SIZES = {
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
_STATE_SPACE = {"hidden_size": 64, "num_hidden_layers": 2, "state_size": 8}

KINDS: dict[str, dict[str, Any]] = {
    "mamba": _STATE_SPACE,
    "mamba2": _STATE_SPACE | {"num_heads": 8, "head_dim": 16, "n_groups": 1, "chunk_size": 8},
    "falcon_mamba": _STATE_SPACE,
    "jamba": _SIZES
    | {"attn_layer_period": 2, "attn_layer_offset": 1, "num_experts": 2, "mamba_d_state": 8, "mamba_dt_rank": 4},
    "bamba": _SIZES
    | {"attn_layer_indices": [1], "mamba_n_heads": 8, "mamba_d_head": 16, "mamba_d_state": 8, "mamba_chunk_size": 8},
    "qwen3_next": _SIZES
    | {
        "layer_types": ["linear_attention", "full_attention"],
        "head_dim": 16,
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 4,
        "linear_key_head_dim": 16,
        "linear_value_head_dim": 16,
        "num_experts": 2,
        "num_experts_per_tok": 1,
        "moe_intermediate_size": 32,
        "shared_expert_intermediate_size": 32,
    },
    "lfm2": _SIZES | {"layer_types": ["conv", "full_attention"], "block_auto_adjust_ff_dim": False},
    "minimax": _SIZES
    | {"layer_types": ["linear_attention", "full_attention"], "num_local_experts": 2, "block_size": 8, "head_dim": 16},
    "rwkv": {"hidden_size": 64, "num_hidden_layers": 2, "context_length": 64},
}


def recurrent_model(kind: str, vocabulary: Vocabulary) -> LanguageModel:
    """One of a kind of transformers' models, in memory."""
    sizes = {"vocab_size": vocabulary.size, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(CONFIG_MAPPING[kind](**sizes, **KINDS[kind]), dtype=torch.float32)
    for name, parameter in model.named_parameters():
        if parameter.ndim == 2 and "A_log" not in name:  # large enough for what comes first to matter
            torch.nn.init.normal_(parameter, std=0.2)
    return from_hf(kind, model.eval().requires_grad_(False), vocabulary)
