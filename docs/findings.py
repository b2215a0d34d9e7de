"""Write the tables of `findings.md` anew, from the rows of sweeps in `findings/`.

python docs/findings.py

In `findings.md`, a table stands between `<!-- findings of NAME -->` or `<!-- points of NAME -->` and `<!-- end -->`.
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
from distprompt_tui.sweeps.findings import evaluate_finding
from distprompt_tui.sweeps.results import ResultRow
from distprompt_tui.sweeps.sweep_spec import Sweep
from distprompt_tui.text.formatting import percent

PAGE = Path(__file__).with_name("findings.md")
ROWS = Path(__file__).with_name("findings")

BLOCK = re.compile(r"(<!-- (findings|points) of (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def read_rows(path: Path) -> list[ResultRow]:
    """The rows of a sweep's table."""
    types = get_type_hints(ResultRow)

    def value(name: str, text: str) -> Any:
        kind = types[name]
        optional = get_args(kind)
        return None if optional and not text else (optional[0] if optional else kind)(text)

    with path.open(encoding="utf-8", newline="") as file:
        return [
            ResultRow(**{each.name: value(each.name, row.get(each.name, "")) for each in fields(ResultRow)})
            for row in csv.DictReader(file)
        ]


def sweep_of(name: str) -> Sweep:
    """The shipped sweep that a table's name starts with."""
    files = sorted((paths.shipped_presets_dir() / "sweeps").glob("*.toml"))
    return read_sweep(next(path for path in files if name.startswith(path.stem)))


def findings(name: str) -> Iterator[str]:
    """A line a result: the effect, and its parts."""
    sweep = sweep_of(name)
    yield "| searched by | series | result | effect, nats | head optima alone | excess alone | output layer's share |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    assert sweep.finding is not None
    for result in evaluate_finding(read_rows(ROWS / f"{name}.csv"), sweep.finding, sources_of(sweep)):
        binding_contrast = result.binding_contrast
        assert binding_contrast is not None
        effects = (result.effect("kl"), binding_contrast.head_optimum, binding_contrast.excess)
        whole, head_optimum, left = map(wording.difference, effects)
        share = "" if binding_contrast.share is None else percent(binding_contrast.share)
        cells = (
            result.setting.method,
            result.series,
            result.outcome,
            f"{whole} ({binding_contrast.name})",
            head_optimum,
            left,
            share,
        )
        yield f"| {' | '.join(cells)} |"


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
        table = {"findings": findings, "points": points}[match[2]](match[3])
        return match[1] + "\n" + "\n".join(table) + "\n\n" + match[4]

    return BLOCK.sub(block, PAGE.read_text(encoding="utf-8"))


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
