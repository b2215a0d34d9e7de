"""Cached bounds and models are checked against their keys; untrusted prompt files are validated."""

from __future__ import annotations

import hashlib
import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from distprompt_tui.bounds.cache import solve_bounds
from distprompt_tui.core.config import paths
from distprompt_tui.core.errors import ModelError, UsageError
from distprompt_tui.core.storage.legacy import NEW_NAMES
from distprompt_tui.core.storage.prompt_files import VECTORS, read_prompt
from distprompt_tui.core.storage.safe_io import write_json
from distprompt_tui.models.fingerprint import files_sha256
from distprompt_tui.models.language_model import LanguageModel
from distprompt_tui.models.prepare import prepare_by_name


def under_old_names(fields: dict[str, Any], key: str) -> dict[str, Any]:
    """Cached bounds in the format of version 0.1."""
    old_names = {new: old for old, new in NEW_NAMES.items()}
    fields = {old_names.get(name, name): value for name, value in fields.items() if name != "sha256"}
    digest = hashlib.sha256(f"{key} {json.dumps(fields, sort_keys=True)}".encode()).hexdigest()
    return fields | {"sha256": digest}


def test_cached_bounds_belong_to_their_key(
    tiny_models: dict[str, LanguageModel], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTPROMPT_HOME", str(tmp_path))
    head = tiny_models["llama"].head
    targets = [torch.zeros(len(head.weight), dtype=torch.float64) for _ in range(2)]
    for index, target in enumerate(targets):
        target[300 + index : 310 + 10 * index] = 1
        target /= target.sum()
    floors, files = [], []
    for target in targets:
        floors.append(list(solve_bounds(head, target))[-1].floor)
        (new,) = set(paths.bounds_dir().iterdir()) - set(files)
        files.append(new)
    assert floors[0] != floors[1]
    fields = json.loads(files[0].read_text())
    assert [bounds.floor for bounds in solve_bounds(head, targets[0])] == [floors[0]]
    for damaged in (files[1].read_text(), json.dumps(fields | {"floor": 9.0}), "{}", fields | {"sha256": None}, "{"):
        files[0].write_text(damaged if isinstance(damaged, str) else json.dumps(damaged))
        assert list(solve_bounds(head, targets[0]))[-1].floor == floors[0]
    files[0].write_text(json.dumps(under_old_names(fields, files[0].stem)))
    assert [bounds.head_optimum for bounds in solve_bounds(head, targets[0])] == [fields["head_optimum"]]
    shutil.rmtree(paths.bounds_dir())
    paths.bounds_dir().write_text("no folder")
    assert list(solve_bounds(head, targets[0]))[-1].floor == floors[0]


def test_damaged_converted_model_is_not_loaded(
    tiny_folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTPROMPT_HOME", str(tmp_path))
    folder = shutil.copytree(tiny_folders["llama"], paths.models_dir() / ("a" * 64))
    source = {"name": "mine", "title": "mine", "file": "mine.gguf", "parameters": 1, "vocab_size": 400}
    write_json(folder / "source.json", source | {"files_sha256": files_sha256(folder)})
    assert prepare_by_name("mine", lambda text, fraction: None) == folder
    data = bytearray((folder / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "model.safetensors").write_bytes(data)
    with pytest.raises(ModelError, match=r"damaged \(model\.safetensors has changed\): delete it"):
        prepare_by_name("mine", lambda text, fraction: None)
    write_json(folder / "source.json", source)  # of an older version, without a hash
    assert prepare_by_name("mine", lambda text, fraction: None) == folder


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_vectors_of_every_floating_dtype_are_read(dtype: torch.dtype, tmp_path: Path) -> None:
    vectors = torch.randn(3, 8, generator=torch.Generator().manual_seed(0)).to(dtype)
    save_file({VECTORS: vectors}, tmp_path / "adapter_model.safetensors")
    found = read_prompt(tmp_path)
    assert isinstance(found, np.ndarray)
    np.testing.assert_array_equal(found, vectors.float().numpy())


FOREIGN: dict[str, tuple[Callable[[Path], object], str]] = {
    "whole numbers": (lambda path: save_file({VECTORS: torch.ones(3, 8, dtype=torch.int64)}, path), "dtype I64"),
    "complex": (lambda path: save_file({VECTORS: torch.ones(3, 8, dtype=torch.complex64)}, path), "dtype C64"),
    "no number": (lambda path: save_file({VECTORS: torch.full((3, 8), torch.nan)}, path), "not finite"),
    "too large": (
        lambda path: save_file({VECTORS: torch.full((3, 8), 1e300, dtype=torch.float64)}, path),
        "not finite",
    ),
    "no width": (lambda path: save_file({VECTORS: torch.zeros(3, 0)}, path), "shape"),
    "a LoRA": (lambda path: save_file({"lora_A.weight": torch.ones(3, 8)}, path), f"no tensor {VECTORS}"),
    "a long header": (lambda path: path.write_bytes(struct.pack("<Q", 1 << 60)), "contains no prompt"),
    "nothing": (lambda path: path.write_bytes(b""), "contains no prompt"),
    "a folder": (lambda path: path.mkdir(), "contains no prompt"),
    "a pickle": (
        lambda path: (path.mkdir(), torch.save({VECTORS: torch.ones(3, 8)}, path / "adapter_model.bin")),
        ".bin files can contain code",
    ),
}


@pytest.mark.parametrize("kind", list(FOREIGN))
def test_invalid_prompt_file_is_rejected_in_one_line(kind: str, tmp_path: Path) -> None:
    write, words = FOREIGN[kind]
    path = tmp_path / "prompt.safetensors"
    write(path)
    with pytest.raises(UsageError, match=words) as refusal:
        read_prompt(path)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("name", ["a\0b", "x" * 5000, "", "nowhere"])
def test_invalid_path_contains_no_prompt(name: str) -> None:
    with pytest.raises(UsageError, match="contains no prompt"):
        read_prompt(Path(name))
