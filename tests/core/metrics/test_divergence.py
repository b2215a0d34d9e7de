"""Tests of divergences against their definitions in float64, and of identities."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from distprompt_tui.core.metrics.divergence import compare, entropy, logits_kl
from distprompt_tui.core.metrics.kl_terms import kl_contributions
from tests.divergence import forward_kl

sizes = st.integers(2, 40)
seeds = st.integers(0, 2**32 - 1)
scales = st.floats(0.01, 60)


def random_pair(size: int, seed: int, scale: float) -> tuple[torch.Tensor, torch.Tensor]:
    """A target with some zeros, and logits."""
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.full(size, 0.3))
    p[rng.random(size) < 0.2] = 0
    p[0] += 1e-9
    return torch.from_numpy(p / p.sum()), torch.from_numpy(scale * rng.standard_normal(size))


def plain_kl(p: torch.Tensor, z: torch.Tensor) -> float:
    """Compute Σ p log(p/q) by its definition, with `math.fsum`."""
    top = max(z.tolist())
    total = math.fsum(math.exp(v - top) for v in z.tolist())
    log_q = [v - top - math.log(total) for v in z.tolist()]
    return math.fsum(a * (math.log(a) - b) for a, b in zip(p.tolist(), log_q, strict=True) if a > 0)


@given(sizes, seeds, scales)
def test_all_implementations_give_the_same_kl(size: int, seed: int, scale: float) -> None:
    p, z = random_pair(size, seed, scale)
    expected = plain_kl(p, z)
    assert forward_kl(p, z[None])[0].item() == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert logits_kl(p, z[None], entropy(p))[0].item() == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert compare(p, z).numbers.kl == pytest.approx(expected, rel=1e-9, abs=1e-12)


@given(sizes, seeds, scales)
def test_half_precision_logits_are_reduced_in_float32(size: int, seed: int, scale: float) -> None:
    p, z = random_pair(size, seed, min(scale, 10))
    rounded = z.to(torch.bfloat16)
    kl = forward_kl(p, rounded[None])
    assert kl.dtype == torch.float32
    assert kl.item() == pytest.approx(plain_kl(p, rounded.double()), rel=1e-4, abs=1e-5)


@given(sizes, seeds, scales, st.floats(-1e4, 1e4))
def test_kl_is_not_negative_and_invariant_to_a_constant(size: int, seed: int, scale: float, constant: float) -> None:
    p, z = random_pair(size, seed, scale)
    kl = forward_kl(p, z[None]).item()
    assert kl > -1e-12
    assert forward_kl(p, (z + constant)[None]).item() == pytest.approx(kl, rel=1e-6, abs=1e-9)


@given(sizes, seeds, scales)
def test_gradient_of_the_logits_is_q_minus_p(size: int, seed: int, scale: float) -> None:
    p, z = random_pair(size, seed, scale)
    z.requires_grad_()
    forward_kl(p, z[None]).sum().backward()
    assert z.grad is not None
    torch.testing.assert_close(z.grad, z.detach().softmax(-1) - p, atol=1e-12, rtol=1e-9)


def test_rows_without_a_token_are_excluded_from_p_and_q() -> None:
    p = torch.tensor([0.5, 0.5, 0.0, 0.0], dtype=torch.float64)
    z = torch.tensor([1.0, 2.0, 0.5, -torch.inf], dtype=torch.float64, requires_grad=True)
    kl = forward_kl(p, z[None])
    kl.sum().backward()
    assert kl.item() == pytest.approx(plain_kl(p[:3], z.detach()[:3]))
    assert z.grad is not None
    assert torch.isfinite(z.grad).all()
    assert math.isfinite(compare(p, z.detach()).numbers.kl)


@given(sizes, seeds, scales)
def test_comparison(size: int, seed: int, scale: float) -> None:
    p, z = random_pair(size, seed, min(scale, 20))
    numbers, q = compare(p, z).numbers, compare(p, z).q
    assert q.sum().item() == pytest.approx(1)
    assert numbers.tv == pytest.approx((p - q).abs().sum().item() / 2)
    assert -1e-12 <= numbers.js <= math.log(2) + 1e-12
    assert numbers.tv <= math.sqrt(max(numbers.kl, 0) / 2) + 1e-9  # Pinsker
    assert (numbers.reverse_kl == math.inf) == bool(((p == 0) & (q > 0)).any())


def test_entropy_extremes() -> None:
    assert entropy(torch.tensor([1.0, 0.0, 0.0])).item() == 0
    assert entropy(torch.full((7,), 1 / 7, dtype=torch.float64)).item() == pytest.approx(math.log(7))


@given(sizes, seeds, scales)
@example(28, 84, 18.0)  # one q is below the float32 range
def test_kl_contributions_are_not_negative_and_sum_to_the_divergence(size: int, seed: int, scale: float) -> None:
    p, z = random_pair(size, seed, scale)
    found = compare(p, z)
    shares = kl_contributions(p.numpy(), found.q.numpy())
    assert shares.sum() == pytest.approx(found.numbers.kl, rel=1e-9, abs=1e-9)
    assert shares.min() >= -1e-15
    missing = p.numpy() == 0
    np.testing.assert_array_equal(shares[missing], found.q.numpy()[missing])
