"""Output to a full, closed or broken stdout or a small encoding; misplaced options."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from distprompt_tui.cli.options import new_console
from distprompt_tui.cli.tables import print_runs
from distprompt_tui.runs import schema
from distprompt_tui.runs.state import FORCED
from distprompt_tui.runs.summary import read_runs
from tests.tui.recording import recorded, searching
from tests.waiting import DEADLINE_SECONDS


def shell(command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a shell command in which `$D` is the program."""
    return subprocess.run(
        ["bash", "-c", command],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env=os.environ | {"D": f"{sys.executable} -m distprompt_tui"} | environment,
        check=False,
        timeout=DEADLINE_SECONDS,
    )


@pytest.mark.parametrize("command", ["presets", "models", "runs", "runs list --json", "report RUN", "paths"])
@pytest.mark.parametrize("how", ["$D COMMAND > /dev/full", "$D COMMAND >&-", "{ $D COMMAND; exit $?; } > >(exec >&-)"])
def test_failed_output_is_one_line(command: str, how: str, tmp_path: Path) -> None:
    run = recorded(tmp_path / "runs")
    written = how.replace("COMMAND", command.replace("RUN", str(run.path)))
    result = shell(written, DISTPROMPT_HOME=str(tmp_path))
    lines = result.stderr.splitlines()
    if "exec" not in how:  # the pipe may take a short text before its reader exits
        assert (result.returncode, len(lines)) == ((1, 1) if "full" in how else (0, 0))  # no error if stdout is closed
    assert all(line.startswith("distprompt-tui: stdout could not be written: ") for line in lines)


@pytest.mark.parametrize(
    "environment", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}, {"PYTHONIOENCODING": "latin-1"}]
)
def test_characters_outside_the_encoding_are_replaced(environment: dict[str, str], tmp_path: Path) -> None:
    run = recorded(tmp_path / "runs", "hard")
    result = subprocess.run(
        [sys.executable, "-m", "distprompt_tui", "report", str(run.path)],
        capture_output=True,
        stdin=subprocess.DEVNULL,
        env=os.environ | environment,
        check=False,
        timeout=DEADLINE_SECONDS,
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr == b""
    assert b"banana" in result.stdout


@pytest.mark.parametrize(
    "arguments",
    ["--runs-dir . runs", "--ascii attach", "runs --runs-dir . list", "--fps 2 doctor", "--version presets"],
)
def test_options_before_a_command_are_errors(arguments: str) -> None:
    result = shell(f"$D {arguments}")
    (line,) = result.stderr.splitlines()
    assert "before a command has no effect" in line
    assert (result.returncode, result.stdout) == (2, "")


@pytest.mark.parametrize("arguments", ["paths", "runs --runs-dir x", "target outlier --save x.npy"])
def test_a_deleted_working_directory_is_one_line(arguments: str, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    package = str(Path(__file__).parents[2])
    found = shell(f"cd {gone} && rmdir {gone} && $D {arguments}", PYTHONPATH=package)
    assert found.stderr == "distprompt-tui: the working directory no longer exists: change to another one\n"
    assert (found.returncode, found.stdout) == (2, "")


@pytest.mark.parametrize("term", ["dumb", "unknown", ""])
def test_app_rejects_an_unsupported_terminal(term: str, tmp_path: Path) -> None:
    run = recorded(tmp_path / "runs")
    for arguments in ("", f"attach {run.path}", "--preset outlier"):
        result = shell(f'script -qec "$D {arguments}" /dev/null', TERM=term)
        assert f"TERM={term or '(not set)'}" in result.stdout, arguments
        assert result.returncode == 2


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, False),
        ({"LC_ALL": "C"}, False),
        ({"LANG": "POSIX"}, False),
        ({"LC_ALL": "en_US.ISO-8859-1"}, False),
        ({"LANG": "en_US.ISO-8859-1"}, False),
        ({"LANG": "xx_XX"}, False),
        ({"LC_CTYPE": "C.UTF-8"}, True),
        ({"LANG": "C.utf8"}, True),
        ({"LC_ALL": "xx_XX.UTF-8"}, True),
        ({"LC_ALL": "C", "LANG": "C.UTF-8"}, False),
        ({"LANG": "en_US.UTF-8@euro"}, True),
    ],
)
def test_locale_determines_utf8(environment: dict[str, str], expected: bool) -> None:
    clean = {name: value for name, value in os.environ.items() if name not in ("LC_ALL", "LC_CTYPE", "LANG")}
    code = "from distprompt_tui.core.text.encoding import locale_is_utf8; print(locale_is_utf8())"
    found = subprocess.run(
        [sys.executable, "-c", code], env=clean | environment, capture_output=True, text=True, check=False
    )
    assert found.stdout == f"{expected}\n", found.stderr


@pytest.mark.parametrize(("reason", "words"), [(FORCED, "stopped (forced)"), ("budget", "budget spent")])
def test_the_list_of_runs_names_the_end_in_the_words_of_the_app(tmp_path: Path, reason: str, words: str) -> None:
    searching(tmp_path).writer.write(schema.Ended(reason))
    console = Console(record=True, width=120, file=io.StringIO())
    print_runs(console, read_runs(tmp_path))
    text = console.export_text()
    assert words in text
    assert "crashed" not in text


@pytest.mark.parametrize(("columns", "width"), [("0", 80), ("1", 20), ("20", 20), ("55", 55)])
def test_text_has_room_in_a_terminal_without_width(
    columns: str, width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """COLUMNS=0, as some terminals set it, is no width."""
    monkeypatch.setenv("COLUMNS", columns)
    console = new_console()
    assert console.width == new_console(stderr=True).width == width
    console.print("budget")
    assert capsys.readouterr().out == "budget\n"
