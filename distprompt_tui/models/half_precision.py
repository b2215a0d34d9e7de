"""A model's copy in bfloat16, where the processor is faster with it: it looks first, the model itself measures then."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn

from distprompt_tui.models.language_model import LanguageModel

FASTER = ("amx_bf16", "avx512_bf16")
"""What a processor must have one of; without them, bfloat16 is slower than float32."""

_KNOWN: WeakKeyDictionary[nn.Module, nn.Module] = WeakKeyDictionary()


def gains_from_half_precision(model: LanguageModel) -> bool:
    """Whether a copy in bfloat16 would be faster: of a float32 model on a processor that computes in it."""
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return model.device.type == "cpu" and model.dtype == torch.float32 and any(map(capabilities.get, FASTER))


def in_half_precision(model: LanguageModel) -> LanguageModel:
    """The model with its body's weights in bfloat16; once for a body. Embeddings, head and buffers stay as they are.

    It takes half of the memory of the blocks.
    """
    if model.body not in _KNOWN:
        whole: Any = model.body
        embedding = whole.get_input_embeddings()  # bodies are given embeddings, never ids
        body = deepcopy(model.body, {id(embedding): nn.Identity()})
        for parameter in body.parameters():
            parameter.data = parameter.data.to(torch.bfloat16)
        _KNOWN[model.body] = body
    return replace(model, body=_KNOWN[model.body])
