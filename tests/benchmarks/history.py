"""How long a long run takes to open, and how much memory the app's side of it needs.

    python tests/benchmarks/history.py [STEPS]

Writes a run of so many steps, a snapshot every fifth, into a temporary folder.
"""

from __future__ import annotations

import json
import math
import resource
import sys
import tempfile
import time
from pathlib import Path

from distprompt_tui.runs.directory import RunDirectory
from distprompt_tui.tui.follow import RunFollower

SNAPSHOT_TOKENS = 75


def write_events(path: Path, steps: int) -> None:
    """What a worker would have written, without its pace."""
    prompt = [{"id": i, "text": f" token{i}", "cosine": 0.5123, "norm": 2.051} for i in range(10)]
    tokens = [[i, f" token{i}", 1 / (i + 2.0), 1 / (i + 3.0), 0.0123456789 / (i + 1)] for i in range(SNAPSHOT_TOKENS)]
    with path.open("w") as file:
        for step in range(steps):
            kl = 0.2 + 5 * math.exp(-8 * step / steps)
            numbers = {"step": step, "kl": kl, "entropy": 5.2}
            more = {"best_kl": kl, "best_step": step, "seconds": step / 10}
            events = [{"type": "step", **numbers, **more}]
            if step % 5 == 0:
                readings = {"reverse_kl": 1.5, "js": 0.2, "tv": 0.4}
                events.append({"type": "snapshot", **numbers, **readings, "prompt": prompt, "tokens": tokens})
            for event in events:
                header = {"v": 1, "seq": step, "t": 1e9 + step / 10}
                file.write(json.dumps(header | event, separators=(",", ":")) + "\n")


def main() -> None:
    """Measure and print."""
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with tempfile.TemporaryDirectory() as folder:
        run = RunDirectory(Path(folder))
        write_events(run.events, steps)
        follower = RunFollower(run)
        began = time.perf_counter()
        follower.poll()
        print(f"open       {time.perf_counter() - began:.2f} s, {run.events.stat().st_size / 1e6:.0f} MB of events")
        places = follower.recording.places
        began = time.perf_counter()
        follower.recording.snapshot(places[len(places) // 2])
        print(f"a moment   {1e3 * (time.perf_counter() - began):.1f} ms, one of {len(places):,}")
    print(f"memory     {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB at most, without the app")


if __name__ == "__main__":
    main()
