"""The floor: a certified lower bound on the divergence of any prompt, soft or hard, of any length.

For every prompt, the output layer receives a state u with ‖u‖₂ ≤ √d from the final norm (LayerNorm: also Σu = 0). Over
that ball, f(u) = KL(p ‖ softmax(A u + b)) is convex. Newton's method minimises it, and the certificate of `_certify` is
a lower bound in exact arithmetic: it is valid with or without convergence. The floor is that bound less an allowance
for the rounding errors of the model in its dtype (`bounds.rounding`).

Here everything except the Hessian is float64, and a bound on its rounding is subtracted.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from distprompt_tui.bounds.memory import block_rows
from distprompt_tui.bounds.rounding import allowance, rounding_of
from distprompt_tui.core.errors import ModelError, TargetError
from distprompt_tui.core.metrics.divergence import entropy
from distprompt_tui.models.device import has_float64
from distprompt_tui.models.head import Head

SUM_TOLERANCE = 1e-5  # largest deviation of a target's sum from 1: the rounding of a float32 softmax
EXCLUDED_LOGIT = -1e30  # low enough that exp is 0, but finite, so that 0 · logit is 0
SLOPE_SHARE = 0.1
"""A line search ends when the slope is at most this fraction of the first one (strong Wolfe condition)."""
VALUE_NOISE_NATS = 1e-10  # a line search ignores smaller increases as rounding errors
KEEP_HESSIAN_RATIO = 0.5
"""The Hessian is reused while each step at least halves the gap: a step costs at most a tenth of a Hessian."""
MAX_TRIALS = 25  # maximum number of halvings and doublings of a line search
SMALLEST_CURVATURE = 1e-12  # keeps the Newton step finite if the softmax is one-hot and the Hessian is zero


@dataclass(frozen=True)
class Floor:
    """Result of `solve_floor`.

    Attributes:
        floor: certified lower bound on the divergence of every prompt, nats.
        upper: divergence at `state`, nats, rounded up; the minimum over the ball is between `floor + rounding` and
            `upper`.
        state: u, (d,), float64, in the ball.
        iterations: Newton steps taken.
        seconds: wall-clock time.
        rounding: nats of the allowance for the model's rounding errors; `floor + rounding` is the lower bound in exact
            arithmetic.
        dtype: of the model's states, for which the floor holds, such as "float32".
    """

    floor: float
    upper: float
    state: Tensor
    iterations: int
    seconds: float
    rounding: float
    dtype: str

    @property
    def gap(self) -> float:
        """Largest possible increase of the bound by more Newton steps, in nats."""
        return self.upper - self.floor - self.rounding

    @property
    def norm_ratio(self) -> float:
        """‖u‖ / √d; 1 if the minimum is on the sphere, where all real states are."""
        return float(self.state.norm()) / math.sqrt(len(self.state))


@dataclass(frozen=True)
class AffineHead:
    """A head as a function of the normalised state: logits = A u + b with A = weight · diag(gain), before any soft cap.

    Attributes:
        weight: (V, d), as stored by the model.
        gain: (d,), float64; the norm's gain times the head's scale.
        offset: b, (V,), float64; scale · (weight · norm bias + head bias).
        exclusion: (V,), float64, added to the logits; 0 for allowed rows, EXCLUDED_LOGIT for the others.
        centred: whether states sum to 0 (LayerNorm).
        radius: √d.
        softcap: the cap, or None.
        rounding_nats: bound on the float64 rounding error of a divergence or certificate.
    """

    weight: Tensor
    gain: Tensor
    offset: Tensor
    exclusion: Tensor
    centred: bool
    radius: float
    softcap: float | None
    rounding_nats: float


def affine_head(head: Head) -> AffineHead:
    """Combine the head with its final norm, on the device of the solvers.

    This is the weight's device, or the CPU if that device has no float64, such as MPS.

    Raises:
        ModelError: the kind of the final norm is unknown.
    """
    if head.norm is None:
        raise ModelError(
            "no floor or head optimum for this model: the kind of the final norm is unknown, "
            "so the last state may be unbounded"
        )
    device = head.weight.device if has_float64(head.weight.device) else torch.device("cpu")
    weight = head.weight.detach().to(device)
    vocab_size, hidden_size = weight.shape
    gain = head.scale * head.norm.gain.detach().to(device, torch.float64)
    offset = torch.zeros(vocab_size, dtype=torch.float64, device=device)
    offset_bound = torch.zeros_like(offset)  # ≥ every intermediate value of `offset`
    if head.norm.bias is not None:
        norm_bias = head.norm.bias.detach().to(device, torch.float64)
        for rows, block in _row_blocks(weight, torch.float64):
            offset[rows] = block @ norm_bias
            offset_bound[rows] = block.norm(dim=1) * norm_bias.norm()
    if head.bias is not None:
        bias = head.bias.detach().to(device, torch.float64)
        offset += bias
        offset_bound += bias.abs()
    row_norms = torch.cat([block.mul_(gain).norm(dim=1) for _, block in _row_blocks(weight, torch.float64)])
    radius = math.sqrt(hidden_size)
    largest_logit = float((radius * row_norms + abs(head.scale) * offset_bound).max())
    return AffineHead(
        weight=weight,
        gain=gain,
        offset=head.scale * offset,
        exclusion=torch.zeros_like(offset).masked_fill(~head.allowed.to(device), EXCLUDED_LOGIT),
        centred=head.norm.kind == "layer",
        radius=radius,
        softcap=head.softcap,
        rounding_nats=_rounding_bound(vocab_size, hidden_size, largest_logit),
    )


def checked_target(head: AffineHead, target: Tensor) -> Tensor:
    """Return the target in float64 on the solver's device, normalised to sum to 1.

    Raises:
        TargetError: the target is not a distribution over the allowed rows of this head.
    """
    vocab_size = len(head.weight)
    if target.shape != (vocab_size,):
        raise TargetError(f"the target has shape {tuple(target.shape)}, but this model's head has {vocab_size} rows")
    target = target.detach().to(head.weight.device).double()
    total = float(target.sum())
    if not bool((target >= 0).all()) or not abs(total - 1) <= SUM_TOLERANCE:
        raise TargetError(f"invalid target: the probabilities must be ≥ 0 and sum to 1, but sum to {total:g}")
    if bool((target[head.exclusion < 0] > 0).any()):
        raise TargetError("invalid target: rows without a token must have probability 0")
    return target / total


@torch.no_grad()
def solve_floor(
    head: Head,
    target: Tensor,
    *,
    tolerance_nats: float = 1e-4,
    max_iterations: int = 50,
    logits_dtype: torch.dtype = torch.float32,
    on_progress: Callable[[float], object] | None = None,
) -> Floor:
    """Compute a certified lower bound on KL(target ‖ softmax(logits of u)) over the ball ‖u‖ ≤ √d.

    Each Newton step minimises the quadratic model at u over the ball, then runs a line search towards that minimum.

    Args:
        head: the model's output layer; must be linear in the state.
        target: p, (V,), probabilities; 0 on rows that are not allowed.
        tolerance_nats: stop when the gap is at most this.
        max_iterations: stop after this many Newton steps; the floor is valid in any case.
        logits_dtype: dtype in which logits are computed from states. In this program it is always float32; for another
            program that computes the logits in bfloat16 or float16, the floor is much lower.
        on_progress: receives the bound so far in exact arithmetic, nats, before each step, and the floor at the end; it
            may raise an error to stop.

    Returns:
        The bound and the state that nearly attains it.

    Raises:
        ModelError: the head is not linear in the state, or the kind of its norm is unknown.
        TargetError: the target is not a distribution over the allowed rows.
    """
    start = time.perf_counter()
    if head.why_no_floor is not None:
        raise ModelError(f"no floor for this model: {head.why_no_floor}")
    affine = affine_head(head)
    target = checked_target(affine, target)
    state = torch.zeros(1, affine.weight.shape[1], dtype=torch.float64, device=affine.weight.device)
    target_entropy = entropy(target)
    bound, difference = 0.0, torch.zeros_like(target)  # a divergence is never negative
    gap, iterations = math.inf, 0
    while True:
        logits = linear_part(affine, state) + affine.offset
        value, q = cross_entropy(affine, target, logits)
        gradient = pull_back(affine, q - target)
        if (certified := _certify(affine, target, q, gradient)) > bound:
            bound, difference = certified, q[0] - target
        if on_progress is not None:
            on_progress(bound)
        upper = float(value - target_entropy) + affine.rounding_nats
        last_gap, gap = gap, upper - bound
        if gap <= tolerance_nats or iterations == max_iterations:
            break
        if iterations == 0 or gap > KEEP_HESSIAN_RATIO * last_gap:
            eigenvalues, eigenvectors = curvature_eigh(affine, q[0])
        step = _ball_minimum(affine.radius, eigenvalues, eigenvectors, gradient, state) - state
        state = state + _step_length(affine, target, logits, linear_part(affine, step), value, gradient, step) * step
        iterations += 1
    floor = max(0.0, bound - _allowance(head, affine, difference, logits_dtype))
    if on_progress is not None:
        on_progress(floor)
    dtype = str(head.norm.dtype).removeprefix("torch.") if head.norm is not None else ""
    return Floor(floor, upper, state[0], iterations, time.perf_counter() - start, bound - floor, dtype)


def linear_part(head: AffineHead, states: Tensor) -> Tensor:
    """Compute A u for each row, (k, d) → (k, V)."""
    scaled = states * head.gain
    logits = torch.empty(len(states), len(head.weight), dtype=torch.float64, device=states.device)
    for rows, block in _row_blocks(head.weight, torch.float64):
        logits[:, rows] = scaled @ block.T
    return logits


def pull_back(head: AffineHead, residual: Tensor) -> Tensor:
    """Compute Aᵀ r for each row, (k, V) → (k, d); for centred heads, subtract the mean."""
    return _projected(head, _weighted_rows(head.weight, residual) * head.gain)


def _projected(head: AffineHead, gradient: Tensor) -> Tensor:
    return gradient - gradient.mean(dim=-1, keepdim=True) if head.centred else gradient


def cross_entropy(head: AffineHead, target: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
    """Compute KL(p ‖ q) + H(p) in nats, (k,), and q = softmax(logits) over the allowed rows, (k, V)."""
    log_q = (logits + head.exclusion).log_softmax(dim=1)
    return -log_q @ target, log_q.exp()


def curvature_eigh(head: AffineHead, q: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the eigendecomposition of f's Hessian at the state with softmax q, (V,).

    The Hessian is the covariance of A's rows under q. It is summed in float32, which is twice as fast: its accuracy
    affects the speed of convergence, not the bound. For centred heads, the direction (1, ..., 1) gets the largest
    eigenvalue.

    Returns:
        Eigenvalues, (d,), ascending and positive, and eigenvectors, (d, d), as columns.
    """
    mean = _weighted_rows(head.weight, q[None])[0].float()
    root = q.sqrt().float()
    covariance = torch.zeros(len(mean), len(mean), device=q.device)
    for rows, block in _row_blocks(head.weight, torch.float32):
        block.sub_(mean).mul_(root[rows, None])
        covariance.addmm_(block.T, block)
    hessian = head.gain[:, None] * covariance.double() * head.gain
    if head.centred:
        hessian = hessian - hessian.mean(dim=0, keepdim=True)
        hessian = hessian - hessian.mean(dim=1, keepdim=True) + hessian.trace() / len(hessian)
    eigenvalues, eigenvectors = torch.linalg.eigh(hessian)
    noise = torch.finfo(torch.float32).eps * eigenvalues[-1].clamp(min=0)
    return eigenvalues.clamp(min=float(noise) + SMALLEST_CURVATURE), eigenvectors


