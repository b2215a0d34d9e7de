"""The shipped sweeps of length, outliers and natural distributions, on tiny models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from distprompt_tui.core.config.validation import checked
from distprompt_tui.models.head import Head
from distprompt_tui.models.vocabulary import Vocabulary
from distprompt_tui.reports.figures import write_figures
from distprompt_tui.reports.sweep_report import SweepReport, make_report
from distprompt_tui.sweeps.catalog import load_sweep
from distprompt_tui.sweeps.execute import run_task
from distprompt_tui.sweeps.results import ResultRow
from distprompt_tui.sweeps.sweep_spec import Sweep
from distprompt_tui.sweeps.tasks import plan_tasks

NATS = 0.4  # factor of entropies: a tiny vocabulary allows less than 6 nats


def tiny(name: str, folder: Path, **fields: Any) -> Sweep:
    """Return a shipped sweep on a tiny model, with one target a point, few steps and lower entropies."""
    asked = load_sweep(name).with_models([str(folder)]).model_dump(mode="json", exclude_unset=True)
    for place, series in enumerate(asked["series"]):
        target = series["target"]
        if "tokens" in target:
            target["tokens"] = [5 + 4 * place + number for number in range(len(target["tokens"]))]
        if "entropy" in target:
            target["entropy"] *= NATS
    small: dict[str, Any] = {"targets": 1, "device": "cpu", "threads": 1, "quick": {}}
    small |= {"soft": {"steps": 2}, "hard": {"steps": 1, "width": 4, "initial_pool": 2}}
    return checked(asked | small | fields, Sweep)


def report_of(sweep: Sweep) -> SweepReport:
    rows: list[ResultRow] = []
    for task in plan_tasks(sweep):
        outcomes = run_task(task)
        assert [outcome.invalid for outcome in outcomes if outcome.row is None] == []
        rows += [outcome.row for outcome in outcomes if outcome.row is not None]
    assert len(rows) == sweep.search_count
    return make_report(sweep.name, sweep, rows, [], [])


def test_length(tiny_folders: dict[str, Path], tmp_path: Path) -> None:
    assert load_sweep("length").lengths == (1, 2, 4, 8, 16, 32)
    report = report_of(tiny("length", tiny_folders["llama"], lengths=[1, 3]))
    soft, hard = report.length_panels
    assert (soft.method, hard.method) == ("soft", "hard")
    assert soft.lengths == hard.lengths == [1, 3]
    assert len(soft.curves) == 5
    written = [path.name for path in write_figures(report, tmp_path)]
    assert sum("by-length" in name for name in written) == 4  # two methods as PNG and SVG


def test_natural_lm(tiny_folders: dict[str, Path]) -> None:
    report = report_of(tiny("natural-lm", tiny_folders["llama"]))
    known = {row.series: row.witness_kl for row in report.rows}
    assert known["lm, own entropy"] == pytest.approx(0, abs=1e-6)
    assert known["lm, 3 nats"] is not None
    assert known["shuffled, own entropy"] is known["shuffled, 3 nats"] is None
    natural, scaled = ([row.entropy for row in report.rows if row.series == name] for name in list(known)[:2])
    assert scaled == pytest.approx([3 * NATS] * 2, abs=1e-3)  # soft and hard
    assert abs(natural[0] - scaled[0]) > 0.1
    assert {(point.series, point.reference) for point in report.splits} >= {
        ("lm, own entropy", "soft"), ("lm, own entropy", "witness"), ("shuffled, 3 nats", "soft"),
    }  # fmt: skip


def test_outlier_controls(tiny_folders: dict[str, Path]) -> None:
    sweep = tiny("outlier-controls", tiny_folders["llama"], methods=["soft"], entropies=[2.4])
    report = report_of(sweep)
    alike, unlike = (
        {tuple(series.target["tokens"]) for series in load_sweep("outlier-controls").series if kind in series.name}
        for kind in ("alike:", "unlike,")
    )
    assert len(alike) == len(unlike) == 4
    assert sorted(token for group in alike for token in group) == sorted(t for group in unlike for t in group)
    assert len({token for group in alike for token in group}) == 16
    assert len({round(row.entropy, 3) for row in report.rows}) == 1
    deltas = [series.target["delta"] for series in sweep.series if "delta" in series.target]
    assert deltas == sorted(set(deltas))
    assert len(deltas) == 3


@pytest.mark.real_model
def test_alike_tokens_are_nearer_in_the_output_layer(smollm2_vocabulary: Vocabulary, smollm2_head: Head) -> None:
    """Every token is one token, and each alike group has a higher mean cosine than each unlike one."""
    means: dict[str, list[float]] = {"alike": [], "unlike": []}
    for series in load_sweep("outlier-controls").series:
        if "tokens" in series.target:
            ids = [smollm2_vocabulary.id_of(token) for token in series.target["tokens"]]
            rows = torch.nn.functional.normalize(smollm2_head.weight[ids].double(), dim=1)
            cosines = rows @ rows.T
            means[series.name.partition(":")[0].partition(",")[0]].append(float((cosines.sum() - 4) / 12))
    assert min(means["alike"]) > max(means["unlike"]) + 0.2
