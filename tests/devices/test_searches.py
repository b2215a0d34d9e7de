"""Searches on a device: the results of the CPU, and states that continue exactly."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Any, Literal

import pytest
import torch

from distprompt_tui.core.config.search_specs import Soft
from distprompt_tui.core.config.spec import RunSpec
from distprompt_tui.models.language_model import LanguageModel
from distprompt_tui.runs.directory import RunDirectory
from distprompt_tui.runs.events import EventWriter
from distprompt_tui.search import make_search, soft
from distprompt_tui.search.protocol import HardPrompt, Search, SearchState, SoftPrompt
from distprompt_tui.search.soft import SoftBatch, SoftSearch, initial_vectors
from distprompt_tui.search.token_search import SwapSearch
from distprompt_tui.worker.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from tests import fake_device
from tests.captures import traced
from tests.devices.conftest import LoadOn
from tests.divergence import forward_kl
from tests.search.targets import outlier_target
from tests.tiny_models import ARCHITECTURES
from tests.tiny_runs import SEARCHES

Pair = tuple[LanguageModel, LanguageModel]

STEPS = 10
ROUNDING_NATS = 1e-4
REAL_ROUNDING_NATS = 1e-2
"""Largest difference between the CPU and the fake device, which has its kernels, and between the CPU and a GPU."""

METHODS: dict[str, dict[str, Any]] = {
    **SEARCHES,
    "hard": SEARCHES["hard"] | {"draft": False},  # a draft model exists on CPUs only, and changes the path
    "hard, fluent": SEARCHES["hard"] | {"draft": False, "fluency_weight": 0.1},
    "hard, chains": SEARCHES["hard"] | {"draft": False, "chains": 3},
    "gcg, fluent": SEARCHES["gcg"] | {"fluency_weight": 0.1, "n_replace": 2},
    "soft, random": {"method": "soft", "length": 4, "init": "random"},
}


def search_of(model: LanguageModel, name: str) -> Search:
    fields = {"target": {"family": "uniform"}, "search": METHODS[name], "budget": {"steps": STEPS}}
    return make_search(model, outlier_target(model), RunSpec.model_validate(fields), pytest.fail)


def run(search: Search) -> list[float]:
    """Return the divergences of all updates."""
    return list(chain.from_iterable(step.kls for step in search.steps()))


def kl_on(model: LanguageModel, search: Search) -> float:
    """Measure the best prompt of a search on another model."""
    prompt = search.best.prompt
    given = (prompt.vectors if isinstance(prompt, SoftPrompt) else prompt.ids).to(model.device)
    with torch.no_grad():
        return float(forward_kl(outlier_target(model), model.next_token_logits(given[None])))


@pytest.mark.parametrize("name", METHODS)
def test_a_search_equals_that_of_the_cpu(pair: Pair, device: torch.device, name: str) -> None:
    on_cpu, on_device = pair
    expected, found = search_of(on_cpu, name), search_of(on_device, name)
    expected_kls, kls = run(expected), run(found)
    assert kls[0] == pytest.approx(expected_kls[0], abs=REAL_ROUNDING_NATS)
    if "fluent" not in name:
        assert found.best.kl == pytest.approx(kl_on(on_cpu, found), abs=REAL_ROUNDING_NATS)
    if device.type == "fake":  # small differences of a GPU may lead a search to other prompts
        assert kls == pytest.approx(expected_kls, abs=ROUNDING_NATS)
        assert found.best.step == expected.best.step
        if isinstance(expected.best.prompt, HardPrompt):
            assert found.best.prompt.ids.tolist() == expected.best.prompt.ids.tolist()


@pytest.mark.parametrize("name", METHODS)
def test_a_search_needs_no_float64(fake: torch.device, load_on: LoadOn, name: str) -> None:
    expected = run(search_of(load_on("qwen2", "cpu"), name))
    with fake_device.without_float64():
        search = search_of(load_on("qwen2", str(fake)), name)
        found = run(search)
        search.load_state_dict(search.state_dict())
    assert found == pytest.approx(expected, abs=ROUNDING_NATS)


@pytest.mark.parametrize("name", METHODS)
def test_a_checkpoint_continues_exactly(pair: Pair, device: torch.device, name: str, tmp_path: Path) -> None:
    _, model = pair
    whole = run(search_of(model, name))
    halted = search_of(model, name)
    steps = halted.steps()
    next(steps)
    seen = list(next(steps).kls)
    state = halted.state_dict()
    directory = RunDirectory(tmp_path)
    save_checkpoint(directory, Checkpoint(state, 0, 0.0, 0.0))
    saved = load_checkpoint(directory, EventWriter(directory.events))
    assert saved is not None
    restored = search_of(model, name)
    restored.load_state_dict(SearchState(saved.search.tensors, saved.search.numbers))
    rest = run(restored)
    assert rest[0] == pytest.approx(seen[-1], abs=REAL_ROUNDING_NATS)
    if device.type == "fake":  # backward passes of a GPU are not deterministic
        assert rest[0] == seen[-1]
        assert rest == whole[-len(rest) :]


def test_locks_and_edits_equal_those_of_the_cpu(fake: torch.device, load_on: LoadOn) -> None:
    paths = []
    for place in ("cpu", str(fake)):
        search = search_of(load_on("llama", place), "hard")
        assert isinstance(search, SwapSearch)
        kls = []
        for step in search.steps():
            kls.append(step.kls[-1])
            if step.index == 3:
                search.lock(1, locked=True)
                kls.append(search.edit(2, int(search._allowed[-1])).kls[-1])
        paths.append(kls)
    assert paths[1] == pytest.approx(paths[0], abs=ROUNDING_NATS)


def test_a_batch_of_soft_prompts_equals_that_of_the_cpu(pair: Pair) -> None:
    settings = Soft(length=3)
    found = []
    for model in pair:
        targets = torch.stack([outlier_target(model), outlier_target(model, 90, 0.3)])
        prompts = torch.stack([initial_vectors(model, settings, seed) for seed in range(2)])
        batch = SoftBatch(model, targets, prompts, settings, STEPS)
        batch.measure()
        for _ in range(STEPS):
            batch.update()
            batch.measure()
        found.append(batch.best_kls.cpu())
    torch.testing.assert_close(found[1], found[0], rtol=0, atol=REAL_ROUNDING_NATS)


def test_random_swaps_need_no_unique_rows_on_the_device(fake: torch.device, load_on: LoadOn) -> None:
    with fake_device.without_operator("aten::unique_dim"):
        found = run(search_of(load_on("llama", str(fake)), "random"))
    assert found == pytest.approx(run(search_of(load_on("llama", "cpu"), "random")), abs=ROUNDING_NATS)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("optimizer", ["ggt", "adam"])
def test_steps_of_soft_prompts_do_not_wait_for_the_device(
    architecture: str, optimizer: Literal["ggt", "adam"], fake: torch.device, load_on: LoadOn
) -> None:
    model = load_on(architecture, str(fake)).in_context("The quick ", " dog")
    settings = Soft(length=4, optimizer=optimizer)
    prompts = torch.stack([initial_vectors(model, settings, seed) for seed in range(3)])
    batch = SoftBatch(model, outlier_target(model)[None], prompts, settings, STEPS)
    batch.measure()
    batch.update()
    before = fake_device.transfers()
    batch.measure()
    batch.update()
    batch.select(batch.best_kls.argsort()[:2])
    batch.measure()
    assert fake_device.transfers() == before


@pytest.mark.parametrize("restarts", [1, 4])
def test_a_soft_search_waits_once_in_ten_steps(restarts: int, fake: torch.device, load_on: LoadOn) -> None:
    """Including the best prompt, which the recorder takes at each report. The first and the last step wait too."""
    model, steps = load_on("gemma3", str(fake)), 40
    settings = Soft(length=4, restarts=restarts)
    search = SoftSearch(model, outlier_target(model), settings, steps, 0)
    updates = []
    before = fake_device.transfers()
    for step in search.steps():
        updates += step.kls
        assert search.best.kl == min(updates)
    found = fake_device.transfers()
    assert len(updates) == steps + 1
    assert found.to_host - before.to_host == 1 + steps // 10
    assert found.to_device == before.to_device


@pytest.mark.parametrize("name", ["soft", "soft, restarts"])
def test_the_best_soft_prompt_is_that_of_the_latest_state(name: str, fake: torch.device, load_on: LoadOn) -> None:
    search = search_of(load_on("llama", str(fake)), name)
    assert isinstance(search, SoftSearch)
    steps = search.steps()
    next(steps)
    first, state = search.best, search.state_dict()
    next(steps)
    assert search.best.step > first.step
    assert search.best.kl == search._batch.best_kls.min().item()
    assert torch.equal(search.current[1], search._batch.logits[search._batch.kls.argmin()])
    search.load_state_dict(state)
    assert (search.best.kl, search.best.step) == (first.kl, first.step)


@pytest.mark.parametrize("name", ["soft", "soft, restarts"])
def test_replayed_graphs_equal_the_searches_of_the_cpu(
    name: str, fake: torch.device, load_on: LoadOn, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = run(search_of(load_on("gemma3", "cpu"), name))
    monkeypatch.setattr(soft, "capture_for", lambda device: traced)
    found = search_of(load_on("gemma3", str(fake)).in_context("", ""), name)
    steps = found.steps()
    kls = [*next(steps).kls, *next(steps).kls]
    before = fake_device.transfers()
    assert kls == pytest.approx(expected[: len(kls)], abs=ROUNDING_NATS)
    assert isinstance(found, SoftSearch)
    found._batch.measure()  # replays, because the graph has been compared with a plain call
    assert fake_device.transfers() == before
