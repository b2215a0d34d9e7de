"""A sweep rejects models and target files that have changed since its start."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file, save_file

from distprompt_tui.core.errors import NotFoundError, UsageError
from distprompt_tui.sweeps.directory import SweepDirectory, make_directory
from distprompt_tui.sweeps.execute import answer_task, load
from distprompt_tui.sweeps.inputs import hold_to_inputs
from distprompt_tui.sweeps.sweep_spec import Sweep
from distprompt_tui.sweeps.tasks import plan_tasks


@pytest.fixture
def sweep(tiny_folders: dict[str, Path], tmp_path: Path) -> Sweep:
    """A sweep with a target from a file and a target from another model."""
    for name, architecture in (("model", "llama"), ("other", "gpt2")):
        shutil.copytree(tiny_folders[architecture], tmp_path / name)
    (tmp_path / "target.json").write_text('{"id:300": 0.7, "id:301": 0.3}')
    explicit = {"family": "explicit", "file": str(tmp_path / "target.json")}
    mixed = {"family": "mixture", "parts": [{"weight": 1, "target": explicit}]}
    series = [
        {"name": "file", "target": mixed},
        {"name": "other", "target": {"family": "lm", "model": str(tmp_path / "other")}},
    ]
    fields: dict[str, Any] = {"name": "tiny", "models": [str(tmp_path / "model")], "series": series, "device": "cpu"}
    return Sweep.model_validate(
        fields | {"targets": 1, "texts": ["yes"], "lengths": [2], "threads": 1, "soft": {"steps": 2}}
    )


@pytest.fixture
def directory(sweep: Sweep, tmp_path: Path) -> SweepDirectory:
    return make_directory(sweep, tmp_path / "sweeps")


def change_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    save_file({name: 1.5 * tensor for name, tensor in load_file(path).items()}, path, metadata={"format": "pt"})


@pytest.mark.parametrize("name", ["model", "other"])
def test_changed_model_is_rejected(name: str, sweep: Sweep, directory: SweepDirectory, tmp_path: Path) -> None:
    models = hold_to_inputs(directory, prepare=True)
    assert set(models) == set(sweep.all_models)
    assert hold_to_inputs(directory, prepare=True) == models
    (task,) = (task.model_copy(update={"models": models}) for task in plan_tasks(sweep))
    fields = json.loads(task.model_dump_json())
    assert len(answer_task(fields, 1)["outcomes"]) == 2
    change_weights(tmp_path / name)
    with pytest.raises(UsageError, match=r"has changed since: model\.safetensors"):
        hold_to_inputs(directory, prepare=True)
    load.cache_clear()
    assert "has changed since: model.safetensors" in answer_task(fields, 1)["error"]
    shutil.rmtree(tmp_path / name)
    with pytest.raises(NotFoundError):
        hold_to_inputs(directory, prepare=True)


@pytest.mark.parametrize("change", ["edited", "gone"])
def test_changed_target_file_is_rejected(change: str, directory: SweepDirectory, tmp_path: Path) -> None:
    hold_to_inputs(directory, prepare=True)
    file = tmp_path / "target.json"
    file.write_text('{"id:300": 0.1, "id:301": 0.9}') if change == "edited" else file.unlink()
    with pytest.raises(UsageError, match=r"target\.json has changed since"):
        hold_to_inputs(directory, prepare=True)


def test_damaged_record_is_rejected(directory: SweepDirectory) -> None:
    for text in ("{", '{"models": {"a": 7}}', "{}"):
        directory.inputs_file.write_text(text)
        with pytest.raises(UsageError, match=r"inputs\.json"):
            hold_to_inputs(directory, prepare=True)
