"""Soft searches with captured graphs and compiled code: the results of plain ones, and fallbacks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from operator import floordiv
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import Tensor

from distprompt_tui.core.config.search_specs import Soft
from distprompt_tui.core.config.spec import ModelSpec
from distprompt_tui.models.compiled import compiled
from distprompt_tui.models.forward import forward_without_waiting
from distprompt_tui.models.graph_capture import Capture, CapturedGraph, Outputs, capture_for
from distprompt_tui.models.language_model import LanguageModel
from distprompt_tui.search import soft
from distprompt_tui.search.captured_calls import CapturedCalls, FastPath
from distprompt_tui.search.soft import SoftBatch, SoftSearch, initial_vectors
from distprompt_tui.worker.model_provider import load_by_name
from tests.captures import traced
from tests.search.targets import outlier_target

STEPS = 8
ROUNDING_NATS = 1e-4

Captures = list[int]


@pytest.fixture
def captures(monkeypatch: pytest.MonkeyPatch) -> Captures:
    """Let the CPU capture; the number of prompts of each capture."""
    found: Captures = []

    def capture(function: Callable[[], Outputs]) -> CapturedGraph:
        graph = traced(function)
        found.append(len(graph.outputs[0]))
        return graph

    monkeypatch.setattr(soft, "capture_for", lambda device: capture)
    return found


def without_waiting(model: LanguageModel) -> LanguageModel:
    """The model with the forward pass of an accelerator, which alone can be captured by `traced`."""
    probe = model.embedding(torch.arange(32).view(4, 8))
    return replace(model, forward=forward_without_waiting(model.backbone, probe))


def search(model: LanguageModel, warn: Callable[[str], None] = pytest.fail, **settings: Any) -> SoftSearch:
    return SoftSearch(model, outlier_target(model), Soft(length=4, **settings), STEPS, 0, warn)


def run(found: SoftSearch) -> list[float]:
    return [kl for step in found.steps() for kl in step.kls]


def with_capture(model: LanguageModel, capture: Capture, warn: Callable[[str], None]) -> SoftSearch:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(soft, "capture_for", lambda device: capture)
        return search(model, warn)


def test_only_cuda_has_graphs() -> None:
    assert [capture_for(torch.device(kind)) is None for kind in ("cpu", "mps", "cuda:1")] == [True, True, False]


@pytest.mark.parametrize("optimizer", ["ggt", "adam"])
def test_replayed_graphs_give_the_results_of_plain_calls(
    optimizer: Literal["ggt", "adam"], tiny_model: LanguageModel, monkeypatch: pytest.MonkeyPatch, captures: Captures
) -> None:
    model = without_waiting(tiny_model).in_context("The quick ", " dog")
    found = search(model, optimizer=optimizer)
    calls = [0]
    plain = LanguageModel.next_token_logits

    def counted(*arguments: Any) -> Tensor:
        calls[0] += 1
        return plain(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(LanguageModel, "next_token_logits", counted)
        kls = run(found)
    assert captures == [1]
    assert calls[0] == 3  # the first measurement, the second, and its capture
    monkeypatch.undo()
    expected = search(model, optimizer=optimizer)
    assert kls == pytest.approx(run(expected), abs=ROUNDING_NATS)
    assert found.best.kl == pytest.approx(expected.best.kl, abs=ROUNDING_NATS)
    torch.testing.assert_close(found.current[1], expected.current[1], rtol=1e-3, atol=1e-3)


def test_the_first_measurement_is_not_captured(tiny_models: dict[str, LanguageModel], captures: Captures) -> None:
    steps = search(without_waiting(tiny_models["llama"])).steps()
    next(steps)
    assert captures == []
    next(steps)
    assert captures == [1]


def test_each_elimination_of_a_restart_is_captured_again(
    tiny_models: dict[str, LanguageModel], monkeypatch: pytest.MonkeyPatch, captures: Captures
) -> None:
    model, settings = without_waiting(tiny_models["gpt2"]), Soft(length=4, restarts=3)
    found = SoftSearch(model, outlier_target(model), settings, 40, 0, pytest.fail)
    kls = run(found)
    assert captures == [3, 2, 1]
    monkeypatch.undo()
    expected = SoftSearch(model, outlier_target(model), settings, 40, 0)
    assert kls[:10] == pytest.approx(run(expected)[:10], abs=ROUNDING_NATS)
    assert found.best.kl == pytest.approx(expected.best.kl, rel=0.1)  # rounding grows with the steps


def test_parts_of_a_batch_have_graphs_of_their_own(
    tiny_models: dict[str, LanguageModel], monkeypatch: pytest.MonkeyPatch, captures: Captures
) -> None:
    model, settings = without_waiting(tiny_models["llama"]), Soft(length=4)
    targets = torch.stack([outlier_target(model, token) for token in (70, 75, 80, 85)])
    prompts = torch.stack([initial_vectors(model, settings, seed) for seed in range(4)])

    def kls() -> Tensor:
        batch = SoftBatch(model, targets, prompts, settings, STEPS, pytest.fail)
        for step in range(STEPS):
            batch.batch.size = 4 if step < 4 else 2  # as after lack of memory
            batch.measure()
            batch.update()
        batch.select(torch.tensor([3, 0]))
        batch.measure()
        return batch.kls

    found = kls()
    assert captures == [4, 2, 2, 2]
    monkeypatch.undo()
    torch.testing.assert_close(found, kls(), rtol=1e-3, atol=1e-4)


def test_outputs_survive_the_next_replay() -> None:
    calls = CapturedCalls(traced)
    results = [calls.run(slice(0, 2), lambda x: (2 * x,), torch.full((2, 1), float(i)))[0] for i in range(4)]
    assert [result.tolist() for result in results] == [[[2.0 * i]] * 2 for i in range(4)]


def fail(function: Callable[[], Outputs]) -> CapturedGraph:
    raise RuntimeError("operation not permitted when stream is capturing\nmore")


def stale(function: Callable[[], Outputs]) -> CapturedGraph:
    """A capture whose replays compute nothing."""
    return CapturedGraph(function(), lambda: None)


def out_of_memory(function: Callable[[], Outputs]) -> CapturedGraph:
    raise torch.OutOfMemoryError("CUDA out of memory")


@pytest.mark.parametrize(
    ("capture", "reason"),
    [
        (fail, "operation not permitted when stream is capturing"),
        (stale, "a replayed graph gives other results"),
        (out_of_memory, "CUDA out of memory"),
    ],
)
def test_a_failed_capture_is_reported_once_and_changes_no_result(
    capture: Capture, reason: str, tiny_models: dict[str, LanguageModel]
) -> None:
    messages: list[str] = []
    kls = run(with_capture(tiny_models["llama"], capture, messages.append))
    assert messages == [f"continuing without captured graphs: {reason}"]
    assert kls == run(search(tiny_models["llama"]))


def test_reading_a_result_on_the_host_cannot_be_captured() -> None:
    def reading(values: Tensor) -> Outputs:
        return (values * float(values.sum()),)

    with pytest.raises(RuntimeError, match="tracing"):
        CapturedCalls(traced).run(slice(0, 1), reading, torch.ones(1, 2))


def test_a_path_is_not_tried_again_after_an_error() -> None:
    messages: list[str] = []
    path = FastPath("a path", True, messages.append)
    assert [path.run(partial(floordiv, 1, by), lambda: 7) for by in (1, 0, 1)] == [1, 7, 7]
    assert messages == ["continuing without a path: integer division or modulo by zero"]
    assert FastPath("a path", False, pytest.fail).run(lambda: 1, lambda: 7) == 7


def backend(compilations: list[int], error: Exception | None = None) -> Callable[..., Any]:
    """Return a backend of torch.compile that runs the captured code as it is, or fails."""

    def compile_code(module: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., Any]:
        compilations.append(len(inputs))
        if error is not None:
            raise error
        return module.forward

    return compile_code


def compiling(model: LanguageModel, of: Callable[..., Any], warn: Callable[[str], None]) -> SoftSearch:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(soft, "compiled", lambda forward: compiled(forward, of))
        return search(replace(model, compile=True), warn)


def test_compiled_code_gives_the_results_of_plain_calls(tiny_model: LanguageModel) -> None:
    compilations: list[int] = []
    found = compiling(tiny_model, backend(compilations), pytest.fail)
    steps = found.steps()
    kls = list(next(steps).kls)
    assert compilations == []  # the first step shows before
    kls += [kl for step in steps for kl in step.kls]
    assert len(compilations) == 1
    assert kls == pytest.approx(run(search(tiny_model)), abs=ROUNDING_NATS)


@pytest.mark.parametrize("wanted", [False, True])
def test_the_model_setting_turns_compilation_on(wanted: bool, tiny_folders: dict[str, Path]) -> None:
    settings = ModelSpec(name=str(tiny_folders["llama"]), device="cpu", compile=wanted)
    model, _ = load_by_name(settings, lambda text, fraction: None)
    assert search(model)._batch._compilation.is_on == wanted


def test_a_failed_compilation_is_reported_once_and_changes_no_result(tiny_models: dict[str, LanguageModel]) -> None:
    compilations: list[int] = []
    messages: list[str] = []
    failing = backend(compilations, RuntimeError("no C++ compiler\nmore"))
    kls = run(compiling(tiny_models["llama"], failing, messages.append))
    assert len(compilations) == len(messages) == 1
    assert messages[0].startswith("continuing without compiled code: ")
    assert "\n" not in messages[0]
    assert kls == run(search(tiny_models["llama"]))


def test_later_searches_use_the_compiled_code(tiny_models: dict[str, LanguageModel]) -> None:
    compilations: list[int] = []
    of = backend(compilations)
    for _ in range(2):
        run(compiling(tiny_models["gpt2"], of, pytest.fail))
    assert len(compilations) == 1
