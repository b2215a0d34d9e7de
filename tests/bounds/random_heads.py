"""Small random heads and targets for tests of floor and head optimum."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from distprompt_tui.models.head import FinalNorm, Head
from tests.divergence import forward_kl

VOCABULARY = 60
ROWS_WITHOUT_TOKEN = 2


def random_head(hidden: int, seed: int, kind: str = "rms", softcap: float | None = None) -> Head:
    """A head with bias, scale and two rows without a token."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    bias = normal(hidden) if kind == "layer" else None
    allowed = torch.ones(VOCABULARY, dtype=torch.bool)
    allowed[-ROWS_WITHOUT_TOKEN:] = False
    norm = FinalNorm("layer" if kind == "layer" else "rms", 1 + 0.3 * normal(hidden), bias)
    return Head(normal(VOCABULARY, hidden), 0.1 * normal(VOCABULARY), norm, 0.7, softcap, allowed)


def random_target(seed: int, concentration: float) -> Tensor:
    """A Dirichlet target over the allowed rows, (V,) float64; a low concentration gives it a low entropy."""
    torch.manual_seed(seed)
    shape = torch.full((VOCABULARY - ROWS_WITHOUT_TOKEN,), concentration, dtype=torch.float64)
    p = torch.distributions.Dirichlet(shape).sample()
    return torch.cat([p, torch.zeros(ROWS_WITHOUT_TOKEN, dtype=torch.float64)])


def states_on_sphere(head: Head, count: int) -> Tensor:
    """Random outputs of the final norm, (count, d) float32."""
    assert head.norm is not None
    hidden = head.weight.shape[1]
    states = torch.randn(count, hidden, generator=torch.Generator().manual_seed(1))
    if head.norm.kind == "layer":
        states = states - states.mean(1, keepdim=True)
    return states * (math.sqrt(hidden) / states.norm(dim=1, keepdim=True))


def divergences_at(head: Head, target: Tensor, states: Tensor) -> Tensor:
    """KL at states u, (k,), through the head's own code."""
    assert head.norm is not None
    h = states * head.norm.gain + (head.norm.bias if head.norm.bias is not None else 0)
    return forward_kl(target, head.logits(h).double())
