"""The benchmark of a machine, on tiny shapes."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch
from typer.testing import CliRunner

from distprompt_tui.cli import app
from distprompt_tui.core.errors import UsageError
from distprompt_tui.models.wrap import load_language_model
from distprompt_tui.worker import bench
from distprompt_tui.worker.bench import SHAPES, BenchShape, random_model, run_bench

SIZES = {
    "vocab_size": 300,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "intermediate_size": 64,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
}
TINY = (
    BenchShape("tiny", "llama", SIZES | {"tie_word_embeddings": True}),
    BenchShape("tiny-qwen", "qwen3", SIZES | {"tie_word_embeddings": False}),
)
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "WIDTHS", (2, 4))
    monkeypatch.setattr(bench, "BATCHED_PROMPTS", 3)
    monkeypatch.setattr(bench, "MATRIX_SIZE", {"cpu": 32})
    monkeypatch.setattr(bench, "WHOLE_STEPS", 0)


def test_every_shape_is_measured() -> None:
    found = run_bench(seconds=0.1, device="cpu", shapes=TINY)
    assert [model.model for model in found.models] == ["tiny", "tiny-qwen"]
    assert (found.device, found.dtype, found.left_out) == ("cpu", "float32", {})
    assert found.matrix_flops > 0
    for model in found.models:
        assert model.width in (2, 4)
        assert model.positions_per_second == pytest.approx(bench.LENGTH * model.candidates_per_second)
        products = 2 * (bench.LENGTH * blocks_of(model.model) + 300 * 32)
        assert model.peak_share == pytest.approx(model.candidates_per_second * products / found.matrix_flops)
        for pace in (model.soft, model.soft_batched, model.hard):
            assert pace.steps_per_second > 0
            assert pace.positions_per_second > pace.steps_per_second
            assert pace.launches_per_step > 50
            assert pace.waits_per_step is None
        assert model.weight_bytes == 4 * weights_of(model.model)
        assert model.peak_bytes > model.weight_bytes


def blocks_of(name: str) -> int:
    """Number of weights of the blocks and the last norm."""
    model = random_model(next(shape for shape in TINY if shape.name == name), CPU, torch.float32)
    return sum(weight.numel() for part, weight in model.backbone.named_parameters() if "embed" not in part)


def weights_of(name: str) -> int:
    return blocks_of(name) + (1 if name == "tiny" else 2) * 300 * 32


def test_models_without_room_or_time_are_left_out_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "WHOLE_STEPS", 10**12)
    slow = run_bench(seconds=0.1, device="cpu", shapes=TINY[:1])
    assert not slow.models
    assert "soft steps take at least" in slow.left_out["tiny"]
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=1000))
    assert "of memory, 0.0 are free" in run_bench(seconds=0.1, device="cpu", shapes=TINY[:1]).left_out["tiny"]
    with pytest.raises(UsageError, match="no shape 'other'; there are: tiny, tiny-qwen"):
        run_bench(["other"], shapes=TINY)


def test_the_known_shapes_have_the_sizes_of_the_models() -> None:
    """Numbers of parameters as in the model cards, in millions."""
    sizes = {shape.name: round(bench.parameters_of(shape) / 1e6) for shape in SHAPES}
    assert sizes == {"SmolLM2-135M": 135, "Qwen3-0.6B": 596, "Llama-3.2-1B": 1236, "Llama-3.1-8B": 8030}


def test_the_command_prints_text_or_one_json_object(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "SHAPES", TINY)
    options = ["bench", "--seconds", "1", "--models", "tiny", "--device", "cpu"]
    text = CliRunner().invoke(app, options)
    assert text.exit_code == 0, text.output
    assert "of the matrix peak (width" in text.stdout
    assert "soft × 16" in text.stdout
    found = json.loads(CliRunner().invoke(app, [*options, "--json"]).stdout)
    assert [model["model"] for model in found["models"]] == ["tiny"]
    assert CliRunner().invoke(app, ["bench", "--dtype", "int3"]).exit_code != 0


def test_a_written_model_is_the_random_one(tmp_path: Path) -> None:
    bench.write_random_model(TINY[0], tmp_path, torch.float32)
    ids = torch.tensor([[1, 2, 3]])
    read, made = load_language_model("tiny", tmp_path, "cpu"), random_model(TINY[0], CPU, torch.float32)
    assert torch.equal(read.next_token_logits(ids), made.next_token_logits(ids))
