"""The prompt's log-likelihood in the objective and its gradient."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from distprompt_tui.core.config import search_specs as specs
from distprompt_tui.models.language_model import LanguageModel
from distprompt_tui.search.evaluator import Evaluator
from distprompt_tui.search.initialization import random_ids
from distprompt_tui.search.protocol import HardPrompt
from tests.divergence import forward_kl
from tests.search.targets import outlier_target
from tests.search.test_methods import SETTINGS, search

WEIGHT = 0.4
FLUENT = {
    name: settings.model_copy(update={"fluency_weight": WEIGHT})
    for name, settings in SETTINGS.items()
    if isinstance(settings, specs.SwapSearchConfig)
}


@pytest.fixture(params=["", "The quick "])
def model(request: pytest.FixtureRequest, tiny_model: LanguageModel) -> LanguageModel:
    """Each tiny model, with and without a prefix."""
    return tiny_model.in_context(request.param, " dog")


def mean_log_likelihood(model: LanguageModel, ids: list[int]) -> float:
    """Computed by one forward pass for each token."""
    before = list(model.prefix_ids)
    terms = []
    for token in ids:
        if before:
            bare = model.in_context("", "")
            logits = bare.next_token_logits(torch.tensor([before]))[0]
            terms.append(float(logits.log_softmax(-1)[token]))
        before.append(token)
    return sum(terms) / len(terms) if terms else 0.0


def kl_of(model: LanguageModel, ids: Tensor) -> float:
    return forward_kl(outlier_target(model), model.next_token_logits(ids[None])).item()


@torch.no_grad()
@pytest.mark.parametrize("length", [1, 2, 6])
def test_objective_agrees_with_a_plain_loop(model: LanguageModel, length: int, generator: torch.Generator) -> None:
    prompts = random_ids(model, (5, length), generator)
    measured = Evaluator(model, outlier_target(model), length, pytest.fail, WEIGHT).measure(prompts)
    expected = [kl_of(model, ids) - WEIGHT * mean_log_likelihood(model, ids.tolist()) for ids in prompts]
    assert measured.tolist() == pytest.approx(expected, abs=1e-3)


def test_scores_are_derivatives_of_the_objective(model: LanguageModel, generator: torch.Generator) -> None:
    """Uses one-hot rows for the tokens as inputs and as predictions."""
    found: Any = search(model, FLUENT["hotflip"], steps=0)
    list(found.steps())
    ids = found._current.ids
    one_hot = torch.nn.functional.one_hot(ids, model.vocab_size).float().requires_grad_()
    embeds = (one_hot @ model.embedding_matrix)[None]
    logits, _, log_q = model.logits_and_likelihood(embeds, ids[None])
    inside = log_q[0].masked_fill(~model.head.allowed, 0)
    counted = len(ids) if model.prefix_ids else len(ids) - 1
    likelihood = (one_hot * inside).sum() / counted
    (forward_kl(outlier_target(model), logits).sum() - WEIGHT * likelihood).backward()
    assert one_hot.grad is not None
    expected = one_hot.grad - one_hot.grad.gather(1, ids[:, None])
    scores = found._scored(found._base)
    finite = torch.isfinite(scores)
    torch.testing.assert_close(scores[finite], expected[finite], rtol=2e-3, atol=2e-4)


@pytest.mark.parametrize("name", FLUENT)
def test_best_is_selected_by_the_objective(name: str, tiny_models: dict[str, LanguageModel]) -> None:
    model = tiny_models["gpt2"]
    found = search(model, FLUENT[name])
    objectives = []
    for step in found.steps():
        prompt, _ = found.current
        assert isinstance(prompt, HardPrompt)
        with torch.no_grad():
            assert step.kls[-1] == pytest.approx(kl_of(model, prompt.ids), abs=1e-4)
            likelihood = mean_log_likelihood(model, prompt.ids.tolist())
        objectives.append(step.kls[-1] - WEIGHT * likelihood)
    best = found.best.prompt
    assert isinstance(best, HardPrompt)
    with torch.no_grad():
        assert found.best.kl == pytest.approx(kl_of(model, best.ids), abs=1e-4)
        likelihood = mean_log_likelihood(model, best.ids.tolist())
    assert found.best.kl - WEIGHT * likelihood == pytest.approx(min(objectives), abs=2e-4)
    assert objectives[0] > min(objectives)


def test_resumed_search_with_fluency_is_identical(tiny_models: dict[str, LanguageModel]) -> None:
    model = tiny_models["llama"]
    for settings in FLUENT.values():
        whole = search(model, settings)
        expected = list(whole.steps())
        first = search(model, settings)
        for step in first.steps():
            if step.index == 5:
                break
        second = search(model, settings, seed=99)
        second.load_state_dict(first.state_dict())
        assert list(second.steps()) == expected[5:]
        assert second.state_dict().numbers == whole.state_dict().numbers
