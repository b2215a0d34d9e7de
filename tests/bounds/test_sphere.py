"""Tests that the sphere bound is a bound over the whole shell, and that it raises the floor."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from distprompt_tui.bounds import sphere
from distprompt_tui.bounds.floor import solve_floor
from distprompt_tui.bounds.head_optimum import solve_head_optimum
from distprompt_tui.bounds.sphere import INNER_SHARE, solve_sphere_bound, why_no_sphere_bound
from distprompt_tui.core.config.search_specs import Soft
from distprompt_tui.core.errors import ModelError
from distprompt_tui.models.head import FinalNorm, Head
from distprompt_tui.models.language_model import LanguageModel
from distprompt_tui.search.initialization import random_ids
from distprompt_tui.search.soft import SoftSearch
from tests.bounds.random_heads import random_head, random_target, states_on_sphere
from tests.divergence import forward_kl
from tests.search.targets import outlier_target

concentrations = st.sampled_from([0.05, 0.5, 5.0])


def flat_head(hidden: int, seed: int, scale: float, vocabulary: int = 60) -> Head:
    """A head with small Gaussian rows: its least divergences are inside the ball."""
    generator = torch.Generator().manual_seed(seed)
    weight = scale * torch.randn(vocabulary, hidden, generator=generator)
    allowed = torch.ones(vocabulary, dtype=torch.bool)
    return Head(weight, None, FinalNorm("rms", torch.ones(hidden)), 1.0, None, allowed)


def divergences(head: Head, target: Tensor, states: Tensor) -> Tensor:
    """KL at states u, (k, d) float64, in float64."""
    assert head.norm is not None
    weight = head.weight.double()[head.allowed] * head.norm.gain.double()
    bias = 0 if head.bias is None else head.bias.double()[head.allowed]
    return forward_kl(target[head.allowed], head.scale * (states @ weight.T + bias))


def grid_of_the_shell(hidden: int) -> Tensor:
    """A fine grid of directions in 2 or 3 dimensions, on three spheres of the shell, (k, d) float64."""
    if hidden == 2:
        angle = torch.linspace(0, 2 * math.pi, 4001, dtype=torch.float64)
        directions = torch.stack([angle.cos(), angle.sin()], dim=1)
    else:
        height = torch.linspace(-1, 1, 80, dtype=torch.float64)
        angle = torch.linspace(0, 2 * math.pi, 160, dtype=torch.float64)
        width = (1 - height**2).sqrt()
        directions = torch.stack(
            [
                torch.outer(width, angle.cos()).flatten(),
                torch.outer(width, angle.sin()).flatten(),
                height.repeat_interleave(len(angle)),
            ],
            dim=1,
        )
    radii = torch.tensor([INNER_SHARE, (1 + INNER_SHARE) / 2, 1.0], dtype=torch.float64) * math.sqrt(hidden)
    return (radii[:, None, None] * directions).flatten(0, 1)


@settings(max_examples=10)
@given(st.integers(0, 10_000), st.sampled_from([2, 3]), concentrations, st.sampled_from([0.1, 0.3, 1.0]))
def test_bound_is_never_above_an_exhaustive_search(seed: int, hidden: int, concentration: float, scale: float) -> None:
    target = random_target(seed, concentration)
    for head in (random_head(hidden, seed), flat_head(hidden, seed, scale)):
        floor = solve_floor(head, target)
        found = solve_sphere_bound(head, target, floor)
        assert floor.floor <= found.bound <= float(divergences(head, target, grid_of_the_shell(hidden)).min()) + 1e-12


@pytest.mark.parametrize("hidden", [2, 3])
def test_bound_is_nearly_the_minimum_of_a_flat_head(hidden: int) -> None:
    """With small logits the divergence is nearly quadratic, where the proof loses little."""
    head, target = flat_head(hidden, 4, 0.1), torch.full((60,), 1 / 60, dtype=torch.float64)
    floor = solve_floor(head, target)
    lowest = float(divergences(head, target, grid_of_the_shell(hidden)).min())
    found = solve_sphere_bound(head, target, floor)
    assert floor.floor == 0
    assert 0.5 * lowest < found.bound <= lowest
    assert not found.sharp
    assert found.slabs > 2
    assert found.inner_share == INNER_SHARE


@settings(max_examples=6)
@given(st.integers(0, 10_000), concentrations, st.sampled_from([0.1, 0.3]))
def test_bound_is_never_above_the_head_optimum(seed: int, concentration: float, scale: float) -> None:
    head, target = flat_head(8, seed, scale), random_target(seed, concentration)
    floor = solve_floor(head, target)
    found = solve_sphere_bound(head, target, floor)
    assert floor.floor <= found.bound <= solve_head_optimum(head, target, floor).value
    states = states_on_sphere(head, 3000).double()
    assert found.bound <= float(divergences(head, target, states).min())


def test_bound_is_raised_with_a_common_direction() -> None:
    """Directions in which all logits move nearly alike hide the norm, as in real heads; the bound allows for them."""
    head = flat_head(6, 1, 0.4, vocabulary=400)
    weight = head.weight.clone()
    weight[:, 0] = 0.8 + 0.1 * weight[:, 0]
    head = Head(weight, None, head.norm, 1.0, None, head.allowed)
    target = torch.full((400,), 1 / 400, dtype=torch.float64)
    floor = solve_floor(head, target)
    found, optimum = solve_sphere_bound(head, target, floor), solve_head_optimum(head, target, floor)
    assert floor.floor + 0.4 * (optimum.value - floor.floor) < found.bound <= optimum.value


def test_a_free_direction_leaves_the_floor() -> None:
    """The norm hides in a direction that moves no logit, so that the floor is attained on the sphere."""
    head = flat_head(4, 2, 0.3)
    weight = head.weight.clone()
    weight[:, 1] = 0.7
    head = Head(weight, None, head.norm, 1.0, None, head.allowed)
    target = torch.full((60,), 1 / 60, dtype=torch.float64)
    floor = solve_floor(head, target)
    found = solve_sphere_bound(head, target, floor)
    assert (found.bound, found.slabs) == (floor.floor, 0)


def test_a_minimum_on_the_sphere_is_sharp() -> None:
    head, target = flat_head(4, 0, 0.1), torch.zeros(60, dtype=torch.float64)
    target[5] = 1
    floor = solve_floor(head, target)
    found = solve_sphere_bound(head, target, floor)
    assert found.sharp
    assert found.bound == floor.floor
    assert solve_head_optimum(head, target, floor).value - floor.floor < 1e-3


@pytest.mark.parametrize(
    ("head", "reason"),
    [(random_head(4, 0, "layer"), "not RMSNorm"), (random_head(4, 0, softcap=30.0), "soft-capped")],
    ids=["layer norm", "soft cap"],
)
def test_other_heads_are_refused(head: Head, reason: str) -> None:
    with pytest.raises(ModelError, match=f"no sphere bound for this model: .*{reason}"):
        solve_sphere_bound(head, random_target(0, 1.0))


def test_progress_can_stop_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distprompt_tui.bounds.logit_drops.BLOCK", 16)
    shares: list[float] = []

    def stop(share: float) -> None:
        shares.append(share)
        if len(shares) == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        solve_sphere_bound(flat_head(3, 4, 0.1), torch.full((60,), 1 / 60, dtype=torch.float64), on_progress=stop)
    assert 0 < shares[0] < shares[1] < 1


def test_prompts_of_a_model_are_above_the_bound(tiny_model: LanguageModel, generator: torch.Generator) -> None:
    allowed = tiny_model.head.allowed.double()
    if why_no_sphere_bound(tiny_model.head) is not None:
        with pytest.raises(ModelError, match="not RMSNorm"):
            solve_sphere_bound(tiny_model.head, allowed / allowed.sum())
        return
    for target in (allowed / allowed.sum(), outlier_target(tiny_model, 90, 0.3)):
        bound = solve_sphere_bound(tiny_model.head, target).bound
        vectors = 3 * torch.randn(200, 4, tiny_model.hidden_size, generator=generator)
        for prompts in (random_ids(tiny_model, (200, 3), generator), vectors):
            assert float(forward_kl(target, tiny_model.next_token_logits(prompts).detach()).min()) >= bound - 1e-5
        search = SoftSearch(tiny_model, target, Soft(length=4), total_steps=60, seed=1)
        assert min(kl for step in search.steps() for kl in step.kls) >= bound - 1e-5


def test_the_largest_threshold_is_found_by_bisection() -> None:
    assert sphere._largest(lambda value: value < 0.3, 1.0) == pytest.approx(0.3, abs=1 / 64)
    assert sphere._largest(lambda value: True, 0.7) == 0.7
    assert sphere._largest(lambda value: False, 0.7) == 0.0
