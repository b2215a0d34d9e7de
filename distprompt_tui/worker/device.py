"""Memory use and utilization of a search's device."""

from __future__ import annotations

import psutil
import torch


class DeviceMeter:
    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._process = psutil.Process()
        self._process.cpu_percent()  # starts the measurement
        self._tells_use = device.type in ("cpu", "cuda")

    def memory(self) -> int:
        """Return the bytes allocated by the search; on the CPU, by the whole process."""
        if self._device.type == "cuda":
            return int(torch.cuda.memory_reserved(self._device))
        if self._device.type == "mps":
            return int(torch.mps.driver_allocated_memory())
        return int(self._process.memory_info().rss)

    def utilization(self) -> float | None:
        """Return percent of one core by this process since the last call, or of the GPU's time by all processes.

        None if it is not available.
        """
        if not self._tells_use:
            return None
        if self._device.type == "cpu":
            return float(self._process.cpu_percent())
        try:
            return float(torch.cuda.utilization(self._device))
        except Exception:  # nvidia-ml-py is missing or not supported by the driver; not tried again
            self._tells_use = False
            return None
