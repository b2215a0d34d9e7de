"""Runs of every method on a tiny model, in real worker processes that checkpoint often and break as they are told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from distprompt_tui.core.config.spec import RunSpec
from distprompt_tui.runs.directory import RunDirectory
from distprompt_tui.runs.process import worker_pid
from tests.waiting import until

SEARCHES: dict[str, dict[str, Any]] = {
    "soft": {"method": "soft", "length": 4},
    "soft, Adam": {"method": "soft", "length": 4, "optimizer": "adam"},
    "soft, restarts": {"method": "soft", "length": 4, "restarts": 3},
    "hard": {"method": "hard", "length": 4, "width": 16, "initial_pool": 24, "patience": 3},
    "gcg": {"method": "gcg", "length": 4, "width": 24, "top_k": 32},
    "hotflip": {"method": "hotflip", "length": 4, "width": 16, "beam": 3},
    "random": {"method": "random", "length": 4, "width": 16},
    "exhaustive": {"method": "exhaustive", "length": 2, "width": 4, "beam": 8},
}
"""Every method there is, small."""


def tiny_spec(folder: Path, search: str = "soft", steps: int = 10_000_000, **more: Any) -> RunSpec:
    """One of `SEARCHES` on the model in a folder."""
    return RunSpec.model_validate(
        {
            "preset": "test",
            "model": {"name": str(folder), "device": "cpu"},
            "target": {"family": "outlier", "entropy": 3.0, "tokens": ["yes"]},
            "search": SEARCHES[search],
            "budget": {"steps": steps},
        }
        | more
    )


def wait_for_end(run: RunDirectory) -> None:
    """Until no worker holds the run any more."""
    until(lambda: worker_pid(run) is None, lambda: str(run.path))


def traced(run: RunDirectory) -> int:
    """Steps in the trace as it is on the disk."""
    return run.trace.stat().st_size // 4 if run.trace.exists() else 0


def outcome(run: RunDirectory) -> dict[str, Any]:
    """All that two runs of one spec must have in common to the last bit: result, prompt and trace."""
    result = json.loads(run.result.read_text())
    prompt = next(run.best.glob("prompt.*")).read_bytes()
    trace = np.fromfile(run.trace, "<f4")
    return {name: result[name] for name in result if name not in ("run", "seconds")} | {
        "prompt": prompt.hex(),
        "trace": trace.tobytes().hex(),
    }
