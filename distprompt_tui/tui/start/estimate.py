"""The estimated time and memory of a search, as text on the form's border."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from distprompt_tui.core.text import formatting
from distprompt_tui.runs.estimates import memory_of, seconds_per_step
from distprompt_tui.runs.summary import RunLabel, RunSummary
from distprompt_tui.tui.widgets.search_form import SearchChoice

if TYPE_CHECKING:
    from distprompt_tui.core.config.presets import Preset
    from distprompt_tui.models.registry import ModelEntry


def estimate_text(
    runs: Iterable[RunSummary],
    model: ModelEntry | None,
    preset: Preset | None,
    choice: SearchChoice,
    loaded_device: str,
    *,
    slim: bool = False,
) -> str:
    """Return `time about 10:36  memory about 985 MiB`; empty without a model and a preset.

    Args:
        runs: earlier runs, for the time.
        model: the selected model.
        preset: the selected preset.
        choice: method, length and steps.
        loaded_device: device of the model that is loaded for previews; empty if unknown. It is the device of a search
            with the device "auto".
        slim: leave out the words for a narrow form.
    """
    from distprompt_tui.core.config.presets import with_method

    if model is None or preset is None:
        return ""
    spec = with_method(preset.spec, choice.method)
    device = loaded_device if spec.model.device == "auto" else spec.model.device
    label = RunLabel(model=model.name, method=choice.method, length=choice.length or 0)
    pace = seconds_per_step(runs, label, device)
    if pace is None:
        time = "no estimate yet" if slim else "no time estimate yet"
    else:
        time = f"{'' if slim else 'time '}about {formatting.duration(pace * (choice.steps or 0))}"
    if (needed := memory_of(spec, model, device)) is None:
        return time
    memory = f"about {formatting.size(needed)}"
    return f"{time}, {memory}" if slim else f"{time}  memory {memory}"
