"""Runs in a line each, living and ended: from their specs and the ends of their events, read again only where a file
has changed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from distprompt_tui.bounds.values import Bounds
from distprompt_tui.errors import UsageError
from distprompt_tui.runs.events import Tailer
from distprompt_tui.runs.state import FORCED
from distprompt_tui.storage.decode import field, number, positive, table, text, whole
from distprompt_tui.storage.safe_io import open_regular

if TYPE_CHECKING:
    from distprompt_tui.runs.directory import RunDirectory
    from distprompt_tui.storage.safe_io import Unreadable

T = TypeVar("T")

_TAIL_BYTES = 131_072
"""Holds at least one step event between two of the largest snapshots."""

_SNAPSHOT, _BOUNDS = b'"type":"snapshot"', b'"type":"bounds"'
_TYPE_WITHIN = 100
"""An event's type stands in its first bytes. Snapshots are nine tenths of the file and tell nothing here."""

Order = Literal["newest", "best", "excess", "target", "model", "state"]
ORDERS: tuple[Order, ...] = ("newest", "best", "excess", "target", "model", "state")
"""`newest`: the living ones first. Numbers: the smallest first, what is not known last."""


@dataclass(frozen=True)
class RunLabel:
    """What a run is, known from its spec before the worker has said anything."""

    preset: str = ""
    model: str = ""
    method: str = ""
    length: int = 0
    seed: int = 0


@dataclass(frozen=True)
class RunSummary:
    """One run; divergences and entropies in nats, None where they are not known (yet).

    Attributes:
        state: "running", "paused", "crashed", the reason why it ended, or "unreadable".
        steps_planned: the budget.
        entropy: of the achieved distribution.
        seconds_per_step: None before the second step.
        changed_at: its last event, Unix seconds.
        version: what the files were when they were read.
        scanned: bytes of the events in which the bounds were looked for.
        made_at: when it was begun, Unix seconds.
        problem: why nothing of it can be read; empty where that is not so.
    """

    run: RunDirectory
    title: RunLabel
    state: str
    best_kl: float | None
    head_optimum: float | None
    entropy: float | None
    step: int
    steps_planned: int | None
    seconds_per_step: float | None
    changed_at: float
    version: object = None
    scanned: int = 0
    made_at: float = 0.0
    problem: str = ""

    @property
    def is_live(self) -> bool:
        """Whether a worker is at work on it."""
        return self.state in ("running", "paused")

    @property
    def is_resumable(self) -> bool:
        """Whether it ended before its time, so that a new worker would have something to do."""
        return self.state in ("crashed", "stopped", FORCED, "error")

    @property
    def excess(self) -> float | None:
        """Best divergence − head optimum."""
        return Bounds(head_optimum=self.head_optimum).excess(self.best_kl)


def read_runs(runs_dir: Path, known: Iterable[RunSummary] = ()) -> list[RunSummary]:
    """All runs, the newest first; then what lies among them and cannot be read.

    Args:
        runs_dir: the folder of all runs.
        known: from an earlier call: what has not changed since is not read again.

    Raises:
        UsageError: the folder itself cannot be read.
    """
    from distprompt_tui.runs.directory import list_entries

    before = {summary.run.path: summary for summary in known}
    runs, unreadable = list_entries(runs_dir)
    return [*(summarise(run, before.get(run.path)) for run in runs), *map(_unreadable, unreadable)]


def summarise(run: RunDirectory, known: RunSummary | None = None) -> RunSummary:
    """A run's line. A damaged or half-written file leaves its part unknown."""
    from distprompt_tui.runs.directory import made_at
    from distprompt_tui.runs.process import worker_pid

    # Before the events: a worker that ends in between has written its `ended` first.
    alive = worker_pid(run) is not None
    changed = _change(run.events) or _change(run.spec_file)
    version = (alive, changed)
    if known is not None and known.version == version:
        return known
    newest = _newest_events(run.events)
    step, ended = newest.get("step", {}), _end(newest)
    result = field(table, ended, "result") or {}
    earlier = field(table, newest.get("ended", {}), "result") or {}
    head_optimum, scanned = (known.head_optimum, known.scanned) if known is not None else (None, 0)
    if head_optimum is None and (head_optimum := field(number, result, "head_optimum")) is None:
        head_optimum, scanned = _find_head_optimum(run.events, scanned)
    spec = read_spec_fields(run.spec_file)
    steps, seconds = _first(whole, (step, "step"), (result, "steps")) or 0, field(positive, step, "seconds")
    return RunSummary(
        run=run,
        title=title_of(spec, run.name),
        state=_state(newest, alive),
        best_kl=_first(number, (result, "kl"), (step, "best_kl"), (earlier, "kl")),
        head_optimum=head_optimum,
        entropy=_first(number, (result, "entropy_achieved"), (step, "entropy")),
        step=steps,
        steps_planned=field(whole, field(table, spec, "budget") or {}, "steps"),
        seconds_per_step=seconds / steps if steps and seconds is not None else None,
        changed_at=changed[0] / 1e9 if changed else time.time(),
        version=version,
        scanned=scanned,
        made_at=made_at(run),
    )


def _unreadable(entry: Unreadable) -> RunSummary:
    """The line of an entry of which nothing can be read."""
    from distprompt_tui.runs.directory import RunDirectory

    title = RunLabel(preset=entry.path.name)
    run, unknown = RunDirectory(entry.path), (None, None, None)
    return RunSummary(run, title, "unreadable", *unknown, 0, None, None, 0.0, problem=entry.why)


