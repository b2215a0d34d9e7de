"""Export a run's best prompt as files for other programs."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from distprompt_tui.core.config.spec import RunSpec
from distprompt_tui.core.errors import NotFoundError, UsageError
from distprompt_tui.core.storage.decode import Finite, read_field
from distprompt_tui.core.storage.legacy import with_new_names
from distprompt_tui.core.storage.prompt_files import VECTORS, prompt_sha256, read_prompt
from distprompt_tui.core.storage.safe_io import as_json, open_regular, read_json, user_path, write_atomically, write_out
from distprompt_tui.models.recorded import refuse_changed
from distprompt_tui.models.registry import find_model
from distprompt_tui.runs.directory import RunDirectory
from distprompt_tui.runs.events import Tailer
from distprompt_tui.runs.export_formats import ExportFormat
from distprompt_tui.runs.inputs import Inputs, read_inputs
from distprompt_tui.runs.schema import Resumed, Step, decode_light_event, read_result

COLUMNS = ("step", "kl", "best_kl", "best_step", "entropy", "seconds", "positions")


def export_run(run: RunDirectory, export_format: ExportFormat, destination: Path | None = None) -> Path:
    """Write a run's best prompt and return the path of the export.

    Args:
        run: with a result.
        export_format: "peft", a folder that `peft.PeftModel.from_pretrained` loads; "safetensors", the vectors alone;
            "json", spec, result and prompt; "csv", the recorded steps.
        destination: file or folder; by default in the run's folder.

    Raises:
        NotFoundError: the run has no result.
        UsageError: the format does not support the prompt, the run is damaged, or the destination is not writable.
    """
    if not run.has_result():
        raise NotFoundError(f"{run.name} has no result yet: nothing to export")
    if destination is None:
        run.refuse_links()
    else:
        destination = user_path(destination)
    try:
        return _export(run, run.read_spec(), export_format, destination)
    except OSError as error:
        raise UsageError(f"{destination or run.path} cannot be written: {error.strerror}") from error


def _export(run: RunDirectory, spec: RunSpec, export_format: ExportFormat, destination: Path | None) -> Path:
    if export_format == "csv":
        return _write(_steps(run), destination, run.path / "export.csv")
    inputs = read_inputs(run)
    _refuse_another_prompt(run)
    if export_format == "json":
        return _write(_all_of(run, spec, inputs), destination, run.path / "export.json")
    vectors = read_prompt(run.path)
    if isinstance(vectors, list):
        raise UsageError(f"{run.name} has a hard prompt, tokens without vectors: it can be exported as json")
    if export_format == "peft":
        return _write_adapter(run, spec, inputs, vectors, destination)
    return _write(save({VECTORS: vectors}), destination, run.path / "export.safetensors")


def _write(data: bytes, destination: Path | None, own: Path) -> Path:
    """Write to the destination, or to `own` in the run's folder, which only its owner can read."""
    if destination is None:
        write_atomically(own, lambda file: file.write(data))
        return own
    write_out(destination, data)
    return destination


def _steps(run: RunDirectory) -> bytes:
    try:
        open_regular(run.events).close()  # a Tailer finds nothing in a file that it cannot read
    except OSError as error:
        raise UsageError(f"{run.events} cannot be read: {error.strerror}") from error
    steps: dict[int, Step] = {}
    for event in Tailer(run.events, decode_light_event).read():
        if isinstance(event, Step):
            steps[event.step] = event
        elif isinstance(event, Resumed):  # later steps were repeated
            steps = {index: before for index, before in steps.items() if index < event.step}
    table = io.StringIO(newline="")
    writer = csv.writer(table)
    writer.writerow(COLUMNS)
    writer.writerows([getattr(event, column) for column in COLUMNS] for event in steps.values())
    return table.getvalue().encode()


def _refuse_another_prompt(run: RunDirectory) -> None:
    """Raise a UsageError if the saved prompt is not the one that the result measured."""
    measured = read_result(read_json(run.result)).prompt_sha256  # older versions did not write it
    if measured is not None and prompt_sha256(read_prompt(run.path)) != measured:
        raise UsageError(
            f"{run.result.name} does not belong to the prompt in {run.best}, which has changed since; "
            f"'distprompt-tui runs resume {run.name}' measures it"
        )


