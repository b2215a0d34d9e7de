"""The bounds of a target as values, without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from distprompt_tui.storage.decode import maybe, number, text


@dataclass(frozen=True, slots=True)
class Bounds:
    """How close any prompt could come, in nats; None where it is not known (yet)."""

    floor: float | None = None
    gap: float | None = None
    head_optimum: float | None = None
    agreement: float | None = None
    norm_ratio: float | None = None
    why_no_floor: str | None = None
    seconds: float | None = None

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


def read_bounds(fields: dict[str, Any]) -> Bounds:
    """The bounds in a table; what it does not have is not known.

    Raises:
        ValueError: a field is of another kind than it should be.
    """
    why = maybe(text, fields.get("why_no_floor"))
    numbers = ("floor", "gap", "head_optimum", "agreement", "norm_ratio", "seconds")
    return Bounds(why_no_floor=why, **{name: maybe(number, fields.get(name)) for name in numbers})
