"""The GPUs that worker processes share, found without torch."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import takewhile
from pathlib import Path

VARIABLE = "CUDA_VISIBLE_DEVICES"


def visible_gpus(environment: Mapping[str, str], devices: Path = Path("/dev")) -> tuple[str, ...]:
    """Return the ids of the GPUs that processes of an environment can use, in the form of `CUDA_VISIBLE_DEVICES`.

    Args:
        environment: its `CUDA_VISIBLE_DEVICES` is returned if it is set; as in CUDA, a negative id ends the list.
        devices: folder of the device files; each `nvidiaN` is a GPU, and CUDA numbers those that exist from 0.

    Returns:
        One id for each GPU; empty without NVIDIA GPUs.
    """
    listed = environment.get(VARIABLE)
    if listed is None:
        return tuple(map(str, range(len(list(devices.glob("nvidia[0-9]*"))))))
    return tuple(takewhile(lambda gpu: gpu and not gpu.startswith("-"), map(str.strip, listed.split(","))))
