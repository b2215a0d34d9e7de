"""Soft search: descent, best prompt, resuming, spikes, restarts and schedule."""

from __future__ import annotations

import math
from typing import Literal

import pytest
import torch
from torch import Tensor

from distprompt_tui.core.config.search_specs import Soft
from distprompt_tui.models.batch_invariance import is_batch_invariant
from distprompt_tui.models.language_model import LanguageModel
from distprompt_tui.search.protocol import SoftPrompt
from distprompt_tui.search.soft import (
    LR_BACKOFF,
    LR_RECOVERY,
    SoftBatch,
    SoftSearch,
    elimination_schedule,
    initial_vectors,
    schedule,
)
from tests.divergence import forward_kl
from tests.search.targets import outlier_target

SETTINGS = Soft(length=4)
STEPS = 40


def search(model: LanguageModel, seed: int = 0, settings: Soft = SETTINGS, steps: int = STEPS) -> SoftSearch:
    """A search on the outlier target."""
    return SoftSearch(model, outlier_target(model), settings, steps, seed)


def divergence_of(model: LanguageModel, prompt: SoftPrompt) -> float:
    """The divergence, measured again."""
    with torch.no_grad():
        return forward_kl(outlier_target(model), model.next_token_logits(prompt.vectors[None])).item()


def resumed(first: SoftSearch, second: SoftSearch, stop: int, *gone: str) -> list[tuple[float, ...]]:
    """Reports of the second search after restoring the first one's state at a step, without the fields `gone`."""
    next(step for step in first.steps() if step.index == stop)
    state = first.state_dict()
    for name in gone:
        del state.tensors[name]
    second.load_state_dict(state)
    return [step.kls for step in second.steps()]


def test_descends_on_every_architecture(tiny_model: LanguageModel) -> None:
    found = search(tiny_model)
    kls = [step.kls[-1] for step in found.steps()]
    assert len(kls) == STEPS + 1
    assert found.best.kl == min(kls)
    assert found.best.kl < 0.5 * kls[0]


def test_best_is_monotone_and_correct(tiny_model: LanguageModel) -> None:
    found = search(tiny_model, settings=Soft(length=4, lr=20, decay="none"))  # a rate with many jumps
    bests = []
    for step in found.steps():
        bests.append(found.best.kl)
        assert found.best.kl <= step.kls[-1]
    assert bests == sorted(bests, reverse=True)
    assert isinstance(found.best.prompt, SoftPrompt)
    assert divergence_of(tiny_model, found.best.prompt) == pytest.approx(found.best.kl, abs=1e-5)


def test_search_is_deterministic_given_the_seed(tiny_models: dict[str, LanguageModel]) -> None:
    model = tiny_models["llama"]
    runs = [[step.kls for step in search(model, seed).steps()] for seed in (3, 3, 4)]
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


