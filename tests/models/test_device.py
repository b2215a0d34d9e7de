"""Selection of device and dtype, and errors for lack of memory."""

from __future__ import annotations

import pytest
import torch

from distprompt_tui.errors import ModelError
from distprompt_tui.models.device import choose_device, choose_dtype, is_out_of_memory, out_of_memory_as


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
