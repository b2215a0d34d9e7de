"""Locks, manual edits and the log of candidates."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from distprompt_tui.core.config import search_specs as specs
from distprompt_tui.core.errors import UsageError
from distprompt_tui.models.language_model import LanguageModel
from distprompt_tui.search.candidate_log import MOST_EACH, MOST_IN_ALL, CandidateLog
from distprompt_tui.search.protocol import HardPrompt
from distprompt_tui.search.retokenization import is_retokenization_stable
from distprompt_tui.search.soft import SoftSearch
from distprompt_tui.search.token_search import SwapSearch
from distprompt_tui.worker.manual_edits import change_prompt
from tests.divergence import forward_kl
from tests.search.targets import outlier_target
from tests.search.test_methods import SETTINGS, search

SWAPS = [name for name, settings in SETTINGS.items() if isinstance(settings, specs.SwapSearchConfig)]


def started(model: LanguageModel, name: str, steps: int = 30) -> tuple[SwapSearch[Any], Any]:
    """A search after three steps, and its remaining steps."""
    found = search(model, SETTINGS[name], steps=steps)
    assert isinstance(found, SwapSearch)
    reports = found.steps()
    for _ in range(4):
        next(reports)
    return found, reports


def current(found: SwapSearch[Any]) -> HardPrompt:
    """The current prompt as reported."""
    prompt, _ = found.current
    assert isinstance(prompt, HardPrompt)
    return prompt


def another_token(model: LanguageModel, ids: list[int], position: int) -> int:
    """A token that keeps the prompt stable under retokenization."""
    for token in range(60, 200):
        changed = [*ids[:position], token, *ids[position + 1 :]]
        if token != ids[position] and is_retokenization_stable(model, [changed]) == [True]:
            return token
    raise AssertionError


@pytest.mark.parametrize("name", SWAPS)
def test_lock_applies_until_it_is_released(name: str, tiny_models: dict[str, LanguageModel]) -> None:
    found, reports = started(tiny_models["llama"], name, steps=60)
    locked = (0, 3)
    kept = [int(current(found).ids[position]) for position in locked]
    for position in locked:
        found.lock(position, locked=True)
    assert current(found).locked == set(locked)
    prompts = []
    for _ in range(20):
        next(reports)
        prompts.append(current(found).ids.tolist())
        assert [prompts[-1][position] for position in locked] == kept
    assert len({tuple(ids) for ids in prompts}) > 1
    found.lock(1, locked=True)
    with pytest.raises(UsageError, match="one position must stay unlocked"):
        found.lock(2, locked=True)
    for position in (*locked, 1):
        found.lock(position, locked=False)
    assert current(found).locked == set()
    assert found._free.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("name", SWAPS)
def test_search_continues_from_an_edit(name: str, tiny_models: dict[str, LanguageModel]) -> None:
    model = tiny_models["llama"]
    found, reports = started(model, name)
    best = found.best.kl
    before = current(found).ids.tolist()
    token = another_token(model, before, 1)
    found.lock(1, locked=True)
    report = found.edit(1, token)  # the user may edit locked positions
    prompt = current(found)
    assert prompt.ids.tolist() == [before[0], token, *before[2:]]
    _, logits = found.current
    expected = forward_kl(outlier_target(model), logits[None]).item()
    assert report.kls[-1] == pytest.approx(expected, abs=1e-4)
    assert prompt.changed[1] == report.index
    assert found.best.kl == min(best, report.kls[-1])
    for _ in reports:
        assert int(current(found).ids[1]) == token
        assert is_retokenization_stable(model, [current(found).ids.tolist()]) == [True]


def test_edits_and_locks_are_restored(tiny_models: dict[str, LanguageModel]) -> None:
    model = tiny_models["gpt2"]
    for name in SWAPS:
        first, reports = started(model, name)
        first.edit(2, another_token(model, current(first).ids.tolist(), 2))
        first.lock(2, locked=True)
        second = search(model, SETTINGS[name], seed=99, steps=30)
        second.load_state_dict(first.state_dict())
        assert [first.report(), *reports] == list(second.steps())
        assert first.state_dict().numbers == second.state_dict().numbers


def test_invalid_edit_is_rejected_without_effect(tiny_models: dict[str, LanguageModel]) -> None:
    model = tiny_models["gpt2"]
    found, _ = started(model, "hard")
    ids = current(found).ids.tolist()
    spelt = model.vocabulary.encode("The")
    for position, token, words in [
        (4, 70, "no position 5 in a prompt of length 4"),
        (-1, 70, "no position 0"),
        (0, min(model.vocabulary.special_ids), "invalid token"),
        (0, model.vocab_size + 7, "invalid token"),
    ]:
        with pytest.raises(UsageError, match=words):
            found.edit(position, token)
    found.edit(0, model.vocabulary.id_of("T"))
    assert len(spelt) < 3
    with pytest.raises(UsageError, match="tokenised differently"):
        found.edit(1, model.vocabulary.id_of("he"))
    assert current(found).ids.tolist()[1:] == ids[1:]


def test_request_is_answered_with_its_effect(tiny_models: dict[str, LanguageModel]) -> None:
    model = tiny_models["llama"]
    found, _ = started(model, "hard")
    replaced = int(current(found).ids[0])
    token = another_token(model, current(found).ids.tolist(), 0)
    before = found.report().kls[-1]
    report, answer = change_prompt(found, {"command": "edit", "position": 0, "token": token})
    numbers = {"before": before, "kl": report.kls[-1]}
    assert answer == {"position": 0, "token": token, "replaced": replaced, "outcome": "edited"} | numbers
    assert change_prompt(found, {"command": "lock", "position": 0})[1] == {"position": 0, "outcome": "locked"}
    assert change_prompt(found, {"command": "unlock", "position": 0})[1] == {"position": 0, "outcome": "unlocked"}
    for request in ({"command": "edit", "position": 0}, {"command": "lock"}, {"command": "lock", "position": True}):
        with pytest.raises(UsageError, match="an integer"):
            change_prompt(found, request)
    soft = SoftSearch(model, outlier_target(model), specs.Soft(length=2), 3, 0)
    with pytest.raises(UsageError, match="a search that swaps tokens can be edited"):
        change_prompt(soft, {"command": "lock", "position": 0})


@pytest.mark.parametrize("name", [name for name in SETTINGS if name != "gcg, two at once"])
def test_scores_of_candidates_are_exact(name: str, tiny_models: dict[str, LanguageModel]) -> None:
    """Scores are divergences of the prompt before the step with the token; approximate in bfloat16."""
    model = tiny_models["gpt2"]
    found = search(model, SETTINGS[name])
    seen, before = 0, torch.zeros(0)
    for step in found.steps():
        prompt, _ = found.current
        assert isinstance(prompt, HardPrompt)
        for position, tried in enumerate(prompt.tried):
            if tried is None or tried.step != step.index or len(before) != len(prompt.ids):
                continue
            assert list(tried.tokens) == sorted(tried.tokens, key=lambda item: item[1])
            prompts = before.repeat(len(tried.tokens), 1)
            prompts[:, position] = torch.tensor([token for token, _ in tried.tokens])
            with torch.no_grad():
                expected = forward_kl(outlier_target(model), model.next_token_logits(prompts))
            assert tried.draft_only <= {token for token, _ in tried.tokens}
            for (token, kl), truth in zip(tried.tokens, expected.tolist(), strict=True):
                assert kl == pytest.approx(truth, abs=0.05 if token in tried.draft_only else 1e-4)
            seen += len(tried.tokens)
        before = prompt.ids
    assert seen > 10


def test_best_candidates_are_kept_for_equal_other_tokens() -> None:
    tried = CandidateLog()
    ids = torch.tensor([1, 2, 3])
    prompts = torch.tensor([[1, 9, 3], [1, 8, 3], [1, 7, 4], [5, 2, 3]])
    exact = torch.tensor([False, True, True, True])
    tried.note(ids, 1.0, 6, prompts, torch.tensor([0.5, 2.0, 0.1, 3.0]), exact)
    first, second = tried.at(0), tried.at(1)
    assert first is not None
    assert second is not None
    assert first.tokens == ((1, 1.0), (5, 3.0))
    assert second.tokens == ((9, 0.5), (2, 1.0), (8, 2.0))
    assert (first.draft_only, second.draft_only) == (frozenset(), {9})
    assert tried.at(2) is None
    moved = torch.tensor([1, 9, 3])
    more = moved.repeat(20, 1)
    more[:, 1] = torch.arange(20, 40)
    tried.note(moved, 0.5, 7, more, torch.arange(20.0) / 4, torch.arange(20) > 0)
    again = tried.at(1)
    assert again is not None
    assert again.step == 7
    assert len(again.tokens) == MOST_EACH
    assert again.tokens[:4] == ((20, 0.0), (21, 0.25), (9, 0.5), (22, 0.5))
    assert again.draft_only == {20}  # 9 is the current token and was measured
    assert tried.at(0) == first  # measured with the 2
    tried.note(moved, 0.5, 8, torch.tensor([[6, 9, 3]]), torch.tensor([4.0]), torch.tensor([True]))
    newest = tried.at(0)
    assert newest is not None
    assert newest.tokens == ((1, 0.5), (6, 4.0))


def test_long_prompt_keeps_few_candidates_per_position() -> None:
    tried = CandidateLog()
    ids = torch.zeros(MOST_IN_ALL, dtype=torch.long)
    prompts = ids.repeat(MOST_IN_ALL, 1) + torch.eye(MOST_IN_ALL, dtype=torch.long)
    tried.note(ids, 1.0, 1, prompts, torch.zeros(len(prompts)), torch.ones(len(prompts), dtype=torch.bool))
    kept = [tried.at(position) for position in range(len(ids))]
    assert sum(len(one.tokens) for one in kept if one is not None) == MOST_IN_ALL
