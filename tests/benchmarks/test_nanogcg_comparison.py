"""Work, score and failures of the comparison with nanoGCG, on a tiny model and without nanoGCG."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from distprompt_tui.models.language_model import LanguageModel
from distprompt_tui.models.wrap import load_language_model
from tests.search.work import Work
from tests.tiny_models import write_tiny_model


@pytest.fixture
def comparison(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The program, which imports others of its folder as scripts do."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    return importlib.import_module("nanogcg_comparison")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model("llama", tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def model(folder: Path) -> LanguageModel:
    return load_language_model("tiny", folder, "cpu", "float32")


@pytest.fixture(scope="module")
def target(model: LanguageModel) -> Tensor:
    noise = torch.randn(model.vocab_size, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    return noise.softmax(0)


def reference(model: LanguageModel, target: Tensor, ids: list[int]) -> float:
    """KL(p ‖ q) in float64."""
    log_q = model.next_token_logits(torch.tensor([ids]))[0].double().log_softmax(-1)
    return float((target * (target.log() - log_q)).sum())


def test_work_weighs_an_output_row_by_its_multiplications(comparison: Any, model: LanguageModel) -> None:
    rows, width = model.head.weight.shape
    body = sum(weight.numel() for name, weight in model.backbone.named_parameters() if "embed" not in name)
    assert comparison.work(model, 1000, 0) == 1000
    assert comparison.work(model, 1000, 500) == round(1000 + 500 * rows * width / body)


def test_hard_stops_at_the_work_and_its_text_has_its_divergence(
    comparison: Any, model: LanguageModel, folder: Path, target: Tensor
) -> None:
    counter = comparison.WorkCounter(model)
    shorter = comparison.hard(model, target, 0, 5_000, counter)
    counted = Work(model)
    longer = comparison.hard(model, target, 0, 15_000, counter)
    assert counter.positions == counted.stop()
    assert counter.work == comparison.work(model, counter.positions, counter.rows) > 15_000
    assert shorter["path"] == [point for point in longer["path"] if point[0] <= 5_000]
    assert longer["path"][-1][0] > 5_000
    assert longer["ids_kl"] < shorter["ids_kl"]
    start = model.encode_prompt(comparison.START)[: comparison.LENGTH]
    assert shorter["path"][0][1] == pytest.approx(reference(model, target, start), abs=1e-5)
    for row in (shorter, longer):
        assert row["ids_kl"] == pytest.approx(reference(model, target, row["ids"]), abs=1e-5)
        scored = comparison.rescore(str(folder), row["string"], target, row["ids_kl"])
        assert scored == {"kl": pytest.approx(reference(model, target, row["ids"])), "text_tokens": comparison.LENGTH}


def test_a_text_of_another_prompt_is_a_failure(
    comparison: Any, model: LanguageModel, folder: Path, target: Tensor
) -> None:
    ids = [model.encode_prompt(letter)[0] for letter in "qzqzqzqzqz"]
    text, kl = model.vocabulary.decode(ids), reference(model, target, ids)
    assert comparison.rescore(str(folder), text, target, kl)["kl"] == pytest.approx(kl)
    assert comparison.rescore(str(folder), text, target, kl + 0.01)["kl"] is None
    longer = text + "q"
    again = reference(model, target, model.encode_prompt(longer))
    assert comparison.rescore(str(folder), longer, target, again) == {"kl": None, "text_tokens": 11}