def _model_fields(inputs: Inputs | None, spec: RunSpec) -> dict[str, str | None]:
    model = inputs.model if inputs else None
    revision = (model.revision if model else None) or spec.model.revision
    return {"name": spec.model.name, "revision": revision, "weights_sha256": model.weights if model else None}


def _all_of(run: RunDirectory, spec: RunSpec, inputs: Inputs | None) -> bytes:
    found = read_prompt(run.path)
    fields = {
        "spec": spec.model_dump(mode="json"),
        "model": _model_fields(inputs, spec),
        "context_ids": read_field(dict, read_json(run.manifest), "context_ids"),
        "result": with_new_names(read_json(run.result)),
        "prompt": {VECTORS: found.tolist()} if isinstance(found, np.ndarray) else {"ids": found},
    }
    return as_json(fields)


def _required(kind: Any, file: Path, name: str) -> Any:
    value = read_field(kind, read_json(file), name)
    if value is None:
        raise UsageError(f"{file} is damaged: it has no {name}")
    return value


def _write_adapter(
    run: RunDirectory, spec: RunSpec, inputs: Inputs | None, vectors: NDArray[np.float32], destination: Path | None
) -> Path:
    """Write a prompt-tuning adapter. PEFT puts its vectors first, so they include the context before the prompt."""
    with_prefix = vectors
    if run.context_vectors.is_file():
        before = read_prompt(run.context_vectors)
        assert isinstance(before, np.ndarray)
        with_prefix = np.concatenate([before, vectors])
    elif spec.context.prefix:  # older versions did not save these vectors
        raise UsageError(f"{run.name} does not contain the vectors of its prefix: run it again")
    base, dtype = (_required(str, run.manifest, name) for name in ("model_folder", "dtype"))
    if inputs is not None and inputs.model.folder.is_dir():
        refuse_changed(spec.model.name, inputs.model, inputs.model.folder)
    model = _model_fields(inputs, spec)
    with suppress(NotFoundError):  # the model may have been removed
        base = find_model(spec.model.name).hub or base  # the files of a GGUF have other weights than the hub's
    card = _card(run, spec, base, dtype, model, len(with_prefix)).encode()
    folder = destination or run.path / "adapter"
    folder.mkdir(mode=0o700 if destination is None else 0o777, parents=True, exist_ok=True)
    adapter = {
        "peft_type": "PROMPT_TUNING",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "revision": model["revision"],
        "inference_mode": True,
        "num_virtual_tokens": with_prefix.shape[0],
        "token_dim": with_prefix.shape[1],
        "num_transformer_submodules": 1,
        "prompt_tuning_init": "RANDOM",
    }
    files = {
        "adapter_model.safetensors": save({VECTORS: with_prefix}),
        "prompt.safetensors": save({VECTORS: vectors}),
        "adapter_config.json": as_json(adapter),
        "README.md": card,
    }
    for name, data in files.items():
        _write(data, destination and folder / name, folder / name)
    return folder


def _card(run: RunDirectory, spec: RunSpec, base: str, dtype: str, model: Mapping[str, str | None], count: int) -> str:
    kl = _required(Finite, run.result, "kl")
    fixed = count - spec.search.length
    parts = f" ({fixed} of BOS and other fixed text, then {spec.search.length} found by the search)" if fixed else ""
    after = f", before the text {spec.context.suffix!r}" if spec.context.suffix else ", with no text after it"
    return f"""---
base_model: {json.dumps(base)}
library_name: peft
tags: [prompt-tuning, distribution-prompting]
---
{count} vectors{parts} that make the model give a next-token distribution of the family
{spec.target.family}{after}. Tokenize text that follows them with `add_special_tokens=False`.

Divergence KL(target‖model): {kl:.6f} nats, measured in {dtype}.

Model: {model["name"]}, revision {model["revision"] or "none"}, SHA-256 of its weights {model["weights_sha256"] or "-"}.
"""
