"""The loss that nanoGCG gets is CE(p, q) of a plain computation. These tests run without nanoGCG."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from tests.benchmarks.nanogcg_arm import SurrogateModel, surrogate_row
from tests.tiny_models import write_tiny_model

LABEL = 7
LENGTH = 6


@given(st.floats(1e-6, 50), st.integers(0, 40))
def test_a_row_has_the_asked_cross_entropy_and_the_derivative_1(nats: float, label: int) -> None:
    asked = torch.tensor([nats], dtype=torch.float64, requires_grad=True)
    found = nn.functional.cross_entropy(surrogate_row(asked, label), torch.tensor([label]))
    assert found.item() == pytest.approx(nats, rel=1e-9)
    (slope,) = torch.autograd.grad(found, asked)
    assert slope.item() == pytest.approx(1, rel=1e-6)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder: Path = tmp_path_factory.mktemp("tiny")
    return AutoModelForCausalLM.from_pretrained(write_tiny_model("llama", folder)).eval()


@pytest.fixture(scope="module")
def target(model: Any) -> Tensor:
    """A target p, (V,), with some zeros."""
    noise = torch.randn(model.config.vocab_size, generator=torch.Generator().manual_seed(1))
    p = torch.where(noise > 0, noise.exp(), 0)
    return p / p.sum()


def prompts(model: Any, count: int) -> Tensor:
    """Prompts that differ from the first one at one position each, (count, LENGTH)."""
    generator = torch.Generator().manual_seed(count)
    first = torch.randint(model.config.vocab_size, (1, LENGTH), generator=generator)
    found = first.repeat(count, 1)
    for row in range(1, count):
        found[row, row % LENGTH] = int(torch.randint(model.config.vocab_size, (), generator=generator))
    return found


def reference(model: Any, target: Tensor, ids: Tensor) -> Tensor:
    """−Σ p log q after prompts without the surrogate, (batch,) float64."""
    log_q = model(ids).logits[:, -1].double().log_softmax(-1)
    return -(target.double() * log_q).sum(-1)


def losses(surrogate: SurrogateModel, embeddings: Tensor) -> Tensor:
    """The loss as nanoGCG computes it: the target token, after each prompt, is predicted by the position before it."""
    label = torch.tensor([LABEL])
    target_embeds = surrogate.get_input_embeddings()(label)[None]
    inputs = torch.cat([embeddings, target_embeds.repeat(len(embeddings), 1, 1)], dim=1)
    logits = surrogate(inputs_embeds=inputs).logits
    shift = inputs.shape[1] - len(label)
    shifted = logits[..., shift - 1 : -1, :].contiguous()
    return nn.functional.cross_entropy(
        shifted.view(-1, shifted.shape[-1]), label.repeat(len(embeddings)), reduction="none"
    )


@pytest.mark.parametrize("share", [True, False])
@torch.no_grad()
def test_losses_of_candidates_are_the_cross_entropy(model: Any, target: Tensor, share: bool) -> None:
    surrogate = SurrogateModel(model, target, LABEL, share=share)
    ids = prompts(model, 4 * LENGTH)
    embed = surrogate.get_input_embeddings()
    losses(surrogate, embed(ids[:1]))
    found = losses(surrogate, embed(ids))
    assert found.tolist() == pytest.approx(reference(model, target, ids).tolist(), rel=1e-5)
    other = prompts(model, 5)  # of another current prompt, which was not run before
    assert losses(surrogate, embed(other)).tolist() == pytest.approx(reference(model, target, other).tolist(), rel=1e-5)


def test_the_gradient_is_that_of_the_cross_entropy(model: Any, target: Tensor) -> None:
    surrogate = SurrogateModel(model, target, LABEL)
    weight = model.get_input_embeddings().weight
    ids = prompts(model, 1)
    one_hot = nn.functional.one_hot(ids, len(weight)).to(surrogate.dtype).requires_grad_()
    (found,) = torch.autograd.grad(losses(surrogate, one_hot @ weight).sum(), one_hot)
    double = one_hot.detach().double().requires_grad_()
    log_q = model(inputs_embeds=(double @ weight.double()).float()).logits[:, -1].double().log_softmax(-1)
    (expected,) = torch.autograd.grad(-(target.double() * log_q).sum(), double)
    assert torch.allclose(found.double(), expected, rtol=1e-3, atol=1e-6)


def test_passes_have_the_factor_of_their_work(model: Any, target: Tensor) -> None:
    surrogate = SurrogateModel(model, target, LABEL)
    embed = surrogate.get_input_embeddings()
    ids = prompts(model, 5)
    losses(surrogate, embed(ids[:1]).detach().requires_grad_())
    with torch.no_grad():
        losses(surrogate, embed(ids))
    assert surrogate.passes == [(1, 3), (5, 1)]
