"""Several chains of the hard search: joint batches, states, exchange and manual edits."""

from __future__ import annotations

import pytest
import torch

from distprompt_tui.core.config.search_specs import Hard
from distprompt_tui.models.bf16_copy import in_half_precision
from distprompt_tui.models.language_model import LanguageModel
from distprompt_tui.search import prompt_runner
from distprompt_tui.search.evaluator import RESCORE_MARGIN_NATS, Evaluator
from distprompt_tui.search.hard import HardSearch
from distprompt_tui.search.initialization import random_ids
from tests.search.targets import outlier_target
from tests.search.test_evaluator import new_evaluator, plain, relatives
from tests.search.work import Work

SETTINGS = Hard(length=4, width=12, initial_pool=24, patience=4, draft=False, chains=3)


def search(model: LanguageModel, settings: Hard = SETTINGS, steps: int = 12, seed: int = 0) -> HardSearch:
    return HardSearch(model, outlier_target(model), settings, steps, seed)


def with_changes(**changes: object) -> Hard:
    return SETTINGS.model_copy(update=changes)


@pytest.mark.parametrize("around", [("", ""), ("The quick ", " dog")])
@pytest.mark.parametrize("call_cost", [0, 96])
def test_groups_measured_together_equal_plain_divergences(
    tiny_model: LanguageModel,
    around: tuple[str, str],
    call_cost: int,
    generator: torch.Generator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Three base prompts, one group without a base prompt and an empty one; the work is what the model ran."""
    monkeypatch.setitem(prompt_runner.CALL_COSTS, "cpu", call_cost)
    model = tiny_model.in_context(*around)
    found = new_evaluator(model, 6)
    bases = [found.base_prompt(ids, with_gradient=False) for ids in random_ids(model, (3, 6), generator)]
    prompts = [relatives(model, base.ids, 15, generator) for base in bases]
    prompts[2] = torch.cat([prompts[0][:3], prompts[2]])  # the same prompt in two groups is measured once
    prompts += [random_ids(model, (5, 6), generator), prompts[0][:0]]
    before, work = found.positions, Work(model)
    kls = found.measure_groups(list(zip(prompts, [*bases, None, bases[0]], strict=True)))
    assert found.positions - before == work.stop()
    assert work.positions < 50 * (6 + len(model.prefix_ids) + len(model.suffix_ids)) or call_cost
    torch.testing.assert_close(kls, plain(model, torch.cat(prompts)), rtol=1e-4, atol=1e-4)


def test_lowest_draft_score_of_each_group_is_exact(tiny_model: LanguageModel, generator: torch.Generator) -> None:
    found = Evaluator(tiny_model, outlier_target(tiny_model), 6, pytest.fail, draft_model=in_half_precision(tiny_model))
    bases = [found.base_prompt(ids, with_gradient=False) for ids in random_ids(tiny_model, (3, 6), generator)]
    prompts = [relatives(tiny_model, base.ids, 20, generator) for base in bases]
    measured = found.measure_groups(list(zip(prompts, bases, strict=True))).split(20)
    for kls, group, base in zip(measured, prompts, bases, strict=True):
        exact = found.measured(group)
        assert exact[kls.argmin()] or float(kls.min()) > base.kl + RESCORE_MARGIN_NATS
        torch.testing.assert_close(kls[exact], plain(tiny_model, group)[exact], rtol=1e-4, atol=1e-4)
    assert not found.measured(torch.cat(prompts)).all()


def test_one_chain_is_the_default_on_a_cpu(tiny_model: LanguageModel) -> None:
    automatic = Hard(length=4, initial_pool=24, draft=False)
    kls = [
        [step.kls for step in search(tiny_model, settings).steps()]
        for settings in (automatic, automatic.model_copy(update={"width": 24, "chains": 1}))
    ]
    assert kls[0] == kls[1]


def test_the_first_chain_is_that_of_a_single_search(tiny_models: dict[str, LanguageModel]) -> None:
    """Until the chains exchange prompts, or propose the same one."""
    model, paths = tiny_models["llama"], []
    for chains in (1, 3):
        found = search(model, with_changes(chains=chains, patience=0, length=8))
        paths.append([found._chains[0].current.ids.tolist() for _ in found.steps()])
    assert paths[0] == paths[1]


def test_chains_start_apart_and_the_best_is_shown(tiny_model: LanguageModel) -> None:
    found = search(tiny_model)
    for number, step in enumerate(found.steps()):
        objectives = [chain.current.objective for chain in found._chains]
        assert step.kls == (min(objectives),)
        assert (
            found.current[0].ids.tolist()
            == min(found._chains, key=lambda at: at.current.objective).current.ids.tolist()
        )  # type: ignore[union-attr]
        truth = plain(tiny_model, torch.stack([chain.current.ids for chain in found._chains]))
        torch.testing.assert_close(torch.tensor(objectives), truth, rtol=1e-4, atol=1e-4)
        if not number:
            assert len({tuple(chain.current.ids.tolist()) for chain in found._chains}) == 3
    assert found.best.kl <= min(chain.best.objective for chain in found._chains)


@pytest.mark.parametrize("exchange", [True, False])
def test_stuck_chains_continue_from_the_best_prompt(tiny_model: LanguageModel, exchange: bool) -> None:
    found = search(tiny_model, with_changes(exchange=exchange, perturbation=1))
    list(found.steps())
    for chain in found._chains:
        chain.steps_without_improvement = SETTINGS.patience
    parts = found._propose().split(found._counts)
    starts = [found._best if exchange else chain.best for chain in found._chains]
    assert len({tuple(chain.best.ids.tolist()) for chain in found._chains}) > 1
    for part, start in zip(parts, starts, strict=True):
        assert ((part != start.ids).sum(1) <= 1).all()


@pytest.mark.parametrize(("chains", "draft"), [(1, False), (3, False), (3, True)])
def test_state_restores_the_number_of_chains(tiny_models: dict[str, LanguageModel], chains: int, draft: bool) -> None:
    """A run may continue on a device for which "auto" has other values."""
    model, settings = tiny_models["gpt2"], with_changes(chains=chains, draft=draft)
    whole = [step.kls for step in search(model, settings, steps=20).steps()]
    first = search(model, settings, steps=20)
    for step in first.steps():
        if step.index == 9:
            break
    second = search(model, settings.model_copy(update={"chains": 2, "width": 5}), steps=20, seed=8)
    second.load_state_dict(first.state_dict())
    assert [step.kls for step in second.steps()] == whole[9:]


def test_all_chains_continue_from_a_manual_edit(tiny_models: dict[str, LanguageModel]) -> None:
    model = tiny_models["llama"]
    found = search(model, steps=30)
    steps = found.steps()
    for _ in range(5):
        next(steps)
    found.lock(1, locked=True)
    kept = int(found.current[0].ids[1])  # type: ignore[union-attr]
    token = next(token for token in found._allowed.tolist() if _is_accepted(found, token))
    for chain in found._chains:
        assert chain.current.ids.tolist() == found.current[0].ids.tolist()  # type: ignore[union-attr]
        assert int(chain.current.ids[2]) == token
    for _ in steps:
        assert {int(chain.current.ids[1]) for chain in found._chains} == {kept}
    assert len({tuple(chain.current.ids.tolist()) for chain in found._chains}) > 1


def _is_accepted(found: HardSearch, token: int) -> bool:
    try:
        found.edit(2, token)
    except Exception:
        return False
    return True
