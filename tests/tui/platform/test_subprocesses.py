"""The app's subprocesses with a stand-in preparation."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from distprompt_tui.core.errors import DistPromptError
from distprompt_tui.tui.platform.subprocesses import prepare_model


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a stand-in for Python that runs the script at the returned path for any module."""
    script = tmp_path / "script.py"
    stand_in = tmp_path / "python"
    stand_in.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{script}"\n')
    stand_in.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(stand_in))
    return script


async def test_preparing_reports_how_far_it_is(program: Path) -> None:
    program.write_text(
        'print(\'{"progress": "reading", "fraction": 0.25}\')\nprint(\'{"folder": "/somewhere"}\', flush=True)'
    )
    said: list[tuple[str, float | None]] = []
    await prepare_model("tiny", lambda text, fraction: said.append((text, fraction)))
    assert said == [("reading", 0.25)]


async def test_a_failed_preparation_is_its_last_line(program: Path) -> None:
    program.write_text("import sys\nprint('x' * 100_000, file=sys.stderr)\nsys.exit('distprompt-tui: no such model')")
    with pytest.raises(DistPromptError, match=r"^no such model$"):
        await prepare_model("tiny", lambda text, fraction: None)
