"""A model's copy in bfloat16, where the processor is faster with it: it looks first, the model itself measures then."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from distprompt_tui.models.language_model import LanguageModel

FASTER = ("amx_bf16", "avx512_bf16")
"""What a processor must have one of; without them, bfloat16 is slower than float32."""

_CACHE: WeakKeyDictionary[nn.Module, nn.Module] = WeakKeyDictionary()


def gains_from_half_precision(model: LanguageModel) -> bool:
    """Whether a copy in bfloat16 would be faster: of a float32 model on a processor that computes in it."""
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    plain = model.device.type == "cpu" and model.dtype == torch.float32 and model.why_ids_only is None
    return plain and any(map(capabilities.get, FASTER)) and _runs(in_half_precision(model))


@torch.no_grad()
def _runs(copy: LanguageModel) -> bool:
    """Whether every layer takes what the one before gives: some add float32 tables to the states."""
    try:
        copy.next_token_logits(copy.embedding_matrix[None, :1])
    except RuntimeError:
        return False
    return True


def in_half_precision(model: LanguageModel) -> LanguageModel:
    """The model with its backbone's weights in bfloat16, copied once for each backbone.

    Embeddings, head and buffers stay as they are. The copy takes half of the memory of the blocks.
    """
    if model.backbone not in _CACHE:
        memo: dict[int, Any] = {id(model.embedder): nn.Identity()}  # it is given embeddings, never ids
        kept = (value for module in model.backbone.modules() for value in vars(module).values())
        memo |= {id(value): value.detach().clone() for value in kept if isinstance(value, Tensor)}  # recurrent states
        backbone = deepcopy(model.backbone, memo)
        for parameter in backbone.parameters():
            if parameter.is_floating_point():
                parameter.data = parameter.data.to(torch.bfloat16)
        _CACHE[model.backbone] = backbone
    return replace(model, backbone=_CACHE[model.backbone])
