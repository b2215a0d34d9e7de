"""`distprompt-tui report`: the results of a run or a sweep as text, HTML page, figures or table."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from distprompt_tui.cli.options import RunsDirOption, new_console, runs_folder, say
from distprompt_tui.core.errors import NotFoundError, UsageError
from distprompt_tui.core.storage.safe_io import user_path, write_out

if TYPE_CHECKING:
    from distprompt_tui.runs.directory import RunDirectory
    from distprompt_tui.sweeps.directory import SweepDirectory


def report(
    name: Annotated[str, typer.Argument(metavar="RUN|SWEEP", help="Folder, name, or part of a name.")],
    html: Annotated[Path | None, typer.Option("--html", help="Write a self-contained HTML page.")] = None,
    figures: Annotated[Path | None, typer.Option("--figures", help="Folder for the curves as PNG and SVG.")] = None,
    csv: Annotated[Path | None, typer.Option("--csv", help="Write the table as CSV.")] = None,
    runs_dir: RunsDirOption = None,
) -> None:
    """Print the results of a run or a sweep: curves, tables, findings."""
    from distprompt_tui.sweeps.directory import SweepDirectory

    found = _find(name, runs_folder(runs_dir))
    if isinstance(found, SweepDirectory):
        _report_sweep(found, html, figures, csv)
    elif figures is not None:
        raise UsageError(f"{found.name} is a run, and --figures is for sweeps; --html shows a run's curve")
    else:
        _report_run(found, html, csv)


def _report_sweep(found: SweepDirectory, html: Path | None, figures: Path | None, csv: Path | None) -> None:
    from distprompt_tui.cli.report_console import print_sweep_report
    from distprompt_tui.reports.figures import write_figures
    from distprompt_tui.reports.sweep_page import sweep_page
    from distprompt_tui.reports.sweep_report import report_sweep

    made = report_sweep(found)
    print_sweep_report(new_console(), made)
    with _writing():
        if html is not None:
            _write(html, sweep_page(made, found.read_result).encode())
        if csv is not None:
            found.write_table()
            _write(csv, found.table.read_bytes())
        for path in write_figures(made, user_path(figures)) if figures is not None else ():
            say(f"wrote {path}")


def _report_run(found: RunDirectory, html: Path | None, csv: Path | None) -> None:
    from distprompt_tui.cli.report_console import print_run_report
    from distprompt_tui.reports.run_page import run_page
    from distprompt_tui.reports.run_report import report_run
    from distprompt_tui.runs.export import export_run

    made = report_run(found)
    print_run_report(new_console(), made)
    with _writing():
        if html is not None:
            _write(html, run_page(made).encode())
        if csv is not None:
            say(f"wrote {export_run(found, 'csv', csv)}")


def _find(name: str, runs_dir: Path) -> SweepDirectory | RunDirectory:
    from distprompt_tui.core.config.paths import sweeps_dir
    from distprompt_tui.runs.directory import find_run
    from distprompt_tui.sweeps.directory import find_sweep

    try:
        return find_sweep(name, sweeps_dir())
    except NotFoundError as no_sweep:
        try:
            return find_run(name, runs_dir)
        except NotFoundError as no_run:
            raise NotFoundError(f"{no_sweep}; {no_run}") from None


@contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UsageError(f"{error.filename or 'the report'} cannot be written: {error.strerror}") from error


def _write(path: Path, data: bytes) -> None:
    path = user_path(path)
    try:
        write_out(path, data)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from error
    say(f"wrote {path}")
