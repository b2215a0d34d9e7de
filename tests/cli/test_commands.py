"""The command line as a process: streams, exit codes, and one line per error."""

from __future__ import annotations

import json
import math
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from distprompt_tui.core.config.target_specs import Explicit
from distprompt_tui.models.vocabulary import load_vocabulary
from distprompt_tui.targets import build_target
from tests.finished_runs import plain_kl
from tests.tui.recording import Recorder, recorded
from tests.waiting import DEADLINE_SECONDS

Result = subprocess.CompletedProcess[str]


def distprompt(*arguments: str, **environment: str) -> Result:
    """Run the command without a terminal."""
    return subprocess.run(
        [sys.executable, "-m", "distprompt_tui", *arguments],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env=os.environ | environment,
        check=False,
        timeout=DEADLINE_SECONDS,
    )


def one_line(result: Result) -> str:
    """Return the only line on stderr; fail if stdout is not empty."""
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("distprompt-tui: ")
    return line.removeprefix("distprompt-tui: ")


def run_json(*arguments: str) -> dict[str, Any]:
    """Return the one object that `run … --json` prints."""
    result = distprompt("run", *arguments, "--json")
    assert result.returncode == 0, result.stderr
    (line,) = result.stdout.splitlines()
    value: dict[str, Any] = json.loads(line)
    return value


def kl_of_saved_prompt(folder: Path, found: dict[str, Any]) -> float:
    """Compute the divergence of a run's saved prompt by plain transformers and NumPy in float64."""
    run = Path(found["run"])
    p = np.load(run / "target.npy")
    if found["method"] == "soft":
        vectors = load_file(run / "best" / "prompt.safetensors")["prompt_embeddings"].double()
        return plain_kl(folder, p, inputs_embeds=vectors)
    ids = json.loads((run / "best" / "prompt.json").read_text())["ids"]
    assert ids == found["prompt_ids"]
    return plain_kl(folder, p, input_ids=torch.tensor(ids))


@pytest.fixture
def preset(tmp_path: Path, tiny_folders: dict[str, Path]) -> str:
    """A preset on a tiny model."""
    path = tmp_path / "tiny.toml"
    path.write_text(
        f"""
        [target]
        family = "outlier"
        tokens = ["yes"]
        entropy = 3.0
        [model]
        name = "{tiny_folders["llama"]}"
        device = "cpu"
        [search]
        length = 4
        [budget]
        steps = 40
        """
    )
    return str(path)


@pytest.mark.parametrize("method", ["soft", "hard", "gcg"])
def test_run_prints_one_object_that_a_plain_forward_pass_confirms(
    preset: str, method: str, tiny_folders: dict[str, Path], tmp_path: Path
) -> None:
    found = run_json(preset, "--method", method, "--runs-dir", str(tmp_path / "runs"))
    assert found["kl"] == pytest.approx(kl_of_saved_prompt(tiny_folders["llama"], found), abs=1e-4)
    assert found["kl"] < 0.8 * found["uniform_kl"]
    assert found["uniform_kl"] == pytest.approx(math.log(400) - found["entropy_target"])
    assert (found["preset"], found["method"], found["reason"]) == ("tiny", method, "budget")
    assert Path(found["run"]).is_absolute()
    assert Path(found["run"]).parent == tmp_path / "runs"
    assert (found["prompt_ids"] is None) == (method == "soft")
    verified = distprompt("runs", "verify", found["run"], "--json")
    numbers = json.loads(verified.stdout)
    assert numbers["kl_fresh"] == pytest.approx(found["kl"], abs=1e-4)
    if method == "soft":
        assert found["kl_ids"] is found["kl_string"] is None
    else:
        assert numbers["kl_string"] == numbers["kl_fresh"]
        assert found["kl_ids"] == found["kl"]
        assert found["kl_string"] == pytest.approx(numbers["kl_string"], abs=1e-4)


