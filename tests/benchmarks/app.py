"""How quick the app is beside a real search, seen from outside through a pseudo-terminal.

    python tests/benchmarks/app.py [PRESET] [--size 80x24] [--model M]

Prints first paint, key to paint, bytes and processor time while watching, and how long quitting takes. The machine's
noise is in all of them: repeat, and compare within one run.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import pty
import select
import signal
import struct
import sys
import tempfile
import termios
import time
from pathlib import Path

from distprompt_tui.runs.directory import list_runs
from distprompt_tui.runs.process import stop, worker_pid

WATCH_SECONDS = 15.0
KEYS = 120
DOWN, UP = b"\x1b[B", b"\x1b[A"


class Terminal:
    """The app in a pseudo-terminal."""

    def __init__(self, arguments: list[str], columns: int, rows: int) -> None:
        self.began = time.perf_counter()
        self.pid, self.descriptor = pty.fork()
        if self.pid == 0:
            os.environ |= {"TERM": "xterm-256color", "COLORTERM": "truecolor", "LC_ALL": "C.UTF-8"}
            os.execv(sys.executable, [sys.executable, "-m", "distprompt_tui", *arguments])
        fcntl.ioctl(self.descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read(self, timeout: float) -> bytes:
        """What was written, at most `timeout` seconds after now."""
        ready, _, _ = select.select([self.descriptor], [], [], timeout)
        return os.read(self.descriptor, 1 << 16) if ready else b""

    def read_for(self, seconds: float) -> bytes:
        """All that is written in so many seconds."""
        end, data = time.perf_counter() + seconds, b""
        while (left := end - time.perf_counter()) > 0:
            data += self.read(left)
        return data

    def read_until(self, words: bytes, seconds: float = 60) -> float:
        """Read until some bytes have come; seconds since the start."""
        end, data = time.perf_counter() + seconds, b""
        while words not in data:
            assert time.perf_counter() < end, f"{words!r} did not come"
            data += self.read(0.1)
        return time.perf_counter() - self.began

    def processor_seconds(self) -> float:
        """Spent by the app so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def key_to_paint(terminal: Terminal) -> list[float]:
    """Milliseconds from a key to the first byte after it, sorted.

    The screen's own repaint may come first and be taken for the answer, so keys are sent when it was just quiet.
    """
    delays = []
    for number in range(KEYS):
        terminal.read_for(0.11 + 0.001 * (number % 37))
        began = time.perf_counter()
        os.write(terminal.descriptor, DOWN if number % 2 == 0 else UP)
        terminal.read(2.0)
        delays.append(1e3 * (time.perf_counter() - began))
    return sorted(delays)


def quit_seconds(terminal: Terminal) -> float:
    """From `q`, through the question, to the end of the process."""
    began = time.perf_counter()
    os.write(terminal.descriptor, b"q")
    terminal.read_until(b"Detach")
    os.write(terminal.descriptor, b"d")
    while os.waitpid(terminal.pid, os.WNOHANG) == (0, 0):
        try:
            terminal.read(0.01)
        except OSError:
            time.sleep(0.005)
    return time.perf_counter() - began


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("preset", nargs="?", default="outlier")
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--size", default="80x24")
    options = parser.parse_args()
    columns, rows = map(int, options.size.split("x"))
    with tempfile.TemporaryDirectory() as folder:
        terminal = Terminal(
            ["--preset", options.preset, "--model", options.model, "--runs-dir", folder, "--steps", "1000000"],
            columns,
            rows,
        )
        print(f"first paint       {terminal.read_until(b'distprompt'):.2f} s")
        print(f"first step        {terminal.read_until(b'best'):.1f} s")
        before = terminal.processor_seconds()
        written = len(terminal.read_for(WATCH_SECONDS))
        used = (terminal.processor_seconds() - before) / WATCH_SECONDS
        print(f"watching          {written / WATCH_SECONDS / 1024:.1f} KiB/s, {100 * used:.1f} % of a core")
        delays = key_to_paint(terminal)
        p50, p95, p99 = (delays[min(int(share * len(delays)), len(delays) - 1)] for share in (0.5, 0.95, 0.99))
        print(f"key to paint      median {p50:.0f} ms, p95 {p95:.0f} ms, p99 {p99:.0f} ms over {len(delays)} keys")
        run = list_runs(Path(folder))[0]
        pid = worker_pid(run)
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        print(f"quit              {quit_seconds(terminal):.2f} s, with a worker that hangs")
        os.kill(pid, signal.SIGCONT)
        stop(run)


if __name__ == "__main__":
    main()
