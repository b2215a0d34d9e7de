"""Compare the estimated memory of a search with the free memory of its device before the model is loaded."""

from __future__ import annotations

import psutil

from distprompt_tui.core.config.spec import RunSpec
from distprompt_tui.core.errors import DistPromptError
from distprompt_tui.core.text.formatting import size
from distprompt_tui.models.device import choose_device, choose_dtype, free_bytes
from distprompt_tui.models.registry import find_model
from distprompt_tui.runs.estimates import memory_of


def expected_memory(spec: RunSpec) -> tuple[int | None, str | None]:
    """Return the estimated peak of a search in bytes, and a warning if less is free.

    Both are None for a model of unknown size; the warning is None for a model that is divided over several devices.
    """
    try:
        device = choose_device(spec.model.device)
        dtype = str(choose_dtype(spec.model.dtype, device)).removeprefix("torch.")
        resolved = spec.model_copy(update={"model": spec.model.model_copy(update={"dtype": dtype})})
        needed = memory_of(resolved, find_model(spec.model.name), str(device))
    except DistPromptError:  # loading reports it
        return None, None
    free = psutil.virtual_memory().available if device.type == "cpu" else free_bytes(device)
    if needed is None or free is None or free >= needed or "," in spec.model.device:
        return needed, None
    return needed, f"the search needs about {size(needed)} of memory on {device}, but {size(free)} are free"
