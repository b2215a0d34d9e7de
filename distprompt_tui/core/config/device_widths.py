"""Sizes of batches of searches over tokens: candidates and chains of the hard search by device, and their limit.

This module imports no torch: a search's memory is estimated before it starts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Automatic = Literal["auto"]

MAX_LOGITS = 1 << 25
"""Maximum number of logits at a time in a search over tokens: 128 MiB in float32, 128 prompts with a vocabulary of
262,144. Larger batches are divided."""


@dataclass(frozen=True)
class Widths:
    """Candidates in a step of a chain, at an average position, and number of chains."""

    width: int
    chains: int


DEFAULT = Widths(24, 1)
"""For a CPU, and for devices without an entry."""

BY_DEVICE: dict[str, tuple[tuple[float, Widths], ...]] = {
    "cuda": ((0.5e9, Widths(64, 8)), (2e9, Widths(32, 8)), (math.inf, Widths(24, 4))),
    "mps": ((0.5e9, Widths(24, 4)),),
}
"""By device type: widths for models of up to so many parameters. No GPU has measured them; they rest on estimates.

By these estimates, half of the peak of an H100's matrix products needs about 290 candidates of ten tokens with a
billion parameters, and 90 with eight billion. With fewer parameters, the checks of 500 texts take as long as the kernel
launches of a step.
"""


def widths_for(
    device_type: str, parameters: int, width: int | Automatic = "auto", chains: int | Automatic = "auto"
) -> Widths:
    """Return the widths of a search; "auto" is replaced by the value for the device.

    Args:
        device_type: such as "cpu" or "cuda".
        parameters: number of parameters of the model's backbone.
    """
    entries = BY_DEVICE.get(device_type, ())
    chosen = next((widths for largest, widths in entries if parameters <= largest), DEFAULT)
    return Widths(
        chosen.width if width == "auto" else width,
        chosen.chains if chains == "auto" else chains,
    )
