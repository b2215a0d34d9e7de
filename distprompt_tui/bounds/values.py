"""Bounds of a target, without torch."""

from __future__ import annotations

from dataclasses import dataclass

from distprompt_tui.storage.decode import Finite


@dataclass(frozen=True, slots=True)
class Bounds:
    """Floor, head optimum and their diagnostics, in nats; None if not (yet) computed.

    The floor holds for states in `dtype` and is `rounding` nats below the bound in exact arithmetic.
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
