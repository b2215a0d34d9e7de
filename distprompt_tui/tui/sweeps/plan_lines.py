"""Lines for the grid of a sweep without results: its settings, and its series of targets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len

from distprompt_tui.core.text.formatting import Line, counted
from distprompt_tui.core.text.terminal_text import fit, sanitize
from distprompt_tui.tui.drawing.styled_text import truncate

if TYPE_CHECKING:
    from distprompt_tui.sweeps.sweep_spec import Series, Sweep

_GAP = "   "
_MOST_CELLS = 48  # of a column


def plan_lines(sweep: Sweep, width: int) -> list[Line]:
    """Return two tables: searches and steps of each setting; entropies, targets and recipe of each series."""
    lines = [*_table(("setting", "searches", "steps of each"), _settings(sweep)), []]
    lines += _table(("series", "entropies", "targets", "recipe"), [_series(sweep, each) for each in sweep.series])
    repeats = [f"initial prompts from seeds {', '.join(map(str, sweep.seeds))}"] if len(sweep.seeds) > 1 else []
    repeats += [f"the best of {sweep.restarts} restarts counts"] if sweep.restarts > 1 else []
    lines += [[], [("; ".join(repeats), "quiet")]] if repeats else []
    return [truncate(line, width) for line in lines]


def _settings(sweep: Sweep) -> list[tuple[str, ...]]:
    from distprompt_tui.sweeps.results import SearchConfig

    steps = {"soft": sweep.soft.steps, "hard": sweep.hard.steps}
    return [
        (str(SearchConfig(method, model, length)), f"{sweep.count_for(model):,}", f"{steps[method]:,}")
        for model in sweep.models
        for method in sweep.methods
        for length in sweep.lengths
    ]


def _series(sweep: Sweep, series: Series) -> tuple[str, ...]:
    points = [point for point in sweep.points(series) if point is not None]
    entropies = ", ".join(f"{point:g}" for point in points) + " nats" if points else "as made"
    settings = [f"{name} {_value(value)}" for name, value in series.target.items() if name != "family"]
    only = [f"only on {', '.join(series.models)}"] if series.models is not None else []
    recipe = ", ".join([str(series.target["family"]), *settings, *only])
    count, unit = sweep.target_count(series), "text" if series.takes_text else "seed"
    targets = counted(count, unit) if series.takes_text or series.takes_seed else str(count)
    return series.name, entropies, targets, recipe


def _value(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> list[Line]:
    texts = [names, *([sanitize(text) for text in row] for row in rows)]
    cells = [min(max(map(cell_len, column)), _MOST_CELLS) for column in zip(*texts, strict=True)]

    def line(row: Sequence[str], roles: Sequence[str]) -> Line:
        columns = zip(row, cells, roles, strict=True)
        return [(f"{fit(text, room)}{_GAP}", role) for text, room, role in columns]

    header, *others = texts
    return [
        line(header, ["quiet"] * len(header)),
        *(line(row, ["strong", *[""] * (len(header) - 1)]) for row in others),
    ]
