"""Run one search from spec to result."""

from __future__ import annotations

import os
import platform
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from distprompt_tui import __version__
from distprompt_tui.bounds.cache import solve_bounds
from distprompt_tui.bounds.values import Bounds
from distprompt_tui.core.config.search_specs import Hard, Soft
from distprompt_tui.core.config.spec import Budget, RunSpec
from distprompt_tui.core.errors import DistPromptError, ModelError, UsageError, first_line
from distprompt_tui.core.storage.decode import read_field
from distprompt_tui.core.storage.prompt_files import write_vectors
from distprompt_tui.core.storage.safe_io import write_array, write_json
from distprompt_tui.models.batch_invariance import is_batch_invariant
from distprompt_tui.models.device import choose_device, choose_dtype, out_of_memory_as
from distprompt_tui.models.fingerprint import record_model
from distprompt_tui.models.language_model import LanguageModel
from distprompt_tui.models.weights import read_weights
from distprompt_tui.runs import schema
from distprompt_tui.runs.directory import RunDirectory
from distprompt_tui.runs.events import EventWriter
from distprompt_tui.runs.events import as_fields as as_event_fields
from distprompt_tui.runs.inputs import Inputs, array_sha256, as_fields, read_inputs, read_run_target
from distprompt_tui.runs.witness import result_fields as witness_fields
from distprompt_tui.search import make_search
from distprompt_tui.search.device_widths import chosen_widths
from distprompt_tui.search.protocol import Search, Step
from distprompt_tui.targets import Target, build_target
from distprompt_tui.worker.checkpoint import Checkpoint, load_checkpoint
from distprompt_tui.worker.control import POLL_SECONDS, Control
from distprompt_tui.worker.finalize import fluency_info, initial_prompt_info, pruned, sphere_info
from distprompt_tui.worker.manual_edits import change_prompt
from distprompt_tui.worker.memory_check import expected_memory
from distprompt_tui.worker.model_provider import ModelProvider, load_by_name
from distprompt_tui.worker.recorder import Recorder
from distprompt_tui.worker.start import keep_start, with_kept_start
from distprompt_tui.worker.witness import find_witness

MAX_NONFINITE = 20  # consecutive reports without a finite divergence after which the search fails
PACKAGES = ("torch", "transformers", "tokenizers", "numpy")


def run_session(run: RunDirectory, events: EventWriter, control_offset: int | None = None) -> None:
    """Run the search of a run directory, from its last checkpoint if there is one.

    Args:
        control_offset: byte of the control file at which the requests to this worker start; None is its present end.

    Raises:
        DistPromptError: the model or the target is not available, or the search failed.
    """
    inputs = read_inputs(run)
    spec = run.read_spec()
    if control_offset is None:
        control_offset = run.control.stat().st_size if run.control.is_file() else 0

    def report(text: str, fraction: float | None) -> None:
        events.write(schema.Progress("model", text, fraction))

    needed, short_of_memory = expected_memory(spec)
    if short_of_memory is not None:
        events.write(schema.Warning(short_of_memory))
    with out_of_memory_as(_out_of_memory(run, spec)):
        model, folder = load_by_name(spec.model, report, inputs.model if inputs else None)
        model = model.in_context(spec.context.prefix, spec.context.suffix, spec.context.bos)
        if model.added[0] and model.prefix_ids[1:2] == model.prefix_ids[:1]:
            text = "the prefix begins with BOS and a second BOS is added: context.bos = false prevents this"
            events.write(schema.Warning(text))
        report("making the target", None)
        source = ModelProvider(model, spec.model, report)
        target = _target(run, spec, inputs, lambda: build_target(spec.target, model.vocabulary, source))
        p = torch.tensor(target.probabilities)
        witness = find_witness(model, spec, p)
        manifest = _manifest(run, spec, model, folder, target, inputs, witness) | {"expected_memory_bytes": needed}
        if inputs is not None:
            _tell_other_conditions(events, inputs.manifest, manifest)
        search = make_search(model, p, with_kept_start(run, spec), lambda text: events.write(schema.Warning(text)))
        keep_start(run, spec)
        write_array(run.target, target.probabilities)
        if model.prefix_ids:
            before = torch.tensor(model.prefix_ids, device=model.device)
            write_vectors(run.context_vectors, model.embedding(before).cpu().numpy())
        write_json(run.manifest, manifest)
        _emit_started(events, run, spec, model, target, str(folder / "tokenizer.json"), witness)
        bounds = BackgroundBounds(model, p, events)
        recorder = Recorder(run, events, model, target, p, spec)

        def change(request: dict[str, Any]) -> dict[str, Any]:
            report, answer = change_prompt(search, request)
            recorder.show(report, search)
            return answer

        control = Control(run, events, change, control_offset)
        reason = _search(run, events, spec, search, recorder, bounds, control, manifest["inputs_sha256"])
        best, extra_result = pruned(model, p, spec, search.best, control.asked_to_stop)
        extra_result |= fluency_info(model, spec, best) | initial_prompt_info(
            model, p, spec, with_kept_start(run, spec)
        )
        known = bounds.wait(control)
        extra_result |= sphere_info(model, best, known) | witness_fields(witness)
        result = recorder.finish(search, best, known, reason, extra_result)
    events.write(schema.Ended(reason, result))


