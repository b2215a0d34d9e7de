"""Searches continue correctly when a model runs out of memory or returns NaN."""

from __future__ import annotations

import math
from itertools import chain

import pytest
import torch

from distprompt_tui.core.config.search_specs import Soft
from distprompt_tui.core.config.spec import RunSpec
from distprompt_tui.models.device import is_out_of_memory
from distprompt_tui.models.language_model import LanguageModel
from distprompt_tui.search import batching, make_search
from distprompt_tui.search.batching import AdaptiveBatchSize, NonFiniteWarnings
from distprompt_tui.search.protocol import Search, SoftPrompt
from distprompt_tui.search.soft import SoftSearch
from tests.divergence import forward_kl
from tests.faulty_model import ERRORS, FaultyModel
from tests.search.targets import outlier_target
from tests.tiny_runs import SEARCHES

STEPS = 40


def search(model: LanguageModel, name: str, warnings: list[str]) -> Search:
    spec = {"target": {"family": "uniform"}, "search": SEARCHES[name], "budget": {"steps": STEPS}}
    return make_search(model, outlier_target(model), RunSpec.model_validate(spec), warnings.append)


def true_kl(model: LanguageModel, found: Search) -> float:
    """The best prompt's divergence, measured again."""
    prompt = found.best.prompt
    given = prompt.vectors if isinstance(prompt, SoftPrompt) else prompt.ids
    with torch.no_grad():
        return float(forward_kl(outlier_target(model), model.next_token_logits(given[None])))


@pytest.mark.parametrize(
    ("name", "value"), [*((name, math.nan) for name in SEARCHES), ("hard", math.inf), ("soft, restarts", math.inf)]
)
def test_prompts_with_nan_are_rejected(
    name: str, value: float, tiny_models: dict[str, LanguageModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, warnings = tiny_models["llama"], []
    found = search(model, name, warnings)
    with monkeypatch.context() as patch:
        patch.setattr(LanguageModel, "_logits", FaultyModel(every=5, value=value).around(LanguageModel._logits))
        steps = list(found.steps())
    assert all(math.isfinite(step.kls[-1]) for step in steps)
    assert found.best.kl < steps[0].kls[-1]
    assert found.best.kl == pytest.approx(true_kl(model, found), abs=1e-4)
    assert any("non-finite divergence" in warning for warning in warnings)
    assert len(warnings) < 12


@pytest.mark.parametrize("every", [3, 5, 8])
def test_reports_of_several_updates_end_with_a_finite_divergence(
    every: int, tiny_models: dict[str, LanguageModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only a report whose last divergence is not finite takes another measurement, and its work is counted."""
    model, faults = tiny_models["llama"], FaultyModel(healthy=1, every=every)
    found = search(model, "soft", [])
    assert isinstance(found, SoftSearch)
    found._updates_per_report = 8  # as on a GPU
    monkeypatch.setattr(LanguageModel, "_logits", faults.around(LanguageModel._logits))
    steps = list(found.steps())
    assert all(math.isfinite(step.kls[-1]) for step in steps)
    assert any(not math.isfinite(kl) for step in steps for kl in step.kls)
    assert [step.index for step in steps] == [0, 8, 16, 24, 32, 40]
    assert steps[-1].positions == 3 * 4 * (faults.passes - 1)
    assert faults.passes - 1 - STEPS <= len(steps)


def test_soft_search_recovers_from_nan(tiny_models: dict[str, LanguageModel]) -> None:
    model, warnings = tiny_models["llama"], []
    found = search(model, "soft", warnings)
    assert isinstance(found, SoftSearch)
    kls = []
    for step in found.steps():
        kls.append(step.kls[-1])
        if step.index == 20:
            found._batch.prompts.data.fill_(math.nan)  # as after a NaN gradient
            lowest = min(kls)
    assert all(map(math.isfinite, kls))
    assert kls[21] == pytest.approx(lowest, abs=1e-5)
    assert min(kls[22:]) < lowest
    assert len(warnings) == 1


@pytest.mark.parametrize(
    ("name", "device"),
    [*((name, "cuda") for name in SEARCHES), ("hard", "mps"), ("hard", "cpu"), ("soft, restarts", "mps")],
)
def test_lack_of_memory_changes_only_the_batch_size(
    name: str, device: str, tiny_models: dict[str, LanguageModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_models["llama"]
    whole = [step.kls[-1] for step in search(model, name, []).steps()]
    monkeypatch.setattr(LanguageModel, "_logits", FaultyModel(fits=2, device=device).around(LanguageModel._logits))
    halved = [step.kls[-1] for step in search(model, name, []).steps()]
    assert halved[:3] == pytest.approx(
        whole[:3], abs=1e-4
    )  # other batches differ in the last digits, which changes later steps


def test_soft_batch_size_adapts_to_memory(
    tiny_models: dict[str, LanguageModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batching, "GROW_AFTER", 10)
    model, faults = tiny_models["llama"], FaultyModel(fits=2)
    found = SoftSearch(model, outlier_target(model), Soft(length=4, restarts=5), 100, 0)
    monkeypatch.setattr(LanguageModel, "_logits", faults.around(LanguageModel._logits))
    steps = found.steps()
    next(steps)
    assert found._batch.batch.size == 2  # of 5, 3 and 2
    again = SoftSearch(model, outlier_target(model), Soft(length=4, restarts=5), 100, 1)
    again.load_state_dict(found.state_dict())
    assert again._batch.batch.size == 2
    faults.fits = 5
    for _ in range(10):
        next(steps)
    assert found._batch.batch.size > 2


def test_single_prompt_that_does_not_fit_raises(
    tiny_models: dict[str, LanguageModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = search(tiny_models["llama"], "soft, restarts", [])
    monkeypatch.setattr(LanguageModel, "_logits", FaultyModel(fits=0).around(LanguageModel._logits))
    with pytest.raises(torch.OutOfMemoryError):
        list(found.steps())


def test_rows_are_measured_once_and_in_order() -> None:
    for fits in range(1, 12):
        batch = AdaptiveBatchSize(11)

        def measure(rows: slice, fits: int = fits) -> list[int]:
            if rows.stop - rows.start > fits:
                raise RuntimeError(ERRORS["mps"])
            return list(range(rows.start, rows.stop))

        assert list(chain(*batch.run(11, measure))) == list(range(11))
        assert batch.size <= fits


def test_other_errors_are_not_out_of_memory() -> None:
    def broken(rows: slice) -> None:
        raise RuntimeError("expected scalar type Float but found Half")

    with pytest.raises(RuntimeError, match="scalar type"):
        AdaptiveBatchSize(4).run(4, broken)
    assert not is_out_of_memory(MemoryError())


def test_warnings_are_logarithmic_in_the_rejections() -> None:
    told: list[str] = []
    rejections = NonFiniteWarnings(told.append)
    for _ in range(1000):
        rejections.add(1, "tried again")
    assert len(told) == 10  # 1, 2, 4, ..., 512
