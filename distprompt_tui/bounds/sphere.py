"""A certified lower bound over the shell of states that RMSNorm really passes to the output layer.

The floor is the minimum over the ball ‖u‖ ≤ √d. Real states lie near its sphere. Over the shell
0.99 √d ≤ ‖u‖ ≤ √d the problem is not convex, but a threshold τ above the floor can still be proved: suppose that a
state of the shell has a divergence of at most τ. Then no token can lose more than a computed amount of logit relative
to the mean (`bounds.logit_drops`), so the divergence grows at least quadratically around the minimum of each slab
(`bounds.shell_slabs`), and up to the shell it exceeds τ, which is a contradiction. docs/bounds.md has the proof.

All steps are float64 with allowances for their rounding, except the pass over pairs of tokens, which is float32 with
an allowance for float32.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from distprompt_tui.bounds.floor import AffineHead, Floor, affine_head, checked_target, solve_floor
from distprompt_tui.bounds.logit_drops import LogitDrops, find_logit_drops, ideal_drops
from distprompt_tui.bounds.rounding import allowance_at_any_state, rounding_of
from distprompt_tui.bounds.shell_slabs import Base, allowed_rows, base_at, growth_over_slab, move_base, moved_drops
from distprompt_tui.bounds.values import SHARP_NORM_RATIO
from distprompt_tui.core.errors import ModelError
from distprompt_tui.models.head import Head

INNER_SHARE = 0.99
"""Least norm of the shell's states over √d. RMSNorm gives 1/√(1 + ε/rms²), so this covers each state with an rms of at
least 7.1 √ε: 0.023 for ε = 1e-5."""
SLABS_A_SIDE = 6
"""Slabs between the ball's minimum and the place on each side where the convex bound exceeds the threshold."""
SEARCH_STEPS = 6  # bisections of the threshold within a slab: 1/64 of the first bracket
MAX_SLABS = 60  # bound on the slabs of one side, which are more than SLABS_A_SIDE if f is flatter than its Hessian
OVERLAP = 1e-6  # of neighbouring slabs, as a fraction of their width: more than the rounding of their places
SINGULAR = 1e-9  # ratio of the Hessian's extreme eigenvalues below which the norm can hide in a free direction
EXPECTED_LOSS = 1.25  # measured ratio of the proved drops of logits to the ideal ones, for the choice of the threshold


@dataclass(frozen=True)
class SphereBound:
    """Result of `solve_sphere_bound`.

    Attributes:
        bound: certified lower bound on the divergence over the shell, nats; at least the floor.
        rounding: nats of the allowance for the model's rounding errors; `bound + rounding` is the lower bound in exact
            arithmetic.
        sharp: whether the minimum over the ball lies on the sphere, so that the floor cannot be raised.
        slabs: number of slabs in the proof; 0 if the bound is the floor.
        inner_share: the bound holds for states with ‖u‖ ≥ inner_share · √d.
        seconds: wall-clock time.
    """

    bound: float
    rounding: float
    sharp: bool
    slabs: int
    inner_share: float
    seconds: float


@torch.no_grad()
def solve_sphere_bound(
    head: Head,
    target: Tensor,
    floor: Floor | None = None,
    *,
    on_progress: Callable[[float], object] | None = None,
) -> SphereBound:
    """Compute a certified lower bound on KL(target ‖ softmax(logits of u)) over 0.99 √d ≤ ‖u‖ ≤ √d.

    Takes O(V² d) operations in float32: minutes on two cores with V = 49,152 and d = 576.

    Args:
        head: the model's output layer; linear in the state, behind RMSNorm.
        target: p, (V,), probabilities; 0 on rows that are not allowed.
        floor: the floor of this head and target, if already computed.
        on_progress: receives the fraction of the pass over pairs of tokens; it may raise an error to stop.

    Raises:
        ModelError: the head is not linear in the state, or its final norm is not RMSNorm.
        TargetError: the target is not a distribution over the allowed rows.
    """
    start = time.perf_counter()
    if (reason := why_no_sphere_bound(head)) is not None:
        raise ModelError(f"no sphere bound for this model: {reason}")
    affine = affine_head(head)
    target = checked_target(affine, target)
    floor = floor or solve_floor(head, target)
    sharp = floor.norm_ratio >= SHARP_NORM_RATIO
    bound, rounding, slabs = floor.floor, floor.rounding, 0
    if not sharp:
        raised, count = _raise_floor(affine, target, floor.state.to(target.device), on_progress or (lambda share: None))
        of_model = allowance_at_any_state(head, rounding_of(head), target)
        if raised - of_model > bound:
            bound, rounding, slabs = raised - of_model, of_model, count
    return SphereBound(bound, rounding, sharp, slabs, INNER_SHARE, time.perf_counter() - start)


