"""Tests that the floor holds with the rounding errors of a dtype: adversarial prompts, and errors at their limits."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import AutoModelForCausalLM

from distprompt_tui.bounds.cache import solve_bounds
from distprompt_tui.bounds.floor import Floor, affine_head, linear_part, solve_floor
from distprompt_tui.bounds.head_optimum import solve_head_optimum
from distprompt_tui.bounds.rounding import allowance_at_any_state, rounding_of
from distprompt_tui.core.config.target_specs import Temperature
from distprompt_tui.models.head import FinalNorm, Head
from distprompt_tui.models.language_model import LanguageModel
from distprompt_tui.models.wrap import load_language_model
from distprompt_tui.targets import build_target
from tests.bounds.random_heads import random_head, random_target
from tests.divergence import forward_kl
from tests.tiny_models import ARCHITECTURES

DTYPES = ("float32", "bfloat16", "float16")
NORMS = (1e3, 1e4, 1e6, 1e7, 1e8)
PROMPTS = 8


def adversarial_kls(model: LanguageModel, target: Tensor, states: Tensor, norms: tuple[float, ...]) -> Tensor:
    """Divergences, in float64, of prompts whose last vector is a state, (k, d), of some norm, after random vectors."""
    generator = torch.Generator().manual_seed(3)
    lengths = torch.tensor(norms)[:, None, None] * (states / states.norm(dim=1, keepdim=True)).float()
    last = lengths.flatten(0, 1)[:, None]
    before = 3 * torch.randn(len(last), 3, model.hidden_size, generator=generator)
    return forward_kl(target, model.next_token_logits(torch.cat([before, last], dim=1)).double())


def near(state: Tensor, count: int = PROMPTS) -> Tensor:
    """The state and others that differ from it by up to a per cent, (count, d)."""
    generator = torch.Generator().manual_seed(4)
    noise = 0.01 * torch.rand(count, 1, generator=generator) * torch.randn(count, len(state), generator=generator)
    noise[0] = 0
    return state + state.abs().mean() * noise


@torch.no_grad()
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_no_vectors_of_large_norm_end_below_the_floor(
    architecture: str, dtype: str, tiny_folders: dict[str, Path]
) -> None:
    model = load_language_model(architecture, tiny_folders[architecture], "cpu", dtype)
    norms = NORMS if dtype != "float16" else tuple(norm for norm in NORMS if norm < torch.finfo(torch.float16).max)
    for entropy in (0.5, 2.0, 4.0):
        p = torch.tensor(build_target(Temperature(entropy=entropy), model.vocabulary).probabilities)
        floor = solve_floor(model.head, p, tolerance_nats=1e-9)
        assert floor.dtype == dtype
        optimum = solve_head_optimum(model.head, p, floor, tolerance_nats=1e-9)
        states = torch.cat([near(floor.state), near(optimum.state)])
        kls = adversarial_kls(model, p, states, norms)
        kls = kls[kls.isfinite()]  # float16 overflows within the model
        assert len(kls) > 0
        assert kls.min().item() >= floor.floor


def least_with_errors(head: Head, target: Tensor, floor: Floor, logits_dtype: torch.dtype) -> float:
    """The divergence at the floor's state where every error of `Rounding` is at its limit and lowers the divergence."""
    assert head.norm is not None
    rounding = rounding_of(head, logits_dtype)
    affine = affine_head(head)
    logits = linear_part(affine, floor.state[None]) + affine.offset
    r = logits.masked_fill(~head.allowed, -math.inf).softmax(1)[0] - target
    weight, gain = head.weight.double(), head.norm.gain.double()
    slope = weight.T @ r
    u = floor.state * (1 + rounding.norm)
    along = head.scale * slope * gain
    u = u - rounding.centring * math.sqrt(len(u)) * along / along.norm().clamp(min=1e-300)
    h = gain * u * (1 - rounding.state * (gain * u * head.scale * slope).sign())
    h = h + (head.norm.bias.double() if head.norm.bias is not None else 0)
    h = h - rounding.shift * (head.scale * slope).sign()
    bias = torch.zeros(len(weight)).double() if head.bias is None else head.bias.double()
    error = rounding.logits * abs(head.scale) * (weight.abs() @ h.abs() + bias.abs())
    z = head.scale * (weight @ h + bias) - error * r.sign()
    return float(forward_kl(target, z.masked_fill(~head.allowed, -math.inf)[None]))


