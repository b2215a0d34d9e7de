"""How far each logit can fall below the mean while the divergence stays near its minimum (docs/bounds.md, step 2).

For a base with softmax q, K(w) = ln Σ q_v exp(x_v) ≥ (Σ r_v x_v − Σ r_v ln(r_v / q_v) + Z ln Z) / Z for all r ≥ 0 with
sum Z. With r = q · max(1 + h, 0) and h = −ã_v·ã / (ℓ ‖ã_v‖), where ã are the whitened rows, the first sum is −x_v / λ_v
plus the part that the maximum cuts off, with λ_v = ℓ ‖ã_v‖. So K ≤ Δ bounds −x_v by the bounds of a few other tokens.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from distprompt_tui.bounds.shell_slabs import UNIT_ROUNDOFF, Base

TEMPER = 1.6
"""ℓ in units of its optimum for a Gaussian, 1/√(2Δ). Larger values cut off less but give up more: 1.3, 1.6, 2 and 2.5
give (TEMPER + 1/TEMPER)/2 = 1.03, 1.11, 1.25 and 1.45 times the ideal drop, and cut off 1.1, 0.4, 0.15 and 0.06 % of
all pairs of tokens of SmolLM2."""
BLOCK = 768  # tokens of a block of pairs, 2.4 MB
FLOAT32_MARGIN = 1e-6  # relative, more than the rounding of a term that is cut off
NEARLY_0 = 1e-30  # instead of 0, whose logarithm is not finite; torch.xlogy takes three times as long
FLOAT32_ROUNDOFF = torch.finfo(torch.float32).eps / 2
MAX_REFINEMENTS = 60  # each replaces the bounds of the cut-off tokens by better ones
REFINED = 1e-3  # relative change of all bounds at which the refinement ends


@dataclass(frozen=True)
class LogitDrops:
    """Bounds on −x_v for all states with K ≤ Δ, as a function of Δ.

    Attributes:
        scale: λ, (n,).
        total: Z, (n,).
        relative_entropy: Σ r ln(r / q) − Z ln Z with the allowances for rounding, (n,).
        cut: sparse (n, n), the part q_w (−1 − h_w) that is cut off, rows v.
        limit: bounds on |x_v| over the shell, (n,).
        whitening_error: allowance for the inexact whitening, (n,).
        rounding: allowance per unit of e^Δ in units of λ.
    """

    scale: Tensor
    total: Tensor
    relative_entropy: Tensor
    cut: Tensor
    limit: Tensor
    whitening_error: Tensor
    rounding: float

    def within(self, excess: float) -> Tensor:
        """Return bounds on −x_v, (n,), for states with K ≤ excess.

        Each iteration starts from valid bounds and gives valid bounds; the first ones are those of the shell.
        """
        fixed = self.total * excess + self.relative_entropy + self.rounding * math.exp(excess)
        drops = self.limit
        for _ in range(MAX_REFINEMENTS):
            last, drops = drops, torch.minimum(drops, self.scale * (fixed + self.cut @ drops) + self.whitening_error)
            if bool((drops >= (1 - REFINED) * last).all()):
                break
        return drops


def ideal_drops(base: Base, eigenvalues: Tensor, eigenvectors: Tensor) -> Tensor:
    """Return ‖ã_v‖, (n,), the Mahalanobis norm: a Gaussian's logit falls by ‖ã_v‖ √(2Δ) within K ≤ Δ."""
    norms: Tensor = _whitened(base, eigenvalues, eigenvectors).norm(dim=1)
    return norms


