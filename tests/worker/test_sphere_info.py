"""A run records whether its sphere bound covers the state of its best prompt."""

from __future__ import annotations

import json
import math
import signal
from pathlib import Path

import pytest
import torch

from distprompt_tui.bounds.cache import solve_bounds, with_sphere_bound
from distprompt_tui.bounds.values import Bounds
from distprompt_tui.models.language_model import LanguageModel
from distprompt_tui.runs.directory import create_run
from distprompt_tui.runs.event_reader import EventLogReader
from distprompt_tui.runs.events import EventWriter
from distprompt_tui.runs.reducer import reduce_all
from distprompt_tui.search.protocol import Best, SoftPrompt
from distprompt_tui.targets import build_target
from distprompt_tui.worker.finalize import sphere_info
from distprompt_tui.worker.session import run_session
from tests.tiny_runs import tiny_spec

KNOWN = Bounds(floor=0.1, sphere_bound=0.2, sphere_norm_ratio=0.99)


@pytest.mark.parametrize("name", ["llama", "gemma3", "qwen2"])
def test_norm_of_the_state_is_that_of_the_final_norm(tiny_models: dict[str, LanguageModel], name: str) -> None:
    """The reference is ‖u‖/√d = 1/√(1 + ε/rms²), from the input of the final norm."""
    model = tiny_models[name]
    inputs: list[torch.Tensor] = []
    norm = model.backbone.get_submodule("norm")
    vectors = model.random_vectors(3, torch.Generator().manual_seed(0))
    hook = norm.register_forward_hook(lambda module, args, output: inputs.append(args[0][0, -1]))
    found = sphere_info(model, Best(1.0, SoftPrompt(vectors), 1), KNOWN)
    hook.remove()
    epsilon = getattr(norm, "eps", getattr(norm, "variance_epsilon", 0.0))
    expected = 1 / math.sqrt(1 + epsilon / float(inputs[0].double().pow(2).mean()))
    assert found["state_norm_ratio"] == pytest.approx(expected, rel=1e-5)
    assert found["sphere_bound_applies"] == (expected >= 0.99)
    strict = Bounds(floor=0.1, sphere_bound=0.2, sphere_norm_ratio=1.01)
    assert not sphere_info(model, Best(1.0, SoftPrompt(vectors), 1), strict)["sphere_bound_applies"]
    assert sphere_info(model, Best(1.0, SoftPrompt(vectors), 1), Bounds(floor=0.1)) == {}


def test_a_run_takes_the_sphere_bound_from_the_cache(
    tmp_path: Path,
    tiny_folders: dict[str, Path],
    tiny_models: dict[str, LanguageModel],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DISTPROMPT_HOME", str(tmp_path))
    model, spec = tiny_models["llama"], tiny_spec(tiny_folders["llama"], steps=2)
    target = torch.tensor(build_target(spec.target, model.vocabulary, None).probabilities)
    *_, bounds = solve_bounds(model.head, target)
    bounds = with_sphere_bound(model.head, target, bounds)
    run = create_run(spec, tmp_path / "runs")
    handler = signal.getsignal(signal.SIGTERM)
    try:
        run_session(run, EventWriter(run.events))
    finally:
        signal.signal(signal.SIGTERM, handler)
    assert reduce_all(EventLogReader(run.events).read()).bounds == bounds
    result = json.loads(run.result.read_text())
    assert result["sphere_bound_applies"] == (result["state_norm_ratio"] >= 0.99)
    assert result["state_norm_ratio"] == pytest.approx(1, abs=0.1)
