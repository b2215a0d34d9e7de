"""How long a long run takes to read, and how much memory the app's side of it needs.

    python tests/benchmarks/history.py [STEPS]

Writes a run of so many steps, a snapshot every fifth, into a temporary folder: what a worker would have left, without
its pace.
"""

from __future__ import annotations

import json
import math
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from distprompt_tui.core.config.presets import load_preset
from distprompt_tui.runs.directory import RunDirectory, create_run
from distprompt_tui.tui.run.monitor import RunMonitor

SNAPSHOT_TOKENS = 75
VOCAB_SIZE = 49_152
"""SmolLM2's."""


def write_run(runs_dir: Path, steps: int) -> RunDirectory:
    """A run that has ended, with the distributions over its whole vocabulary."""
    run = create_run(load_preset("outlier").spec, runs_dir)
    run.path.joinpath("model").mkdir()
    tokenizer = run.path / "model" / "tokenizer.json"
    names = {f"token{i}": i for i in range(VOCAB_SIZE)}
    Tokenizer(WordLevel(names, unk_token="token0")).save(str(tokenizer))
    p = 1 / np.arange(2, VOCAB_SIZE + 2)
    np.save(run.target, p / p.sum())
    np.save(run.achieved, np.roll(p / p.sum(), 1).astype(np.float32))
    with run.events.open("w") as file:
        for number, event in enumerate(_events(steps, str(tokenizer))):
            header = {"v": 1, "seq": number, "t": 1e9 + number / 10}
            file.write(json.dumps(header | event, separators=(",", ":")) + "\n")
    return run


def _events(steps: int, tokenizer: str) -> Iterator[dict[str, Any]]:
    prompt = [{"id": i, "text": f"token{i}", "cosine": 0.5123, "norm": 2.051} for i in range(10)]
    tokens = [[i, f"token{i}", 1 / (i + 2.0), 1 / (i + 3.0), 0.0123456789 / (i + 1)] for i in range(SNAPSHOT_TOKENS)]
    about = {"preset": "outlier", "model": "smollm2", "method": "soft", "length": 10, "device": "cpu"}
    numbers = {"vocab_size": VOCAB_SIZE, "entropy_target": 6.0, "uniform_kl": 4.8, "budget": {"steps": steps}}
    yield {"type": "started", "tokenizer_file": tokenizer, **about, **numbers}
    for step in range(steps):
        kl = 0.2 + 5 * math.exp(-8 * step / steps)
        read = {"step": step, "kl": kl, "entropy": 5.2}
        yield {"type": "step", **read, "best_kl": kl, "best_step": step, "seconds": step / 10}
        if step % 5 == 0:
            more = {"reverse_kl": 1.5, "js": 0.2, "tv": 0.4}
            yield {"type": "snapshot", **read, **more, "prompt": prompt, "tokens": tokens}
    yield {"type": "ended", "reason": "budget", "result": {"kl": 0.2}}


def main() -> None:
    """Measure and print."""
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with tempfile.TemporaryDirectory() as folder:
        run = write_run(Path(folder), steps)
        follower = RunMonitor(run)
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
