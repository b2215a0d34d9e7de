"""Workers of a sweep share the GPUs of a machine."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from distprompt_tui.sweeps.executors import local
from distprompt_tui.sweeps.executors.gpus import visible_gpus
from distprompt_tui.sweeps.executors.local import LocalExecutor
from distprompt_tui.sweeps.sweep_spec import Sweep
from distprompt_tui.sweeps.tasks import plan_tasks

WORKER = """
import json, os, sys
for line in sys.stdin:
    print(json.dumps({"error": os.environ.get("CUDA_VISIBLE_DEVICES", "all")}), flush=True)
"""
"""A worker that answers each task with the GPUs that it can use."""


def test_visible_gpus_are_those_of_the_variable_or_of_the_device_files(tmp_path: Path) -> None:
    for name in ("nvidia1", "nvidia3", "nvidiactl", "nvidia-uvm", "null"):
        (tmp_path / name).touch()
    assert visible_gpus({}, tmp_path) == ("0", "1")
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": "3, GPU-12ab"}, tmp_path) == ("3", "GPU-12ab")
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": "2,-1,3"}, tmp_path) == ("2",)
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": ""}, tmp_path) == ()
    assert visible_gpus({}, tmp_path / "nothing") == ()


@pytest.mark.parametrize(
    ("gpus", "expected"), [(("3", "5"), ["3", "3", "5"]), (("3",), ["all"] * 3), ((), ["all"] * 3)]
)
def test_each_worker_uses_a_gpu_with_the_fewest_workers(
    gpus: tuple[str, ...],
    expected: list[str],
    tiny_sweep: Sweep,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(local, "python", lambda *arguments: [sys.executable, "-c", WORKER])
    executor = LocalExecutor(3, 1, tmp_path / "log", gpus)
    for task in plan_tasks(tiny_sweep)[:3]:
        executor.submit(task)
    found = [executor.wait().error or "" for _ in range(3)]
    executor.close()
    assert sorted(found) == expected