def line_search(
    evaluate: Callable[[Tensor], tuple[Tensor, Tensor]], value: Tensor, slope: Tensor, step: Tensor, limit: Tensor
) -> Tensor:
    """Find step lengths that satisfy the strong Wolfe condition along a curve, independently for each row.

    Args:
        evaluate: step lengths (k,) → values and slopes, (k,) each.
        value: at step 0, (k,).
        slope: at step 0, (k,), not positive.
        step: first trial step, (k,).
        limit: longest step, (k,).

    Returns:
        Step lengths, (k,); 0 if no trial had a lower value.
    """
    low, high = torch.zeros_like(step), limit
    for _ in range(MAX_TRIALS):
        trial_value, trial_slope = evaluate(step)
        too_far = (trial_slope > -SLOPE_SHARE * slope) | (trial_value > value + VALUE_NOISE_NATS)
        too_near = ~too_far & (trial_slope < SLOPE_SHARE * slope) & (step < limit)
        if not bool((too_far | too_near).any()):
            break
        low = torch.where(too_near, step, low)
        high = torch.where(too_far, step, high)
        # Bisection instead of the secant method, which makes almost no progress where the slope changes sharply.
        between = (low + high) / 2
        longer = torch.where(high < limit, between, torch.minimum(2 * step, limit))
        step = torch.where(too_far, between, torch.where(too_near, longer, step))
    return torch.where(too_far, low, step)


