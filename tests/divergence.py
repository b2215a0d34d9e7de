"""KL of whole batches, for tests to compare with."""

from __future__ import annotations

import torch
from torch import Tensor

from distprompt_tui.core.metrics.divergence import entropy, logits_kl


def forward_kl(target: Tensor, logits: Tensor) -> Tensor:
    """KL(p ‖ softmax(logits)) of each row in nats, (batch,).

    Args:
        target: p, (V,); zero wherever logits are −inf.
        logits: (batch, V), any floating dtype; reduced in float32, or in float64 where they are.
    """
    wide = logits if logits.dtype == torch.float64 else logits.float()
    return logits_kl(target.to(wide), wide, entropy(target))
