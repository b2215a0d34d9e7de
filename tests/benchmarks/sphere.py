"""The sphere bound of the targets `outlier` (6 nats), `uniform` and `vanilla` (6 nats) on one model.

    python tests/benchmarks/sphere.py [MODEL] > docs/benchmarks/sphere-MODEL.jsonl

Nothing is taken from memory. Prints one JSON object a target: floor and sphere bound with their allowances for the
model's rounding, head optimum, the share of the gap between floor and head optimum that is proved in exact arithmetic,
slabs and seconds of the sphere bound. Nats.
"""

from __future__ import annotations

import json
import sys

import torch

from distprompt_tui.bounds.floor import solve_floor
from distprompt_tui.bounds.head_optimum import solve_head_optimum
from distprompt_tui.bounds.sphere import solve_sphere_bound
from distprompt_tui.core.config import spec as specs
from distprompt_tui.core.config import target_specs
from distprompt_tui.targets import build_target
from distprompt_tui.worker.model_provider import load_by_name

TARGETS: dict[str, target_specs.TargetSpec] = {
    "outlier 6": target_specs.Outlier(entropy=6.0, tokens=(" banana",)),
    "uniform": target_specs.Uniform(),
    "vanilla 6": target_specs.Vanilla(entropy=6.0),
}


def main() -> None:
    """Solve and print."""
    name = sys.argv[1] if len(sys.argv) > 1 else "smollm2"
    model, _ = load_by_name(specs.ModelSpec(name=name, device="cpu"), lambda text, fraction: None)
    for title, target in TARGETS.items():
        p = torch.tensor(build_target(target, model.vocabulary).probabilities)
        floor = solve_floor(model.head, p)
        optimum = solve_head_optimum(model.head, p, floor)
        found = solve_sphere_bound(model.head, p, floor)
        exact = floor.floor + floor.rounding
        row = {
            "model": name,
            "target": title,
            "floor": floor.floor,
            "floor_rounding": floor.rounding,
            "sphere_bound": found.bound,
            "sphere_rounding": found.rounding,
            "head_optimum": optimum.value,
            "share_of_gap": (found.bound + found.rounding - exact) / (optimum.value - exact),
            "slabs": found.slabs,
            "seconds": round(found.seconds, 1),
        }
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
