"""Entropy and divergences between a target p and q = softmax(logits), in nats, reduced in float32 or float64."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


def entropy(probabilities: Tensor) -> Tensor:
    """Compute H(p) = −Σ p log p.

    Args:
        probabilities: (..., V), summing to 1 over the last axis.

    Returns:
        Entropy in nats, (...).
    """
    terms: Tensor = torch.special.entr(probabilities)
    return terms.sum(-1)


def logits_kl(target: Tensor, logits: Tensor, target_entropy: Tensor | float) -> Tensor:
    """Compute KL(p ‖ softmax(logits)) = logsumexp(logits) − p·logits − H(p), with H(p) given.

    The largest logit is subtracted first, to avoid cancellation between large numbers. A single row is duplicated:
    torch splits the sum of a single row between threads, so its last digits would depend on the batch size.

    Args:
        target: p, (V,), in the logits' dtype.
        logits: (batch, V), float32 or float64; may be −inf where p is 0.
        target_entropy: H(p) in nats.

    Returns:
        Divergence in nats, (batch,).
    """
    if len(logits) == 1:
        return logits_kl(target, logits.expand(2, -1), target_entropy)[:1]
    shifted = logits - logits.detach().amax(-1, keepdim=True)
    expected = torch.where(target > 0, target * shifted, 0).sum(-1)
    return shifted.logsumexp(-1) - expected - target_entropy


@dataclass(frozen=True)
class Numbers:
    """Divergences between the target and one achieved distribution, in nats (`tv` in 0..1)."""

    kl: float
    entropy: float
    reverse_kl: float
    js: float
    tv: float


@dataclass(frozen=True)
class Comparison:
    """Divergences and the achieved distribution q, (V,) float64 on the CPU."""

    numbers: Numbers
    q: Tensor


def compare(target: Tensor, logits: Tensor) -> Comparison:
    """Compute all divergences for one row of logits, in float64 on the CPU.

    Args:
        target: p, (V,).
        logits: (V,); −inf on rows without a token.

    Returns:
        Divergences and q. Reverse KL is infinite if q > 0 anywhere p is 0.
    """
    p, z = target.double().cpu(), logits.cpu().double()
    log_q = z.log_softmax(-1)
    q = log_q.exp()
    forward = torch.where(p > 0, p * (p.log() - log_q), 0).sum()
    reverse = torch.where(q > 0, q * (log_q - p.log()), 0).sum()
    js = entropy((p + q) / 2) - (entropy(p) + entropy(q)) / 2
    tv = (p - q).abs().sum() / 2
    return Comparison(Numbers(float(forward), float(entropy(q)), float(reverse), float(js), float(tv)), q)
