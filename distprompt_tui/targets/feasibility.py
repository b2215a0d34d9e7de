"""Find impossible targets without loading a model."""

from __future__ import annotations

import math

from distprompt_tui.config import spec as specs
from distprompt_tui.config.spec import RunSpec
from distprompt_tui.errors import DistPromptError
from distprompt_tui.models.registry import find_model


def impossible(spec: RunSpec) -> list[str]:
    """Return a message for each part of a target that is impossible for every model, or for the spec's model."""
    try:
        rows = find_model(spec.model.name).vocab_size
    except DistPromptError as error:
        return [f"model.name: {error}"]
    return _impossible_target(spec.target, "target", rows)


def _impossible_target(target: specs.TargetSpec, where: str, rows: int | None) -> list[str]:
    if isinstance(target, specs.Mixture):
        parts = enumerate(target.parts)
        return [one for i, part in parts for one in _impossible_target(part.target, f"{where}.parts.{i}.target", rows)]
    if (
        isinstance(target, specs.Explicit)
        and (total := math.fsum(target.probabilities.values())) > 1 + specs.SUM_TOLERANCE
    ):
        return [f"{where}.probabilities: they sum to {total:.10g}, more than 1"]
    entropy = getattr(target, "entropy", None)
    if entropy is not None and rows is not None and entropy > math.log(rows):
        most = f"{math.log(rows):.3f}, that of a uniform distribution over {rows:,} tokens"
        return [f"{where}.entropy: {entropy:g} nats are more than {most}"]
    return []
