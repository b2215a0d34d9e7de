"""A search's state on disk: one safetensors file with a checksum, replaced atomically, the one before it kept."""

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

from distprompt_tui.errors import DistPromptError
from distprompt_tui.runs import schema
from distprompt_tui.runs.directory import RunDirectory
from distprompt_tui.runs.events import EventWriter
from distprompt_tui.search.protocol import SearchState
from distprompt_tui.storage.safe_io import write_atomically

SECONDS = 30.0
"""At most so much work is lost to whatever ends the worker, and at most `STEPS` where steps are quick."""

STEPS = 1000
SHARE_OF_TIME = 0.01
"""Checkpoints by steps are further apart where they would take more of the search's time than this."""


@dataclass(frozen=True)
class Checkpoint:
    """A search's state, and what the recorder has to know besides.

    Attributes:
        search: as `Search.state` gave it.
        step: it was taken at.
        seconds: searched until then.
        start_kl: divergence of the initial prompt, nats.
        inputs_sha256: of what the run was begun with; None in those of older versions.
    """

    search: SearchState
    step: int
    seconds: float
    start_kl: float
    inputs_sha256: str | None = None


class CheckpointSchedule:
    """When the next checkpoint is due: by the clock, and by steps where they are quick."""

    def __init__(self) -> None:
        self._step = 0
        self._at = time.monotonic()
        self._cost = 0.0

    def is_due(self, step: int) -> bool:
        """Whether it is time, after `step`."""
        since = time.monotonic() - self._at
        return since >= SECONDS or (step - self._step >= STEPS and since * SHARE_OF_TIME >= self._cost)

    def saved(self, step: int, cost: float) -> None:
        """One was taken at `step`, in `cost` seconds."""
        self._step, self._at, self._cost = step, time.monotonic(), cost


def save_checkpoint(run: RunDirectory, checkpoint: Checkpoint) -> None:
    """Replace the run's checkpoint; everything stands in one file, so that one rename replaces all of it."""
    rest = {name: getattr(checkpoint, name) for name in ("step", "seconds", "start_kl", "inputs_sha256")}
    numbers = json.dumps(rest | {"search": checkpoint.search.numbers})
    tensors = {name: tensor.contiguous().cpu() for name, tensor in checkpoint.search.tensors.items()}
    data = save(tensors, {"numbers": numbers, "sha256": _digest(numbers, tensors)})
    write_atomically(run.checkpoint, lambda file: file.write(data), keep=run.previous_checkpoint)


def load_checkpoint(run: RunDirectory, events: EventWriter, inputs_sha256: str | None = None) -> Checkpoint | None:
    """The newest checkpoint that is whole; a damaged one is told of and the one before it is taken.

    Args:
        run: whose it is.
        events: where a damaged one is told of.
        inputs_sha256: of what the run was begun with: a checkpoint of another run counts as damaged.

    Raises:
        DistPromptError: there are checkpoints, and none is whole. Nothing was touched.
    """
    paths = (run.checkpoint, run.previous_checkpoint)
    if not any(path.exists() for path in paths):
        return None
    troubles = []
    for path in paths:
        try:
            found = _read(path)
            if None not in (inputs_sha256, found.inputs_sha256) and found.inputs_sha256 != inputs_sha256:
                raise ValueError("it is of another run")
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            what = f"damaged ({error})" if path.exists() else "missing"
            troubles.append(f"{path.name} is {what}")
            continue
        if troubles:
            events.write(schema.Warning(f"{troubles[0]}: the one before it is used, of step {found.step}"))
        return found
    raise DistPromptError(
        f"{run.name} cannot go on: {' and '.join(troubles)}. What it found is still there; "
        "fork it to search on from its best prompt, or delete its checkpoints to begin again at step 0"
    )


def _read(path: Path) -> Checkpoint:
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    if metadata["sha256"] != _digest(metadata["numbers"], tensors):
        raise ValueError("its checksum is wrong")
    numbers = json.loads(metadata["numbers"])
    state, inputs = SearchState(tensors, numbers["search"]), numbers.get("inputs_sha256")
    return Checkpoint(state, numbers["step"], numbers["seconds"], numbers["start_kl"], inputs)


def _digest(numbers: str, tensors: dict[str, Tensor]) -> str:
    """SHA-256 of all that a checkpoint says; safetensors writes the order of its metadata as it likes."""
    digest = hashlib.sha256(numbers.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
