"""Forward passes that do not synchronise with the host equal plain ones; models that need more run plainly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import masking_utils

from distprompt_tui.models.forward import Forward, forward_without_waiting, run_plain
from distprompt_tui.models.language_model import LanguageModel
from distprompt_tui.models.wrap import load_language_model
from tests.models.test_model_kinds import IDS_ONLY, KINDS, REFUSED, WITHOUT_GRADIENTS, write_kind
from tests.recurrent_models import KINDS as RECURRENT_KINDS
from tests.recurrent_models import recurrent_model

LONG = 24  # positions; more than the sliding window of the tiny Gemma 3


def results(model: LanguageModel, forward: Forward, prompts: Tensor) -> tuple[Tensor, Tensor]:
    """Return the logits after each prompt, and the gradient of a sum over them."""
    inputs = prompts.clone().requires_grad_()
    logits = model.head.logits(forward(model.backbone, inputs * 1)[:, -1])  # `* 1`: some write to their input
    (gradient,) = torch.autograd.grad(logits[:, :7].sin().sum(), inputs)
    return logits, gradient


def assert_same_results(model: LanguageModel, forward: Forward) -> None:
    generator = torch.Generator().manual_seed(0)
    for shape in ((3, LONG), (1, 1), (1, 5), (5, 2)):  # (prompts, positions)
        prompts = torch.randn(*shape, model.hidden_size, generator=generator)
        for found, expected in zip(results(model, forward, prompts), results(model, run_plain, prompts), strict=True):
            assert torch.equal(found, expected)


@pytest.fixture
def searches_for_packed_sequences(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count the searches of transformers for packed sequences, each of which makes the host wait."""
    count = [0]
    find = masking_utils.find_packed_sequence_indices

    def counted(position_ids: Tensor) -> Tensor | None:
        count[0] += 1
        return find(position_ids)

    monkeypatch.setattr(masking_utils, "find_packed_sequence_indices", counted)
    return count


def test_a_forward_pass_without_waiting_equals_a_plain_one(
    tiny_model: LanguageModel, searches_for_packed_sequences: list[int]
) -> None:
    probe = tiny_model.embedding(torch.arange(32).view(4, 8))
    forward = forward_without_waiting(tiny_model.backbone, probe)
    assert forward is not run_plain
    assert searches_for_packed_sequences[0] > 0
    searches_for_packed_sequences[0] = 0
    forward(tiny_model.backbone, probe)
    assert searches_for_packed_sequences[0] == 0
    assert_same_results(tiny_model, forward)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in {*REFUSED, *IDS_ONLY, *WITHOUT_GRADIENTS}])
def test_every_kind_of_model_gives_the_results_of_a_plain_pass(kind: str, tmp_path: Path) -> None:
    model = load_language_model(kind, write_kind(kind, tmp_path), "cpu", "float32")
    probe = model.embedding(torch.arange(32).view(4, 8))
    assert_same_results(model, forward_without_waiting(model.backbone, probe))


@pytest.mark.parametrize("kind", RECURRENT_KINDS)
def test_recurrent_models_give_the_results_of_a_plain_pass(kind: str, tiny_models: dict[str, LanguageModel]) -> None:
    model = recurrent_model(kind, tiny_models["llama"].vocabulary)
    probe = model.embedding(torch.arange(32).view(4, 8))
    assert_same_results(model, forward_without_waiting(model.backbone, probe))


class NeedsNoCache(nn.Module):
    """Gives other states with a cache, or for single positions with one."""

    def __init__(self, error: Exception | None, shift_at: int) -> None:
        super().__init__()
        self.error, self.shift_at = error, shift_at

    def forward(self, inputs_embeds: Tensor, past_key_values: Any = None, use_cache: bool = False) -> Any:
        if past_key_values is not None and self.error is not None:
            raise self.error
        is_shifted = past_key_values is not None and inputs_embeds.shape[1] == self.shift_at
        return type("Output", (), {"last_hidden_state": inputs_embeds + is_shifted})


@pytest.mark.parametrize(
    ("error", "shift_at", "is_plain"),
    [(None, 8, True), (None, 2, True), (None, 1, True), (IndexError("no layer"), 0, True), (None, 0, False)],
)
def test_a_backbone_with_other_states_runs_plainly(error: Exception | None, shift_at: int, is_plain: bool) -> None:
    forward = forward_without_waiting(NeedsNoCache(error, shift_at), torch.zeros(4, 8, 3))
    assert (forward is run_plain) == is_plain


def test_lack_of_memory_is_not_a_reason_to_run_plainly() -> None:
    with pytest.raises(torch.OutOfMemoryError):
        forward_without_waiting(NeedsNoCache(torch.OutOfMemoryError(), 0), torch.zeros(4, 8, 3))
