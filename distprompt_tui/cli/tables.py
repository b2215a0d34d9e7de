"""Tables of tokens, models, presets and runs on the command line."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from rich.text import Text

from distprompt_tui.bounds.values import SHARP_NORM_RATIO, Bounds
from distprompt_tui.core.config.presets import Preset
from distprompt_tui.core.metrics.totals import totals_of_rest
from distprompt_tui.core.text.formatting import (
    bar,
    count,
    counted,
    duration,
    gap,
    magnitude,
    mass,
    nats,
    overlaid_bars,
    percent,
)
from distprompt_tui.core.text.terminal_text import fit, sanitize, visible_token
from distprompt_tui.core.text.ticks import log_ticks
from distprompt_tui.models.registry import ModelEntry
from distprompt_tui.models.vocabulary import Vocabulary
from distprompt_tui.runs.result_notes import REASONS, outcome_notes
from distprompt_tui.runs.schema import Snapshot, TokenMass, read_result
from distprompt_tui.runs.state import RunState
from distprompt_tui.runs.summary import RunSummary
from distprompt_tui.runs.witness import witness_text
from distprompt_tui.targets import Target

if TYPE_CHECKING:
    from distprompt_tui.tui.custom_keys import KeyMap
    from distprompt_tui.worker.prompt_transfer import TransferResult

TABLE_ROWS = 12
BAR_CELLS, LEAST_BAR_CELLS = 28, 4
NUMBER_CELLS = 65  # of a table of tokens beside its bars
TOKEN_CELLS = 16
KEY_CELLS = 12
ACTION_CELLS = 21
SMALLEST_DRAWN = 1e-9
SMALLEST_DECIMAL = 1e-3  # ticks below have an exponent
FEW_DECADES = 4  # with fewer marks at powers of ten, the axis has marks between them

COLOURS = {"target": "cyan", "achieved": "yellow", "agreed": "green", "": ""}


def print_result(console: Console, state: RunState, result: dict[str, Any]) -> None:
    if state.snapshot is not None:
        print_tokens(console, state.snapshot, state.vocab_size)
    shown = read_result(result)
    limits = [f"uniform {nats(shown.uniform_kl)}"]
    if shown.head_optimum is not None:
        limits.append(f"head optimum {nats(shown.head_optimum)} + excess {nats(shown.excess)}")
    if shown.floor is not None:
        dtype = "" if shown.floor_dtype is None else f" ({sanitize(shown.floor_dtype)})"
        limits.append(f"floor {nats(shown.floor)}{dtype}")
    if state.witness is not None:
        limits.append(f"witness {witness_text(state.witness, state.length)}")
    console.print(Text(f"KL {nats(shown.kl)} nats   {'   '.join(limits)}", style="bold"))
    reason = shown.reason or "—"
    steps = "— steps" if shown.steps is None else counted(shown.steps, "step")
    console.print(
        f"entropy {nats(shown.entropy_achieved)} → {nats(shown.entropy_target)}   {steps} in "
        f"{duration(shown.seconds)}   {sanitize(REASONS.get(reason, reason))}",
        highlight=False,
        markup=False,
    )
    if shown.prompt_text is not None:
        console.print(Text("prompt  ") + Text(visible_token(shown.prompt_text), style="bold"))
    if shown.projected_kl is not None and shown.median_distance is not None:
        console.print(
            f"nearest tokens: KL {nats(shown.projected_kl)}, distance {shown.median_distance:.3g} mean norms (median)",
            highlight=False,
        )
    for note in outcome_notes(shown):
        console.print(note, highlight=False, markup=False)
    console.print(Text(sanitize(f"run     {shown.run or '—'}")), soft_wrap=True)


def print_tokens(console: Console, snapshot: Snapshot, vocab_size: int = 0) -> None:
    """Print the first rows of a snapshot below the legend of their bars, and the sums of the other tokens, if any."""
    console.print(Text.assemble(("▀ target", COLOURS["target"]), "  ", ("▄ achieved", COLOURS["achieved"]), "  █ both"))
    console.print(token_table(snapshot.tokens[:TABLE_ROWS], snapshot.kl, console.width, vocab_size))


def token_table(rows: Sequence[TokenMass], kl: float, width: int, vocab_size: int = 0) -> Table:
    """Build a table of target and achieved probabilities, with bars.

    Args:
        rows: sorted.
        kl: the whole divergence, nats.
        width: columns of the terminal; the bars take what the numbers leave.
        vocab_size: number of all tokens. If there are others, the last row has their sums.
    """
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("token", no_wrap=True)
    for name in ("id", "target", "achieved", "gap", "of KL"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    cells = min(max(width - NUMBER_CELLS, LEAST_BAR_CELLS), BAR_CELLS)
    largest = max((max(row.target, row.achieved) for row in rows), default=0.0) or 1.0
    for row in rows:
        spans = overlaid_bars(row.target / largest, row.achieved / largest, cells)
        table.add_row(
            Text(fit(visible_token(row.text), TOKEN_CELLS)),
            count(row.id),
            mass(row.target),
            mass(row.achieved),
            gap(row.achieved - row.target),
            percent(row.contribution / kl if kl > 0 else None),
            Text.assemble(*((text, COLOURS[role]) for text, role in spans)),
        )
    rest = totals_of_rest(vocab_size, kl, ((row.target, row.achieved, row.contribution) for row in rows))
    if rest.count:
        table.add_row(
            Text(f"{rest.count:,} others", style="dim"),
            "",
            mass(rest.target),
            mass(rest.achieved),
            gap(rest.achieved - rest.target),
            percent(rest.contribution / kl if kl > 0 else None),
        )
    return table


def print_presets(console: Console, presets: Sequence[Preset]) -> None:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("preset", "family", "entropy", "method"):
        table.add_column(name)
    table.add_column("description", overflow="fold")
    for preset in presets:
        asked = getattr(preset.spec.target, "entropy", None)
        table.add_row(
            Text(visible_token(preset.name), style="bold"),
            preset.spec.target.family,
            "" if asked is None else nats(asked),
            preset.spec.search.method,
            Text(sanitize(preset.spec.description)),
        )
    console.print(table)


def print_keys(console: Console, key_map: KeyMap) -> None:
    """Print the keys in force by section of keys.toml; `*` marks the user's own."""
    for section, rows in groupby(key_map.entries(), key=lambda entry: entry.section):
        table = Table(box=None, pad_edge=False, header_style="dim")
        table.add_column("", width=1)
        table.add_column(Text(f"[{section}]"), width=KEY_CELLS)
        table.add_column("action", no_wrap=True, min_width=ACTION_CELLS)
        table.add_column("description", overflow="fold")
        for row in rows:
            mark = "*" if row.is_own else ""
            table.add_row(mark, Text(", ".join(row.symbols)), Text(row.key.action), Text(row.key.help))
        console.print(table)
        console.print()


