"""The directory of a sweep: the grid, a row for each finished search, and the failures. docs/sweeps.md lists the files.

`results/KEY.json` is written before the row of its search, and each row is written once.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from distprompt_tui.core.config.spec_base import LEGACY_CONTEXT
from distprompt_tui.core.config.validation import read_checked
from distprompt_tui.core.errors import NotFoundError, UsageError, near_matches
from distprompt_tui.core.storage.decode import Count, decoder_of
from distprompt_tui.core.storage.folder import FileIn
from distprompt_tui.core.storage.jsonl import append_lines, end_torn_line
from distprompt_tui.core.storage.lock import take_lock, write_holder
from distprompt_tui.core.storage.safe_io import (
    is_part,
    list_folders,
    open_private,
    read_json,
    stat_inside,
    user_path,
    write_atomically,
    write_json,
)
from distprompt_tui.runs.events import Tailer
from distprompt_tui.sweeps.results import ResultRow
from distprompt_tui.sweeps.sweep_spec import Sweep
from distprompt_tui.sweeps.tasks import SearchOutcome, SweepSearch, all_searches

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T")

GRID = "sweep.toml"  # a folder that contains this file is a sweep directory


@dataclass(frozen=True)
class Failure:
    """A search without a row. `attempts` is 0 for an invalid target, which is not tried again."""

    key: str
    attempts: Count
    error: str


@dataclass(frozen=True)
class SweepDirectory:
    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    sweep_file = FileIn(GRID)
    inputs_file = FileIn("inputs.json")
    """Hashes of the models and files at the start of the sweep."""
    rows_file = FileIn("rows.jsonl")
    failures_file = FileIn("failures.jsonl")
    """Searches with an invalid target, and failed ones."""
    tasks_file = FileIn("tasks.jsonl")
    """The cost of each finished task."""
    results = FileIn("results")
    """Prompts and largest tokens, one file per row."""
    table = FileIn("results.csv")
    log = FileIn("worker.log")
    lock = FileIn("lock")
    """Locked by the process that runs the sweep; contains its process id."""

    def read_sweep(self) -> Sweep:
        """Read the resolved grid.

        Raises:
            UsageError: the file is missing or damaged.
        """
        return read_checked(self.sweep_file, Sweep, LEGACY_CONTEXT)

    def read_rows(self) -> list[ResultRow]:
        """Read the rows of the grid's searches, in the order of the grid."""
        return filter_to_grid(read_lines(self.rows_file, ResultRow), all_searches(self.read_sweep()))

    def read_failures(self) -> list[Failure]:
        """Read the newest failure of each search without a row."""
        failures = {failure.key: failure for failure in read_lines(self.failures_file, Failure)}
        done = {row.key for row in read_lines(self.rows_file, ResultRow)}
        return [failure for failure in failures.values() if failure.key not in done]

    def read_result(self, key: str) -> dict[str, Any]:
        """Read the spec, the prompt and the largest tokens of a finished search.

        Raises:
            UsageError: the file is missing or damaged.
        """
        return read_json(self.results / f"{key}.json")

    def write_table(self) -> None:
        text = io.StringIO(newline="")
        writer = csv.writer(text)
        writer.writerow([*(field.name for field in fields(ResultRow)), "excess", "gap_closed"])
        writer.writerows([*asdict(row).values(), row.excess, row.gap_closed] for row in self.read_rows())
        write_atomically(self.table, lambda file: file.write(text.getvalue().encode()))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock of the sweep.

        Raises:
            UsageError: another process holds it, the folder cannot be written, or its file system has no locks.
        """
        try:
            descriptor = open_private(self.lock, os.O_RDWR)
        except OSError as error:
            raise UsageError(f"{self.lock} cannot be written: {error.strerror}") from error
        try:
            take_lock(descriptor, self.lock)
            write_holder(descriptor, os.getpid())
            yield
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).decode()
            raise UsageError(f"{self.name} is already running (process {holder})") from None
        finally:
            os.close(descriptor)


def filter_to_grid(rows: Iterable[ResultRow], searches: Iterable[SweepSearch]) -> list[ResultRow]:
    """Return the rows of the given searches, in their order, without rows that contradict the grid."""
    by_key = {row.key: row for row in rows}
    found = ((search, by_key.get(search.key)) for search in searches)
    return [row for search, row in found if row is not None and _is_of(row, search)]


def _is_of(row: ResultRow, search: SweepSearch) -> bool:
    place = row.config, row.series, row.entropy_asked, row.target_index, row.seed, row.restart
    asked = search.series, search.entropy_asked, search.target_index, search.seed, search.restart
    return place == (search.config, *asked)


class SweepWriter:
    """Appends outcomes to the files of a sweep, each search once. The caller must hold the lock.

    `done` holds the keys of the searches with a row, `invalid` of those with an invalid target.
    """

    def __init__(self, directory: SweepDirectory) -> None:
        self._directory = directory
        for file in (directory.rows_file, directory.failures_file, directory.tasks_file):
            if file.exists():
                with _appending(file) as descriptor:
                    end_torn_line(descriptor)
        self.done = {row.key for row in read_lines(directory.rows_file, ResultRow)}
        self.invalid = {failure.key for failure in directory.read_failures() if failure.attempts == 0}

    @property
    def settled(self) -> set[str]:
        return self.done | self.invalid

    def commit(self, outcomes: Iterable[SearchOutcome]) -> None:
        settled = self.settled
        new = [outcome for outcome in outcomes if outcome.key not in settled]
        rows = [outcome.row for outcome in new if outcome.row is not None]
        for outcome in new:
            if outcome.result is not None:
                write_json(self._directory.results / f"{outcome.key}.json", outcome.result)
        append_records(self._directory.rows_file, rows)
        self.done |= {row.key for row in rows}
        invalid = [Failure(outcome.key, 0, outcome.invalid) for outcome in new if outcome.invalid is not None]
        append_records(self._directory.failures_file, invalid)
        self.invalid |= {failure.key for failure in invalid}

    def mark_failed(self, keys: Iterable[str], attempts: int, error: str) -> list[Failure]:
        settled = self.settled
        failures = [Failure(key, attempts, error) for key in keys if key not in settled]
        append_records(self._directory.failures_file, failures)
        return failures


def make_directory(sweep: Sweep, sweeps_dir: Path) -> SweepDirectory:
    """Create the directory of a resolved sweep, readable by its owner only, or return the existing one.

    Raises:
        UsageError: the directory cannot be written.
    """
    directory = SweepDirectory(sweeps_dir.absolute() / sweep.folder_name)
    try:
        sweeps_dir.mkdir(parents=True, exist_ok=True)
        directory.path.mkdir(mode=0o700, exist_ok=True)
        directory.results.mkdir(mode=0o700, exist_ok=True)
        if not directory.sweep_file.exists():
            write_atomically(directory.sweep_file, lambda file: file.write(sweep.resolved().encode()))
    except OSError as error:
        raise UsageError(f"cannot create a sweep in {sweeps_dir}: {error.strerror}") from error
    return directory


def find_sweep(name: str, sweeps_dir: Path) -> SweepDirectory:
    """Find a sweep by its path, its name, or a part of its name; of several matches, the one modified last.

    Raises:
        NotFoundError: no sweep matches.
    """
    as_path = user_path(name)
    try:
        if stat_inside(as_path, GRID) is not None:
            return SweepDirectory(as_path.absolute())
    except (OSError, ValueError):
        pass  # an invalid path may be a part of a name
    found, unreadable = list_folders(sweeps_dir, GRID)
    there = [path for path, _ in found]
    fitting = [path for path in there if path.name == name] or [path for path in there if is_part(name, path.name)]
    if fitting:
        return SweepDirectory(max(fitting, key=lambda path: path.stat().st_mtime))
    for entry in unreadable:
        if name in (entry.path.name, str(entry.path)):
            raise NotFoundError(f"{entry.path} cannot be read: {entry.why}")
    raise NotFoundError(f"no sweep {name!r} in {sweeps_dir}: {near_matches(name, [path.name for path in there])}")


def read_lines(path: Path, kind: type[T]) -> list[T]:
    """Read a JSON lines file as dataclasses; damaged and unfinished lines are skipped."""
    return Tailer(path, decoder_of(kind)).read()


def append_records(path: Path, records: Sequence[DataclassInstance]) -> None:
    if records:
        with _appending(path) as descriptor:
            append_lines(descriptor, [asdict(record) for record in records])
            os.fsync(descriptor)


@contextmanager
def _appending(path: Path) -> Iterator[int]:
    descriptor = open_private(path, os.O_RDWR | os.O_APPEND)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