def test_seed_determines_the_divergence_exactly(preset: str) -> None:
    first, again, other = (run_json(preset, "--seed", seed, "--steps", "15")["kl"] for seed in ("3", "3", "4"))
    assert first == again
    assert first != other


def test_run_without_json_prints_a_table(preset: str) -> None:
    result = distprompt("run", preset, "--steps", "5")
    assert result.returncode == 0, result.stderr
    assert "yes" in result.stdout
    assert "target" in result.stdout
    assert "█" in result.stdout or "▀" in result.stdout
    assert "\x1b" not in result.stdout


def test_budgets(preset: str) -> None:
    until = run_json(preset, "--until", "2.5", "--steps", "5000")
    assert until["reason"] == "target reached"
    assert until["kl"] <= 2.5
    assert run_json(preset, "--seconds", "0.5", "--steps", "1000000")["reason"] == "budget"
    missed = distprompt("run", preset, "--until", "0.0", "--steps", "2")
    assert missed.returncode == 4
    assert "above --until" in missed.stderr


def test_a_file_as_target(preset: str, tmp_path: Path, tiny_folders: dict[str, Path]) -> None:
    vocabulary = load_vocabulary(tiny_folders["llama"], 400)
    saved = []
    for ending in (".npy", ".json", ".csv"):
        file = str(tmp_path / f"target{ending}")
        result = distprompt("target", preset, "--save", file)
        assert result.returncode == 0, result.stderr
        saved.append(build_target(Explicit(file=file), vocabulary).probabilities)
    for other in saved[1:]:
        np.testing.assert_allclose(other, saved[0], rtol=1e-12)
    model = ("--model", str(tiny_folders["llama"]), "--set", "model.device=cpu")
    found = run_json("--target", file, *model, "--steps", "3")
    assert found["entropy_target"] == pytest.approx(3.0, abs=1e-3)
    assert found["preset"] == "target"


def test_floor(preset: str) -> None:
    result = distprompt("floor", preset, "--json")
    assert result.returncode == 0, result.stderr
    numbers = json.loads(result.stdout)
    assert 0 <= numbers["floor"] <= min(numbers["head_optimum"], numbers["uniform_kl"])
    assert numbers["agreement"] >= 0.5
    assert numbers["gap"] <= 1e-4
    again = json.loads(distprompt("floor", preset, "--json").stdout)
    assert again == numbers  # cached, with its seconds


@pytest.mark.parametrize(
    ("arguments", "exit_code", "expected"),
    [
        (["run", "outlyer"], 3, "no preset 'outlyer'; did you mean 'outlier'"),
        (["run"], 2, "name a preset or give a --target file"),
        (["run", "outlier", "--target", "x.npy"], 2, "but not both"),
        (["run", "--target", "nowhere.npy"], 3, "no target file nowhere.npy"),
        (["run", "outlier", "--model", "smolm2"], 3, "no model 'smolm2'; did you mean 'smollm2'"),
        (["run", "outlier", "--set", "search.lrr=1"], 2, "search.lrr is not a field; did you mean 'lr'"),
        (["run", "outlier", "--set", "search.length=0"], 2, "search.length: it should be greater than"),
        (["presets", "check", "nowhere.toml"], 3, "no preset file nowhere.toml"),
        (["attach", "nothing"], 3, "no run 'nothing'"),
        (["--preset", "outlier"], 2, "the app needs a terminal; 'distprompt-tui run PRESET' searches without one"),
        (["--steps", "5"], 2, "need a --preset"),
        (["--preset", "outlier", "--read-only"], 2, "--preset starts a search, which --read-only forbids"),
    ],
)
def test_errors_are_one_line(arguments: list[str], exit_code: int, expected: str, tmp_path: Path) -> None:
    result = distprompt(*arguments, DISTPROMPT_HOME=str(tmp_path))
    assert expected in one_line(result)
    assert result.returncode == exit_code


