"""Record a search in its run directory, at bounded rates."""

from __future__ import annotations

import math
import os
import time
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor

from distprompt_tui.bounds.values import Bounds
from distprompt_tui.core.config.spec import RunSpec
from distprompt_tui.core.errors import ModelError
from distprompt_tui.core.metrics.divergence import Comparison, Numbers, compare
from distprompt_tui.core.storage.prompt_files import prompt_sha256, write_vectors
from distprompt_tui.core.storage.safe_io import open_private, write_array, write_json
from distprompt_tui.models.language_model import LanguageModel
from distprompt_tui.runs import schema
from distprompt_tui.runs.directory import RunDirectory
from distprompt_tui.runs.events import EventWriter, as_fields
from distprompt_tui.search.protocol import Best, HardPrompt, Prompt, Search, SoftPrompt, Step
from distprompt_tui.targets import Target
from distprompt_tui.worker.checkpoint import Checkpoint, CheckpointSchedule, save_checkpoint
from distprompt_tui.worker.device import DeviceMeter
from distprompt_tui.worker.snapshots import candidate_rows, kl_of_text, projection, prompt_tokens, top_tokens
from distprompt_tui.worker.surprisal import SurprisalCache

INTERVALS = {"step": 0.1, "snapshot": 0.5, "files": 1.0, "projection": 5.0}
"""Smallest intervals between events or files of a kind, seconds. The first and the last step are always written."""

MAX_EVENTS_PER_EFOLD = 1000
"""The interval between events of a kind is at least the run's age divided by this number. T seconds give at most
1000 (1 + ln(T / (1000 · interval))) events. The newest of the other events is in a file that is replaced."""

TRACE_TYPE = np.dtype("<f4")