def _search(
    run: RunDirectory,
    events: EventWriter,
    spec: RunSpec,
    search: Search,
    recorder: Recorder,
    bounds: BackgroundBounds,
    control: Control,
    inputs_sha256: str,
) -> str:
    """Run the search until it ends or has to be stopped, and return the reason."""
    signal.signal(signal.SIGTERM, lambda number, frame: control.request_stop())
    recorder.inputs_sha256 = inputs_sha256
    if saved := load_checkpoint(run, events, inputs_sha256):
        _restore(run, search, saved)
        recorder.best_kl = search.best.kl
    recorder.resume_from(saved)
    reason = "plateau"
    for step in search.steps():
        recorder.record(step, search)
        if recorder.not_finite:
            _check_finite(step, search, recorder)
        bounds.start()
        if reason_to_end := _reason_to_end(spec.budget, step, recorder):
            reason = reason_to_end
            break
        recorder.idle_seconds += control.wait_while_paused()
        if control.stopping:
            reason = "stopped"
            break
        recorder.checkpoint_if_due(search)
    recorder.checkpoint(search)
    return reason


def _restore(run: RunDirectory, search: Search, saved: Checkpoint) -> None:
    try:
        search.load_state_dict(saved.search)
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise DistPromptError(
            f"{run.name} cannot be resumed: its checkpoint does not match its search ({type(error).__name__}: "
            f"{first_line(error)}). Delete its checkpoints to restart at step 0"
        ) from error


def _target(run: RunDirectory, spec: RunSpec, inputs: Inputs | None, make: Callable[[], Target]) -> Target:
    """Return the recorded target, or build it again if its file is damaged. Raise a UsageError if this one differs."""
    if inputs is None:
        return make()
    try:
        probabilities = read_run_target(run, inputs)
    except UsageError as error:
        made = make()
        if inputs.target is not None and array_sha256(made.probabilities) != inputs.target:
            raise UsageError(f"{error}; it cannot be made again: its source file or model has changed") from error
        return made
    recipe, notes = read_field(str, inputs.manifest, "target_recipe"), read_field(dict, inputs.manifest, "target_notes")
    return Target(probabilities, spec.target.family, recipe or "", notes or {})


def _tell_other_conditions(events: EventWriter, before: dict[str, Any], now: dict[str, Any]) -> None:
    packages = read_field(dict, before, "packages") or {}
    old = {name: read_field(str, before, name) for name in ("device", "dtype", "device_name")} | packages
    new = {name: now[name] for name in ("device", "dtype", "device_name")} | now["packages"]
    changed = [f"{name} {old[name]} → {new[name]}" for name in new if old.get(name) not in (None, new[name])]
    if changed:
        events.write(schema.Warning(f"resumed with {', '.join(changed)}: divergences may differ from earlier ones"))


def _check_finite(step: Step, search: Search, recorder: Recorder) -> None:
    """Raise a ModelError for a non-finite initial divergence or, after saving, for `MAX_NONFINITE` in a row."""
    if step.index == 0:
        raise ModelError("the model gives no finite divergence for the initial prompt")
    if recorder.not_finite >= MAX_NONFINITE:
        recorder.save_best(search)
        recorder.checkpoint(search)
        raise ModelError(
            f"the model gave no finite divergence {recorder.not_finite} times in a row, the last at step {step.index}; "
            "the best prompt so far is kept"
        )


def _reason_to_end(budget: Budget, step: Step, recorder: Recorder) -> str | None:
    if budget.until is not None and recorder.best_kl <= budget.until:
        return "target reached"
    if step.index >= budget.steps or (budget.seconds is not None and recorder.seconds >= budget.seconds):
        return "budget"
    return None