def print_models(console: Console, models: Sequence[ModelEntry]) -> None:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("model", "title", "weights", "parameters", "vocabulary", "state", "from"):
        table.add_column(name)
    for model in models:
        table.add_row(
            Text(visible_token(model.name), style="bold"),
            Text(sanitize(model.title)),
            Text(sanitize(model.weights or "—")),
            magnitude(model.parameters),
            count(model.vocab_size),
            {"prepared": "ready", "installed": "needs conversion", "hub": "needs download"}.get(
                model.status, "needs package"
            ),
            Text(visible_token(model.source)),
        )
    console.print(table)


def print_runs(console: Console, runs: Sequence[RunSummary]) -> None:
    if not runs:
        console.print("No runs yet: 'distprompt-tui run outlier' starts a search.")
        return
    table = Table(box=None, pad_edge=False, collapse_padding=True, header_style="dim")
    table.add_column("run", overflow="fold")  # folded, not truncated, so that it can be copied
    table.add_column("state", no_wrap=True, min_width=7)
    with_witness = any(run.witness_kl is not None for run in runs)
    for name in ("step", "KL", "excess", *(["witness"] if with_witness else [])):
        table.add_column(name, justify="right", no_wrap=True, min_width=5)
    for run in runs:
        state = REASONS.get(run.state, run.state)
        table.add_row(
            Text(visible_token(run.run.name)),
            Text(sanitize(f"{state}: {run.problem}" if run.problem else state)),
            count(run.step),
            nats(run.best_kl),
            nats(run.excess),
            *([nats(run.witness_kl)] if with_witness else []),
        )
    console.print(table)


