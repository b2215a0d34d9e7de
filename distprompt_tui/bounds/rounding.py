"""Bounds on the rounding errors of final norm and output layer, for the floor. docs/floor.md derives them.

The model computes h = gain ⊙ u + bias in its dtype, and logits = scale · (weight h + bias) in float32 (or another
dtype). The bounds hold for every order of summation (γₙ of Higham, Accuracy and Stability of Numerical Algorithms,
§3.1).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from distprompt_tui.models.head import Head

MAX_MEAN_RATIO = 4.0
"""Largest mean of a state before a LayerNorm, in its standard deviations, for which the bounds hold. The subtraction of
a larger mean cancels more digits, without limit."""

ELEMENTARY_ROUNDOFFS = 8  # allowed error of square root, division and multiplication after a norm's sums, in roundoffs
BLOCK = 1 << 12  # rows of the weight that are cast to float64 at a time
SAFETY = 1 + 1e-6  # covers the float64 rounding of the allowance itself


@dataclass(frozen=True)
class Rounding:
    """Bounds on the errors of computed states and logits, for a head.

    The computed state is h = gain ⊙ (v + e) ⊙ (1 + r) + bias + s with ‖v‖ ≤ √d (1 + norm), ‖e‖ ≤ √d · centring,
    |rᵢ| ≤ state and |sᵢ| ≤ shift; v sums to 0 for LayerNorm.

    Attributes:
        norm: largest excess of ‖v‖ over √d, relative to √d.
        centring: largest distance of the computed states from v, relative to √d; 0 for RMSNorm.
        state: relative error of an entry of gain ⊙ u.
        shift: absolute error of an entry of h, (d,) float64.
        largest_shift: |bias| + shift of the norm, (d,) float64.
        logits: error of a logit relative to |scale| · (Σ |weight · h| + |bias|).
    """

    norm: float
    centring: float
    state: float
    shift: Tensor
    largest_shift: Tensor
    logits: float


def rounding_of(head: Head, logits_dtype: torch.dtype = torch.float32) -> Rounding:
    """Bound the rounding errors of a head whose norm returns `head.norm.dtype`.

    Args:
        head: the norm's kind must be known.
        logits_dtype: dtype in which the logits are computed. This program uses float32 for every model; plain
            transformers uses the model's dtype. Products must be accumulated in float32 and rounded once.
    """
    assert head.norm is not None
    norm, hidden_size = head.norm, head.weight.shape[1]
    gain = norm.gain.detach().cpu().double()
    bias = torch.zeros_like(gain) if norm.bias is None else norm.bias.detach().cpu().double()
    single = torch.finfo(torch.float32).eps / 2
    sums = _gamma(hidden_size + ELEMENTARY_ROUNDOFFS)
    after = ELEMENTARY_ROUNDOFFS * single
    if norm.kind == "rms":
        excess, centring = (1 + after) / math.sqrt(1 - sums) - 1, 0.0
    else:
        condition = math.sqrt(1 + MAX_MEAN_RATIO**2)  # largest rms of a state in its standard deviations
        excess = (1 + after) / math.sqrt(1 - 2 * sums * condition) - 1
        centring = (1 + excess) * (sums + after) * condition
    own = torch.finfo(norm.dtype)
    unit_roundoff = own.eps / 2
    # One rounding before the gain and one after it; the bias adds one. A norm that rounds once only is included.
    state = (1 + unit_roundoff) ** (2 if norm.bias is None else 3) - 1
    # Absolute error of a result below the smallest normal number: gradual in float16, up to a flush to zero elsewhere.
    underflow = max(own.tiny * own.eps, torch.finfo(torch.float32).tiny)
    shift = bias.abs() * ((1 + unit_roundoff) ** 2 - 1) + (1 + state) * underflow * (gain.abs() + 2)
    roundings = 0 if logits_dtype == torch.float32 else 3  # of the product, the bias and the scale
    logits = (1 + torch.finfo(logits_dtype).eps / 2) ** roundings * (1 + sums) - 1
    return Rounding(excess, centring, state, shift, bias.abs() + shift, logits)


def _gamma(operations: int) -> float:
    """Return γₙ = n u / (1 − n u) in float32, the largest relative error of a sum of n terms in any order."""
    product = operations * torch.finfo(torch.float32).eps / 2
    return product / (1 - product)


def allowance(
    head: Head, rounding: Rounding, difference: Tensor, weighted: Tensor, magnitudes: Tensor, projected_norm: float
) -> float:
    """Bound the part of a certificate that rounding errors of the model can undo, in nats.

    The certificate bounds r·z over all logits z = scale · (W h + b) in exact arithmetic, for a fixed r = q − p. Here
    the terms that the errors of h and z add to r·z are bounded, each by the Cauchy-Schwarz inequality over u.

    Args:
        head: the head of the certificate.
        rounding: of this head.
        difference: r, (V,) float64.
        weighted: Wᵀ r, (d,) float64.
        magnitudes: |W|ᵀ |r|, (d,) float64.
        projected_norm: norm of the certificate's gradient, the projection of scale · gain ⊙ Wᵀ r to the norm's states.
    """
    assert head.norm is not None
    scale, gain = abs(head.scale), head.norm.gain.detach().to(weighted)
    shift, largest_shift = rounding.shift.to(weighted), rounding.largest_shift.to(weighted)
    slope = scale * gain.abs() * weighted.abs()
    logit_slope = (1 + rounding.state) * rounding.logits * scale * gain.abs() * magnitudes
    outside = rounding.norm * projected_norm + rounding.centring * float(slope.norm())
    inside = (1 + rounding.norm + rounding.centring) * float((rounding.state * slope + logit_slope).norm())
    constant = scale * float(shift @ weighted.abs() + rounding.logits * (largest_shift @ magnitudes))
    if head.bias is not None:
        constant += scale * rounding.logits * float(difference.abs() @ head.bias.detach().to(weighted).abs())
    return SAFETY * (math.sqrt(len(weighted)) * (outside + inside) + constant)


def allowance_at_any_state(head: Head, rounding: Rounding, target: Tensor) -> float:
    """Bound by how much rounding errors of the model can lower the divergence, wherever its state is, in nats.

    The divergence is convex in the logits z with the gradient q − p, so errors δ lower it by at most
    max |δ_v| + Σ p_v |δ_v|. Each |δ_v| is bounded by the Cauchy-Schwarz inequality; docs/bounds.md derives it.

    Args:
        head: the head of the bound; its norm is RMSNorm.
        rounding: of this head.
        target: p, (V,) float64, 0 on rows that are not allowed.
    """
    assert head.norm is not None
    weight, scale = head.weight.detach(), abs(head.scale)
    gain = head.norm.gain.detach().to(target)
    shift, largest_shift = rounding.shift.to(target), rounding.largest_shift.to(target)
    inside = (1 + rounding.norm) * (rounding.state + rounding.logits * (1 + rounding.state))
    errors = torch.zeros_like(target)
    for start in range(0, len(weight), BLOCK):
        rows = slice(start, start + BLOCK)
        block = weight[rows].to(target)
        of_state = math.sqrt(len(gain)) * (rounding.norm + inside) * (block * gain).norm(dim=1)
        errors[rows] = of_state + block.abs() @ (shift + rounding.logits * largest_shift)
    if head.bias is not None:
        errors += rounding.logits * head.bias.detach().to(target).abs()
    errors = (scale * errors).masked_fill(~head.allowed.to(target.device), 0.0)
    return SAFETY * float(errors.max() + target @ errors)
