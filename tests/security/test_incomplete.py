"""Incomplete model files are rejected, with the names of the missing weights."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from distprompt_tui.core.config import paths
from distprompt_tui.core.errors import ModelError
from distprompt_tui.models.prepare import prepare_by_name
from distprompt_tui.models.registry import find_model
from distprompt_tui.models.vocabulary import load_vocabulary
from distprompt_tui.models.wrap import load_language_model

State = dict[str, torch.Tensor]
HIDDEN, INTERMEDIATE, ROWS = 32, 64, 300


def without(*parts: str) -> Callable[[State], State]:
    """Drop the tensors with one of these parts in their names."""
    return lambda state: {name: value for name, value in state.items() if not any(part in name for part in parts)}


def under(prefix: str) -> Callable[[State], State]:
    """Add a prefix to every name."""
    return lambda state: {prefix + name: value for name, value in state.items()}


def one_column_less(state: State) -> State:
    """Remove a column of the embedding."""
    return state | {"model.embed_tokens.weight": state["model.embed_tokens.weight"][:, 1:].contiguous()}


INCOMPLETE = {
    "no second layer": (without("layers.1."), r"9 of its 21 weights are missing: model\.layers\.1\.input_layernorm"),
    "no head": (without("lm_head"), r"1 of its 21 weights are missing: lm_head\.weight\. The files are incomplete"),
    "no final norm": (without("model.norm"), r"weights are missing: model\.norm\.weight"),
    "no embedding": (without("embed_tokens"), r"weights are missing: model\.embed_tokens\.weight"),
    "foreign names": (under("transformer.h."), r"21 of its 21 weights are missing: lm_head\.weight, .* and 17 more"),
    "other shape": (one_column_less, r"model\.embed_tokens\.weight is 400×31 instead of 400×32"),
    "empty": (lambda state: {}, r"cannot be loaded|21 of its 21"),
}


@pytest.mark.parametrize("case", INCOMPLETE)
def test_missing_weights_are_named(case: str, tiny_folders: dict[str, Path], tmp_path: Path) -> None:
    change, told = INCOMPLETE[case]
    folder = Path(shutil.copytree(tiny_folders["llama"], tmp_path / "model"))
    file = folder / "model.safetensors"
    save_file(change(load_file(file)), file, metadata={"format": "pt"})
    with pytest.raises(ModelError, match=told) as error:
        load_language_model("mine", folder, "cpu")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["model.norm.weight", "lm_head.weight", "model.layers.1.mlp.down_proj.weight"])
def test_weights_that_are_not_finite_are_reported(
    name: str, value: float, tiny_folders: dict[str, Path], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(tiny_folders["llama"], tmp_path / "model"))
    state = load_file(folder / "model.safetensors")
    state[name].view(-1)[5] = value
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match="LlamaForCausalLM gives NaN or infinite logits: its weights are damaged"):
        load_language_model("mine", folder, "cpu")


def test_classifier_is_rejected(tiny_folders: dict[str, Path], tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification

    folder = Path(shutil.copytree(tiny_folders["llama"], tmp_path / "model"))
    AutoModelForSequenceClassification.from_pretrained(folder, num_labels=2).save_pretrained(folder)
    with pytest.raises(ModelError, match=r"missing: lm_head\.weight\. .* or do not belong to a LlamaForCausalLM"):
        load_language_model("mine", folder, "cpu")


def test_missing_shard_is_named(tiny_folders: dict[str, Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_folders["llama"], tmp_path / "model"))
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    shards = {name: f"model-0000{1 + ('lm_head' in name)}-of-00002.safetensors" for name in state}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": shards}))
    save_file(without("lm_head")(state), folder / "model-00001-of-00002.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"model-00002-of-00002\.safetensors") as error:
        load_language_model("mine", folder, "cpu")
    assert "\n" not in str(error.value)


def test_tied_weights_are_not_missing(tiny_folders: dict[str, Path]) -> None:
    assert "lm_head.weight" not in load_file(tiny_folders["qwen2"] / "model.safetensors")
    load_language_model("mine", tiny_folders["qwen2"], "cpu")


def write_gguf(file: Path, leave_out: str = " ", seed: int = 0) -> Path:
    """Write a tiny Llama of two layers without the tensors with `leave_out` in their names."""
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_block_count(2)
    writer.add_context_length(64)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(INTERMEDIATE)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(8)
    writer.add_vocab_size(ROWS)
    byte_pieces = [f"<0x{byte:02X}>" for byte in range(256)]
    pieces = ["<unk>", "<s>", "</s>", *byte_pieces, *(f"▁{i}" for i in range(ROWS - 259))]
    writer.add_tokenizer_model("llama")
    writer.add_token_list(pieces)
    writer.add_token_scores([float(-i) for i in range(ROWS)])
    writer.add_token_types([2, 3, 3, *[6] * 256, *[1] * (ROWS - 259)])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    generator = np.random.default_rng(seed)

    def normal(*shape: int) -> NDArray[np.float32]:
        return generator.normal(size=shape).astype(np.float32)

    tensors = {"token_embd": normal(ROWS, HIDDEN), "output": normal(ROWS, HIDDEN), "output_norm": normal(HIDDEN)}
    for layer in range(2):
        shapes = {"attn_q": (32, 32), "attn_k": (16, 32), "attn_v": (16, 32), "attn_output": (32, 32)}
        shapes |= {"ffn_gate": (64, 32), "ffn_up": (64, 32), "ffn_down": (32, 64)}
        tensors |= {f"blk.{layer}.{name}": normal(*shape) for name, shape in shapes.items()}
        tensors |= {f"blk.{layer}.{name}": normal(HIDDEN) for name in ("attn_norm", "ffn_norm")}
    for name, value in tensors.items():
        if leave_out not in name:
            writer.add_tensor(f"{name}.weight", value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


@pytest.fixture
def empty_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder without prepared models."""
    monkeypatch.setenv("DISTPROMPT_HOME", str(tmp_path / "home"))
    return tmp_path