def print_transfer(console: Console, kl: float, results: Sequence[TransferResult]) -> None:
    console.print(Text(f"KL {nats(kl)} nats as reported", style="bold"))
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("model", overflow="fold")
    for name in ("dtype", "context", "prompt"):
        table.add_column(name, no_wrap=True)
    for name in ("KL", "change"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", overflow="fold")
    for result in results:
        table.add_row(
            Text(visible_token(Path(result.model).name)),
            result.dtype,
            result.context,
            result.carrier or "—",
            nats(result.kl),
            "—" if result.kl is None else f"{result.kl - kl:+.4f}",
            Text(sanitize(result.note), style="dim"),
        )
    console.print(table)


def print_target(console: Console, target: Target, vocabulary: Vocabulary) -> None:
    descending = np.sort(target.probabilities[vocabulary.allowed])[::-1]
    console.print(
        Text(f"entropy {nats(target.entropy)} of at most {nats(math.log(len(descending)))} nats", style="bold")
    )
    console.print(
        f"uniform baseline {nats(target.uniform_kl(vocabulary))}   largest {mass(descending[0])}   "
        f"tokens with p > 0: {np.count_nonzero(descending):,}"
    )
    console.print(Text(sanitize(target.recipe)))
    console.print(Text.from_ansi(_probability_by_rank(descending, min(console.width, 78))))
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("token")
    table.add_column("id", justify="right")
    table.add_column("probability", justify="right")
    table.add_column("")
    for token in np.argsort(-target.probabilities, kind="stable")[
        : min(TABLE_ROWS, np.count_nonzero(descending))
    ].tolist():
        p = float(target.probabilities[token])
        cells = Text(bar(p / descending[0], BAR_CELLS), style=COLOURS["target"])
        table.add_row(Text(fit(visible_token(vocabulary.text(token)), TOKEN_CELLS)), count(token), mass(p), cells)
    console.print(table)


def _probability_by_rank(descending: NDArray[np.float64], width: int) -> str:
    """Draw a log-log curve of probability over rank.

    The tail below `SMALLEST_DRAWN` of the largest is not drawn. If tokens follow the drawn ones, the curve falls to the
    axis.
    """
    import plotext

    ranks = np.unique(np.geomspace(1, len(descending), 2 * width).astype(int))
    ranks = ranks[descending[ranks - 1] > SMALLEST_DRAWN * descending[0]]
    drawn = descending[ranks - 1]
    xs, ys = np.log10(ranks).tolist(), np.log10(drawn).tolist()
    low, high = math.ceil(ys[-1]) - 1, math.ceil(ys[0])
    y_marks = [10.0**power for power in range(low, high + 1)]
    if len(y_marks) < FEW_DECADES:
        y_marks = log_ticks(y_marks[0], y_marks[-1])
    widest = max(xs[-1], 1.0)
    x_marks = [10**power for power in range(math.floor(widest) + 1)]
    if ranks[-1] < len(descending):
        xs, ys = [*xs, xs[-1]], [*ys, float(low)]
    plotext.clear_figure()
    plotext.theme("clear")
    plotext.plotsize(width, 12)
    plotext.xlim(0, widest)
    plotext.ylim(low, high)
    plotext.xticks(range(len(x_marks)), [f"{mark:,}" for mark in x_marks])
    labels = [f"{mark:g}" if mark >= SMALLEST_DECIMAL else f"{mark:.0e}".replace("e-0", "e-") for mark in y_marks]
    plotext.yticks([math.log10(mark) for mark in y_marks], labels)
    plotext.xlabel("rank")
    plotext.ylabel("probability")
    plotext.plot(xs, ys, marker="braille")
    return str(plotext.build())


def bounds_as_dict(bounds: Bounds, target: Target, vocabulary: Vocabulary) -> dict[str, Any]:
    return {
        "floor": bounds.floor,
        "dtype": bounds.dtype,
        "rounding": bounds.rounding,
        "gap": bounds.gap,
        "head_optimum": bounds.head_optimum,
        "agreement": bounds.agreement,
        "uniform_kl": target.uniform_kl(vocabulary),
        "norm_ratio": bounds.norm_ratio,
        "seconds": bounds.seconds,
        "why_no_floor": bounds.why_no_floor,
        "sphere_bound": bounds.sphere_bound,
        "sphere_norm_ratio": bounds.sphere_norm_ratio,
    }


def print_bounds(console: Console, numbers: dict[str, Any]) -> None:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold")
    table.add_column(justify="right")
    table.add_column(style="dim")
    within = f"to within {nats(numbers['gap'])}, {nats(numbers['rounding'])} for rounding"
    floor = f"certified lower bound for every prompt, of any kind or length, in {numbers['dtype']} ({within})"
    sphere, ball = numbers["sphere_bound"], numbers["floor"]
    if sphere is not None and sphere > ball:
        ratio = f"{numbers['sphere_norm_ratio']:g}"
        text = f"certified lower bound for every prompt whose normalised last state has a norm ≥ {ratio} √d"
        table.add_row("floor", nats(sphere), text)
        table.add_row("floor, ball", nats(ball), floor)
    else:
        table.add_row("floor", nats(ball), Text(sanitize(numbers["why_no_floor"] or floor)))
        if sphere is not None:
            sharp = (numbers["norm_ratio"] or 0.0) >= SHARP_NORM_RATIO
            table.add_row("", "", "sharp: attained on the sphere" if sharp else "no higher bound proved on the sphere")
    agreeing = "all" if numbers["agreement"] >= 1 else f"{percent(numbers['agreement'])} of"
    lowest = f"lowest KL found over all inputs of the head; {agreeing} restarts agree"
    table.add_row("head optimum", nats(numbers["head_optimum"]), lowest)
    table.add_row("uniform", nats(numbers["uniform_kl"]), "KL of the uniform distribution")
    console.print(table)
