"""Pruning: greedy, within the limit, stable under retokenization."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from distprompt_tui.models.language_model import LanguageModel
from distprompt_tui.search.pruning import prune
from distprompt_tui.search.retokenization import is_retokenization_stable
from tests.divergence import forward_kl
from tests.search.targets import outlier_target


def kl_of(model: LanguageModel, ids: Tensor) -> float:
    with torch.no_grad():
        return forward_kl(outlier_target(model), model.next_token_logits(ids[None])).item()


def plainly(model: LanguageModel, ids: list[int], within: float, kept: list[int]) -> list[int]:
    """The same by a plain loop; `kept` are positions to keep."""
    highest = kl_of(model, torch.tensor(ids)) + within
    places = list(range(len(ids)))
    while len(places) > 1:
        tries = [[p for p in places if p != dropped] for dropped in places if dropped not in kept]
        tries = [left for left in tries if is_retokenization_stable(model, [[ids[p] for p in left]]) == [True]]
        ranked = sorted((kl_of(model, torch.tensor([ids[p] for p in left])), left) for left in tries)
        if not ranked or ranked[0][0] > highest:
            break
        places = ranked[0][1]
    return places


@pytest.mark.parametrize("within", [0.0, 0.3, 100.0])
@pytest.mark.parametrize("locked", [[], [0, 2]])
def test_pruning_agrees_with_a_plain_loop(tiny_model: LanguageModel, within: float, locked: list[int]) -> None:
    model = tiny_model.in_context("The quick ", "")
    ids = model.vocabulary.encode(" yes or no, heads or tails")[:7]
    found = prune(model, outlier_target(model), torch.tensor(ids), within, frozenset(locked))
    assert list(found.positions) == plainly(model, ids, within, locked)
    assert found.ids.tolist() == [ids[position] for position in found.positions]
    assert found.kl == pytest.approx(kl_of(model, found.ids), abs=1e-4)
    assert found.kl <= kl_of(model, torch.tensor(ids)) + within + 1e-4
    assert set(locked) <= set(found.positions)
    if within == 100.0 and not locked:
        assert len(found.ids) < 4


def test_pruning_stops_on_request(tiny_models: dict[str, LanguageModel]) -> None:
    model = tiny_models["llama"]
    ids = torch.tensor(model.vocabulary.encode("yes or no, heads")[:5])
    answers = iter([False, False, True])
    found = prune(model, outlier_target(model), ids, 100.0, asked_to_stop=lambda: next(answers))
    assert len(found.ids) == 3