@settings(max_examples=60)
@given(
    st.integers(0, 10_000),
    st.sampled_from(["rms", "layer"]),
    st.sampled_from([0.01, 0.2, 3.0]),
    st.sampled_from([torch.float32, torch.float16, torch.bfloat16]),
    st.booleans(),
)
def test_the_floor_allows_for_errors_at_their_limits(
    seed: int, kind: str, concentration: float, dtype: torch.dtype, half_logits: bool
) -> None:
    single, target = random_head(8, seed, kind), random_target(seed, concentration)
    assert single.norm is not None
    head = replace(single, norm=replace(single.norm, dtype=dtype))
    logits_dtype = dtype if half_logits else torch.float32
    floor = solve_floor(head, target, tolerance_nats=1e-10, logits_dtype=logits_dtype)
    assert floor.floor <= least_with_errors(head, target, floor, logits_dtype)
    exact = solve_floor(single, target, tolerance_nats=1e-10)
    assert floor.floor + floor.rounding == pytest.approx(exact.floor + exact.rounding, abs=1e-12)


def test_errors_at_their_limits_reach_below_the_bound_of_exact_arithmetic() -> None:
    head, target = random_head(8, 1), random_target(1, 0.01)
    assert solve_floor(head, target).norm_ratio == pytest.approx(1, abs=1e-4)  # inside, errors have little effect
    assert head.norm is not None
    for dtype in (torch.float32, torch.bfloat16):
        rounded = replace(head, norm=replace(head.norm, dtype=dtype))
        floor = solve_floor(rounded, target, tolerance_nats=1e-10)
        least = least_with_errors(rounded, target, floor, torch.float32)
        assert floor.floor < least < floor.floor + floor.rounding


def norm_in(dtype: torch.dtype, kind: str, double_cast: bool, gain: Tensor, bias: Tensor | None, x: Tensor) -> Tensor:
    """A final norm as models compute it: float32 statistics, then a cast before or after the gain."""
    wide = x.float()
    if kind == "layer":
        wide = wide - wide.mean(-1, keepdim=True)
    u = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-6)
    if double_cast:
        h = gain.to(dtype) * u.to(dtype)
        return h if bias is None else h + bias.to(dtype)
    h = gain.to(dtype).float() * u
    return (h if bias is None else h + bias.to(dtype).float()).to(dtype)


@settings(max_examples=60)
@given(
    st.integers(0, 10_000),
    st.sampled_from(["rms", "layer"]),
    st.sampled_from([torch.float32, torch.float16, torch.bfloat16]),
    st.booleans(),
    st.sampled_from([1e-3, 1.0, 1e2]),
)
def test_states_of_real_arithmetic_are_within_the_error_model(
    seed: int, kind: str, dtype: torch.dtype, double_cast: bool, size: float
) -> None:
    head = random_head(64, seed, kind)
    assert head.norm is not None
    gain = head.norm.gain.to(dtype).float()
    bias = None if head.norm.bias is None else head.norm.bias.to(dtype).float()
    head = replace(head, norm=replace(head.norm, gain=gain, bias=bias, dtype=dtype))
    rounding = rounding_of(head)
    x = (size * torch.randn(32, 64, generator=torch.Generator().manual_seed(seed))).to(dtype)
    h = norm_in(dtype, kind, double_cast, gain, bias, x).double()
    wide = x.double()
    if kind == "layer":
        wide = wide - wide.mean(-1, keepdim=True)
    exact = wide / (wide.pow(2).mean(-1, keepdim=True) + 1e-6).sqrt()
    u_error = math.sqrt(64) * (rounding.norm + rounding.centring)
    allowed = gain.double().abs() * (rounding.state * exact.abs() + (1 + rounding.state) * u_error) + rounding.shift
    expected = gain.double() * exact + (0 if bias is None else bias.double())
    assert ((h - expected).abs() <= allowed).all()
    z = head.logits(h.float()).double()[:, head.allowed]
    own_bias = 0 if head.bias is None else head.bias.double()
    plain = (head.scale * (h @ head.weight.double().T + own_bias))[:, head.allowed]
    scaled = abs(head.scale) * (h.abs() @ head.weight.double().abs().T + own_bias.abs())[:, head.allowed]
    assert ((z - plain).abs() <= rounding.logits * scaled).all()


