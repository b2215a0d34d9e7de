"""How quick the app is beside a real search, what it costs the search, and how long a long run takes to open.

    python tests/benchmarks/app.py [watching|viewer|opening] [--preset P] [--model M] [--size 80x24]

`watching`: first paint, key to paint, bytes and processor time, how long quitting takes. `viewer`: the speed that a
search loses to an attached viewer. `opening`: seconds and memory for a finished run of 100,000 steps. All three where
none is named. The machine's noise is in all of them: repeat, and compare within one run.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from history import write_run
from terminal import Terminal

from distprompt_tui.core.config.presets import load_preset, override
from distprompt_tui.runs.directory import RunDirectory, list_runs
from distprompt_tui.runs.process import start_run, stop, worker_pid
from distprompt_tui.tui.run.monitor import RunMonitor

WATCH_SECONDS = 15.0
IDLE_SECONDS = 10.0
KEYS = 120
DOWN, UP = b"\x1b[B", b"\x1b[A"

PAIRS = 12
"""Of a stretch without and a stretch with a viewer: what else the machine does weighs on both of a pair alike."""

STRETCH_SECONDS = 10.0
LONG_RUN, SHORT_RUN = 100_000, 10
OPENINGS = 5


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


def watching(options: argparse.Namespace, folder: Path) -> None:
    """A search, watched by somebody who presses keys."""
    terminal = Terminal([*_preset(options), "--runs-dir", str(folder), "--steps", "1000000"], *options.size)
    print(f"first paint       {terminal.read_until(b'distprompt'):.2f} s")
    print(f"first step        {terminal.read_until(b'best'):.1f} s")
    before = terminal.processor_seconds()
    written = len(terminal.read_for(WATCH_SECONDS))
    used = (terminal.processor_seconds() - before) / WATCH_SECONDS
    print(f"watching          {written / WATCH_SECONDS / 1024:.1f} KiB/s, {100 * used:.1f} % of a core")
    delays = key_to_paint(terminal)
    p50, p95, p99 = (delays[min(int(share * len(delays)), len(delays) - 1)] for share in (0.5, 0.95, 0.99))
    print(f"key to paint      median {p50:.0f} ms, p95 {p95:.0f} ms, p99 {p99:.0f} ms over {len(delays)} keys")
    run = list_runs(folder)[0]
    pid = worker_pid(run)
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    print(f"quit              {quit_seconds(terminal):.2f} s, with a worker that hangs")
    os.kill(pid, signal.SIGCONT)
    stop(run)


def viewer(options: argparse.Namespace, folder: Path) -> None:
    """One search, in turn without and with a viewer; the ratio of each pair."""
    changes = ["budget.steps=10000000", f'model.name="{options.model}"']
    run = start_run(override(load_preset(options.preset).spec, changes), folder)
    follower = RunMonitor(run)
    while follower.poll().state.step < 5:
        time.sleep(0.5)
    ratios = []
    for number in range(PAIRS):
        alone_first = number % 2 == 0
        speeds = {is_watched: _speed(follower, options, is_watched) for is_watched in (not alone_first, alone_first)}
        ratios.append(speeds[True] / speeds[False])
    stop(run)
    lost = [100 * (1 - ratio) for ratio in ratios]
    spread = statistics.quantiles(lost, n=4)
    print(
        f"a viewer costs    median {statistics.median(lost):.1f} % of the steps a second, quartiles {spread[0]:.1f} "
        f"and {spread[2]:.1f}, {PAIRS} pairs of {STRETCH_SECONDS:.0f} s"
    )


def opening(options: argparse.Namespace, folder: Path) -> None:
    """A long finished run against a short one: the difference is the run's, the rest the app's own start."""
    runs = {steps: write_run(folder / str(steps), steps) for steps in (LONG_RUN, SHORT_RUN)}
    seconds: dict[int, list[float]] = {steps: [] for steps in runs}
    work: dict[int, list[float]] = {steps: [] for steps in runs}
    memory: dict[int, list[int]] = {steps: [] for steps in runs}
    for _ in range(OPENINGS):
        for steps, run in runs.items():
            terminal = _attached(run, options)
            seconds[steps].append(terminal.read_until(b"token0"))
            work[steps].append(terminal.processor_seconds())
            terminal.read_for(1.0)
            memory[steps].append(terminal.peak_memory())
            terminal.kill()
    for what, taken in (("opening  ", seconds), ("processor", work)):
        more = [long - short for long, short in zip(taken[LONG_RUN], taken[SHORT_RUN], strict=True)]
        print(
            f"{what}         {statistics.median(taken[LONG_RUN]):.2f} s for {LONG_RUN:,} steps, "
            f"{statistics.median(more):.2f} s more than for {SHORT_RUN} (medians of {OPENINGS})"
        )
    megabytes = [max(memory[steps]) / 2**20 for steps in runs]
    print(f"memory            {megabytes[0]:.0f} MiB, {megabytes[1]:.0f} MiB for the short one")
    idle = _attached(runs[LONG_RUN], options)
    idle.read_until(b"token0")
    idle.read_for(3.0)
    before = idle.processor_seconds()
    written = len(idle.read_for(IDLE_SECONDS))
    used = (idle.processor_seconds() - before) / IDLE_SECONDS
    print(f"idle              {100 * used:.1f} % of a core, {written / IDLE_SECONDS:.0f} bytes/s, on the ended run")
    idle.kill()


def _speed(follower: RunMonitor, options: argparse.Namespace, is_watched: bool) -> float:
    """Steps a second over a stretch, once the viewer, if there is one, has been drawn."""
    terminal = _attached(follower.run, options) if is_watched else None
    if terminal is not None:
        terminal.read_until(b"best")
    read = terminal.read_for if terminal is not None else time.sleep
    first, began = follower.poll().state.step, time.perf_counter()
    read(STRETCH_SECONDS)
    last, ended = follower.poll().state.step, time.perf_counter()
    if terminal is not None:
        terminal.kill()
    return (last - first) / (ended - began)


def _attached(run: RunDirectory, options: argparse.Namespace) -> Terminal:
    return Terminal(["attach", run.name, "--runs-dir", str(run.path.parent)], *options.size)


def _preset(options: argparse.Namespace) -> list[str]:
    return ["--preset", options.preset, "--model", options.model]


PARTS: dict[str, Callable[[argparse.Namespace, Path], None]] = {
    "watching": watching,
    "viewer": viewer,
    "opening": opening,
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", nargs="?", choices=PARTS)
    parser.add_argument("--preset", default="outlier")
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--size", type=lambda text: tuple(map(int, text.split("x"))), default=(80, 24))
    options = parser.parse_args()
    for name, measure in PARTS.items():
        if options.part in (None, name):
            with tempfile.TemporaryDirectory() as folder:
                measure(options, Path(folder))


if __name__ == "__main__":
    main()