class BackgroundBounds:
    """Compute floor and head optimum in a thread, which starts after the first step of the search."""

    def __init__(self, model: LanguageModel, target: Tensor, events: EventWriter) -> None:
        self._model, self._target, self._events = model, target, events
        self._known = Bounds()
        self._thread = threading.Thread(target=self._solve, daemon=True)

    def start(self) -> None:
        if not self._thread.is_alive() and self._thread.ident is None:
            self._thread.start()

    def wait(self, control: Control) -> Bounds:
        """Wait for the bounds until a stop is requested, and return the known ones."""
        if self._thread.is_alive():
            self._events.write(schema.Progress("bounds", "solving floor and head optimum"))
        while self._thread.is_alive() and not control.asked_to_stop():
            self._thread.join(POLL_SECONDS)
        return self._known

    def _solve(self) -> None:
        try:
            for bounds in solve_bounds(self._model.head, self._target):
                self._known = bounds
                self._events.write(schema.Bounds(**asdict(bounds)))
        except (ModelError, RuntimeError) as error:
            self._events.write(schema.Warning(f"no floor or head optimum: {error}"))


def _emit_started(
    events: EventWriter,
    run: RunDirectory,
    spec: RunSpec,
    model: LanguageModel,
    target: Target,
    tokenizer_file: str,
    witness: schema.Witness | None,
) -> None:
    started = schema.Started(
        run=run.name,
        preset=spec.preset or spec.target.family,
        model=spec.model.name,
        method=spec.search.method,
        length=spec.search.length,
        device=str(model.device),
        dtype=str(model.dtype).removeprefix("torch."),
        vocab_size=int(model.vocabulary.allowed.sum()),
        tokenizer_file=tokenizer_file,
        recipe=target.recipe,
        bos=model.bos_note,
        weights=model.weights,
        entropy_target=target.entropy,
        uniform_kl=target.uniform_kl(model.vocabulary),
        budget=schema.Budget(**spec.budget.model_dump()),
        witness=witness,
    )
    events.write(started)


def _manifest(
    run: RunDirectory,
    spec: RunSpec,
    model: LanguageModel,
    folder: Path,
    target: Target,
    inputs: Inputs | None,
    witness: schema.Witness | None,
) -> dict[str, Any]:
    positions = spec.search.length + len(model.prefix_ids) + len(model.suffix_ids)
    begun_with = as_fields(spec, record_model(folder), target.probabilities)
    if inputs is not None and inputs.digest is not None:  # later versions may encode the same inputs differently
        begun_with |= {name: inputs.manifest[name] for name in ("spec", "inputs_sha256")}
    return {
        "v": schema.FORMAT_VERSION,
        "run": run.name,
        "started": time.time(),
        "program": __version__,
        "packages": {name: metadata.version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "model": spec.model.name,
        "weights": read_weights(folder).fields,
        "device": str(model.device),
        "device_name": torch.cuda.get_device_name(model.device) if model.device.type == "cuda" else platform.machine(),
        "dtype": str(model.dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "mkl_cbwr": os.environ["MKL_CBWR"],
        "batch_invariant": is_batch_invariant(model, positions),
        "seed": spec.seed,
        "widths": _widths(spec, model, inputs),
        "context_ids": {"before": model.prefix_ids, "after": model.suffix_ids},
        "target_recipe": target.recipe,
        "target_notes": target.notes,
        "witness": None if witness is None else as_event_fields(witness),
        "rows_without_token": int((~model.vocabulary.allowed).sum()),
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "argv": sys.argv,
        **begun_with,
    }


def _widths(spec: RunSpec, model: LanguageModel, inputs: Inputs | None) -> dict[str, Any] | None:
    """Return candidates and chains of a hard search, as recorded if it is resumed; None for other methods."""
    if not isinstance(spec.search, Hard):
        return None
    recorded = read_field(dict, inputs.manifest, "widths") if inputs is not None else None
    return recorded or asdict(chosen_widths(spec.search, model))


def _out_of_memory(run: RunDirectory, spec: RunSpec) -> str:
    """Return the message for lack of device memory, with the settings of this search that reduce it."""
    search = spec.search
    smaller = ["a shorter prompt"]
    if isinstance(search, Soft):
        smaller += ["fewer restarts"] if search.restarts > 1 else []
    else:
        smaller += ["a smaller width"]
        smaller += ["fewer chains"] if isinstance(search, Hard) and search.chains not in (1, "auto") else []
    if choose_dtype(spec.model.dtype, choose_device(spec.model.device)) == torch.float32:
        smaller += ["--set model.dtype=bfloat16"]
    return (
        f"{spec.model.name} ran out of device memory with a prompt of {search.length} tokens: "
        f"less memory is needed with {' or '.join(smaller)}; "
        f"'distprompt-tui runs resume {run.name}' continues this run when more memory is free"
    )
