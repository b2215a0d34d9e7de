"""What a search takes of its device: memory, and how busy it keeps it."""

from __future__ import annotations

import psutil
import torch


class DeviceMeter:
    """Reads off one device. What it cannot tell is None.

    Args:
        device: the search's.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._process = psutil.Process()
        self._process.cpu_percent()  # from here on it counts
        self._tells_use = device.type in ("cpu", "cuda")

    def memory(self) -> int:
        """Bytes that the search holds; on the CPU, the whole process."""
        if self._device.type == "cuda":
            return int(torch.cuda.memory_reserved(self._device))
        if self._device.type == "mps":
            return int(torch.mps.driver_allocated_memory())
        return int(self._process.memory_info().rss)

    def utilization(self) -> float | None:
        """Percent: of one core, by this process, since it was asked last; of a GPU's time, by all that use it."""
        if not self._tells_use:
            return None
        if self._device.type == "cpu":
            return float(self._process.cpu_percent())
        try:
            return float(torch.cuda.utilization(self._device))
        except Exception:  # nvidia-ml-py is missing, or the driver refuses: it will do so again
            self._tells_use = False
            return None
