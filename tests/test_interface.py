"""The Python interface: return values, errors, and a cheap import of the package."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import distprompt_tui as dp
from distprompt_tui.core.config.paths import models_dir, runs_dir

ROOT = Path(__file__).parents[1]
RECORDED = ROOT / "tests" / "runs" / "recorded"
TARGET = {"family": "outlier", "entropy": 3.0, "tokens": ["yes"]}


@pytest.fixture
def model(tiny_folders: dict[str, Path]) -> dp.LanguageModel:
    return dp.load_model(str(tiny_folders["llama"]), device="cpu", bos=False)


def test_all_public_names_exist() -> None:
    assert all(getattr(dp, name) is not None for name in dp.__all__)
    assert set(dp.__all__) <= set(dir(dp))
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = dp.no_such_name


def test_a_model_is_loaded_in_its_context(tiny_folders: dict[str, Path]) -> None:
    model = dp.load_model(str(tiny_folders["llama"]), device="cpu", prefix="yes", bos=False)
    assert model.prefix_ids == tuple(model.vocabulary.encode("yes"))
    assert model.next_token_logits(torch.tensor([[1, 2], [3, 4]])).shape == (2, model.vocab_size)


def test_a_target_is_built_from_a_table_or_a_preset(model: dp.LanguageModel, tmp_path: Path) -> None:
    target = dp.make_target(TARGET, model)
    assert target.probabilities.shape == (model.vocab_size,)
    assert target.entropy == pytest.approx(3.0, abs=1e-3)
    preset = tmp_path / "mine.toml"
    preset.write_text('[target]\nfamily = "outlier"\nentropy = 3.0\ntokens = ["yes"]\n')
    np.testing.assert_array_equal(dp.make_target(str(preset), model).probabilities, target.probabilities)


def test_a_target_can_use_the_model(model: dp.LanguageModel) -> None:
    target = dp.make_target({"family": "lm", "text": "yes or no"}, model)
    np.testing.assert_allclose(target.probabilities, model.next_token_probabilities("yes or no"), rtol=1e-12)


def test_bounds_are_below_every_divergence(model: dp.LanguageModel) -> None:
    target = dp.make_target(TARGET, model)
    bounds = dp.find_bounds(model, target)
    assert bounds.floor is not None
    assert bounds.head_optimum is not None
    search = dp.start_search(model, target, length=3, steps=3)
    assert bounds.floor <= bounds.head_optimum <= min(min(step.kls) for step in search.steps())


@pytest.mark.parametrize(("method", "kind"), [("soft", dp.SoftPrompt), ("hard", dp.HardPrompt)])
def test_a_search_advances_step_by_step(model: dp.LanguageModel, method: str, kind: type) -> None:
    target = dp.make_target(TARGET, model)
    search = dp.start_search(model, target, method, length=3, steps=4, seed=1)
    steps = search.steps()
    assert next(steps).index == 0
    first = search.best.kl
    assert [step.index for step in steps][-1] == 4
    assert search.best.kl <= first
    assert isinstance(search.best.prompt, kind)


def test_invalid_arguments_are_reported(model: dp.LanguageModel) -> None:
    target = dp.make_target(TARGET, model)
    with pytest.raises(dp.DistPromptError, match=r"search\.lenght is not a field; did you mean 'length'"):
        dp.start_search(model, target, lenght=5)
    with pytest.raises(dp.DistPromptError, match="no preset 'outlie'"):
        dp.make_target("outlie", model)
    with pytest.raises(dp.DistPromptError, match="dtype"):
        dp.load_model("smollm2", dtype="int8")


@pytest.mark.parametrize("name", ["soft-0.1", "hard-0.1"])
def test_a_run_opens_as_arrays(name: str) -> None:
    run = dp.open_run(RECORDED / name)
    assert run.spec.search.method == name.partition("-")[0]
    assert run.curve.step.shape == run.curve.kl.shape == run.curve.seconds.shape
    assert run.curve.best_kl[-1] == pytest.approx(run.state.best_kl, abs=1e-6)
    assert run.achieved is not None
    assert run.target.shape == run.achieved.shape
    log_q = np.log(run.achieved, where=run.target > 0, out=np.zeros_like(run.target))
    kl = float((run.target * (np.log(run.target, where=run.target > 0, out=np.zeros_like(log_q)) - log_q)).sum())
    assert kl == pytest.approx(run.state.best_kl, abs=1e-4)
    assert run.prompt is not None
    assert len(run.prompt) == run.spec.search.length


def test_a_damaged_run_is_rejected(tmp_path: Path) -> None:
    path = shutil.copytree(RECORDED / "soft-0.1", tmp_path / "run")
    (path / "achieved.npy").write_bytes(b"nothing")
    with pytest.raises(dp.DistPromptError, match=r"achieved\.npy cannot be read"):
        dp.open_run(path)


@pytest.mark.real_model
def test_the_readme_example_runs(
    smollm2_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "models").symlink_to(models_dir())
    monkeypatch.setenv("DISTPROMPT_HOME", str(tmp_path))  # with one run whose name contains "outlier"
    shutil.copytree(RECORDED / "soft-0.1", runs_dir() / "2026-01-01T00-00-00Z_outlier_smollm2_soft_0000")
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.DOTALL)
    names: dict[str, Any] = {}
    exec(example, names)
    assert names["search"].best.kl >= names["bounds"].head_optimum
    assert "nats" in capsys.readouterr().out
