"""What a run was begun with, as its manifest has it: spec, model, target. A resume and a verification hold to it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct, convert
from pydantic import ValidationError

from distprompt_tui.config.spec import LEGACY_CONTEXT, RunSpec
from distprompt_tui.errors import UsageError
from distprompt_tui.models.fingerprint import ModelRecord
from distprompt_tui.storage.safe_io import read_json

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from distprompt_tui.runs.directory import RunDirectory

UNDECISIVE = {"title", "description", "preset"}
"""Fields of a spec that its result does not depend on."""

_MOST_NAMED, _MOST_CHARACTERS = 3, 40
"""Changed fields, and characters of their values, in a message."""


@dataclass(frozen=True)
class Inputs:
    """What a run was begun with; an older version of the program recorded less, which is None.

    Attributes:
        model: its folder and the digests of its files.
        spec: the run's, as it was then.
        target: `array_sha256` of p.
        digest: of all of it; a checkpoint of the run has the same.
        manifest: the whole manifest.
    """

    model: ModelRecord
    spec: RunSpec | None
    target: str | None
    digest: str | None
    manifest: dict[str, Any]


class _Recorded(Struct):
    """The fields of a manifest that a resume compares; older versions recorded fewer."""

    model_folder: str
    model_files_sha256: dict[str, str] = {}
    revision: str | None = None
    weights_sha256: str | None = None
    target_sha256: str | None = None
    inputs_sha256: str | None = None
    spec: dict[str, Any] | None = None


def as_fields(spec: RunSpec, model: ModelRecord, target: NDArray[np.float64]) -> dict[str, Any]:
    """What a manifest says of what a run is begun with; `read_inputs` reads it."""
    fields = {
        "revision": model.revision or spec.model.revision,
        "model_folder": str(model.folder),
        "weights_sha256": model.weights,
        "model_files_sha256": dict(model.files),
        "target_sha256": array_sha256(target),
        "spec": spec.model_dump(mode="json", exclude_none=True),
    }
    decisive = {name: value for name, value in fields.items() if name not in ("revision", "model_folder")}
    return fields | {"inputs_sha256": hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()}


def array_sha256(array: NDArray[np.float64]) -> str:
    """SHA-256 of a distribution, (V,)."""
    return hashlib.sha256(array.astype("<f8").tobytes()).hexdigest()


def read_inputs(run: RunDirectory) -> Inputs | None:
    """What a run was begun with; None where it has not got so far.

    Raises:
        UsageError: it has, and its manifest does not tell; or its spec is another by now.
    """
    if not run.manifest.exists() and not run.has_begun:
        return None
    try:
        inputs = _inputs(run.manifest)
    except UsageError as error:
        raise UsageError(
            f"{error}; so nothing tells what the run was begun with: "
            "start a new one from its prompt (search.init = 'prompt')"
        ) from error
    if inputs.spec is not None:
        _refuse_changed_spec(run, inputs.spec, run.read_spec())
    return inputs


def check_inputs(run: RunDirectory) -> None:
    """Refuse to go on where the model, the target or the spec is another than the run was begun with.

    What has to be downloaded or converted first is left to the worker.

    Raises:
        NotFoundError: the model is gone.
        UsageError: something has changed; the text names it.
    """
    from distprompt_tui.models.recorded import folder_at_hand

    inputs = read_inputs(run)
    if inputs is not None:
        folder_at_hand(run.read_spec().model.name, inputs.model)


def read_run_target(run: RunDirectory, inputs: Inputs | None) -> NDArray[np.float64]:
    """A run's target, (V,).

    Raises:
        UsageError: it cannot be read, or is another than the run was begun with.
    """
    from distprompt_tui.storage.npy import read_target

    target = read_target(run.target)
    if inputs is not None and inputs.target not in (None, array_sha256(target)):
        raise UsageError(f"{run.target} is not the target that {run.name} was begun with: put the old file back")
    return target


def _inputs(path: Path) -> Inputs:
    """
    Raises:
        UsageError: the file cannot be read, or a field is something else than it should be.
    """
    manifest = read_json(path)
    try:
        found = convert(manifest, _Recorded)
        spec = None if found.spec is None else RunSpec.model_validate(found.spec, context=LEGACY_CONTEXT)
    except msgspec.ValidationError as error:
        raise UsageError(f"{path} is damaged: {error}") from error
    except ValidationError as error:
        raise UsageError(f"{path} is damaged: it has no spec") from error
    model = ModelRecord(Path(found.model_folder), found.revision, found.weights_sha256, found.model_files_sha256)
    return Inputs(model, spec, found.target_sha256, found.inputs_sha256, manifest)


def _refuse_changed_spec(run: RunDirectory, before: RunSpec, now: RunSpec) -> None:
    old, new = (dict(_leaves(spec.model_dump(mode="json", exclude=UNDECISIVE))) for spec in (before, now))
    changed = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    if changed:
        told = [f"{name} was {_short(old.get(name))} and is {_short(new.get(name))}" for name in changed[:_MOST_NAMED]]
        more = f" and {len(changed) - _MOST_NAMED} more" if len(changed) > _MOST_NAMED else ""
        raise UsageError(
            f"{run.spec_file} has changed since the run was begun: {', '.join(told)}{more}; "
            "put it back, or start a new run of the changed spec"
        )


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Values of a nested table by their dotted names."""
    if isinstance(value, dict) and value:
        for key, part in value.items():
            yield from _leaves(part, f"{name}.{key}" if name else key)
    else:
        yield name, value


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= _MOST_CHARACTERS else f"{shown[: _MOST_CHARACTERS - 1]}…"
