"""The command line. Each command parses its options, calls one function and prints. Heavy imports are lazy."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import typer

from distprompt_tui.cli.bench import bench
from distprompt_tui.cli.lists import doctor, keys, models_app, paths, presets_app
from distprompt_tui.cli.options import fail
from distprompt_tui.cli.output import finish, guard_streams
from distprompt_tui.cli.reports import report
from distprompt_tui.cli.runs import runs_app
from distprompt_tui.cli.searches import attach, floor, open_app, run, show_target
from distprompt_tui.cli.sweeps import sweep
from distprompt_tui.core.errors import DistPromptError, UsageError, first_line
from distprompt_tui.core.text.terminal_text import sanitize
from distprompt_tui.runs.isolation import open_standard_streams

EXIT_CODES = """Exit codes: 0 success, 1 run failed, 2 usage error or invalid preset, 3 not found, 4 the divergence of
--until was not reached, 130 interrupted."""

app = typer.Typer(
    name="distprompt-tui",
    help="Find prompts whose next-token distribution is close to a target. Without a command, open the app.",
    epilog=EXIT_CODES,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.callback(invoke_without_command=True)(open_app)
app.command()(run)
app.command("target")(show_target)
app.command()(floor)
app.command()(attach)
app.command()(sweep)
app.command()(report)
app.command()(doctor)
app.command()(bench)
app.command()(keys)
app.command()(paths)
app.add_typer(presets_app, name="presets")
app.add_typer(models_app, name="models")
app.add_typer(runs_app, name="runs")


def main() -> None:
    """Run the command line; program and system errors become one line on stderr, other errors keep their traceback."""
    open_standard_streams()
    stdout = guard_streams()
    try:
        try:
            _check_working_directory()
            app(prog_name="distprompt-tui")
        except DistPromptError as error:
            fail(str(error), error.exit_code)
        except OSError as error:
            where = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
            fail(where + (error.strerror or first_line(error)), 1)
    except SystemExit as end:
        if not (problem := finish(stdout)):
            raise
        print(f"distprompt-tui: {sanitize(problem)}", file=sys.stderr)
        sys.exit(end.code or 1)


def _check_working_directory() -> None:
    """Raise a UsageError in a deleted working directory: relative paths have no meaning, and torch does not load."""
    try:
        Path.cwd()
    except FileNotFoundError:
        raise UsageError("the working directory no longer exists: change to another one") from None
