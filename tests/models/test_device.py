"""Selection of device and dtype, and errors for lack of memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from distprompt_tui.core.errors import ModelError
from distprompt_tui.models import device as device_module
from distprompt_tui.models.device import (
    choose_device,
    choose_dtype,
    free_bytes_of,
    is_out_of_memory,
    most_free,
    out_of_memory_as,
)
from distprompt_tui.models.nvidia_smi import free_bytes_by_uuid


def test_a_missing_device_is_an_error() -> None:
    with pytest.raises(ModelError, match=r"no device 'cuda:99' on this machine; it has: .*cpu"):
        choose_device("cuda:99")
    with pytest.raises(ModelError, match="no device 'meta'"):
        choose_device("meta")
    with pytest.raises(ModelError, match="'gpu' is not a device"):
        choose_device("gpu")


@pytest.mark.parametrize(("capability", "expected"), [((7, 5), torch.float32), ((8, 0), torch.bfloat16)])
def test_the_automatic_dtype_depends_on_the_selected_gpu(
    capability: tuple[int, int], expected: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other GPU supports the opposite."""
    device = torch.device("cuda:1")
    other = (8, 0) if capability == (7, 5) else (7, 5)
    monkeypatch.setattr(torch.cuda, "get_device_capability", {device: capability, torch.device("cuda:0"): other}.get)
    assert choose_dtype("auto", device) == expected
    assert choose_dtype("float16", device) == torch.float16


@pytest.mark.parametrize(
    "message",
    [
        "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported",
        "HIP error: out of memory",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "cusolver error: CUSOLVER_STATUS_ALLOC_FAILED, when calling `cusolverDnCreate(handle)`",
        "MPS backend out of memory (MPS allocated: 17.77 GB)",
        "[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory",
    ],
)
def test_errors_of_all_libraries_for_lack_of_memory_are_recognised(message: str) -> None:
    assert is_out_of_memory(RuntimeError(message))
    with pytest.raises(ModelError, match="does not fit") as caught, out_of_memory_as("it does not fit"):
        raise RuntimeError(message)
    assert is_out_of_memory(caught.value)


def test_other_errors_are_not_for_lack_of_memory() -> None:
    assert not is_out_of_memory(MemoryError("error: out of memory"))
    assert not is_out_of_memory(ModelError("out of memory"))
    with pytest.raises(RuntimeError, match="illegal memory access"), out_of_memory_as("it does not fit"):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, int]]:
    """Two NVIDIA GPUs of which the second has more free memory, by UUID."""
    free = {"aa": 1 << 30, "bb": 2 << 30}
    monkeypatch.setattr(device_module, "_number_of_devices", lambda kind: {"cuda": 2, "cpu": 1}.get(kind, 0))
    monkeypatch.setattr(device_module, "free_bytes_by_uuid", lambda: free)
    properties = lambda device: SimpleNamespace(uuid=["aa", "bb"][device.index])  # noqa: E731
    monkeypatch.setattr(torch.cuda, "get_device_properties", properties)
    most_free.cache_clear()
    yield free
    most_free.cache_clear()


def test_the_automatic_device_is_the_one_with_most_free_memory_and_does_not_change(two_gpus: dict[str, int]) -> None:
    assert choose_device("auto") == torch.device("cuda:1")
    two_gpus["aa"] = 3 << 30
    assert choose_device("auto") == torch.device("cuda:1")
    assert choose_device("cuda:0") == torch.device("cuda:0")
    assert choose_device("cuda:1,cuda:0") == torch.device("cuda:1")
    with pytest.raises(ModelError, match="no device 'cuda:2'"):
        choose_device("cuda:0, cuda:2")


def test_free_memory_is_that_of_the_runtime_where_nvidia_smi_does_not_know_a_gpu(
    two_gpus: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    del two_gpus["bb"]
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: ([7, 5][device.index], 9))
    devices = device_module.devices_of_kind(torch.device("cuda"))
    assert list(free_bytes_of(devices).values()) == [7, 5]
    assert choose_device("auto") == torch.device("cuda:0")


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("echo 'GPU-1a2b, 1024'; echo 'GPU-3c4d, 512'", {"1a2b": 1 << 30, "3c4d": 1 << 29}),
        ("echo 'GPU-1a2b, [N/A]'", {}),
        ("exit 9", {}),
    ],
)
def test_free_memory_is_read_from_nvidia_smi(
    script: str, expected: dict[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = tmp_path / "nvidia-smi"
    command.write_text(f"#!/bin/sh\n{script}\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert free_bytes_by_uuid() == expected
