"""Text for numbers and findings, shared by the terminal and the pages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from distprompt_tui.text.formatting import counted, duration, nats, percent, signed, size

if TYPE_CHECKING:
    from distprompt_tui.reports.sweep_report import SweepReport
    from distprompt_tui.sweeps.bootstrap import MeanCI
    from distprompt_tui.sweeps.curves import Point
    from distprompt_tui.sweeps.findings import Contrast, FindingResult

SIGNS = {"supported": "✓", "not supported": "✗", "inconclusive": "?", "not tested": "–"}

MARKERS = "oxv+sd"  # a letter per series, so that series are distinguishable without colours

COLUMNS = ("entropy", "targets", "KL", "head optimum", "excess", "floor", "uniform")
"""Columns of the table of points: means in nats; KL and excess with intervals."""

WITNESS = "witness"


def average(value: MeanCI | None) -> str:
    """Format a mean with its interval, if it has one: `1.932 [1.801, 2.053]`."""
    if value is None:
        return "—"
    return nats(value.value) + ("" if value.low is None else f" [{nats(value.low)}, {nats(value.high)}]")


def difference(value: MeanCI | None) -> str:
    """Format a difference with its interval: `+1.93 [+1.80, +2.05]`."""
    if value is None:
        return "—"
    ends = "" if value.low is None or value.high is None else f" [{signed(value.low)}, {signed(value.high)}]"
    return signed(value.value) + ends


def columns_of(points: Iterable[Point], *, narrow: bool = False) -> tuple[str, ...]:
    """Return the columns of a table of points; with the witness, in a narrow one in place of the uniform baseline."""
    if all(point.witness_kl is None for point in points):
        return COLUMNS
    return (*(COLUMNS[:-1] if narrow else COLUMNS), WITNESS)


def point_cells(point: Point, columns: Sequence[str] = COLUMNS, *, narrow: bool = False) -> tuple[str, ...]:
    """Format a row of the table of points; a narrow one omits the interval of the excess."""
    entropy = f"{point.entropy:g}" if point.asked is not None else f"{point.entropy:.2f} as made"
    averages = (point.head_optimum, point.excess, point.floor, point.uniform_kl, point.witness_kl)
    head_optimum, excess, floor, uniform_kl, witness = (nats(value.value if value else None) for value in averages)
    if not narrow:
        excess = average(point.excess)
    cells = (entropy, str(point.kl.targets), average(point.kl), head_optimum, excess, floor, uniform_kl, witness)
    by_name = dict(zip((*COLUMNS, WITNESS), cells, strict=True))
    return tuple(by_name[name] for name in columns)


def short_effect_line(result: FindingResult) -> str:
    effect = result.effect("kl")
    return (
        result.untested_reason if effect is None else f"{difference(effect)} nats, {counted(effect.targets, 'target')}"
    )


def effect_line(result: FindingResult) -> str:
    """Format effect, deciding contrast and number of targets, or the reason why there is no effect."""
    effect, binding_contrast = result.effect("kl"), result.binding_contrast
    if effect is None or binding_contrast is None:
        return result.untested_reason
    of = binding_contrast.name if len(result.contrasts) == 1 else f"the smaller difference, {binding_contrast.name}"
    return f"{difference(effect)} nats: {of}; {counted(effect.targets, 'target')}"


def finding_lines(result: FindingResult) -> list[str]:
    lines = [effect_line(result)]
    if result.binding_contrast is not None:
        lines += [*contrast_lines(result), split_line(result.binding_contrast), component_line(result), result.caveat]
    return [line for line in lines if line]


def contrast_lines(result: FindingResult) -> list[str]:
    """Format each difference over all entropies and at each entropy, unless the effect line already contains it."""
    lines = []
    for contrast in result.contrasts:
        parts = [
            f"{'as made' if asked is None else f'at {asked:g}'} {difference(one.kl)}"
            for asked, one in result.by_entropy
            if one.name == contrast.name
        ]
        values = f" ({', '.join(parts)})" if len(parts) > 1 else ""
        if values or len(result.contrasts) > 1:
            lines.append(f"{contrast.name}: {difference(contrast.kl)}{values}")
    return lines


def split_line(contrast: Contrast) -> str:
    if contrast.head_optimum is None:
        return "no head optimum on this model: not split"
    effects = f"head optimum {difference(contrast.head_optimum)}, excess {difference(contrast.excess)}"
    return "; ".join(filter(None, (effects, share_line(contrast))))


def share_line(contrast: Contrast) -> str:
    return "" if contrast.share is None else f"{percent(contrast.share)} is due to the output layer"


def component_line(result: FindingResult) -> str:
    effects = {"head optima": result.effect("head_optimum"), "excess": result.effect("excess")}
    parts = [f"{name} alone: {effect.outcome}" for name, effect in effects.items() if effect is not None]
    return "; ".join(parts)


def failure_lines(report: SweepReport) -> list[str]:
    """Format each distinct failure, most frequent first; not sanitized for a terminal."""
    reasons = Counter(failure.error for failure in report.failures)
    return [f"no result for {counted(count, 'search')}: {error}" for error, count in reasons.most_common()]


def cost_line(report: SweepReport) -> str:
    return ", ".join(cost_parts(report))


def cost_parts(report: SweepReport) -> list[str]:
    positions, seconds = sum(row.positions for row in report.rows), sum(cost.seconds for cost in report.costs)
    parts = [f"{len(report.rows):,} of {report.asked:,} searches", f"{positions:,} token positions"]
    if report.costs:
        peak = max(cost.peak_bytes for cost in report.costs)
        parts += [f"{duration(seconds)} of work with targets and head optima", f"at most {size(peak)} per worker"]
    return parts
