"""Tests of the batch-invariance check."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from distprompt_tui.models import batch_invariance
from distprompt_tui.models.batch_invariance import is_batch_invariant
from distprompt_tui.models.head import Head
from distprompt_tui.models.language_model import LanguageModel

REPORT = """
import json, os, sys
from distprompt_tui.worker.doctor import examine
told = next(check.value for check in examine() if check.name == "batches")
print(json.dumps([os.environ["MKL_CBWR"], told]))
"""


def body_with(module: nn.Module) -> nn.Module:
    """A backbone without attention that consists of one module."""
    backbone = nn.Module()
    backbone.config = object()  # type: ignore[assignment]
    backbone.part = module
    return backbone


class CountingHead(Head):
    """An output layer whose logits depend on the batch size."""

    def logits(self, hidden: Tensor) -> Tensor:
        """Logits that grow by a rounding error per state."""
        return super().logits(hidden) * (1 + 2**-22 * len(hidden))


def test_invariant_models_give_the_same_logits_in_a_batch(tiny_model: LanguageModel) -> None:
    for positions in (4, 10, 50):
        prompts = torch.randn(16, positions, 32, generator=torch.Generator().manual_seed(1))
        whole = tiny_model.next_token_logits(prompts)
        alone = torch.cat([tiny_model.next_token_logits(prompt) for prompt in prompts.split(1)])
        torch.testing.assert_close(alone, whole, rtol=1e-4, atol=1e-4)
        if is_batch_invariant(tiny_model, positions):
            assert torch.equal(alone, whole)


@pytest.mark.parametrize("positions", [1, 10])
def test_a_batch_dependent_head_is_detected(positions: int, tiny_models: dict[str, LanguageModel]) -> None:
    model = tiny_models["llama"]
    head = CountingHead(**vars(model.head))
    assert not is_batch_invariant(replace(model, head=head, backbone=body_with(nn.Identity())), positions)


def test_weights_that_are_not_matrices_are_not_invariant(tiny_models: dict[str, LanguageModel]) -> None:
    assert not is_batch_invariant(replace(tiny_models["llama"], backbone=body_with(nn.Conv1d(32, 32, 3))), 4)


def test_embeddings_are_not_tested(tiny_models: dict[str, LanguageModel]) -> None:
    weights = list(batch_invariance._weights(tiny_models["gpt2"].backbone))
    assert {tuple(weight.shape) for weight in weights} == {(32, 96), (32, 32), (32, 128), (128, 32)}


def test_batch_dependent_products_are_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    product = Tensor.__matmul__
    monkeypatch.setattr(Tensor, "__matmul__", lambda a, b: product(a, b) * (1 + 2**-22 * len(a)))
    assert not batch_invariance.are_products_batch_invariant()


@pytest.mark.parametrize("setting", [None, "COMPATIBLE", "AVX2"])
def test_the_users_mkl_setting_is_kept_and_reported(setting: str | None) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "MKL_CBWR"}
    if setting is not None:
        environment["MKL_CBWR"] = setting
    printed = subprocess.run(
        [sys.executable, "-c", REPORT], capture_output=True, text=True, check=True, env=environment
    )
    kept, told = json.loads(printed.stdout.splitlines()[-1])
    assert kept == (setting or "AUTO,STRICT")
    assert told.startswith("on the CPU, ")
    assert f"(MKL_CBWR={kept})" in told
