"""What each token is to a model by itself: after its first block, where tokens that act alike are near each other."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from distprompt_tui.models.language_model import LanguageModel

CHUNK = 512
"""Tokens that are run at once."""

_KNOWN: WeakKeyDictionary[nn.Module, Tensor] = WeakKeyDictionary()


class _Reached(Exception):
    """The rest of the body need not be run."""


def token_features(model: LanguageModel) -> Tensor:
    """Each token's state after the first block, with nothing around it, centred and of length one.

    It is found once for a body: a pass of the whole vocabulary through one block.

    Returns:
        (V, d), float16.
    """
    if model.body not in _KNOWN:
        states = torch.cat([_after_first_block(model, chunk) for chunk in model.embedding_matrix.split(CHUNK)])
        _KNOWN[model.body] = nn.functional.normalize(states - states.mean(0), dim=1).half()
    return _KNOWN[model.body]


@torch.no_grad()
def _after_first_block(model: LanguageModel, embeddings: Tensor) -> Tensor:
    """(count, d) → (count, d), float32."""
    found: list[Tensor] = []

    def stop(block: nn.Module, inputs: Any, output: Any) -> None:
        found.append(output[0] if isinstance(output, tuple) else output)
        raise _Reached

    hook = _first_block(model.body).register_forward_hook(stop)
    try:
        model.body(inputs_embeds=embeddings[:, None].to(model.dtype), use_cache=False)
    except _Reached:
        pass
    finally:
        hook.remove()
    return found[0][:, 0].float()


def _first_block(body: nn.Module) -> nn.Module:
    """Blocks are the only list of modules that stands in a body itself, whatever a model calls it."""
    return next(module for module in body.modules() if isinstance(module, nn.ModuleList))[0]
