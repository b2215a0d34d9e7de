"""Runs and sweeps recorded by version 0.1, with the old names of fields, can still be opened."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import pytest

from distprompt_tui.core.config.search_specs import Hard
from distprompt_tui.core.config.spec import RunSpec
from distprompt_tui.core.config.target_specs import Explicit, Mixture
from distprompt_tui.core.storage.legacy import NEW_NAMES, SETTING_VALUES
from distprompt_tui.reports.run_report import report_run
from distprompt_tui.runs.directory import RunDirectory
from distprompt_tui.runs.export import export_run
from distprompt_tui.runs.summary import summarise
from distprompt_tui.sweeps.catalog import load_sweep
from distprompt_tui.sweeps.directory import read_lines
from distprompt_tui.sweeps.results import ResultRow
from distprompt_tui.sweeps.sweep_spec import Sweep
from distprompt_tui.sweeps.tasks import all_searches, spec_key
from distprompt_tui.tui.settings import read_settings
from tests.sweeps.factories import row

RECORDED = Path(__file__).with_name("recorded")


@pytest.fixture(params=["hard-0.1", "soft-0.1"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> RunDirectory:
    return RunDirectory(shutil.copytree(RECORDED / request.param, tmp_path / request.param))


def test_a_recorded_run_opens_with_all_its_numbers(run: RunDirectory) -> None:
    written = json.loads(run.result.read_text())
    summary, report = summarise(run), report_run(run)
    assert summary.best_kl == written["kl"]
    assert summary.head_optimum == written["head_limit"]
    assert summary.excess == pytest.approx(written["left"])
    assert report.state.gap_closed == pytest.approx(written["closed"])
    assert report.state.uniform_kl == written["uniform"]
    assert (report.result["excess"], report.result["uniform_kl"]) == (written["left"], written["uniform"])
    assert report.state.snapshot is not None
    surprisals = [token.surprisal for token in report.state.snapshot.prompt]
    assert any(value is not None for value in surprisals) == run.name.startswith("hard")


def test_a_recorded_run_is_exported_under_the_new_names(run: RunDirectory, tmp_path: Path) -> None:
    path = export_run(run, "json", tmp_path / "out.json")
    assert json.loads(Path(path).read_text())["result"]["head_optimum"] is not None


def test_rows_of_a_sweep_are_read_under_either_name(tmp_path: Path) -> None:
    old_names = {new: old for old, new in NEW_NAMES.items()}
    new = asdict(row())
    old = {old_names.get(name, name): value for name, value in new.items()}
    path = tmp_path / "rows.jsonl"
    path.write_text(f"{json.dumps(old)}\n{json.dumps(new)}\n")
    assert read_lines(path, ResultRow) == [ResultRow(**new)] * 2


OLD_SPEC = {
    "target": {
        "family": "mixture",
        "parts": [{"weight": 1.0, "target": {"family": "explicit", "masses": {"bank": 0.5}}}],
    },
    "search": {"method": "hard", "init": "bank", "bank": 8, "fluency": 0.1, "kick": 3, "screen": False, "shorten": 0.2},
}
"""With the names of version 0.1; `bank` is a token too."""


def test_a_spec_is_read_under_its_old_names() -> None:
    spec = RunSpec.model_validate(OLD_SPEC)
    assert isinstance(spec.target, Mixture)
    assert spec.target.parts[0].target == Explicit(probabilities={"bank": 0.5})
    assert spec.search == Hard(
        init="initial_pool", initial_pool=8, fluency_weight=0.1, perturbation=3, draft=False, prune=0.2
    )


def test_the_digests_of_specs_and_sweeps_do_not_change_with_names() -> None:
    """Digests of version 0.1, so that its sweeps can be continued in their folders with their rows."""
    assert spec_key(RunSpec.model_validate(OLD_SPEC)) == "5fb900fa0f30a48b"
    shipped = load_sweep("finding-outliers").with_models(["gemma3-270m"]).with_quick_overrides()
    sweep = shipped.model_copy(update={"restarts": 1})  # as in that version
    assert spec_key(RunSpec.model_validate(OLD_SPEC | {"witness": "a text"})) == "5fb900fa0f30a48b"
    assert sweep.folder_name == "finding-outliers-4831c630ca"
    assert all_searches(sweep)[0].key == "8865b7089043c8d3"
    hard = {search.key for search in all_searches(sweep) if search.spec.search.method == "hard"}
    recorded = sweep.hard.model_copy(update={"width": 24, "chains": 1})  # what its `sweep.toml` is read as
    assert {search.key for search in all_searches(sweep.model_copy(update={"hard": recorded}))} >= hard
    quick = {"hard": {"kick": 5, "steps": 3}}
    series = [{"name": "v", "target": {"family": "vanilla"}}]
    named = Sweep.model_validate({"name": "s", "series": series, "entropies": [2.0], "quick": quick})
    assert named.with_quick_overrides().hard.perturbation == 5


@pytest.mark.parametrize(("old", "new"), SETTING_VALUES.items())
def test_settings_are_read_under_their_old_names(old: str, new: str, tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text(f'token_order = "{old}"\n')
    assert read_settings(path).token_order == new
