"""What may be imported where, seen in fresh interpreters: the linter reads the code, this runs it."""

from __future__ import annotations

import subprocess
import sys

import pytest

TORCH_FREE = [
    "distprompt_tui.cli",
    "distprompt_tui.runs.headless",
    "distprompt_tui.core.config.presets",
    "distprompt_tui.cli.tables",
    "distprompt_tui.reports.run_page",
    "distprompt_tui.reports.sweep_page",
    "distprompt_tui.reports.figures",
    "distprompt_tui.cli.report_console",
    "distprompt_tui.runs.process",
    "distprompt_tui.runs.state",
    "distprompt_tui.sweeps.executors.local",
    "distprompt_tui.sweeps.executors.ray",
    "distprompt_tui.cli.sweep_console",
    "distprompt_tui.models.registry",
    "distprompt_tui.targets",
    "distprompt_tui.core.text.terminal_text",
    "distprompt_tui.models.vocabulary",
    "distprompt_tui.tui.app",
    "distprompt_tui.runs.recorded_run",
]


def modules_after(*imports: str) -> set[str]:
    """Names of top-level packages that are loaded after some imports."""
    code = f"import sys, {', '.join(imports)}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def test_viewers_never_load_torch() -> None:
    assert not modules_after(*TORCH_FREE) & {"torch", "transformers", "scipy"}


def test_searching_never_loads_the_app() -> None:
    workers = ("distprompt_tui.worker.session", "distprompt_tui.worker.model_server")
    assert not modules_after(*workers) & {"textual", "typer"}


def test_the_package_itself_loads_nothing_heavy() -> None:
    assert not modules_after("distprompt_tui") & {"torch", "transformers", "textual", "numpy", "pydantic"}


@pytest.mark.parametrize("late", ["numpy", "tokenizers", "textual", "pydantic"])
def test_help_needs_nothing_heavy(late: str) -> None:
    assert late not in modules_after("distprompt_tui.cli")
