"""Growth of the divergence from a base point to the shell, within a slab (docs/bounds.md, steps 1, 3 and 4).

With q = softmax at the base c, m = Aᵀq and x_v = (a_v − m)·(u − c), the divergence is exactly
f(u) = f(c) + g·(u − c) + K(u − c) with K = ln Σ q_v exp(x_v).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from distprompt_tui.bounds.floor import (
    AffineHead,
    cross_entropy,
    curvature_eigh,
    line_search,
    linear_part,
    pull_back,
)
from distprompt_tui.core.metrics.divergence import entropy

UNIT_ROUNDOFF = torch.finfo(torch.float64).eps / 2
RESIDUAL_NATS = 1e-5  # a base is the minimum over its slice to within this
MAX_ITERATIONS = 30
LARGEST_DROP = 1e12  # keeps the formula finite where nothing is known
SMALL_DROP = 1e-2  # below this, the curvature of a drop is bounded by its series
MULTIPLIERS = (1.2, 2.0, 4.0, 8.0, 16.0)  # of the slab's constraint, in units of the second eigenvalue
SHARES = 400  # multipliers of the norm's constraint that are tried
BLOCK_ROWS = 4096


@dataclass(frozen=True)
class Base:
    """A base point and the softmax there.

    Attributes:
        point: c, (d,).
        rows: a_v, (n, d).
        q: (n,).
        low: lower bound on f(c), nats.
        gradient: (d,).
    """

    point: Tensor
    rows: Tensor
    q: Tensor
    low: float
    gradient: Tensor

    @property
    def mean(self) -> Tensor:
        """Return m, (d,)."""
        return self.q @ self.rows

    def covariance(self, weights: Tensor | None = None) -> Tensor:
        """Compute Σ q_v weight_v (a_v − m)(a_v − m)ᵀ, (d, d)."""
        mean, weights = self.mean, self.q if weights is None else self.q * weights
        total = torch.zeros(len(mean), len(mean), dtype=torch.float64, device=mean.device)
        for start in range(0, len(weights), BLOCK_ROWS):
            block = (self.rows[start : start + BLOCK_ROWS] - mean) * weights[start : start + BLOCK_ROWS, None].sqrt()
            total.addmm_(block.T, block)
        return total

    def reach(self, outer: float) -> float:
        """Return a bound on ‖u − c‖ for ‖u‖ ≤ outer."""
        return outer + float(self.point.norm())

    def excess(self, threshold: float, direction: Tensor | None, width: float, outer: float) -> float:
        """Return an upper bound on K(u − c) for each u with f(u) ≤ threshold and direction · (u − c) in [0, width].

        The gradient's part along the direction only helps if it is positive; the rest is bounded by its norm. Without a
        direction, u is any state with ‖u‖ ≤ outer.
        """
        rest, loss = self.gradient, 0.0
        if direction is not None:
            slope = float(self.gradient @ direction)
            rest = self.gradient - slope * direction
            loss = 0.0 if slope >= 0 else -slope * min(width, self.reach(outer))
        return threshold - self.low + loss + float(rest.norm()) * self.reach(outer)


def allowed_rows(head: AffineHead) -> Tensor:
    """Return a_v of all tokens, (n, d)."""
    return head.weight[head.exclusion == 0].double() * head.gain


def base_at(head: AffineHead, target: Tensor, rows: Tensor, point: Tensor, outer: float) -> Base:
    """Evaluate the divergence at a point, (d,); `rows` are those of `allowed_rows`.

    `low` allows for the rounding of the value, of the gradient's product with u − c, and of q: a relative error η of
    q_v changes K by at most η. Each is below the allowance of the floor, for states this far from 0.
    """
    value, q = cross_entropy(head, target, linear_part(head, point[None]) + head.offset)
    gradient = pull_back(head, q - target)[0]
    allowance = 4 * head.rounding_nats * ((outer + float(point.norm())) / head.radius) ** 2
    return Base(point, rows, q[0, head.exclusion == 0], float(value - entropy(target)) - allowance, gradient)


def move_base(head: AffineHead, target: Tensor, base: Base, direction: Tensor, distance: float, outer: float) -> Base:
    """Minimise f over the slice direction · u = direction · base + distance, and return the base there.

    The result is valid for any point; one near the minimum has the largest `low` and a gradient along the direction.
    """
    point = base.point + distance * direction
    eigenvalues = eigenvectors = None
    residual = math.inf
    for _ in range(MAX_ITERATIONS):
        logits = linear_part(head, point[None]) + head.offset
        value, q = cross_entropy(head, target, logits)
        gradient = pull_back(head, q - target)[0]
        previous, residual = residual, float((gradient - (gradient @ direction) * direction).norm())
        if residual * base.reach(outer) <= RESIDUAL_NATS:
            break
        if eigenvalues is None or eigenvectors is None or residual > previous / 4:
            eigenvalues, eigenvectors = curvature_eigh(head, q[0])
        newton, along = (eigenvectors @ ((vector @ eigenvectors) / eigenvalues) for vector in (gradient, direction))
        step = -newton + (direction @ newton) / (direction @ along) * along
        products = linear_part(head, step[None])
        slope = (gradient * step).sum()[None]

        def evaluate(length: Tensor, logits: Tensor = logits, products: Tensor = products) -> tuple[Tensor, Tensor]:
            trial, trial_q = cross_entropy(head, target, logits + length[:, None] * products)
            return trial, ((trial_q - target) * products).sum(dim=1)

        one = torch.ones_like(value)
        point = point + line_search(evaluate, value, slope, one, one) * step
    return base_at(head, target, base.rows, point, outer)


def moved_drops(centre: Base, base: Base, drops: Tensor, excess: float, outer: float) -> Tensor:
    """Bound −x_v around `base` by the bounds around `centre`, (n,) each, for states with K ≤ excess around `centre`.

    −x_v' = −x_v + (a_v − m)·(c' − c) + (m' − m)·(u − c'), and by Gibbs' inequality
    (m' − m)·(u − c) = Σ q'_v x_v ≤ K(u − c) + KL(q' ‖ q).
    """
    if base is centre:
        return drops
    shift = base.point - centre.point
    divergence = float(torch.xlogy(base.q, base.q / centre.q).sum())
    between = base.mean - centre.mean
    constant = excess + divergence - float(between @ shift)
    moved = drops + (centre.rows - centre.mean) @ shift + constant
    allowance = 16 * len(drops) * UNIT_ROUNDOFF * (1 + float(centre.rows.norm(dim=1).max()) * base.reach(outer))
    return moved + allowance


def curvature_of_drop(drops: Tensor) -> Tensor:
    """Return the largest φ with exp(x) − 1 − x ≥ φ x² for all x ≥ −drop, elementwise: (e⁻ᴹ − 1 + M)/M²."""
    drops = drops.clamp(min=0, max=LARGEST_DROP)
    safe = drops.clamp(min=SMALL_DROP)
    exact = (torch.expm1(-safe) + safe) / safe**2 * (1 - 1e-9)  # the rounding of the difference is below 1e-11
    return torch.where(drops < SMALL_DROP, 0.5 - drops / 6, exact)


def growth_over_slab(base: Base, drops: Tensor, direction: Tensor, width: float, inner: float) -> float:
    """Return a lower bound on Σ q_v (exp(x_v) − 1 − x_v) over the slab outside the inner sphere.

    This is the least wᵀGw with G = Σ q_v φ_v (a_v − m)(a_v − m)ᵀ, ‖c + w‖ ≥ inner and direction · w in [0, width],
    bounded by its Lagrangian dual: for λ, μ ≥ 0 and N = G − λ + μ direction directionᵀ positive definite,
    λ (inner² − ‖c‖²) − kᵀN⁻¹k with k = λ c + μ width/2 · direction.
    """
    quadratic = base.covariance(curvature_of_drop(drops))
    trace = float(quadratic.trace())
    second = float(torch.linalg.eigvalsh(quadratic)[1])
    reach = base.reach(2 * inner)  # bound on ‖w‖ in the shell
    longest = float(base.rows.norm(dim=1).max())
    # Of G, and of m: Σ q_v x_v is 0 only up to rounding.
    rounding = 4 * (len(base.q) + len(base.point) + 10) * UNIT_ROUNDOFF * (trace * reach**2 + 2 * longest * reach)
    best = max(_dual(quadratic, base.point, direction, width, inner, factor * second) for factor in MULTIPLIERS)
    return best - rounding


def _dual(quadratic: Tensor, point: Tensor, direction: Tensor, width: float, inner: float, slab: float) -> float:
    """Maximise the dual over the norm's multiplier, for a multiplier μ = `slab` of the slab; −inf without a proof."""
    shifted = quadratic + slab * torch.outer(direction, direction)
    eigenvalues, eigenvectors = torch.linalg.eigh(shifted)
    missing = inner**2 - float(point @ point)
    if not float(eigenvalues[0]) > 0 or missing <= 0:
        return -math.inf
    shares = torch.linspace(0, 1, SHARES + 1, dtype=torch.float64, device=point.device)[1:-1]
    norms = (shares * eigenvalues[0])[:, None]
    linear = norms * (point @ eigenvectors) + slab * width / 2 * (direction @ eigenvectors)
    values = norms[:, 0] * missing - (linear**2 / (eigenvalues - norms)).sum(dim=1)
    norm = float(norms[values.argmax(), 0])
    return _proved_dual(shifted, norm, norm * point + slab * width / 2 * direction, missing)


def _proved_dual(shifted: Tensor, norm: float, linear: Tensor, missing: float) -> float:
    """Evaluate the dual with proof: a Cholesky factor proves definiteness, a residual bounds the error of the solution.

    If Cholesky's method succeeds, the matrix is positive definite up to an error of (n + 2)² u · trace (Higham,
    Accuracy and Stability of Numerical Algorithms, theorem 10.3).
    """
    size = len(shifted)
    margin = max(1e-6 * norm, 8 * (size + 2) ** 2 * UNIT_ROUNDOFF * float(shifted.diagonal().abs().sum()))
    identity = torch.eye(size, dtype=torch.float64, device=shifted.device)
    definite = shifted - norm * identity
    factor, failed = torch.linalg.cholesky_ex(definite - 2 * margin * identity)
    if int(failed) != 0:
        return -math.inf
    solution = torch.cholesky_solve(linear[:, None], factor)[:, 0]
    product = definite @ solution
    residual = linear - product
    quadratic = float(solution @ product + 2 * residual @ solution) + float(residual @ residual) / margin
    error = 4 * size * UNIT_ROUNDOFF * float(definite.norm() * solution.norm())  # of `product`
    quadratic += 3 * error * float(solution.norm()) + (2 * float(residual.norm()) + error) * error / margin
    value = norm * missing - quadratic
    return value - 1e-9 * (norm * abs(missing) + abs(quadratic))
