"""Tests of the bfloat16 copy for pre-scoring."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from distprompt_tui.models.bf16_copy import gains_from_half_precision, in_half_precision
from distprompt_tui.models.language_model import LanguageModel


def test_the_copy_is_close_and_the_model_unchanged(tiny_model: LanguageModel) -> None:
    prompts = torch.tensor([[3, 1, 4, 1], [5, 9, 2, 6]])
    before = tiny_model.next_token_logits(prompts)
    copy = in_half_precision(tiny_model)
    found = copy.next_token_logits(prompts)
    assert (copy.dtype, tiny_model.dtype) == (torch.bfloat16, torch.float32)
    assert found.dtype == torch.float32
    allowed = tiny_model.head.allowed
    assert not torch.equal(found, before)
    assert float((found - before)[:, allowed].std()) < 0.05 * float(before[:, allowed].std())
    assert torch.equal(tiny_model.next_token_logits(prompts), before)


def test_the_copy_is_shared_across_contexts_and_has_no_embedding(tiny_model: LanguageModel) -> None:
    copy = in_half_precision(tiny_model)
    around = in_half_precision(tiny_model.in_context("The quick ", " dog"))
    assert around.backbone is copy.backbone
    assert around.prefix_ids == tiny_model.in_context("The quick ", " dog").prefix_ids
    assert not any(parameter.shape[0] == tiny_model.vocab_size for parameter in copy.backbone.parameters())


@pytest.mark.parametrize(
    ("capabilities", "gains"),
    [
        ({"avx512_bf16": True}, True),
        ({"amx_bf16": True, "avx512_bf16": False}, True),
        ({"avx512_f": True}, False),
        ({}, False),
    ],
)
def test_the_copy_needs_bfloat16_instructions(
    capabilities: dict[str, bool], gains: bool, tiny_model: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert gains_from_half_precision(tiny_model) == gains
    half = replace(tiny_model, backbone=in_half_precision(tiny_model).backbone)
    assert not gains_from_half_precision(half)  # already in bfloat16
