"""Tasks of sweeps on a device."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from distprompt_tui.sweeps.tasks import SweepSearch, Task
from tests.tiny_runs import tiny_spec


def soft_task(folder: Path, device: str) -> dict[str, Any]:
    """Return the fields of a task with two soft searches on the model in a folder."""
    searches = []
    for index, entropy in enumerate((2.0, 3.0)):
        target = {"family": "outlier", "entropy": entropy, "tokens": ["yes"]}
        model = {"name": str(folder), "device": device, "dtype": "float32"}
        spec = tiny_spec(folder, "soft", 10, target=target, model=model)
        place: dict[str, Any] = {"series": "outlier", "entropy_asked": entropy, "target_index": index, "seed": 0}
        searches.append(SweepSearch(key=str(index), spec=spec, **place))
    return Task(searches=tuple(searches)).model_dump()
