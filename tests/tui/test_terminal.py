"""End-to-end tests: the app in a pseudo-terminal with a running search."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pexpect
import pyte
import pytest

from distprompt_tui.runs.directory import RunDirectory, list_runs
from distprompt_tui.runs.process import stop, worker_pid
from tests.runs.test_process import wait_for
from tests.waiting import DEADLINE_SECONDS, until

STEP = r"\b[1-9][\d,]*/10,000,000"  # narrow terminals leave out the word "step"


class Terminal:
    """A pseudo-terminal that runs the app, and the contents of its screen."""

    def __init__(self, *arguments: str, size: tuple[int, int] = (24, 80), **environment: str) -> None:
        self.raw = ""
        self.screen = pyte.Screen(size[1], size[0])
        self._stream = pyte.Stream(self.screen)
        self.process = pexpect.spawn(
            sys.executable,
            ["-m", "distprompt_tui", *arguments],
            dimensions=size,
            encoding="utf-8",
            env={name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
            | {"TERM": "xterm-256color", "COLORTERM": "truecolor", "LC_ALL": "C.UTF-8"}
            | environment,
        )

    @property
    def text(self) -> str:
        """The screen's lines."""
        return "\n".join(self.screen.display)

    def read(self) -> bool:
        """Read pending output; return False when the app has ended."""
        try:
            data = self.process.read_nonblocking(1 << 16, timeout=0.1)
        except pexpect.TIMEOUT:
            return True
        except pexpect.EOF:
            return False
        self.raw += data
        self._stream.feed(data)
        return True

    def wait(self, condition: Callable[[str], object]) -> str:
        """Read until the condition holds; after the deadline, fail with the screen's contents."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not condition(self.text):
            assert time.monotonic() < deadline, self.text
            assert self.read(), self.text
        return self.text

    def hang_up(self) -> None:
        """Close the terminal and wait until the app notices."""
        self.process.ptyproc.fileobj.close()
        until(lambda: not self.process.isalive())

    def wait_for_end(self) -> int | None:
        """Read until the process has ended; return its exit code."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while self.read():
            assert time.monotonic() < deadline, self.text
        self.process.wait()
        code: int | None = self.process.exitstatus
        return code


@pytest.fixture
def preset(tmp_path: Path, tiny_folders: dict[str, Path]) -> str:
    """A search on a tiny model that runs longer than a test."""
    path = tmp_path / "tiny.toml"
    path.write_text(
        f"""
        target = {{ family = "outlier", tokens = ["yes"], entropy = 3.0 }}
        model = {{ name = "{tiny_folders["llama"]}", device = "cpu" }}
        search = {{ method = "soft", length = 4 }}
        budget = {{ steps = 10_000_000 }}
        """
    )
    return str(path)


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Path]:
    """A folder for runs; running workers in it are stopped after the test."""
    folder = tmp_path / "runs"
    yield folder
    for run in list_runs(folder):
        if worker_pid(run) is not None:
            stop(run)


def searching(preset: str, runs: Path, **options: object) -> tuple[Terminal, RunDirectory]:
    """Start the app with a running search."""
    terminal = Terminal("--preset", preset, "--runs-dir", str(runs), **options)  # type: ignore[arg-type]
    terminal.wait(lambda text: re.search(STEP, text))
    (run,) = list_runs(runs)
    return terminal, run


@pytest.mark.parametrize("size", [(24, 80), (40, 120)])
def test_search_is_shown_paused_and_detached(preset: str, runs: Path, size: tuple[int, int]) -> None:
    terminal, run = searching(preset, runs, size=size)
    text = terminal.wait(lambda text: "yes" in text and "best" in text)
    for word in ("Divergence", "Tokens", "target", "achieved", "running"):
        assert word in text
    terminal.process.send(" ")
    terminal.wait(lambda text: "paused" in text)
    terminal.process.send(" ")
    terminal.wait(lambda text: "running" in text)
    terminal.process.send("q")
    terminal.wait(lambda text: "Detach" in text)
    terminal.process.send("d")
    assert terminal.wait_for_end() == 0
    assert worker_pid(run) is not None


def test_stopping_from_the_app(preset: str, runs: Path) -> None:
    terminal, run = searching(preset, runs)
    terminal.process.send("s")
    terminal.wait(lambda text: "Stop the search" in text)
    terminal.process.send("s")
    wait_for(run, lambda state: state.phase == "ended")
    terminal.wait(lambda text: "stopped" in text)
    terminal.process.send("q")
    assert terminal.wait_for_end() == 0