def test_errors_that_depend_on_the_model(preset: str, tiny_folders: dict[str, Path], tmp_path: Path) -> None:
    wrong = {
        'target.tokens=["banana split"]': "is not one token for this model but",
        "target.entropy=50": "entropy",
        "model.device=cuda:7": "no device 'cuda:7' on this machine; it has: ",
        "search.length=65": "65 prompt tokens and 0 of context are too many",
    }
    for change, expected in wrong.items():
        result = distprompt("run", preset, "--set", change)
        assert expected in one_line(result), change
        assert result.returncode == (2 if change.startswith("target") else 1), change
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "config.json").write_text((tiny_folders["llama"] / "config.json").read_text())
    assert "has no *.safetensors" in one_line(distprompt("run", preset, "--model", str(bare)))


def test_lists(tmp_path: Path) -> None:
    assert "outlier" in distprompt("presets").stdout
    assert "smollm2" in distprompt("models").stdout
    assert distprompt("runs", DISTPROMPT_HOME=str(tmp_path)).returncode == 0
    assert distprompt("--version").stdout.startswith("distprompt-tui ")


def test_runs_are_listed_and_deleted_after_confirmation(tmp_path: Path) -> None:
    home = {"DISTPROMPT_HOME": str(tmp_path)}
    runs = tmp_path / "runs"
    run = recorded(runs)
    listed = json.loads(distprompt("runs", "list", "--json", **home).stdout)
    (line,) = listed["runs"]
    assert (line["run"], line["state"], line["steps"]) == (str(run.path), "budget", 40)
    assert run.name in distprompt("runs", **home).stdout
    assert "--yes deletes without a question" in one_line(distprompt("runs", "delete", run.name, **home))
    living = Recorder(runs)
    with living.living_worker():
        refused = distprompt("runs", "delete", living.run.name, "--yes", **home)
    assert refused.returncode == 2
    assert "is running" in one_line(refused)
    assert distprompt("runs", "delete", run.name, "--yes", **home).stdout == f"deleted {run.name}\n"
    assert [path.name for path in runs.iterdir()] == [living.run.name]


def test_doctor_reports_without_secrets(tmp_path: Path) -> None:
    """No environment values, and no path under the user's home, which a prepared model has as its name."""
    folder = tmp_path / "models" / "0"
    folder.mkdir(parents=True)
    source = {"name": f"{tmp_path}/mine.gguf", "title": "mine", "parameters": 1, "vocab_size": 1, "file": "mine.gguf"}
    (folder / "source.json").write_text(json.dumps(source))
    secrets = {name: f"s3cret-{name}" for name in ("SOME_TOKEN", "HF_TOKEN", "SSH_CONNECTION", "AWS_SECRET", "USER")}
    result = distprompt("doctor", DISTPROMPT_HOME=str(tmp_path), HOME=str(tmp_path), TERM="dumb", **secrets)
    assert result.returncode == 0, result.stderr
    for word in ("distprompt-tui", "torch", "device", "dumb", "smollm2", "GiB free", "~/mine.gguf"):
        assert word in result.stdout
    assert "s3cret" not in result.stdout
    assert str(tmp_path) not in result.stdout
    assert platform.node() not in result.stdout.split()


@pytest.mark.real_model
@pytest.mark.parametrize(("method", "steps", "share"), [("soft", 50, 0.2), ("hard", 8, 0.5)])
def test_outlier_preset_on_the_real_model(method: str, steps: int, share: float, smollm2_folder: Path) -> None:
    found = run_json("outlier", "--method", method, "--steps", str(steps))
    assert found["kl"] < share * found["uniform_kl"]
    assert found["kl"] == pytest.approx(kl_of_saved_prompt(smollm2_folder, found), abs=1e-4)
    assert found["floor"] <= found["head_optimum"]
    assert found["kl"] >= found["floor"] - 1e-5