def _certify(head: AffineHead, target: Tensor, q: Tensor, gradient: Tensor) -> float:
    """Compute a lower bound on f over the ball from any distribution q.

    By Gibbs' inequality, logsumexp(z) ≥ q·z + H(q), so f(u) ≥ H(q) − H(p) + (q − p)·(A u + b), which over the ball is
    at least H(q) − H(p) + (q − p)·b − √d ‖Aᵀ(q − p)‖. With q = softmax(A u + b) this is f(u) − g·u − √d ‖g‖, the
    Frank-Wolfe bound at u. It holds for any q, so the accuracy of the logits does not affect its validity.
    """
    bound = entropy(q) - entropy(target) + (q - target) @ head.offset - head.radius * gradient.norm()
    return float(bound) - head.rounding_nats


def _allowance(head: Head, affine: AffineHead, difference: Tensor, logits_dtype: torch.dtype) -> float:
    """Bound the effect of the model's rounding errors on the certificate of r = q − p, (V,), in nats."""
    weighted = _weighted_rows(affine.weight, difference[None])[0]
    magnitudes = _weighted_rows(affine.weight, difference[None].abs(), magnitudes=True)[0]
    projected_norm = float(_projected(affine, weighted * affine.gain).norm())
    return allowance(head, rounding_of(head, logits_dtype), difference, weighted, magnitudes, projected_norm)


