"""A search's state on disk: one safetensors file, replaced atomically, the one before it kept."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from distprompt_tui.files import write_atomically
from distprompt_tui.runs.directory import RunDirectory
from distprompt_tui.runs.events import EventWriter
from distprompt_tui.search.protocol import SearchState


@dataclass(frozen=True)
class Checkpoint:
    """A search's state, the step it was taken at and the seconds searched until then."""

    search: SearchState
    step: int
    seconds: float


def save_checkpoint(run: RunDirectory, state: SearchState, step: int, seconds: float) -> None:
    """Replace the run's checkpoint; numbers stand in the file's metadata, so that one rename replaces all of it."""
    metadata = {"numbers": json.dumps(state.numbers), "step": str(step), "seconds": repr(seconds)}
    tensors = {name: tensor.contiguous().cpu() for name, tensor in state.tensors.items()}
    data = save(tensors, metadata)
    if run.checkpoint.exists():
        run.checkpoint.replace(run.previous_checkpoint)
    write_atomically(run.checkpoint, lambda file: file.write(data))


def load_checkpoint(run: RunDirectory, events: EventWriter) -> Checkpoint | None:
    """The newest checkpoint that can be read; a damaged one is told of and the one before it is taken."""
    for path in (run.checkpoint, run.previous_checkpoint):
        if path.exists():
            try:
                return _read(path)
            except (SafetensorError, KeyError, ValueError) as error:
                events.write("warning", text=f"{path.name} is damaged ({error}): the one before it is used")
    return None


def _read(path: Path) -> Checkpoint:
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    return Checkpoint(
        SearchState(tensors, json.loads(metadata["numbers"])), int(metadata["step"]), float(metadata["seconds"])
    )
