"""The bounds of a target as values, without torch."""

from __future__ import annotations

from dataclasses import dataclass

from distprompt_tui.storage.decode import Finite


@dataclass(frozen=True, slots=True)
class Bounds:
    """How close any prompt could come, in nats; None where it is not known (yet)."""

    floor: Finite | None = None
    gap: Finite | None = None
    head_optimum: Finite | None = None
    agreement: Finite | None = None
    norm_ratio: Finite | None = None
    why_no_floor: str | None = None
    seconds: Finite | None = None
