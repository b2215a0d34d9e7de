"""The head optimum: the lowest divergence found over the states that the final norm can pass to the output layer.

The output of RMSNorm and LayerNorm is on the sphere ‖u‖₂ = √d (their ε is negligible on real states), not anywhere in
the ball of the floor. Over the sphere the divergence is not convex, so the head optimum is a measurement: tighter than
the floor, but not a bound. The fraction of starts that agree measures its reliability.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from distprompt_tui.bounds.floor import (
    AffineHead,
    Floor,
    affine_head,
    checked_target,
    cross_entropy,
    curvature_eigh,
    line_search,
    linear_part,
    pull_back,
    solve_floor,
)
from distprompt_tui.core.errors import UsageError
from distprompt_tui.core.metrics.divergence import entropy
from distprompt_tui.models.head import Head

AGREEMENT_NATS = 1e-3  # maximum distance from the lowest value at which a start agrees with it
HISTORY = 10
"""Number of pairs of step and gradient change in L-BFGS (Nocedal and Wright, Numerical Optimization, §7.2: 3 to 20)."""
PATIENCE = 3  # number of consecutive steps without progress after which a start has converged
MAX_ANGLE = 1.5  # longest step on the sphere, in radians; slightly less than a quarter turn (1.57)


@dataclass(frozen=True)
class HeadOptimum:
    """Result of `solve_head_optimum`.

    Attributes:
        value: lowest divergence found, nats, rounded up so that it is never below the floor.
        agreement: fraction of the starts that ended within 0.001 nats of `value`.
        state: u at `value`, (d,), float64, ‖u‖ = √d.
        values: final divergence of each start, nats, ascending.
        seconds: wall-clock time.
    """

    value: float
    agreement: float
    state: Tensor
    values: tuple[float, ...]
    seconds: float


@torch.no_grad()
def solve_head_optimum(
    head: Head,
    target: Tensor,
    floor: Floor | None = None,
    *,
    starts: int = 8,
    tolerance_nats: float = 1e-5,
    max_iterations: int = 300,
    on_progress: Callable[[float], object] | None = None,
) -> HeadOptimum:
    """Minimise KL(target ‖ softmax(logits of u)) over the sphere ‖u‖ = √d (LayerNorm: with Σu = 0).

    The starts are projections of the floor's state to the sphere, in both directions along the lowest eigenvectors of
    the Hessian. From each start L-BFGS moves along great circles, then again from the reflection of its end point.
    Soft-capped heads use the floor's state of the uncapped head.

    Args:
        head: the model's output layer, soft-capped or not.
        target: p, (V,), probabilities; 0 on rows that are not allowed.
        floor: the floor of this head and target, if already computed.
        starts: number of starts, at most 2 d (LayerNorm: 2 d − 2).
        tolerance_nats: a step that improves a start by no more than this is one without progress; stop when no start
            makes progress.
        max_iterations: stop after this many steps.
        on_progress: receives the lowest divergence so far, nats, after each step; it may raise an error to stop.

    Returns:
        The lowest divergence found, its state, and the agreement of the starts.

    Raises:
        ModelError: the kind of the final norm is unknown.
        TargetError: the target is not a distribution over the allowed rows.
        UsageError: `starts` is below 1.
    """
    start = time.perf_counter()
    if starts < 1:
        raise UsageError(f"the head optimum needs at least one start, not {starts}")
    affine = affine_head(head)
    target = checked_target(affine, target)
    centre = (floor or solve_floor(dataclasses.replace(head, softcap=None), target)).state[None].to(target.device)
    _, q = cross_entropy(affine, target, linear_part(affine, centre) + affine.offset)
    eigenvalues, eigenvectors = curvature_eigh(affine, q[0])
    states = _project_starts(affine, centre[0], eigenvectors, starts)
    # Adding the mean avoids long first steps along the softest directions into the basin of the opposite start.
    metric = (eigenvalues + eigenvalues.mean(), eigenvectors)
    target_entropy = entropy(target)
    lowest = math.inf

    def report(values: Tensor) -> None:
        nonlocal lowest
        if on_progress is not None:
            lowest = min(lowest, float(values.min() - target_entropy) + affine.rounding_nats)
            on_progress(lowest)

    states, values = _descend(affine, target, states, metric, tolerance_nats, max_iterations, report)
    mirrored = _reflect(affine, states, centre[0], eigenvectors[:, 0])
    other_states, other_values = _descend(affine, target, mirrored, metric, tolerance_nats, max_iterations, report)
    states = torch.where((other_values < values)[:, None], other_states, states)
    values = torch.minimum(values, other_values)
    values = values - target_entropy + affine.rounding_nats
    best = int(values.argmin())
    agreement = float((values <= values[best] + AGREEMENT_NATS).double().mean())
    seconds = time.perf_counter() - start
    return HeadOptimum(float(values[best]), agreement, states[best], tuple(sorted(values.tolist())), seconds)


def _project_starts(head: AffineHead, centre: Tensor, eigenvectors: Tensor, starts: int) -> Tensor:
    """Project `centre`, (d,), to the sphere along ± the first eigenvectors, (starts, d)."""
    dimensions = len(centre) - 1 if head.centred else len(centre)
    axes = eigenvectors.T[: min((starts + 1) // 2, dimensions)]
    directions = torch.stack([axes, -axes], dim=1).flatten(0, 1)[:starts]
    along = directions @ centre  # ‖centre + t·direction‖ = radius for t = −along + √(along² + radius² − ‖centre‖²)
    distance = -along + (along**2 + head.radius**2 - centre @ centre).clamp(min=0).sqrt()
    return _on_sphere(head, centre + distance[:, None] * directions)


def _reflect(head: AffineHead, states: Tensor, centre: Tensor, softest: Tensor) -> Tensor:
    """Reflect states at the ball's minimum along the softest direction, (k, d).

    On a sphere, a quadratic has at most one local minimum besides the global one (Martínez 1994), on the opposite side
    along its softest direction; near the ball's minimum the divergence is almost quadratic. Without the reflection, a
    third of the starts end in the wrong minimum on some targets (measured on vanilla targets at 6 nats).
    """
    across = (states - centre) @ softest
    return _on_sphere(head, states - 2 * across[:, None] * softest)


def _descend(
    head: AffineHead,
    target: Tensor,
    states: Tensor,
    metric: tuple[Tensor, Tensor],
    tolerance_nats: float,
    max_iterations: int,
    report: Callable[[Tensor], object],
) -> tuple[Tensor, Tensor]:
    """Run L-BFGS over the sphere from all states, (k, d), in parallel; return states and values, (k,).

    `metric` is the initial Hessian of L-BFGS: positive curvatures, (d,), and their directions, (d, d). After each step,
    `report` receives the values of the active states.

    On a great circle cos θ · u + sin θ · v the logits are a combination of two fixed vectors, so a trial of the line
    search costs O(V). A start that has converged leaves the batch, so one slow start does not pay for all.
    """
    ends, active = states.clone(), torch.arange(len(states), device=states.device)
    steps_without_progress = torch.zeros_like(active)
    products = linear_part(head, states)  # a u, (k, V)
    values, residual = _objective(head, target, products)
    gradient = _tangent(pull_back(head, residual), states)
    pairs: list[tuple[Tensor, Tensor]] = []
    for _ in range(max_iterations):
        direction = _tangent(_lbfgs_direction(gradient, pairs, metric), states)
        direction = torch.where((direction * gradient).sum(dim=1, keepdim=True) < 0, direction, -gradient)
        length = direction.norm(dim=1)
        direction = _on_sphere(head, direction)
        direction_products = linear_part(head, direction)
        angle = _search_circle(
            head, target, products, direction_products, values, (gradient * direction).sum(dim=1), length / head.radius
        )
        cos, sin = angle.cos()[:, None], angle.sin()[:, None]
        last_states, last_gradient, last_values = states, gradient, values
        states = _on_sphere(head, cos * states + sin * direction)
        products = cos * products + sin * direction_products
        values, residual = _objective(head, target, products)
        report(values)
        gradient = _tangent(pull_back(head, residual), states)
        pairs = [*pairs, (states - last_states, gradient - last_gradient)][-HISTORY:]
        pairs = [(_tangent(step, states), _tangent(change, states)) for step, change in pairs]
        ends[active] = states
        steps_without_progress = (steps_without_progress + 1) * (last_values - values <= tolerance_nats)
        if bool((steps_without_progress > 0).all()):
            break
        left = steps_without_progress < PATIENCE
        if not bool(left.all()):
            active, steps_without_progress = active[left], steps_without_progress[left]
            states, products, values, gradient = states[left], products[left], values[left], gradient[left]
            pairs = [(step[left], change[left]) for step, change in pairs]
    values, _ = _objective(head, target, linear_part(head, ends))
    return ends, values


def _objective(head: AffineHead, target: Tensor, products: Tensor) -> tuple[Tensor, Tensor]:
    """Compute cross-entropies, (k,), and their gradients with respect to `products` = A u, (k, V)."""
    logits = products + head.offset
    if head.softcap is None:
        values, q = cross_entropy(head, target, logits)
        return values, q - target
    saturation = (logits / head.softcap).tanh()
    values, q = cross_entropy(head, target, head.softcap * saturation)
    return values, (q - target) * (1 - saturation**2)


def _search_circle(
    head: AffineHead,
    target: Tensor,
    products: Tensor,
    direction_products: Tensor,
    values: Tensor,
    slopes: Tensor,
    first_angle: Tensor,
) -> Tensor:
    """Find step angles, (k,), along great circles from u to v; `products` = A u, `direction_products` = A v, (k, V)."""

    def evaluate(angle: Tensor) -> tuple[Tensor, Tensor]:
        cos, sin = angle.cos()[:, None], angle.sin()[:, None]
        trial_values, residual = _objective(head, target, cos * products + sin * direction_products)
        return trial_values, (residual * (cos * direction_products - sin * products)).sum(dim=1)

    limit = torch.full_like(values, MAX_ANGLE)
    return line_search(evaluate, values, slopes, first_angle.minimum(limit), limit)


def _lbfgs_direction(gradient: Tensor, pairs: list[tuple[Tensor, Tensor]], metric: tuple[Tensor, Tensor]) -> Tensor:
    """Compute L-BFGS directions, (k, d), by the two-loop recursion (Nocedal and Wright, algorithm 7.4)."""
    direction = -gradient
    applied = []
    for step, change in reversed(pairs):
        overlap = (step * change).sum(dim=1, keepdim=True)
        weight = torch.where(overlap > 0, 1 / overlap, 0.0)  # skip pairs without positive curvature
        share = weight * (step * direction).sum(dim=1, keepdim=True)
        direction = direction - share * change
        applied.append((weight, share))
    curvatures, directions = metric
    direction = (direction @ directions / curvatures) @ directions.T
    for (step, change), (weight, share) in zip(pairs, reversed(applied), strict=True):
        correction = share - weight * (change * direction).sum(dim=1, keepdim=True)
        direction = direction + correction * step
    return direction


def _tangent(vectors: Tensor, states: Tensor) -> Tensor:
    """Remove each vector's component along its state, (k, d)."""
    return vectors - (vectors * states).sum(dim=1, keepdim=True) / (states * states).sum(dim=1, keepdim=True) * states


def _on_sphere(head: AffineHead, vectors: Tensor) -> Tensor:
    """Scale vectors, (k, d), to the sphere; for centred heads, subtract their mean first."""
    if head.centred:
        vectors = vectors - vectors.mean(dim=1, keepdim=True)
    # Zero vectors stay zero: the gradient of an exactly one-hot softmax is zero.
    unit: Tensor = vectors / vectors.norm(dim=1, keepdim=True).clamp(min=torch.finfo(vectors.dtype).tiny)
    return head.radius * unit
