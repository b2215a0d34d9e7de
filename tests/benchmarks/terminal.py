"""The app in a pseudo-terminal, seen from outside: what the benchmarks of the app share."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import sys
import termios
import time
from pathlib import Path


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

    def peak_memory(self) -> int:
        """Bytes that the app has held at most."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return 1024 * int(status.partition("VmHWM:")[2].split()[0])

    def kill(self) -> None:
        """End the app at once."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.descriptor)

    def processor_seconds(self) -> float:
        """Spent by the app so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
