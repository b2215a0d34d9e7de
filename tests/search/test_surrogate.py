"""The surrogate model: formula, ranking and observations."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from distprompt_tui.search.surrogate import (
    CEILING,
    LENGTH_SCALE,
    NO_OBSERVATIONS,
    NOISE,
    NOISE_PER_STEP,
    Observations,
    posterior_mean,
)


def unit_features(count: int, width: int, generator: torch.Generator) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.randn(count, width, generator=generator), dim=1)


def test_posterior_mean_agrees_with_the_formula(generator: torch.Generator) -> None:
    """Computed element by element in float64."""
    features, known = unit_features(40, 6, generator), torch.randn(40, generator=generator)
    measured = Observations(torch.tensor([3, 9, 3, 21, 8]), torch.tensor([0.4, -0.2, 0.1, 2.5, -0.6]), torch.arange(5))
    pool, step = torch.tensor([5, 3, 30]), 7

    def kernel(a: int, b: int) -> float:
        distance = float((features[a].double() - features[b].double()).square().sum())
        return math.exp(-distance / (2 * LENGTH_SCALE**2))

    tokens = measured.tokens.tolist()
    noise = np.diag([NOISE + NOISE_PER_STEP * (step - age) for age in measured.steps.tolist()])
    covariance = np.array([[kernel(a, b) for b in tokens] for a in tokens]) + noise
    changes = measured.changes.double().numpy() - known[measured.tokens].double().numpy()
    changes = np.minimum(changes, np.quantile(changes, CEILING))
    weights = np.linalg.solve(covariance, changes - changes.mean())
    expected = changes.mean() + np.array([[kernel(a, b) for b in tokens] for a in pool.tolist()]) @ weights
    found = posterior_mean(measured, pool, features, step, known)
    assert found.tolist() == pytest.approx((expected + known[pool].double().numpy()).tolist(), rel=1e-4, abs=1e-5)


def test_unmeasured_tokens_are_ranked(generator: torch.Generator) -> None:
    """For a smooth function of the features with noise, predictions correlate with the true values."""
    features = unit_features(400, 5, generator)
    truth = torch.sin(2 * features[:, 0]) + features[:, 1] * features[:, 2]
    tokens = torch.randperm(400, generator=generator)
    changes = truth[tokens[:200]] + 0.1 * torch.randn(200, generator=generator)
    measured = Observations(tokens[:200], changes, torch.zeros(200, dtype=torch.long))
    rest = tokens[200:]
    found = posterior_mean(measured, rest, features, 1)
    both = torch.stack([found.argsort().argsort(), truth[rest].argsort().argsort()]).double()
    assert float(torch.corrcoef(both)[0, 1]) > 0.7


@pytest.mark.parametrize("changes", [[0.5, 0.5, 0.5], [0.0, 1e-30, 1e30]])
def test_extreme_changes_give_finite_predictions(changes: list[float], generator: torch.Generator) -> None:
    features = unit_features(9, 4, generator)
    measured = Observations(torch.tensor([1, 1, 2]), torch.tensor(changes), torch.zeros(3, dtype=torch.long))
    assert posterior_mean(measured, torch.arange(9), features, 100).isfinite().all()


def test_newest_finite_observations_are_kept() -> None:
    tokens, infinite = torch.arange(5), torch.tensor([1.0, torch.inf, 3.0, 4.0, 5.0])
    first = NO_OBSERVATIONS.with_more(tokens, infinite, 1, most=6)
    assert first.tokens.tolist() == [0, 2, 3, 4]
    second = first.with_more(tokens, torch.ones(5), 2, most=6)
    assert second.tokens.tolist() == [4, 0, 1, 2, 3, 4]
    assert second.changes.tolist() == [5.0, 1, 1, 1, 1, 1]
    assert second.steps.tolist() == [1, 2, 2, 2, 2, 2]
    assert not len(second.with_more(tokens, infinite, 3, most=0).tokens)