def as_dict(summary: RunSummary) -> dict[str, Any]:
    """A run's line as JSON has it, with the names of `best/result.json`."""
    title = summary.title
    return {
        "run": str(summary.run.path),
        "state": summary.state,
        "preset": title.preset,
        "model": title.model,
        "method": title.method,
        "length": title.length,
        "seed": title.seed,
        "kl": summary.best_kl,
        "head_optimum": summary.head_optimum,
        "excess": summary.excess,
        "entropy_achieved": summary.entropy,
        "steps": summary.step,
        "steps_planned": summary.steps_planned,
        "changed": round(summary.changed_at, 3),
        "problem": summary.problem or None,
    }


def sorted_runs(runs: Iterable[RunSummary], order: Order) -> list[RunSummary]:
    """The runs in another order; where two are alike, the newer one first."""
    newest = sorted(runs, key=lambda summary: (summary.made_at, summary.run.name), reverse=True)
    if order == "newest":
        return sorted(newest, key=lambda summary: not summary.is_live)
    if order in ("best", "excess"):
        numbers = {"best": lambda summary: summary.best_kl, "excess": lambda summary: summary.excess}
        return sorted(newest, key=lambda summary: _unknown_last(numbers[order](summary)))
    texts = {
        "target": lambda summary: summary.title.preset,
        "model": lambda summary: summary.title.model,
        "state": lambda summary: summary.state,
    }
    return sorted(newest, key=lambda summary: texts[order](summary).casefold())


def matching_runs(runs: Iterable[RunSummary], text: str) -> list[RunSummary]:
    """The runs in whose state, target, model, method or name every word of a text occurs."""
    words = text.casefold().split()
    return [summary for summary in runs if all(word in _words_of(summary) for word in words)]


def seconds_per_step(runs: Sequence[RunSummary], title: RunLabel) -> float | None:
    """What a step took in the newest run of the same model and method; None where there was none."""
    for summary in sorted(runs, key=lambda summary: -summary.changed_at):
        same = (summary.title.model, summary.title.method) == (title.model, title.method)
        if same and summary.seconds_per_step is not None:
            return summary.seconds_per_step
    return None


def read_spec_fields(spec_file: Path) -> dict[str, Any]:
    """A run's spec as plain values, for viewers that must show old and damaged ones too; empty where it is neither."""
    from distprompt_tui.config.toml_files import read_toml

    try:
        return read_toml(spec_file)[0]
    except UsageError:
        return {}


def title_of(spec: dict[str, Any], name: str) -> RunLabel:
    """The title of a spec as plain values; the run's name where they do not make one."""
    try:
        return RunLabel(
            preset=text(spec.get("preset") or spec["target"]["family"]),
            model=Path(text(spec["model"]["name"])).name,
            method=text(spec["search"]["method"]),
            length=whole(spec["search"]["length"]),
            seed=whole(spec.get("seed", 0)),
        )
    except (KeyError, TypeError, ValueError):
        return RunLabel(preset=name)


def _state(newest: dict[str, dict[str, Any]], alive: bool) -> str:
    if alive:
        return "paused" if newest.get("control", {}).get("outcome") == "paused" else "running"
    reason = field(text, _end(newest), "reason")
    return "crashed" if reason is None else reason or "ended"


def _end(newest: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The event that ended the run; empty where there is none, or where a worker went on after it."""
    last, began, stepped = (field(whole, newest.get(kind, {}), "seq") for kind in ("ended", "resumed", "step"))
    went_on = began is not None and began > (last or 0)
    is_last = not went_on and (stepped is None or (last is not None and last >= stepped))
    return newest.get("ended", {}) if is_last else {}


def _newest_events(path: Path) -> dict[str, dict[str, Any]]:
    """The newest event of each type near the end of the file, snapshots left out.

    What was done to the prompt is left out too: it says nothing of how the run is.
    """
    try:
        with open_regular(path) as file:
            file.seek(0, 2)
            start = max(file.tell() - _TAIL_BYTES, 0)
            file.seek(start)
            lines = file.read().split(b"\n")
    except OSError:
        return {}
    newest = {}
    tailer = Tailer(path)
    for line in lines[1 if start else 0 :]:
        event = None if _SNAPSHOT in line[:_TYPE_WITHIN] else tailer.parse(line)
        if event is not None and isinstance(event.get("type"), str) and not _is_of_the_prompt(event):
            newest[event["type"]] = event
    return newest


def _is_of_the_prompt(event: dict[str, Any]) -> bool:
    """Whether it answers a wish for another prompt."""
    return event["type"] == "control" and event.get("command") in ("lock", "unlock", "edit")


def _find_head_optimum(path: Path, start: int) -> tuple[float | None, int]:
    """The head optimum in the events from a byte on, and the byte up to which there was none."""
    tailer = Tailer(path, start)
    for place, line in tailer.lines():
        found = field(number, tailer.parse(line) or {}, "head_optimum") if _BOUNDS in line[:_TYPE_WITHIN] else None
        if found is not None:
            return found, place
        start = place + len(line)
    return None, start


def _change(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


def _first(read: Callable[[Any], T], *places: tuple[dict[str, Any], str]) -> T | None:
    """The first of several fields that is there."""
    found = (field(read, fields, name) for fields, name in places)
    return next((value for value in found if value is not None), None)


def _unknown_last(value: float | None) -> tuple[bool, float]:
    return value is None, value or 0.0


def _words_of(summary: RunSummary) -> str:
    title = summary.title
    return " ".join((summary.state, title.preset, title.model, title.method, summary.run.name)).casefold()
