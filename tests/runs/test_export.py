"""An exported prompt gives the same divergence when peft or a search loads it."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from distprompt_tui.core.config.spec import RunSpec
from distprompt_tui.core.errors import NotFoundError, UsageError
from distprompt_tui.core.storage.prompt_files import read_prompt
from distprompt_tui.models.vocabulary import load_vocabulary
from distprompt_tui.runs.directory import RunDirectory, create_run
from distprompt_tui.runs.export import export_run
from tests.finished_runs import finished_run
from tests.tiny_tokenizers import adding, with_tokenizer
from tests.waiting import DEADLINE_SECONDS

LOADED_BY_PEFT = """
import json, sys, numpy, torch
from peft import PeftModel
from transformers import AutoModelForCausalLM
for adapter, base, target, ids in json.loads(sys.argv[1]):
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), adapter).eval()
    with torch.no_grad():
        text = torch.tensor([ids], dtype=torch.long)
        log_q = model(input_ids=text).logits[0, -1].double().log_softmax(-1)
    p = torch.from_numpy(numpy.load(target))
    print(float((p * (p.log() - log_q))[p > 0].sum()))
"""


def searched(folder: Path, runs_dir: Path, **changes: Any) -> RunDirectory:
    """A finished run on a tiny model."""
    fields = {
        "model": {"name": str(folder), "device": "cpu"},
        "target": {"family": "lm", "text": "yes"},
        "search": {"method": "soft", "length": 4},
        "budget": {"steps": 15},
    }
    return finished_run(fields | changes, runs_dir)


def result(run: RunDirectory) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run.result.read_text())
    return found


def test_peft_gives_the_same_divergence_in_another_process(tiny_folders: dict[str, Path], tmp_path: Path) -> None:
    runs, asked = [], []
    folders = tiny_folders | {"bos": with_tokenizer(tiny_folders["gemma3"], tmp_path / "bos", adding(True, False))}
    for name, prefix, suffix in (
        ("llama", "", ""),
        ("gpt2", "", ""),
        ("gemma3", "", ""),
        ("llama", "", " yes no"),
        ("llama", "yes ", ""),
        ("bos", "", ""),
        ("bos", "yes", " no"),
    ):
        folder = folders[name]
        context = {"prefix": prefix, "suffix": suffix}
        run = searched(folder, tmp_path, target={"family": "temperature", "entropy": 3.0}, context=context)
        adapter = export_run(run, "peft", tmp_path / f"adapter{len(runs)}")
        config = json.loads((adapter / "adapter_config.json").read_text())
        vocabulary = load_vocabulary(folder, 10_000)
        count = 4 + len(vocabulary.encode(prefix)) + (name == "bos")
        assert (config["base_model_name_or_path"], config["num_virtual_tokens"]) == (str(folder), count)
        assert len(read_prompt(adapter)) == 4
        runs.append(run)
        asked.append([str(adapter), str(folder), str(run.target), vocabulary.encode(suffix, continues=True)])
    command = [sys.executable, "-c", LOADED_BY_PEFT, json.dumps(asked)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=DEADLINE_SECONDS).stdout
    assert [float(line) for line in printed.split()] == pytest.approx([result(run)["kl"] for run in runs], abs=1e-4)


@pytest.mark.parametrize("form", ["peft", "safetensors", "run"])
def test_an_exported_prompt_can_be_imported_unchanged(form: str, tiny_folders: dict[str, Path], tmp_path: Path) -> None:
    run = searched(tiny_folders["llama"], tmp_path)
    path = run.path if form == "run" else export_run(run, form)  # type: ignore[arg-type]
    search = {"method": "soft", "length": 4, "init": "prompt", "init_prompt": str(path)}
    again = searched(tiny_folders["llama"], tmp_path, search=search, budget={"steps": 0})
    assert result(again)["kl"] == pytest.approx(result(run)["kl"], abs=1e-6)


def test_a_soft_search_starts_from_a_hard_result(tiny_folders: dict[str, Path], tmp_path: Path) -> None:
    hard = searched(tiny_folders["llama"], tmp_path, search={"method": "hard", "length": 4}, budget={"steps": 2})
    search = {"method": "soft", "length": 4, "init": "prompt", "init_prompt": str(hard.path)}
    soft = searched(tiny_folders["llama"], tmp_path, search=search, budget={"steps": 10})
    trace = np.fromfile(soft.trace, dtype="<f4")
    assert trace[0] == pytest.approx(result(hard)["kl"], abs=1e-5)
    assert result(soft)["kl"] < trace[0]


def test_json_contains_spec_result_and_prompt(tiny_folders: dict[str, Path], tmp_path: Path) -> None:
    run = searched(tiny_folders["llama"], tmp_path)
    found = json.loads(export_run(run, "json", tmp_path / "all.json").read_text())
    assert RunSpec.model_validate(found["spec"]) == run.read_spec()
    assert found["result"] == result(run)
    vectors = load_file(run.best / "prompt.safetensors")["prompt_embeddings"]
    np.testing.assert_allclose(found["prompt"]["prompt_embeddings"], vectors)
    hard = searched(tiny_folders["llama"], tmp_path, search={"method": "hard", "length": 4}, budget={"steps": 1})
    assert json.loads(export_run(hard, "json").read_text())["prompt"]["ids"] == result(hard)["prompt_ids"]
    for form in ("peft", "safetensors"):
        with pytest.raises(UsageError, match="exported as json"):
            export_run(hard, form)  # type: ignore[arg-type]


def test_steps_are_exported_as_csv(tiny_folders: dict[str, Path], tmp_path: Path) -> None:
    run = searched(tiny_folders["llama"], tmp_path)
    with export_run(run, "csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    trace = np.fromfile(run.trace, dtype="<f4")
    assert (rows[0]["step"], rows[-1]["step"]) == ("0", "15")
    assert [float(row["kl"]) for row in rows] == pytest.approx([trace[int(row["step"])] for row in rows])


@pytest.mark.parametrize("what", ["missing", "folder", "pipe"])
def test_a_table_of_unreadable_steps_is_not_empty_but_an_error(
    what: str, tiny_folders: dict[str, Path], tmp_path: Path
) -> None:
    run = searched(tiny_folders["llama"], tmp_path, budget={"steps": 1})
    run.events.unlink()
    if what == "folder":
        run.events.mkdir()
    elif what == "pipe":
        os.mkfifo(run.events)
    with pytest.raises(UsageError, match=r"events\.jsonl cannot be read: "):
        export_run(run, "csv", tmp_path / "table.csv")
    assert not (tmp_path / "table.csv").exists()


def test_export_and_import_errors_are_reported(tiny_folders: dict[str, Path], tmp_path: Path) -> None:
    empty = create_run(searched(tiny_folders["llama"], tmp_path).read_spec(), tmp_path)
    with pytest.raises(NotFoundError, match="no result yet"):
        export_run(empty, "json")
    flat, other, bad = tmp_path / "flat.safetensors", tmp_path / "other.safetensors", tmp_path / "bad.json"
    save_file({"prompt_embeddings": np.zeros(3, np.float32)}, flat)
    save_file({"weights": np.zeros((3, 4), np.float32)}, other)
    bad.write_text('{"ids": [1, -2]}')
    for path, words in ((flat, "shape"), (other, "contains no"), (bad, "not a list"), (tmp_path, "contains no")):
        with pytest.raises(UsageError, match=words):
            read_prompt(path)


@pytest.mark.parametrize(("shape", "words"), [((4, 7), "width 7"), ((3, None), "set search.length=3")])
def test_an_initial_prompt_of_another_shape_is_reported(
    shape: tuple[int, int | None], words: str, tiny_folders: dict[str, Path], tmp_path: Path
) -> None:
    width = json.loads((tiny_folders["llama"] / "config.json").read_text())["hidden_size"]
    path = tmp_path / "prompt.safetensors"
    save_file({"prompt_embeddings": np.zeros((shape[0], shape[1] or width), np.float32)}, path)
    search = {"method": "soft", "length": 4, "init": "prompt", "init_prompt": str(path)}
    with pytest.raises(UsageError, match=words):
        searched(tiny_folders["llama"], tmp_path, search=search)
