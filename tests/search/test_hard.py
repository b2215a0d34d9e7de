"""The hard search: proposed swaps, perturbations and observations."""

from __future__ import annotations

import pytest
import torch

from distprompt_tui.core.config.search_specs import Hard
from distprompt_tui.core.errors import UsageError
from distprompt_tui.models.language_model import LanguageModel
from distprompt_tui.search.hard import HardSearch
from distprompt_tui.search.protocol import HardPrompt
from distprompt_tui.search.retokenization import is_retokenization_stable
from tests.divergence import forward_kl
from tests.search.targets import outlier_target

SETTINGS = Hard(length=4, width=16, initial_pool=24, draft=False)


def search(model: LanguageModel, settings: Hard = SETTINGS, steps: int = 12) -> HardSearch:
    """A search on the outlier target."""
    return HardSearch(model, outlier_target(model), settings, steps, seed=0)


def current(found: HardSearch) -> torch.Tensor:
    """The current prompt's ids."""
    prompt, _ = found.current
    assert isinstance(prompt, HardPrompt)
    return prompt.ids


def test_without_patience_the_objective_decreases(tiny_model: LanguageModel) -> None:
    found = search(tiny_model, SETTINGS.model_copy(update={"patience": 0}), steps=20)
    kls = [step.kls[-1] for step in found.steps()]
    assert kls == sorted(kls, reverse=True)
    assert kls[-1] < kls[0]


def test_step_swaps_at_one_position_in_turn(tiny_model: LanguageModel) -> None:
    """The last position has more candidates than an average one for the same cost."""
    settings = SETTINGS.model_copy(update={"patience": 0})
    found = search(tiny_model, settings, steps=0)
    list(found.steps())
    counts: dict[int, int] = {}
    for _ in range(settings.length):
        ids, prompts = current(found), found._propose()
        positions = (prompts != ids).nonzero()[:, 1]
        assert len(positions) == len(prompts)
        assert positions.unique().tolist() == [found._chains[0].position]
        counts[int(positions[0])] = len(prompts)
        found._accept(prompts)
    assert list(counts) == [3, 2, 1, 0]
    assert counts == {3: 40, 2: 20, 1: 13, 0: 10}


def test_search_ends_after_all_prompts(tiny_models: dict[str, LanguageModel]) -> None:
    model = tiny_models["llama"]
    found = search(model, Hard(length=1, width=512, initial_pool=4), steps=100)
    steps = list(found.steps())
    assert steps[-1].index < 100
    usable = found._allowed[:, None]
    pasteable = torch.tensor(is_retokenization_stable(model, usable.tolist()))
    with torch.no_grad():
        kls = forward_kl(outlier_target(model), model.next_token_logits(usable[pasteable]))
    assert found.best.kl == pytest.approx(kls.min().item(), abs=1e-6)


def test_perturbations_after_patience(tiny_model: LanguageModel) -> None:
    settings = SETTINGS.model_copy(update={"patience": 3, "perturbation": 3})
    found = search(tiny_model, settings, steps=60)
    steps = found.steps()
    next(steps)
    perturbations = 0
    ids, kl, best, fruitless = current(found), found.best.kl, current(found), 0
    for step in steps:
        is_perturbed = found._chains[0].position is None
        perturbations += is_perturbed
        changed = int((current(found) != (best if is_perturbed else ids)).sum())
        assert changed <= (3 if is_perturbed else 1)
        assert is_perturbed <= (fruitless >= 3)
        fruitless = 0 if is_perturbed or step.kls[-1] < kl else fruitless + 1
        assert (step.kls[-1] == kl) == (fruitless > 0)
        ids, kl = current(found), step.kls[-1]
        best = found.best.prompt.ids if isinstance(found.best.prompt, HardPrompt) else best
    assert perturbations


def test_observations_are_kept_across_prompts(tiny_model: LanguageModel) -> None:
    """Changes are relative to the prompt at the time of the measurement; only the last ones are kept."""
    settings = SETTINGS.model_copy(update={"memory": 30})
    found = search(tiny_model, settings, steps=0)
    list(found.steps())
    for _ in range(12):
        before, kl = current(found), found._current.kl
        prompts = found._propose()
        found._step += 1
        found._accept(prompts)
        position = found._chains[0].position
        if position is None:
            continue
        measured = found._chains[0].measured[position]
        assert len(measured.tokens) <= 30
        again = before.repeat(len(measured.tokens), 1)
        again[:, position] = measured.tokens
        newest = measured.steps == found._step
        assert int(newest.sum()) == min(len(prompts), 30)
        with torch.no_grad():
            kls = forward_kl(outlier_target(tiny_model), tiny_model.next_token_logits(again[newest]))
        torch.testing.assert_close(measured.changes[newest], kls - kl, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    "changes",
    [
        {"explore": 0.0},
        {"explore": 1.0},
        {"memory": 0},
        {"pool": 1},
        {"width": 1},
        {"perturbation": 9},
        {"initial_pool": 1},
    ],
    ids=str,
)
def test_extreme_settings(changes: dict[str, float], tiny_model: LanguageModel) -> None:
    found = search(tiny_model, SETTINGS.model_copy(update={"patience": 2, **changes}), steps=12)
    kls = [step.kls[-1] for step in found.steps()]
    assert len(kls) == 13
    with torch.no_grad():
        logits = tiny_model.next_token_logits(current(found)[None])
    assert kls[-1] == pytest.approx(forward_kl(outlier_target(tiny_model), logits).item(), abs=1e-3)
    assert found.best.kl == pytest.approx(min(kls), abs=1e-6)


def test_state_of_an_earlier_version_is_rejected(tiny_model: LanguageModel) -> None:
    found = search(tiny_model, steps=1)
    list(found.steps())
    state = found.state_dict()
    del state.tensors["order"]
    with pytest.raises(UsageError, match=r"earlier version .* search.init_prompt=RUN"):
        search(tiny_model).load_state_dict(state)


def test_initial_text_is_kept(tiny_models: dict[str, LanguageModel]) -> None:
    model = tiny_models["llama"]
    found = search(model, Hard(length=3, init="text", init_text="yes or no"), steps=0)
    list(found.steps())
    assert current(found).tolist() == model.vocabulary.encode("yes or no")[:3]
