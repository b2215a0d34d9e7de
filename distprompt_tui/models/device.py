"""Devices: selection by a spec's settings, supported dtypes, and errors for lack of memory."""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache

import torch

from distprompt_tui.core.errors import ModelError
from distprompt_tui.models.nvidia_smi import free_bytes_by_uuid

AUTOMATIC = ("cuda", "mps", "xpu", "cpu")  # device types that "auto" selects from, in this order

BFLOAT16_CAPABILITY = (8, 0)
"""Lowest compute capability with bfloat16 instructions. Older GPUs emulate them, slower than float32."""

_OUT_OF_MEMORY = (
    "MPS backend out of memory",
    "DefaultCPUAllocator: ",
    "error: out of memory",  # "CUDA error: …" and "HIP error: …", of calls outside torch's allocator
    "_STATUS_ALLOC_FAILED",  # of cuBLAS, cuDNN, cuSOLVER and their HIP counterparts
    "DEVICE_ALLOCATION_FAILED",  # cuDNN 9
)
"""Parts of the messages of errors for lack of memory that are not `torch.OutOfMemoryError`."""


def choose_device(wanted: str) -> torch.device:
    """Return the torch device for a spec's `device`.

    Args:
        wanted: "auto" is the first type of `AUTOMATIC` that this machine has, and of several devices the one with the
            most free memory at the first call in a process. Otherwise a torch device such as "cuda:1", or several
            ("cuda:0,cuda:1"); the first of these is the one for inputs.

    Raises:
        ModelError: this machine has no such device.
    """
    there = [kind for kind in AUTOMATIC if _number_of_devices(kind)]
    if wanted == "auto":
        return most_free(there[0])
    if "," in wanted:
        first, *_ = [choose_device(one.strip()) for one in wanted.split(",")]
        return first
    try:
        device = torch.device(wanted)
    except RuntimeError:
        raise ModelError(f"{wanted!r} is not a device; this machine has: {', '.join(there)}") from None
    if (device.index or 0) >= _number_of_devices(device.type):
        raise ModelError(f"no device {wanted!r} on this machine; it has: {', '.join(there)}")
    return device


@cache
def most_free(kind: str) -> torch.device:
    """Return the device of a type with the most free memory; the same one at each later call."""
    devices = devices_of_kind(torch.device(kind))
    if len(devices) == 1:
        return torch.device(kind)
    free = free_bytes_of(devices)
    return max(devices, key=lambda device: free[device])


def devices_of_kind(device: torch.device) -> tuple[torch.device, ...]:
    """Return all devices of a type."""
    return tuple(torch.device(device.type, index) for index in range(_number_of_devices(device.type)))


def _number_of_devices(kind: str) -> int:
    """Return the number of usable devices of a type, 0 if torch has no backend for it."""
    try:
        return int(torch.get_device_module(kind).device_count())
    except (AttributeError, RuntimeError):
        return 0


def choose_dtype(wanted: str, device: torch.device) -> torch.dtype:
    """Return the backbone's dtype: "auto" is bfloat16 on GPUs with instructions for it, and float32 elsewhere."""
    if wanted == "auto":
        is_fast = device.type == "cuda" and torch.cuda.get_device_capability(device) >= BFLOAT16_CAPABILITY
        return torch.bfloat16 if is_fast else torch.float32
    dtype: torch.dtype = getattr(torch, wanted)
    return dtype


def has_float64(device: torch.device) -> bool:
    """Return whether a device can hold float64, which MPS and some other GPUs cannot."""
    try:
        torch.zeros((), dtype=torch.float64, device=device)
    except (RuntimeError, TypeError):
        return False
    return True


def free_bytes(device: torch.device) -> int | None:
    """Return the free memory of a device for all processes; None if it is unknown."""
    mem_get_info = getattr(torch.get_device_module(device), "mem_get_info", None)
    if mem_get_info is None:
        return None
    try:
        return int(mem_get_info(device)[0])
    except RuntimeError:  # not even the query fits into the memory
        return 0


def free_bytes_of(devices: Sequence[torch.device]) -> dict[torch.device, int]:
    """Return the free memory of each device, 0 where it is unknown; no context is created on an NVIDIA GPU."""
    if devices and devices[0].type == "cuda":
        known = free_bytes_by_uuid()
        uuids = [str(getattr(torch.cuda.get_device_properties(device), "uuid", "")) for device in devices]
        if all(uuid in known for uuid in uuids):  # parts of a GPU are not listed
            return {device: known[uuid] for device, uuid in zip(devices, uuids, strict=True)}
    return {device: free_bytes(device) or 0 for device in devices}


def peak_bytes(device: torch.device) -> int:
    """Return the largest memory of the process so far, in bytes; on a GPU, of its tensors."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    unit = 1 if sys.platform == "darwin" else 1024  # getrusage(2) of macOS counts bytes, that of Linux kilobytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def is_out_of_memory(error: BaseException | None) -> bool:
    """Return whether an error, or the cause of a `ModelError`, is the lack of memory on a device."""
    if isinstance(error, ModelError):
        error = error.__cause__
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _OUT_OF_MEMORY)


@contextmanager
def out_of_memory_as(message: str) -> Iterator[None]:
    """Replace an error for lack of memory by a `ModelError` with a message."""
    try:
        yield
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise ModelError(message) from error
