"""Summaries of runs from their specs and last events. They are read again only if a file has changed."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import msgspec

from distprompt_tui.bounds.values import Bounds
from distprompt_tui.core.errors import UsageError
from distprompt_tui.core.storage.decode import Count, Finite, read_field
from distprompt_tui.core.storage.safe_io import read_json
from distprompt_tui.runs.compare import have_same_task, spec_differences
from distprompt_tui.runs.events import Tailer
from distprompt_tui.runs.reducer import reduce_all
from distprompt_tui.runs.schema import Event, decode_bounds, decode_light_event, read_result
from distprompt_tui.runs.state import FORCED, RunState

if TYPE_CHECKING:
    from distprompt_tui.core.storage.safe_io import Unreadable
    from distprompt_tui.runs.directory import RunDirectory

_TAIL_BYTES = 131_072  # enough for one step event between two of the largest snapshots

SortKey = Literal["newest", "best", "excess", "target", "model", "state"]
ORDERS: tuple[SortKey, ...] = get_args(SortKey)
"""`newest` lists active runs first, then those with the latest event. Numbers ascend, with unknown values last."""


@dataclass(frozen=True)
class RunLabel:
    preset: str = ""
    model: str = ""
    method: str = ""
    length: Count = 0
    seed: Count = 0


@dataclass(frozen=True)
class RunSummary:
    """Summary of one run; divergences and entropies in nats, times in Unix seconds, None if unknown."""

    run: RunDirectory
    title: RunLabel
    state: str  # "running", "paused", "crashed", the reason for its end, or "unreadable"
    best_kl: float | None
    head_optimum: float | None
    entropy: float | None  # of the achieved distribution
    step: int
    steps_planned: int | None
    seconds_per_step: float | None  # None before the second step
    changed_at: float  # time of the last event
    file_version: object = None  # state of the files when they were read
    scan_offset: int = 0  # bytes of the event file already searched for the head optimum
    made_at: float = 0.0
    problem: str = ""  # why the run is unreadable
    device: str = ""  # on which it searched, such as "cpu" or "cuda:0"
    host: str = ""  # name of the machine
    witness_kl: float | None = None  # divergence of a prompt that is known before the search

    @property
    def is_live(self) -> bool:
        return self.state in ("running", "paused")

    @property
    def is_resumable(self) -> bool:
        """Whether the run ended before its budget was spent."""
        return self.state in ("crashed", "stopped", FORCED, "error")

    @property
    def excess(self) -> float | None:
        return Bounds(head_optimum=self.head_optimum).excess(self.best_kl)


def read_runs(runs_dir: Path, known: Iterable[RunSummary] = ()) -> list[RunSummary]:
    """Read all runs, newest first, then the unreadable entries. Unchanged runs keep their summaries in `known`.

    Raises:
        UsageError: `runs_dir` cannot be read.
    """
    from distprompt_tui.runs.directory import list_entries

    before = {summary.run.path: summary for summary in known}
    runs, unreadable = list_entries(runs_dir)
    return [*(summarise(run, before.get(run.path)) for run in runs), *map(_unreadable, unreadable)]


def summarise(run: RunDirectory, known: RunSummary | None = None) -> RunSummary:
    """Summarise a run. Values from a damaged or incomplete file are unknown."""
    from distprompt_tui.runs.directory import made_at
    from distprompt_tui.runs.process import worker_pid

    # Checked before the events are read: a worker writes `ended` before it exits.
    alive = worker_pid(run) is not None
    changed = _change(run.events) or _change(run.spec_file)
    file_version = (alive, changed)
    if known is not None and known.file_version == file_version:
        return known
    state = reduce_all(_last_events(run.events, changed[1] if changed else 0))
    result = read_result(state.result)
    head_optimum, scan_offset = (known.head_optimum, known.scan_offset) if known is not None else (None, 0)
    if head_optimum is None and (head_optimum := result.head_optimum) is None:
        head_optimum, scan_offset = _find_head_optimum(run.events, scan_offset)
    spec = read_spec_fields(run.spec_file)
    steps = state.step or result.steps or 0
    manifest = _read_manifest(run)
    return RunSummary(
        run=run,
        title=title_of(spec, run.name),
        state=_state(state, alive),
        best_kl=state.best_kl,
        head_optimum=head_optimum,
        entropy=state.entropy,
        step=steps,
        steps_planned=read_field(Count, read_field(dict, spec, "budget") or {}, "steps"),
        seconds_per_step=state.seconds / steps if steps and state.curve else None,
        changed_at=changed[0] / 1e9 if changed else time.time(),
        file_version=file_version,
        scan_offset=scan_offset,
        made_at=made_at(run),
        device=read_field(str, manifest, "device") or "",
        host=read_field(str, manifest, "host") or "",
        witness_kl=read_field(Finite, read_field(dict, manifest, "witness") or {}, "kl"),
    )


def _read_manifest(run: RunDirectory) -> dict[str, Any]:
    try:
        return read_json(run.manifest)
    except UsageError:  # missing before the search starts, or damaged
        return {}


def _unreadable(entry: Unreadable) -> RunSummary:
    from distprompt_tui.runs.directory import RunDirectory

    title = RunLabel(preset=entry.path.name)
    run, unknown = RunDirectory(entry.path), (None, None, None)
    return RunSummary(run, title, "unreadable", *unknown, 0, None, None, 0.0, problem=entry.why)


def as_dict(summary: RunSummary) -> dict[str, Any]:
    """Return a summary as a JSON object, with the names of `best/result.json`."""
    return {
        "run": str(summary.run.path),
        "state": summary.state,
        **asdict(summary.title),
        "kl": summary.best_kl,
        "head_optimum": summary.head_optimum,
        "excess": summary.excess,
        "witness_kl": summary.witness_kl,
        "entropy_achieved": summary.entropy,
        "steps": summary.step,
        "steps_planned": summary.steps_planned,
        "changed": round(summary.changed_at, 3),
        "problem": summary.problem or None,
    }


def sorted_runs(runs: Iterable[RunSummary], order: SortKey) -> list[RunSummary]:
    """Sort runs; among equal ones, the one with the later last event comes first."""
    latest = sorted(runs, key=lambda summary: (summary.changed_at, summary.made_at, summary.run.name), reverse=True)
    if order == "newest":
        return sorted(latest, key=lambda summary: not summary.is_live)
    if order in ("best", "excess"):
        numbers = {"best": lambda summary: summary.best_kl, "excess": lambda summary: summary.excess}
        return sorted(latest, key=lambda summary: _unknown_last(numbers[order](summary)))
    texts = {
        "target": lambda summary: summary.title.preset,
        "model": lambda summary: summary.title.model,
        "state": lambda summary: summary.state,
    }
    return sorted(latest, key=lambda summary: texts[order](summary).casefold())


def matching_runs(runs: Iterable[RunSummary], text: str) -> list[RunSummary]:
    """Return the runs with every word of a text in their state, target, model, method or name."""
    words = text.casefold().split()
    return [summary for summary in runs if all(word in _words_of(summary) for word in words)]


def read_spec_fields(spec_file: Path) -> dict[str, Any]:
    """Read a run's spec as plain values, without validation; empty if the file is unreadable."""
    from distprompt_tui.core.config.toml_files import read_toml

    try:
        return read_toml(spec_file)[0]
    except UsageError:
        return {}


