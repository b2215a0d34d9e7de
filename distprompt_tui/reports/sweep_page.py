"""The HTML page of a sweep: findings, curves, points, examples and costs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct, ValidationError, convert

from distprompt_tui.core.errors import UsageError
from distprompt_tui.core.text.formatting import count, counted, duration, nats, signed, size
from distprompt_tui.reports import wording
from distprompt_tui.reports.figures import forest_svg, lengths_svg, panel_svg
from distprompt_tui.reports.html import Markup, element
from distprompt_tui.reports.page import (
    TokenBars,
    details,
    distribution,
    distribution_key,
    footer,
    heading,
    page,
    prompt,
    stat_list,
    table,
)
from distprompt_tui.reports.split_points import COLUMNS as SPLIT_COLUMNS
from distprompt_tui.reports.split_points import split_cells
from distprompt_tui.reports.sweep_report import Example, SweepReport, examples_of
from distprompt_tui.runs.schema import PromptToken
from distprompt_tui.sweeps.curves import Panel
from distprompt_tui.sweeps.findings import HYPOTHESES, FindingResult

ReadResult = Callable[[str], Mapping[str, Any]]


class KeptResult(Struct, frozen=True):
    """The fields of `results/KEY.json` that the page shows."""

    prompt: tuple[PromptToken, ...]
    tokens: tuple[TokenBars, ...]
    recipe: str


def sweep_page(report: SweepReport, read_result: ReadResult) -> Markup:
    """Build the page; `read_result` returns the stored result of a search by its key."""
    title = report.sweep.title or report.name
    return page(
        title,
        heading("distprompt-tui · sweep", title, report.sweep.description),
        _numbers(report),
        *_findings(report),
        element("h2", "Divergence by entropy"),
        element("p", _HOW_TO_READ, class_="note"),
        element("div", [_curves(panel) for panel in report.panels], class_="grid wide"),
        element("h2", "All points"),
        element("p", "Means over the targets in nats, with 95 % bootstrap intervals in brackets.", class_="note"),
        *[_points(panel) for panel in report.panels],
        *_lengths(report),
        *_splits(report),
        element("h2", "Example prompts"),
        element("p", "For each setting, the searches with the smallest, median and largest divergence.", class_="note"),
        distribution_key(),
        *[_examples(report, panel, read_result) for panel in report.panels],
        *_failures(report),
        element("h2", "Costs and settings"),
        _costs(report),
        details("The sweep with all defaults", report.sweep.resolved()),
        footer(report.name, *(f"distprompt-tui {versions}" for versions in report.versions)),
    )


_HOW_TO_READ = (
    "Markers: means over the targets, with 95 % intervals as bands. Dashed: head optimum, the lowest divergence found "
    "over all states that the output layer can receive. Dotted: floor, a certified lower bound for every prompt. Thin: "
    "uniform baseline. Dash-dotted: witness, a prompt that is known before the search."
)

_HOW_TO_SPLIT = (
    "Means over the targets with all values, in nats. KL = head optimum + (reference − optimum) + (hard − reference). "
    "The reference is a soft prompt of the same length, or the witness."
)


def _numbers(report: SweepReport) -> Markup:
    pairs = {
        "searches": f"{len(report.rows):,} of {report.asked:,}",
        "models": ", ".join(Path(name).name for name in report.sweep.models),
        "methods": ", ".join(report.sweep.methods),
        "targets per point": count(report.sweep.targets),
    }
    if report.sweep.restarts > 1:
        pairs["restarts per search"] = count(report.sweep.restarts)
    if report.costs:
        pairs["work"] = duration(sum(cost.seconds for cost in report.costs))
    return stat_list(pairs)


def _findings(report: SweepReport) -> list[Markup]:
    if report.sweep.finding is None:
        return []
    claim = f"Claim: {HYPOTHESES[report.sweep.finding]}."
    cards = [_finding(result) for result in report.findings]
    none_yet = [element("p", "There are no results yet.")]
    return [
        element("h2", "Findings"),
        element("p", claim, class_="claim"),
        element("div", cards or none_yet, class_="grid"),
    ]


def _finding(result: FindingResult) -> Markup:
    word = element("div", f"{wording.SIGNS[result.outcome]} {result.word}", class_="word")
    title = element("h3", f"{result.setting}: {result.series}")
    effect, binding_contrast = result.effect("kl"), result.binding_contrast
    if effect is None or binding_contrast is None:
        body = [element("p", result.untested_reason)]
    else:
        unit = element("small", " nats")
        rows = [("KL", effect), ("head optimum", binding_contrast.head_optimum), ("excess", binding_contrast.excess)]
        lines = [
            *wording.contrast_lines(result),
            wording.share_line(binding_contrast),
            wording.component_line(result),
            wording.peak_line(result),
            result.caveat,
            wording.sampling_line(result),
        ]
        body = [
            element("div", signed(effect.value), unit, class_="effect"),
            element("p", f"{binding_contrast.name}, {wording.sample(result, effect)}", class_="quiet"),
            forest_svg(rows),
            *[element("p", line, class_="note") for line in lines if line],
        ]
    return element("section", word, title, *body, class_=f"card result {result.outcome.replace(' ', '-')}")


def _curves(panel: Panel) -> Markup:
    return element("section", element("h3", str(panel.setting)), panel_svg(panel), class_="card")


def _points(panel: Panel) -> Markup:
    columns = wording.columns_of(point for curve in panel.curves for point in curve.points)
    rows = [(curve.series, *wording.point_cells(point, columns)) for curve in panel.curves for point in curve.points]
    return element("details", element("summary", str(panel.setting)), table(("series", *columns), rows), open="open")


def _lengths(report: SweepReport) -> list[Markup]:
    if not report.length_panels:
        return []
    cards = [
        element("section", element("h3", str(panel)), lengths_svg(panel), class_="card")
        for panel in report.length_panels
    ]
    return [element("h2", "By length of the prompt"), element("div", cards, class_="grid wide")]


def _splits(report: SweepReport) -> list[Markup]:
    if not report.splits:
        return []
    rows = [
        (f"{Path(point.model).name}, {counted(point.length, 'token')}", point.series, *split_cells(point))
        for point in report.splits
    ]
    return [
        element("h2", "Parts of the divergence of hard prompts"),
        element("p", _HOW_TO_SPLIT, class_="note"),
        table(("setting", "series", *SPLIT_COLUMNS), rows),
    ]


def _examples(report: SweepReport, panel: Panel, read_result: ReadResult) -> Markup:
    cards = [_example(example, read_result) for example in examples_of(report.rows, panel.setting)]
    return element("section", element("h3", str(panel.setting)), element("div", cards, class_="grid"))


def _example(example: Example, read_result: ReadResult) -> Markup:
    row = example.row
    asked = f"{row.series}, entropy {row.entropy:.2f}, target {row.target_index}"
    numbers = f"KL {nats(row.kl)}, head optimum {nats(row.head_optimum)}, at the start {nats(row.start)}"
    try:
        kept = convert(read_result(row.key), KeptResult)
    except (UsageError, ValidationError):
        kept = KeptResult((), (), "The prompt was not stored.")
    return element(
        "section",
        element("div", example.rank, class_="kicker"),
        element("h3", asked),
        element("p", numbers, class_="note"),
        prompt(kept.prompt),
        distribution(kept.tokens),
        element("p", kept.recipe, class_="note"),
        class_="card",
    )


def _failures(report: SweepReport) -> list[Markup]:
    reasons = Counter(failure.error for failure in report.failures).most_common()
    if not reasons:
        return []
    lines = [element("li", f"{counted(number, 'search')}: {error}") for error, number in reasons]
    return [element("h2", "Searches without a result"), element("ul", lines)]


def _costs(report: SweepReport) -> Markup:
    rows = []
    for config in dict.fromkeys(cost.config for cost in report.costs):
        own = [cost for cost in report.costs if cost.config == config]
        searches, seconds = sum(cost.searches for cost in own), sum(cost.seconds for cost in own)
        each = f"{seconds / searches:.1f} s" if searches else "—"
        label = f"{config.model}, {config.method}, length {config.length}"
        rows.append((label, count(searches), each, duration(seconds), size(max(cost.peak_bytes for cost in own))))
    return table(("configuration", "searches", "time per search", "total time", "peak memory"), rows)
