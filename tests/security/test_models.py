"""Model folders are data: code in them is never run, and files that require code are rejected."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest

from distprompt_tui.core.errors import ModelError
from distprompt_tui.models.checkpoint_checks import check_folder
from distprompt_tui.models.registry import find_model
from distprompt_tui.models.vocabulary import MAX_TOKEN_ID, load_vocabulary
from distprompt_tui.models.wrap import load_language_model


@pytest.fixture
def folder(tiny_folders: dict[str, Path], tmp_path: Path) -> Path:
    """A valid model, to be damaged."""
    return Path(shutil.copytree(tiny_folders["llama"], tmp_path / "model"))


def change(file: Path, **fields: Any) -> None:
    """Change fields of a JSON file."""
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))


def test_pickled_weights_are_rejected(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({}))
    with pytest.raises(ModelError, match=r"pytorch_model\.bin can contain code and is not loaded.*safetensors or GGUF"):
        find_model(str(folder))
    with pytest.raises(ModelError, match=r"a folder with \*\.safetensors, or a \.gguf file"):
        find_model(str(folder / "pytorch_model.bin"))


@pytest.mark.parametrize("shard", ["pytorch_model.bin", "../other/model.safetensors", "/etc/x.safetensors", 3])
def test_shards_must_be_safetensors_in_the_folder(folder: Path, shard: Any) -> None:
    index = {"metadata": {}, "weight_map": {"lm_head.weight": shard}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelError, match=r"not a \*\.safetensors file in the same folder"):
        check_folder(folder)


def test_adapter_is_rejected(folder: Path) -> None:
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "somebody/else"}')
    with pytest.raises(ModelError, match="is a PEFT adapter of somebody/else"):
        check_folder(folder)


@pytest.mark.parametrize("where", ["attn_implementation", "experts_implementation"])
def test_kernels_from_the_hub_are_rejected(folder: Path, where: str) -> None:
    change(folder / "config.json", text_config={where: "somebody/kernels"})
    with pytest.raises(ModelError, match="requests code from the hub, which is never run"):
        check_folder(folder)


@pytest.mark.parametrize(("kind", "loads"), [("mine", False), ("llama", True)])
def test_code_of_a_model_is_never_run(folder: Path, kind: str, loads: bool, tmp_path: Path) -> None:
    """Types unknown to transformers are rejected; for known types, transformers' own code is used."""
    mark = tmp_path / "it was run"
    code = f"import pathlib\npathlib.Path({str(mark)!r}).touch()\n"
    (folder / "modeling_mine.py").write_text(code + "class Config: ...\nclass Model: ...\n")
    own = {"AutoConfig": "modeling_mine.Config", "AutoModelForCausalLM": "modeling_mine.Model"}
    change(folder / "config.json", model_type=kind, auto_map=own)
    if loads:
        assert load_language_model("mine", folder, "cpu").vocab_size == 400
    else:
        with pytest.raises(ModelError, match="type 'mine' needs custom code, which is never run"):
            load_language_model("mine", folder, "cpu")
    assert not mark.exists()


def test_damaged_weights_give_a_one_line_error(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"\xff" * 64)
    with pytest.raises(ModelError, match="cannot be loaded from") as told:
        load_language_model("mine", folder, "cpu")
    assert "\n" not in str(told.value)


def test_tokenizer_with_huge_ids_is_rejected(folder: Path) -> None:
    file = folder / "tokenizer.json"
    tokenizer = json.loads(file.read_text())
    tokenizer["model"]["vocab"]["far"] = MAX_TOKEN_ID + 1
    file.write_text(json.dumps(tokenizer))
    with pytest.raises(ModelError, match="the token id 16,777,217, above the limit"):
        load_vocabulary(folder, 400)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [({"num_attention_heads": 5, "head_dim": None}, "multiple"), ({"num_hidden_layers": None}, "num_hidden_layers")],
)
def test_the_reason_on_the_second_line_of_an_error_is_kept(folder: Path, fields: dict[str, Any], reason: str) -> None:
    change(folder / "config.json", **fields)
    with pytest.raises(ModelError, match=r"cannot be loaded from .*: \w+Error: ") as told:
        load_language_model("mine", folder, "cpu")
    assert reason in str(told.value)
    assert "\n" not in str(told.value)
