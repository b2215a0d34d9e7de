"""Lists all sweeps: those with a directory, and the files of those that have not been started."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from distprompt_tui.core.errors import UsageError
from distprompt_tui.core.storage.safe_io import list_folders
from distprompt_tui.sweeps.catalog import read_sweep, sweep_files
from distprompt_tui.sweeps.directory import GRID, SweepDirectory
from distprompt_tui.sweeps.process import runner_pid
from distprompt_tui.sweeps.results_reader import SweepReader
from distprompt_tui.sweeps.sweep_spec import Sweep

State = Literal["running", "done", "failed", "stopped", "not begun", "damaged"]

Size = Literal["full", "quick", ""]
"""Size of a sweep within its file; empty if no file defines the sweep, for example after an edit."""


@dataclass(frozen=True)
class SweepProgress:
    """State and search counts of a sweep. `done` includes `invalid` searches; the next start retries `failed` ones."""

    state: State
    done: int = 0
    total: int = 0
    failed: int = 0
    invalid: int = 0


@dataclass(frozen=True)
class SweepEntry:
    """One sweep of the list. `sweep` is None if its file is damaged.

    `changed_at` is the time of its last row or its start, Unix seconds; None if it has not been started.
    """

    directory: SweepDirectory
    sweep: Sweep | None
    progress: SweepProgress
    size: Size = ""
    changed_at: float | None = None
    problem: str = ""


def progress_of(sweep: Sweep, directory: SweepDirectory, reader: SweepReader, is_running: bool) -> SweepProgress:
    """Compute the progress of a sweep.

    The caller must determine `is_running` before it reads the files, because a runner writes all rows before it ends.
    """
    failures = reader.failures
    invalid = sum(failure.attempts == 0 for failure in failures)
    failed, done, total = len(failures) - invalid, len(reader.rows) + invalid, sweep.search_count
    state: State = "stopped"
    if not directory.sweep_file.exists():
        state = "not begun"
    elif is_running:
        state = "running"
    elif done >= total:
        state = "done"
    elif failed:
        state = "failed"
    return SweepProgress(state, min(done, total), total, failed, invalid)


class SweepList:
    """Reads all sweeps incrementally. Not thread-safe."""

    def __init__(self, sweeps_dir: Path) -> None:
        self._sweeps_dir = sweeps_dir
        self._readers: dict[Path, SweepReader] = {}

    def read(self) -> list[SweepEntry]:
        """Return running sweeps, then other started ones by time of change, then those not started."""
        offered = list(_offered(self._sweeps_dir))
        sizes = {entry.directory.path: entry.size for entry in offered}
        try:
            found, unreadable = list_folders(self._sweeps_dir, GRID)
        except UsageError as error:
            return [_unreadable(self._sweeps_dir, str(error)), *offered]
        folders = [path for path, _ in found]
        self._readers = {path: self._readers.get(path) or SweepReader(SweepDirectory(path)) for path in folders}
        begun = [self._begun(path, sizes.get(path, "")) for path in folders]
        begun.sort(key=lambda entry: (entry.progress.state != "running", -(entry.changed_at or 0.0)))
        not_begun = [entry for entry in offered if entry.directory.path not in self._readers]
        begun += [_unreadable(entry.path, f"cannot be read: {entry.why}") for entry in unreadable]
        return [*begun, *sorted(not_begun, key=lambda entry: bool(entry.problem))]

    def _begun(self, path: Path, size: Size) -> SweepEntry:
        directory, reader = SweepDirectory(path), self._readers[path]
        changed_at = max((_changed_at(file) for file in (directory.sweep_file, directory.rows_file)), default=0.0)
        try:
            sweep = directory.read_sweep()
        except UsageError as error:
            return SweepEntry(directory, None, SweepProgress("damaged"), "", changed_at, str(error))
        is_running = runner_pid(directory) is not None
        reader.read()
        return SweepEntry(directory, sweep, progress_of(sweep, directory, reader, is_running), size, changed_at)


def _unreadable(path: Path, problem: str) -> SweepEntry:
    return SweepEntry(SweepDirectory(path), None, SweepProgress("damaged"), "", 0.0, problem)


def _offered(sweeps_dir: Path) -> Iterator[SweepEntry]:
    for path in sweep_files():
        try:
            full = read_sweep(path)
        except UsageError as error:
            yield SweepEntry(SweepDirectory(path), None, SweepProgress("damaged"), problem=str(error))
            continue
        sizes: list[tuple[Size, Sweep]] = [("full", full)]
        sizes += [("quick", full.with_quick_overrides())] if full.quick else []
        for size, sweep in sizes:
            directory = SweepDirectory(sweeps_dir / sweep.folder_name)
            yield SweepEntry(directory, sweep, SweepProgress("not begun", total=sweep.search_count), size)


def _changed_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
