"""What the command line prints on 80 columns, and the mistakes that it reports."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from rich.console import Console
from typer.testing import CliRunner

from distprompt_tui.cli import app
from distprompt_tui.cli.report_console import print_run_report
from distprompt_tui.cli.tables import print_result, print_target, print_tokens
from distprompt_tui.core.config.target_specs import Explicit, OneHot, Uniform
from distprompt_tui.models.language_model import LanguageModel
from distprompt_tui.reports.run_report import report_run
from distprompt_tui.runs.schema import Snapshot, TokenMass
from distprompt_tui.runs.state import RunState
from distprompt_tui.targets import build_target
from tests.tui.recording import recorded

ROOT = Path(__file__).parents[2]
LARGEST_ID = 262_143  # of Gemma 3


def printed(show: object, *values: object, width: int = 80) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    show(console, *values)  # type: ignore[operator]
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined]


def snapshot(*rows: TokenMass) -> Snapshot:
    return Snapshot(step=1, kl=1.0, entropy=1.0, reverse_kl=None, js=0.1, tv=0.2, prompt=(), tokens=rows)


@pytest.mark.parametrize("width", [70, 80, 200])
def test_bars_fit_and_show_the_part_of_one_distribution_alone(width: int) -> None:
    rows = (
        TokenMass(LARGEST_ID, " a very long token indeed", 0.5, 0.2789, 0.123),
        TokenMass(7, " tails", 0.5, 0.6345, -0.0001),
        TokenMass(8, "x", 1e-12, 3e-9, 1e-9),
    )
    legend, header, *lines = printed(print_tokens, snapshot(*rows), width=width)
    assert legend == "▀ target  ▄ achieved  █ both"
    assert header.split() == ["token", "id", "target", "achieved", "gap", "of", "KL"]
    assert len(lines) == 3
    assert all(len(line) <= width for line in lines)
    assert re.search(r"█▀+\s*$", lines[0])
    assert re.search(r"█▄+$", lines[1])
    assert not any("…" in line for line in lines[1:])


def test_one_step_is_singular() -> None:
    result = {
        "kl": 0.5,
        "steps": 1,
        "seconds": 2.0,
        "entropy_achieved": 4.19,
        "entropy_target": 6.0,
        "reason": "budget",
    }
    text = "\n".join(printed(print_result, RunState(), result))
    assert "entropy 4.190 → 6.000   1 step in 2 s   budget spent" in text
    assert "2 steps in" in "\n".join(printed(print_result, RunState(), result | {"steps": 2}))


def test_curve_of_few_tokens_has_ticks_and_falls_to_the_axis(tiny_models: dict[str, LanguageModel]) -> None:
    vocabulary = tiny_models["llama"].vocabulary
    two = Explicit(probabilities={"id:5": 0.5, "id:6": 0.5})
    for spec, tokens in ((two, 2), (OneHot(token=5), 1)):
        lines = printed(print_target, build_target(spec, vocabulary), vocabulary)
        ticks = [line.split("┤")[0].strip() for line in lines if "┤" in line]
        assert ticks == ["1", "0.3", "0.1"]
        curve = [line for line in lines if any("\u2800" < char <= "\u28ff" for char in line)]
        assert curve[-1].startswith("0.1┤")
        table = lines[next(number for number, line in enumerate(lines) if line.startswith("token ")) + 1 :]
        assert len([line for line in table if line.strip()]) == tokens
        assert all(len(line) <= 80 for line in lines)
    spread = printed(print_target, build_target(Uniform(), vocabulary), vocabulary)
    assert sum("█" in line for line in spread) == 12


def test_report_draws_the_curve_in_braille_with_its_references(tmp_path: Path) -> None:
    lines = printed(print_run_report, report_run_with_result(tmp_path))
    curve = lines[: next(number for number, line in enumerate(lines) if line.startswith("before:"))]
    assert any("\u2800" < char <= "\u28ff" for line in curve for char in line)
    for name in ("uniform 1.500", "head optimum 0.190", "floor 0.040", "best 0."):
        assert sum(line.endswith(name) or name in line for line in curve) == 1, name


def report_run_with_result(tmp_path: Path) -> object:
    return report_run(recorded(tmp_path / "runs"))


def test_no_runs_are_a_sentence(tmp_path: Path) -> None:
    listed = CliRunner().invoke(app, ["runs", "--runs-dir", str(tmp_path)])
    assert (listed.exit_code, listed.stdout) == (0, "No runs yet: 'distprompt-tui run outlier' starts a search.\n")


COMMANDS = [
    *(("run", "outlier"), ("target", "outlier"), ("floor", "outlier"), ("attach",), ("sweep", "x"), ("report", "x")),
    *(("bench",), ("doctor",), ("keys",), ("paths",), ("presets",), ("presets", "check", "x"), ("models",)),
    *(("models", "prepare", "x"), ("runs",), ("runs", "list"), ("runs", "delete", "x", "--yes"), ("runs", "stop", "x")),
    *(
        ("runs", "resume", "x"),
        ("runs", "verify", "x"),
        ("runs", "transfer", "x"),
        ("runs", "export", "x", "--format", "json"),
    ),
]


@pytest.mark.parametrize("options", [("--runs-dir", "x"), ("--ascii",), ("--model", "smollm2"), ("--read-only",)])
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_options_before_a_command_are_refused(options: tuple[str, ...], command: tuple[str, ...]) -> None:
    result = CliRunner().invoke(app, [*options, *command])
    assert f"{options[0]} before a command has no effect" in str(result.exception)
    assert result.stdout == ""


def test_every_command_is_in_the_test_of_options() -> None:
    top = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    groups = {group.name for group in app.registered_groups}
    assert {command[0] for command in COMMANDS} == top | groups


def test_numbers_of_options_are_described() -> None:
    for arguments, told in (
        (["--steps", "abc"], "it needs a whole number, not 'abc'"),
        (["--seed", "-1"], "it needs a whole number from 0, not '-1'"),
        (["--seconds", "soon"], "it needs a number, not 'soon'"),
    ):
        result = CliRunner().invoke(app, ["run", "outlier", *arguments])
        assert result.exit_code == 2
        assert told in result.stderr


def test_presets_check_reports_all_mistakes_at_once(tmp_path: Path) -> None:
    path = tmp_path / "p.toml"
    path.write_text(
        '[target]\nfamilly = "mixture"\nentropy = 25\n[serch]\n[budget]\nsteps = "many"\n[model]\nname = "smolm2"\n'
    )
    result = CliRunner().invoke(app, ["presets", "check", str(path)])
    assert (result.exit_code, result.stdout) == (2, "")
    told = result.stderr.splitlines()
    for line, words in (
        (1, "target.family is missing; is 'familly' a misspelling of it?"),
        (4, "serch is not a field; did you mean 'search'?"),
        (6, "budget.steps: it should be a whole number, not 'many'"),
        (8, "model.name: no model 'smolm2'; did you mean 'smollm2'"),
    ):
        assert sum(f"p.toml:{line}: {words}" in each for each in told) == 1, words
    assert len(told) == 4
    path.write_text(
        '[target]\nfamily = "mixture"\n[[target.parts]]\nweight = 1\ntarget = {family = "vanilla", entropy = 25}\n'
        '[[target.parts]]\nweight = 0\ntarget = {family = "explicit", probabilities = {" a" = 0.7, " b" = 0.4}}\n'
        '[[target.parts]]\nweight = 1\ntarget = {family = "explicit", file = "none.json"}\n'
    )
    told = CliRunner().invoke(app, ["presets", "check", str(path)]).stderr.splitlines()
    assert len(told) == 4
    for words in (
        "target.parts.0.target.entropy: 25 nats are more than 10.803",
        "target.parts.1.weight: it should be greater than 0",
        "target.parts.1.target.probabilities: they sum to 1.1, more than 1",
        "target.parts.2.target.file: there is no file none.json",
    ):
        assert sum(words in each for each in told) == 1, words


def test_demo_without_a_terminal_searches_for_a_short_time(tmp_path: Path) -> None:
    """`make demo` runs a command; here, a stand-in for it prints its arguments."""
    program = tmp_path / ".venv" / "bin" / "distprompt-tui"
    program.parent.mkdir(parents=True)
    program.write_text('#!/bin/sh\necho "ran: $*"\n')
    program.chmod(0o755)
    (tmp_path / ".venv" / "ready").touch()
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "constraints.txt").touch()
    os.utime(tmp_path / ".venv" / "ready", (4e9, 4e9))
    command = ["make", "--no-print-directory", "-f", str(ROOT / "Makefile"), "demo"]
    for term in ("xterm-256color", "dumb"):
        piped = subprocess.run(
            command,
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=True,
            env=os.environ | {"TERM": term},
        )
        assert piped.stdout == "ran: run outlier --seconds 20\n"
    script = f"import pty, sys; sys.exit(pty.spawn({command!r}))"
    on_terminal = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"TERM": "xterm-256color"},
    )
    assert "ran: --preset outlier" in on_terminal.stdout


@pytest.mark.parametrize(("vocab_size", "last"), [(49_152, "49,150 others 0.2500 0.5000 +0.2500 75 %"), (2, "")])
def test_the_last_row_sums_the_tokens_that_are_cut(vocab_size: int, last: str) -> None:
    rows = (TokenMass(0, " yes", 0.5, 0.25, 0.1), TokenMass(1, " no", 0.25, 0.25, 0.0))
    shown = msgspec.structs.replace(snapshot(*rows), kl=0.4)
    line = " ".join(printed(print_tokens, shown, vocab_size, width=120)[-1].split())
    assert line == last or (not last and line.startswith("·no"))
