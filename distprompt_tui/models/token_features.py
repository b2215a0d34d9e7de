"""Token features: states after the first block, where tokens with similar effects are close to each other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from distprompt_tui.models.device import is_out_of_memory
from distprompt_tui.models.language_model import LanguageModel

CHUNK = 512  # batch size, in tokens

_CACHE: WeakKeyDictionary[nn.Module, Tensor] = WeakKeyDictionary()


class _Reached(Exception):
    """Stops the forward pass after the first block."""


def token_features(model: LanguageModel) -> Tensor:
    """Compute the state of each single token after the first block, centred and normalised to length 1.

    The result is cached per backbone. It takes one pass of the vocabulary through one block. The peak of memory is
    V·d values of 2 bytes for a model in half precision, and of 6 bytes for one in float32.

    Returns:
        (V, d), float16, on the model's device, or on the CPU if they do not fit there.
    """
    if model.backbone not in _CACHE:
        try:
            _CACHE[model.backbone] = _compute(model, model.device)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
    if model.backbone not in _CACHE:  # not in the handler, where the error keeps the first attempt's tensors
        _CACHE[model.backbone] = _compute(model, torch.device("cpu"))
    return _CACHE[model.backbone]


@torch.no_grad()
def _compute(model: LanguageModel, device: torch.device) -> Tensor:
    """Compute the features chunk by chunk; states and features are on `device`."""
    all_ids = torch.arange(model.vocab_size, device=model.device)
    states = torch.empty(0)
    for start in range(0, model.vocab_size, CHUNK):
        part = _after_first_block(model, all_ids[start : start + CHUNK])
        if not start:
            states = torch.empty(model.vocab_size, part.shape[1], dtype=part.dtype, device=device)
        states[start : start + CHUNK] = part
    mean = states.mean(0, dtype=torch.float32)
    # Features replace states of the same size; a chunk of states is read before its features are written.
    in_place = states.element_size() == torch.float16.itemsize
    features = states.view(torch.float16) if in_place else torch.empty_like(states, dtype=torch.float16)
    for rows, part in zip(features.split(CHUNK), states.split(CHUNK), strict=True):
        rows.copy_(nn.functional.normalize(part.float() - mean, dim=1))
    return features


@torch.no_grad()
def _after_first_block(model: LanguageModel, ids: Tensor) -> Tensor:
    """Compute states, (count,) → (count, d); the embeddings if the block's output has another form."""
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
    return found[0][:, 0]


def _first_blocks(module: nn.Module) -> Iterator[nn.Module]:
    """Yield the first module of each outermost `ModuleList`, in which models of every architecture hold their blocks.

    Blocks of other inputs, such as images, are included, but do not run here.
    """
    for child in module.children():
        if isinstance(child, nn.ModuleList) and len(child):
            yield child[0]
        else:
            yield from _first_blocks(child)
