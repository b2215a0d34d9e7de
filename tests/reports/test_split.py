"""The split of hard prompts in three, and curves over the length of the prompt."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from distprompt_tui.cli.report_console import print_sweep_report
from distprompt_tui.reports.figures import write_figures
from distprompt_tui.reports.split import parts, split_line
from distprompt_tui.reports.split_points import COLUMNS, split_cells, split_points
from distprompt_tui.reports.sweep_page import sweep_page
from distprompt_tui.reports.sweep_report import SweepReport, make_report
from distprompt_tui.reports.wording import columns_of, point_cells
from distprompt_tui.sweeps.curves import length_panels, panels
from distprompt_tui.sweeps.results import ResultRow
from tests.reports.factories import example_sweep
from tests.sweeps.factories import row

nats_ = st.floats(0, 20)


@given(nats_, nats_, nats_)
def test_the_parts_sum_to_the_divergence(hard: float, optimum: float, reference: float) -> None:
    split = parts(hard, optimum, reference)
    assert sum(split) == pytest.approx(hard, abs=1e-12)
    assert split[0] == optimum


def test_the_line_of_a_run() -> None:
    line = split_line(0.838, 0.001, 0.29, "witness", 80)
    assert line == "head optimum 0.001 | witness − head optimum 0.289 | hard − witness 0.548"
    assert split_line(0.838, 0.001, 0.29, "witness", 60) == "head optimum 0.001 | witness 0.289 | hard 0.548"


def lm_rows(targets: int = 6) -> list[ResultRow]:
    """Make rows of an `lm` series with soft and hard prompts, and of a `vanilla` series without a witness."""
    generator, made = np.random.default_rng(0), []
    for target in range(targets):
        hard, soft, witness = (scale + float(generator.uniform(0, 0.1)) for scale in (0.8, 0.05, 0.2))
        lm = {"series": "lm", "family": "lm", "target_index": target, "head_optimum": 0.01, "witness_kl": witness}
        made += [row(**lm, method="hard", kl=hard), row(**lm, method="soft", kl=soft)]
        made.append(row(target_index=target, method="hard", kl=hard + 1))
    return made


def test_means_of_the_parts_are_those_of_the_targets() -> None:
    rows = lm_rows()
    soft, witness = split_points(rows)
    assert [(point.series, point.reference, point.hard.targets) for point in (soft, witness)] == [
        ("lm", "soft", 6), ("lm", "witness", 6),
    ]  # fmt: skip
    hard = np.array([one.kl for one in rows if (one.series, one.method) == ("lm", "hard")])
    known = np.array([one.witness_kl for one in rows if (one.series, one.method) == ("lm", "hard")])
    softs = np.array([one.kl for one in rows if one.method == "soft"])
    assert witness.search.value == pytest.approx(float((hard - known).mean()))
    assert soft.search.value == pytest.approx(float((hard - softs).mean()))
    assert soft.prompt.value == pytest.approx(float(softs.mean()) - 0.01)
    for point in (soft, witness):
        total = point.head_optimum.value + point.prompt.value + point.search.value
        assert total == pytest.approx(point.hard.value)
        assert point.search.low is not None
        assert point.search.low > 0
        assert len(split_cells(point)) == len(COLUMNS)


def test_targets_without_all_values_are_left_out() -> None:
    rows = [one for one in lm_rows() if (one.method, one.target_index) != ("soft", 2)]
    assert [point.hard.targets for point in split_points(rows)] == [5, 6]
    assert split_points([one for one in rows if one.method == "soft"]) == ()
    assert split_points([row(**{**vars(one), "head_optimum": None}) for one in rows]) == ()


def test_only_tables_with_a_witness_have_its_column() -> None:
    by_method = {panel.setting.method: panel for panel in panels(lm_rows())}
    lm, vanilla = by_method["hard"].curves
    assert columns_of(vanilla.points)[-1] == "uniform"
    assert columns_of([*vanilla.points, *lm.points])[-2:] == ("uniform", "witness")
    narrow = columns_of(lm.points, narrow=True)
    assert "uniform" not in narrow
    assert point_cells(lm.points[0], narrow, narrow=True)[-1].startswith("0.2")
    assert point_cells(vanilla.points[0], narrow)[-1] == "—"
    assert point_cells(vanilla.points[0])[-1] == "5.000"


def length_rows(lengths: tuple[int, ...] = (1, 2, 8), optimum: float | None = 0.1) -> list[ResultRow]:
    return [
        row(method=method, length=length, target_index=target, kl=0.2 + 1 / length + target / 100, head_optimum=optimum)
        for method in ("soft", "hard")
        for length in lengths
        for target in range(6)
    ]


def report_of(rows: list[ResultRow], **fields: object) -> SweepReport:
    return make_report("made-up-0", example_sweep(finding=None, **fields), rows, [], [])


def printed(report: SweepReport) -> str:
    console = Console(file=io.StringIO(), width=80)
    print_sweep_report(console, report)
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def test_curves_over_the_length() -> None:
    soft, hard = length_panels(length_rows())
    assert [str(panel) for panel in (soft, hard)] == ["toy, soft", "toy, hard"]
    assert soft.lengths == [1, 2, 8]
    ((name, points),) = soft.curves
    assert name == "vanilla"
    excesses = [point.excess.value for _, point in points if point.excess is not None]
    assert excesses == pytest.approx([0.1 + 1 / length + 0.025 for length in (1, 2, 8)])
    assert length_panels(length_rows((8,))) == []


def test_several_entropies_give_a_curve_each() -> None:
    rows = [row(length=length, entropy_asked=asked) for length in (1, 2) for asked in (2.0, 4.0)]
    (panel,) = length_panels(rows)
    assert [name for name, _ in panel.curves] == ["vanilla, 2 nats", "vanilla, 4 nats"]


@pytest.mark.parametrize("optimum", [0.1, None])
def test_reports_have_the_curves_over_the_length(optimum: float | None, tmp_path: Path) -> None:
    report = report_of(length_rows(optimum=optimum), lengths=[1, 2, 8])
    text = printed(report)
    what = "excess" if optimum is not None else "KL"
    assert f"toy, soft: {what} in nats by length of the prompt" in text
    assert max(map(len, text.splitlines())) <= 80
    page = sweep_page(report, lambda key: {})
    assert "By length of the prompt" in page
    figures = {path.name: path for path in write_figures(report, tmp_path)}
    svg = figures["made-up-toy-soft-by-length.svg"].read_text()
    assert "length of the prompt (vectors)" in svg
    assert ("excess (nats)" in svg) == (optimum is not None)


def test_reports_have_witness_and_split(tmp_path: Path) -> None:
    report = report_of(lm_rows())
    text = printed(report)
    assert "witness" in text
    assert "Hard prompts: KL = head optimum + (reference − optimum) + (hard − reference)" in text
    assert max(map(len, text.splitlines())) <= 80
    page = sweep_page(report, lambda key: {})
    assert "Parts of the divergence of hard prompts" in page
    assert page.count("witness") > 3
    figures = {path.name: path for path in write_figures(report, tmp_path)}
    assert "witness" in figures["made-up-toy-hard-10-tokens.svg"].read_text()
    without = report_of([one for one in lm_rows() if one.series == "vanilla"])
    assert without.splits == ()
    assert "Parts of the divergence" not in sweep_page(without, lambda key: {})
