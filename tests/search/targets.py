"""Targets for tests of searches."""

from __future__ import annotations

from torch import Tensor

from distprompt_tui.models.language_model import LanguageModel


def outlier_target(model: LanguageModel, token: int = 70, mass: float = 0.6) -> Tensor:
    """One token has `mass`, the others share the rest; (V,) float64 on the CPU, 0 on rows without a token."""
    p = model.head.allowed.cpu().double()
    p[token] = 0
    p *= (1 - mass) / p.sum()
    p[token] = mass
    return p
