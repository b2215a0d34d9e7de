"""Searches and measurements that run out of device memory continue in smaller parts, or on the CPU."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal
from weakref import WeakKeyDictionary

import pytest
import torch
from typer.testing import CliRunner

from distprompt_tui.bounds.cache import solve_bounds
from distprompt_tui.bounds.floor import solve_floor
from distprompt_tui.bounds.head_optimum import solve_head_optimum
from distprompt_tui.bounds.memory import solver_bytes
from distprompt_tui.bounds.values import Bounds
from distprompt_tui.cli import app
from distprompt_tui.core.config.spec import ModelSpec, RunSpec
from distprompt_tui.core.errors import ModelError
from distprompt_tui.models import token_features as token_features_module
from distprompt_tui.models.head import Head
from distprompt_tui.models.language_model import LanguageModel
from distprompt_tui.models.placement import weight_bytes
from distprompt_tui.models.prepare import ignore_progress
from distprompt_tui.models.token_features import token_features
from distprompt_tui.models.wrap import load_language_model
from distprompt_tui.runs.directory import create_run
from distprompt_tui.runs.events import EventWriter
from distprompt_tui.search import make_search
from distprompt_tui.search.ggt import GGT
from distprompt_tui.search.protocol import Search
from distprompt_tui.sweeps import execute
from distprompt_tui.worker import doctor, model_server
from distprompt_tui.worker.continuation import Continuations
from distprompt_tui.worker.model_provider import ModelProvider
from distprompt_tui.worker.session import run_session
from distprompt_tui.worker.viewer_device import with_room
from tests import fake_device
from tests.devices.conftest import LoadOn
from tests.devices.tasks import soft_task
from tests.devices.test_searches import ROUNDING_NATS, run, search_of
from tests.faulty_model import ERRORS, FaultyModel
from tests.search.targets import outlier_target
from tests.tiny_runs import tiny_spec
from tests.worker.test_attribution import run_for


@pytest.fixture
def models(fake: torch.device, load_on: LoadOn) -> tuple[LanguageModel, LanguageModel]:
    """A tiny model on the CPU and on the fake device."""
    return load_on("llama", "cpu"), load_on("llama", str(fake))


WIDE: dict[str, dict[str, Any]] = {
    "soft": {"restarts": 6, "length": 4, "memory": 8},
    "hard": {"length": 4, "width": 200, "pool": 64, "memory": 32, "patience": 3, "draft": False},
    "gcg": {"length": 4, "width": 200, "top_k": 32},
    "hotflip": {"length": 4, "width": 200, "beam": 2},
    "random": {"length": 4, "width": 200},
    "exhaustive": {"length": 2, "width": 200, "beam": 1},
}
"""Searches whose candidates or restarts take most of their memory."""


@pytest.mark.parametrize("method", WIDE)
def test_a_search_continues_in_smaller_batches(models: tuple[LanguageModel, LanguageModel], method: str) -> None:
    on_cpu, on_device = models

    def search_on(model: LanguageModel) -> Search:
        settings = {"method": method, **WIDE[method]}
        fields = {"target": {"family": "uniform"}, "search": settings, "budget": {"steps": 6}}
        return make_search(model, outlier_target(model), RunSpec.model_validate(fields), pytest.fail)

    search = search_on(on_device)
    with fake_device.measured_peak() as peak:
        run(search)
    size = search.state_dict().numbers["batch"]
    search = search_on(on_device)
    with fake_device.limited_memory(int(0.7 * peak[0])):
        found = run(search)
    assert search.state_dict().numbers["batch"] < size
    assert found == pytest.approx(run(search_on(on_cpu)), abs=ROUNDING_NATS)


def test_bounds_that_do_not_fit_are_solved_on_the_cpu(models: tuple[LanguageModel, LanguageModel]) -> None:
    on_cpu, on_device = models
    target = outlier_target(on_cpu)
    expected = solve_floor(on_cpu.head, target)
    with fake_device.limited_memory(1000):
        *_, bounds = solve_bounds(on_device.head, target)
    assert bounds.floor == pytest.approx(expected.floor, abs=ROUNDING_NATS)
    assert bounds.head_optimum == pytest.approx(solve_head_optimum(on_cpu.head, target).value, abs=ROUNDING_NATS)


def test_bounds_leave_the_memory_that_a_search_needs(models: tuple[LanguageModel, LanguageModel]) -> None:
    """With less than twice their memory free, the solvers take none on the device."""
    on_cpu, on_device = models
    needed = solver_bytes(*on_device.head.weight.shape, on_cpu=False)
    for free, is_used in ((int(1.9 * needed), False), (int(2.5 * needed), True)):
        with fake_device.limited_memory(free), fake_device.measured_peak() as peak:
            *_, bounds = solve_bounds(on_device.head, outlier_target(on_cpu, 90 + is_used))
        assert bounds.head_optimum is not None
        assert (peak[0] > 0.5 * needed) == is_used


def test_a_head_optimum_that_does_not_fit_continues_from_the_floor_of_the_device(
    models: tuple[LanguageModel, LanguageModel],
) -> None:
    on_cpu, on_device = models
    target = outlier_target(on_cpu, 81)
    bounds = solve_bounds(on_device.head, target)
    floor = next(bounds).floor
    with fake_device.limited_memory(1000):
        (complete,) = bounds
    assert complete.floor == floor
    assert complete.head_optimum == pytest.approx(solve_head_optimum(on_cpu.head, target).value, abs=ROUNDING_NATS)


@pytest.mark.parametrize(("dtype", "bytes_per_value"), [("float32", 6), ("bfloat16", 2)])
def test_token_features_need_little_memory(
    dtype: str,
    bytes_per_value: int,
    fake: torch.device,
    tiny_folders: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(token_features_module, "CHUNK", 8)
    model = load_language_model("llama", tiny_folders["llama"], str(fake), dtype)
    with fake_device.measured_peak() as peak:
        found = token_features(model)
    parts = torch.arange(model.vocab_size, device=fake).split(8)
    states = torch.cat([token_features_module._after_first_block(model, part) for part in parts]).cpu().float()
    expected = torch.nn.functional.normalize(states - states.mean(0), dim=1)
    torch.testing.assert_close(found.cpu().float(), expected, rtol=0, atol=1e-3)
    values = model.vocab_size * model.hidden_size
    assert peak[0] < (bytes_per_value + 1) * values


def test_token_features_that_do_not_fit_are_on_the_cpu(
    models: tuple[LanguageModel, LanguageModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    on_cpu, on_device = models
    monkeypatch.setattr(token_features_module, "CHUNK", 8)
    monkeypatch.setattr(token_features_module, "_CACHE", WeakKeyDictionary())
    with fake_device.limited_memory(2 * on_device.vocab_size * on_device.hidden_size):
        assert token_features(on_device).device.type == "cpu"
    assert run(search_of(on_device, "hard")) == pytest.approx(run(search_of(on_cpu, "hard")), abs=ROUNDING_NATS)


def test_a_sweep_over_models_needs_the_memory_of_one(
    fake: torch.device, tiny_folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execute, "_bounds", lambda model, target: Bounds())  # its buffers are larger than the models
    tasks = [soft_task(tiny_folders[name], str(fake)) for name in ("llama", "qwen2")]
    peaks, kept = [], []
    for task in tasks:
        execute.load.cache_clear()
        before = fake_device.used()
        with fake_device.measured_peak() as peak:
            alone = execute.answer_task(task, torch.get_num_threads())
        kept.append(fake_device.used() - before)
        peaks += peak
    execute.load.cache_clear()
    largest = max(peaks)
    assert kept[0] + peaks[1] > 1.1 * largest
    with fake_device.limited_memory(int(1.1 * largest)):
        execute.answer_task(tasks[0], torch.get_num_threads())
        second = execute.answer_task(tasks[1], torch.get_num_threads())
    execute.load.cache_clear()
    rows = [[outcome["row"]["kl"] for outcome in answer["outcomes"]] for answer in (alone, second)]
    assert rows[0] == rows[1]


def test_a_sweep_keeps_its_searches_if_the_bounds_do_not_fit(
    fake: torch.device, tiny_folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(head: Head, target: torch.Tensor) -> Iterator[Bounds]:
        raise torch.OutOfMemoryError("out of memory on the device and on the CPU")

    monkeypatch.setattr(execute, "solve_bounds", fail)
    answer = execute.answer_task(soft_task(tiny_folders["llama"], str(fake)), torch.get_num_threads())
    execute.load.cache_clear()
    assert [outcome["row"]["floor"] for outcome in answer["outcomes"]] == [None, None]


def test_full_matrix_updates_run_in_smaller_parts_if_memory_is_short(fake: torch.device) -> None:
    problems, coordinates, memory = 8, 256, 8
    history = problems * memory * coordinates * torch.float32.itemsize

    def moved(spare_bytes: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(0)
        prompts = torch.randn(problems, coordinates, generator=generator).to(fake).requires_grad_()
        optimizer = GGT([prompts], lr=0.1, memory=memory)
        for step in range(3):
            prompts.grad = torch.randn(problems, coordinates, generator=generator).to(fake)
            with fake_device.limited_memory(spare_bytes + (0 if step else history)):
                optimizer.step()
        return prompts.detach().cpu()

    torch.testing.assert_close(moved(history // 2), moved(10 * history))


@pytest.mark.parametrize(
    ("name", "dtype", "advice"),
    [
        ("soft", "float32", "a shorter prompt or --set model.dtype=bfloat16;"),
        ("soft, restarts", "bfloat16", "a shorter prompt or fewer restarts;"),
        ("hard", "float32", "a shorter prompt or a smaller width or --set model.dtype=bfloat16;"),
    ],
)
def test_a_run_without_memory_names_the_settings_that_help(
    name: str,
    dtype: str,
    advice: str,
    tiny_folders: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = {"name": str(tiny_folders["llama"]), "device": "cpu", "dtype": dtype}
    directory = create_run(tiny_spec(tiny_folders["llama"], name, model=model), tmp_path)
    monkeypatch.setattr(LanguageModel, "_logits", FaultyModel(fits=0).around(LanguageModel._logits))
    with pytest.raises(ModelError, match=f"ran out of device memory .* {advice}") as caught:
        run_session(directory, EventWriter(directory.events))
    assert f"runs resume {directory.name}" in str(caught.value)


def ask(question: dict[str, Any], model: LanguageModel) -> list[dict[str, Any]]:
    """Ask the model server about a loaded model."""
    source = ModelProvider(model, ModelSpec(name=model.name), ignore_progress)
    return list(model_server.answers_or_error(question, source, Continuations(), lambda name, value: None))


def test_the_model_server_reports_lack_of_memory_and_continues(
    models: tuple[LanguageModel, LanguageModel], tmp_path: Path
) -> None:
    _, model = models
    directory = run_for(model.in_context("", ""), tmp_path)
    question = {"id": 1, "ask": "influence", "run": str(directory.path), "token": 7, "ids": [30, 31, 32]}
    with fake_device.limited_memory(1000):
        (answer,) = ask(question, model)
    assert answer["done"]
    assert "no memory on fake:0 for this answer" in answer["error"]
    (answer,) = ask(question, model)
    assert len(answer["influence"]) == 3


def test_the_floor_command_reports_lack_of_memory(
    tiny_folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(head: Head, target: torch.Tensor) -> Iterator[Bounds]:
        raise RuntimeError(ERRORS["cpu"])

    monkeypatch.setattr("distprompt_tui.bounds.cache.solve_bounds", fail)
    options = ["--model", str(tiny_folders["llama"]), "--set", "model.device=cpu"]
    result = CliRunner().invoke(app, ["floor", "low-entropy", *options])
    assert isinstance(result.exception, ModelError)
    assert "the memory for the bounds of" in str(result.exception)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_estimate_for_a_second_model_is_close(
    dtype: Literal["float32", "bfloat16"], fake: torch.device, tiny_folders: dict[str, Path]
) -> None:
    folder = tiny_folders["llama"]
    before = fake_device.used()
    model = load_language_model("llama", folder, str(fake), dtype)
    kept = fake_device.used() - before
    assert model.dtype == getattr(torch, dtype)
    assert 0.9 * kept <= weight_bytes(folder, model.dtype) <= 1.25 * kept


def test_a_model_server_without_room_on_the_device_loads_on_the_cpu(
    fake: torch.device, tiny_folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, told = tiny_folders["llama"], []
    settings = ModelSpec(name="tiny", device=str(fake), dtype="float32")

    def choose(*, is_searching: bool) -> str:
        return with_room(settings, folder, lambda text, fraction: told.append(text), is_searching=is_searching).device

    needed = weight_bytes(folder, torch.float32)
    with fake_device.limited_memory(2 * needed):
        assert choose(is_searching=True) == "fake:0"
    assert not told
    with fake_device.limited_memory(needed):
        assert choose(is_searching=True) == "cpu"
    assert told == ["fake:0 has no room for tiny beside the search: loading it on the CPU"]
    monkeypatch.delattr(torch.get_device_module(fake), "mem_get_info")  # as on MPS
    assert choose(is_searching=False) == "fake:0"
    assert choose(is_searching=True) == "cpu"


def test_the_doctor_describes_a_full_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(device: torch.device) -> tuple[int, int]:
        raise RuntimeError("CUDA error: out of memory")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    properties = SimpleNamespace(name="Some GPU", total_memory=24 << 30)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: properties)
    monkeypatch.setattr(torch.cuda, "mem_get_info", fail)
    monkeypatch.setattr(doctor, "find_spec", lambda name: None)
    found = doctor._devices()[0]
    assert found.value == "cuda:0 Some GPU, 0 of 24 GiB free"
    assert found.advice == "pip install nvidia-ml-py shows the GPU's load"
