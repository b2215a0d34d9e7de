"""Distributions after a prompt and the tokens appended to it, directly and in the model server."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from distprompt_tui.core.config.spec import Context
from distprompt_tui.core.errors import DistPromptError
from distprompt_tui.models.language_model import LanguageModel
from distprompt_tui.worker import continuation, model_server
from distprompt_tui.worker.continuation import Continuations, texts_of
from tests.worker.test_attribution import run_for

PROMPT, PATH = [30, 31, 32], [40, 41, 42]


def expected(model: LanguageModel, prompt: torch.Tensor, path: list[int]) -> torch.Tensor:
    """One pass of the model over everything."""
    parts = [model.embedding(torch.tensor(part)) for part in (model.prefix_ids, model.suffix_ids, path) if part]
    vectors = model.embedding(prompt) if not prompt.is_floating_point() else prompt
    parts.insert(1 if model.prefix_ids else 0, vectors)
    hidden = model.run_backbone(torch.cat(parts)[None])
    return model.head.logits(hidden[:, -1])[0]


@pytest.mark.parametrize("kind", ["ids", "vectors"])
def test_a_path_follows_the_prompt_and_the_suffix(tiny_model: LanguageModel, kind: str) -> None:
    model = tiny_model.in_context("The quick", " dog")
    prompt = torch.tensor(PROMPT)
    if kind == "vectors":
        prompt = model.embedding(prompt) + 0.01
    continuations = Continuations()
    for count in (0, 1, 2, 3, 1):
        found = continuations.logits(model, prompt, PATH[:count])
        finite = model.head.allowed
        torch.testing.assert_close(found[finite], expected(model, prompt, PATH[:count])[finite], rtol=1e-3, atol=1e-4)


def test_a_step_runs_the_path_only(tiny_models: dict[str, LanguageModel]) -> None:
    model = tiny_models["llama"]
    run: list[int] = []

    class Counting(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = model.backbone

        def forward(self, input_ids: Any = None, inputs_embeds: Any = None, cache: Any = None, **more: Any) -> Any:
            inputs = input_ids if inputs_embeds is None else inputs_embeds
            run.append(inputs.shape[1])
            given = {"input_ids": input_ids, "inputs_embeds": inputs_embeds, "cache": cache} | more
            return self.backbone(**{name: value for name, value in given.items() if value is not None})

    counted = replace(model, backbone=Counting())
    continuations, prompt = Continuations(), torch.tensor(PROMPT)
    continuations.logits(counted, prompt, PATH[:1])
    run.clear()
    continuations.logits(counted, prompt, PATH)
    assert run == [3]
    continuations.logits(counted, torch.tensor([33, 31, 32]), PATH)  # another prompt has another cache
    assert len(run) > 2


def test_a_cache_that_changes_the_logits_is_not_used(
    tiny_models: dict[str, LanguageModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, prompt = tiny_models["llama"], torch.tensor(PROMPT)
    monkeypatch.setattr(continuation, "_after", lambda model, cache, path: torch.ones(model.vocab_size))
    found = Continuations().logits(model, prompt, PATH)
    finite = model.head.allowed
    torch.testing.assert_close(found[finite], expected(model, prompt, PATH)[finite], rtol=1e-3, atol=1e-4)


def test_the_model_server_compares_the_first_step_only(tiny_models: dict[str, LanguageModel], tmp_path: Path) -> None:
    model = tiny_models["qwen2"]
    run = run_for(model, tmp_path, Context(prefix="The quick"))
    start = model_server._continue(run, PROMPT, [], [], model, Continuations())
    p = np.load(run.target)
    q = torch.softmax(expected(model.in_context("The quick", ""), torch.tensor(PROMPT), []).double(), -1).numpy()
    inside = p > 0
    assert start["kl"] == pytest.approx(float((p[inside] * np.log(p[inside] / q[inside])).sum()), abs=1e-5)
    assert all(row[3] == pytest.approx(p[row[0]]) and row[2] == pytest.approx(q[row[0]]) for row in start["rows"])
    least = int(np.where(model.vocabulary.allowed, np.maximum(p, q), 2).argmin())
    after = model_server._continue(run, PROMPT, [40], [least], model, Continuations())
    assert after["kl"] is None
    assert {row[3] for row in after["rows"]} == {None}
    assert least in [row[0] for row in after["rows"]]
    sizes = [row[2] for row in after["rows"]]
    assert sizes == sorted(sizes, reverse=True)
    assert after["count"] == int(model.vocabulary.allowed.sum())


def test_the_model_server_continues_the_best_soft_prompt(tiny_models: dict[str, LanguageModel], tmp_path: Path) -> None:
    model = tiny_models["qwen2"]
    run = run_for(model, tmp_path)
    with pytest.raises(DistPromptError, match="no best prompt yet"):
        model_server._continue(run, None, PATH, [], model, Continuations())
    vectors = model.embedding(torch.tensor(PROMPT)) + 0.01
    save_file({"prompt_embeddings": vectors.contiguous()}, run.best / "prompt.safetensors")
    answer = model_server._continue(run, None, PATH, [], model, Continuations())
    q = torch.softmax(expected(model, vectors, PATH).double(), -1)
    assert answer["rows"][0][0] == int(q.argmax())
    assert answer["rows"][0][2] == pytest.approx(float(q.max()), rel=1e-4)
    assert answer["text"] is None
    with pytest.raises(DistPromptError, match="too many"):
        model_server._continue(run, None, [40] * 500, [], model, Continuations())


def test_the_text_of_a_path_is_told_to_be_stable_or_not(tiny_models: dict[str, LanguageModel]) -> None:
    model = tiny_models["llama"].in_context("The quick", " dog")
    ids = model.encode_prompt(" brown fox")
    path = model.vocabulary.encode(" jumps over", continues=True)
    found = texts_of(model, ids, path)
    assert found == {"text": "The quick brown fox dog jumps over", "path_text": " jumps over", "is_stable": True}
    pieces = [model.vocabulary.encode(letter, continues=True)[0] for letter in "the"]
    assert not texts_of(model, ids, [*path, *pieces])["is_stable"]
    assert texts_of(model, None, path) == {"text": None, "path_text": " jumps over", "is_stable": True}
