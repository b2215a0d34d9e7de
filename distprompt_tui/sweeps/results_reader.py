"""Reads a growing sweep directory. Its contents are untrusted: invalid lines are skipped."""

from __future__ import annotations

from distprompt_tui.core.storage.decode import decoder_of
from distprompt_tui.runs.events import Tailer
from distprompt_tui.sweeps.costs import Cost
from distprompt_tui.sweeps.directory import Failure, SweepDirectory
from distprompt_tui.sweeps.results import ResultRow


class SweepReader:
    """Incremental reader of rows (by key, in file order), failures and costs. Not thread-safe."""

    def __init__(self, directory: SweepDirectory) -> None:
        self.rows: dict[str, ResultRow] = {}
        self.costs: list[Cost] = []
        self._failures: dict[str, Failure] = {}
        self._rows = Tailer(directory.rows_file, decoder_of(ResultRow))
        self._failed = Tailer(directory.failures_file, decoder_of(Failure))
        self._tasks = Tailer(directory.tasks_file, decoder_of(Cost))

    def read(self) -> bool:
        """Read new lines; return whether there were any."""
        rows, failures, costs = self._rows.read(), self._failed.read(), self._tasks.read()
        self.rows |= {row.key: row for row in rows}
        self._failures |= {failure.key: failure for failure in failures}
        self.costs += costs
        return bool(rows or failures or costs)

    @property
    def failures(self) -> list[Failure]:
        """The newest failure of each search without a row."""
        return [failure for failure in self._failures.values() if failure.key not in self.rows]
