"""Kernels and blocking copies of a soft search's step, counted on the fake device.

    python tests/benchmarks/launches.py LABEL [--graph] [MODEL]

Adds the label's numbers to `docs/benchmarks/launches-MODEL.json` and prints them. The best prompt is read at each
report, as the recorder does. An operator of the fake device is one kernel or more on a GPU; attention, which is a few
kernels there, is some twenty here. With `--graph`, measurements after the first one count as one launch, as a captured
graph does on CUDA.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from distprompt_tui.core.config.search_specs import Soft
from distprompt_tui.models.prepare import prepare_by_name
from distprompt_tui.models.wrap import load_language_model
from distprompt_tui.search import soft
from distprompt_tui.search.soft import SoftSearch
from tests import fake_device

REPORTS = 2  # reports that are counted, after the one of the initial prompt and the next one
TOTAL_STEPS = 300


def main() -> None:
    """Count and write."""
    parser = argparse.ArgumentParser()
    parser.add_argument("label")
    parser.add_argument("model", nargs="?", default="smollm2")
    parser.add_argument("--graph", action="store_true")
    options = parser.parse_args()
    fake_device.load()  # before the first backward pass: autograd counts the devices once
    replayed = [0, 0]  # kernels of replayed graphs, and replays
    model = load_language_model(
        options.model, prepare_by_name(options.model, lambda text, fraction: None), "fake:0", "float32"
    )
    target = torch.full((model.vocab_size,), 1 / model.vocab_size, dtype=torch.float64)
    with ExitStack() as stack:
        if options.graph:
            stack.enter_context(patch.object(soft, "capture_for", lambda device: counting_capture(replayed)))
        search = SoftSearch(model, target, Soft(), TOTAL_STEPS, 0)
    counts = [counts_at(step.index, search, replayed) for step in islice(search.steps(), 2 + REPORTS)]
    first, last = counts[1], counts[-1]
    steps = last["steps"] - first["steps"]
    found: dict[str, Any] = {name: round((last[name] - first[name]) / steps, 2) for name in last if name != "steps"}
    found |= {"steps": steps, "length": Soft().length, "torch": torch.__version__}
    print(options.label, found)
    file = Path(__file__).parents[2] / "docs" / "benchmarks" / f"launches-{options.model}.json"
    rows = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    rows[options.label] = found
    file.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def counts_at(step: int, search: SoftSearch, replayed: list[int]) -> dict[str, int]:
    """Return the counts so far, at a report."""
    assert search.best.kl < torch.inf
    copies = fake_device.transfers()
    return {
        "steps": step,
        "kernels": fake_device.kernels() - replayed[0],
        "graphs": replayed[1],
        "copies_to_host": copies.to_host,
        "copies_to_device": copies.to_device,
    }


def counting_capture(replayed: list[int]) -> Callable[..., Any]:
    """Return a capture whose replays call the function again, and count its kernels apart."""
    from distprompt_tui.models.graph_capture import CapturedGraph, Outputs  # not in versions before it

    def capture(function: Callable[[], Outputs]) -> CapturedGraph:
        outputs = function()

        def replay() -> None:
            before = fake_device.kernels()
            for output, new in zip(outputs, function(), strict=True):
                output.copy_(new)
            replayed[0] += fake_device.kernels() - before
            replayed[1] += 1

        return CapturedGraph(outputs, replay)

    return capture


if __name__ == "__main__":
    main()
