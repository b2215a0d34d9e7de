"""Attribution of a token to positions, and a text in place of a prompt, directly and in the model server."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from distprompt_tui.core.config.spec import Context, RunSpec
from distprompt_tui.core.config.target_specs import Uniform
from distprompt_tui.core.errors import DistPromptError
from distprompt_tui.models.language_model import LanguageModel
from distprompt_tui.runs.directory import RunDirectory, create_run
from distprompt_tui.runs.schema import read_snapshot
from distprompt_tui.worker import attribution, model_server
from distprompt_tui.worker.attribution import influences

TOKEN = 20


def run_for(model: LanguageModel, folder: Path, context: Context | None = None) -> RunDirectory:
    """Create a run of a model with a target."""
    run = create_run(RunSpec(target=Uniform(), context=context or Context()), folder)
    target = np.where(model.vocabulary.allowed, 1.0, 0.0)
    target[: len(target) // 2] *= 3
    np.save(run.target, target / target.sum())
    return run


def log_q(model: LanguageModel, prompt: torch.Tensor) -> float:
    return float(model.next_token_logits(prompt[None]).log_softmax(-1)[0, TOKEN])


def test_a_position_is_replaced_by_the_mean_embedding(
    tiny_model: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompt = tiny_model.embedding(torch.tensor([30, 31, 32, 33, 34]))
    mean = tiny_model.embedding_matrix[tiny_model.head.allowed].mean(0)
    expected = []
    for position in range(5):
        without = prompt.clone()
        without[position] = mean
        expected.append(log_q(tiny_model, prompt) - log_q(tiny_model, without))
    found = influences(tiny_model, prompt, TOKEN)
    assert found == pytest.approx(expected, abs=1e-4)
    assert max(map(abs, found)) > 1e-3
    monkeypatch.setattr(attribution, "BATCH_POSITIONS", 7)  # one at a time
    assert influences(tiny_model, prompt, TOKEN) == pytest.approx(found, abs=1e-4)


def test_a_position_with_the_mean_embedding_has_no_influence(tiny_models: dict[str, LanguageModel]) -> None:
    model = tiny_models["llama"]
    prompt = model.embedding(torch.tensor([30, 31, 32]))
    prompt[1] = model.embedding_matrix[model.head.allowed].mean(0)
    assert influences(model, prompt, TOKEN)[1] == pytest.approx(0, abs=1e-5)


def test_the_model_server_attributes_ids_and_the_best_soft_prompt(
    tiny_models: dict[str, LanguageModel], tmp_path: Path
) -> None:
    model = tiny_models["qwen2"]
    run = run_for(model, tmp_path, Context(prefix="The quick", suffix=" dog"))
    in_context = model.in_context("The quick", " dog")
    vectors = model.embedding(torch.tensor([30, 31, 32]))
    expected = influences(in_context, vectors, TOKEN)
    assert model_server._influence(run, TOKEN, [30, 31, 32], model) == pytest.approx(expected)
    with pytest.raises(DistPromptError, match="no best prompt yet"):
        model_server._influence(run, TOKEN, None, model)
    save_file({"prompt_embeddings": vectors.contiguous()}, run.best / "prompt.safetensors")
    assert model_server._influence(run, TOKEN, None, model) == pytest.approx(expected)


def test_a_text_is_compared_with_the_runs_target(tiny_model: LanguageModel, tmp_path: Path) -> None:
    run = run_for(tiny_model, tmp_path)
    answer = model_server._instead(run, "My favourite food", tiny_model)
    snapshot = read_snapshot(answer)
    assert snapshot is not None
    p, q = np.load(run.target), tiny_model.next_token_probabilities("My favourite food")
    inside = p > 0
    assert snapshot.kl == pytest.approx(float((p[inside] * np.log(p[inside] / q[inside])).sum()))
    assert snapshot.entropy == pytest.approx(float(-(q[q > 0] * np.log(q[q > 0])).sum()))
    assert "".join(token.text for token in snapshot.prompt) == "My favourite food"
    masses = {row.id: row.achieved for row in snapshot.tokens}
    assert all(math.isclose(mass, q[token], rel_tol=1e-6) for token, mass in masses.items())
    assert int(q.argmax()) in masses


def test_invalid_questions_are_reported(tiny_models: dict[str, LanguageModel], tmp_path: Path) -> None:
    model = tiny_models["llama"]
    run = run_for(model, tmp_path)
    with pytest.raises(DistPromptError, match="the text is empty"):
        model_server._instead(run, "", model)
    with pytest.raises(DistPromptError, match="too many"):
        model_server._instead(run, "banana " * 200, model)
    np.save(run.target, np.ones(3) / 3)
    with pytest.raises(DistPromptError, match="over 3 tokens"):
        model_server._instead(run, "food", model)
    run.target.unlink()
    with pytest.raises(DistPromptError, match="cannot be read"):
        model_server._instead(run, "food", model)
