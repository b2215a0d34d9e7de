"""Device of a model server: not one without room for a second copy of the model, such as beside a search."""

from __future__ import annotations

from pathlib import Path

from distprompt_tui.core.config.spec import ModelSpec
from distprompt_tui.models.device import choose_device, choose_dtype, free_bytes
from distprompt_tui.models.placement import devices_for, weight_bytes
from distprompt_tui.models.prepare import OnProgress

SPARE = 1.5
"""Required free memory over that of the model's tensors: for the answers, and for what a search allocates later."""


def with_room(settings: ModelSpec, folder: Path, report: OnProgress, *, is_searching: bool) -> ModelSpec:
    """Return the settings of a model, on the CPU if its device has no room; `report` receives the reason.

    Args:
        settings: of the model to load.
        folder: of the prepared model.
        report: receives a message if the CPU is selected.
        is_searching: whether a search uses the device. Then the CPU is also selected if free memory is unknown.

    Raises:
        ModelError: the device does not exist, or the weights cannot be read.
    """
    device = choose_device(settings.device)
    if device.type == "cpu":
        return settings
    dtype = choose_dtype(settings.dtype, device)
    known = [free_bytes(place) for place in devices_for(folder, settings.device, device, dtype)]
    free = None if None in known else sum(map(int, filter(None, known)))
    needed = SPARE * weight_bytes(folder, dtype)
    if (free is None and not is_searching) or (free is not None and free >= needed):
        return settings
    beside = " beside the search" if is_searching else ""
    report(f"{device} has no room for {settings.name}{beside}: loading it on the CPU", None)
    return settings.model_copy(update={"device": "cpu"})
