"""Placement of a model that is larger than the memory of one device: its layers are divided over several."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

import torch

from distprompt_tui.core.errors import ModelError
from distprompt_tui.models.checkpoint_checks import stored_shapes
from distprompt_tui.models.device import choose_device, devices_of_kind, free_bytes_of

FOR_SEARCH = 0.8  # fraction of the free memory that weights may take; the rest is for activations and logits


def devices_for(folder: Path, wanted: str, device: torch.device, dtype: torch.dtype) -> tuple[torch.device, ...]:
    """Return the devices for a model: those selected, or several of one type if "auto" finds none with room for it.

    Args:
        folder: of the prepared model.
        wanted: a spec's `device`.
        device: the device that it represents.
        dtype: of the weights.

    Raises:
        ModelError: the weights cannot be read.
    """
    if "," in wanted:
        return tuple(choose_device(one.strip()) for one in wanted.split(","))
    others = devices_of_kind(device) if wanted == "auto" else ()
    if len(others) < 2:
        return (device,)
    needed = weight_bytes(folder, dtype)
    rooms = sorted(((free, other.index) for other, free in free_bytes_of(others).items()), reverse=True)
    if rooms[0][0] * FOR_SEARCH >= needed:
        return (device,)
    totals = accumulate(free for free, _ in rooms)
    count = next((count for count, total in enumerate(totals, 1) if total * FOR_SEARCH >= needed), 0)
    chosen = sorted(index for _, index in rooms[:count])
    return tuple(torch.device(device.type, index) for index in chosen) or (device,)


def weight_bytes(folder: Path, dtype: torch.dtype) -> int:
    """Return the memory of a model that is loaded on an accelerator: its weights in `dtype`.

    Raises:
        ModelError: the weights cannot be read.
    """
    return dtype.itemsize * sum(torch.Size(shape).numel() for shape in stored_shapes(folder).values())


def device_map(folder: Path, dtype: torch.dtype, devices: Sequence[torch.device]) -> dict[str, torch.device]:
    """Return the device of each part of a model, by module name. Blocks stay whole and their order is kept.

    Raises:
        ModelError: the devices have too little memory together.
    """
    if len(devices) == 1:
        return {"": devices[0]}
    from accelerate import infer_auto_device_map, init_empty_weights
    from accelerate.utils import get_balanced_memory
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    with init_empty_weights():
        model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    model.tie_weights()
    whole = list(model._no_split_modules or ())
    room = {place: int(FOR_SEARCH * free) for place, free in enumerate(free_bytes_of(devices).values())}
    room = get_balanced_memory(model, max_memory=room, no_split_module_classes=whole, dtype=dtype)
    found = infer_auto_device_map(model, max_memory=room, no_split_module_classes=whole, dtype=dtype)
    if any(not isinstance(place, int) for place in found.values()):
        raise ModelError(f"it does not fit into the memory of {', '.join(map(str, devices))}")
    return {name: devices[place] for name, place in found.items()}
