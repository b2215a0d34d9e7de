"""The devices `fake:0` and `fake:1`, for tests on machines without an accelerator (`backend.cpp`).

As on CUDA, tensors of two devices in one operator raise, and random numbers do not come from a generator of the CPU.
Memory can be limited, and float64 and single operators can be refused. Results are those of the CPU's kernels.
"""

from __future__ import annotations

import atexit
import fcntl
import gc
import hashlib
import os
import shutil
import subprocess
import tempfile
import types
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch.utils import backend_registration, cpp_extension

SOURCE = Path(__file__).parent / "backend.cpp"
UNLIMITED = (1 << 63) - 1
_limit = [UNLIMITED]  # bytes of both devices together
NOT_NEEDED = ("_lazy_init", "synchronize", "empty_cache", "manual_seed", "manual_seed_all")


class BuildError(Exception):
    """The device cannot be built on this machine."""


@cache
def load() -> None:
    """Register the devices, after building them if necessary, which takes half a minute.

    Raises:
        BuildError: there is no C++ compiler, or it fails.
    """
    library = _build()
    backend_registration.rename_privateuse1_backend("fake")
    torch.ops.load_library(library)
    backend, control = types.ModuleType("torch.fake"), torch.ops.fake_device
    functions = {
        "is_available": lambda: True,
        "device_count": lambda: 2,
        "current_device": control.current,
        "set_device": lambda device: control.set_current(torch.device(device).index or 0),
        "mem_get_info": lambda device=None: (_limit[0] - control.used(), _limit[0]),
        "get_amp_supported_dtype": lambda: [torch.float16, torch.bfloat16],
        "_is_in_bad_fork": lambda: False,
        **dict.fromkeys(NOT_NEEDED, lambda *_: None),
    }
    vars(backend).update(functions)
    torch._register_device_module("fake", backend)
    backend_registration.generate_methods_for_privateuse1_backend()


@contextmanager
def limited_memory(beyond: int) -> Iterator[None]:
    """Let allocations fail that need more than `beyond` bytes in addition to those in use now."""
    gc.collect()  # models of earlier tests must not make room later
    _limit[0] = used() + beyond
    torch.ops.fake_device.limit_memory(_limit[0])
    try:
        yield
    finally:
        _limit[0] = UNLIMITED
        torch.ops.fake_device.limit_memory(UNLIMITED)


@contextmanager
def without_float64() -> Iterator[None]:
    """Refuse tensors in float64, as MPS does."""
    torch.ops.fake_device.set_float64(False)
    try:
        yield
    finally:
        torch.ops.fake_device.set_float64(True)


@contextmanager
def without_operator(name: str) -> Iterator[None]:
    """Refuse an operator such as "aten::unique_dim"."""
    torch.ops.fake_device.set_unsupported(name)
    try:
        yield
    finally:
        torch.ops.fake_device.set_unsupported("")


def used() -> int:
    """Bytes in use on both devices."""
    return int(torch.ops.fake_device.used())


@contextmanager
def measured_peak() -> Iterator[list[int]]:
    """Append the largest number of bytes that were in use at a time, beyond those in use now."""
    found: list[int] = []
    before = used()
    torch.ops.fake_device.reset_peak()
    yield found
    found.append(int(torch.ops.fake_device.peak()) - before)


def reads() -> int:
    """Number of times so far that the host read a result, for which it would have waited for a GPU."""
    return int(torch.ops.fake_device.reads())


def uploads() -> int:
    """Number of blocking copies to the devices so far, in which the host would have waited for the work before."""
    return int(torch.ops.fake_device.uploads())


@dataclass(frozen=True)
class Transfers:
    """Numbers of copies that block the host: results that it reads, and data that it uploads."""

    to_host: int
    to_device: int


def transfers() -> Transfers:
    """Return the blocking copies so far."""
    return Transfers(reads(), uploads())


def kernels() -> int:
    """Return the number of operators so far that read or write memory of the device, each a kernel or more on a GPU."""
    return int(torch.ops.fake_device.kernels())


def _build() -> Path:
    """Return the compiled library, from an earlier build of the same source for the same torch if there is one."""
    digest = hashlib.sha256(SOURCE.read_bytes() + torch.__version__.encode()).hexdigest()
    folder = Path(cpp_extension.get_default_build_root()) / "distprompt_tui_tests"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
    except OSError:  # not this user's cache, for example
        folder = Path(tempfile.mkdtemp(prefix="fake-device-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
    library = folder / f"fake_device_{digest[:16]}.so"
    with os.fdopen(descriptor, "w") as lock:  # released at the end of the process in any case
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not library.exists():
            _compile(library)
    return library


def _compile(library: Path) -> None:
    compiler = next(filter(None, map(shutil.which, (os.environ.get("CXX", ""), "g++", "clang++"))), None)
    if compiler is None:
        raise BuildError("the fake device is not tested: there is no C++ compiler")
    partial = library.with_suffix(".partial")
    abi = f"-D_GLIBCXX_USE_CXX11_ABI={int(torch.compiled_with_cxx11_abi())}"
    options = ["-std=c++20", "-O1", "-shared", "-fPIC", abi]
    includes = [f"-isystem{path}" for path in cpp_extension.include_paths()]
    libraries = [f"-L{path}" for path in cpp_extension.library_paths()] + ["-ltorch", "-ltorch_cpu", "-lc10"]
    command = [compiler, *options, *includes, str(SOURCE), "-o", str(partial), *libraries]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BuildError(f"the fake device is not tested: {compiler} failed: {done.stderr[-2000:]}")
    partial.replace(library)
