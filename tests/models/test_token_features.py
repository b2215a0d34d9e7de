"""Tests of token features, for every architecture."""

from __future__ import annotations

import torch

from distprompt_tui.models.language_model import LanguageModel
from distprompt_tui.models.token_features import token_features


@torch.no_grad()
def test_features_are_the_states_after_the_first_block(tiny_model: LanguageModel) -> None:
    """Features equal the model's own hidden states of single tokens, centred and of length 1."""
    embeds = tiny_model.embedding_matrix[:, None]
    states = tiny_model.backbone(inputs_embeds=embeds, output_hidden_states=True).hidden_states[1][:, 0]
    centred = states - states.mean(0)
    expected = centred / centred.norm(dim=1, keepdim=True)
    torch.testing.assert_close(token_features(tiny_model).float(), expected, rtol=0, atol=2e-3)


def test_features_are_cached_and_leave_the_model_unchanged(tiny_model: LanguageModel) -> None:
    """A context does not change them, and no hook remains."""
    prompt = torch.tensor([[3, 1, 4]])
    before = tiny_model.next_token_logits(prompt)
    features = token_features(tiny_model)
    assert token_features(tiny_model.in_context("The quick ", "")) is features
    assert torch.equal(tiny_model.next_token_logits(prompt), before)
