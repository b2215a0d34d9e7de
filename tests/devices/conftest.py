"""The devices under test, and tiny models on them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch

from distprompt_tui.models.device import choose_device
from distprompt_tui.models.language_model import LanguageModel
from distprompt_tui.models.wrap import load_language_model
from tests import fake_device

ACCELERATORS = [kind for kind in ("cuda", "mps", "xpu") if torch.get_device_module(kind).device_count()]

LoadOn = Callable[[str, str], LanguageModel]


@pytest.fixture(scope="session")
def fake() -> torch.device:
    """The fake device with index 0. Skip without a C++ compiler."""
    try:
        fake_device.load()
    except fake_device.BuildError as error:
        pytest.skip(str(error))
    return torch.device("fake:0")


@pytest.fixture(scope="session", params=["fake", *ACCELERATORS])
def device(request: pytest.FixtureRequest) -> torch.device:
    """The fake device, and every real accelerator of this machine."""
    if request.param == "fake":
        found: torch.device = request.getfixturevalue("fake")
        return found
    return choose_device(request.param)


@pytest.fixture(scope="session")
def load_on(tiny_folders: dict[str, Path]) -> LoadOn:
    """Load a tiny model by architecture and device, in float32; cached."""
    return cache(lambda name, where: load_language_model(name, tiny_folders[name], where, "float32"))


@pytest.fixture(params=["llama", "gpt2", "gemma3"])
def pair(request: pytest.FixtureRequest, device: torch.device, load_on: LoadOn) -> tuple[LanguageModel, LanguageModel]:
    """A tiny model in a context, on the CPU and on the device."""
    on_cpu, on_device = (load_on(request.param, place) for place in ("cpu", str(device)))
    return on_cpu.in_context("The quick ", " dog"), on_device.in_context("The quick ", " dog")
