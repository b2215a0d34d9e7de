"""A long run with a viewer attached: does memory stay flat, and how much disk does it take?

    python -m tests.benchmarks.long SEARCH STEPS [FILE]

SEARCH is one of `tests.tiny_runs.SEARCHES`, on a tiny model. Worker and viewer are processes of their own; their
resident memory and the run's size are read twenty times, and printed. FILE gets them as JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from distprompt_tui.runs.directory import RunDirectory
from distprompt_tui.runs.process import start_run, worker_pid
from distprompt_tui.tui.run.monitor import RunMonitor

VIEWS_A_SECOND = 10
READINGS = 20


def view(run: RunDirectory) -> None:
    """What the app does with a run, at its pace."""
    follower = RunMonitor(run)
    while follower.poll().health != "ended":
        time.sleep(1 / VIEWS_A_SECOND)


def reading(run: RunDirectory, worker: int, viewer: int, step: int) -> dict[str, Any]:
    """One look at both processes and the disk, MiB."""
    sizes = {path.name: path.stat().st_size / 2**20 for path in run.path.iterdir() if path.is_file()}
    return {
        "step": step,
        "worker": psutil.Process(worker).memory_info().rss / 2**20,
        "viewer": psutil.Process(viewer).memory_info().rss / 2**20,
        "events": sizes["events.jsonl"],
        "trace": sizes.get("trace.f32", 0.0),
        "folder": sum(sizes.values()),
    }


def main() -> None:
    """Measure and print."""
    from tests.tiny_models import write_tiny_model
    from tests.tiny_runs import tiny_spec

    search, steps = sys.argv[1], int(sys.argv[2])
    os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    readings: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        model = write_tiny_model("llama", Path(folder) / "model")
        run = start_run(tiny_spec(model, search, steps), Path(folder) / "runs")
        viewer = subprocess.Popen([sys.executable, "-m", "tests.benchmarks.long", "view", str(run.path)])
        follower, began = RunMonitor(run), time.monotonic()
        while (seen := follower.poll()).is_live and (worker := worker_pid(run)) is not None:
            if seen.state.step >= (len(readings) + 1) * steps // (READINGS + 1):
                readings.append(reading(run, worker, viewer.pid, seen.state.step))
                print({name: round(value, 1) for name, value in readings[-1].items()}, flush=True)
            time.sleep(0.2)
        print(f"{seen.state.step:,} steps in {time.monotonic() - began:.0f} s: {seen.state.reason}")
        viewer.wait()
    if len(sys.argv) > 3:
        Path(sys.argv[3]).write_text(json.dumps({"search": search, "steps": steps, "readings": readings}) + "\n")


if __name__ == "__main__":
    if sys.argv[1] == "view":
        view(RunDirectory(Path(sys.argv[2])))
    else:
        main()
