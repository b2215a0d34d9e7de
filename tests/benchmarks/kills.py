"""Workers killed at random moments and resumed: is what they end with what an uninterrupted one ends with?

    python -m tests.benchmarks.kills [KILLS] [FILE]

A run of each method is made without interruption. Then runs of the same specs are killed with KILL, each worker after
a time drawn uniformly from 0 to what the whole run took, and resumed until one ends by itself; the result, the prompt
and the trace of every step are compared bit for bit. Prints a table; FILE gets it as JSON.
"""

from __future__ import annotations

import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from distprompt_tui.runs.directory import RunDirectory, create_run
from distprompt_tui.runs.events import Tailer, decode_object
from tests.tiny_models import write_tiny_model
from tests.tiny_runs import SEARCHES, outcome, tiny_spec
from tests.worker.faulty_worker import Faults, kill, start_faulty

STEPS = {"soft": 300, "soft, Adam": 400, "soft, restarts": 250, "hard": 100, "gcg": 100, "hotflip": 100,
         "random": 100, "exhaustive": 200}  # fmt: skip
"""Some seconds of searching each."""


@dataclass
class ResultRow:
    """What was found of one method.

    Attributes:
        redone: for each resumption in the middle of a search, the steps that were reported and had to be done again.
    """

    runs: int = 0
    equal: int = 0
    kills: int = 0
    redone: list[int] = field(default_factory=list)


def kill_until_ended(run: RunDirectory, within: float, most: int, chance: random.Random) -> int:
    """Kill a run's workers, at most so often, until one of them ends by itself; how many were killed."""
    for kills in range(most):
        worker = start_faulty(run)
        time.sleep(chance.uniform(0, within))
        if not kill(worker):
            return kills
    start_faulty(run).join()
    return most


def redone(run: RunDirectory) -> Iterator[int]:
    """For each time that a search was resumed, the reported steps that were done again."""
    newest = 0
    for event in Tailer(run.events, decode_object).read():
        if event["type"] == "resumed":
            yield newest - event["step"]
        if event["type"] in ("step", "resumed"):
            newest = event["step"]


def main() -> None:
    """Measure and print."""
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    chance = random.Random(0)
    os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    table = {name: ResultRow() for name in SEARCHES}
    with tempfile.TemporaryDirectory() as folder:
        model, runs_dir = write_tiny_model("llama", Path(folder) / "model"), Path(folder) / "runs"
        start_faulty(create_run(tiny_spec(model, steps=0), runs_dir)).join()  # what is imported once is imported
        expected, seconds = {}, {}
        for name in SEARCHES:
            began = time.monotonic()
            run = create_run(tiny_spec(model, name, STEPS[name]), runs_dir)
            start_faulty(run).join()
            expected[name], seconds[name] = outcome(run), time.monotonic() - began
            print(f"{name:16} {seconds[name]:.1f} s", flush=True)
        while (done := sum(row.kills for row in table.values())) < wanted:
            name = min(table, key=lambda name: table[name].kills)
            run, row = create_run(tiny_spec(model, name, STEPS[name]), runs_dir), table[name]
            row.kills += kill_until_ended(run, seconds[name], wanted - done, chance)
            row.runs += 1
            row.equal += outcome(run) == expected[name]
            row.redone += redone(run)
            print(f"{name:16} {row}", flush=True)
    print(f"{'':16} {'runs':>5} {'equal':>6} {'kills':>6} {'in the search':>14} {'redone: median':>15} {'most':>5}")
    for name, row in table.items():
        median = statistics.median(row.redone) if row.redone else 0
        print(
            f"{name:16} {row.runs:5} {row.equal:6} {row.kills:6} {len(row.redone):14} "
            f"{median:15.0f} {max(row.redone, default=0):5}"
        )
    if len(sys.argv) > 2:
        found = {name: asdict(row) for name, row in table.items()}
        Path(sys.argv[2]).write_text(json.dumps({"checkpoints": asdict(Faults()), "steps": STEPS, "found": found}))


if __name__ == "__main__":
    main()
