"""Properties of all token searches, and of each method."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, get_args

import pytest
import torch

from distprompt_tui.core.config import search_specs
from distprompt_tui.core.config import spec as specs
from distprompt_tui.core.config.methods import METHODS
from distprompt_tui.models.language_model import LanguageModel
from distprompt_tui.search import make_search
from distprompt_tui.search.evaluator import Evaluator
from distprompt_tui.search.protocol import HardPrompt
from distprompt_tui.search.registry import SEARCHES
from distprompt_tui.search.retokenization import is_retokenization_stable
from distprompt_tui.search.token_search import SwapSearch, TokenSearch
from tests.divergence import forward_kl
from tests.search.targets import outlier_target
from tests.search.work import Work

SETTINGS: dict[str, search_specs.TokenSearchConfig] = {
    "hard": search_specs.Hard(length=4, width=16, initial_pool=24, patience=3, draft=False),
    "hard, screened": search_specs.Hard(length=4, width=16, initial_pool=24, patience=3),
    "hard, chains": search_specs.Hard(length=4, width=8, initial_pool=24, patience=3, draft=False, chains=3),
    "gcg": search_specs.Gcg(length=4, width=24, top_k=32),
    "gcg, two at once": search_specs.Gcg(length=4, width=24, top_k=32, n_replace=2),
    "hotflip": search_specs.Hotflip(length=4, width=16, beam=3),
    "random": search_specs.RandomSwaps(length=4, width=16),
    "exhaustive": search_specs.Exhaustive(length=2, width=100, beam=2),
}
STEPS = 12


def search(
    model: LanguageModel, settings: search_specs.TokenSearchConfig, seed: int = 0, steps: int = STEPS
) -> TokenSearch[Any]:
    """A search on the outlier target that must not warn."""
    spec = specs.RunSpec.model_validate(
        {
            "target": {"family": "uniform"},
            "search": settings.model_dump(),
            "budget": {"steps": steps},
            "seed": seed,
        }
    )
    found = make_search(model, outlier_target(model), spec, pytest.fail)
    assert isinstance(found, TokenSearch)
    return found


def ids_of(found: TokenSearch[Any]) -> torch.Tensor:
    """The best prompt's ids."""
    prompt = found.best.prompt
    assert isinstance(prompt, HardPrompt)
    return prompt.ids


@pytest.fixture(params=list(SETTINGS))
def settings(request: pytest.FixtureRequest) -> search_specs.TokenSearchConfig:
    """Each method."""
    return SETTINGS[request.param]


@pytest.fixture(params=["", "The quick "])
def model(request: pytest.FixtureRequest, tiny_models: dict[str, LanguageModel]) -> LanguageModel:
    """A tiny model, with and without a prefix."""
    return tiny_models["llama"].in_context(request.param, "")


def test_best_prompt_is_correct_and_stable(tiny_model: LanguageModel, settings: search_specs.TokenSearchConfig) -> None:
    for inside in (tiny_model, tiny_model.in_context("The quick ", " dog")):
        found = search(inside, settings)
        reported: list[float] = []
        for step in found.steps():
            reported += step.kls
            assert found.best.kl == min(reported)
            assert is_retokenization_stable(inside, [ids_of(found).tolist()]) == [True]
        assert found.best.kl < reported[0] or isinstance(settings, search_specs.Exhaustive)
        with torch.no_grad():
            again = forward_kl(outlier_target(inside), inside.next_token_logits(ids_of(found)[None])).item()
        assert found.best.kl == pytest.approx(again, abs=1e-4)


