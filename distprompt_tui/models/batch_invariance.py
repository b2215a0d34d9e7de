"""Test whether a prompt gives bitwise the same results alone and in a batch on this machine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from distprompt_tui.models.head import MIN_GEMM_ROWS
from distprompt_tui.models.language_model import LanguageModel

BATCHES = (2, 3, 5, 16)  # batch sizes that are compared with a batch of one; a sweep runs 16 prompts at once by default

SMOLLM2_SHAPES = ((576, 576), (192, 576), (1536, 576), (576, 1536))
"""Weight shapes of the default model's layers, for tests without a model."""


@torch.no_grad()
def is_batch_invariant(model: LanguageModel, positions: int) -> bool:
    """Compare all matrix products of a model, forward and backward, between one prompt and batches of several.

    It takes less time than one search step with 16 prompts, because it tests one layer of each shape.

    Args:
        model: on its device, in its dtype.
        positions: number of tokens of one prompt and its context.

    Returns:
        True if every row was the same in every batch. False also for weights with more than two dimensions
        (convolutions, stacked experts), which are not tested.
    """
    weights = {weight.shape: weight for weight in _weights(model.backbone)}
    if any(len(shape) > 2 for shape in weights):
        return False
    return (
        _are_rows_alike(weights.values(), max(positions, MIN_GEMM_ROWS))
        and _are_logits_alike(model)
        and _is_attention_alike(model, positions)
    )


@torch.no_grad()
def are_products_batch_invariant(positions: int = 10) -> bool:
    """Run the same test on random weights of the default model's shapes, in float32 on the CPU."""
    generator = torch.Generator().manual_seed(0)
    weights = (torch.randn(shape, generator=generator) for shape in SMOLLM2_SHAPES)
    return _are_rows_alike(weights, positions)


def _weights(backbone: nn.Module) -> Iterator[Tensor]:
    """Yield all weights with at least two dimensions, except embeddings."""
    for module in backbone.modules():
        if not isinstance(module, nn.Embedding):
            yield from (weight for weight in module.parameters(recurse=False) if weight.ndim > 1)


def _are_rows_alike(weights: Iterable[Tensor], positions: int) -> bool:
    """Compare products of (b · positions, d) states with those of each prompt's rows alone."""
    for weight in weights:
        for matrix in (weight, weight.T):  # forward and backward pass
            states = _states(matrix, max(BATCHES) * positions, matrix.shape[0])
            whole = states @ matrix
            parts = [slice(-positions, None), *(slice(0, b * positions) for b in (1, *BATCHES[:-1]))]
            if not all(torch.equal(states[rows].clone() @ matrix, whole[rows]) for rows in parts):
                return False
    return True


def _are_logits_alike(model: LanguageModel) -> bool:
    states = _states(model.head.weight, max(BATCHES), model.head.weight.shape[1])
    whole, alone = _logits_and_gradient(model, states), _logits_and_gradient(model, states[:1].clone())
    return all(torch.equal(one, many[:1]) for one, many in zip(alone, whole, strict=True))


@torch.enable_grad()
def _logits_and_gradient(model: LanguageModel, states: Tensor) -> tuple[Tensor, Tensor]:
    """Return logits of states, (b, V), and the gradient of their logsumexp with respect to the states, (b, d)."""
    states.requires_grad_()
    logits = model.head.logits(states)
    (gradient,) = torch.autograd.grad(logits.logsumexp(-1).sum(), states)
    return logits.detach(), gradient


def _is_attention_alike(model: LanguageModel, positions: int) -> bool:
    """Compare attention alone and in a batch, for all layers; True if the config has no number of heads."""
    for heads, width in _attention_heads(model):
        states = _states(model.head.weight, max(BATCHES) * heads * positions, width).to(model.dtype)
        states = states.view(-1, heads, positions, width)
        whole, alone = _attention_and_gradient(states), _attention_and_gradient(states[:1].clone())
        if not all(torch.equal(one, many[:1]) for one, many in zip(alone, whole, strict=True)):
            return False
    return True


def _attention_heads(model: LanguageModel) -> set[tuple[int, int]]:
    """Return the numbers of attention heads and their widths that occur in the model's layers."""
    config: Any = model.backbone.config
    # If the layers differ, as in Gemma 4, transformers raises an error for a field of the whole model.
    layers = config.per_layer_config if getattr(config, "is_heterogeneous", False) else [config]
    counts = [(layer, getattr(layer, "num_attention_heads", None)) for layer in layers]
    return {
        (heads, getattr(layer, "head_dim", None) or model.hidden_size // heads)
        for layer, heads in counts
        if isinstance(heads, int) and heads > 0
    }


@torch.enable_grad()
def _attention_and_gradient(states: Tensor) -> tuple[Tensor, Tensor]:
    """Return causal attention with states as query, key and value, and a gradient; all (b, heads, positions, width)."""
    states.requires_grad_()
    seen = nn.functional.scaled_dot_product_attention(states, states, states, is_causal=True)
    (gradient,) = torch.autograd.grad(seen.square().sum(), states)
    return seen.detach(), gradient


def _states(like: Tensor, rows: int, width: int) -> Tensor:
    """Return seeded normal states, (rows, width), on the device and in the dtype of `like`."""
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(0)).to(like.device, like.dtype)
