"""Peak memory of loading and of a step, for random weights in the shape of a known model, beside the estimates.

    python tests/benchmarks/memory.py [--shape Llama-3.2-1B] [--device cpu] [--dtype bfloat16] [--estimate]

A process writes the weights into a temporary folder; another one loads them and runs the first steps of a soft and of
a hard search. On the CPU the peak is the resident memory of that process, in bytes. `--estimate` only estimates.
Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from distprompt_tui.core.config.spec import RunSpec
from distprompt_tui.models.device import choose_device, peak_bytes
from distprompt_tui.models.model_shape import ModelShape, read_shape
from distprompt_tui.models.wrap import load_language_model
from distprompt_tui.runs.estimates import memory_estimate
from distprompt_tui.search import make_search
from distprompt_tui.worker import bench

SEARCHES: dict[str, dict[str, Any]] = {
    "soft": {"method": "soft", "length": 10},
    "hard": {"method": "hard", "length": 10, "draft": False},
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--shape", default="Llama-3.2-1B", choices=[shape.name for shape in bench.SHAPES])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="bfloat16", choices=["float32", "bfloat16", "float16"])
    parser.add_argument("--estimate", action="store_true")
    parser.add_argument("--write", help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    shape = next(shape for shape in bench.SHAPES if shape.name == asked.shape)
    about: dict[str, Any] = {"shape": shape.name, "device": asked.device, "dtype": asked.dtype}
    if asked.estimate:
        print(json.dumps(about | {"estimates": estimates(sizes_of(shape), asked.device, asked.dtype)}))
    elif asked.write:
        bench.write_random_model(shape, Path(asked.write), getattr(torch, asked.dtype))
    elif asked.folder:
        print(json.dumps(about | measured(Path(asked.folder), asked.device, asked.dtype)))
    else:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, __file__, *sys.argv[1:]]
            subprocess.run([*command, "--write", folder], check=True)  # the peak of a parent counts for its children
            print(
                subprocess.run([*command, "--folder", folder], capture_output=True, text=True, check=True).stdout,
                end="",
            )


def measured(folder: Path, device: str, dtype: str) -> dict[str, Any]:
    """Load the model in a folder and run the first steps; return the peaks so far in bytes, and the estimates."""
    place = choose_device(device)
    peaks = {"program": peak_bytes(place)}
    model = load_language_model("random", folder, device, dtype)
    peaks["loading"] = peak_bytes(place)
    target = torch.full((model.vocab_size,), 1 / model.vocab_size, dtype=torch.float64)
    for name, settings in SEARCHES.items():
        steps = make_search(model, target, spec_of(settings), lambda text: None).steps()
        next(steps)
        next(steps)
        peaks[name] = peak_bytes(place)
    shape = read_shape(folder)
    assert shape is not None
    return {"peaks": peaks, "estimates": estimates(shape, device, dtype)}


def estimates(shape: ModelShape, device: str, dtype: str) -> dict[str, dict[str, int]]:
    """Return the estimated parts of the memory of each search."""
    size = getattr(torch, dtype).itemsize
    return {name: asdict(memory_estimate(spec_of(search), shape, device, size)) for name, search in SEARCHES.items()}


def spec_of(search: dict[str, Any]) -> RunSpec:
    return RunSpec.model_validate({"target": {"family": "uniform"}, "search": search, "budget": {"steps": 1000}})


def sizes_of(shape: bench.BenchShape) -> ModelShape:
    fields = shape.fields
    return ModelShape(
        parameters=bench.parameters_of(shape),
        vocab_size=fields["vocab_size"],
        hidden_size=fields["hidden_size"],
        layers=fields["num_hidden_layers"],
        kv_size=2 * fields["num_key_value_heads"] * fields["head_dim"],
        intermediate_size=fields["intermediate_size"],
        is_tied=fields["tie_word_embeddings"],
    )


if __name__ == "__main__":
    main()
