"""Bounds of a target, without torch."""

from __future__ import annotations

from dataclasses import dataclass

from distprompt_tui.core.storage.decode import Finite

SHARP_NORM_RATIO = 0.999
"""‖u‖ / √d of the ball's minimum from which the floor is (nearly) attained on the sphere, so that it is sharp."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Floor, head optimum and their diagnostics, in nats; None if not (yet) computed.

    Attributes:
        floor: certified lower bound over the ball of all states.
        gap: largest possible increase of `floor`.
        head_optimum: lowest divergence found over the sphere.
        agreement: fraction of the starts that agree with `head_optimum`.
        norm_ratio: ‖u‖ / √d at the ball's minimum.
        why_no_floor: reason, if there is no floor.
        seconds: wall-clock time of floor and head optimum.
        sphere_bound: certified lower bound over the states with ‖u‖ / √d from `sphere_norm_ratio` to 1; at least
            `floor`. It is computed on request only.
        sphere_norm_ratio: least ‖u‖ / √d for which `sphere_bound` holds.
        dtype: of the states for which `floor` holds.
        rounding: nats by which `floor` is below the bound in exact arithmetic.
    """

    floor: Finite | None = None
    gap: Finite | None = None
    head_optimum: Finite | None = None
    agreement: Finite | None = None
    norm_ratio: Finite | None = None
    why_no_floor: str | None = None
    seconds: Finite | None = None
    dtype: str | None = None
    rounding: Finite | None = None
    sphere_bound: Finite | None = None
    sphere_norm_ratio: Finite | None = None

    @property
    def shown_floor(self) -> float | None:
        """The higher one of `floor` and `sphere_bound`, nats."""
        return max((bound for bound in (self.floor, self.sphere_bound) if bound is not None), default=None)

    def excess(self, kl: float | None) -> float | None:
        """KL − head optimum, nats."""
        return None if kl is None or self.head_optimum is None else kl - self.head_optimum

    def gap_closed(self, kl: float | None, start_kl: float | None) -> float | None:
        """1 − excess / (initial excess); None where the initial prompt is not above the head optimum.

        Args:
            kl: nats.
            start_kl: divergence of the initial prompt, nats.
        """
        excess, initial = self.excess(kl), self.excess(start_kl)
        return 1 - excess / initial if excess is not None and initial is not None and initial > 0 else None
