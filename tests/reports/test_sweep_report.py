"""Reports of sweeps with made-up rows, in the terminal and from the command."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from distprompt_tui.cli.report_console import print_sweep_report
from distprompt_tui.reports.sweep_page import sweep_page
from distprompt_tui.reports.sweep_report import examples_of, make_report, report_sweep
from distprompt_tui.sweeps.directory import SweepDirectory
from distprompt_tui.sweeps.results import SearchConfig
from tests.cli.test_commands import distprompt
from tests.reports.factories import completed_sweep, easier, example_sweep
from tests.sweeps.factories import row

OUTLIERS = [
    {"name": "vanilla", "target": {"family": "vanilla"}},
    {"name": "outlier, 1 token", "target": {"family": "outlier", "count": 1}},
]


def printed(directory: SweepDirectory, width: int = 100) -> str:
    """Return the report for a terminal without colours."""
    file = io.StringIO()
    print_sweep_report(Console(file=file, width=width, force_terminal=False), report_sweep(directory))
    return file.getvalue()


def test_report_has_findings_curves_points_and_failures(tmp_path: Path) -> None:
    directory = completed_sweep(example_sweep(), tmp_path, refuse=lambda search: search.entropy_asked == 10.5)
    text = printed(directory)
    assert text.count("✓ supported") + text.count("✗ not supported") + text.count("? inconclusive") == 2
    assert "smollm2, soft, 10 vectors: vanilla" in text
    assert "moderate − highest" in text
    assert "% [" in text
    assert "%] is due to the output layer" in text
    assert "peak chosen on other targets, at 6 nats: +" in text
    assert ", Holm p 0." in text
    assert "o vanilla   · head optimum of each" in text
    assert "no result for 12 searches: the entropy is out of reach <here>" in text
    assert "48 of 60 searches" in text
    assert "\x1b" not in text


def test_report_without_head_optima_has_no_split(tmp_path: Path) -> None:
    text = printed(completed_sweep(example_sweep(), tmp_path, with_limits=False))
    assert text.count("✓ supported") == 2
    assert text.count("no head optimum on this model: not split") == 2


def test_finding_that_is_not_supported(tmp_path: Path) -> None:
    sweep = example_sweep(finding="outliers", series=OUTLIERS, entropies=[3.0, 6.0])
    hard = completed_sweep(sweep, tmp_path, lambda search: 3.0 if search.spec.target.family == "outlier" else 1.0)
    text = printed(hard)
    assert text.count("✗ not supported") == 2
    assert "(at 3 −" in text


def test_texts_of_a_sweep_are_not_called_targets_of_a_population(tmp_path: Path) -> None:
    series = [{"name": name, "target": {"family": name}} for name in ("vanilla", "lm", "shuffled")]
    sweep = example_sweep(finding="lm-targets", series=series, texts=list("abcdef"), entropies=[3.0])
    text = printed(completed_sweep(sweep, tmp_path))
    assert text.count("; the 6 texts of this sweep") == 2
    assert text.count("no sample of a population") == 2
    random = printed(completed_sweep(example_sweep(), tmp_path))
    assert "texts of this sweep" not in random
    assert "population" not in random


def test_best_restart_is_reported(tmp_path: Path) -> None:
    """The later restarts of each search are worse."""
    once = report_sweep(completed_sweep(example_sweep(), tmp_path / "once"))
    directory = completed_sweep(example_sweep(restarts=3), tmp_path, lambda search: easier(search) + search.restart)
    report = report_sweep(directory)
    assert (len(report.rows), report.asked) == (180, 180)
    assert [row.restart for row in report.rows[:4]] == [0, 1, 2, 0]
    assert [result.missing for result in make_report("part", report.sweep, report.rows[1:], (), ()).findings] == [1, 0]
    for result, expected in zip(report.findings, once.findings, strict=True):
        effect, whole = result.effect("kl"), expected.effect("kl")
        assert effect is not None
        assert whole is not None
        assert (effect.value, effect.targets) == (pytest.approx(whole.value, abs=0.05), 6)
    assert "the best of 3 restarts counts" in printed(directory)
    assert "restarts per search" in sweep_page(report, directory.read_result)
    table = list(csv.DictReader(io.StringIO(written_table(directory))))
    assert [line["restart"] for line in table[:4]] == ["0", "1", "2", "0"]


def written_table(directory: SweepDirectory) -> str:
    directory.write_table()
    return directory.table.read_text()


def test_started_sweep_has_a_report(tmp_path: Path) -> None:
    directory = completed_sweep(example_sweep(), tmp_path, refuse=lambda search: True)
    assert "not tested: there are no results yet" in printed(directory)
    once = completed_sweep(example_sweep(targets=1, entropies=[3.0]), tmp_path)
    assert "needs results at three entropies, has 1" in printed(once)


def test_finding_on_a_part_is_preliminary(tmp_path: Path) -> None:
    """The hard search's results at the two highest entropies are missing: its curve only rises."""
    whole = report_sweep(completed_sweep(example_sweep(), tmp_path / "whole"))
    assert [result.word for result in whole.findings] == ["supported", "supported"]
    begun = [row for row in whole.rows if row.method == "soft" or (row.entropy_asked or 0) < 8]
    findings = make_report("begun", whole.sweep, begun, (), ()).findings
    assert [(result.word, result.missing) for result in findings] == [("supported", 0), ("not supported so far", 12)]


