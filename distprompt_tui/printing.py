"""What the command line prints: tables of tokens, models, presets and runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from distprompt_tui.models.registry import ModelEntry
from distprompt_tui.presets import Preset
from distprompt_tui.runs.state import RunState, TokenMass
from distprompt_tui.tokens import fit, visible_token
from distprompt_tui.tui.format import count, duration, gap, magnitude, mass, nats, percent, two_bars

TABLE_ROWS = 12
BAR_CELLS = 28
TOKEN_CELLS = 16
COLOURS = {"target": "cyan", "achieved": "yellow", "agreed": "green", "": ""}


def print_result(console: Console, state: RunState, result: dict[str, Any]) -> None:
    """A finished run: its numbers, and the largest tokens of target and achieved as bars."""
    if state.snapshot is not None:
        console.print(token_table(state.snapshot.tokens[:TABLE_ROWS], result["kl"]))
    limits = [f"uniform {nats(result['uniform'])}"]
    if result["head_limit"] is not None:
        limits.append(f"head limit {nats(result['head_limit'])} + left {nats(result['left'])}")
    if result["floor"] is not None:
        limits.append(f"floor {nats(result['floor'])}")
    console.print(Text(f"KL {nats(result['kl'])} nats   {'   '.join(limits)}", style="bold"))
    console.print(
        f"entropy {nats(result['entropy_achieved'])} of {nats(result['entropy_target'])}   {result['steps']} steps in "
        f"{duration(result['seconds'])}   {result['reason']}",
        highlight=False,
    )
    if result["prompt_text"] is not None:
        console.print(Text("prompt  ") + Text(visible_token(result["prompt_text"]), style="bold"))
    console.print(Text(f"run     {result['run']}"), soft_wrap=True)


def token_table(rows: Sequence[TokenMass], kl: float) -> Table:
    """Tokens with target beside achieved, as numbers and as one bar.

    Args:
        rows: largest first.
        kl: what the shares are parts of, in nats.
    """
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("token")
    for name in ("id", "target", "achieved", "gap", "share"):
        table.add_column(name, justify="right")
    table.add_column(
        Text.assemble(("▀ target", COLOURS["target"]), " ", ("▄ achieved", COLOURS["achieved"]), " █ both")
    )
    largest = max((max(row.target, row.achieved) for row in rows), default=0.0) or 1.0
    for row in rows:
        spans = two_bars(row.target / largest, row.achieved / largest, BAR_CELLS)
        table.add_row(
            Text(fit(visible_token(row.text), TOKEN_CELLS)),
            count(row.id),
            mass(row.target),
            mass(row.achieved),
            gap(row.achieved - row.target),
            percent(row.share / kl if kl > 0 else None),
            Text.assemble(*((text, COLOURS[role]) for text, role in spans)),
        )
    return table


def print_presets(console: Console, presets: Sequence[Preset]) -> None:
    """One line a preset."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("preset", "family", "entropy", "method"):
        table.add_column(name)
    table.add_column("what it asks for", overflow="fold")
    for preset in presets:
        asked = getattr(preset.spec.target, "entropy", None)
        table.add_row(
            Text(visible_token(preset.name), style="bold"),
            preset.spec.target.family,
            "" if asked is None else nats(asked),
            preset.spec.search.method,
            Text(preset.spec.description),
        )
    console.print(table)


def print_models(console: Console, models: Sequence[ModelEntry]) -> None:
    """One line a model."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("model", "title", "parameters", "vocabulary", "state", "from"):
        table.add_column(name)
    for model in models:
        table.add_row(
            Text(model.name, style="bold"),
            model.title,
            magnitude(model.parameters),
            count(model.vocab_size),
            {"prepared": "ready", "installed": "to be converted once", "hub": "to be downloaded"}[model.status],
            Text(visible_token(model.source)),
        )
    console.print(table)
