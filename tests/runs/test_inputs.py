"""Resume, verification and export require the recorded inputs of a run."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from distprompt_tui.core.config.spec import RunSpec
from distprompt_tui.core.errors import DistPromptError, NotFoundError, UsageError
from distprompt_tui.models import fingerprint
from distprompt_tui.models.fingerprint import file_sha256, record_model
from distprompt_tui.models.recorded import folder_at_hand
from distprompt_tui.runs.directory import RunDirectory, create_run
from distprompt_tui.runs.events import EventWriter
from distprompt_tui.runs.export import export_run
from distprompt_tui.runs.inputs import check_inputs, read_inputs
from distprompt_tui.runs.process import start_worker
from distprompt_tui.worker.model_server import _asked_model
from distprompt_tui.worker.session import run_session
from distprompt_tui.worker.verify import Verification, verify
from tests.finished_runs import finished_run
from tests.waiting import DEADLINE_SECONDS


@pytest.fixture
def run(tiny_folders: dict[str, Path], tmp_path: Path) -> RunDirectory:
    """A finished run with its own copies of target file and model."""
    model = shutil.copytree(tiny_folders["llama"], tmp_path / "model")
    (tmp_path / "target.json").write_text('{"id:300": 0.7, "id:301": 0.3}')
    target = {"family": "explicit", "file": str(tmp_path / "target.json")}
    return searched(tmp_path, model, target=target)


def searched(runs_dir: Path, model: Path, **changes: Any) -> RunDirectory:
    fields = {
        "model": {"name": str(model), "device": "cpu"},
        "search": {"method": "soft", "length": 3},
        "budget": {"steps": 12},
    }
    return finished_run(fields | changes, runs_dir)


def go_on(run: RunDirectory) -> None:
    run_session(run, EventWriter(run.events))


def kl(run: RunDirectory) -> float:
    found: float = json.loads(run.result.read_text())["kl"]
    return found


def model_of(run: RunDirectory) -> Path:
    return Path(run.read_spec().model.name)


def other_weights(folder: Path) -> None:
    """Change the numbers, but neither the size nor the modification time of the file."""
    path = folder / "model.safetensors"
    status = path.stat()
    save_file({name: 1.5 * tensor for name, tensor in load_file(path).items()}, path, metadata={"format": "pt"})
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert path.stat().st_size == status.st_size


def other_json(path: Path, **fields: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


CHANGES: dict[str, Callable[[Path], object]] = {
    "model.safetensors": other_weights,
    "config.json": lambda folder: other_json(folder / "config.json", rms_norm_eps=0.5),
    "tokenizer.json": lambda folder: other_json(folder / "tokenizer.json", added_tokens=[]),
    "tokenizer_config.json": lambda folder: other_json(folder / "tokenizer_config.json", add_bos_token=True),
}


@pytest.mark.parametrize("file", list(CHANGES))
def test_a_changed_model_file_is_rejected_everywhere(file: str, run: RunDirectory, tmp_path: Path) -> None:
    CHANGES[file](model_of(run))
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    uses = (start_worker, verify, lambda run: export_run(run, "peft", tmp_path / "adapter"))
    for utilization in uses:
        with pytest.raises(UsageError, match=rf"has changed since: {file} in .* put the old files back") as refusal:
            utilization(run)
        assert "\n" not in str(refusal.value)
    with pytest.raises(UsageError, match=file):
        go_on(run)
    after = {path: path.read_bytes() for path in before if path.name != "events.jsonl"}
    assert after == {path: data for path, data in before.items() if path.name != "events.jsonl"}


def test_irrelevant_files_and_fields_may_change(run: RunDirectory) -> None:
    folder = model_of(run)
    other_json(folder / "config.json", transformers_version="9.9.9")
    (folder / "README.md").write_text("new")
    run.spec_file.write_text(run.spec_file.read_text().replace('title = ""', 'title = "another"'))
    check_inputs(run)
    assert verify(run).agrees


def test_a_missing_model_is_not_found(run: RunDirectory) -> None:
    shutil.rmtree(model_of(run))
    with pytest.raises(NotFoundError, match="no model"):
        start_worker(run)


def test_the_recorded_folder_comes_before_the_name(tiny_folders: dict[str, Path], tmp_path: Path) -> None:
    """A newer package or branch gives another folder, but the recorded one still exists."""
    recorded = record_model(tiny_folders["llama"])
    assert folder_at_hand(str(tiny_folders["gpt2"]), recorded) == tiny_folders["llama"]
    moved = shutil.copytree(tiny_folders["llama"], tmp_path / "moved")
    assert folder_at_hand(str(moved), record_model(moved)) == moved


def test_a_commit_of_the_hub_is_recorded(tiny_folders: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_folders["llama"], tmp_path / "snapshots" / "0123abc")
    manifest = json.loads(searched(tmp_path, folder, target={"family": "uniform"}).manifest.read_text())
    assert manifest["revision"] == "0123abc"


@pytest.mark.parametrize("change", ["edited", "gone"])
def test_a_resume_keeps_the_target_if_its_file_changes(change: str, run: RunDirectory, tmp_path: Path) -> None:
    target, before = np.load(run.target), kl(run)
    file = tmp_path / "target.json"
    file.write_text('{"id:300": 0.1, "id:301": 0.9}') if change == "edited" else file.unlink()
    go_on(run)
    np.testing.assert_array_equal(np.load(run.target), target)
    assert kl(run) == pytest.approx(before, abs=1e-6)
    assert verify(run).agrees


def test_a_resume_keeps_the_target_if_the_other_model_is_deleted(tiny_folders: dict[str, Path], tmp_path: Path) -> None:
    other = shutil.copytree(tiny_folders["gpt2"], tmp_path / "other")
    run = searched(tmp_path, tiny_folders["llama"], target={"family": "lm", "text": "yes", "model": str(other)})
    before = kl(run)
    shutil.rmtree(other)
    go_on(run)
    assert kl(run) == pytest.approx(before, abs=1e-6)


def test_a_changed_target_is_restored_or_rejected(run: RunDirectory, tmp_path: Path) -> None:
    target = np.load(run.target)
    np.save(run.target, np.roll(target, 1))
    with pytest.raises(UsageError, match=r"target\.npy is not the original target"):
        verify(run)
    go_on(run)
    np.testing.assert_array_equal(np.load(run.target), target)
    run.target.write_bytes(b"\x93NUMPY")
    (tmp_path / "target.json").write_text('{"id:300": 0.1, "id:301": 0.9}')
    with pytest.raises(UsageError, match="cannot be made again"):
        go_on(run)


def test_a_changed_spec_is_rejected_with_the_field_name(run: RunDirectory) -> None:
    run.spec_file.write_text(run.spec_file.read_text().replace("lr = 0.2", "lr = 0.9"))
    for utilization in (start_worker, verify, go_on):
        with pytest.raises(UsageError, match=r"search\.lr was 0\.2 and is 0\.9"):
            utilization(run)


def test_a_run_without_a_manifest_is_not_resumed(run: RunDirectory) -> None:
    for damage in (lambda: run.manifest.write_text("{"), run.manifest.unlink):
        damage()
        for utilization in (start_worker, verify, go_on):
            with pytest.raises(UsageError, match=r"manifest\.json .*; so the inputs of the run are unknown"):
                utilization(run)


def test_an_older_manifest_is_compared_as_far_as_recorded(run: RunDirectory) -> None:
    new = ("model_files_sha256", "target_sha256", "spec", "inputs_sha256")
    old = {name: value for name, value in json.loads(run.manifest.read_text()).items() if name not in new}
    run.manifest.write_text(json.dumps(old))
    result = json.loads(run.result.read_text())
    run.result.write_text(json.dumps({name: value for name, value in result.items() if name != "prompt_sha256"}))
    assert verify(run).agrees
    assert export_run(run, "json").is_file()
    go_on(run)
    run.manifest.write_text(json.dumps(old))
    other_weights(model_of(run))
    with pytest.raises(UsageError, match=r"weights in .* differs"):
        start_worker(run)


def test_a_checkpoint_of_another_run_is_rejected(run: RunDirectory, tmp_path: Path) -> None:
    other = searched(tmp_path, model_of(run), target={"family": "uniform"})
    for path in (run.checkpoint, run.previous_checkpoint):
        shutil.copy(other.checkpoint, path)
    with pytest.raises(DistPromptError, match="it belongs to another run") as refusal:
        go_on(run)
    assert "\n" not in str(refusal.value)


def test_a_resume_does_not_need_the_initial_prompt_file(tiny_folders: dict[str, Path], tmp_path: Path) -> None:
    first = searched(tmp_path / "first", tiny_folders["llama"], target={"family": "uniform"})
    for name, method in (("soft", "soft"), ("hard", "hard")):
        started = shutil.copytree(first.path, tmp_path / name)
        search = {"method": method, "length": 3, "init": "prompt", "init_prompt": str(started)}
        run = searched(tmp_path, tiny_folders["llama"], target={"family": "uniform"}, search=search)
        result = json.loads(run.result.read_text())
        shutil.rmtree(started)
        go_on(run)
        again = json.loads(run.result.read_text())
        assert again["from_kl"] == pytest.approx(kl(first), abs=1e-5)
        assert [again[key] for key in ("from_prompt", "kl")] == [result[key] for key in ("from_prompt", "kl")]


def test_a_modified_prompt_is_neither_verified_nor_exported(run: RunDirectory) -> None:
    path = run.best / "prompt.safetensors"
    save_file({name: 3 * vectors for name, vectors in load_file(path).items()}, path)
    found = verify(run)
    assert not found.agrees
    assert "kl_fresh by" in found.result
    for form in ("peft", "safetensors", "json"):
        with pytest.raises(UsageError, match=r"result\.json does not belong to the prompt"):
            export_run(run, form)  # type: ignore[arg-type]


def test_exports_name_the_model_its_revision_and_its_weights(run: RunDirectory, tmp_path: Path) -> None:
    weights = json.loads(run.manifest.read_text())["weights_sha256"]
    card = (export_run(run, "peft", tmp_path / "adapter") / "README.md").read_text()
    model = json.loads(export_run(run, "json").read_text())["model"]
    assert model == {"name": str(model_of(run)), "revision": None, "weights_sha256": weights}
    assert weights in card
    assert str(model_of(run)) in card


def test_the_model_server_loads_the_recorded_model(run: RunDirectory) -> None:
    settings, recorded = _asked_model(str(model_of(run)), str(run.path))
    assert run.read_spec().model.dtype == "auto"
    assert settings == run.read_spec().model.model_copy(update={"dtype": "float32"})
    assert recorded is not None
    other_weights(model_of(run))
    command = [sys.executable, "-m", "distprompt_tui.worker.model_server", str(model_of(run)), str(run.path)]
    done = subprocess.run(command, input="", capture_output=True, text=True, check=False, timeout=DEADLINE_SECONDS)
    assert done.returncode == 2
    assert "has changed since" in json.loads(done.stdout.splitlines()[-1])["error"]


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (Verification(1.0, 1.00005, None), "verified: equal within 0.0001 nats"),
        (Verification(1.0, 1.25, None), r"not verified: kl_fresh by \+0.250000 nats differs"),
        (Verification(1.0, 1.0, 0.5), r"not verified: kl_string by -0.500000 nats differs"),
        (Verification(1.0, float("nan"), float("inf")), r"not verified: kl_fresh by .* and kl_string by .* differ "),
    ],
)
def test_the_verification_result_is_one_line(found: Verification, words: str) -> None:
    assert found.agrees == words.startswith("verified")
    assert re.match(words, found.result)


@given(first=st.binary(min_size=1, max_size=9), second=st.binary(min_size=1, max_size=9))
def test_a_digest_is_of_the_present_contents(
    first: bytes, second: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Also after a change that keeps size and time."""
    path = tmp_path_factory.mktemp("file") / "weights"
    path.write_bytes(first)
    status, before = path.stat(), file_sha256(path)
    path.write_bytes(second)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert (file_sha256(path) == before) == (first == second)


def test_a_digest_is_cached_until_the_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTPROMPT_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(fingerprint, "SETTLED_SECONDS", -3600.0)
    path, memory = tmp_path / "weights", fingerprint.paths.models_dir() / "fingerprints.json"  # type: ignore[attr-defined]
    path.write_bytes(b"one")
    digest = file_sha256(path)
    (entry,) = json.loads(memory.read_text()).values()
    assert entry[-1] == digest
    memory.write_text(json.dumps({str(path): [*entry[:-1], "0" * 64]}))
    assert file_sha256(path) == "0" * 64
    time.sleep(0.02)
    other = tmp_path / "other"
    other.write_bytes(b"two")
    os.utime(other, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    other.replace(path)
    changed = file_sha256(path)
    assert changed not in (digest, "0" * 64)
    memory.write_text(json.dumps({str(path): [*entry[:-1], "../somewhere"]}))
    assert file_sha256(path) == changed


def test_a_run_without_a_search_has_no_recorded_inputs(tmp_path: Path) -> None:
    run = create_run(RunSpec.model_validate({"target": {"family": "uniform"}}), tmp_path)
    assert read_inputs(run) is None
    check_inputs(run)
