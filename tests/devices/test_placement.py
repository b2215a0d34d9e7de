"""Models on another device than the first one, and divided over two, give the numbers of the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from distprompt_tui.bounds.cache import solve_bounds
from distprompt_tui.core.config.spec import ModelSpec
from distprompt_tui.core.errors import ModelError
from distprompt_tui.models import device as device_module
from distprompt_tui.models import placement
from distprompt_tui.models.language_model import LanguageModel
from distprompt_tui.models.placement import devices_for, weight_bytes
from distprompt_tui.models.prepare import ignore_progress
from distprompt_tui.models.token_features import token_features
from distprompt_tui.models.wrap import load_language_model
from distprompt_tui.worker.viewer_device import with_room
from tests import fake_device
from tests.devices.test_measurements import ROUNDING, measurements
from tests.devices.test_searches import ROUNDING_NATS, run, search_of
from tests.search.targets import outlier_target

BOTH = "fake:0,fake:1"


@pytest.fixture(params=["fake:1", BOTH])
def pair(
    request: pytest.FixtureRequest, fake: torch.device, tiny_folders: dict[str, Path]
) -> tuple[LanguageModel, LanguageModel]:
    """A model in a context, on the CPU and elsewhere than on the current device."""
    places = ("cpu", request.param)
    on_cpu, model = (load_language_model("llama", tiny_folders["llama"], place, "float32") for place in places)
    devices = {str(parameter.device) for parameter in model.backbone.parameters()}
    assert devices == set(request.param.split(","))
    return on_cpu.in_context("The quick ", " dog"), model.in_context("The quick ", " dog")


@pytest.mark.parametrize("name", ["soft, restarts", "hard", "gcg, fluent"])
def test_a_search_equals_that_of_the_cpu(pair: tuple[LanguageModel, LanguageModel], name: str) -> None:
    expected, found = (run(search_of(model, name)) for model in pair)
    assert found == pytest.approx(expected, abs=ROUNDING_NATS)


def test_measurements_and_bounds_equal_those_of_the_cpu(pair: tuple[LanguageModel, LanguageModel]) -> None:
    on_cpu, model = pair
    target = outlier_target(on_cpu)
    expected, found = (measurements(one, target) for one in (on_cpu, model))
    for name in expected:
        assert found[name] == pytest.approx(expected[name], abs=ROUNDING), name
    torch.testing.assert_close(
        token_features(model).cpu().float(), token_features(on_cpu).cpu().float(), rtol=0, atol=ROUNDING
    )
    *_, of_cpu = solve_bounds(on_cpu.head, target)
    *_, of_model = solve_bounds(model.head, target)
    assert of_model.head_optimum == pytest.approx(of_cpu.head_optimum, abs=ROUNDING)


def test_auto_divides_a_model_that_fits_no_device_alone(
    fake: torch.device, tiny_folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, first = tiny_folders["llama"], torch.device("fake:0")
    needed = weight_bytes(folder, torch.float32)
    monkeypatch.setattr(device_module, "AUTOMATIC", ("fake", "cpu"))
    device_module.most_free.cache_clear()

    def chosen(free: list[int], wanted: str = "auto") -> list[str]:
        both = {torch.device("fake", index): size for index, size in enumerate(free)}
        monkeypatch.setattr(placement, "free_bytes_of", lambda devices: both)
        return [str(device) for device in devices_for(folder, wanted, first, torch.float32)]

    assert chosen([2 * needed, 2 * needed]) == ["fake:0"]
    assert chosen([needed, needed]) == ["fake:0", "fake:1"]
    assert chosen([needed // 4, needed // 4]) == ["fake:0"]  # the error names one device
    assert chosen([needed, needed], "fake:0") == ["fake:0"]
    chosen([needed, needed])
    model = load_language_model("llama", folder, "auto", "float32")
    device_module.most_free.cache_clear()
    assert {str(parameter.device) for parameter in model.backbone.parameters()} == {"fake:0", "fake:1"}
    chosen([needed // 8, needed // 8])
    with pytest.raises(ModelError, match="does not fit into the memory of fake:0, fake:1"):
        load_language_model("llama", folder, BOTH, "float32")


class HostBytes(TorchDispatchMode):
    """Records shape and bytes of the tensors that operators return on the CPU."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[torch.Size, int]] = []

    def of_shapes(self, shapes: set[torch.Size]) -> int:
        return sum(size for shape, size in self.found if shape in shapes)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        if isinstance(found, torch.Tensor) and found.device.type == "cpu":
            self.found.append((found.shape, found.nbytes))
        return found


def test_weights_are_loaded_without_a_copy_of_the_model_on_the_host(
    fake: torch.device, tiny_folders: dict[str, Path]
) -> None:
    folder = tiny_folders["llama"]
    with HostBytes() as host, fake_device.measured_peak() as peak:
        model = load_language_model("llama", folder, str(fake), "float32")
    assert {parameter.device for parameter in model.backbone.parameters()} == {fake}
    shapes = {parameter.shape for parameter in (*model.backbone.parameters(), model.head.weight) if parameter.ndim > 1}
    assert host.of_shapes(shapes) < 0.2 * weight_bytes(folder, torch.float32)
    assert peak[0] < 2.5 * weight_bytes(folder, torch.float32)  # with logits of the prompts that test a model


def test_a_model_that_does_not_fit_is_an_error_of_one_line(fake: torch.device, tiny_folders: dict[str, Path]) -> None:
    with fake_device.limited_memory(20_000), pytest.raises(ModelError, match=r"^llama does not fit into .* fake:0$"):
        load_language_model("llama", tiny_folders["llama"], str(fake), "float32")


def test_a_viewer_counts_the_memory_of_all_devices_of_a_model(
    fake: torch.device, tiny_folders: dict[str, Path]
) -> None:
    settings = ModelSpec(name="tiny", device=BOTH, dtype="float32")
    needed = weight_bytes(tiny_folders["llama"], torch.float32)
    with fake_device.limited_memory(needed):  # each device reports this much
        assert with_room(settings, tiny_folders["llama"], ignore_progress, is_searching=True).device == BOTH