def _rounding_bound(vocab_size: int, hidden_size: int, largest_logit: float) -> float:
    """Bound the float64 rounding error of `cross_entropy` and `_certify`, in nats.

    n additions and multiplications in any order change a sum by at most n·2⁻⁵³ of the sum of absolute terms (Higham,
    Accuracy and Stability of Numerical Algorithms, §3.1). The sums here have at most V + d terms. An entropy is at most
    ln V; the other terms are logits, weighted by p and q. The factor 8 is 2 for p and q, 2 for the rounding of q's sum,
    and 2 for safety. A logit's own rounding changes q by a number of roundoffs equal to the logit's size.
    """
    unit_roundoff = torch.finfo(torch.float64).eps / 2
    operations = vocab_size + hidden_size + largest_logit
    return 8 * operations * unit_roundoff * (math.log(vocab_size) + 1 + largest_logit)


def _ball_minimum(radius: float, eigenvalues: Tensor, eigenvectors: Tensor, gradient: Tensor, state: Tensor) -> Tensor:
    """Minimise the quadratic model of f at `state` over the ball, (1, d).

    The minimum w solves (H + μ) w = H u − g with μ ≥ 0 such that ‖w‖ ≤ √d. Newton's method solves the secular equation
    1/‖w(μ)‖ = 1/√d from μ = 0, with monotonic convergence (Moré and Sorensen 1983).
    """
    right_side = eigenvalues * (state[0] @ eigenvectors) - gradient[0] @ eigenvectors
    shift = torch.zeros_like(eigenvalues[0])
    for _ in range(MAX_TRIALS):
        point = right_side / (eigenvalues + shift)
        norm = point.norm()
        if float(norm) <= radius * (1 + 1e-9):
            break
        shift = shift + norm**2 / (point**2 / (eigenvalues + shift)).sum() * (norm / radius - 1)
    point = point * (radius / norm).clamp(max=1)
    minimum: Tensor = eigenvectors @ point
    return minimum[None]


def _step_length(
    head: AffineHead, target: Tensor, logits: Tensor, direction: Tensor, value: Tensor, gradient: Tensor, step: Tensor
) -> Tensor:
    """Return the fraction of a Newton step to take, at most 1; `direction` is A step, (1, V)."""

    def evaluate(length: Tensor) -> tuple[Tensor, Tensor]:
        trial_value, q = cross_entropy(head, target, logits + length[:, None] * direction)
        return trial_value, ((q - target) * direction).sum(dim=1)

    one = torch.ones_like(value)
    return line_search(evaluate, value, (gradient * step).sum(dim=1), one, one)


def _weighted_rows(weight: Tensor, coefficients: Tensor, *, magnitudes: bool = False) -> Tensor:
    """Compute coefficients · weight in float64, or coefficients · |weight|, (k, V) → (k, d)."""
    total = torch.zeros(len(coefficients), weight.shape[1], dtype=torch.float64, device=weight.device)
    for rows, block in _row_blocks(weight, torch.float64):
        total += coefficients[:, rows] @ (block.abs_() if magnitudes else block)
    return total


def _row_blocks(weight: Tensor, dtype: torch.dtype) -> Iterator[tuple[slice, Tensor]]:
    """Yield blocks of the weight's rows in `dtype`; each block overwrites the previous one's buffer."""
    size = block_rows(weight.shape[1], on_cpu=weight.device.type == "cpu")
    buffer = torch.empty(min(size, len(weight)), weight.shape[1], dtype=dtype, device=weight.device)
    for start in range(0, len(weight), size):
        block = weight[start : start + size]
        yield slice(start, start + len(block)), buffer[: len(block)].copy_(block)
