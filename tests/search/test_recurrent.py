"""Recurrent models share prefixes without changes of the divergences."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from distprompt_tui.core.config.search_specs import Hard
from distprompt_tui.models.language_model import LanguageModel
from distprompt_tui.models.prefix_cache import Sharing
from distprompt_tui.search import prefix_sharing, prompt_runner
from distprompt_tui.search.evaluator import Evaluator
from distprompt_tui.search.hard import HardSearch
from distprompt_tui.search.initialization import random_ids
from distprompt_tui.search.protocol import HardPrompt
from tests.recurrent_models import KINDS, recurrent_model
from tests.search.targets import outlier_target
from tests.search.test_evaluator import new_evaluator, plain, relatives

ONLY_BY_STEPS = {"mamba", "falcon_mamba", "jamba", "minimax"}
"""Models that ignore their state if several positions follow at once."""

NOT_BY_STEPS = {"rwkv"}
"""Models that are wrong if a single position follows."""


@pytest.fixture(scope="module")
def models(tiny_models: dict[str, LanguageModel]) -> dict[str, LanguageModel]:
    """All kinds, with a common tokenizer."""
    return {kind: recurrent_model(kind, tiny_models["gpt2"].vocabulary) for kind in KINDS}


class Watched:
    """Positions through a model's backbone, counted by a hook."""

    def __init__(self, model: LanguageModel) -> None:
        self.positions = 0
        self.largest_batch = 0
        self._hook = model.backbone.register_forward_pre_hook(self._watch, with_kwargs=True)

    def stop(self) -> int:
        """Remove the hook; return the positions."""
        self._hook.remove()
        return self.positions

    def _watch(self, module: torch.nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        embeds: Tensor = kwargs["inputs_embeds"]
        self.positions += embeds.shape[0] * embeds.shape[1]
        self.largest_batch = max(self.largest_batch, len(embeds))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("around", [("", ""), ("The quick ", " dog")])
@pytest.mark.parametrize("first", [Sharing.STEPS, Sharing.STATES])
def test_sharing_states_changes_no_divergence_and_saves_positions(
    models: dict[str, LanguageModel],
    kind: str,
    around: tuple[str, str],
    first: Sharing,
    generator: torch.Generator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ways = sorted((Sharing.STEPS, Sharing.STATES), key=lambda way: way is not first)
    monkeypatch.setitem(prefix_sharing.WAYS, "cpu", (Sharing.KEYS, *ways))
    monkeypatch.setitem(prompt_runner.CALL_COSTS, "cpu", 0)  # so that every prefix is shared
    model, length = models[kind].in_context(*around), 9
    found = new_evaluator(model, length)
    by_steps = kind in ONLY_BY_STEPS or (first is Sharing.STEPS and kind not in NOT_BY_STEPS)
    assert found._sharing is (Sharing.STEPS if by_steps else Sharing.STATES)
    ids = random_ids(model, (length,), generator)
    prompts = relatives(model, ids, 60, generator).unique(dim=0)
    base = found.base_prompt(ids, with_gradient=True)
    assert base.gradient is not None
    before, watched = found.positions, Watched(model)
    shared = found.measure(prompts, base)
    assert found.positions - before == watched.stop()
    assert watched.positions < 0.8 * prompts.shape[0] * (length + len(model.prefix_ids) + len(model.suffix_ids))
    torch.testing.assert_close(shared, plain(model, prompts), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["mamba2", "jamba"])
def test_search_with_states_equals_whole_runs_and_resumed_runs(
    models: dict[str, LanguageModel], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = models[kind]

    def search() -> HardSearch:
        return HardSearch(
            model, outlier_target(model), Hard(length=6, width=64, initial_pool=24, draft=False), 12, seed=0
        )

    def end(found: HardSearch) -> tuple[list[float], Tensor]:
        kls = [step.kls[-1] for step in found.steps()]
        assert isinstance(found.best.prompt, HardPrompt)
        return kls, found.best.prompt.ids

    whole_way, kept = search(), search()
    kls, ids = end(whole_way)
    steps = kept.steps()
    for _ in range(5):
        next(steps)
    resumed = search()
    resumed.load_state_dict(kept.state_dict())
    later, same = end(resumed)
    assert later == kls[-len(later) :]
    assert torch.equal(same, ids)
    monkeypatch.setattr(
        Evaluator, "_behind", lambda self, model, prompts, *rest: self._in_batches(model, prompts, None)
    )
    kls_whole, ids_whole = end(search())
    assert kls == pytest.approx(kls_whole, abs=1e-5)
    assert torch.equal(ids, ids_whole)


def test_few_candidates_run_whole_if_states_cost_more(
    models: dict[str, LanguageModel], generator: torch.Generator
) -> None:
    model = models["mamba"]
    found = new_evaluator(model, 10)
    ids = random_ids(model, (10,), generator)
    base = found.base_prompt(ids, with_gradient=False)
    for position, share in ((2, False), (9, True)):
        prompts = ids.repeat(20, 1)
        prompts[:, position] = random_ids(model, (20,), generator)
        prompts = prompts.unique(dim=0)
        before = found.positions
        found.measure(prompts, base)
        assert (found.positions - before < len(prompts) * 10) == share


def test_states_respect_the_memory_limit(
    models: dict[str, LanguageModel], generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = models["mamba2"]
    ids = random_ids(model, (10,), generator)
    prompts = torch.cat([ids[:9].expand(80, -1), random_ids(model, (80, 1), generator)], dim=1).unique(dim=0)
    prefix_cache = model.logits_and_prefix_cache(model.embedding(ids)[None], Sharing.STATES)[1]
    size = prefix_cache.truncated(5).size
    assert size > 2 * 8 * 16 * 8 * 4  # the recurrent states alone: layers, heads, width, state, bytes
    monkeypatch.setattr(prompt_runner, "MAX_STATES", 7 * size)
    found = new_evaluator(model, 10)
    base = found.base_prompt(ids, with_gradient=False)
    watched = Watched(model)
    found.measure(prompts, base)
    watched.stop()
    assert watched.largest_batch == 7
    monkeypatch.setattr(prefix_sharing, "MAX_STATES", size - 1)
    told: list[str] = []
    assert Evaluator(model, outlier_target(model), 10, told.append)._sharing is None
    assert len(told) == 1
    assert "every candidate is run whole, which is slower: its state takes" in told[0]


def test_state_inside_the_model_is_not_shared(models: dict[str, LanguageModel], generator: torch.Generator) -> None:
    """The model continues its latest input: correct the first time only."""
    model = models["mamba2"]

    class Within(torch.nn.Module):
        latest: Any = None

        def forward(self, inputs_embeds: Tensor, use_cache: bool, cache: Any = None) -> Any:
            if not use_cache:
                return model.backbone(inputs_embeds=inputs_embeds, use_cache=False)
            output = model.backbone(inputs_embeds=inputs_embeds, use_cache=True, cache=self.latest if cache else None)
            self.latest = output.cache
            return output

    backbone = Within()
    backbone.register_parameter("weight", torch.nn.Parameter(torch.zeros(1)))
    wrong = replace(model, backbone=backbone)
    told: list[str] = []
    found = Evaluator(wrong, outlier_target(model), 6, told.append)
    assert len(told) == 1
    assert told[0] == (
        "every candidate is run whole, which is slower: this kind of model cannot continue from a cached prefix"
    )
    prompts = random_ids(model, (8, 6), generator)
    kls = found.measure(prompts, found.base_prompt(prompts[0], with_gradient=False))
    torch.testing.assert_close(kls, plain(model, prompts), rtol=1e-5, atol=1e-5)
