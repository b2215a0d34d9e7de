"""Device of a model server: not one without room for a second copy of the model, such as beside a search."""

from __future__ import annotations

from pathlib import Path

import torch

from distprompt_tui.config.spec import ModelSpec
from distprompt_tui.models.checkpoint_checks import VOCABULARY_TENSORS, stored_shapes
from distprompt_tui.models.device import choose_device, choose_dtype, free_bytes
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
    free = free_bytes(device)
    needed = SPARE * needed_bytes(folder, choose_dtype(settings.dtype, device))
    if (free is None and not is_searching) or (free is not None and free >= needed):
        return settings
    beside = " beside the search" if is_searching else ""
    report(f"{device} has no room for {settings.name}{beside}: loading it on the CPU", None)
    return settings.model_copy(update={"device": "cpu"})


def needed_bytes(folder: Path, dtype: torch.dtype) -> int:
    """Return the memory of a loaded model: weights in `dtype`, embeddings and head also in float32.

    Raises:
        ModelError: the weights cannot be read.
    """
    sizes = {name: torch.Size(shape).numel() for name, shape in stored_shapes(folder).items()}
    in_dtype = dtype.itemsize * sum(sizes.values())
    vocabulary = max((size for name, size in sizes.items() if name.endswith(VOCABULARY_TENSORS)), default=0)
    return in_dtype if dtype == torch.float32 else in_dtype + 2 * torch.float32.itemsize * vocabulary
