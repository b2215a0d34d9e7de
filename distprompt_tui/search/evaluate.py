"""Exact divergences of many hard prompts."""

from __future__ import annotations

import torch
from torch import Tensor

from distprompt_tui.divergence import logits_kl
from distprompt_tui.models.language_model import LanguageModel

MAX_LOGITS = 1 << 25
"""Logits that are alive at once: 128 MiB in float32. A vocabulary of 262,144 is measured 128 prompts at a time."""


@torch.no_grad()
def divergences(model: LanguageModel, target: Tensor, target_entropy: float, prompts: Tensor) -> Tensor:
    """KL(p ‖ q) of each prompt.

    Args:
        model: frozen.
        target: p, (V,) float32 on the model's device.
        target_entropy: H(p) in nats.
        prompts: ids, (batch, n).

    Returns:
        Nats, (batch,) float32.
    """
    chunk = max(1, MAX_LOGITS // model.vocab_size)
    parts = [logits_kl(target, model.next_token_logits(part), target_entropy) for part in prompts.split(chunk)]
    return torch.cat(parts)
