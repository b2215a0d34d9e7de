"""The HTML page of a run: divergence over the steps, distributions before and after, prompt, spec."""

from __future__ import annotations

import json

from distprompt_tui.core.metrics.totals import totals_of_rest
from distprompt_tui.core.text.formatting import count, duration, gap_closed, mass, nats, percent
from distprompt_tui.reports.figures import run_svg
from distprompt_tui.reports.html import Markup, element
from distprompt_tui.reports.page import (
    BARS,
    TokenBars,
    details,
    distribution,
    distribution_key,
    footer,
    heading,
    page,
    prompt,
    stat_list,
)
from distprompt_tui.reports.run_report import RunReport
from distprompt_tui.runs.schema import read_result
from distprompt_tui.runs.state import RunState
from distprompt_tui.runs.witness import witness_text


def run_page(report: RunReport) -> Markup:
    state, result = report.state, read_result(report.result)
    numbers = {
        "KL, nats": nats(result.kl),
        "head optimum": nats(result.head_optimum),
        "excess": nats(result.excess),
        "floor": nats(result.floor),
        "uniform baseline": nats(result.uniform_kl),
        **_witness(state),
        "gap closed": gap_closed(state.gap_closed),
        "entropy": f"{nats(result.entropy_achieved)} of {nats(result.entropy_target)}",
        "steps": f"{count(result.steps)} in {duration(result.seconds)}",
    }
    weights = f" ({state.weights})" if state.weights is not None else ""
    names = (f"{state.preset or report.name} on {state.model}{weights}", state.method, state.bos)
    title = ", ".join(name for name in names if name is not None)
    return page(
        title,
        heading("distprompt-tui · run", title, state.recipe),
        stat_list(numbers),
        element("h2", "Divergence over the steps"),
        element("section", run_svg(report.curve, state.bounds, state.witness), class_="card"),
        element("h2", "Best prompt"),
        *_prompt(report),
        element("h2", "Before and after"),
        distribution_key(),
        element("section", distribution(token_bars(report)), class_="card"),
        *_other_tokens(report),
        element("h2", "Settings and versions"),
        details("The run with all defaults", report.spec),
        details("Versions, device, hashes", json.dumps(report.manifest, indent=1, ensure_ascii=False)),
        footer(report.name),
    )


def _witness(state: RunState) -> dict[str, str]:
    return {} if state.witness is None else {"witness": witness_text(state.witness, state.length)}


def token_bars(report: RunReport) -> list[TokenBars]:
    """Return the largest tokens of the last snapshot, with their probabilities in the first one."""
    before = {token.id: token.achieved for token in report.first.tokens} if report.first is not None else {}
    last = report.state.snapshot
    return [
        TokenBars(token.text, token.target, before.get(token.id), token.achieved)
        for token in (last.tokens if last is not None else ())
    ]


def _other_tokens(report: RunReport) -> list[Markup]:
    last = report.state.snapshot
    if last is None:
        return []
    shown = ((token.target, token.achieved, token.contribution) for token in last.tokens[:BARS])
    rest = totals_of_rest(report.state.vocab_size, last.kl, shown)
    part = percent(rest.contribution / last.kl if last.kl > 0 else None)
    numbers = f"target {mass(rest.target)}, achieved {mass(rest.achieved)}, {part} of the KL"
    return [element("p", f"The {count(rest.count)} other tokens: {numbers}.", class_="note")] if rest.count else []


def _prompt(report: RunReport) -> list[Markup]:
    last = report.state.snapshot
    if last is None:
        return [element("p", "The prompt was not recorded.")]
    what = "Tokens." if report.state.method != "soft" else "Vectors, shown by the nearest tokens and their cosines."
    return [element("p", what, class_="note"), prompt(last.prompt)]