def ignore(text: str, fraction: float | None) -> None:
    """Ignore the progress."""


@pytest.mark.parametrize(
    ("leave_out", "named"),
    [
        ("token_embd", r"weights are missing: model\.embed_tokens\.weight"),
        ("blk.1", r"9 of its 21 weights are missing: model\.layers\.1\."),
        ("output_norm", r"weights are missing: model\.norm\.weight"),
    ],
)
def test_incomplete_gguf_leaves_no_files(leave_out: str, named: str, empty_home: Path) -> None:
    file = write_gguf(empty_home / "tiny.gguf", leave_out)
    with pytest.raises(ModelError, match=rf"tiny\.gguf cannot be read as GGUF: {named}|{named}"):
        prepare_by_name(str(file), ignore)
    assert not [path for path in paths.models_dir().iterdir() if path.is_dir()]


@pytest.mark.parametrize("cut", [0.3, 0.9])
def test_truncated_gguf_gives_a_one_line_error(cut: float, empty_home: Path) -> None:
    whole = write_gguf(empty_home / "whole.gguf").read_bytes()
    file = empty_home / "cut.gguf"
    file.write_bytes(whole[: int(cut * len(whole))])
    with pytest.raises(ModelError, match=r"cut\.gguf cannot be read as GGUF: ") as error:
        prepare_by_name(str(file), ignore)
    assert "\n" not in str(error.value)


def test_part_of_a_split_gguf_is_rejected(empty_home: Path) -> None:
    file = write_gguf(empty_home / "tiny-00001-of-00002.gguf", "blk.1")
    with pytest.raises(ModelError, match=r"tiny-00001-of-00002\.gguf is one of 2 parts of a split GGUF: merge them"):
        prepare_by_name(str(file), ignore)
    prepare_by_name(str(write_gguf(empty_home / "tiny-00001-of-00001.gguf")), ignore)


def test_unchecked_conversion_of_an_earlier_version_is_repeated(empty_home: Path) -> None:
    file = write_gguf(empty_home / "tiny.gguf")
    folder = prepare_by_name(str(file), ignore)
    made = (folder / "model.safetensors").read_bytes()
    assert find_model(str(file)).status == "prepared"
    source = json.loads((folder / "source.json").read_text())
    del source["checked"]
    (folder / "source.json").write_text(json.dumps(source))
    (folder / "model.safetensors").write_bytes(b"with random numbers in it")
    assert find_model(str(file)).status == "installed"
    assert prepare_by_name(str(file), ignore) == folder
    assert (folder / "model.safetensors").read_bytes() == made
    assert load_language_model("tiny", folder, "cpu").vocab_size == ROWS
    assert load_vocabulary(folder, ROWS).allowed.all()
