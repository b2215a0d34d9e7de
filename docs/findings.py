"""Write the tables of `findings.md` anew, from the rows of sweeps in `findings/`.

python docs/findings.py

In `findings.md`, a table stands between `<!-- findings of NAME -->`, `<!-- peaks of NAME -->` or
`<!-- points of NAME -->` and `<!-- end -->`.
`NAME.csv` has its rows, which `distprompt-tui report SWEEP --csv NAME.csv` wrote.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args, get_type_hints

from distprompt_tui.config import paths
from distprompt_tui.reports import wording
from distprompt_tui.reports.sweep_report import sources_of
from distprompt_tui.sweeps.catalog import read_sweep
from distprompt_tui.sweeps.curves import panels
from distprompt_tui.sweeps.findings import Contrast, FindingResult, evaluate_finding
from distprompt_tui.sweeps.results import ResultRow
from distprompt_tui.sweeps.sweep_spec import Sweep
from distprompt_tui.text.formatting import signed

PAGE = Path(__file__).with_name("findings.md")
ROWS = Path(__file__).with_name("findings")

TESTED = ("difference, nats", "median", "p", "Holm p", "head optima alone", "excess alone", "output layer's share")
"""Columns of a difference."""

BLOCK = re.compile(r"(<!-- (findings|peaks|points) of (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def read_rows(path: Path) -> list[ResultRow]:
    """The rows of a sweep's table."""
    types = get_type_hints(ResultRow)

    def value(name: str, text: str) -> Any:
        kind = types[name]
        optional = get_args(kind)
        return None if optional and not text else (optional[0] if optional else kind)(text)

    with path.open(encoding="utf-8", newline="") as file:
        return [
            ResultRow(**{each.name: value(each.name, row[each.name]) for each in fields(ResultRow) if each.name in row})
            for row in csv.DictReader(file)
        ]


def sweep_of(name: str) -> Sweep:
    """The shipped sweep that a table's name starts with."""
    files = sorted((paths.shipped_presets_dir() / "sweeps").glob("*.toml"))
    return read_sweep(next(path for path in files if name.startswith(path.stem)))


def results(name: str) -> list[FindingResult]:
    """The results of a sweep's finding on its rows."""
    sweep = sweep_of(name)
    assert sweep.finding is not None
    return evaluate_finding(read_rows(ROWS / f"{name}.csv"), sweep.finding, sources_of(sweep))


def findings(name: str) -> Iterator[str]:
    """A line a difference that is tested: the effect, its test and its parts; the deciding one in bold."""
    yield f"| searched by | series | result | {' | '.join(TESTED)} |"
    yield "| --- | --- | --- " + "| --- " * len(TESTED) + "|"
    for result in results(name):
        for contrast in result.contrasts:
            cells = tested(contrast, is_bold=contrast is result.binding_contrast)
            yield f"| {result.setting.method} | {result.series} | {result.outcome} | {' | '.join(cells)} |"


def peaks(name: str) -> Iterator[str]:
    """A line a difference between the cross-fitted peak and an end of the grid."""
    yield f"| searched by | peak at, nats | result | {' | '.join(TESTED)} |"
    yield "| --- | --- | --- " + "| --- " * len(TESTED) + "|"
    for result in results(name):
        assert result.peak is not None
        where = ", ".join(f"{entropy:g}" for entropy, _ in result.peak.chosen)
        for contrast in result.peak.contrasts:
            cells = tested(contrast, is_bold=contrast is result.peak.binding_contrast)
            yield f"| {result.setting.method} | {where} | {result.peak.outcome} | {' | '.join(cells)} |"


def tested(contrast: Contrast, *, is_bold: bool) -> tuple[str, ...]:
    """The cells of a difference."""
    assert contrast.median is not None
    assert contrast.p_value is not None
    assert contrast.p_holm is not None
    whole = f"{wording.difference(contrast.kl)} ({contrast.name})"
    return (
        f"**{whole}**" if is_bold else whole,
        signed(contrast.median),
        wording.p_value(contrast.p_value),
        wording.p_value(contrast.p_holm),
        wording.difference(contrast.head_optimum),
        wording.difference(contrast.excess),
        "" if contrast.share is None else wording.share(contrast),
    )


def points(name: str) -> Iterator[str]:
    """A line a point of the grid."""
    yield f"| searched by | series | {' | '.join(wording.COLUMNS)} |"
    yield "| --- | --- " + "| --- " * len(wording.COLUMNS) + "|"
    for panel in panels(read_rows(ROWS / f"{name}.csv")):
        for curve in panel.curves:
            for point in curve.points:
                yield f"| {panel.setting.method} | {curve.series} | {' | '.join(wording.point_cells(point))} |"


def page() -> str:
    """`findings.md` with its tables made anew."""

    def block(match: re.Match[str]) -> str:
        table = {"findings": findings, "peaks": peaks, "points": points}[match[2]](match[3])
        return match[1] + "\n" + "\n".join(table) + "\n\n" + match[4]

    return BLOCK.sub(block, PAGE.read_text(encoding="utf-8"))


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
