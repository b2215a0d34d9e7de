"""Change the entropy of a preset's target on the start screen."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from distprompt_tui.core.errors import UsageError
from distprompt_tui.core.text import formatting

if TYPE_CHECKING:
    from distprompt_tui.core.config import target_specs
    from distprompt_tui.core.config.presets import Preset
    from distprompt_tui.tui.start.target_preview_data import TargetPreview

ENTROPY_STEP = 0.5  # nats


def has_entropy(target: target_specs.TargetSpec) -> bool:
    """Whether the recipe has an entropy, which may be unset."""
    return "entropy" in type(target).model_fields


def entropy_of(target: target_specs.TargetSpec) -> float | None:
    """Return the entropy in the recipe, nats; None if it is unset or the family has none."""
    return getattr(target, "entropy", None)


def change_entropy(preset: Preset, shown: TargetPreview | None, by: int) -> Preset:
    """Return the preset with the entropy of its target moved by a number of steps, and named after it.

    Args:
        shown: the preview of the preset's target, with any entropy, if it is built. It gives the largest possible
            entropy, and the present one if the recipe does not set it.

    Raises:
        UsageError: the target has no entropy to change, or the new one is impossible.
    """
    from distprompt_tui.core.config.presets import update

    target = preset.spec.target
    if not has_entropy(target):
        raise UsageError(f"{target.family} targets have no entropy setting; e edits the target")
    now = entropy_of(target)
    if now is None:
        if shown is None:
            raise UsageError("the entropy of this target is not known before its preview is built")
        now = round(shown.entropy / ENTROPY_STEP) * ENTROPY_STEP
    new = round(now + by * ENTROPY_STEP, 6)
    largest = shown.entropy + shown.uniform_kl if shown is not None else new
    if not 0 <= new <= largest:
        raise UsageError(f"the entropy can be 0 to {formatting.nats(largest)} nats")
    name = f"{preset.name}, entropy {new}"
    return replace(preset, spec=update(preset.spec, {"target.entropy": new, "title": name, "preset": name}))