def find_logit_drops(
    base: Base,
    eigenvalues: Tensor,
    eigenvectors: Tensor,
    excess: float,
    reach: float,
    on_progress: Callable[[float], object],
) -> LogitDrops:
    """Evaluate the bounds for all tokens; takes O(n² d) operations.

    Args:
        base: the base, with n tokens.
        eigenvalues: of its covariance, (d,), positive.
        eigenvectors: (d, d), as columns.
        excess: the Δ for which the bounds are to be best, nats.
        reach: bound on ‖u − c‖.
        on_progress: receives the fraction done.
    """
    whitened = _whitened(base, eigenvalues, eigenvectors)
    norms = whitened.norm(dim=1).clamp(min=1e-9)
    temper = TEMPER / math.sqrt(2 * excess)
    scale = temper * norms
    entropies, cut_sums, cut = _sums_over_pairs(whitened.float(), (1 / scale).float(), base.q.float(), on_progress)
    total = 1 + cut_sums
    hidden = whitened.shape[1]
    product_error = (hidden + 8) * FLOAT32_ROUNDOFF  # of 1 + h_w, relative to 1 + ‖ã_w‖/ℓ
    sum_error = (BLOCK + 16) * FLOAT32_ROUNDOFF
    total_error = product_error * (1 + math.sqrt(hidden) / temper) + 2 * sum_error * (total - 1)  # Σ q ‖ã‖ ≤ √d
    entropy_error = 2 * sum_error * (1 / temper + 1 / temper**2)  # |(1 + h) ln(1 + h)| ≤ |h| + h², Σ q h² = 1/ℓ²
    relative_entropy = entropies - torch.xlogy(total, total)
    relative_entropy += entropy_error + (1 + total.log()) * total_error
    lengths = torch.cat([block.norm(dim=1) for block in (base.rows - base.mean).split(4096)])
    return LogitDrops(
        scale=scale,
        total=total + total_error,
        relative_entropy=relative_entropy,
        cut=cut,
        limit=lengths * reach,
        whitening_error=lengths * reach * _whitening_error(base, eigenvalues, eigenvectors),
        rounding=product_error * (1 + float(norms.max()) / temper),  # Σ q |x| ≤ e^Δ
    )


def _whitened(base: Base, eigenvalues: Tensor, eigenvectors: Tensor) -> Tensor:
    return (base.rows - base.mean) @ (eigenvectors / eigenvalues.sqrt())


def _sums_over_pairs(
    whitened: Tensor, inverse_scale: Tensor, q: Tensor, on_progress: Callable[[float], object]
) -> tuple[Tensor, Tensor, Tensor]:
    """Sum over all w for each v, with h = −ã_v·ã_w / λ_v: Σ q (1 + h) ln(1 + h) and Σ q (−1 − h)₊.

    Args:
        whitened: ã, (n, d) float32.
        inverse_scale: 1/λ, (n,) float32.
        q: (n,) float32.
        on_progress: receives the fraction done.

    Returns:
        Both sums, (n,) float64, and the terms of the second one as a sparse matrix, (n, n) float64.
    """
    entropies = torch.zeros(len(q), dtype=torch.float64, device=q.device)
    cut_sums = torch.zeros_like(entropies)
    cuts: list[tuple[Tensor, Tensor, Tensor]] = []

    def add(rows: slice, columns: slice, products: Tensor) -> None:
        ratio = (products * -inverse_scale[rows, None]).add_(1)  # 1 + h
        row, column = (ratio < 0).nonzero(as_tuple=True)
        term = -ratio[row, column] * q[columns][column]
        cut_sums.index_add_(0, row + rows.start, term.double())
        cuts.append((row + rows.start, column + columns.start, term))
        ratio.clamp_(min=NEARLY_0)
        entropies[rows] += (ratio.log().mul_(ratio) @ q[columns]).double()

    blocks = [slice(start, min(start + BLOCK, len(q))) for start in range(0, len(q), BLOCK)]
    for index, rows in enumerate(blocks):
        for columns in blocks[index:]:
            products = whitened[rows] @ whitened[columns].T
            add(rows, columns, products)
            if columns is not rows:
                add(columns, rows, products.T)
        left = 1 - (index + 1) / len(blocks)
        on_progress(1 - left**2)
    row, column, value = (torch.cat(parts) for parts in zip(*cuts, strict=True))
    size = (len(q), len(q))
    cut = torch.sparse_coo_tensor(
        torch.stack([row, column]), value.double() * (1 + FLOAT32_MARGIN), size, check_invariants=True
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta state")
        return entropies, cut_sums, cut.coalesce().to_sparse_csr()


def _whitening_error(base: Base, eigenvalues: Tensor, eigenvectors: Tensor) -> float:
    """Bound ‖B Bᵀ H − I‖ for the whitening B and the covariance H, with the rounding of both."""
    inverse = (eigenvectors / eigenvalues) @ eigenvectors.T
    covariance = base.covariance()
    size, count = len(covariance), len(base.q)
    computed = float((inverse @ covariance - torch.eye(size, dtype=torch.float64, device=inverse.device)).norm())
    rounding = 8 * size * UNIT_ROUNDOFF * float(inverse.norm() * covariance.norm())
    return computed + rounding + 4 * (count + size) * UNIT_ROUNDOFF * float(covariance.trace() * inverse.norm())
