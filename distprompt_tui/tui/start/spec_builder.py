"""From what a person chose on the screen to the spec of a search."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distprompt_tui.tui.widgets.search_form import SearchChoice

if TYPE_CHECKING:
    from distprompt_tui.config import spec


def build_spec(base: spec.RunSpec, model: str, choice: SearchChoice) -> spec.RunSpec:
    """A preset's spec with what the person chose in its place.

    Raises:
        UsageError: a field is empty or out of its range.
    """
    from distprompt_tui.config.presets import update, with_method
    from distprompt_tui.errors import UsageError

    fields = {"search.length": choice.length, "budget.steps": choice.steps, "seed": choice.seed}
    if None in fields.values():
        raise UsageError("length, steps and seed must be whole numbers")
    return update(with_method(base, choice.method), {"model.name": model, **fields})