def test_work_is_counted_and_nothing_is_measured_twice(
    model: LanguageModel, settings: search_specs.TokenSearchConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Includes the draft model."""
    measured: list[tuple[int, ...]] = []
    measure = Evaluator._measure_new

    def watched(self: Evaluator, prompts: torch.Tensor, *rest: Any) -> tuple[torch.Tensor, torch.Tensor]:
        measured.extend(map(tuple, prompts.tolist()))
        return measure(self, prompts, *rest)

    work = Work(model)
    found = search(model, settings)
    probes = found._evaluator.positions
    monkeypatch.setattr(Evaluator, "_measure_new", watched)
    for step in found.steps():
        assert step.positions == work.positions
    assert work.stop() > probes
    assert len(measured) > STEPS
    assert len(set(measured)) == len(measured)


@pytest.mark.parametrize("stop_at", [0, 3, 8])
def test_resumed_equals_uninterrupted_bit_for_bit(
    model: LanguageModel, settings: search_specs.TokenSearchConfig, stop_at: int
) -> None:
    check_resuming(model, settings, stop_at)


@pytest.mark.parametrize("name", ["hard", "hard, screened", "hard, chains", "hotflip"])
def test_resumed_equals_uninterrupted_on_every_architecture(tiny_model: LanguageModel, name: str) -> None:
    check_resuming(tiny_model.in_context("", " dog"), SETTINGS[name], 5)


def check_resuming(model: LanguageModel, settings: search_specs.TokenSearchConfig, stop_at: int) -> None:
    """A search restored from its state continues identically."""
    whole = search(model, settings)
    expected = list(whole.steps())
    first = search(model, settings)
    for step in first.steps():
        if step.index == stop_at:
            break
    second = search(model, settings, seed=99)
    second.load_state_dict(first.state_dict())
    assert list(second.steps()) == expected[stop_at:]
    assert torch.equal(ids_of(second), ids_of(whole))
    assert second.best.step == whole.best.step
    assert second.state_dict().numbers == whole.state_dict().numbers


def test_search_is_deterministic_given_the_seed(model: LanguageModel, settings: search_specs.TokenSearchConfig) -> None:
    runs = [[step.kls for step in search(model, settings, seed).steps()] for seed in (3, 3, 4)]
    assert runs[0] == runs[1]
    assert (runs[0] != runs[2]) == (settings.method != "exhaustive")  # type: ignore[attr-defined]


def walk(found: TokenSearch[Any]) -> Iterator[tuple[list[int], float]]:
    """The current prompt and its divergence after each step."""
    for step in found.steps():
        prompt, _ = found.current
        assert isinstance(prompt, HardPrompt)
        yield prompt.ids.tolist(), step.kls[-1]


def test_gcg_changes_one_position_per_step_and_accepts_increases(tiny_models: dict[str, LanguageModel]) -> None:
    found = search(tiny_models["gpt2"], search_specs.Gcg(length=4, width=12, top_k=32), steps=40)
    places = list(walk(found))
    for (before, _), (after, _) in pairwise(places):
        assert sum(a != b for a, b in zip(before, after, strict=True)) <= 1
    kls = [kl for _, kl in places]
    assert kls != sorted(kls, reverse=True)


def test_gcg_candidates_are_the_best_ranked_of_each_position(tiny_models: dict[str, LanguageModel]) -> None:
    model = tiny_models["gpt2"]
    found = search(model, search_specs.Gcg(length=4, width=400, top_k=5), steps=0)
    list(found.steps())
    assert found._base is not None
    assert found._base.gradient is not None
    gradient, ids = found._base.gradient, found._base.ids
    change = (gradient @ model.embedding_matrix.T)[:, found._allowed]
    best = found._allowed[change.topk(5, largest=False).indices]
    drawn = found._propose()
    for prompt in drawn:
        for position in (prompt != ids).nonzero()[:, 0].tolist():
            assert int(prompt[position]) in best[position].tolist()


def test_scores_are_derivatives_by_one_hot_rows(tiny_model: LanguageModel) -> None:
    """Compares (E_v − E_current) · gradient with autograd through an explicit one-hot matrix."""
    found = search(tiny_model, SETTINGS["hotflip"], steps=0)
    list(found.steps())
    ids = ids_of(found)
    one_hot = torch.nn.functional.one_hot(ids, tiny_model.vocab_size).float().requires_grad_()
    logits = tiny_model.next_token_logits((one_hot @ tiny_model.embedding_matrix)[None])
    forward_kl(outlier_target(tiny_model), logits).sum().backward()
    assert one_hot.grad is not None
    expected = one_hot.grad - one_hot.grad.gather(1, ids[:, None])
    assert isinstance(found, SwapSearch)
    assert found._base is not None
    scores = found._scored(found._base)
    finite = torch.isfinite(scores)
    torch.testing.assert_close(scores[finite], expected[finite], rtol=1e-3, atol=1e-4)
    assert not finite.gather(1, ids[:, None]).any()  # the current token is not a swap
    assert not finite[:, ~tiny_model.head.allowed].any()
    assert not finite[:, list(tiny_model.vocabulary.special_ids)].any()


def test_hotflip_measures_the_best_ranked_first(tiny_models: dict[str, LanguageModel]) -> None:
    model = tiny_models["gpt2"]
    found = search(model, search_specs.Hotflip(length=4, width=16, beam=1), steps=0)
    list(found.steps())
    assert found._base is not None
    scores = found._scored(found._base)
    first, second = found._propose(), found._propose()
    assert torch.equal(first, second)  # proposals are not cached

    def scores_of(prompts: torch.Tensor) -> torch.Tensor:
        rows, positions = (prompts != found._current.ids).nonzero(as_tuple=True)
        return scores[positions, prompts[rows, positions]]

    ranked = scores_of(first)
    assert torch.equal(ranked, ranked.sort().values)
    found._accept(first)
    if torch.equal(found._beam[0].base.ids, found._current.ids) and found._current.step == 0:
        assert scores_of(found._propose()).min() >= ranked.max()


def test_random_accepts_only_improvements(tiny_models: dict[str, LanguageModel]) -> None:
    kls = [kl for _, kl in walk(search(tiny_models["qwen2"], SETTINGS["random"], steps=30))]
    assert kls == sorted(kls, reverse=True)


def every_token(model: LanguageModel, found: TokenSearch[Any], stem: list[int]) -> tuple[list[list[int]], torch.Tensor]:
    """All stable prompts of one more token, and their divergences."""
    prompts = [[*stem, token] for token in found._allowed.tolist()]
    prompts = [ids for ids, good in zip(prompts, is_retokenization_stable(model, prompts), strict=True) if good]
    with torch.no_grad():
        return prompts, forward_kl(outlier_target(model), model.next_token_logits(torch.tensor(prompts)))


def test_exhaustive_is_exact_for_one_token(tiny_model: LanguageModel) -> None:
    found = search(tiny_model, search_specs.Exhaustive(width=64), steps=1000)
    steps = list(found.steps())
    prompts, kls = every_token(tiny_model, found, [])
    assert len(steps) == len({found._allowed.tolist().index(token) // 64 for (token,) in prompts})
    assert found.best.kl == pytest.approx(kls.min().item(), abs=1e-5)


def test_exhaustive_extends_the_best_prompts(tiny_models: dict[str, LanguageModel]) -> None:
    model = tiny_models["llama"]
    found = search(model, search_specs.Exhaustive(length=2, width=64, beam=3), steps=1000)
    list(found.steps())
    prompts, kls = every_token(model, found, [])
    stems = [prompts[row] for row in kls.topk(3, largest=False).indices.tolist()]
    lowest = min(every_token(model, found, stem)[1].min().item() for stem in stems)
    assert found.best.kl == pytest.approx(min(lowest, kls.min().item()), abs=1e-5)


def test_registry_is_complete() -> None:
    settings = get_args(get_args(search_specs.SearchSpec)[0])
    assert tuple(SEARCHES) == METHODS == tuple(each.model_fields["method"].default for each in settings)
