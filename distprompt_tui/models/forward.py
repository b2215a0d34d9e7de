"""Forward passes of a backbone without a prefix cache."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn

from distprompt_tui.models.device import is_out_of_memory
from distprompt_tui.models.prefix_cache import as_argument, run_into

Forward = Callable[[nn.Module, Tensor], Tensor]
"""Function of a backbone and ids, (batch, n), or embeddings, (batch, n, d), that returns the states after the final
norm, (batch, n, d)."""


def run_plain(backbone: nn.Module, inputs: Tensor) -> Tensor:
    """Run a backbone without a cache; see `Forward`.

    transformers then compares the position ids to find packed sequences, once for each kind of attention mask, and the
    host waits for the result.
    """
    hidden: Tensor = backbone(**as_argument(inputs), use_cache=False).last_hidden_state
    return hidden


def forward_without_waiting(backbone: nn.Module, embeddings: Tensor) -> Forward:
    """Return a forward pass for embeddings that does not synchronise with the host, if the backbone allows it.

    A cache that stores nothing is passed: with a cache, transformers does not look for packed sequences. Recurrent
    layers need a cache of their own and run without it.

    Args:
        backbone: of the model.
        embeddings: a few prompts, (batch, n, d), in the backbone's dtype. On them, on their first two positions and on
            their first one, both forward passes must give the same states to the last bit.

    Returns:
        The new forward pass, or `run_plain`.
    """
    forward = partial(run_into, _pass_through_cache())
    for prompts in (embeddings, embeddings[:, :2], embeddings[:1, :1]):
        try:
            found = forward(backbone, prompts.clone())  # some backbones change their input in place
        except Exception as error:  # a model without this kind of cache may raise anything
            if is_out_of_memory(error):
                raise
            return run_plain
        if not torch.equal(found, run_plain(backbone, prompts.clone())):
            return run_plain
    return forward


@cache
def _pass_through_cache() -> Any:
    """Create a transformers cache whose `update` returns the keys and values of the call and stores nothing."""
    from transformers import DynamicCache

    class PassThroughCache(DynamicCache):  # type: ignore[misc]  # transformers has no types
        def update(self, keys: Tensor, values: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
            return keys, values

    return PassThroughCache()
