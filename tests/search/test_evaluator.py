"""Shared prefixes, caching, the draft model and batch sizes of the evaluator."""

from __future__ import annotations

from dataclasses import replace
from functools import wraps
from itertools import combinations
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from distprompt_tui.models.bf16_copy import in_half_precision
from distprompt_tui.models.language_model import LanguageModel
from distprompt_tui.search import batching, evaluator, prompt_runner
from distprompt_tui.search.candidates import bucket_starts, first_changes, prompt_hashes
from distprompt_tui.search.evaluator import Evaluator
from distprompt_tui.search.initialization import random_ids
from tests.divergence import forward_kl
from tests.search.targets import outlier_target
from tests.search.work import Work


def new_evaluator(model: LanguageModel, length: int) -> Evaluator:
    """An evaluator that must not warn."""
    return Evaluator(model, outlier_target(model), length, pytest.fail)


def relatives(model: LanguageModel, ids: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Prompts that differ from another after random positions."""
    starts = torch.randint(len(ids) + 1, (count, 1), generator=generator)
    select = torch.rand(count, len(ids), generator=generator) < 0.5
    select |= torch.arange(len(ids)) < starts
    return torch.where(select, ids, random_ids(model, (count, len(ids)), generator))


def plain(model: LanguageModel, prompts: Tensor) -> Tensor:
    """Divergences without caching and sharing."""
    with torch.no_grad():
        return forward_kl(outlier_target(model), model.next_token_logits(prompts))


@pytest.mark.parametrize("around", [("", ""), ("The quick ", ""), ("", " dog"), ("The quick ", " dog")])
@pytest.mark.parametrize("call_cost", [0, 96])
@pytest.mark.parametrize("length", [1, 6, 40])  # 40 is beyond the sliding window
def test_sharing_prefixes_changes_no_divergence(
    tiny_model: LanguageModel,
    around: tuple[str, str],
    call_cost: int,
    length: int,
    generator: torch.Generator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(prompt_runner.CALL_COSTS, "cpu", call_cost)
    model = tiny_model.in_context(*around)
    ids = random_ids(model, (length,), generator)
    prompts = relatives(model, ids, 40, generator)
    found = new_evaluator(model, length)
    work = Work(model)
    before = found.positions
    shared = found.measure(prompts, found.base_prompt(ids, with_gradient=True))
    torch.testing.assert_close(shared, plain(model, prompts), rtol=1e-4, atol=1e-4)
    assert found.positions - before == work.stop() - 40 * (length + len(model.prefix_ids) + len(model.suffix_ids))


@pytest.mark.parametrize("around", [("", ""), ("The quick ", " dog")])
@pytest.mark.parametrize("with_parent", [True, False])
def test_lowest_draft_score_is_exact(
    tiny_model: LanguageModel, around: tuple[str, str], with_parent: bool, generator: torch.Generator
) -> None:
    """If it is below the base prompt's; the others are approximate, not new, and measured on demand."""
    model = tiny_model.in_context(*around)
    ids = random_ids(model, (6,), generator)
    prompts = relatives(model, ids, 40, generator).unique(dim=0)
    found = Evaluator(model, outlier_target(model), 6, pytest.fail, draft_model=in_half_precision(model))
    base = found.base_prompt(ids, with_gradient=False) if with_parent else None
    before, work = found.positions, Work(model)
    kls = found.measure(prompts, base)
    assert found.positions - before == work.stop()
    truth = plain(model, prompts)
    exact = found.measured(prompts)
    assert exact[kls.argmin()] == (base is None or float(kls.min()) <= base.kl + evaluator.RESCORE_MARGIN_NATS)
    assert not exact.all()
    torch.testing.assert_close(kls[exact], truth[exact], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(kls, truth, rtol=0.05, atol=0.05)
    assert not found.is_new(prompts).any()
    singly = torch.cat([found.measure(prompt[None], base) for prompt in prompts])
    torch.testing.assert_close(singly, truth, rtol=1e-4, atol=1e-4)
    assert found.measured(prompts).all()


def test_wrong_draft_model_does_not_affect_results(
    tiny_models: dict[str, LanguageModel], generator: torch.Generator
) -> None:
    """Uses another model as the draft model: the model measures its best prompts."""
    model = tiny_models["llama"]
    wrong = replace(model, backbone=in_half_precision(tiny_models["qwen2"]).backbone)
    prompts = random_ids(model, (40, 6), generator)
    found = Evaluator(model, outlier_target(model), 6, pytest.fail, draft_model=wrong)
    kls = found.measure(prompts)
    best = int(kls.argmin())
    assert found.measured(prompts)[best]
    assert float(kls[best]) == pytest.approx(float(plain(model, prompts[best][None])), abs=1e-4)


def test_longer_prompt_shares_its_base_prompt(tiny_model: LanguageModel, generator: torch.Generator) -> None:
    ids = random_ids(tiny_model, (5,), generator)
    found = new_evaluator(tiny_model, 5)
    base = found.base_prompt(ids[:4], with_gradient=False)
    longer = torch.cat([ids[:4].expand(30, -1), random_ids(tiny_model, (30, 1), generator)], dim=1).unique(dim=0)
    before = found.positions
    torch.testing.assert_close(found.measure(longer, base), plain(tiny_model, longer), rtol=1e-4, atol=1e-4)
    assert found.positions == before + len(longer)


def test_fixed_prefix_runs_once(tiny_models: dict[str, LanguageModel], generator: torch.Generator) -> None:
    model = tiny_models["llama"].in_context("The quick brown fox jumps over ", "")
    found = new_evaluator(model, 3)
    before = found.positions
    prompts = random_ids(model, (10, 3), generator)
    torch.testing.assert_close(found.measure(prompts), plain(model, prompts), rtol=1e-4, atol=1e-4)
    assert found.positions == before + 30


def test_cached_prompts_are_not_run_again(tiny_models: dict[str, LanguageModel], generator: torch.Generator) -> None:
    model = tiny_models["gpt2"]
    found = new_evaluator(model, 3)
    prompts = random_ids(model, (8, 3), generator)
    first = found.measure(torch.cat([prompts, prompts.flip(0)]))
    assert torch.equal(first[:8], first[8:].flip(0))
    before = found.positions
    assert torch.equal(found.measure(prompts), first[:8])
    assert found.positions == before
    assert not found.is_new(prompts).any()
    other = new_evaluator(model, 3)
    other.load_cache(*found.cached())
    before = other.positions
    assert torch.equal(other.measure(prompts), first[:8])
    assert other.positions == before


def test_oldest_cache_entries_are_removed_first(
    tiny_models: dict[str, LanguageModel], generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluator, "MAX_CACHED", 5)
    model = tiny_models["gpt2"]
    found = new_evaluator(model, 3)
    prompts = random_ids(model, (8, 3), generator)
    found.measure(prompts)
    assert found.cached()[0].tolist() == prompt_hashes(prompts[3:])


def test_new_prompts_are_distinct_and_stable(tiny_models: dict[str, LanguageModel]) -> None:
    model = tiny_models["gpt2"]
    vocabulary = model.vocabulary
    good = vocabulary.encode("yes")
    spelt = [vocabulary.id_of(char) for char in "yes"]  # its text is tokenised to "yes"
    bad = spelt[: len(good)] if len(good) < 3 else spelt
    length = max(len(good), len(bad))
    assert length == len(good) == len(bad)
    found = new_evaluator(model, length)
    prompts = torch.tensor([good, bad, good])
    assert found.is_new(prompts).tolist() == [True, vocabulary.encode(vocabulary.decode(bad)) == bad, False]


def test_batch_size_adapts_to_memory(
    tiny_models: dict[str, LanguageModel], generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_models["llama"]
    found = new_evaluator(model, 3)
    prompts = random_ids(model, (100, 3), generator)
    fits = 20
    backbone = model.backbone.forward

    @wraps(backbone)
    def limited(*args: Any, **kwargs: Any) -> Any:
        if len(kwargs["inputs_embeds"]) > fits:
            raise torch.OutOfMemoryError
        return backbone(*args, **kwargs)

    monkeypatch.setattr(model.backbone, "forward", limited)
    monkeypatch.setattr(batching, "GROW_AFTER", 10)
    kls = found.measure(prompts)
    assert found.batch.size == 13  # of 100, 50, 25 and 13
    fits = 1000
    torch.testing.assert_close(kls, plain(model, prompts), rtol=1e-4, atol=1e-4)
    found.measure(random_ids(model, (100, 3), generator))
    assert found.batch.size > 13
    fits = 0
    with pytest.raises(torch.OutOfMemoryError):
        found.measure(random_ids(model, (4, 3), generator))


def test_wrong_caches_are_not_shared(tiny_models: dict[str, LanguageModel], generator: torch.Generator) -> None:
    model = tiny_models["llama"]

    class Forgetful(torch.nn.Module):
        """Ignores its cache."""

        def forward(self, inputs_embeds: Tensor, use_cache: bool, cache: Any = None) -> Any:
            looks = cache is not None and not cache.get_seq_length()
            return model.backbone(inputs_embeds=inputs_embeds, use_cache=looks, cache=cache if looks else None)

    class Uncached(torch.nn.Module):
        """Returns an empty cache."""

        def forward(self, inputs_embeds: Tensor, use_cache: bool, cache: Any = None) -> Any:
            return model.backbone(inputs_embeds=inputs_embeds, use_cache=False)

    prompts = random_ids(model, (8, 6), generator)
    for backbone, word in ((Forgetful(), "have an error of"), (Uncached(), "cannot continue")):
        wrong = replace(model, backbone=backbone)
        wrong.backbone.register_parameter("weight", torch.nn.Parameter(torch.zeros(1)))
        told: list[str] = []
        found = Evaluator(wrong, outlier_target(model), 6, told.append)
        assert len(told) == 1
        assert word in told[0]
        before = found.positions
        kls = found.measure(prompts, found.base_prompt(prompts[0], with_gradient=False))
        torch.testing.assert_close(kls, plain(model, prompts), rtol=1e-4, atol=1e-4)
        assert found.positions == before + 9 * 6


@given(st.lists(st.integers(0, 6), min_size=1, max_size=30), st.integers(0, 3), st.sampled_from([0.0, 1.0, 7.0, 50.0]))
def test_bucket_starts_minimise_the_cost(firsts: list[int], suffix: int, call_cost: float) -> None:
    length = 7 + suffix

    def cost(starts: tuple[int, ...]) -> float:
        inside = [max(start for start in starts if start <= first) for first in firsts]
        return sum(length - start for start in inside) + call_cost * len(starts)

    distinct = sorted(set(firsts))
    others = [(distinct[0], *more) for count in range(len(distinct)) for more in combinations(distinct[1:], count)]
    starts = bucket_starts(firsts, length, lambda start: call_cost)
    assert starts == sorted(set(starts))
    assert cost(tuple(starts)) == min(map(cost, others))


def test_first_changes_and_hashes() -> None:
    base = torch.tensor([1, 2, 3])
    prompts = torch.tensor([[1, 2, 3], [9, 2, 3], [1, 9, 9], [1, 2, 9]])
    assert first_changes(base, prompts).tolist() == [3, 0, 1, 2]
    assert first_changes(base[:2], prompts).tolist() == [2, 0, 1, 2]
    assert first_changes(base[:0], prompts).tolist() == [0, 0, 0, 0]
    every = torch.cartesian_prod(torch.arange(40), torch.arange(40))
    assert len(set(prompt_hashes(every))) == 1600
    assert prompt_hashes(every[:7]) == prompt_hashes(every)[:7]
