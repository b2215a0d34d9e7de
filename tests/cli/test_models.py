"""`models prepare` on folders: a model is loaded and tested as in a run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from distprompt_tui.cli import app
from distprompt_tui.core.errors import DistPromptError, ModelError, NotFoundError


def without_a_weight(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights[next(name for name in weights if "layers.1." in name)]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def nan_weights(folder: Path) -> None:
    weights = {
        name: torch.full_like(tensor, torch.nan) for name, tensor in load_file(folder / "model.safetensors").items()
    }
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def one_infinite_embedding(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["model.embed_tokens.weight"][5, 0] = torch.inf
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def cut_off(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])


def unknown_type(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "unheard-of"}))


def damaged_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{}")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (without_a_weight, "weights are missing"),
        (nan_weights, "NaN"),
        (one_infinite_embedding, "the embedding of a token is NaN or infinite, such as that of id 5"),
        (cut_off, "cannot be"),
        (unknown_type, "unheard-of"),
        (damaged_tokenizer, "tokenizer"),
    ],
)
def test_a_folder_that_cannot_be_searched_is_not_prepared(
    damage: Callable[[Path], None], reason: str, tmp_path: Path, tiny_folders: dict[str, Path]
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_folders["llama"], folder)
    damage(folder)
    done = CliRunner().invoke(app, ["models", "prepare", str(folder)])
    assert isinstance(done.exception, DistPromptError)
    assert done.exception.exit_code in (ModelError.exit_code, NotFoundError.exit_code)
    assert reason in str(done.exception)
    assert len(str(done.exception).splitlines()) == 1
    assert done.output == ""


def test_errors_of_model_code_are_one_line(monkeypatch: pytest.MonkeyPatch, tiny_folders: dict[str, Path]) -> None:
    def load(*arguments: object) -> None:
        raise RuntimeError("shapes differ\nmore")

    monkeypatch.setattr("distprompt_tui.worker.model_check.load_by_name", load)
    done = CliRunner().invoke(app, ["models", "prepare", str(tiny_folders["llama"])])
    assert str(done.exception) == f"{tiny_folders['llama']} cannot be used: RuntimeError: shapes differ"


def test_what_was_loaded_is_said(tiny_folders: dict[str, Path]) -> None:
    folder = tiny_folders["llama"]
    rows, width = load_file(folder / "model.safetensors")["model.embed_tokens.weight"].shape
    done = CliRunner().invoke(app, ["models", "prepare", str(folder)])
    assert (done.exit_code, done.stdout) == (0, f"{folder}\n")
    assert done.stderr.endswith(f"{rows:,} rows, d = {width}; soft and hard prompts\n")
    assert len(done.stderr.splitlines()) == 1
    as_json = CliRunner().invoke(app, ["models", "prepare", str(folder), "--json"])
    found = json.loads(as_json.stdout.splitlines()[-1])
    assert (found["folder"], found["vocab_size"], found["hidden_size"]) == (str(folder), rows, width)
    only = CliRunner().invoke(app, ["models", "prepare", str(folder), "--json", "--no-load"])
    assert only.stdout == json.dumps({"folder": str(folder)}) + "\n"
