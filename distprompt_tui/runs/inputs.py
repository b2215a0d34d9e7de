"""The recorded inputs of a run: spec, model and target. A resume and a verification require the same inputs."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct, convert
from pydantic import ValidationError

from distprompt_tui.core.config.spec import RunSpec
from distprompt_tui.core.config.spec_base import LEGACY_CONTEXT
from distprompt_tui.core.errors import UsageError, first_few
from distprompt_tui.core.storage.safe_io import read_json
from distprompt_tui.models.fingerprint import ModelRecord
from distprompt_tui.runs.compare import spec_differences

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from distprompt_tui.runs.directory import RunDirectory

UNDECISIVE = {"title", "description", "preset"}  # spec fields without effect on the result
_MOST_NAMED, _MOST_CHARACTERS = 3, 40  # changed fields in a message, and characters of their values


@dataclass(frozen=True)
class Inputs:
    """The recorded inputs of a run; fields that an older version did not record are None.

    Attributes:
        model: folder and digests of its files.
        spec: at the start of the run.
        target: `array_sha256` of p.
        digest: SHA-256 of all inputs, also stored in the run's checkpoints.
        manifest: the whole manifest.
    """

    model: ModelRecord
    spec: RunSpec | None
    target: str | None
    digest: str | None
    manifest: dict[str, Any]


class _Recorded(Struct):
    model_folder: str
    model_files_sha256: dict[str, str] = {}
    revision: str | None = None
    weights_sha256: str | None = None
    target_sha256: str | None = None
    inputs_sha256: str | None = None
    spec: dict[str, Any] | None = None


def as_fields(spec: RunSpec, model: ModelRecord, target: NDArray[np.float64]) -> dict[str, Any]:
    """Return the manifest fields that `read_inputs` reads."""
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
    """Return the SHA-256 of a distribution, (V,)."""
    return hashlib.sha256(array.astype("<f8").tobytes()).hexdigest()


def read_inputs(run: RunDirectory) -> Inputs | None:
    """Read the recorded inputs of a run; None if its search has not started.

    Raise a UsageError if the manifest is missing or damaged, or if the spec has changed.
    """
    if not run.manifest.exists() and not run.has_begun:
        return None
    try:
        inputs = _inputs(run.manifest)
    except UsageError as error:
        raise UsageError(
            f"{error}; so the inputs of the run are unknown: start a new run from its prompt (search.init = 'prompt')"
        ) from error
    if inputs.spec is not None:
        _refuse_changed_spec(run, inputs.spec, run.read_spec())
    return inputs


def check_inputs(run: RunDirectory) -> None:
    """Check that the model and the spec of a run are unchanged. The worker checks a model that is not prepared.

    Raises:
        NotFoundError: the model is missing.
        UsageError: an input has changed; the text names it.
    """
    from distprompt_tui.models.recorded import folder_at_hand

    inputs = read_inputs(run)
    if inputs is not None:
        folder_at_hand(run.read_spec().model.name, inputs.model)


def read_run_target(run: RunDirectory, inputs: Inputs | None) -> NDArray[np.float64]:
    """Read a run's target, (V,); raise a UsageError if it is unreadable or has changed."""
    from distprompt_tui.core.storage.npy import read_target

    target = read_target(run.target)
    if inputs is not None and inputs.target not in (None, array_sha256(target)):
        raise UsageError(f"{run.target} is not the original target of {run.name}: restore the old file")
    return target


def _inputs(path: Path) -> Inputs:
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
    old, new = (spec.model_dump(mode="json", exclude=UNDECISIVE) for spec in (before, now))
    if changed := spec_differences([old, new]):
        differences = [f"{name} was {_short(values[0])} and is {_short(values[1])}" for name, values in changed.items()]
        raise UsageError(
            f"{run.spec_file} has changed since the start of the run: {first_few(differences, _MOST_NAMED)}; "
            "restore it, or start a new run with the changed spec"
        )


def _short(value: str | None) -> str:
    return str(value) if len(str(value)) <= _MOST_CHARACTERS else f"{str(value)[: _MOST_CHARACTERS - 1]}…"
