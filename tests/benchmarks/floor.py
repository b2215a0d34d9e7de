"""Floor and head optimum of every shipped preset, and of an entropy sweep, on one model; or of the named targets.

    python tests/benchmarks/floor.py [MODEL [TARGET...]]

Nothing is taken from memory: each is solved anew. Prints nats and seconds, and writes the nats to
docs/benchmarks/floor-MODEL.json, with which tests/test_docs.py compares the table of docs/floor.md.
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path

import torch

from distprompt_tui.bounds.floor import solve_floor
from distprompt_tui.bounds.head_optimum import solve_head_optimum
from distprompt_tui.core.config import spec as specs
from distprompt_tui.core.config import target_specs
from distprompt_tui.core.config.presets import list_presets
from distprompt_tui.targets import build_target
from distprompt_tui.worker.model_provider import ModelProvider, load_by_name


def main() -> None:
    """Solve and print."""
    settings = specs.ModelSpec(name=sys.argv[1] if len(sys.argv) > 1 else "smollm2", device="cpu")
    model, _ = load_by_name(settings, lambda text, fraction: None)
    source = ModelProvider(model, settings, lambda text, fraction: None)
    targets: dict[str, target_specs.TargetSpec] = {
        preset.name: preset.spec.target for preset in list_presets() if preset.shipped
    }
    for entropy in (0.0, 0.5, 2.0, 4.0, 8.0):
        targets[f"vanilla {entropy:g}"] = target_specs.Vanilla(entropy=entropy)
        targets[f"temperature {entropy:g}"] = target_specs.Temperature(entropy=entropy)
    targets = {name: target for name, target in targets.items() if name in sys.argv[2:] or len(sys.argv) <= 2}
    seconds: list[float] = []
    rows = {}
    print(
        f"{'target':16} {'floor':>9} {'gap':>8} {'limit':>9} {'agree':>6} {'‖u‖/√d':>7} {'floor s':>8} {'limit s':>8}"
    )
    for name, target in targets.items():
        made = build_target(target, model.vocabulary, source)
        p = torch.tensor(made.probabilities)
        floor = solve_floor(model.head, p)
        limit = solve_head_optimum(model.head, p, floor)
        seconds.append(floor.seconds)
        print(
            f"{name:16} {floor.floor:9.5f} {floor.gap:8.1e} {limit.value:9.5f} {limit.agreement:6.2f} "
            f"{floor.norm_ratio:7.3f} {floor.seconds:8.2f} {limit.seconds:8.2f}",
            flush=True,
        )
        rows[name] = {
            "family": target.family,
            "entropy": round(made.entropy, 4),
            "floor": round(floor.floor, 6),
            "rounding": round(floor.rounding, 6),
            "head_optimum": round(limit.value, 6),
            "uniform_kl": round(made.uniform_kl(model.vocabulary), 6),
        }
    found = {"model": settings.name, "dtype": str(model.dtype).removeprefix("torch."), "targets": rows}
    file = Path(__file__).parents[2] / "docs" / "benchmarks" / f"floor-{settings.name}.json"
    file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(f"floor: median {statistics.median(seconds):.2f} s, worst {max(seconds):.2f} s")


if __name__ == "__main__":
    main()
