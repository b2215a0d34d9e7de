"""Whether a prompt gives the same numbers alone and in a batch, to the last bit, with the products of this machine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from distprompt_tui.models.head import MIN_GEMM_ROWS
from distprompt_tui.models.language_model import LanguageModel

BATCHES = (2, 3, 5, 16)
"""Numbers of prompts for which a product is tried beside a lone one; a sweep runs 16 at once by default."""

SMOLLM2_SHAPES = ((576, 576), (192, 576), (1536, 576), (576, 1536))
"""Shapes of the weights of the default model's layers: what is tried where no model is loaded."""


@torch.no_grad()
def is_batch_invariant(model: LanguageModel, positions: int) -> bool:
    """Tries each kind of product of a model, forward and backward, on the rows of one prompt and of several.

    It takes less than one step of a search with 16 prompts: of equal layers one is tried.

    Args:
        model: on its device, in its dtype.
        positions: tokens of one prompt and its context.

    Returns:
        Whether every row was the same in every batch; False also for a model with weights that are no matrices
        (convolutions, stacked experts), whose products are not tried.
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
    """The same for products of the default model's shapes in float32 on the CPU, without a model."""
    generator = torch.Generator().manual_seed(0)
    weights = (torch.randn(shape, generator=generator) for shape in SMOLLM2_SHAPES)
    return _are_rows_alike(weights, positions)


def _weights(backbone: nn.Module) -> Iterator[Tensor]:
    """What states are multiplied by: all weights but embeddings and vectors."""
    for module in backbone.modules():
        if not isinstance(module, nn.Embedding):
            yield from (weight for weight in module.parameters(recurse=False) if weight.ndim > 1)


def _are_rows_alike(weights: Iterable[Tensor], positions: int) -> bool:
    """Whether products with (b · positions, d) states give each prompt's rows what they get alone."""
    for weight in weights:
        for matrix in (weight, weight.T):  # one way is the forward pass, the other the backward pass
            states = _states(matrix, max(BATCHES) * positions, matrix.shape[0])
            whole = states @ matrix
            parts = [slice(-positions, None), *(slice(0, b * positions) for b in (1, *BATCHES[:-1]))]
            if not all(torch.equal(states[rows].clone() @ matrix, whole[rows]) for rows in parts):
                return False
    return True


def _are_logits_alike(model: LanguageModel) -> bool:
    """Whether the output layer gives a prompt's last state the same logits and gradient in every batch."""
    states = _states(model.head.weight, max(BATCHES), model.hidden_size)
    whole, alone = _logits_and_gradient(model, states), _logits_and_gradient(model, states[:1].clone())
    return all(torch.equal(one, many[:1]) for one, many in zip(alone, whole, strict=True))


@torch.enable_grad()
def _logits_and_gradient(model: LanguageModel, states: Tensor) -> tuple[Tensor, Tensor]:
    """Logits of states, (b, V), and the gradient of their log-sums by the states, (b, d)."""
    states.requires_grad_()
    logits = model.head.logits(states)
    (gradient,) = torch.autograd.grad(logits.logsumexp(-1).sum(), states)
    return logits.detach(), gradient


def _is_attention_alike(model: LanguageModel, positions: int) -> bool:
    """Whether attention gives a prompt's positions the same in every batch; True where the model names no heads."""
    heads = getattr(model.backbone.config, "num_attention_heads", None)
    if not isinstance(heads, int):
        return True
    width = getattr(model.backbone.config, "head_dim", None) or model.hidden_size // heads
    states = _states(model.head.weight, max(BATCHES) * heads * positions, width).to(model.dtype)
    states = states.view(-1, heads, positions, width)
    whole, alone = _attention_and_gradient(states), _attention_and_gradient(states[:1].clone())
    return all(torch.equal(one, many[:1]) for one, many in zip(alone, whole, strict=True))


@torch.enable_grad()
def _attention_and_gradient(states: Tensor) -> tuple[Tensor, Tensor]:
    """What causal attention makes of states that are query, key and value at once, and a gradient by them; each
    (b, heads, positions, width)."""
    states.requires_grad_()
    seen = nn.functional.scaled_dot_product_attention(states, states, states, is_causal=True)
    (gradient,) = torch.autograd.grad(seen.square().sum(), states)
    return seen.detach(), gradient


def _states(like: Tensor, rows: int, width: int) -> Tensor:
    """Normal numbers, (rows, width), on the device and in the dtype of a weight; the same every time."""
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(0)).to(like.device, like.dtype)
