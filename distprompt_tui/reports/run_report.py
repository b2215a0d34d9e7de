"""Collects the data of a run's report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distprompt_tui.core.errors import NotFoundError
from distprompt_tui.core.storage.decode import decoder_of
from distprompt_tui.runs.directory import RunDirectory
from distprompt_tui.runs.event_reader import EventLogReader
from distprompt_tui.runs.reducer import reduce_all
from distprompt_tui.runs.schema import Snapshot, Step
from distprompt_tui.runs.state import RunState


@dataclass(frozen=True)
class RunReport:
    """A run with its first snapshot, its result as in `run --json`, the text of `spec.toml`, and the manifest."""

    name: str
    state: RunState
    first: Snapshot | None
    result: dict[str, Any]
    spec: str
    manifest: dict[str, Any]

    @property
    def curve(self) -> tuple[Step, ...]:
        return self.state.curve


def report_run(run: RunDirectory) -> RunReport:
    """Read a run directory.

    Raises:
        NotFoundError: the run has no result yet.
    """
    recording = EventLogReader(run.events)
    state = reduce_all(recording.read())
    result = state.result or _json(run.result)  # an interrupted run has a best prompt, too
    if not result:
        raise NotFoundError(f"{run.name} has no result yet: nothing to report")
    return RunReport(
        name=run.name,
        state=state,
        first=recording.snapshot(recording.places[0]) if recording.places else None,
        result={"reason": "not ended"} | result,
        spec=run.spec_file.read_text(encoding="utf-8"),
        manifest=_json(run.manifest),
    )


def _json(path: Path) -> dict[str, Any]:
    try:
        return decoder_of(dict[str, Any])(path.read_bytes())
    except (OSError, ValueError):
        return {}