def why_no_sphere_bound(head: Head) -> str | None:
    """Return the reason why `solve_sphere_bound` refuses a head; None if it does not."""
    if head.why_no_floor is not None:
        return head.why_no_floor
    return "its final norm is not RMSNorm" if head.norm is None or head.norm.kind != "rms" else None


def _raise_floor(
    head: AffineHead, target: Tensor, centre: Tensor, on_progress: Callable[[float], object]
) -> tuple[float, int]:
    """Return the largest threshold proved over the shell, nats, and the number of slabs; (−inf, 0) if none."""
    inner, outer = INNER_SHARE * math.sqrt(len(centre)), head.radius
    base = base_at(head, target, allowed_rows(head), centre, outer)
    eigenvalues, eigenvectors = torch.linalg.eigh(base.covariance())
    if len(eigenvalues) < 2 or not float(eigenvalues[0]) > SINGULAR * float(eigenvalues[-1]):
        return -math.inf, 0
    axis = eigenvectors[:, 0]
    ideal = ideal_drops(base, eigenvalues, eigenvectors)

    def guess(excess: float) -> bool:
        drops = EXPECTED_LOSS * math.sqrt(2 * excess) * ideal
        return growth_over_slab(base, drops, axis, _width(excess, eigenvalues), inner) > math.expm1(excess)

    # Along the axis alone the divergence grows by this much up to the shell: the natural upper end of the search.
    reachable = float(eigenvalues[0]) / 2 * (inner + float(centre.norm())) ** 2
    excess = _largest(guess, reachable)
    if excess <= 0:
        return -math.inf, 0
    drops = find_logit_drops(base, eigenvalues, eigenvectors, excess, base.reach(outer), on_progress)
    width = _width(excess, eigenvalues)
    proof = _Proof(head, target, base, drops, axis, width, inner, outer)
    excess = _largest(lambda trial: proof.holds(base, base.low + trial, 1.0, width), 1.2 * excess)
    excess = min(excess, _largest(lambda trial: proof.holds(base, base.low + trial, -1.0, width), excess))
    if excess <= 0:
        return -math.inf, 0
    threshold, slabs = base.low + excess, 2
    for side in (1.0, -1.0):
        threshold, added = proof.along(side, threshold)
        slabs += added
    return threshold, slabs


@dataclass(frozen=True)
class _Proof:
    """The parts of a proof that all slabs share."""

    head: AffineHead
    target: Tensor
    centre: Base
    drops: LogitDrops
    axis: Tensor
    width: float
    inner: float
    outer: float

    def holds(self, base: Base, threshold: float, side: float, width: float) -> bool:
        """Whether no state of the shell with side · axis · (u − base) in [0, width] is at or below the threshold."""
        width *= 1 + OVERLAP
        excess = base.excess(threshold, side * self.axis, width, self.outer)
        if excess <= 0:
            return True
        central = self.centre.excess(threshold, None, 0.0, self.outer)
        drops = moved_drops(self.centre, base, self.drops.within(central), central, self.outer)
        return growth_over_slab(base, drops, side * self.axis, width, self.inner) > math.expm1(excess)

    def along(self, side: float, threshold: float) -> tuple[float, int]:
        """Extend the proof from the centre's slab to one side; return the threshold proved, and the slabs added."""
        base, slabs = self.centre, 0
        while slabs < MAX_SLABS:
            base = move_base(self.head, self.target, base, side * self.axis, self.width, self.outer)
            if base.excess(threshold, side * self.axis, math.inf, self.outer) <= 0:
                return threshold, slabs + 1  # by convexity, for all states beyond
            if not self.holds(base, threshold, side, self.width):
                low = self.centre.low
                threshold = low + _largest(
                    lambda trial: self.holds(base, low + trial, side, self.width),  # noqa: B023
                    threshold - low,
                )
            slabs += 1
        return -math.inf, slabs


def _width(excess: float, eigenvalues: Tensor) -> float:
    """Return the width of a slab: the divergence along the axis reaches the threshold after SLABS_A_SIDE of them."""
    return math.sqrt(2 * excess / float(eigenvalues[0])) / SLABS_A_SIDE


def _largest(holds: Callable[[float], bool], high: float) -> float:
    """Return the largest tested value in [0, high] for which `holds`, by bisection; 0 if there is none."""
    if holds(high):
        return high
    low = 0.0
    for _ in range(SEARCH_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low
