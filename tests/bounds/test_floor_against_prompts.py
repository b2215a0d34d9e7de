"""Tests that no prompt of any model has a divergence below the floor."""

from __future__ import annotations

import pytest
import torch

from distprompt_tui.bounds.floor import solve_floor
from distprompt_tui.core.config import spec as specs
from distprompt_tui.core.config.search_specs import Hard, Soft
from distprompt_tui.core.config.target_specs import Lm, Outlier, TargetSpec, Temperature, Vanilla
from distprompt_tui.models.language_model import LanguageModel
from distprompt_tui.search.hard import HardSearch
from distprompt_tui.search.initialization import random_ids
from distprompt_tui.search.soft import SoftSearch
from distprompt_tui.targets import build_target
from distprompt_tui.worker.model_provider import ModelProvider
from tests.divergence import forward_kl
from tests.search.targets import outlier_target

ROUNDING_NATS = 1e-5
"""Tolerance: the floor holds in exact arithmetic, the model computes in float32."""


@torch.no_grad()
def lowest(model: LanguageModel, target: torch.Tensor, prompts: torch.Tensor) -> float:
    """Compute the lowest divergence of the prompts."""
    return float(forward_kl(target, model.next_token_logits(prompts)).min())


@torch.no_grad()
def test_thousands_of_random_prompts(tiny_model: LanguageModel, generator: torch.Generator) -> None:
    model = tiny_model
    for token, mass in ((70, 0.05), (120, 0.6), (200, 0.999)):
        target = outlier_target(model, token, mass)
        floor = solve_floor(model.head, target).floor
        for length in (1, 2, 7):
            ids = random_ids(model, (400, length), generator)
            vectors = 3 * torch.randn(400, length, model.hidden_size, generator=generator)
            for prompts in (ids, vectors):
                assert lowest(model, target, prompts) >= floor - ROUNDING_NATS


def test_optimised_prompts(tiny_model: LanguageModel) -> None:
    target = outlier_target(tiny_model, 90, 0.3)
    floor = solve_floor(tiny_model.head, target).floor
    soft = SoftSearch(tiny_model, target, Soft(length=6), total_steps=150, seed=1)
    hard = HardSearch(tiny_model, target, Hard(length=4, width=24, initial_pool=24), total_steps=15, seed=1)
    for search in (soft, hard):
        for _ in search.steps():
            pass
        assert search.best.kl >= floor - ROUNDING_NATS
    assert soft.best.kl < hard.best.kl + 0.5  # the search did optimise


@pytest.mark.real_model
@pytest.mark.parametrize(
    "spec",
    [Vanilla(entropy=6), Temperature(entropy=2), Outlier(entropy=6, tokens=(" banana",)), Lm(text="Two plus two is")],
    ids=lambda spec: spec.family,
)
def test_prompts_of_smollm2(spec: TargetSpec, smollm2: LanguageModel, generator: torch.Generator) -> None:
    target = torch.tensor(
        build_target(
            spec, smollm2.vocabulary, ModelProvider(smollm2, specs.ModelSpec(), lambda text, fraction: None)
        ).probabilities
    )
    floor = solve_floor(smollm2.head, target).floor
    ids = random_ids(smollm2, (48, 4), generator)
    ids[:24, -1] = int(target.argmax())
    assert lowest(smollm2, target, ids) >= floor - ROUNDING_NATS
    search = SoftSearch(smollm2, target, Soft(length=5), total_steps=15, seed=0)
    assert min(kl for step in search.steps() for kl in step.kls) >= floor - ROUNDING_NATS