def test_sweep_without_finding(tmp_path: Path) -> None:
    text = printed(completed_sweep(example_sweep(finding=None), tmp_path))
    assert "Claim" not in text
    assert "smollm2, soft, 10 vectors" in text


def test_examples_are_best_median_and_worst() -> None:
    setting = SearchConfig("soft", "toy", 10)
    rows = [row(kl=kl, target_index=index) for index, kl in enumerate((3.0, 1.0, 2.0, 5.0, 4.0))]
    chosen = examples_of([*rows, replace(rows[0], model="other", kl=0.0)], setting)
    assert [(example.rank, example.row.kl) for example in chosen] == [("best", 1.0), ("median", 3.0), ("worst", 5.0)]
    assert [example.rank for example in examples_of(rows[:2], setting)] == ["best", "worst"]
    assert [example.rank for example in examples_of(rows[:1], setting)] == ["best"]
    assert examples_of([], setting) == []
    restarted = [replace(each, kl=each.kl + 10, restart=1) for each in rows]
    assert examples_of([*restarted, *rows], setting) == examples_of(rows, setting)


def test_command_prints_and_writes_all_formats(tmp_path: Path) -> None:
    directory = completed_sweep(example_sweep(), tmp_path / "sweeps")
    page, table, figures = tmp_path / "page.html", tmp_path / "table.csv", tmp_path / "figures"
    end = distprompt(
        *("report", "made-up", "--html", str(page), "--csv", str(table), "--figures", str(figures)),
        DISTPROMPT_HOME=str(tmp_path),
    )
    assert end.returncode == 0
    assert "✓ supported" in end.stdout
    assert page.read_text().startswith("<!doctype html>")
    assert len(list(csv.DictReader(table.open()))) == len(directory.read_rows())
    assert sorted(path.name for path in figures.iterdir()) == [
        f"made-up-smollm2-{method}.{ending}"
        for method in ("hard-10-tokens", "soft-10-vectors")
        for ending in ("png", "svg")
    ]


@pytest.mark.parametrize(
    ("arguments", "exit_code", "expected"),
    [
        (["report", "nothing-here"], 3, "no sweep 'nothing-here'"),
        (["report", "made-up", "--html", "/nowhere/page.html"], 2, "/nowhere/page.html cannot be written"),
    ],
)
def test_errors_are_one_line(arguments: list[str], exit_code: int, expected: str, tmp_path: Path) -> None:
    completed_sweep(example_sweep(targets=1, methods=["soft"]), tmp_path / "sweeps")
    end = distprompt(*arguments, DISTPROMPT_HOME=str(tmp_path))
    assert end.returncode == exit_code
    assert expected in end.stderr.strip().splitlines()[-1]