@torch.no_grad()
@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gemma3"])
def test_plain_transformers_in_bfloat16_stay_above_the_floor_for_bfloat16_logits(
    architecture: str, tiny_folders: dict[str, Path]
) -> None:
    folder = tiny_folders[architecture]
    model = load_language_model(architecture, folder, "cpu", "bfloat16")
    plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).eval()
    p = torch.tensor(build_target(Temperature(entropy=2.0), model.vocabulary).probabilities)
    floor = solve_floor(model.head, p, logits_dtype=torch.bfloat16, tolerance_nats=1e-9)
    assert floor.floor < solve_floor(model.head, p, tolerance_nats=1e-9).floor
    last = 1e6 * near(floor.state).to(torch.bfloat16)
    logits = plain(inputs_embeds=last[:, None], use_cache=False).logits[:, -1].double()
    logits[:, ~model.head.allowed] = -torch.inf
    assert forward_kl(p, logits).min().item() >= floor.floor


def test_cached_bounds_belong_to_a_dtype(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTPROMPT_HOME", str(tmp_path))
    head, target = random_head(8, 0), random_target(0, 0.2)
    assert head.norm is not None
    *_, single = solve_bounds(head, target)
    *_, half = solve_bounds(replace(head, norm=replace(head.norm, dtype=torch.bfloat16)), target)
    assert (single.dtype, half.dtype) == ("float32", "bfloat16")
    assert single.floor is not None
    assert half.floor is not None
    assert half.floor < single.floor


@torch.no_grad()
@pytest.mark.real_model
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_smollm2_with_large_vectors(dtype: str, smollm2_folder: Path) -> None:
    model = load_language_model("smollm2", smollm2_folder, "cpu", dtype)
    p = torch.tensor(build_target(Temperature(entropy=2.0), model.vocabulary).probabilities)
    floor = solve_floor(model.head, p, tolerance_nats=1e-6)
    kls = adversarial_kls(model, p, near(floor.state, 2), (1e6, 1e7, 1e8))
    assert kls.min().item() >= floor.floor
    assert floor.rounding < 0.01  # loose bounds would leave no floor


def test_no_error_within_the_limits_lowers_a_divergence_by_more_than_the_allowance(generator: torch.Generator) -> None:
    """Random states of RMSNorm, with the largest errors of states and logits that the limits allow."""
    weight, gain = torch.randn(40, 6, generator=generator), 1 + torch.rand(6, generator=generator)
    for dtype in (torch.float32, torch.bfloat16):
        norm = FinalNorm("rms", gain, None, dtype)
        head = Head(weight, torch.randn(40, generator=generator), norm, 0.7, None, torch.ones(40, dtype=torch.bool))
        rounding = rounding_of(head)
        target = torch.softmax(3 * torch.randn(40, generator=generator), 0).double()
        allowed = allowance_at_any_state(head, rounding, target)
        assert allowed > 0
        states = torch.randn(300, 6, generator=generator).double()
        states *= math.sqrt(6) / states.norm(dim=1, keepdim=True)
        logits = divergence_logits(head, states)
        signs = torch.randint(0, 2, (300, 6), generator=generator).double() * 2 - 1
        erring = states * (1 + rounding.norm) * (1 + signs * rounding.state)
        magnitudes = abs(head.scale) * ((erring * gain).abs() @ weight.double().abs().T + head.bias.abs().double())
        below = target[None] - torch.softmax(logits, 1)  # errors of this sign lower the divergence
        computed = divergence_logits(head, erring) + torch.sign(below) * rounding.logits * magnitudes
        difference = kl_of(target, logits) - kl_of(target, computed)
        assert float(difference.max()) <= allowed


def divergence_logits(head: Head, states: Tensor) -> Tensor:
    """Logits of normalised states, (count, d), in float64."""
    assert head.norm is not None
    assert head.bias is not None
    return head.scale * (states * head.norm.gain.double() @ head.weight.double().T + head.bias.double())


def kl_of(target: Tensor, logits: Tensor) -> Tensor:
    """KL(target ‖ softmax(logits)), (count,)."""
    return (target * (target.log() - torch.log_softmax(logits, 1))).sum(1)