def test_quitting_does_not_wait_for_a_worker_that_hangs(preset: str, runs: Path) -> None:
    terminal, run = searching(preset, runs)
    pid = worker_pid(run)
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    terminal.process.send("q")
    terminal.wait(lambda text: "Detach" in text)
    terminal.process.send("d")
    assert terminal.wait_for_end() == 0
    os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGHUP, signal.SIGTERM])
def test_the_search_outlives_the_app(preset: str, runs: Path, how: signal.Signals) -> None:
    terminal, run = searching(preset, runs)
    terminal.process.kill(how)
    terminal.wait_for_end()
    before = wait_for(run, lambda state: state.step > 0).step
    after = wait_for(run, lambda state: state.step > before)
    assert after.phase == "searching"


def test_a_dropped_line_ends_the_app_and_attach_shows_the_whole_run(preset: str, runs: Path) -> None:
    terminal, run = searching(preset, runs)
    terminal.hang_up()
    again = Terminal("attach", "--runs-dir", str(runs))
    text = again.wait(lambda text: "running" in text and re.search(STEP, text))
    assert "Divergence" in text
    again.process.send("h")
    again.wait(lambda text: re.search(r"step [1-9]\d* of [1-9]\d*, history", text))
    again.process.send("\x1b[H")  # the home key
    again.wait(lambda text: re.search(r"step 0 of [1-9]\d*, history", text))
    assert wait_for(run, lambda state: state.step > 0).curve[0].step == 0
    again.process.send("q")
    again.wait(lambda text: "Detach" in text)
    again.process.send("d")
    assert again.wait_for_end() == 0


def test_the_app_process_holds_no_torch(preset: str, runs: Path) -> None:
    terminal, run = searching(preset, runs)
    maps = Path(f"/proc/{terminal.process.pid}/maps").read_text()
    assert "libtorch" not in maps
    assert "libtorch" in Path(f"/proc/{worker_pid(run)}/maps").read_text()
    terminal.process.kill(signal.SIGKILL)


def test_output_without_colour_uses_characters(preset: str, runs: Path) -> None:
    terminal, _ = searching(preset, runs, NO_COLOR="1")
    terminal.wait(lambda text: "yes" in text)
    colours = re.findall(r"\x1b\[[0-9;]*?(?:[34]8;[25]|[;\[]3[1-6](?=[;m])|[;\[]4[1-6](?=[;m]))", terminal.raw)
    assert colours == []
    assert "█" in terminal.text or "▀" in terminal.text


def test_ascii_mode_writes_nothing_else(preset: str, runs: Path) -> None:
    terminal = Terminal("--preset", preset, "--runs-dir", str(runs), "--ascii")
    terminal.wait(lambda text: "yes" in text and re.search(STEP, text))
    assert terminal.text.isascii(), terminal.text


def test_the_start_screen_lists_the_presets_of_the_user(preset: str, runs: Path, tmp_path: Path) -> None:
    folder = tmp_path / "home" / "presets"
    folder.mkdir(parents=True)
    (folder / "0-mine.toml").write_text(Path(preset).read_text())
    terminal = Terminal("--runs-dir", str(runs), size=(40, 120), DISTPROMPT_HOME=str(folder.parent))
    text = terminal.wait(lambda text: "0-mine" in text and "smollm2" in text)
    assert "outlier" in text
    terminal.process.send("q")
    assert terminal.wait_for_end() == 0


def test_burst_of_keys_has_the_effect_of_single_keys(preset: str, runs: Path) -> None:
    """A slow line delivers keys in one burst: a field is opened, filled and left, and the tokens are sorted."""
    terminal, _ = searching(preset, runs)
    terminal.process.send("/yes\ro")
    terminal.wait(lambda text: "/ yes" in text and "by KL contribution" in text)


@pytest.mark.real_model
def test_new_target_is_searched_in_four_keys(runs: Path, smollm2_folder: Path) -> None:
    """Each key is on the screen before it is pressed; the text between them is the target."""
    terminal = Terminal("--runs-dir", str(runs))
    terminal.wait(lambda text: "n creates one" in text and "● smollm2" in text)
    terminal.process.send("n fish\r0.7")
    terminal.wait(lambda text: "Valid target: ^g" in text and "0.7000" in text)
    terminal.process.send("\x07")
    terminal.wait(lambda text: "● running" in text and "·fish" in text)
