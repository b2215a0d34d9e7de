"""`mixture`: a weighted sum of other targets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from distprompt_tui.core.config.target_specs import Mixture
from distprompt_tui.targets.target import Metadata, Target


def mixture(spec: Mixture, parts: Sequence[Target]) -> Target:
    """Make a `mixture` target from the targets of the spec's parts, in order."""
    weights = np.array([part.weight for part in spec.parts])
    weights /= weights.max()  # prevents an overflow of the sum
    weights /= weights.sum()
    probabilities = weights @ np.stack([part.probabilities for part in parts])
    sentences = " ".join(f"{weight:.4g}: {part.recipe}" for weight, part in zip(weights, parts, strict=True))
    notes: Metadata = {}
    for number, (weight, part) in enumerate(zip(weights, parts, strict=True), start=1):
        notes[f"part_{number}_weight"] = float(weight)
        notes |= {f"part_{number}_{key}": value for key, value in part.notes.items()}
    return Target(probabilities, spec.family, f"The exact weighted sum of {sentences}", notes)
