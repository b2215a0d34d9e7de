"""Token features: states after the first block, where tokens with similar effects are close to each other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from distprompt_tui.models.language_model import LanguageModel

CHUNK = 512  # batch size, in tokens

_CACHE: WeakKeyDictionary[nn.Module, Tensor] = WeakKeyDictionary()


class _Reached(Exception):
    """Stops the forward pass after the first block."""


def token_features(model: LanguageModel) -> Tensor:
    """Compute the state of each single token after the first block, centred and normalised to length 1.

    The result is cached per backbone. It takes one pass of the vocabulary through one block.

    Returns:
        (V, d), float16.
    """
    if model.backbone not in _CACHE:
        ids = torch.arange(model.vocab_size, device=model.device)
        states = torch.cat([_after_first_block(model, chunk) for chunk in ids.split(CHUNK)])
        _CACHE[model.backbone] = nn.functional.normalize(states - states.mean(0), dim=1).half()
    return _CACHE[model.backbone]


@torch.no_grad()
def _after_first_block(model: LanguageModel, ids: Tensor) -> Tensor:
    """Compute states, (count,) → (count, d) float32; the embeddings if the block's output has another form."""
    found: list[Tensor] = []

    def stop(block: nn.Module, inputs: Any, output: Any) -> None:
        found.append(output[0] if isinstance(output, (tuple, list)) else output)
        raise _Reached

    hooks = [block.register_forward_hook(stop) for block in _first_blocks(model.backbone)]
    try:
        model.run_backbone(ids[:, None])
    except _Reached:
        pass
    finally:
        for hook in hooks:
            hook.remove()
    if not found or found[0].shape != (len(ids), 1, model.hidden_size):
        return model.embedding(ids)
    return found[0][:, 0].float()


def _first_blocks(module: nn.Module) -> Iterator[nn.Module]:
    """Yield the first module of each outermost `ModuleList`, in which models of every architecture hold their blocks.

    Blocks of other inputs, such as images, are included, but do not run here.
    """
    for child in module.children():
        if isinstance(child, nn.ModuleList) and len(child):
            yield child[0]
        else:
            yield from _first_blocks(child)