def repeats_of(run: RunSummary, runs: Iterable[RunSummary]) -> list[RunSummary]:
    """Return, in their order, those runs whose specs differ from a run's in the seed at most; reads their specs."""
    label, spec = replace(run.title, seed=0), read_spec_fields(run.run.spec_file)
    alike = [other for other in runs if replace(other.title, seed=0) == label]
    return [
        other for other in alike if spec_differences([spec, read_spec_fields(other.run.spec_file)]).keys() <= {"seed"}
    ]


def runs_of_same_task(run: RunSummary, runs: Iterable[RunSummary]) -> list[RunSummary]:
    """Return, in their order, those runs that have a run's target, model and context; reads the specs."""
    spec = read_spec_fields(run.run.spec_file)
    names = (run.title.preset, run.title.model)
    alike = [other for other in runs if (other.title.preset, other.title.model) == names]
    return [other for other in alike if have_same_task(spec, read_spec_fields(other.run.spec_file))]


def title_of(spec: dict[str, Any], name: str) -> RunLabel:
    """Return the label of a spec, or the run's name if a field is missing or invalid."""
    try:
        search = spec["search"]
        fields = {
            "preset": spec.get("preset") or spec["target"]["family"],
            "model": Path(spec["model"]["name"]).name,
            "method": search["method"],
            "length": search["length"],
            "seed": spec.get("seed", 0),
        }
        return msgspec.convert(fields, RunLabel)
    except (KeyError, TypeError, ValueError):
        return RunLabel(preset=name)


def _state(state: RunState, alive: bool) -> str:
    if alive:
        return "paused" if state.phase == "paused" else "running"
    return state.reason or "ended" if state.phase == "ended" else "crashed"


def _last_events(path: Path, size: int) -> list[Event]:
    """Read the last events of a file of `size` bytes. A partial first line is not valid JSON and is skipped."""
    return Tailer(path, decode_light_event, max(size - _TAIL_BYTES, 0)).read()


def _find_head_optimum(path: Path, start: int) -> tuple[float | None, int]:
    """Return the head optimum in the events from byte `start`, or None, and the byte up to which they were read."""
    tailer = Tailer(path, decode_bounds, start)
    found = (bounds.head_optimum for _, bounds in tailer.read_with_offsets() if bounds.head_optimum is not None)
    return next(found, None), tailer.offset


def _change(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


def _unknown_last(value: float | None) -> tuple[bool, float]:
    return value is None, value or 0.0


def _words_of(summary: RunSummary) -> str:
    title = summary.title
    return " ".join((summary.state, title.preset, title.model, title.method, summary.run.name)).casefold()
