"""Write the tables of `findings.md` anew, from the rows of sweeps in `findings/`.

python docs/findings.py

In `findings.md`, a table stands between `<!-- KIND of NAME -->` and `<!-- end -->`; KIND is findings, peaks, points,
split or witnesses. `NAME.csv` has its rows, which `distprompt-tui report SWEEP --csv NAME.csv` wrote. If there is a
`NAME-witness.csv`, it has the witnesses of rows from before they had them; `tests/benchmarks/witness.py` wrote it.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args, get_type_hints

from distprompt_tui.core.config import paths
from distprompt_tui.core.text.formatting import nats, signed
from distprompt_tui.reports import split_points, wording
from distprompt_tui.reports.sweep_report import sources_of
from distprompt_tui.sweeps.catalog import read_sweep
from distprompt_tui.sweeps.curves import panels
from distprompt_tui.sweeps.findings import Contrast, FindingResult, evaluate_finding
from distprompt_tui.sweeps.results import ResultRow
from distprompt_tui.sweeps.sweep_spec import Sweep

PAGE = Path(__file__).with_name("findings.md")
ROWS = Path(__file__).with_name("findings")

TESTED = ("difference, nats", "median", "p", "Holm p", "head optima alone", "excess alone", "output layer's share")
"""Columns of a difference."""

BLOCK = re.compile(r"(<!-- (findings|peaks|points|split|witnesses) of (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def read_rows(path: Path) -> list[ResultRow]:
    """The rows of a sweep's table."""
    types = get_type_hints(ResultRow)

    def value(name: str, text: str) -> Any:
        kind = types[name]
        optional = get_args(kind)
        return None if optional and not text else (optional[0] if optional else kind)(text)

    known = {target_of(row): row for row in read_csv(path.with_name(f"{path.stem}-witness.csv"))}
    return [
        ResultRow(**{each.name: value(each.name, whole[each.name]) for each in fields(ResultRow) if each.name in whole})
        for row in read_csv(path)
        for whole in [known.get(target_of(row), {}) | row]
    ]


def target_of(row: dict[str, str]) -> tuple[str, str, str]:
    """What names a target of one model's table."""
    return row["series"], row["entropy_asked"], row["target_index"]


def read_csv(path: Path) -> list[dict[str, str]]:
    """The lines of a table; none if there is no file."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


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
    found = panels(read_rows(ROWS / f"{name}.csv"))
    columns = wording.columns_of(point for panel in found for curve in panel.curves for point in curve.points)
    yield f"| searched by | series | {' | '.join(columns)} |"
    yield "| --- | --- " + "| --- " * len(columns) + "|"
    for panel in found:
        for curve in panel.curves:
            for point in curve.points:
                cells = wording.point_cells(point, columns)
                yield f"| {panel.setting.method} | {curve.series} | {' | '.join(cells)} |"


def split(name: str) -> Iterator[str]:
    """A line a split of hard prompts by a reference."""
    yield f"| series | {' | '.join(split_points.COLUMNS)} |"
    yield "| --- " + "| --- " * len(split_points.COLUMNS) + "|"
    for point in split_points.split_points(read_rows(ROWS / f"{name}.csv")):
        yield f"| {point.series} | {' | '.join(split_points.split_cells(point))} |"


def witnesses(name: str) -> Iterator[str]:
    """A line a target with a witness: the text's length, its divergence, and that of the hard prompt."""
    rows = [row for row in read_rows(ROWS / f"{name}.csv") if row.method == "hard" and row.witness_kl is not None]
    yield "| series | target | tokens of the text | witness | hard prompt | the lower one |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for row in sorted(rows, key=lambda row: (row.series, row.target_index)):
        assert row.witness_kl is not None
        lower = "witness" if row.witness_kl < row.kl else "hard prompt"
        cells = (row.series, str(row.target_index), str(row.witness_length), nats(row.witness_kl), nats(row.kl), lower)
        yield f"| {' | '.join(cells)} |"


def page() -> str:
    """`findings.md` with its tables made anew."""

    def block(match: re.Match[str]) -> str:
        tables = {"findings": findings, "peaks": peaks, "points": points, "split": split, "witnesses": witnesses}
        table = tables[match[2]](match[3])
        return match[1] + "\n" + "\n".join(table) + "\n\n" + match[4]

    return BLOCK.sub(block, PAGE.read_text(encoding="utf-8"))


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
