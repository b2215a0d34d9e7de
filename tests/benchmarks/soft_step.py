"""Time of a soft search's step on the CPU: plain, without transformers' search for packed sequences, and compiled.

    python tests/benchmarks/soft_step.py [--rounds 8] [--steps 5] [--threads 1] [--skip compiled] [MODEL]

The variants take turns in one process, so that they share the machine's load. Adds the processor time and the elapsed
time of every round, in seconds per step, to `docs/benchmarks/soft-step-MODEL.json`, and of the first steps, the second
of which compiles. Prints the median over the rounds of a variant's processor time divided by the plain one's in the
same round. Processor time includes that of compilers, but not the time that other programs take; with one thread there
is no waiting between threads in it. An empty TORCHINDUCTOR_CACHE_DIR keeps earlier compilations out.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from distprompt_tui.core.config.search_specs import Soft
from distprompt_tui.models.forward import forward_without_waiting
from distprompt_tui.models.language_model import LanguageModel
from distprompt_tui.models.prepare import prepare_by_name
from distprompt_tui.models.wrap import load_language_model
from distprompt_tui.search.soft import SoftBatch, initial_vectors

TOTAL_STEPS = 300


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model", nargs="?", default="smollm2")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--skip", action="append", default=[])
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    folder = prepare_by_name(options.model, lambda text, fraction: None)
    model = load_language_model(options.model, folder, "cpu", "float32")
    batches = {name: batch_of(one) for name, one in variants(model).items() if name not in options.skip}
    first = {name: [timed(batch, 1) for _ in range(3)] for name, batch in batches.items()}
    for name, times in first.items():
        print(name, "first steps, seconds of processor time:", *(f"{each[0]:.2f}" for each in times), flush=True)
    rounds = []
    for _ in range(options.rounds):
        rounds.append({name: timed(batch, options.steps) for name, batch in batches.items()})
    for name in batches:
        ratios = [each[name][0] / each["plain"][0] for each in rounds]
        print(f"{name}: processor time x{statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})")
    file = Path(__file__).parents[2] / "docs" / "benchmarks" / f"soft-step-{options.model}.json"
    found: dict[str, Any] = {"threads": options.threads, "steps": options.steps, "torch": torch.__version__}
    found |= {"first steps": first, "rounds": rounds}
    file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def variants(model: LanguageModel) -> dict[str, LanguageModel]:
    """Return the model with each forward pass."""
    probe = model.embedding(torch.arange(32).view(4, 8))
    without = replace(model, forward=forward_without_waiting(model.backbone, probe))
    return {"plain": model, "without packed sequences": without, "compiled": replace(model, compile=True)}


def batch_of(model: LanguageModel) -> SoftBatch:
    target = torch.full((1, model.vocab_size), 1 / model.vocab_size, dtype=torch.float64)
    return SoftBatch(model, target, initial_vectors(model, Soft(), 0)[None], Soft(), TOTAL_STEPS, print)


def timed(batch: SoftBatch, steps: int) -> tuple[float, float]:
    """Return processor time and elapsed time of a step, seconds."""
    began = processor_seconds(), time.perf_counter()
    for _ in range(steps):
        batch.measure()
        batch.update()
    return (processor_seconds() - began[0]) / steps, (time.perf_counter() - began[1]) / steps


def processor_seconds() -> float:
    """Return the processor time of this process and of ended compilers."""
    return time.process_time() + sum(os.times()[2:4])


if __name__ == "__main__":
    main()
