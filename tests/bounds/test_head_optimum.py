"""Tests of the head optimum against brute force and the floor, for every kind of head."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from distprompt_tui.bounds.cache import solve_bounds
from distprompt_tui.bounds.floor import solve_floor
from distprompt_tui.bounds.head_optimum import solve_head_optimum
from distprompt_tui.core.errors import ModelError
from distprompt_tui.models.head import Head
from tests.bounds.random_heads import divergences_at, random_head, random_target, states_on_sphere


@pytest.mark.parametrize("softcap", [None, 4.0])
@pytest.mark.parametrize("kind", ["rms", "layer"])
@pytest.mark.parametrize("seed", range(6))
def test_brute_force_is_not_lower(kind: str, softcap: float | None, seed: int) -> None:
    """In 3 dimensions, 20,000 random states get within 0.01 of every minimum on the sphere."""
    head, target = random_head(3, seed, kind, softcap), random_target(seed, 0.3)
    limit = solve_head_optimum(head, target)
    brute = divergences_at(head, target, states_on_sphere(head, 20_000)).min().item()
    assert limit.value <= brute + 1e-4
    assert limit.value >= brute - 0.02


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.sampled_from(["rms", "layer"]), st.sampled_from([0.02, 0.3, 5.0]))
def test_head_optimum_is_between_the_floor_and_every_state(seed: int, kind: str, concentration: float) -> None:
    head, target = random_head(12, seed, kind), random_target(seed, concentration)
    floor = solve_floor(head, target)
    limit = solve_head_optimum(head, target, floor)
    assert limit.value >= floor.floor
    assert limit.value <= divergences_at(head, target, states_on_sphere(head, 2_000)).min().item() + 1e-4
    assert limit.state.norm().item() == pytest.approx(math.sqrt(12))
    assert 0 < limit.agreement <= 1
    assert limit.values == tuple(sorted(limit.values))


def test_targets_that_the_head_can_produce_have_optimum_zero() -> None:
    head = random_head(12, 3)
    assert head.norm is not None
    state = torch.randn(12, generator=torch.Generator().manual_seed(5))
    state *= math.sqrt(12) / state.norm()
    target = head.logits((state * head.norm.gain)[None]).double().softmax(-1)[0]
    assert solve_head_optimum(head, target).value == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_progress_falls_to_the_result(seed: int) -> None:
    head, target = random_head(12, seed), random_target(seed, 0.3)
    seen: list[float] = []
    limit = solve_head_optimum(head, target, on_progress=seen.append)
    assert seen == sorted(seen, reverse=True)
    assert seen[-1] == pytest.approx(limit.value, abs=1e-9)


def test_progress_of_the_bounds_names_them_and_may_stop_the_computation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTPROMPT_HOME", str(tmp_path))
    head, target = random_head(12, 0), random_target(0, 0.3)
    seen: list[tuple[str, float]] = []
    *_, bounds = solve_bounds(head, target, lambda name, value: seen.append((name, value)))
    assert list(dict.fromkeys(name for name, _ in seen)) == ["floor", "head_optimum"]
    assert [value for name, value in seen if name == "floor"][-1] == bounds.floor

    def stop(name: str, value: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(solve_bounds(head, random_target(1, 0.3), stop))


def test_an_unknown_norm_is_an_error() -> None:
    head = random_head(4, 0)
    unknown = Head(head.weight, head.bias, None, head.scale, None, head.allowed)
    with pytest.raises(ModelError, match="kind of the final norm is unknown"):
        solve_head_optimum(unknown, random_target(0, 1.0))


@pytest.mark.real_model
@pytest.mark.parametrize(
    ("family", "entropy", "expected"), [("outlier", 6, 0.190), ("outlier", 10, 0.322), ("temperature", 8, 2.397)]
)
def test_earlier_measurements_on_smollm2(family: str, entropy: float, expected: float, smollm2_head: Head) -> None:
    """Compare with results of another program: 8 starts of L-BFGS in float32."""
    size = len(smollm2_head.weight)
    generator = torch.Generator().manual_seed(0)
    if family == "outlier":
        target = two_level(size, int(torch.randperm(size, generator=generator)[0]), entropy)
    else:
        target = at_entropy(torch.randn(size, generator=generator, dtype=torch.float64), entropy)
    limit = solve_head_optimum(smollm2_head, target)
    assert limit.value == pytest.approx(expected, abs=0.002)
    assert limit.agreement >= 0.5


def two_level(size: int, token: int, entropy: float) -> Tensor:
    """One token has the largest probability that the entropy allows, the others share the rest evenly."""
    low, high = 1 / size, 1 - 1e-15
    for _ in range(100):
        mass = (low + high) / 2
        h = -mass * math.log(mass) - (1 - mass) * math.log((1 - mass) / (size - 1))
        low, high = (mass, high) if h > entropy else (low, mass)
    target = torch.full((size,), (1 - mass) / (size - 1), dtype=torch.float64)
    target[token] = mass
    return target


def at_entropy(logits: Tensor, entropy: float) -> Tensor:
    """Compute softmax(logits · s), with s such that it has the given entropy."""
    low, high = 1e-3, 1e3
    for _ in range(100):
        scale = math.sqrt(low * high)
        h = torch.special.entr((logits * scale).softmax(0)).sum().item()
        low, high = (scale, high) if h > entropy else (low, scale)
    return (logits * scale).softmax(0)
