"""The line of a prompt that is known before the search, on a run's screen and in the terminal's reports."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from distprompt_tui.bounds.values import Bounds
from distprompt_tui.cli.report_console import print_run_report
from distprompt_tui.cli.tables import print_runs
from distprompt_tui.reports.run_report import report_run
from distprompt_tui.runs.directory import RunDirectory
from distprompt_tui.runs.schema import Witness
from distprompt_tui.runs.summary import summarise
from distprompt_tui.runs.witness import witness_text
from distprompt_tui.tui.app import DistPromptApp
from distprompt_tui.tui.run.divergence_plot import PlotData, references
from tests.tui.conftest import screen_text, until
from tests.tui.recording import Recorder

Make = Callable[..., DistPromptApp]

KNOWN = Witness(0.29, 12, "hard", "a text", tuple(range(12)))


def recorded_with(runs_dir: Path, witness: Witness | None) -> RunDirectory:
    recorder = Recorder(runs_dir)
    recorder.start(witness)
    recorder.bounds()
    recorder.steps(20)
    recorder.end()
    return recorder.run


def printed(show: Callable[..., None], *values: object) -> str:
    console = Console(file=io.StringIO(), width=100)
    show(console, *values)
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def test_only_a_longer_witness_has_its_length() -> None:
    assert witness_text(KNOWN, 12) == "0.290"
    assert witness_text(KNOWN, 11) == "0.290 (12 tokens)"
    assert witness_text(Witness(0.0, 1, "soft"), 0) == "0.000 (1 vector)"


def test_the_plot_of_forward_kl_has_the_line() -> None:
    data = PlotData(bounds=Bounds(head_optimum=0.1), witness=KNOWN, length=10)
    assert [line.label for line in references(data, "kl")] == ["head optimum 0.100", "witness (12) 0.290"]
    as_long = PlotData(witness=KNOWN, length=12)
    assert [line.label for line in references(as_long, "kl")] == ["witness 0.290"]
    assert references(data, "tv") == []
    assert [line.label for line in references(PlotData(), "kl")] == []


async def test_screen_and_reports_show_the_line(tmp_path: Path, app_on: Make) -> None:
    run = recorded_with(tmp_path / "runs", KNOWN)
    app = app_on(attach=run)
    async with app.run_test(size=(160, 50)) as pilot:
        await until(pilot, lambda: "witness (12) 0.290" in screen_text(app))
        assert "a known prompt reaches 0.290 (12 tokens)" in screen_text(app)
    report = printed(print_run_report, report_run(run))
    assert report.count("witness 0.290") == 2  # plot and result
    assert "witness 0.290 (12 tokens)" in report


async def test_without_a_witness_there_is_no_line(tmp_path: Path, app_on: Make) -> None:
    run = recorded_with(tmp_path / "runs", None)
    app = app_on(attach=run)
    async with app.run_test(size=(160, 50)) as pilot:
        await until(pilot, lambda: "head optimum 0.190" in screen_text(app))
        assert "witness" not in screen_text(app)
        assert "known prompt" not in screen_text(app)
    assert "witness" not in printed(print_run_report, report_run(run))


def test_the_list_of_runs_has_a_column_if_a_run_has_one(tmp_path: Path) -> None:
    run = recorded_with(tmp_path, None)
    assert "witness" not in printed(print_runs, [summarise(run)])
    run.manifest.write_text('{"witness": {"kl": 0.29}}')
    assert "witness" in printed(print_runs, [summarise(run)])
    assert "0.290" in printed(print_runs, [summarise(run)])
