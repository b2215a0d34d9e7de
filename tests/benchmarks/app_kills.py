"""The app killed at random moments while its search runs: does the search go on, and does a new app see all of it?

    python -m tests.benchmarks.app_kills [KILLS] [FILE]

The app is started in a pseudo-terminal on a preset with a tiny model, and killed with KILL after a time drawn uniformly
from 0 to twice what it takes until the first step is on its screen. Then the search must reach its budget, its events
must hold every step once, and an app that attaches to it must show its end. Prints a table; FILE gets it as JSON.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from distprompt_tui.runs.directory import list_runs
from distprompt_tui.runs.event_reader import EventLogReader
from distprompt_tui.runs.reducer import reduce_all
from tests.tiny_models import write_tiny_model
from tests.tiny_runs import wait_for_end
from tests.tui.test_terminal import Terminal, searching

STEPS = 100


def lived_on(runs: Path) -> str:
    """What became of the search whose app was killed."""
    if not list_runs(runs):
        return "killed before the run was made: nothing was there to be lost"
    (run,) = list_runs(runs)
    if not run.lock.exists():
        return "killed between the run's folder and its worker: resumable"
    wait_for_end(run)
    state = reduce_all(EventLogReader(run.events).read())
    steps = [point.step for point in state.curve]
    if (state.reason, state.step) != ("budget", STEPS) or steps != sorted(set(steps)) or steps[0] != 0:
        return f"LOST: {state.reason}, step {state.step}"
    terminal = Terminal("attach", run.name, "--runs-dir", str(runs))
    terminal.wait(lambda text: "ended" in text or "budget" in text)
    terminal.process.kill(signal.SIGKILL)
    return "the search went on to its end, and an attached app shows it"


def main() -> None:
    """Measure and print."""
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    chance = random.Random(0)
    os.environ["OMP_NUM_THREADS"] = "1"
    found: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["DISTPROMPT_HOME"] = str(folder / "home")
        model, preset = write_tiny_model("llama", folder / "model"), folder / "tiny.toml"
        preset.write_text(
            'target = { family = "outlier", tokens = ["yes"], entropy = 3.0 }\n'
            f'model = {{ name = "{model}", device = "cpu" }}\n'
            'search = { method = "soft", length = 4 }\n'
            f"budget = {{ steps = {STEPS} }}\n"
        )
        began = time.monotonic()
        terminal, _ = searching(str(preset), folder / "first")
        until_first_step = time.monotonic() - began
        terminal.process.kill(signal.SIGKILL)
        for index in range(kills):
            runs = folder / str(index)
            terminal = Terminal("--preset", str(preset), "--runs-dir", str(runs))
            end = time.monotonic() + chance.uniform(0, 2 * until_first_step)
            while time.monotonic() < end:
                terminal.read()
            terminal.process.kill(signal.SIGKILL)
            terminal.wait_for_end()
            found[outcome := lived_on(runs)] += 1
            print(f"{index + 1:3} {outcome}", flush=True)
    for outcome, count in found.most_common():
        print(f"{count:4} {outcome}")
    if len(sys.argv) > 2:
        Path(sys.argv[2]).write_text(json.dumps({"kills": kills, "found": found}) + "\n")


if __name__ == "__main__":
    main()
