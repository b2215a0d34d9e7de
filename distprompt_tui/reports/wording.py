"""Text for numbers and findings, shared by the terminal and the pages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from distprompt_tui.core.text.formatting import counted, duration, nats, percent, signed, size

if TYPE_CHECKING:
    from distprompt_tui.reports.sweep_report import SweepReport
    from distprompt_tui.sweeps.bootstrap import MeanCI
    from distprompt_tui.sweeps.curves import Point
    from distprompt_tui.sweeps.findings import Contrast, FindingResult

SIGNS = {"supported": "✓", "not supported": "✗", "inconclusive": "?", "not tested": "–"}

MARKERS = "oxv+sd"  # a letter per series, so that series are distinguishable without colours

SMALLEST_P = 0.0001

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
    """Format effect, p-value and number of targets for one line of 80 columns, or the reason for no effect."""
    effect = result.effect("kl")
    if effect is None:
        return result.untested_reason
    p_values = "" if result.p_holm is None else f", Holm p {p_value(result.p_holm)}"
    return f"{difference(effect)} nats{p_values}, n={effect.targets}"


def effect_line(result: FindingResult) -> str:
    """Format effect, deciding contrast and number of targets, or the reason why there is no effect."""
    effect, binding_contrast = result.effect("kl"), result.binding_contrast
    if effect is None or binding_contrast is None:
        return result.untested_reason
    of = binding_contrast.name if len(result.contrasts) == 1 else f"the smaller difference, {binding_contrast.name}"
    return f"{difference(effect)} nats: {of}; {sample(result, effect)}"


def sample(result: FindingResult, effect: MeanCI) -> str:
    """Format the number of targets; chosen texts are not called a sample of anything."""
    if result.sampling == "texts":
        return "the one text of this sweep" if effect.targets == 1 else f"the {effect.targets} texts of this sweep"
    return counted(effect.targets, "target")


def p_value(p: float) -> str:
    """Format a p-value: `0.0010`, `<0.0001`."""
    return f"{p:.4f}" if p >= SMALLEST_P else f"<{SMALLEST_P}"


def inference_text(contrast: Contrast) -> str:
    """Format median and p-values of a difference; empty if it was not tested."""
    if contrast.median is None or contrast.p_value is None or contrast.p_holm is None:
        return ""
    return f"median {signed(contrast.median)}, p {p_value(contrast.p_value)}, Holm p {p_value(contrast.p_holm)}"


def peak_line(result: FindingResult) -> str:
    """Format the result of a cross-fitted peak; empty without one."""
    peak = result.peak
    contrast, effect = (None, None) if peak is None else (peak.binding_contrast, peak.effect("kl"))
    if peak is None or contrast is None or effect is None:
        return ""
    where = ", ".join(f"{entropy:g}" for entropy, _ in peak.chosen)
    parts = [
        f"peak chosen on other targets, at {where} nats: {difference(effect)} ({contrast.name})",
        inference_text(contrast),
    ]
    return "; ".join([part for part in parts if part] + [peak.outcome])


def sampling_line(result: FindingResult) -> str:
    if result.sampling == "random" or not result.contrasts:
        return ""
    return "these texts are no sample of a population: intervals and p-values claim nothing about other texts"


def finding_lines(result: FindingResult) -> list[str]:
    lines = [effect_line(result)]
    if result.binding_contrast is not None:
        lines += detail_lines(result)
    return [line for line in lines if line]


def detail_lines(result: FindingResult) -> list[str]:
    """Format everything about a tested finding but the effect; some lines may be empty."""
    split = [] if result.binding_contrast is None else [split_line(result.binding_contrast)]
    notes = [component_line(result), peak_line(result), result.caveat, sampling_line(result)]
    return [*contrast_lines(result), *split, *notes]


def contrast_lines(result: FindingResult) -> list[str]:
    """Format each difference over all entropies and at each entropy, with its test."""
    lines = []
    for contrast in result.contrasts:
        parts = [
            f"{'as made' if asked is None else f'at {asked:g}'} {difference(one.kl)}"
            for asked, one in result.by_entropy
            if one.name == contrast.name
        ]
        values = f" ({', '.join(parts)})" if len(parts) > 1 else ""
        shown = [f"{contrast.name}: {difference(contrast.kl)}{values}"] if values or len(result.contrasts) > 1 else []
        lines.append("; ".join(part for part in (*shown, inference_text(contrast)) if part))
    return lines


def split_line(contrast: Contrast) -> str:
    if contrast.head_optimum is None:
        return "no head optimum on this model: not split"
    effects = f"head optimum {difference(contrast.head_optimum)}, excess {difference(contrast.excess)}"
    return "; ".join(filter(None, (effects, share_line(contrast))))


def share_line(contrast: Contrast) -> str:
    return "" if contrast.share is None else f"{share(contrast)} is due to the output layer"


def share(contrast: Contrast) -> str:
    """Format the output layer's share with its interval: `87 % [76 %, 94 %]`."""
    interval = contrast.share_interval
    ends = "" if interval is None else f" [{', '.join(map(percent, interval))}]"
    return percent(contrast.share) + ends


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
    parts = [f"{len(report.rows):,} of {report.asked:,} searches"]
    if report.sweep.restarts > 1:
        parts.append(f"the best of {report.sweep.restarts} restarts counts")
    parts.append(f"{positions:,} token positions")
    if report.costs:
        peak = max(cost.peak_bytes for cost in report.costs)
        parts += [f"{duration(seconds)} of work with targets and head optima", f"at most {size(peak)} per worker"]
    return parts