class Recorder:
    def __init__(
        self, run: RunDirectory, events: EventWriter, model: LanguageModel, target: Target, p: Tensor, spec: RunSpec
    ) -> None:
        self._run, self._events, self._model, self._spec = run, events, model, spec
        self._target, self._p = target, p
        self._began = time.monotonic()
        self._last: dict[str, float] = {}
        self._positions = 0
        self._saved_best = float("inf")
        self._start_kl = float("nan")
        self._unwritten: Step | None = None
        self._projected: dict[str, Any] = {}
        self._trace = os.fdopen(open_private(run.trace, os.O_WRONLY | os.O_APPEND), "ab")
        self._timetable = CheckpointSchedule()
        self._surprisals = SurprisalCache(model)
        self._device = DeviceMeter(model.device)
        self._last_emitted: dict[type[schema.Event], float] = {}
        self._suppressed: dict[type[schema.Event], schema.Event] = {}
        self.idle_seconds = 0.0  # does not count as search time, such as pauses
        self.not_finite = 0  # consecutive reports with a non-finite divergence
        self.step = 0
        self.best_kl = float("inf")
        self.inputs_sha256: str | None = None  # for checkpoints

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began - self.idle_seconds

    def resume_from(self, saved: Checkpoint | None) -> None:
        """Resume from a checkpoint, or restart without one. Discard later records of an earlier worker."""
        traced, step = self._trace.tell() // TRACE_TYPE.itemsize, 0
        if saved is None and not traced and not self._events.is_resumed:
            return
        if saved is not None:
            step, self._start_kl = saved.step, saved.start_kl
            self.idle_seconds -= saved.seconds
        self._run.latest.unlink(missing_ok=True)
        self._trace.truncate(min(step, traced) * TRACE_TYPE.itemsize)
        if traced < step:
            self._trace.write(np.full(step - traced, np.nan, TRACE_TYPE).tobytes())
            text = f"{self._run.trace.name} lacks {step - traced} steps: they are NaN"
            self._events.write(schema.Warning(text))
        self._timetable.saved(step, 0.0)
        self._events.write(schema.Resumed(step))

    def checkpoint(self, search: Search) -> None:
        """Save the state of the search after its trace is on the disk."""
        began = time.monotonic()
        self._trace.flush()
        os.fsync(self._trace.fileno())
        save_checkpoint(
            self._run, Checkpoint(search.state_dict(), self.step, self.seconds, self._start_kl, self.inputs_sha256)
        )
        self._timetable.saved(self.step, time.monotonic() - began)

    def checkpoint_if_due(self, search: Search) -> None:
        if self._timetable.is_due(self.step):
            self.checkpoint(search)
            self._emit(schema.Checkpoint(self.step))

    def record(self, step: Step, search: Search) -> None:
        self._trace.write(np.asarray(step.kls, dtype=TRACE_TYPE).tobytes())
        if step.index == 0:
            self._start_kl = step.kls[0]
        self.step, self._positions = step.index, step.positions
        self.best_kl = search.best.kl
        self.not_finite = 0 if math.isfinite(step.kls[-1]) else self.not_finite + 1
        if self.not_finite:
            return
        self._unwritten = step
        due = {what for what, seconds in INTERVALS.items() if self._due(what, seconds) or step.index == 0}
        if not due:
            return
        prompt, logits = search.current
        achieved = compare(self._p, logits)
        if not math.isfinite(achieved.numbers.kl):
            return  # the model returned NaN this time, although the report was finite
        if "step" in due:
            self._emit(self._step(step, search, achieved.numbers))
        if "snapshot" in due:
            self._emit(self._snapshot(prompt, achieved))
        if "projection" in due and isinstance(prompt, SoftPrompt):
            self._emit(self._project(prompt))
        if "files" in due:
            write_array(self._run.achieved, achieved.q.numpy().astype(np.float32))
            self.save_best(search)
        if "snapshot" in due and self._suppressed:
            write_json(self._run.latest, [as_fields(event) for event in self._suppressed.values()], durable=False)

    def show(self, step: Step, search: Search) -> None:
        """Immediately record another report of the same step, after a manual edit."""
        self._positions, self._unwritten = step.positions, None
        self.best_kl = search.best.kl
        prompt, logits = search.current
        achieved = compare(self._p, logits)
        self._events.write(self._step(step, search, achieved.numbers))
        self._events.write(self._snapshot(prompt, achieved, force=True))
        write_array(self._run.achieved, achieved.q.numpy().astype(np.float32))
        self.save_best(search)

    def finish(
        self, search: Search, best: Best, bounds: Bounds, reason: str, extra_result: dict[str, Any]
    ) -> dict[str, Any]:
        """Measure the best prompt again and write it as the last snapshot.

        Args:
            search: at its end.
            best: its best prompt, which may be pruned.
            bounds: as far as they are known.
            reason: of the end.
            extra_result: additional fields of the result.

        Returns:
            The result, as in `best/result.json` and `--json`.

        Raises:
            ModelError: the divergence is not finite. The prompt is saved before.
        """
        self._trace.close()
        if self._unwritten is not None:
            numbers = compare(self._p, search.current[1]).numbers
            self._events.write(self._step(self._unwritten, search, numbers))
        with torch.no_grad():
            achieved = compare(self._p, self._model.next_token_logits(_as_input(best.prompt).to(self._model.device))[0])
        self._save_prompt(best.prompt)
        if not math.isfinite(achieved.numbers.kl):
            raise ModelError("the model no longer gives a finite divergence for the best prompt; the prompt is kept")
        self._events.write(self._snapshot(best.prompt, achieved, force=True))
        if isinstance(best.prompt, SoftPrompt):
            self._events.write(self._project(best.prompt))
        write_array(self._run.achieved, achieved.q.numpy().astype(np.float32))
        self._run.latest.unlink(missing_ok=True)
        result = as_fields(self._result(best, achieved.numbers, bounds, extra_result | {"reason": reason}))
        write_json(self._run.result, result)
        return result

    def _due(self, what: str, seconds: float) -> bool:
        now = time.monotonic()
        if now - self._last.get(what, float("-inf")) < seconds:
            return False
        self._last[what] = now
        return True

    def _emit(self, event: schema.Event) -> None:
        """Write an event; if the last one of its type is too recent, keep it for `newest.json` instead."""
        now, kind = self.seconds, type(event)
        if now - self._last_emitted.get(kind, -math.inf) >= now / MAX_EVENTS_PER_EFOLD:
            self._last_emitted[kind] = now
            self._suppressed.pop(kind, None)
            self._events.write(event)
            if isinstance(event, schema.Step):
                self._unwritten = None
        else:
            self._suppressed[kind] = self._events.stamped(event)

    def _step(self, step: Step, search: Search, numbers: Numbers) -> schema.Step:
        best = search.best
        return schema.Step(
            step=step.index,
            kl=step.kls[-1],
            best_kl=best.kl,
            best_step=best.step,
            entropy=numbers.entropy,
            seconds=round(self.seconds, 3),
            positions=step.positions,
            memory=self._device.memory(),
            utilization=self._device.utilization(),
        )

    def _snapshot(self, prompt: Prompt, achieved: Comparison, *, force: bool = False) -> schema.Snapshot:
        surprisal = self._surprisals.of(prompt.ids, force=force) if isinstance(prompt, HardPrompt) else ()
        return schema.Snapshot(
            step=self.step,
            **asdict(achieved.numbers),
            prompt=prompt_tokens(self._model, prompt, surprisal),
            tokens=top_tokens(self._model.vocabulary, self._p, achieved.q),
            candidates=candidate_rows(self._model.vocabulary, prompt),
        )

    def _project(self, prompt: SoftPrompt) -> schema.Projection:
        found = projection(self._model, self._p, prompt, self.step)
        self._projected = {
            "projected_ids": list(found.ids),
            "projected_kl": found.kl,
            "median_distance": found.median_distance,
        }
        return found

    def save_best(self, search: Search) -> None:
        best = search.best
        if best.kl != self._saved_best:
            self._save_prompt(best.prompt)
            self._emit(schema.Best(best.step, best.kl))
            self._saved_best = best.kl

    def _save_prompt(self, prompt: Prompt) -> None:
        if isinstance(prompt, SoftPrompt):
            write_vectors(self._run.best / "prompt.safetensors", prompt.vectors.cpu().numpy())
        else:
            ids = prompt.ids.tolist()
            write_json(self._run.best / "prompt.json", {"ids": ids, "text": self._model.vocabulary.decode(ids)})

    def _result(self, best: Best, numbers: Numbers, bounds: Bounds, extra_result: dict[str, Any]) -> schema.Result:
        ids = best.prompt.ids.tolist() if isinstance(best.prompt, HardPrompt) else None
        kl_string = None if ids is None else kl_of_text(self._model, self._p, ids)
        return schema.Result(
            run=str(self._run.path),
            model=self._spec.model.name,
            weights=self._model.weights,
            preset=self._spec.preset or self._spec.target.family,
            method=self._spec.search.method,
            bos=self._model.bos_note,
            kl=numbers.kl,
            kl_ids=None if ids is None else numbers.kl,
            kl_string=kl_string,
            uniform_kl=self._target.uniform_kl(self._model.vocabulary),
            floor=bounds.floor,
            floor_dtype=bounds.dtype,
            gap=bounds.gap,
            head_optimum=bounds.head_optimum,
            agreement=bounds.agreement,
            excess=bounds.excess(numbers.kl),
            gap_closed=bounds.gap_closed(numbers.kl, self._start_kl),
            entropy_target=self._target.entropy,
            entropy_achieved=numbers.entropy,
            **self._projected,
            prompt_ids=ids,
            prompt_sha256=_sha256_of(best.prompt),
            prompt_text=None if ids is None else self._model.vocabulary.decode(ids),
            steps=self.step,
            best_step=best.step,
            seconds=round(self.seconds, 3),
            positions=self._positions,
            **extra_result,
        )


def _sha256_of(prompt: Prompt) -> str:
    if isinstance(prompt, SoftPrompt):
        return prompt_sha256(prompt.vectors.cpu().float().numpy())
    return prompt_sha256(prompt.ids.tolist())


def _as_input(prompt: Prompt) -> Tensor:
    return (prompt.vectors if isinstance(prompt, SoftPrompt) else prompt.ids)[None]