def test_resumed_equals_uninterrupted_bit_for_bit(tiny_model: LanguageModel) -> None:
    whole = search(tiny_model)
    expected = [step.kls for step in whole.steps()]
    second = search(tiny_model, seed=99)  # the seed has no effect after restoring
    assert resumed(search(tiny_model), second, STEPS // 3) == expected[STEPS // 3 :]
    assert second.best.kl == whole.best.kl
    assert torch.equal(second.best.prompt.vectors, whole.best.prompt.vectors)  # type: ignore[union-attr]


def ends(
    model: LanguageModel, targets: Tensor, prompts: Tensor, settings: Soft, rows: int, steps: int = 8
) -> tuple[Tensor, Tensor]:
    """Divergences and prompts after some of 15 steps, a batch of `rows` targets at a time."""
    kls, found = [], []
    for of_targets, of_prompts in zip(targets.split(rows), prompts.split(rows), strict=True):
        batch = SoftBatch(model, of_targets, of_prompts, settings, 15)
        for _ in range(steps):
            batch.measure()
            batch.update()
        batch.measure()
        kls.append(batch.best_kls)
        found.append(batch.prompts.detach())
    return torch.cat(kls), torch.cat(found)


@pytest.mark.parametrize("optimizer", ["ggt", "adam"])
def test_batch_equals_single_searches(optimizer: Literal["ggt", "adam"], tiny_models: dict[str, LanguageModel]) -> None:
    model = tiny_models["llama"]
    settings = Soft(length=4, optimizer=optimizer)
    targets = torch.stack([outlier_target(model, token) for token in (70, 75, 80)])
    prompts = torch.stack([initial_vectors(model, settings, seed) for seed in range(3)])
    alone, together = (ends(model, targets, prompts, settings, rows)[0] for rows in (1, 3))
    torch.testing.assert_close(together, alone, rtol=1e-3, atol=1e-4)


@pytest.mark.real_model
@pytest.mark.parametrize("length", [1, 10])
def test_batch_equals_single_searches_to_the_last_bit(length: int, smollm2: LanguageModel) -> None:
    """To the last bit if this machine's products allow it; otherwise only the first step agrees, to 1e-4, since the
    first steps amplify rounding."""
    settings = Soft(length=length)
    targets = torch.stack([outlier_target(smollm2, token) for token in (300, 400, 500)])
    prompts = torch.stack([initial_vectors(smollm2, settings, seed) for seed in range(3)])
    if is_batch_invariant(smollm2, length):
        alone, together = (ends(smollm2, targets, prompts, settings, rows) for rows in (1, 3))
        assert torch.equal(together[0], alone[0])
        assert torch.equal(together[1], alone[1])
    else:
        alone, together = (ends(smollm2, targets, prompts, settings, rows, steps=1) for rows in (1, 3))
        torch.testing.assert_close(together[0], alone[0], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(together[1], alone[1], rtol=1e-3, atol=1e-4)


def after_large_step(model: LanguageModel, away: float) -> SoftBatch:
    """Two prompts; the second is moved far away after three steps and then measured."""
    prompts = torch.stack([initial_vectors(model, SETTINGS, seed) for seed in range(2)])
    batch = SoftBatch(model, outlier_target(model)[None], prompts, SETTINGS, STEPS)
    for _ in range(3):
        batch.measure()
        batch.update()
    batch.measure()
    with torch.no_grad():
        batch.prompts[1] += away
    batch.measure()
    return batch


@pytest.mark.parametrize("away", [5.0, float("nan")])
def test_spike_resets_to_the_best_with_shorter_steps(away: float, tiny_models: dict[str, LanguageModel]) -> None:
    batch = after_large_step(tiny_models["llama"], away)
    batch.kls[1] = torch.nan if math.isnan(away) else batch.best_kls[1] + 2.01
    before = batch.prompts.detach()[0].clone()
    batch.update()
    whole = (batch.prompts.detach()[0] - before).norm()
    short = (batch.prompts.detach()[1] - batch.best_prompts[1]).norm()
    torch.testing.assert_close(short / whole, torch.tensor(LR_BACKOFF), rtol=1e-4, atol=0)
    torch.testing.assert_close(batch.lr_scale, torch.tensor([1, LR_BACKOFF * LR_RECOVERY]))
    for _ in range(20):
        batch.measure()
        batch.update()
    assert batch.kls.isfinite().all()
    assert batch.lr_scale[1] > 2 * LR_BACKOFF


def test_small_increase_does_not_reset(tiny_models: dict[str, LanguageModel]) -> None:
    batch = after_large_step(tiny_models["llama"], 0.0)
    batch.kls[1] = batch.best_kls[1] + 1.99
    batch.update()
    assert batch.lr_scale.tolist() == [1, 1]


def test_search_with_spike_resumes_bit_for_bit(
    tiny_models: dict[str, LanguageModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "distprompt_tui.search.soft.SPIKE_NATS", -1e-3
    )  # everything except a large improvement is a spike
    model = tiny_models["llama"]
    whole = search(model)
    expected = [step.kls for step in whole.steps()]
    assert float(whole._batch.lr_scale) < 1
    for stop in range(1, 10, 2):
        assert resumed(search(model), search(model, seed=99), stop) == expected[stop:]


def test_state_of_an_earlier_version_is_resumed(tiny_models: dict[str, LanguageModel]) -> None:
    model = tiny_models["llama"]
    expected = [step.kls for step in search(model).steps()]
    assert resumed(search(model), search(model, seed=99), 10, "pace", "best_gradients") == expected[10:]


def test_selected_rows_keep_their_targets(tiny_models: dict[str, LanguageModel]) -> None:
    model = tiny_models["llama"]
    targets = torch.stack([outlier_target(model, token) for token in (70, 75, 80)])
    prompts = torch.stack([initial_vectors(model, SETTINGS, seed) for seed in range(3)])
    batch = SoftBatch(model, targets, prompts, SETTINGS, 15)
    batch.measure()
    before = batch.kls
    batch.select(torch.tensor([2, 0]))
    batch.measure()
    torch.testing.assert_close(batch.kls, before[[2, 0]], rtol=1e-5, atol=1e-6)


def test_every_update_is_reported(tiny_models: dict[str, LanguageModel]) -> None:
    """A GPU reports several updates at once."""
    model = tiny_models["llama"]
    alone, together = (search(model, steps=10) for _ in range(2))
    together._updates_per_report = 4
    reports = list(together.steps())
    assert [report.index for report in reports] == [0, 4, 8, 10]
    assert [kl for report in reports for kl in report.kls] == [kl for report in alone.steps() for kl in report.kls]


def test_restarts_are_eliminated(tiny_models: dict[str, LanguageModel]) -> None:
    model = tiny_models["llama"]
    settings = Soft(length=4, restarts=4)
    assert elimination_schedule(4, 60) == {4: 3, 8: 2, 12: 1}
    assert elimination_schedule(4, 5) == {1: 1}
    found = search(model, settings=settings, steps=60)
    steps = list(found.steps())
    alone = [list(search(model, seed, SETTINGS, steps=60).steps()) for seed in range(4)]
    assert steps[0].kls[0] == pytest.approx(min(run[0].kls[0] for run in alone), rel=1e-4)
    assert steps[-1].positions == 3 * 4 * (4 * 4 + 4 * 3 + 4 * 2 + 48)
    assert divergence_of(model, found.best.prompt) == pytest.approx(found.best.kl, abs=1e-5)  # type: ignore[arg-type]
    ends = [run[-1].kls[-1] for run in alone]
    assert any(steps[-1].kls[0] == pytest.approx(end, rel=1e-2) for end in ends)  # as without the others


def test_resumed_restarts_equal_uninterrupted(tiny_models: dict[str, LanguageModel]) -> None:
    settings = Soft(length=4, restarts=3)
    whole = search(tiny_models["llama"], settings=settings)
    expected = [step.kls for step in whole.steps()]
    for stop in (2, 5, 30):
        first, second = (search(tiny_models["llama"], seed, settings) for seed in (0, 99))
        assert resumed(first, second, stop) == expected[stop:]


def test_weights_have_no_gradients(tiny_models: dict[str, LanguageModel]) -> None:
    model = tiny_models["llama"]
    list(search(model, steps=3).steps())
    assert all(weight.grad is None for weight in model.backbone.parameters())


def test_zero_steps_measure_the_initial_prompt(tiny_models: dict[str, LanguageModel]) -> None:
    model = tiny_models["llama"]
    found = search(model, steps=0)
    (step,) = found.steps()
    assert step.index == 0
    assert found.best.kl == step.kls[0]


def test_inits(tiny_models: dict[str, LanguageModel]) -> None:
    model = tiny_models["llama"]
    matrix = model.embedding_matrix
    vocabulary = initial_vectors(model, Soft(length=5), 0)
    assert (vocabulary[:, None] == matrix).all(-1).any(1).all()
    text = initial_vectors(model, Soft(length=5, init="text", init_text="yes"), 0)
    ids = model.vocabulary.encode("yes")
    assert torch.equal(text[: len(ids)], matrix[ids])
    many = initial_vectors(model, Soft(length=60, init="random"), 0)
    assert many.std().item() == pytest.approx(matrix.std().item(), rel=0.1)


def test_schedule_warms_up_and_decays_to_zero() -> None:
    rates = [schedule(step, 100, Soft(warmup=10)) for step in range(101)]
    assert rates[0] == pytest.approx(1 / 11)
    assert max(rates) > 0.95
    assert rates[100] == pytest.approx(0)
    assert schedule(90, 100, Soft(warmup=10, decay="none")) == 1
