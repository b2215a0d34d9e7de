"""Free memory of NVIDIA GPUs from `nvidia-smi`, which needs no CUDA context: one takes hundreds of MiB on each GPU."""

from __future__ import annotations

import subprocess

COMMAND = ("nvidia-smi", "--query-gpu=uuid,memory.free", "--format=csv,noheader,nounits")
TIMEOUT_SECONDS = 20  # starting the driver takes seconds on machines without its persistence mode


def free_bytes_by_uuid() -> dict[str, int]:
    """Return the free memory of each GPU by UUID (without "GPU-"); empty if `nvidia-smi` does not report it."""
    try:
        done = subprocess.run(COMMAND, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=True)
        rows = [line.split(", ") for line in done.stdout.splitlines()]
        return {uuid.removeprefix("GPU-"): int(mebibytes) << 20 for uuid, mebibytes in rows}
    except (OSError, subprocess.SubprocessError, ValueError):
        return {}
