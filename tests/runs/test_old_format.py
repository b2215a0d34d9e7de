"""Runs and sweeps that version 0.1 recorded, under the names that fields had then, open as new ones do."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import pytest

from distprompt_tui.reports.run_report import report_run
from distprompt_tui.runs.directory import RunDirectory
from distprompt_tui.runs.export import export_run
from distprompt_tui.runs.summary import summarise
from distprompt_tui.storage.legacy import NEW_NAMES
from distprompt_tui.sweeps.directory import read_lines
from distprompt_tui.sweeps.results import Row
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
    assert read_lines(path, Row) == [Row(**new)] * 2
