"""Utilization of a device, and None if it is not available."""

from __future__ import annotations

import time

import pytest
import torch

from distprompt_tui.worker.device import DeviceMeter


def test_cpu_utilization_of_a_busy_and_an_idle_process() -> None:
    meter = DeviceMeter(torch.device("cpu"))
    until = time.process_time() + 0.3
    while time.process_time() < until:
        pass
    busy = meter.utilization()
    time.sleep(0.5)
    idle = meter.utilization()
    assert busy is not None
    assert idle is not None
    assert busy > 0
    assert idle < busy
    assert meter.memory() > 1 << 20


def test_unavailable_gpu_utilization_is_queried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[torch.device] = []

    def refuse(device: torch.device) -> int:
        asked.append(device)
        raise ModuleNotFoundError("nvidia-ml-py")

    monkeypatch.setattr(torch.cuda, "utilization", refuse)
    meter = DeviceMeter(torch.device("cuda"))
    assert [meter.utilization(), meter.utilization()] == [None, None]
    assert asked == [torch.device("cuda")]
    monkeypatch.setattr(torch.cuda, "utilization", lambda device: 97)
    assert DeviceMeter(torch.device("cuda")).utilization() == 97.0
    assert DeviceMeter(torch.device("mps")).utilization() is None
