"""Embeddings and output layer in half precision on a device: no float32 copies, the numbers of float32 copies."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from distprompt_tui.bounds.floor import solve_floor
from distprompt_tui.core.config.spec import RunSpec
from distprompt_tui.models import large_matrix, token_features
from distprompt_tui.models.language_model import LanguageModel
from distprompt_tui.models.wrap import load_language_model
from distprompt_tui.search import make_search
from distprompt_tui.search.initialization import nearest_ids, usable_ids
from distprompt_tui.worker.attribution import influences
from distprompt_tui.worker.snapshots import nearest_tokens
from tests import fake_device
from tests.devices.test_searches import METHODS, run
from tests.search.targets import outlier_target
from tests.wide_models import Shape, write_wide_model

WIDE = {"tied": Shape(8192, 128, 2, tied=True), "untied": Shape(8192, 128, 2, tied=False)}

LOADING, STEP = 1.0, 2.0
"""Largest memory of loading and of a step of any method beside the weights, over the size of the embeddings in half
precision. The float32 copies of embeddings and output layer alone would be 4 (tied: 2). Most of it are logits of up to
32 positions, which take as much as 128 columns of the embeddings."""


@pytest.fixture(scope="module", params=WIDE)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_wide_model(WIDE[request.param], tmp_path_factory.mktemp("wide"))


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Chunks that are as small beside these models as the real ones beside real models."""
    monkeypatch.setattr(large_matrix, "CHUNK_BYTES", 1 << 17)
    monkeypatch.setattr(token_features, "CHUNK", 64)
    large_matrix.has_mixed_product.cache_clear()
    yield
    large_matrix.has_mixed_product.cache_clear()


def on(folder: Path, device: torch.device) -> LanguageModel:
    return load_language_model("wide", folder, str(device), "bfloat16")


def in_float32(model: LanguageModel) -> LanguageModel:
    """The same model with float32 copies of embeddings and output layer."""
    head = replace(model.head, weight=model.head.weight.float())
    return replace(model, head=head, embedding_matrix=model.embedding_matrix.float())


def test_weights_are_held_once_in_half_precision(fake: torch.device, folder: Path) -> None:
    with fake_device.measured_peak() as peak:
        before = fake_device.used()
        model = on(folder, fake)
        kept = fake_device.used() - before
    weights = {weight.data_ptr(): weight.nbytes for weight in (*model.backbone.parameters(), model.head.weight)}
    vocabulary = model.head.weight.nbytes
    assert model.head.weight.dtype == model.embedding_matrix.dtype == torch.bfloat16
    assert model.embedding_matrix.data_ptr() == model.embedder.get_parameter("weight").data_ptr()
    assert kept < 1.05 * sum(weights.values())
    assert peak[0] < sum(weights.values()) + LOADING * vocabulary


def test_a_model_on_the_cpu_holds_one_float32_copy_of_tied_weights(tmp_path: Path) -> None:
    model = load_language_model("wide", write_wide_model(WIDE["tied"], tmp_path), "cpu", "bfloat16")
    assert model.head.weight.dtype == torch.float32
    assert model.head.weight.data_ptr() == model.embedding_matrix.data_ptr()


def test_numbers_are_those_of_float32_copies(fake: torch.device, folder: Path) -> None:
    model = on(folder, fake)
    copies, target = in_float32(model), outlier_target(model)
    vectors = model.random_vectors(3, torch.Generator().manual_seed(0))
    torch.testing.assert_close(vectors, copies.random_vectors(3, torch.Generator().manual_seed(0)))
    gradients, found, expected = [], list[Any](), list[Any]()
    for one in (model, copies):
        prompt = vectors.clone().requires_grad_()
        logits = one.next_token_logits(prompt[None])
        assert logits.dtype == torch.float32
        logits[0, :100].logsumexp(0).backward()
        gradients.append(prompt.grad)
        found = [logits.detach().cpu(), influences(one, vectors, 7), nearest_tokens(one, vectors).ids.tolist()]
        found += [nearest_ids(one, vectors, usable_ids(one)).tolist(), solve_floor(one.head, target).floor]
        if one is model:
            expected = found
    torch.testing.assert_close(found[0], expected[0], rtol=1e-4, atol=1e-4)
    assert found[1] == pytest.approx(expected[1], abs=1e-2)  # the mean embedding is rounded by the model
    assert found[2:4] == expected[2:4]
    assert found[4] == pytest.approx(expected[4], abs=1e-6)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=2e-2, atol=1e-6)  # of a backward pass in bfloat16


@pytest.mark.parametrize("name", ["soft", "soft, random", "hard", "gcg", "hotflip", "random", "exhaustive"])
def test_a_step_needs_little_memory_beside_the_weights(fake: torch.device, folder: Path, name: str) -> None:
    model = on(folder, fake)
    settings = METHODS[name] | ({} if "soft" in name else {"width": 2})
    fields = {"target": {"family": "uniform"}, "search": settings, "budget": {"steps": 2}}
    target = outlier_target(model)
    with fake_device.measured_peak() as peak:
        run(make_search(model, target, RunSpec.model_validate(fields), pytest.fail))
    assert peak[0] < STEP * model.embedding_matrix.nbytes
