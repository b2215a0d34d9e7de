"""Lines for a sweep's progress, settings and findings. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

from distprompt_tui.core.text import formatting
from distprompt_tui.core.text.formatting import Line, Span
from distprompt_tui.core.text.terminal_text import sanitize
from distprompt_tui.reports import wording
from distprompt_tui.tui.drawing.styled_text import fit_parts, joined, justify, truncate, width_of, wrapped

if TYPE_CHECKING:
    from distprompt_tui.reports.sweep_report import SweepReport
    from distprompt_tui.sweeps.curves import Curve, Panel
    from distprompt_tui.sweeps.findings import FindingResult
    from distprompt_tui.sweeps.index import SweepProgress
    from distprompt_tui.sweeps.results import SearchConfig
    from distprompt_tui.tui.sweeps.monitor import SweepView

OUTCOME_ROLES = {"supported": "good", "not supported": "error", "inconclusive": "warning", "not tested": "quiet"}

SERIES_ROLES = 6  # number of colours before they repeat; markers repeat likewise

_STATES: dict[str, Span] = {
    "running": ("● running", "good"),
    "done": ("■ done", "accent"),
    "stopped": ("■ stopped", "quiet"),
    "failed": ("✕ failed", "error"),
    "not begun": ("○ not started", "quiet"),
    "damaged": ("✕ damaged", "error"),
}
_METER_CELLS = 12
_INDENT = 2
_MOST_NOTES = 2


def state_span(state: str) -> Span:
    return _STATES[state]


def tally(progress: SweepProgress) -> Line:
    parts: list[Line] = [[(f"{progress.done:,}", "strong"), (f" of {progress.total:,} searches", "quiet")]]
    if progress.failed:
        parts.append([(f"✕ {progress.failed:,} failed", "error")])
    if progress.invalid:
        parts.append([(f"{progress.invalid:,} invalid", "warning")])
    return joined(parts)


def status_line(name: str, view: SweepView, width: int) -> Line:
    left: Line = [("Sweep  ", "heading"), (sanitize(name), "strong")]
    if (progress := view.progress) is None:
        return left
    more: list[Line] = [[state_span(progress.state)], tally(progress)]
    if view.seconds_left:
        more.append([("about ", "quiet"), (formatting.duration(view.seconds_left), ""), (" left", "quiet")])
    if 0 < progress.done < progress.total:
        more.append([(formatting.bar(progress.done / progress.total, _METER_CELLS).replace(" ", "·"), "accent")])
    return justify(left, fit_parts(more, max(width - len("Sweep  ") - 4, 10), ("   ", "")), width)


def settings_line(panels: Sequence[Panel], findings: Sequence[FindingResult], chosen: int, width: int) -> Line:
    """Return all settings with symbols of their findings, the selected one highlighted; only that one if space is
    short.
    """
    several = len({panel.setting.length for panel in panels}) > 1
    shown = [_setting(panel.setting, findings, several, number == chosen) for number, panel in enumerate(panels)]
    line = joined(shown)
    if width_of(line) <= width:
        return line
    return justify(shown[chosen], [(f"← {chosen + 1} of {len(panels)} →", "quiet")], width)


def _setting(setting: SearchConfig, findings: Sequence[FindingResult], with_length: bool, is_chosen: bool) -> Line:
    own = [result for result in findings if result.setting == setting]
    signs: Line = [(wording.SIGNS[result.outcome], OUTCOME_ROLES[result.outcome]) for result in own]
    if any(result.missing for result in own):
        signs.append(("…", "quiet"))
    name = f"{Path(setting.model).name}, {setting.method}" + (f", {setting.length}" if with_length else "")
    return [*signs, (f" {sanitize(name)} ", "chosen" if is_chosen else "quiet")]


def finding_lines(findings: Sequence[FindingResult], width: int, *, whole: bool) -> list[Line]:
    """Return the result and effect for each series; `whole`: with all details."""
    lines: list[Line] = []
    for result in findings:
        word = (f"{wording.SIGNS[result.outcome]} {result.word}", f"strong {OUTCOME_ROLES[result.outcome]}")
        texts = wording.finding_lines(result) if whole else [wording.short_effect_line(result)]
        effect, *more = [sanitize(line) for line in texts]
        first: Line = [word, (f"  {sanitize(result.series)}  ", "strong"), (effect, "")]
        if whole and width_of(first) > width:
            first, more = first[:-1], [effect, *more]
        lines.append(truncate(first, width))
        for line in more:
            lines += [[(" " * _INDENT, ""), *part] for part in wrapped(line, width - _INDENT, "quiet")]
    return lines


def notes(report: SweepReport, width: int) -> list[Line]:
    reasons = wording.failure_lines(report)
    texts = reasons[:_MOST_NOTES]
    if len(reasons) > _MOST_NOTES:
        texts[-1] += f" (and {len(reasons) - _MOST_NOTES} other reasons)"
    return [truncate([("! ", "warning"), (sanitize(line), "warning")], width) for line in texts]


def marked(curves: Sequence[Curve]) -> list[tuple[str, int, Curve]]:
    numbers = (number % SERIES_ROLES + 1 for number in range(len(curves)))
    return list(zip(cycle(wording.MARKERS), numbers, curves))
