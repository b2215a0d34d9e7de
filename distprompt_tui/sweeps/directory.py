"""A sweep's folder: what was asked, a row for each search that has ended, and what could not be done.

`sweep.toml` is the resolved grid, `inputs.json` what it was begun with; `rows.jsonl` has a line for each ended search,
written once; `results/KEY.json` holds what a report shows of it and is there before its row; `failures.jsonl` tells
what was invalid or failed, `tasks.jsonl` what each task took; `results.csv` is the table of the rows, `worker.log`
what workers printed.
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

from distprompt_tui.config.spec import LEGACY_CONTEXT
from distprompt_tui.config.validation import read_checked
from distprompt_tui.errors import NotFoundError, UsageError, near_matches
from distprompt_tui.runs.events import Tailer
from distprompt_tui.storage.decode import Count, decoder_of
from distprompt_tui.storage.folder import FileIn
from distprompt_tui.storage.jsonl import append_lines, end_torn_line
from distprompt_tui.storage.lock import take_lock, write_holder
from distprompt_tui.storage.safe_io import (
    list_folders,
    open_private,
    read_json,
    stat_inside,
    user_path,
    write_atomically,
    write_json,
)
from distprompt_tui.sweeps.results import ResultRow
from distprompt_tui.sweeps.sweep_spec import Sweep
from distprompt_tui.sweeps.tasks import SearchOutcome, SweepSearch, all_searches

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T")

GRID = "sweep.toml"
"""A folder that has it is a sweep's."""


@dataclass(frozen=True)
class Failure:
    """A search without a row.

    Attributes:
        attempts: how often it was tried before it was given up; 0 where its target was invalid, which no second try
            would change.
        error: one sentence.
    """

    key: str
    attempts: Count
    error: str


@dataclass(frozen=True)
class SweepDirectory:
    """The paths inside one sweep's folder, and what stands in them."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    sweep_file = FileIn(GRID)
    """The resolved grid."""
    inputs_file = FileIn("inputs.json")
    """What models and files were when the sweep was begun."""
    rows_file = FileIn("rows.jsonl")
    """A line for each search that has ended."""
    failures_file = FileIn("failures.jsonl")
    """A line for each search that was invalid or failed."""
    tasks_file = FileIn("tasks.jsonl")
    """What each finished task took."""
    results = FileIn("results")
    """Prompts and largest tokens, a file for each row."""
    table = FileIn("results.csv")
    """The rows for other programs."""
    log = FileIn("worker.log")
    """What workers printed."""
    lock = FileIn("lock")
    """Held by the process that carries the sweep out; holds its id."""

    def read_sweep(self) -> Sweep:
        """The resolved grid.

        Raises:
            UsageError: the file is missing or damaged.
        """
        return read_checked(self.sweep_file, Sweep, LEGACY_CONTEXT)

    def read_rows(self) -> list[ResultRow]:
        """The rows so far that are of the grid, in its order."""
        return filter_to_grid(read_lines(self.rows_file, ResultRow), all_searches(self.read_sweep()))

    def read_failures(self) -> list[Failure]:
        """What was invalid or failed and has no row, the newest word on each search."""
        failures = {failure.key: failure for failure in read_lines(self.failures_file, Failure)}
        done = {row.key for row in read_lines(self.rows_file, ResultRow)}
        return [failure for failure in failures.values() if failure.key not in done]

    def read_result(self, key: str) -> dict[str, Any]:
        """What a report shows of a search with a row: spec, prompt and largest tokens.

        Raises:
            UsageError: it is missing or damaged.
        """
        return read_json(self.results / f"{key}.json")

    def write_table(self) -> None:
        """Make `results.csv` anew from the rows."""
        text = io.StringIO(newline="")
        writer = csv.writer(text)
        writer.writerow([*(field.name for field in fields(ResultRow)), "excess", "gap_closed"])
        writer.writerows([*asdict(row).values(), row.excess, row.gap_closed] for row in self.read_rows())
        write_atomically(self.table, lambda file: file.write(text.getvalue().encode()))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the sweep; no other process can meanwhile.

        Raises:
            UsageError: another process holds it, its folder cannot be written, or it has no locks.
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
            raise UsageError(f"{self.name} is being carried out already (process {holder})") from None
        finally:
            os.close(descriptor)


def filter_to_grid(rows: Iterable[ResultRow], searches: Iterable[SweepSearch]) -> list[ResultRow]:
    """The rows of some searches, in their order; a row that says something else of its place than the grid is none."""
    by_key = {row.key: row for row in rows}
    found = ((search, by_key.get(search.key)) for search in searches)
    return [row for search, row in found if row is not None and _is_of(row, search)]


def _is_of(row: ResultRow, search: SweepSearch) -> bool:
    place = row.config, row.series, row.entropy_asked, row.target_index, row.seed
    return place == (search.config, search.series, search.entropy_asked, search.target_index, search.seed)


class SweepWriter:
    """Writes what comes in, each search once. Only for who holds the sweep's lock.

    Attributes:
        done: keys of the searches with a row.
        invalid: keys of those whose target was invalid.
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
        """Keys of the searches that need no more work."""
        return self.done | self.invalid

    def commit(self, outcomes: Iterable[SearchOutcome]) -> None:
        """Write the outcomes of a task: results first, then all rows at once."""
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
        """Write down that searches without a row are not tried again."""
        settled = self.settled
        failures = [Failure(key, attempts, error) for key in keys if key not in settled]
        append_records(self._directory.failures_file, failures)
        return failures


