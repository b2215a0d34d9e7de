"""Bounds, measurements and whole runs on a device give the numbers of the CPU, also without float64."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from distprompt_tui.bounds.cache import _key
from distprompt_tui.bounds.floor import solve_floor
from distprompt_tui.bounds.head_optimum import solve_head_optimum
from distprompt_tui.models.language_model import LanguageModel
from distprompt_tui.models.token_features import token_features
from distprompt_tui.runs.directory import create_run
from distprompt_tui.runs.events import EventWriter
from distprompt_tui.search.initialization import nearest_ids, usable_ids
from distprompt_tui.search.protocol import SoftPrompt
from distprompt_tui.sweeps import execute
from distprompt_tui.worker.attribution import influences
from distprompt_tui.worker.session import run_session
from distprompt_tui.worker.snapshots import kl_of_text, projection, prompt_tokens
from distprompt_tui.worker.surprisal import surprisals
from tests import fake_device
from tests.devices.conftest import LoadOn
from tests.devices.tasks import soft_task
from tests.search.targets import outlier_target
from tests.tiny_runs import tiny_spec

Pair = tuple[LanguageModel, LanguageModel]

IDS = [30, 31, 32, 33]
ROUNDING = 1e-3


@pytest.fixture(params=[True, False], ids=["float64", "no float64"])
def float64(request: pytest.FixtureRequest, device: torch.device) -> Iterator[None]:
    """With and without float64, which the fake device can refuse."""
    if request.param or device.type != "fake":
        yield
        return
    with fake_device.without_float64():
        yield


@pytest.mark.usefixtures("float64")
def test_bounds_equal_those_of_the_cpu(pair: Pair) -> None:
    target, found = outlier_target(pair[0]), []
    for model in pair:
        floor = None if model.head.why_no_floor else solve_floor(model.head, target)
        found.append((floor and floor.floor, solve_head_optimum(model.head, target, floor).value))
    assert found[1] == pytest.approx(found[0], abs=ROUNDING)


def measurements(model: LanguageModel, target: torch.Tensor) -> dict[str, Any]:
    """Everything that a session or the model server measures of a prompt."""
    ids = torch.tensor(IDS, device=model.device)
    vectors = model.embedding(ids) + 0.1 * model.random_vectors(len(IDS), torch.Generator().manual_seed(0))
    tokens = prompt_tokens(model, SoftPrompt(vectors))
    projected = projection(model, target, SoftPrompt(vectors), 0)
    return {
        "influence of tokens": influences(model, model.embedding(ids), 20),
        "influence of vectors": influences(model, vectors, 20),
        "surprisals": surprisals(model, torch.tensor(IDS)),
        "nearest": nearest_ids(model, vectors, usable_ids(model)).tolist(),
        "cosines": [token.cosine for token in tokens],
        "projected": [projected.kl, projected.median_distance],
        "text": kl_of_text(model, target, IDS),
        "after a text": model.next_token_probabilities("the dog").tolist(),
        "after vectors": model.random_prompt_probabilities(3, 0).tolist(),
    }


@pytest.mark.usefixtures("float64")
def test_measurements_equal_those_of_the_cpu(pair: Pair) -> None:
    target = outlier_target(pair[0])
    expected, found = (measurements(model, target) for model in pair)
    for name in expected:
        assert found[name] == pytest.approx(expected[name], abs=ROUNDING), name


def test_token_features_equal_those_of_the_cpu(pair: Pair) -> None:
    expected, found = (token_features(model).cpu().float() for model in pair)
    torch.testing.assert_close(found, expected, rtol=0, atol=ROUNDING)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", ["soft, restarts", "gcg"])
def test_a_run_equals_that_of_the_cpu(
    name: str, device: torch.device, tiny_folders: dict[str, Path], tmp_path: Path
) -> None:
    results = []
    for place in ("cpu", str(device)):
        spec = tiny_spec(tiny_folders["qwen2"], name, steps=10)
        settings = spec.model.model_copy(update={"device": place, "dtype": "float32"})
        run = create_run(spec.model_copy(update={"model": settings}), tmp_path / device.type / place)
        run_session(run, EventWriter(run.events))
        assert json.loads(run.manifest.read_text())["device"].startswith(place)
        results.append(json.loads(run.result.read_text()))
    same = ["floor", "head_optimum", "uniform_kl", "steps"]
    if device.type == "fake" or "soft" in name:  # rounding on a GPU may lead a search over tokens to another prompt
        same.append("kl")
    for number in same:
        assert results[1][number] == pytest.approx(results[0][number], abs=ROUNDING)


def test_a_sweep_equals_that_of_the_cpu(device: torch.device, tiny_folders: dict[str, Path]) -> None:
    rows = []
    for place in ("cpu", str(device)):
        answer = execute.answer_task(soft_task(tiny_folders["llama"], place), torch.get_num_threads())
        execute.load.cache_clear()
        rows.append([outcome["row"] for outcome in answer["outcomes"]])
    for expected, found in zip(*rows, strict=True):
        for number in ("kl", "start", "floor", "head_optimum"):
            assert found[number] == pytest.approx(expected[number], abs=ROUNDING)


def test_the_weight_of_a_head_is_read_once_for_all_targets(fake: torch.device, load_on: LoadOn) -> None:
    on_cpu, on_device = load_on("gpt2", "cpu"), load_on("gpt2", str(fake))
    head = replace(on_device.head, weight=on_device.head.weight.clone())
    before = fake_device.reads()
    first = _key(head, outlier_target(on_cpu))
    parts = fake_device.reads() - before
    assert _key(head, outlier_target(on_cpu, 71)) != first
    assert fake_device.reads() == before + 2 * parts - 1
    assert first == _key(on_cpu.head, outlier_target(on_cpu))
    head.weight.mul_(2)
    assert _key(head, outlier_target(on_cpu)) != first
