"""Surprisal of the prompt's tokens, measured in a bounded fraction of the search time."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from distprompt_tui.models.language_model import LanguageModel
from distprompt_tui.worker import surprisal
from distprompt_tui.worker.surprisal import LARGEST_SHARE, SurprisalCache, surprisals


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock in seconds; a forward pass takes one second."""
    now = [0.0]
    forward = LanguageModel.log_probabilities

    def slow(model: LanguageModel, ids: torch.Tensor) -> Any:
        now[0] += 1
        return forward(model, ids)

    monkeypatch.setattr(LanguageModel, "log_probabilities", slow)
    monkeypatch.setattr(surprisal.time, "monotonic", lambda: now[0])  # type: ignore[attr-defined]
    return now


def test_surprisals_before_a_change_stay_valid(tiny_models: dict[str, LanguageModel], clock: list[float]) -> None:
    model = tiny_models["llama"]
    one, other = torch.tensor([5, 6, 7, 8]), torch.tensor([5, 6, 9, 8])
    asked = SurprisalCache(model)
    first = asked.of(one)
    assert first[0] is None
    assert all(value is not None and value > 0 for value in first[1:])
    assert asked.of(other) == [*first[:2], None, None]
    assert asked.of(one) == first
    clock[0] = 1 / LARGEST_SHARE
    assert clock[0] == 50
    second = asked.of(other)
    assert second == pytest.approx(surprisals(model, other), abs=1e-3)
    assert second[1] == pytest.approx(first[1], abs=1e-3)
    assert asked.of(one[:2]) == second[:2]


def test_a_forced_measurement_is_immediate(tiny_models: dict[str, LanguageModel], clock: list[float]) -> None:
    asked = SurprisalCache(tiny_models["llama"])
    asked.of(torch.tensor([5, 6, 7]))
    assert None not in asked.of(torch.tensor([6, 5, 7]), force=True)[1:]
    assert clock[0] == 2
