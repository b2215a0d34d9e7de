"""Figures for papers and pages."""

from __future__ import annotations

from pathlib import Path

import pytest

from distprompt_tui.reports.figures import write_figures
from distprompt_tui.reports.sweep_report import report_sweep
from tests.reports.factories import completed_sweep, example_sweep

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.mark.parametrize("with_limits", [True, False])
@pytest.mark.parametrize(("entropies", "axis"), [((0.5, 3.0, 6.0), "entropy of the target"), ((3.0,), "KL")])
def test_each_setting_has_a_png_and_an_svg(
    tmp_path: Path, entropies: tuple[float, ...], axis: str, with_limits: bool
) -> None:
    """Curves over the entropy; bars for a single entropy."""
    sweep = example_sweep(methods=["soft"], entropies=entropies)
    report = report_sweep(completed_sweep(sweep, tmp_path, with_limits=with_limits))
    png, svg = write_figures(report, tmp_path / "figures")
    assert png.read_bytes().startswith(PNG)
    text = svg.read_text()
    assert "smollm2, soft, 10 vectors" in text
    assert "vanilla" in text
    assert axis in text
    first = svg.read_bytes()
    write_figures(report, tmp_path / "figures")
    assert svg.read_bytes() == first  # equal figures give equal files
