"""A bfloat16 copy of a model that pre-scores candidates; the full model rescores the best ones."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from distprompt_tui.models.language_model import LanguageModel

FASTER = ("amx_bf16", "avx512_bf16")
"""Processor features, of which one is needed: without them bfloat16 is slower than float32."""

_CACHE: WeakKeyDictionary[nn.Module, nn.Module] = WeakKeyDictionary()


def gains_from_half_precision(model: LanguageModel) -> bool:
    """Return whether a bfloat16 copy is faster: for a float32 model on a CPU with bfloat16 instructions."""
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    plain = model.device.type == "cpu" and model.dtype == torch.float32 and model.why_ids_only is None
    return plain and any(map(capabilities.get, FASTER)) and _runs(in_half_precision(model))


@torch.no_grad()
def _runs(copy: LanguageModel) -> bool:
    """Return whether the copy runs: some layers add float32 tables to the states, which the next layer rejects."""
    try:
        copy.next_token_logits(copy.embedding_matrix[None, :1])
    except RuntimeError:
        return False
    return True


def in_half_precision(model: LanguageModel) -> LanguageModel:
    """Return the model with its backbone's weights in bfloat16; the copy is cached per backbone.

    Embeddings, head and buffers keep their dtype. The copy takes half the memory of the blocks.
    """
    if model.backbone not in _CACHE:
        memo: dict[int, Any] = {id(model.embedder): nn.Identity()}  # the copy receives embeddings, never ids
        kept = (value for module in model.backbone.modules() for value in vars(module).values())
        memo |= {id(value): value.detach().clone() for value in kept if isinstance(value, Tensor)}  # recurrent states
        backbone = deepcopy(model.backbone, memo)
        for parameter in backbone.parameters():
            if parameter.is_floating_point():
                parameter.data = parameter.data.to(torch.bfloat16)
        _CACHE[model.backbone] = backbone
    return replace(model, backbone=_CACHE[model.backbone])
