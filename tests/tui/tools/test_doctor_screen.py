"""The doctor in the app: the command line's checks from a process of its own, and how they are copied."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from distprompt_tui.core.errors import DistPromptError
from distprompt_tui.core.text.checks import Check, as_text
from distprompt_tui.tui.app import DistPromptApp
from distprompt_tui.tui.drawing.styled_text import plain_text, width_of
from distprompt_tui.tui.platform import subprocesses
from distprompt_tui.tui.start.screen import StartScreen
from distprompt_tui.tui.tools import doctor_screen
from distprompt_tui.tui.tools.doctor_screen import DoctorScreen, check_lines, spaced_check_lines
from tests.tui.conftest import screen_text, until

Make = Callable[..., DistPromptApp]

CHECKS = [
    Check("program", "distprompt-tui 1, " + "a long way to say it " * 8),
    Check("device", "cpu [/", "searches run on a GPU many times faster"),
]


def test_the_text_is_a_line_a_check() -> None:
    assert as_text([Check("size", "80x24"), CHECKS[1]]).splitlines() == [
        "  size          80x24",
        "! device        cpu [/",
        "                searches run on a GPU many times faster",
    ]


@pytest.mark.parametrize("width", [40, 80, 200])
def test_checks_are_wrapped_under_themselves(width: int) -> None:
    lines = check_lines(CHECKS, width)
    assert all(width_of(line) <= width for line in lines)
    text = "\n".join(map(plain_text, lines))
    assert " ".join(text.split()).count("a long way") == 8
    assert text.splitlines()[1][:15].strip() in ("", "! device")


def test_checks_are_spaced_where_all_fit() -> None:
    lines = check_lines(CHECKS, 80)
    assert spaced_check_lines(CHECKS, 80, len(lines)) == lines
    spaced = spaced_check_lines(CHECKS, 80, len(lines) + 1)
    assert [line for line in spaced if line] == lines
    assert spaced.index([]) == len(check_lines(CHECKS[:1], 80))
    assert spaced_check_lines([], 80, 10) == []


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (60, 16)])
async def test_checks_are_shown_and_copied(
    tmp_path: Path, app_on: Make, small_world: object, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]
) -> None:
    go_on, asked = asyncio.Event(), []

    async def examine(columns: int, rows: int) -> list[Check]:
        asked.append((columns, rows))
        await go_on.wait()
        return CHECKS

    monkeypatch.setattr(doctor_screen, "examine_machine", examine)
    (tmp_path / "runs").mkdir()
    app = app_on()
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: isinstance(app.screen, StartScreen))
        await pilot.press("D")
        await until(pilot, lambda: isinstance(app.screen, DoctorScreen) and "Checking terminal" in screen_text(app))
        await pilot.press("y")
        assert app.clipboard == ""
        go_on.set()
        await until(pilot, lambda: "cpu [/" in screen_text(app))
        assert "! 1 to look at" in screen_text(app)
        await pilot.press("y")
        await until(pilot, lambda: (tmp_path / "runs" / "last-copy.txt").exists())
        assert app.clipboard == as_text(CHECKS) == (tmp_path / "runs" / "last-copy.txt").read_text()
        await pilot.press("r", "escape")
        await until(pilot, lambda: isinstance(app.screen, StartScreen))
    assert asked == [size, size]


async def test_failed_checks_show_the_reason(
    app_on: Make, small_world: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def examine(columns: int, rows: int) -> list[Check]:
        raise DistPromptError("ImportError: no torch [/")

    monkeypatch.setattr(doctor_screen, "examine_machine", examine)
    app = app_on()
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: isinstance(app.screen, StartScreen))
        await pilot.press("D")
        await until(pilot, lambda: "The checks failed: ImportError: no torch [/" in screen_text(app))


async def test_the_process_receives_the_size_of_the_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "python"
    script.write_text(
        '#!/bin/sh\necho warning >&2\ncase "$*" in *" doctor --json") ;; *) exit 3;; esac\n'
        'echo "{\\"checks\\": [{\\"name\\": \\"size\\", \\"value\\": \\"${COLUMNS}x$LINES\\"}]}"\n'
    )
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    assert await subprocesses.examine_machine(77, 23) == [Check("size", "77x23")]
    script.write_text("#!/bin/sh\necho 'ModuleNotFoundError: torch' >&2\nexit 1\n")
    with pytest.raises(DistPromptError, match=r"^ModuleNotFoundError: torch$"):
        await subprocesses.examine_machine(77, 23)
