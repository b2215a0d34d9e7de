"""Reads the selected run of a list for its preview. Nothing is read for a run whose files have not changed."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from distprompt_tui.core.errors import DistPromptError
from distprompt_tui.runs.compare import spec_differences
from distprompt_tui.runs.state import RunState
from distprompt_tui.runs.summary import RunSummary
from distprompt_tui.tui.run.monitor import RunMonitor

if TYPE_CHECKING:
    from pathlib import Path

    from distprompt_tui.runs.directory import RunDirectory

MAX_KEPT = 16  # a state has up to 4,096 points of its curve, about 1 MB


@dataclass(frozen=True)
class Changes:
    """Spec fields of a run that differ from its preset, or from the defaults if `preset` is empty.

    Attributes:
        fields: (field, value there, value in the run); an empty text for a missing value.
    """

    preset: str = ""
    fields: tuple[tuple[str, str, str], ...] = ()


@dataclass(frozen=True)
class RunPreview:
    """A run beside a list; `changes` is None if its spec or preset cannot be read."""

    summary: RunSummary
    state: RunState = field(default_factory=RunState)
    changes: Changes | None = None


class PreviewReader:
    """Reads previews and keeps the latest ones. `read` blocks on files: call it in a thread. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[Path, tuple[RunMonitor, RunPreview]] = OrderedDict()

    def known(self, summary: RunSummary) -> RunPreview | None:
        """Return a run's preview if its files have not changed since it was read."""
        kept = self._kept.get(summary.run.path)
        is_current = kept is not None and kept[1].summary.file_version == summary.file_version
        return kept[1] if kept is not None and is_current else None

    def read(self, summary: RunSummary) -> RunPreview:
        """Read what was added to a run's files since the last call."""
        if summary.problem:
            return RunPreview(summary)
        with self._lock:
            if (known := self.known(summary)) is not None:
                return known
            path = summary.run.path
            monitor, last = self._kept.pop(path, (RunMonitor(summary.run), None))
            changes = last.changes if last is not None else changes_of(summary.run)
            preview = RunPreview(summary, monitor.poll().state, changes)
            self._kept[path] = (monitor, preview)
            while len(self._kept) > MAX_KEPT:
                self._kept.popitem(last=False)
            return preview


def changes_of(run: RunDirectory) -> Changes | None:
    """Compare a run's spec with its preset; None if one of them cannot be read."""
    from distprompt_tui.core.config.presets import load_preset, with_method
    from distprompt_tui.core.config.spec import RunSpec

    try:
        spec = run.read_spec()
        base = load_preset(spec.preset).spec if spec.preset else RunSpec(target=spec.target)
        base = with_method(base, spec.search.method)
    except DistPromptError:
        return None
    before, now = (each.model_dump(mode="json", exclude_none=True) for each in (base, spec))
    differences = spec_differences([before | {"preset": spec.preset}, now])
    return Changes(spec.preset, tuple((name, old or "", new or "") for name, (old, new) in differences.items()))
