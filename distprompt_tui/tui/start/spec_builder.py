from __future__ import annotations

from typing import TYPE_CHECKING

from distprompt_tui.tui.widgets.search_form import SearchChoice

if TYPE_CHECKING:
    from distprompt_tui.core.config import spec


def build_spec(base: spec.RunSpec, model: str, choice: SearchChoice) -> spec.RunSpec:
    """Return a preset's spec with the values selected on the screen.

    Raises:
        UsageError: a field is empty or out of its range.
    """
    from distprompt_tui.core.config.presets import update, with_method
    from distprompt_tui.core.errors import UsageError

    fields = {"search.length": choice.length, "budget.steps": choice.steps, "seed": choice.seed}
    if None in fields.values():
        raise UsageError("length, steps and seed must be whole numbers")
    return update(with_method(base, choice.method), {"model.name": model, **fields})
