"""The estimated memory of a search is close to the peak on a device."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from distprompt_tui.bounds.floor import solve_floor
from distprompt_tui.bounds.head_optimum import solve_head_optimum
from distprompt_tui.core.config.spec import RunSpec
from distprompt_tui.models import large_matrix, token_features
from distprompt_tui.models.model_shape import read_shape
from distprompt_tui.models.wrap import load_language_model
from distprompt_tui.runs.estimates import memory_estimate
from distprompt_tui.search import make_search
from tests import fake_device
from tests.devices.test_searches import run
from tests.search.targets import outlier_target
from tests.wide_models import Shape, write_wide_model

SEARCHES: dict[str, dict[str, Any]] = {
    "soft": {"method": "soft", "length": 6},
    "restarts": {"method": "soft", "length": 4, "restarts": 5, "memory": 16},
    "hard": {"method": "hard", "length": 4, "width": 8, "draft": False, "initial_pool": 16},
    "gcg": {"method": "gcg", "length": 4, "width": 24, "top_k": 32},
    "exhaustive": {"method": "exhaustive", "length": 2, "width": 24, "beam": 2},
}


@pytest.fixture(
    scope="module",
    params=[Shape(8192, 128, 2, tied=True), Shape(4096, 256, 4, tied=False), Shape(16384, 256, 2, tied=True)],
    ids=lambda shape: f"{shape.rows} x {shape.hidden}",
)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_wide_model(request.param, tmp_path_factory.mktemp("wide"))


@pytest.mark.parametrize(("dtype", "bytes_per_value"), [("float32", 4), ("bfloat16", 2)])
def test_the_estimate_is_within_a_fifth_of_the_peak(
    dtype: str, bytes_per_value: int, folder: Path, fake: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(large_matrix, "CHUNK_BYTES", 1 << 17)  # as small beside the model as beside a real one
    monkeypatch.setattr(token_features, "CHUNK", 64)
    shape, before = read_shape(folder), fake_device.used()
    assert shape is not None
    with fake_device.measured_peak() as loading:
        model = load_language_model("wide", folder, str(fake), dtype)
    kept, target = fake_device.used() - before, outlier_target(model)
    for name, settings in SEARCHES.items():
        spec = RunSpec.model_validate({"target": {"family": "uniform"}, "search": settings, "budget": {"steps": 8}})
        with fake_device.measured_peak() as search:
            run(make_search(model, target, spec, lambda text: None))
        estimate = memory_estimate(spec, shape, str(fake), bytes_per_value)
        peak = max(loading[0], kept + search[0])
        assert estimate.weights + estimate.search == pytest.approx(peak, rel=0.2), name
    with fake_device.measured_peak() as bounds:
        floor = solve_floor(model.head, target)
        solve_head_optimum(model.head, target, floor)
    assert estimate.bounds == pytest.approx(bounds[0], rel=0.2)
