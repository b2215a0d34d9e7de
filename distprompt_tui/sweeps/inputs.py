"""Records the models and files of a sweep at its start, so that all its rows have the same inputs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from distprompt_tui.core.errors import UsageError
from distprompt_tui.core.storage.prompt_files import prompt_sha256, read_prompt
from distprompt_tui.core.storage.safe_io import read_json, write_json
from distprompt_tui.models.fingerprint import ModelRecord, file_sha256, record_model
from distprompt_tui.models.prepare import ignore_progress, prepare_by_name
from distprompt_tui.models.recorded import folder_at_hand
from distprompt_tui.models.registry import find_model
from distprompt_tui.sweeps.directory import SweepDirectory
from distprompt_tui.sweeps.sweep_spec import Sweep

_MODELS = TypeAdapter(dict[str, ModelRecord])
_FILES = TypeAdapter(dict[str, str])


def hold_to_inputs(directory: SweepDirectory, *, prepare: bool) -> dict[str, ModelRecord]:
    """Record the inputs of a sweep, or compare them with the record. The caller must hold the sweep's lock.

    `prepare` converts or downloads missing models; otherwise they are not recorded.

    Raises:
        DistPromptError: a model cannot be prepared.
        UsageError: a model or a file has changed since the sweep was started.
    """
    sweep = directory.read_sweep()
    models, files = _read(directory)
    for name in sweep.all_models:
        if name in models:
            folder_at_hand(name, models[name])
        elif (folder := prepare_by_name(name, ignore_progress) if prepare else find_model(name).folder) is not None:
            models[name] = record_model(folder)
    present = _files(sweep)
    if changed := [path for path, digest in files.items() if present.get(path) != digest]:
        raise UsageError(
            f"{changed[0]} has changed since {directory.name} was started, and the rows of a sweep need the same "
            "inputs: restore the file, or rename the sweep"
        )
    named = {name: asdict(record) | {"folder": str(record.folder)} for name, record in models.items()}
    write_json(directory.inputs_file, {"models": named, "files": present})
    return models


def _read(directory: SweepDirectory) -> tuple[dict[str, ModelRecord], dict[str, str]]:
    if not directory.inputs_file.exists():
        return {}, {}
    try:
        fields = read_json(directory.inputs_file)
        return _MODELS.validate_python(fields.get("models")), _FILES.validate_python(fields.get("files"))
    except ValidationError as error:
        raise UsageError(f"{directory.inputs_file} is damaged: delete it to continue with the present files") from error


def _files(sweep: Sweep) -> dict[str, str]:
    """Return the SHA-256, by path, of the files with targets and initial prompts; "" for a missing file."""
    targets = {path: _digest(Path(path).expanduser()) for one in sweep.series for path in _named_files(one.target)}
    paths = (settings.init_prompt for settings in (sweep.soft, sweep.hard))
    return targets | {path: prompt_sha256(read_prompt(Path(path))) for path in paths if path is not None}


def _digest(path: Path) -> str:
    try:
        return file_sha256(path)
    except OSError:
        return ""


def _named_files(target: dict[str, Any]) -> Iterator[str]:
    if target.get("family") == "explicit" and isinstance(target.get("file"), str):
        yield target["file"]
    for part in target.get("parts") or ():
        yield from _named_files(part["target"])
