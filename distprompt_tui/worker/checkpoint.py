"""Checkpoints: one safetensors file with a checksum, replaced atomically; the previous one is kept."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from distprompt_tui.core.errors import DistPromptError
from distprompt_tui.core.storage.safe_io import write_atomically
from distprompt_tui.runs import schema
from distprompt_tui.runs.directory import RunDirectory
from distprompt_tui.runs.events import EventWriter
from distprompt_tui.search.protocol import SearchState

SECONDS = 30.0
STEPS = 1000  # largest intervals between checkpoints, and so the most work that a crash loses

SHARE_OF_TIME = 0.01
"""Largest fraction of the time for checkpoints that are due by `STEPS`; if they take longer, they are less frequent."""


@dataclass(frozen=True)
class Checkpoint:
    """The state of a search and of its recorder."""

    search: SearchState
    step: int
    seconds: float  # search time
    start_kl: float  # divergence of the initial prompt, nats
    inputs_sha256: str | None = None  # digest of the run's inputs; None in checkpoints of older versions


class CheckpointSchedule:
    """Schedule checkpoints by time and, for fast steps, by number of steps."""

    def __init__(self) -> None:
        self._step = 0
        self._at = time.monotonic()
        self._cost = 0.0

    def is_due(self, step: int) -> bool:
        since = time.monotonic() - self._at
        return since >= SECONDS or (step - self._step >= STEPS and since * SHARE_OF_TIME >= self._cost)

    def saved(self, step: int, cost: float) -> None:
        self._step, self._at, self._cost = step, time.monotonic(), cost


def save_checkpoint(run: RunDirectory, checkpoint: Checkpoint) -> None:
    """Replace the run's checkpoint. It is one file, so that one rename replaces all of it."""
    rest = {name: getattr(checkpoint, name) for name in ("step", "seconds", "start_kl", "inputs_sha256")}
    numbers = json.dumps(rest | {"search": checkpoint.search.numbers})
    tensors = {name: tensor.contiguous().cpu() for name, tensor in checkpoint.search.tensors.items()}
    data = save(tensors, {"numbers": numbers, "sha256": _digest(numbers, tensors)})
    write_atomically(run.checkpoint, lambda file: file.write(data), backup=run.previous_checkpoint)


def load_checkpoint(run: RunDirectory, events: EventWriter, inputs_sha256: str | None = None) -> Checkpoint | None:
    """Load the newest valid checkpoint; None without checkpoints. Write a warning to `events` for a damaged one.

    A checkpoint with another digest of the inputs than `inputs_sha256` belongs to another run and counts as damaged.

    Raises:
        DistPromptError: all checkpoints are damaged. No file is changed.
    """
    paths = (run.checkpoint, run.previous_checkpoint)
    if not any(path.exists() for path in paths):
        return None
    troubles = []
    for path in paths:
        try:
            found = _read(path)
            if None not in (inputs_sha256, found.inputs_sha256) and found.inputs_sha256 != inputs_sha256:
                raise ValueError("it belongs to another run")
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            what = f"damaged ({error})" if path.exists() else "missing"
            troubles.append(f"{path.name} is {what}")
            continue
        if troubles:
            events.write(schema.Warning(f"{troubles[0]}: the previous one is used, of step {found.step}"))
        return found
    raise DistPromptError(
        f"{run.name} cannot be resumed: {' and '.join(troubles)}. Its result is kept; fork it to start a search "
        "from its best prompt, or delete its checkpoints to restart at step 0"
    )


def _read(path: Path) -> Checkpoint:
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    if metadata["sha256"] != _digest(metadata["numbers"], tensors):
        raise ValueError("wrong checksum")
    numbers = json.loads(metadata["numbers"])
    state, inputs = SearchState(tensors, numbers["search"]), numbers.get("inputs_sha256")
    return Checkpoint(state, numbers["step"], numbers["seconds"], numbers["start_kl"], inputs)


def _digest(numbers: str, tensors: dict[str, Tensor]) -> str:
    """Return the SHA-256 of the contents; the order of metadata in a safetensors file is arbitrary."""
    digest = hashlib.sha256(numbers.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