def make_directory(sweep: Sweep, sweeps_dir: Path) -> SweepDirectory:
    """The folder of a resolved sweep, readable by its owner only; the one that is there already, if it is.

    Raises:
        UsageError: it cannot be written.
    """
    directory = SweepDirectory(sweeps_dir.absolute() / sweep.folder_name)
    try:
        sweeps_dir.mkdir(parents=True, exist_ok=True)
        directory.path.mkdir(mode=0o700, exist_ok=True)
        directory.results.mkdir(mode=0o700, exist_ok=True)
        if not directory.sweep_file.exists():
            write_atomically(directory.sweep_file, lambda file: file.write(sweep.resolved().encode()))
    except OSError as error:
        raise UsageError(f"no sweep can be written under {sweeps_dir}: {error.strerror}") from error
    return directory


def find_sweep(name: str, sweeps_dir: Path) -> SweepDirectory:
    """A sweep's folder by its path, its name, or a part of its name; of several that fit, the one written to last.

    Raises:
        NotFoundError: there is none.
    """
    as_path = user_path(name)
    try:
        if stat_inside(as_path, GRID) is not None:
            return SweepDirectory(as_path.absolute())
    except (OSError, ValueError):
        pass  # a path that cannot be looked at: perhaps a part of a name
    found, unreadable = list_folders(sweeps_dir, GRID)
    there = [path for path, _ in found]
    fitting = [path for path in there if path.name == name] or [path for path in there if name in path.name]
    if fitting:
        return SweepDirectory(max(fitting, key=lambda path: path.stat().st_mtime))
    for entry in unreadable:
        if name in (entry.path.name, str(entry.path)):
            raise NotFoundError(f"{entry.path} cannot be read: {entry.why}")
    raise NotFoundError(f"no sweep {name!r} in {sweeps_dir}: {near_matches(name, [path.name for path in there])}")


def read_lines(path: Path, kind: type[T]) -> list[T]:
    """The records of a file of JSON lines, as dataclasses; a damaged or unfinished line is skipped."""
    return Tailer(path, decoder_of(kind)).read()


def append_records(path: Path, records: Sequence[DataclassInstance]) -> None:
    """Append dataclasses as JSON lines and flush them to disk."""
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
