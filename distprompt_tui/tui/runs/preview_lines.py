"""The lines of a run's preview: its numbers, curve, prompt and changed settings. Pure functions."""

from __future__ import annotations

import time
from functools import partial

from distprompt_tui.core.text import formatting
from distprompt_tui.core.text.formatting import Line
from distprompt_tui.core.text.terminal_text import sanitize
from distprompt_tui.runs.result_notes import REASONS
from distprompt_tui.runs.state import RunState
from distprompt_tui.runs.summary import RunSummary
from distprompt_tui.tui.drawing.plot import Curve, Mark, plot_curves, plot_or_message
from distprompt_tui.tui.drawing.styled_text import fit_parts, joined, truncate, width_of, wrapped
from distprompt_tui.tui.run.divergence_plot import PlotData, references, series
from distprompt_tui.tui.run.prompt_view import PromptData, prompt_lines, prompt_title
from distprompt_tui.tui.runs.preview_reader import Changes, RunPreview
from distprompt_tui.tui.runs.run_rows import state_span

_MIN_PLOT_ROWS = 7
_MAX_PROMPT_ROWS = 8
_MAX_CHANGES_ROWS = 4


def preview_lines(preview: RunPreview, width: int, height: int, *, ascii_only: bool = False) -> list[Line]:
    """Return the lines of a preview. The curve takes the height that the other parts leave."""
    summary, state = preview.summary, preview.state
    if summary.problem:
        return wrapped(f"This run cannot be read: {sanitize(summary.problem)}", width, "error")
    head = [_progress(summary, state, width), *_numbers(state, width)]
    foot = [*_prompt(state, width, ascii_only=ascii_only), *_changes(preview.changes, width)]
    room = height - len(head) - len(foot) - 1
    if room < _MIN_PLOT_ROWS:
        foot = foot[: max(height - len(head) - 1 - _MIN_PLOT_ROWS, 0)]
        room = height - len(head) - len(foot) - 1
    return [*head, [], *_curve(state, width, room), *foot]


def _progress(summary: RunSummary, state: RunState, width: int) -> Line:
    sign, role = state_span(summary.state)
    parts: list[Line] = [[(f"{sign} {sanitize(REASONS.get(summary.state, summary.state))}", role)]]
    planned = f"/{summary.steps_planned:,}" if summary.steps_planned is not None else ""
    parts.append([("step ", "quiet"), (f"{summary.step:,}", "strong"), (planned, "quiet")])
    if not summary.is_live:
        parts.append([(formatting.ago(time.time() - summary.changed_at), "quiet")])
    if state.seconds:
        parts.append([("elapsed ", "quiet"), (formatting.duration(state.seconds), "")])
    if state.device:
        parts.append([(sanitize(f"{state.device} {state.dtype}"), "quiet")])
    return fit_parts(parts, width, ("   ", ""))


def _numbers(state: RunState, width: int) -> list[Line]:
    if state.best_kl is None:
        return wrapped("No step has been recorded yet.", width, "quiet")
    bounds = state.bounds
    split: Line = [("KL ", "quiet"), (formatting.nats(state.best_kl), "strong")]
    if bounds.head_optimum is not None:
        split += [(" = ", "quiet"), (f"head optimum {formatting.nats(bounds.head_optimum)}", "accent")]
        split += [(" + ", "quiet"), (f"excess {formatting.nats(state.excess)}", "strong")]
    others: list[Line] = []
    if state.gap_closed is not None:
        others.append([("gap closed ", "quiet"), (formatting.gap_closed(state.gap_closed), "strong")])
    if bounds.floor is not None:
        others.append([("floor ", "quiet"), (formatting.nats(bounds.shown_floor), "")])
    if state.entropy is not None and state.entropy_target is not None:
        achieved, target = (f"{value:.3f}" for value in (state.entropy, state.entropy_target))
        name = "entropy " if state.result is not None else "entropy at the last step "
        others.append([(name, "quiet"), (achieved, "achieved"), (", target ", "quiet"), (target, "target")])
    return [truncate(split, width), fit_parts(others, width, ("   ", ""))]


def _curve(state: RunState, width: int, height: int) -> list[Line]:
    if height < 1:
        return []
    data = PlotData(state.curve, bounds=state.bounds)
    if state.uniform_kl is not None:
        data = PlotData(state.curve, uniform_kl={"kl": state.uniform_kl}, bounds=state.bounds)
    marks = []
    if state.best_kl is not None and state.best_step is not None:
        label = f"◆ best {formatting.nats(state.best_kl)} @{state.best_step}"
        marks = [Mark(label, state.best_step, state.best_kl)]
    curves = [Curve(series(data, "kl"))]
    plot = partial(plot_curves, curves, references(data, "kl"), marks, width, height, log=True)
    lines = plot_or_message(plot, width)[:height]
    return lines + [[]] * (height - len(lines))


def _prompt(state: RunState, width: int, *, ascii_only: bool) -> list[Line]:
    if state.snapshot is None:
        return []
    data = PromptData(
        state.method, state.snapshot.prompt, ascii_only, projection=state.projection, vocab_size=state.vocab_size
    )
    rows, _ = prompt_lines(data, width, flowing=False)
    if len(rows) > _MAX_PROMPT_ROWS:
        rows, _ = prompt_lines(data, width, flowing=True)
    left = len(rows) - _MAX_PROMPT_ROWS
    if left > 0:
        rows = [*rows[: _MAX_PROMPT_ROWS - 1], [(f"… {left + 1} more lines", "quiet")]]
    return [[], truncate([(prompt_title(data), "quiet")], width), *rows]


def _changes(changes: Changes | None, width: int) -> list[Line]:
    if changes is None:
        return []
    base = f"preset {sanitize(changes.preset)}" if changes.preset else "the defaults"
    if not changes.fields:
        return [[], truncate([(f"Settings as in {base}", "quiet")], width)]
    parts: list[Line] = [[(f"Unlike {base}:", "quiet")]]
    for name, before, now in changes.fields:
        values: Line = [(sanitize(now) or "none", "strong")]
        values += [(f" (was {sanitize(before)})", "faint")] if before else []
        parts.append([(f"{sanitize(name)} ", "quiet"), *values])
    lines: list[Line] = [[]]
    for part in parts:
        longer = joined([lines[-1], part], ("   ", ""))
        if width_of(longer) <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(part)
    shown = [truncate(line, width) for line in lines[:_MAX_CHANGES_ROWS]]
    return [[], *shown]
