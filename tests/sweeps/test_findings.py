"""The three shipped findings, and the report of a real sweep."""

from __future__ import annotations

import html
from pathlib import Path

import pytest

from distprompt_tui.core.text.terminal_text import visible_token
from distprompt_tui.reports.sweep_page import sweep_page
from distprompt_tui.reports.sweep_report import examples_of, report_sweep, sources_of
from distprompt_tui.sweeps.bootstrap import FEWEST_TARGETS
from distprompt_tui.sweeps.catalog import load_sweep
from distprompt_tui.sweeps.directory import SweepDirectory, SweepWriter, make_directory
from distprompt_tui.sweeps.findings import evaluate_finding
from distprompt_tui.sweeps.tasks import SearchOutcome, SweepSearch, all_searches
from tests.sweeps.factories import row

FINDINGS = ("finding-entropy", "finding-outliers", "finding-lm-targets")


def made_up_row(search: SweepSearch) -> SearchOutcome:
    """Make a row for a search; its divergence depends on the target alone."""
    family = search.spec.target.family
    fields = search.model_dump(include={"series", "entropy_asked", "target_index", "seed", "restart"})
    kl = {"vanilla": 4.0, "shuffled": 3.0}.get(family, 1.0) + 0.01 * search.target_index
    if family == "vanilla" and search.entropy_asked in (0.5, 10.5):
        kl = 0.2
    method, model, length = search.config
    made = row(**fields, family=family, model=model, method=method, length=length, kl=kl)
    return SearchOutcome(key=search.key, row=type(made)(**{**vars(made), "key": search.key}))


@pytest.mark.parametrize("quick", [True, False])
@pytest.mark.parametrize("name", FINDINGS)
def test_shipped_findings_have_enough_targets(name: str, quick: bool, tmp_path: Path) -> None:
    sweep = load_sweep(name)
    sweep = sweep.with_quick_overrides() if quick else sweep
    assert sweep.methods == ("soft", "hard")
    assert sweep.models == (("smollm2",) if quick else ("smollm2", "gemma3-270m"))
    assert sweep.targets >= (FEWEST_TARGETS if quick else 10)
    assert sweep.restarts >= 3
    directory = make_directory(sweep, tmp_path)
    SweepWriter(directory).commit(map(made_up_row, all_searches(sweep)))
    assert sweep.finding is not None
    findings = evaluate_finding(directory.read_rows(), sweep.finding, sources_of(sweep))
    expected = {"entropy": 1, "outliers": 2, "lm-targets": 2}[sweep.finding] * len(sweep.models) * 2
    assert [result.outcome for result in findings] == ["supported"] * expected
    assert not any(result.caveat for result in findings)


def test_finished_sweep_has_a_page(whole: SweepDirectory) -> None:
    report = report_sweep(whole)
    assert [str(panel.setting).split(", ", 1)[1] for panel in report.panels] == ["soft, 4 vectors", "hard, 4 tokens"]
    for panel in report.panels:
        for point in (point for curve in panel.curves for point in curve.points):
            assert point.floor is not None
            assert point.head_optimum is not None
            assert point.floor.value <= point.head_optimum.value + 1e-6
            assert point.floor.value <= point.kl.value + 1e-5
    page = sweep_page(report, whole.read_result)
    assert "The prompt was not stored." not in page
    for example in examples_of(report.rows, report.panels[0].setting):
        result = whole.read_result(example.row.key)
        assert html.escape(result["recipe"]) in page
        assert all(html.escape(visible_token(token["text"])) in page for token in result["prompt"])
